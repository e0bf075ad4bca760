"""The verbs of autoseg in Python, one file each."""
