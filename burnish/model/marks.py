"""The tokens an encoder with a decoder begins and ends a text with, as its own config.json says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import ModelError


@dataclass(frozen=True, slots=True)
class Marks:
    """Token ids.

    Attributes:
        start: what the decoder is given before the first token of a text.
        end: what it says behind the last one.
        pad: what fills the places of a grid that nothing stands at.
    """

    start: int
    end: int
    pad: int


def find_marks(folder: Path) -> Marks:
    """The marks of a model folder.

    Raises:
        ModelError: [model/no-marks] when config.json does not say with which tokens a text starts and ends.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    start, end = _token(config, "decoder_start_token_id"), _token(config, "eos_token_id")
    missing = [name for name, token in (("decoder_start_token_id", start), ("eos_token_id", end)) if token is None]
    if start is None or end is None:
        raise ModelError(
            "model/no-marks",
            f"says no {' and no '.join(missing)}: the model does not know where a text starts and ends",
            where=str(path),
            hint="take the numbers from the model's card; for T5 they are 0 and 1",
        )
    pad = _token(config, "pad_token_id")
    return Marks(start, end, end if pad is None else pad)


def _token(config: dict[str, Any], name: str) -> int | None:
    """A token id; of several ends the first."""
    value = config.get(name)
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) else None
