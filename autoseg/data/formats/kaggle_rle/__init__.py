"""Tables of runs (run-length encoded masks), as Kaggle's competitions ship them."""
