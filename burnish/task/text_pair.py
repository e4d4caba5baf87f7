"""Text pairs: what one text is to another, as a class or as a number, from both read together (a cross-encoder).

Inference (does the first say the second?), paraphrases, the relevance of a passage to a question, likeness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from burnish.task.text_classification import TextClassification
from burnish.task.text_regression import TextRegression
from burnish.task.texts import encoded_text
from burnish.types import Encoded, Refusal, Row

METHODS = ("ia3", "adapter", "lora", "freeze", "full")  # peft's prompts do not know which text a token is of


class TextPairClassification(TextClassification):
    """One label per pair of texts."""

    name: ClassVar[str] = "text-pair-classification"
    columns: ClassVar[Mapping[str, type]] = {"first": str, "second": str, "label": str}
    methods: ClassVar[tuple[str, ...]] = METHODS
    row_kinds: ClassVar[tuple[str, ...]] = ("text-pair-classification",)
    learns_from: ClassVar[str] = "two texts with a label"
    row_example: ClassVar[str] = 'pair: {"first": ..., "second": ..., "label": "entailment"}'

    def encode(self, row: Row) -> Encoded | Refusal:
        """Both texts in one segment; the longer one is cut first. The label may be absent when only predicting."""
        target = self.target(row)
        if isinstance(target, Refusal):
            return target
        return encoded_text(self.tokenizer, row["first"], row["second"], targets=target)

    def asked(self, given: Row | str) -> Row:
        """A row to predict for."""
        return _pair(given)


class TextPairRegression(TextRegression):
    """A number per pair of texts, such as how alike they are."""

    name: ClassVar[str] = "text-pair-regression"
    columns: ClassVar[Mapping[str, type]] = {"first": str, "second": str, "score": float}
    metrics: ClassVar[tuple[str, ...]] = ("spearman", "r2", "mae", "rmse")
    methods: ClassVar[tuple[str, ...]] = METHODS
    row_kinds: ClassVar[tuple[str, ...]] = ("pair-score",)
    learns_from: ClassVar[str] = "two texts with a number"
    row_example: ClassVar[str] = 'pair: {"first": ..., "second": ..., "score": 4.5}'

    def encode(self, row: Row) -> Encoded | Refusal:
        """Both texts in one segment; the longer one is cut first. The number may be absent when only predicting."""
        return encoded_text(self.tokenizer, row["first"], row["second"], targets=self.target(row))

    def asked(self, given: Row | str) -> Row:
        """A row to predict for."""
        return _pair(given)


def _pair(given: Row | str) -> dict[str, Any]:
    """Both texts of a row; a single text has no second one."""
    if isinstance(given, str):
        return {"first": given, "second": None}
    return {name: given.get(name) for name in ("first", "second")}
