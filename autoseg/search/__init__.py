"""Decides what is worth measuring, training and finishing, from the evaluations alone."""
