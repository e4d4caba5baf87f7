"""No single flipped bit of a published folder goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.storage.durable import MANIFEST, damage_of, published_folder

FILES = {"weights.safetensors": bytes(range(256)), "state.json": b'{"step": 12}\n', "empty": b""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("published") / "step-1"
    with published_folder(target) as temporary:
        for name, data in FILES.items():
            (temporary / name).write_bytes(data)
    return target


@given(name=st.sampled_from([MANIFEST, *FILES]), place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(folder: Path, name: str, place: int, bit: int) -> None:
    path = folder / name
    before = path.read_bytes()
    if before:
        data = bytearray(before)
        data[place % len(data)] ^= 1 << bit
        path.write_bytes(data)
    else:
        path.write_bytes(b"\0")
    try:
        assert damage_of(folder) is not None
    finally:
        path.write_bytes(before)
    assert damage_of(folder) is None


@given(name=st.sampled_from([MANIFEST, *FILES]), share=st.floats(0, 1, exclude_max=True))
def test_every_truncation_is_found(folder: Path, name: str, share: float) -> None:
    path = folder / name
    before = path.read_bytes()
    kept = before[: int(share * len(before))]
    if kept in (before, before.rstrip()):  # the manifest's last newline says nothing
        return
    path.write_bytes(kept)
    try:
        assert damage_of(folder) is not None
    finally:
        path.write_bytes(before)
