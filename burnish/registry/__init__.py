"""What exists: runs, found by id, unique prefix or folder."""
