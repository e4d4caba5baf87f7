"""Base models: which ones there are, whether a folder is safe to open, how to load them, how they pool."""

import logging
import os

# Where the CPU has bf16, it asks for a package that would fetch code from a hub.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

# Rows without padding make products of ever new sizes. oneDNN and torch's layer over it each keep what they prepared
# for the last 1,024 of them, 0.6 MB a size in bf16: hundreds of MB for nothing. Read when the first product is made.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "64")
