"""What is cached comes back as it was, or not at all; nothing depends on it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from burnish.errors import DamagedStoreError
from burnish.storage import cache as caches
from burnish.storage.arrays import load_arrays
from burnish.storage.cache import Cache
from burnish.storage.durable import TEMPORARY, published_folder
from burnish.storage.fingerprint import canonical_sha256

KEYS = [canonical_sha256(i) for i in range(4)]


def test_arrays_come_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "not" / "there")
    assert cache.find(KEYS[0]) is None
    assert cache.keep(KEYS[0], {"a": np.arange(5), "empty": np.zeros(0, dtype=np.int32)})
    found = cache.find(KEYS[0])
    assert found is not None
    assert found["a"].tolist() == [0, 1, 2, 3, 4]
    assert (found["empty"].shape, found["empty"].dtype) == ((0,), np.int32)
    assert cache.find(KEYS[1]) is None


def test_a_cache_that_is_not_read_keeps_what_is_made(tmp_path: Path) -> None:
    anew = Cache(tmp_path, reads=False)
    assert anew.keep(KEYS[0], {"a": np.arange(5)})
    assert anew.find(KEYS[0]) is None
    assert Cache(tmp_path).find(KEYS[0]) is not None


def test_a_damaged_entry_is_not_used_and_goes(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.keep(KEYS[0], {"a": np.arange(5)})
    path = tmp_path / KEYS[0] / "a.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert cache.find(KEYS[0]) is None
    assert list(tmp_path.iterdir()) == []


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    with published_folder(tmp_path / "entry") as folder, (folder / "a.npy").open("wb") as stream:
        np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedStoreError) as caught:
        load_arrays(tmp_path / "entry")
    assert caught.value.code == "storage/damaged"
    assert str(tmp_path / "entry" / "a.npy") in str(caught.value)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=10_000)  # each entry: 4 kB and its manifest
    for age, key in enumerate(KEYS[:2]):
        cache.keep(key, {"a": np.zeros(1_000, dtype=np.int32)})
        os.utime(tmp_path / key, (age, age))
    assert cache.find(KEYS[0]) is not None  # used now
    cache.keep(KEYS[2], {"a": np.zeros(1_000, dtype=np.int32)})
    assert [cache.find(key) is not None for key in KEYS[:3]] == [True, False, True]


def test_an_entry_larger_than_the_limit_is_the_only_one(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=10)
    cache.keep(KEYS[0], {"a": np.arange(5)})
    cache.keep(KEYS[1], {"a": np.arange(5)})
    assert [cache.find(key) is not None for key in KEYS[:2]] == [False, True]


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way", encoding="utf-8")
    assert not Cache(blocked).keep(KEYS[0], {"a": np.arange(5)})
    assert Cache(blocked).find(KEYS[0]) is None


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches, "save_arrays", full)
    cache = Cache(tmp_path)
    assert not cache.keep(KEYS[0], {"a": np.arange(5)})
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_after_an_hour(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.keep(KEYS[0], {"a": np.arange(5)})
    for name, age in (("old", 7_200), ("young", 60)):
        left = tmp_path / f"{TEMPORARY}{name}"
        left.mkdir()
        os.utime(left, (time.time() - age,) * 2)
    cache.keep(KEYS[1], {"a": np.arange(5)})
    assert sorted(path.name for path in tmp_path.glob(f"{TEMPORARY}*")) == [f"{TEMPORARY}young"]
