"""Base models: which ones there are, whether a folder is safe to open, how to load them, how they pool."""
