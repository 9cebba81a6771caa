"""Load a trained model, predict with it, export it."""
