"""Rows in flat arrays are the rows that went in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.engine import rows as rows_module
from burnish.engine.rows import EncodedRows, lengths_of
from burnish.storage.arrays import load_arrays, save_arrays
from burnish.types import Encoded


def same(one: Encoded, other: Encoded) -> bool:
    return (
        np.array_equal(one.token_ids, other.token_ids)
        and one.segment_lengths == other.segment_lengths
        and np.array_equal(one.targets, other.targets)
        and (one.read_positions is None) == (other.read_positions is None)
        and (one.read_positions is None or np.array_equal(one.read_positions, other.read_positions))  # type: ignore[arg-type]
        and (one.weight, one.truncated_tokens) == (other.weight, other.truncated_tokens)
    )


def classified(lengths: Sequence[int]) -> list[Encoded]:
    return [
        Encoded(np.arange(n) + 7 * i, (n,), np.array(i), weight=1.0 + i, truncated_tokens=i)
        for i, n in enumerate(lengths)
    ]


def reading() -> list[Encoded]:
    """Rows of one and two segments that read one, two and no positions."""
    return [
        Encoded(np.array([5, 6, 7]), (2, 1), np.array([6, 7]), read_positions=np.array([0, 1])),
        Encoded(np.array([8]), (1,), np.array([9]), read_positions=np.array([0])),
        Encoded(np.array([1, 2]), (2,), np.zeros(0, dtype=np.int64), read_positions=np.zeros(0, dtype=np.int64)),
    ]


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_what_goes_in_comes_out(lengths: list[int]) -> None:
    rows, flat = classified(lengths), EncodedRows.of(classified(lengths))
    assert all(same(a, b) for a, b in zip(rows, flat, strict=True))
    assert lengths_of(flat).tolist() == lengths_of(rows).tolist() == lengths


def test_rows_that_read_positions() -> None:
    assert all(same(a, b) for a, b in zip(reading(), EncodedRows.of(reading()), strict=True))


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_rows_become_arrays_a_few_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only some rows have is zero for the others, wherever they are divided."""
    alike = [replace(row, shared_prefix=i == 2, token_types=np.ones(row.length, np.int64) if i == 3 else None)
             for i, row in enumerate(classified([3, 1, 4, 2, 5]))]  # fmt: skip
    for rows in (alike, [*reading(), *reading()[::-1]]):
        whole = EncodedRows.of(rows)
        with monkeypatch.context() as patched:
            patched.setattr(rows_module, "AT_ONCE", at_once)
            found = EncodedRows.of(iter(rows))
        assert found.arrays.keys() == whole.arrays.keys()
        for name, array in whole.arrays.items():
            assert np.array_equal(found.arrays[name], array), name
            assert found.arrays[name].dtype == array.dtype, name
    monkeypatch.setattr(rows_module, "AT_ONCE", at_once)
    with pytest.raises(ValueError, match="read positions"):
        EncodedRows.of([*classified([3, 1, 2]), *reading()])
    assert len(EncodedRows.of([])) == 0


def test_it_is_used_like_a_list() -> None:
    rows, flat = classified([3, 1, 2]), EncodedRows.of(classified([3, 1, 2]))
    assert same(flat[-1], rows[2])
    assert [row.length for row in flat[:2]] == [3, 1]
    assert EncodedRows.of(flat) is flat
    with pytest.raises(IndexError):
        flat[3]
    assert len(EncodedRows.of([])) == 0


def test_rows_of_two_kinds_do_not_mix() -> None:
    with pytest.raises(ValueError, match="either all rows name read positions or none does"):
        EncodedRows.of([*reading(), *classified([2])])


def test_token_ids_are_renumbered_when_they_are_read() -> None:
    flat = EncodedRows.of([Encoded(np.array([4, 2, 4]), (3,), np.array(0))])
    assert flat.vocabulary().tolist() == [2, 4]
    place = np.array([0, 0, 1, 0, 2])
    small = flat.renumbered(place)
    assert small[0].token_ids.tolist() == [2, 1, 2]
    assert small.vocabulary().tolist() == [1, 2]
    assert small.renumbered(np.array([9, 8, 7]))[0].token_ids.tolist() == [7, 8, 7]
    assert flat[0].token_ids.tolist() == [4, 2, 4]


@pytest.mark.parametrize("rows", [classified([3, 1]), reading()])
def test_they_lie_on_disk_and_are_the_same(rows: list[Encoded], tmp_path: Path) -> None:
    save_arrays(tmp_path, EncodedRows.of(rows).arrays)
    arrays = load_arrays(tmp_path)
    assert isinstance(arrays["tokens"], np.memmap)
    assert all(same(a, b) for a, b in zip(rows, EncodedRows(arrays), strict=True))


def test_shared_beginnings_and_given_numbers_come_back() -> None:
    pair = Encoded(
        token_ids=np.arange(7),
        segment_lengths=(4, 3),
        targets=np.array([3, 5, 6]),
        read_positions=np.array([2, 1, 4]),
        shared_prefix=2,
        given=np.array([1.0]),
    )
    rows = EncodedRows.of([pair, replace(pair, shared_prefix=0)])
    assert [row.shared_prefix for row in rows] == [2, 0]
    more = rows.with_more_given(np.array([[-3.5, -2.0], [0.0, 1.0]]))
    assert more[0].given is not None
    assert more[0].given.tolist() == [1.0, -3.5, -2.0]
    assert rows[0].given is not None
    assert rows[0].given.tolist() == [1.0]
