"""One module per command or noun."""
