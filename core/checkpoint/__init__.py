"""Checkpoint format: atomic save, load, inspect. Inspecting needs no torch."""
