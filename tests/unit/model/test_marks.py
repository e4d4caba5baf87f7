"""The tokens a text starts and ends with, read from config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ModelError
from burnish.model.marks import Marks, find_marks


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}, Marks(0, 1, 0)),
        ({"decoder_start_token_id": 2, "eos_token_id": [2, 3], "pad_token_id": 1}, Marks(2, 2, 1)),
        ({"decoder_start_token_id": 0, "eos_token_id": 1}, Marks(0, 1, 1)),  # any token may fill a place nobody reads
    ],
)
def test_marks(config: dict[str, Any], wanted: Marks, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find_marks(tmp_path) == wanted


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({"eos_token_id": 1}, "says no decoder_start_token_id:"),
        ({"decoder_start_token_id": 0, "eos_token_id": []}, "says no eos_token_id:"),
        ({"decoder_start_token_id": True}, "says no decoder_start_token_id and no eos_token_id:"),
    ],
)
def test_a_model_without_marks(config: dict[str, Any], missing: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        find_marks(tmp_path)
    assert (caught.value.code, caught.value.where) == ("model/no-marks", str(tmp_path / "config.json"))
    assert missing in caught.value.message
    assert caught.value.hint == "take the numbers from the model's card; for T5 they are 0 and 1"
