"""Writes the finished jobs of mnist-zoo into an MLflow tracking server."""
