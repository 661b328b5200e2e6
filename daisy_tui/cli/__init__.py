"""The `daisy` commands, one file a command group. Nothing heavy is imported before its command runs."""
