"""Embeddings: one vector for each text, so that texts that belong together lie close together.

Torch is imported where it is used: what a task's columns are is asked without training anything.

Shapes: B rows, K texts of each, G = B K texts of a batch, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from burnish.task.options import EmbeddingOptions
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

TEXTS = ("anchor", "positive", "negative", "first", "second", "text")  # columns that hold texts, in their order


class Embedding:
    """Rows of an anchor, a text that belongs to it and perhaps one that does not; they may say of which label.

    The texts of all other rows of a step serve as further wrong answers, so the loss of a step is that of its rows
    together. Texts that say the same, or rows of the same label, are no wrong answers to each other.

    Args:
        tokenizer: the base's own, without padding or truncation.
        options: scale, directions and lengths of the loss.
        max_length: tokens of each text that are read, special tokens included.
    """

    name: ClassVar[str] = "embedding"
    columns: ClassVar[Mapping[str, type]] = {"anchor": str, "positive": str}
    metrics: ClassVar[tuple[str, ...]] = ("ndcg@10", "recall@1", "recall@10", "mrr@10")
    methods: ClassVar[tuple[str, ...]] = ("lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("embedding", "text-classification")
    learns_from: ClassVar[str] = "texts that belong together, pairs of texts with a score, or texts with a label"
    row_example: ClassVar[str] = 'pair: {"anchor": ..., "positive": ...}'
    decomposable: ClassVar[bool] = False

    def __init__(self, tokenizer: Tokenizer, options: EmbeddingOptions, *, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.options = options
        self.max_length = max_length
        tokenizer.enable_truncation(max_length)

    def describe(self) -> dict[str, Any]:
        """What a package keeps of the task."""
        return {"dimensions": list(self.options.dimensions), "max_length": self.max_length}

    @classmethod
    def rebuilt(cls, tokenizer: Tokenizer, description: Mapping[str, Any]) -> Self:
        """The task of a package."""
        options = EmbeddingOptions(dimensions=tuple(description["dimensions"]))
        return cls(tokenizer, options, max_length=int(description["max_length"]))

    def encode(self, row: Row) -> Encoded | Refusal:
        """The texts of the row as segments; the targets are what tells which of them mean the same, (K,) int64."""
        encodings = [self.tokenizer.encode(text) for text in texts_of(row)]
        if not encodings or not all(encoding.ids for encoding in encodings):
            return Refusal("task/no-tokens", "the tokenizer gives no tokens for a text of this row")
        segments = [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        lost = (part for encoding in encodings for part in encoding.overflowing)
        return Encoded(
            token_ids=np.concatenate(segments),
            segment_lengths=tuple(map(len, segments)),
            targets=self._targets(row, segments),
            truncated_tokens=sum(len(part.ids) - sum(part.special_tokens_mask) for part in lost),
        )

    def _targets(self, row: Row, segments: Sequence[np.ndarray]) -> np.ndarray:
        label = row.get("label")
        if label is not None:
            return np.full(len(segments), identity(str(label).encode()), dtype=np.int64)
        return np.array([identity(ids.tobytes()) for ids in segments], dtype=np.int64)

    def represent(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B, K, D) vectors of the texts of each row, before any comparison."""
        vectors_GD: Tensor = model(batch)
        return vectors_GD.view(batch.row_count, -1, vectors_GD.shape[1])

    def loss_of(self, vectors_BKD: Tensor, targets_BK: Tensor) -> LossTerm:
        """What it costs, in nats, to find each anchor's positive among those of all rows, summed; weight = B rows.

        With `embedding.dimensions` the mean over these lengths and the whole one.
        """
        from burnish.task.embedding_loss import ranking, shortened

        lengths = shortened(vectors_BKD, self.options.dimensions)
        scale, symmetric = self.options.scale, self.options.symmetric
        losses = [ranking(vectors, targets_BK, scale=scale, symmetric=symmetric).sum() for vectors in lengths]
        return LossTerm(sum(losses[1:], losses[0]) / len(losses), float(len(vectors_BKD)))

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """The loss of a batch that is a whole step."""
        return self.loss_of(self.represent(model, batch), batch.targets)

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"embedding": D numbers, of length 1} of the row's first text, and for a row of several texts the
        {"similarity": cosine} of the first two."""
        from torch.nn import functional as F

        unit_BKD = F.normalize(self.represent(model, batch), dim=-1)
        rows: list[Row] = [{"embedding": vector} for vector in unit_BKD[:, 0].tolist()]
        if unit_BKD.shape[1] == 1:
            return rows
        cosines = (unit_BKD[:, 0] * unit_BKD[:, 1]).sum(dim=-1).tolist()
        return [{**row, "similarity": cosine} for row, cosine in zip(rows, cosines, strict=True)]

    def asked(self, given: Row | str) -> Row:
        """A row to predict for: a text, or the texts of a row."""
        if isinstance(given, str):
            return {"text": given}
        return {column: given[column] for column in TEXTS if column in given}

    def shown(self, row: Row, prediction: Row) -> Row:
        """The prediction as it is."""
        return prediction


class ScoredPairs(Embedding):
    """Rows of two texts and a number that is higher the more alike they are, in any unit.

    Only the order of the numbers is learned, which is what Spearman's correlation measures: a scale of 0 to 5 need not
    be made to fit cosines.
    """

    columns: ClassVar[Mapping[str, type]] = {"first": str, "second": str, "score": float}
    metrics: ClassVar[tuple[str, ...]] = ("spearman",)

    def _targets(self, row: Row, segments: Sequence[np.ndarray]) -> np.ndarray:
        return np.array(row.get("score", np.nan), dtype=np.float64)

    def loss_of(self, vectors_BKD: Tensor, targets_BK: Tensor) -> LossTerm:
        """The CoSENT loss of the batch, in nats, times its B rows; weight = B rows."""
        from burnish.task.embedding_loss import cosent, shortened

        lengths = shortened(vectors_BKD, self.options.dimensions)
        losses = [cosent(vectors, targets_BK, scale=self.options.scale) for vectors in lengths]
        rows = len(vectors_BKD)
        return LossTerm(rows * sum(losses[1:], losses[0]) / len(losses), float(rows))


def texts_of(row: Row) -> list[str]:
    """The texts of a row, the anchor or the first one first."""
    return [row[name] for name in TEXTS if name in row]


def identity(said: bytes) -> int:
    """A number for what is said, the same everywhere; two of a million are equal by chance with p = 3e-8."""
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little", signed=True)
