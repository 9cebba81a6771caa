"""Run one job in this process."""
