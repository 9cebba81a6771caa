"""Submit jobs and get them to a worker."""
