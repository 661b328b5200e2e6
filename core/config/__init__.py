"""Configuration: model spec, training config, layering with provenance, estimates. Never torch.

Start at `core.config.compose.compose`; `core.config.estimate.estimate` says what the result costs.
This front door imports nothing, so that catching a `ConfigError` loads no pydantic.
"""
