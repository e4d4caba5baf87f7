"""Tuned models in the forms that other programs open, each proven to answer as the trained model does."""
