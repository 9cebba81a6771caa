"""The `--where` language: parse a condition and evaluate it."""
