"""Imported for what it does: the scripts that all benchmarks share, and burnish itself, are found."""

import sys
from pathlib import Path

sys.path += [str(folder) for folder in Path(__file__).parents[1:3]]
