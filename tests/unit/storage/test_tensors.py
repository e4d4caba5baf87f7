"""Tensors come back as they were, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch

from burnish.errors import DamagedStoreError, DiskFullError
from burnish.storage.tensors import load_tensors, save_tensors


def test_every_type_and_shape_comes_back_bit_for_bit(tmp_path: Path) -> None:
    tensors = {
        "float": torch.tensor([[1.0, float("nan")], [float("inf"), -0.0]]),
        "half": torch.arange(3, dtype=torch.bfloat16),
        "step": torch.tensor(7.0),
        "state": torch.arange(5, dtype=torch.uint8),
        "empty": torch.zeros(0, 3),
    }
    save_tensors(tmp_path / "a.safetensors", tensors, {"step": "7"})
    loaded = load_tensors(tmp_path / "a.safetensors")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert (
            loaded[name].numpy(force=True).tobytes() == tensor.numpy(force=True).tobytes()
            if (tensor.dtype != torch.bfloat16)
            else torch.equal(loaded[name], tensor)
        )
    with safe_open(tmp_path / "a.safetensors", "pt") as stream:
        assert stream.metadata() == {"format": "pt", "step": "7"}


def test_views_and_weights_that_learn_are_written_as_plain_tensors(tmp_path: Path) -> None:
    whole = torch.arange(6.0).view(2, 3)
    weight = torch.nn.Parameter(torch.ones(2))
    save_tensors(tmp_path / "a.safetensors", {"turned": whole.T, "row": whole[1], "weight": weight})
    loaded = load_tensors(tmp_path / "a.safetensors")
    assert loaded["turned"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert loaded["row"].tolist() == [3.0, 4.0, 5.0]
    assert loaded["weight"].tolist() == [1.0, 1.0]
    assert not loaded["weight"].requires_grad


def test_a_full_disk_is_understood_from_the_librarys_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError('Error while serializing: I/O error: "No space left on device (os error 28)"')

    monkeypatch.setattr(safetensors_torch, "save_file", full)
    with pytest.raises(DiskFullError) as caught:
        save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)})
    assert caught.value.where == str(tmp_path / "a.safetensors")
    assert "12 bytes to write" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 16, b"\x02\0\0\0\0\0\0\0{"])
def test_what_is_not_safetensors_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedStoreError) as caught:
        load_tensors(path)
    assert caught.value.code == "storage/damaged"
    assert caught.value.where == str(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DamagedStoreError, match="not a readable safetensors file"):
        load_tensors(tmp_path / "absent.safetensors")
