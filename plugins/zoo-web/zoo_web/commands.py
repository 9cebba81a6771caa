"""The commands of zoo-web."""
