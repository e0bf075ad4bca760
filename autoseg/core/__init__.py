"""Records, units and rules that all rooms share. It imports no other room."""
