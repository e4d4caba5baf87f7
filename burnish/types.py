"""The nouns every room shares: rows, encoded rows, batches, loss terms, metric values, and the three contracts.

Nothing here imports torch at run time: `burnish --help` and recipe checking must stay light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.nn import Module

Row = Mapping[str, Any]  # canonical column -> value, e.g. {"text": "where is my card", "label": "card_arrival"}


class Split(StrEnum):
    """The three parts of the data: learn / choose and stop / judge once."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from: a file and the physical line of the record's first character (header = line 1)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Provenance(StrEnum):
    """Who wrote a row: a person, a program, or a person who mended what was there."""

    HUMAN = "human"
    SYNTHETIC = "synthetic"
    CORRECTED = "corrected"


_NOTHING: Mapping[str, Any] = {}  # one for all rows: most have nothing beside their canonical columns


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the user's data and its place.

    Attributes:
        row: the canonical columns.
        origin: file and line.
        extra: further columns of the file that the recipe names: groups, times, `data.keep_columns`.
        provenance: who wrote it; synthetic rows never validate or test.
    """

    row: Row
    origin: Origin
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    provenance: Provenance = Provenance.HUMAN


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of problems.jsonl: what is wrong with a row and what was done about it."""

    code: str  # "data/empty-text"
    reason: str  # for people, one sentence
    origin: Origin
    action: str = "dropped"  # dropped | kept | changed
    column: str | None = None
    excerpt: str | None = None  # short, escaped

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "reason": self.reason,
            "file": self.origin.file,
            "line": self.origin.line,
            "action": self.action,
            "column": self.column,
            "excerpt": self.excerpt,
        }


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that a task cannot encode, and why."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as the engine wants it: unpadded, with what the loss reads named.

    Attributes:
        token_ids: (S,) int64, all segments of the row one after the other.
        segment_lengths: lengths that sum to S; tokens attend within their own segment only. One segment for most
            tasks, two or three for pairs and triplets. For an encoder with a decoder two: what the encoder reads, and
            what the decoder is given, whose tokens attend to the first segment as well.
        shared_prefix: tokens of the first segment that the row's other segments begin with, as two answers do with
            their prompt; they are held and computed once. For causal models only, where nothing before depends on
            what follows.
        read_positions: (R,) int64 positions in 0..S-1 whose outputs the loss reads; None when it reads the pooled
            segments.
        targets: what the loss compares with: () class id, (R,) token ids, (C,) scores... in the task's own dtype.
        weight: units this row adds to LossTerm.weight, > 0.
        truncated_tokens: tokens that did not fit into max_length and were left out.
        given: (K,) float64 numbers that the loss needs beside its targets, such as log-probabilities of a reference
            model, or that an encoder with an argument of this name reads beside the tokens; the same K for all rows.
        pixels: (H, W, 3) uint8, the image of a row that has one instead of tokens; all rows of a size. Its only
            segment is as long as patches of 16 x 16 pixels cover it: what it costs.
        token_types: (S,) int64 number of the text each token is of, 0 or 1, for bases that tell two texts apart by it.
    """

    token_ids: np.ndarray[Any, Any]
    segment_lengths: tuple[int, ...]
    targets: np.ndarray[Any, Any]
    read_positions: np.ndarray[Any, Any] | None = None
    weight: float = 1.0
    truncated_tokens: int = 0
    shared_prefix: int = 0
    given: np.ndarray[Any, Any] | None = None
    pixels: np.ndarray[Any, Any] | None = None
    token_types: np.ndarray[Any, Any] | None = None

    @property
    def length(self) -> int:
        """Tokens, or patches of an image."""
        return sum(self.segment_lengths)


# Every token, one of each segment, the rows' read positions, or the one vector that the base itself makes of a row.
Reads = Literal["all", "first", "last", "read", "own"]


class Batch(Protocol):
    """Rows laid out by the engine. Tasks address rows and segments through it and never see padding.

    Shapes: T tokens of all rows, G segments, R tokens whose output is read, D width.
    """

    @property
    def row_count(self) -> int: ...

    @property
    def read_counts(self) -> tuple[int, ...]:
        """Read positions of each row, in order; zeros when the rows name none."""
        ...

    @property
    def targets(self) -> Tensor:
        """(rows, ...) stacked, or (R,) concatenated when the rows name read positions."""
        ...

    @property
    def given(self) -> Tensor | None:
        """(rows, K) float64, when the rows bring such numbers."""
        ...

    def hidden(self, encoder: Module, at: Reads = "all") -> Tensor:
        """Last hidden states of the real tokens, rows in order, no padding: (T, D), or of those `at` names, (R, D).

        Naming what is read saves work: the last layer need not compute the others.
        """
        ...

    def mean(self, hidden_TD: Tensor) -> Tensor:
        """Mean over each segment's own tokens, (G, D)."""
        ...


@dataclass(frozen=True, slots=True)
class LossTerm:
    """A loss as a sum and the number of units it was summed over.

    The engine divides once per optimizer step by the weight of all micro-batches, so the micro-batch size changes
    memory and not the model.

    Attributes:
        total: () float32, nats summed over the batch; carries the gradient.
        weight: units summed over (rows, tokens, pairs), > 0.
        extras: sums over the rows of the batch to log beside the loss, as means over rows.
    """

    total: Tensor
    weight: float
    extras: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A number with its n and its 95 % interval; low and high are None where no interval is defined."""

    name: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True

    def as_dict(self) -> dict[str, Any]:
        return {"value": self.value, "n": self.n, "low": self.low, "high": self.high}


@runtime_checkable
class Task(Protocol):
    """What is learned from which columns."""

    name: ClassVar[str]  # "text-classification"
    columns: ClassVar[Mapping[str, type]]  # canonical columns and their types: {"text": str, "label": str}
    metrics: ClassVar[tuple[str, ...]]  # the first one decides early stopping, unless the recipe says otherwise
    decomposable: ClassVar[bool]  # loss of a batch == sum of the losses of its rows

    def encode(self, row: Row) -> Encoded | Refusal: ...
    def loss(self, model: Module, batch: Batch) -> LossTerm: ...
    def predict(self, model: Module, batch: Batch) -> list[Row]: ...


@runtime_checkable
class Comparing(Protocol):
    """The hook of a task whose loss compares the rows of a step: its `loss` in two parts.

    With it the engine may compute a step in pieces (engine/gradient_cache.py); `loss(model, batch)` must be
    `loss_of(represent(model, batch), batch.targets)`.
    """

    def represent(self, model: Module, batch: Batch) -> Tensor:
        """(rows, ...) what is compared, each row's from that row alone."""
        ...

    def loss_of(self, represented: Tensor, targets: Tensor) -> LossTerm:
        """The loss of the rows of a step together; touches no weights of the model."""
        ...


class Method(Protocol):
    """Which weights learn, and how they are saved and merged."""

    name: ClassVar[str]

    def attach(self, model: Module) -> Module: ...
    def trainable(self, model: Module) -> Mapping[str, Tensor]: ...
    def merge(self, model: Module) -> Module: ...


class Metric(Protocol):
    """A number over predictions and references that shards and processes combine exactly."""

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None: ...
    def merge(self, other: Self) -> None: ...
    def compute(self) -> MetricValue: ...


class Progress(Protocol):
    """What the engine tells whoever watches; a face draws it."""

    def stage(self, name: str) -> None: ...
    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


class Silent:
    """A Progress that says nothing."""

    def stage(self, name: str) -> None: ...
    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
