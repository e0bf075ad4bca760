"""Shared by the readers of several formats: files, pairs, class names, shapes."""
