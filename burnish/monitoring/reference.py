"""The reference of a run: what its monitor compares new rows with, as files that hold no text of any row.

Its rows are test rows. The model learned from the training rows, so it is surer of them than of any others, and its
steps were chosen on the validation rows; only the test rows are to it what new rows are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from burnish.errors import DamagedStoreError
from burnish.monitoring.drift import Sample
from burnish.storage.durable import published_folder, require_undamaged, write_json
from burnish.storage.tensors import load_tensors, save_tensors

FORMAT = 1
_ARRAYS, _KINDS = "reference.safetensors", "reference.json"
_VECTORS, _NUMBER = "vectors", "number."


def save_reference(folder: Path, sample: Sample) -> None:
    """Publishes a sample as a folder with a manifest; vectors in 16 bits."""
    import torch

    arrays = {f"{_NUMBER}{name}": torch.from_numpy(values) for name, values in sample.numbers.items()}
    if sample.vectors is not None:
        arrays[_VECTORS] = torch.from_numpy(sample.vectors.astype(np.float16))
    with published_folder(folder) as place:
        save_tensors(place / _ARRAYS, arrays)
        kinds = {name: list(values) for name, values in sample.kinds.items()}
        write_json(place / _KINDS, {"format": FORMAT, "rows": len(sample), "kinds": kinds})


def load_reference(folder: Path) -> Sample:
    """The sample of a folder.

    Raises:
        DamagedStoreError: [storage/damaged] when a byte of it is not what was written.
    """
    require_undamaged(folder)
    arrays = {name: tensor.numpy() for name, tensor in load_tensors(folder / _ARRAYS).items()}
    content: dict[str, Any] = json.loads((folder / _KINDS).read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        raise DamagedStoreError(
            "storage/damaged", f"this reference has format {content.get('format')}, not {FORMAT}", where=str(folder)
        )
    vectors = arrays.pop(_VECTORS, None)
    return Sample(
        None if vectors is None else vectors.astype(np.float32),
        {name.removeprefix(_NUMBER): values for name, values in arrays.items()},
        content["kinds"],
    )
