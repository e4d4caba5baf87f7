"""Fingerprints are those of the bytes and values, whatever the machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from burnish.storage.fingerprint import canonical_json, canonical_sha256, file_sha256


def test_file_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1


def test_file_sha256_of_several_chunks(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x" * 1_000_003)
    assert file_sha256(path) == hashlib.sha256(b"x" * 1_000_003).hexdigest()


def test_canonical_json_sorts_keys_and_keeps_text() -> None:
    assert canonical_json({"b": [1, None], "a": {"é": "ü"}}) == '{"a":{"é":"ü"},"b":[1,null]}'


def test_canonical_sha256_is_blind_to_key_order_and_sees_values() -> None:
    assert canonical_sha256({"a": 1, "b": 2}) == canonical_sha256({"b": 2, "a": 1})
    assert canonical_sha256({"a": 1}) != canonical_sha256({"a": 2})
    assert canonical_sha256("é") == hashlib.sha256('"é"'.encode()).hexdigest()


def test_numbers_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_sha256(float("nan"))
