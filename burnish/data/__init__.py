"""Data: read, map columns, clean, deduplicate, split; every refused row has a reason and a place."""
