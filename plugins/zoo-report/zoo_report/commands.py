"""The commands of zoo-report."""
