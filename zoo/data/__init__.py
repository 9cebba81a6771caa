"""Datasets: from a file, a download or a plugin to prepared arrays."""
