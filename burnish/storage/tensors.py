"""Tensors on disk: safetensors, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import DamagedStoreError
from burnish.storage.durable import explained

if TYPE_CHECKING:
    from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors into `path`, which lies in a folder that `published_folder` makes durable."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with explained(path, sum(t.numel() * t.element_size() for t in plain.values())):
        save_file(plain, path, metadata={"format": "pt", **(metadata or {})})


def save_plain_model(folder: Path, model: Any) -> None:
    """Writes a model of transformers, weights and settings, into a folder that `published_folder` makes durable."""
    with explained(folder, sum(weight.numel() * weight.element_size() for weight in model.parameters())):
        model.save_pretrained(folder, safe_serialization=True)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads all tensors of a file onto the CPU.

    Raises:
        DamagedStoreError: [storage/damaged] when the file is not a readable safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DamagedStoreError(
            "storage/damaged", f"not a readable safetensors file: {error}", where=str(path)
        ) from error
