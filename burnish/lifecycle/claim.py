"""A folder belongs to the search that began in it: another one would mix its results with those that are there."""

from __future__ import annotations

from pathlib import Path

from burnish.storage.durable import write_json
from burnish.storage.run_folder import RunFolder


def claimed(file: Path, key: str) -> bool:
    """Whether the search with this key may begin, or go on, where its result will be written.

    Args:
        file: of the result; until then it holds the key of who began.
        key: sha256 of all that decides the result.
    """
    if file.is_file():
        return RunFolder(file.parent).content(file).get("key") == key
    write_json(file, {"key": key})
    return True
