"""Prometheus metrics of mnist-zoo's queue and workers."""
