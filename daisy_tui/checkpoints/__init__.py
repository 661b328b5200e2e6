"""What there is of checkpoints and what is said of them, without a screen."""
