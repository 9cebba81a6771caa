"""Artifacts under a URL, and the files of a job."""
