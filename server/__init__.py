"""The HTTP server: the one front door to `core.inference`. Imports nothing of `daisy_tui`."""
