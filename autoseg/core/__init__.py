"""Records, units and rules that all rooms share. Imports nothing of autoseg but itself."""
