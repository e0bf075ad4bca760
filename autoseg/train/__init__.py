"""Training a candidate from one epoch to another, and scoring it on val."""
