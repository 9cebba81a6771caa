"""Compare the results of finished jobs."""
