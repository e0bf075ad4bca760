"""The folder that is shipped: written, read with suspicion, and the script inside it."""
