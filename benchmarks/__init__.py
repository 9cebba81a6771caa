"""Benchmarks of Zoo against plain scripts, run in pairs, with results compared."""
