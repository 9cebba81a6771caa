"""The commands of zoo-metrics."""
