"""Encoded rows as a few flat arrays: a hundred thousand of them cost what their tokens cost, and lie on disk if asked.

Shapes: N rows, T tokens of all rows, G segments, R read positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from burnish.types import Encoded

Array = np.ndarray[Any, Any]

AT_ONCE = 4_096  # rows that become arrays together: as objects they take several times the bytes
MIXED = "either all rows name read positions or none does"
ZERO = {"prefixes": "truncated", "types": "tokens"}  # arrays that some rows need not have -> one that is as long


class EncodedRows(Sequence[Encoded]):
    """Rows that look like a list of `Encoded` and are views into flat arrays.

    Args:
        arrays: "tokens" (T,), "row_ends" (N,), "segments" (G,) lengths, "segment_ends" (N,), "weights" (N,),
            "truncated" (N,), "targets" (N, ...) or (R, ...), for rows that name read positions "reads" (R,) and
            "read_ends" (N,), and where rows have them "prefixes" (N,) shared by segments, "types" (T,) of tokens,
            "given" (N, K) and "pixels" (N, H, W, 3). Ends count from the first row on; rows of pixels have no tokens.
        place: (V,) new token id of each old one; None keeps them.
    """

    def __init__(self, arrays: Mapping[str, Array], *, place: Array | None = None) -> None:
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}  # a mapped one is slower to cut
        self.place = place

    @classmethod
    def of(cls, rows: Iterable[Encoded]) -> Self:
        """The rows in flat arrays; rows that are already are given back.

        Raises:
            ValueError: when some rows name read positions and others do not.
        """
        if isinstance(rows, cls):
            return rows
        waiting, parts = iter(rows), list[dict[str, Array]]()
        while part := list(islice(waiting, AT_ONCE)):
            parts.append(_flat(part))
        return cls(_one_behind_the_other(parts) if parts else _flat([]))

    def __len__(self) -> int:
        return len(self.arrays["row_ends"])

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> list[Encoded]: ...
    def __getitem__(self, index: int | slice) -> Encoded | list[Encoded]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row, arrays = index % len(self), self.arrays
        own = _span(arrays["row_ends"], row)
        tokens = arrays["tokens"][own]
        reads = _span(arrays["read_ends"], row) if "reads" in arrays else None
        return Encoded(
            token_ids=tokens if self.place is None else self.place[tokens],
            segment_lengths=tuple(arrays["segments"][_span(arrays["segment_ends"], row)].tolist()),
            targets=arrays["targets"][row if reads is None else reads],
            read_positions=None if reads is None else arrays["reads"][reads],
            weight=float(arrays["weights"][row]),
            truncated_tokens=int(arrays["truncated"][row]),
            shared_prefix=int(arrays["prefixes"][row]) if "prefixes" in arrays else 0,
            given=arrays["given"][row] if "given" in arrays else None,
            pixels=arrays["pixels"][row] if "pixels" in arrays else None,
            token_types=arrays["types"][own].astype(np.int64) if "types" in arrays else None,
        )

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,) tokens of each row."""
        return np.diff(self.arrays["row_ends"], prepend=0)

    def vocabulary(self) -> Array:
        """The token ids that occur, sorted."""
        ids = np.unique(self.arrays["tokens"])
        return ids if self.place is None else np.unique(self.place[ids])

    def with_more_given(self, numbers_NK: Array) -> EncodedRows:
        """The same rows, each with K numbers behind those it brings."""
        before = [self.arrays["given"]] if "given" in self.arrays else []
        return EncodedRows(self.arrays | {"given": np.concatenate([*before, numbers_NK], axis=1)}, place=self.place)

    def renumbered(self, place: Array) -> EncodedRows:
        """The same rows with token id `place[i]` instead of i."""
        return EncodedRows(self.arrays, place=place if self.place is None else place[self.place])


def lengths_of(rows: Sequence[Encoded]) -> npt.NDArray[np.int64]:
    """(N,) tokens of each row."""
    return rows.lengths if isinstance(rows, EncodedRows) else np.array([row.length for row in rows], np.int64)


def _flat(rows: Sequence[Encoded]) -> dict[str, Array]:
    """The arrays of some rows."""
    reading = [row for row in rows if row.read_positions is not None]
    if reading and len(reading) < len(rows):
        raise ValueError(MIXED)
    arrays: dict[str, Array] = {
        "tokens": _joined([row.token_ids for row in rows]).astype(np.int32),
        "row_ends": np.cumsum([row.length for row in rows], dtype=np.int64),
        "segments": np.array([length for row in rows for length in row.segment_lengths], dtype=np.int32),
        "segment_ends": np.cumsum([len(row.segment_lengths) for row in rows], dtype=np.int64),
        "weights": np.array([row.weight for row in rows], dtype=np.float64),
        "truncated": np.array([row.truncated_tokens for row in rows], dtype=np.int32),
    }
    if reading:
        arrays["reads"] = _joined([row.read_positions for row in rows])
        arrays["read_ends"] = np.cumsum([len(row.targets) for row in rows], dtype=np.int64)
        arrays["targets"] = _joined([row.targets for row in rows])
    else:
        arrays["targets"] = np.stack([row.targets for row in rows]) if rows else np.zeros(0)
    if any(row.shared_prefix for row in rows):
        arrays["prefixes"] = np.array([row.shared_prefix for row in rows], dtype=np.int32)
    if any(row.token_types is not None for row in rows):
        arrays["types"] = _joined([_types_of(row) for row in rows]).astype(np.int8)
    if rows and rows[0].given is not None:
        arrays["given"] = np.stack([row.given for row in rows if row.given is not None])
    if rows and rows[0].pixels is not None:
        arrays["pixels"] = np.stack([row.pixels for row in rows if row.pixels is not None])
    return arrays


def _one_behind_the_other(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """The arrays of all rows, from those of some rows each; where a part has no prefixes or types, they are zero."""
    if len(parts) == 1:
        return parts[0]
    if len({"reads" in part for part in parts}) > 1:
        raise ValueError(MIXED)
    joined = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        pieces = [part[name] if name in part else np.zeros(len(part[ZERO[name]]), np.int8) for part in parts]
        if name.endswith("_ends"):
            starts = np.cumsum([0, *(int(ends[-1]) for ends in pieces[:-1])])
            pieces = [ends + start for ends, start in zip(pieces, starts, strict=True)]
        joined[name] = np.concatenate(pieces)
    return joined


def _types_of(row: Encoded) -> Array:
    return np.zeros(row.length, np.int64) if row.token_types is None else row.token_types


def _joined(pieces: Sequence[Any]) -> Array:
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)


def _span(ends: Array, row: int) -> slice:
    return slice(int(ends[row - 1]) if row else 0, int(ends[row]))
