"""What a run keeps, there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from burnish.errors import DamagedStoreError
from burnish.monitoring.drift import Sample
from burnish.monitoring.reference import load_reference, save_reference
from burnish.storage.durable import published_folder, write_json

SAMPLE = Sample(
    np.array([[0.6, 0.8], [1.0, 0.0]], np.float32), {"length": np.array([3.0, -np.inf])}, {"prediction": ["a", "b"]}
)


def test_a_sample_comes_back(tmp_path: Path) -> None:
    save_reference(tmp_path / "reference", SAMPLE)
    found = load_reference(tmp_path / "reference")
    assert found.vectors is not None
    assert found.vectors == pytest.approx(np.array([[0.6, 0.8], [1.0, 0.0]]), abs=1e-3)
    assert found.numbers["length"].tolist() == [3.0, -np.inf]
    assert found.kinds == {"prediction": ["a", "b"]}


def test_a_table_has_no_vectors(tmp_path: Path) -> None:
    save_reference(tmp_path / "reference", Sample(None, {"column age": np.array([3.0])}))
    assert load_reference(tmp_path / "reference").vectors is None


def test_another_format_is_refused(tmp_path: Path) -> None:
    save_reference(tmp_path / "old", SAMPLE)
    with published_folder(tmp_path / "reference") as folder:
        (folder / "reference.safetensors").write_bytes((tmp_path / "old" / "reference.safetensors").read_bytes())
        write_json(folder / "reference.json", {"format": 2, "kinds": {}})
    with pytest.raises(DamagedStoreError) as caught:
        load_reference(tmp_path / "reference")
    assert caught.value.code == "storage/damaged"
    assert caught.value.message == "this reference has format 2, not 1"


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    save_reference(tmp_path / "reference", SAMPLE)
    path = tmp_path / "reference" / "reference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": 3}))
    with pytest.raises(DamagedStoreError):
        load_reference(tmp_path / "reference")
