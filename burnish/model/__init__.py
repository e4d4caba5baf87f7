"""Base models: which ones there are, whether a folder is safe to open, how to load them, how they pool."""

import logging

# Where the CPU has bf16, it asks for a package that would fetch code from a hub.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
