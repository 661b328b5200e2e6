"""Each headline figure as one command that prints a ratio: `python -m benchmarks.NAME`."""
