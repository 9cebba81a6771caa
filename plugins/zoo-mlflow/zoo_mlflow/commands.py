"""The commands of zoo-mlflow."""
