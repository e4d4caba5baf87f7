"""Arrays on disk: one .npy file each, read by mapping them into memory, so that only the pages in use take space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import DamagedStoreError
from burnish.storage.durable import explained

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def save_arrays(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Writes NAME.npy for each array into a folder that `published_folder` makes durable."""
    import numpy as np

    for name, array in arrays.items():
        with explained(folder, array.nbytes), (folder / f"{name}.npy").open("wb") as stream:
            np.save(stream, array, allow_pickle=False)


def load_arrays(folder: Path) -> dict[str, Array]:
    """All arrays of a folder by name, mapped read-only.

    Raises:
        DamagedStoreError: [storage/damaged] when a file is no array.
    """
    import numpy as np

    arrays: dict[str, Array] = {}
    for path in sorted(folder.glob("*.npy")):
        try:
            arrays[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise DamagedStoreError("storage/damaged", f"not a readable array: {error}", where=str(path)) from error
    return arrays
