"""The terminal: the `daisy` commands and, later, the Textual app. Imports no torch."""
