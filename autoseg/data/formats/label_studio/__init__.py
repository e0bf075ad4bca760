"""Label Studio's exports, read in place: JSON, JSON_MIN, and brush masks as PNG or NumPy files."""
