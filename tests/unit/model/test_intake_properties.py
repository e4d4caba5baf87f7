"""Whatever bytes a model folder holds, the gate answers with an inspection or a coded error."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.errors import ModelError
from burnish.model.intake import inspect_model_folder

numbers = st.integers(-(2**70), 2**70) | st.floats() | st.none() | st.booleans() | st.text(max_size=3)
values = st.recursive(
    numbers,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["auto_map", "weight_map", "model_type", "shape", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
lists = st.lists(numbers, max_size=3) | values
entries = st.fixed_dictionaries({}, optional={"dtype": values, "shape": lists, "data_offsets": lists})
headers = st.dictionaries(st.sampled_from(["__metadata__", "a", "b"]), entries | values) | values
CODES = {"model/not-a-model", "model/no-safetensors", "model/remote-code", "model/path-escape", "model/bad-file"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


def inspected(folder: Path, *, config: Any, index: Any, weights: bytes) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").write_bytes(weights)
    try:
        found = inspect_model_folder(folder)
    except ModelError as error:
        refused = error
    else:
        assert found.parameters >= 0
        return
    assert refused.code in CODES
    assert str(refused.where).startswith(str(folder))


@given(header=headers, data=st.binary(max_size=16))
def test_any_header(folder: Path, header: Any, data: bytes) -> None:
    raw = json.dumps(header).encode()
    weights = struct.pack("<Q", len(raw)) + raw + data
    inspected(folder, config={"model_type": "bert"}, index={"weight_map": {}}, weights=weights)


@given(weights=st.binary(max_size=64))
def test_any_weight_file(folder: Path, weights: bytes) -> None:
    inspected(folder, config={"model_type": "bert"}, index={"weight_map": {}}, weights=weights)


@given(config=values, index=values)
def test_any_config_and_index(folder: Path, config: Any, index: Any) -> None:
    inspected(folder, config=config, index=index, weights=struct.pack("<Q", 2) + b"{}")
