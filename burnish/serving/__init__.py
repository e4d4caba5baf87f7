"""Tuned models in use, with the templates, label maps and decoding of their training."""
