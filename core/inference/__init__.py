"""Sampler, engine and generator: reads checkpoints, never trains."""
