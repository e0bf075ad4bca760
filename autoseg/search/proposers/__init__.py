"""Proposers: each names candidates that are worth looking at."""
