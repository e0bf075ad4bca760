"""One run: its declaration, its folder and ledger, and the path of its candidates."""
