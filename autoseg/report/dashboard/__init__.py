"""A run as an Optuna study, and the server that shows it."""
