"""Fingerprints: sha256 of files and of values, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes as 64 hex digits, read in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, text unescaped.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.

    >>> canonical_json({"b": 1, "a": "é"})
    '{"a":"é","b":1}'
    """
    return _ENCODER.encode(value)


def canonical_sha256(value: object) -> str:
    """sha256 of a value's canonical JSON in UTF-8, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()
