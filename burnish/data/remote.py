"""Files of the Hugging Face hub and of object stores, downloaded once and then read like local ones.

A URL is fetched only because the recipe or the command line names it, and not at all where the settings say offline.
A download is kept under $BURNISH_HOME/cache/data by what the store says about the file (size, time, checksum), so a
file that changes there is downloaded again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from burnish.errors import BurnishError, DataReadError, excerpt
from burnish.settings import settings
from burnish.storage.durable import damage_of, make_folder, published_folder, require_space
from burnish.storage.fingerprint import canonical_sha256

# URL scheme -> the package that reads it, and our extra that installs it. hf:// comes with transformers.
STORES: Mapping[str, tuple[str, str | None]] = {
    "hf": ("huggingface-hub", None),
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gs"),
    "az": ("adlfs", "az"),
}
_NEVER_CHANGES = ("size", "mtime", "LastModified", "last_modified", "ETag", "etag", "blob_id", "created")


def is_remote(name: str) -> bool:
    """Whether a name is the URL of a store rather than a path.

    >>> is_remote("s3://bucket/tickets.csv"), is_remote("data/tickets.csv")
    (True, False)
    """
    scheme, separator, _ = name.partition("://")
    return bool(separator) and scheme in STORES


def fetch(url: str) -> list[tuple[str, Path]]:
    """The files a URL stands for, in the order of their names, as (url, local copy); * and ? are understood.

    Raises:
        DataReadError: [data/offline] when the settings forbid the network, [data/needs-package], [data/missing-file],
            [data/unreachable] with what the store said.
        DiskFullError: [storage/disk-full] when a copy does not fit.
    """
    scheme = url.partition("://")[0]
    if settings().offline or (scheme == "hf" and os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES")):
        raise DataReadError(
            "data/offline",
            "lies in the network, which the settings forbid",
            where=url,
            hint="unset BURNISH_OFFLINE and HF_HUB_OFFLINE, or name a local copy",
        )
    store = _store(scheme, url)
    try:
        places = sorted(store.glob(url)) if any(mark in url for mark in "*?[") else [store._strip_protocol(url)]
        kept = [(f"{scheme}://{place.lstrip('/')}", _local_copy(store, place)) for place in places]
    except FileNotFoundError:
        kept = []
    except BurnishError:
        raise
    except Exception as error:  # each store has errors of its own, of no common kind
        said = excerpt(" ".join(str(error).split()) or type(error).__name__, 200)
        raise DataReadError(
            "data/unreachable",
            f"cannot be fetched: {said}",
            where=url,
            hint="check the name, the network and your keys",
        ) from None
    if not kept:
        raise DataReadError("data/missing-file", "does not exist in the store", where=url, hint="check the name")
    return kept


def _store(scheme: str, url: str) -> Any:
    """The file system of a scheme."""
    import fsspec

    package, extra = STORES[scheme]
    try:
        return fsspec.filesystem(scheme)
    except (ImportError, ValueError) as error:
        raise DataReadError(
            "data/needs-package",
            f"is read with the package {package}, which is not installed",
            where=url,
            hint=f"pip install 'burnish[{extra}]'" if extra else f"pip install {package}",
        ) from error


def _local_copy(store: Any, place: str) -> Path:
    facts = store.info(place)
    known = {key: str(facts[key]) for key in _NEVER_CHANGES if facts.get(key) is not None}
    folder = settings().expanded_home() / "cache" / "data" / canonical_sha256([store.protocol, place, known])[:32]
    name = PurePosixPath(place).name
    if damage_of(folder, (name,)) is not None:
        make_folder(folder.parent)
        require_space(folder.parent, int(facts.get("size") or 0))
        with published_folder(folder) as temporary:
            store.get_file(place, str(temporary / name))
    return folder / name
