"""Synthetic parcels on conveyor belts, for a first run without a data set."""
