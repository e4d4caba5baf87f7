"""Image classification: one label out of two or more for each image.

Torch and Pillow are imported where they are used: what a task's columns are is asked without either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from burnish.data.images import read_image
from burnish.data.records import RefusedRowError
from burnish.task.one_label import class_loss, class_of, named, weights_of
from burnish.types import Batch, Encoded, LossTerm, Refusal, Row

if TYPE_CHECKING:
    from torch import nn

    from burnish.model.images import Preprocessing
    from burnish.model.pooled import PooledClassifier

PATCH = 16  # pixels of a side of what counts as one unit of work


class ImageClassification:
    """One label per image, from the base's vector of it through a linear head.

    Args:
        preprocessing: the base's.
        labels: in the order of the logits.
        label_smoothing: probability spread over the other labels, 0..1.
        class_weights: how much a row of each label counts while the model trains, 1 on average over the training rows;
            a label that is not named counts 1. Validation losses count every row alike.
    """

    name: ClassVar[str] = "image-classification"
    columns: ClassVar[Mapping[str, type]] = {"image": str, "label": str}
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro-f1")
    methods: ClassVar[tuple[str, ...]] = ("head", "lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("image-classification",)
    learns_from: ClassVar[str] = "images with a label: a folder per class, or a list of paths and labels"
    row_example: ClassVar[str] = 'image: {"image": "cats/1.jpg", "label": "cat"}'
    decomposable: ClassVar[bool] = True

    def __init__(
        self,
        preprocessing: Preprocessing,
        labels: Sequence[str],
        *,
        label_smoothing: float = 0.1,
        class_weights: Mapping[str, float] | None = None,
    ) -> None:
        self.preprocessing = preprocessing
        self.labels = tuple(labels)
        self.label_smoothing = label_smoothing
        self._weights_C = weights_of(self.labels, class_weights)
        self._class_of = {label: index for index, label in enumerate(self.labels)}

    def describe(self) -> dict[str, Any]:
        """What a package keeps of the task."""
        return {"labels": list(self.labels), "max_length": None}

    @classmethod
    def rebuilt(cls, preprocessing: Preprocessing, description: Mapping[str, Any]) -> Self:
        """The task of a package."""
        return cls(preprocessing, description["labels"])

    def build(self, encoder: nn.Module, *, width: int, pooling: str, normalize: bool) -> PooledClassifier:
        """The base under a new head."""
        from burnish.model.pooled import LinearHead, PooledClassifier

        head = LinearHead(width, len(self.labels), scale=1.0)
        return PooledClassifier(encoder, head, pooling=pooling, normalize=normalize)

    def encode(self, row: Row) -> Encoded | Refusal:
        """The pixels of the image in the size of the base; the label may be absent when only predicting."""
        import numpy as np

        target = class_of(row, self._class_of)
        if isinstance(target, Refusal):
            return target
        try:
            picture = read_image(Path(row["image"]))
        except RefusedRowError as refused:
            return Refusal(refused.code, refused.reason)
        except OSError as error:
            return Refusal("data/missing-image", f"cannot be read: {error.strerror}")
        if row.get("sha256", picture.sha256) != picture.sha256:
            return Refusal("data/image-changed", "the file is not the one that was read before")
        pixels = self.preprocessing.fitted(picture.image)
        height, width, _ = pixels.shape
        return Encoded(
            token_ids=np.zeros(0, dtype=np.int64),
            segment_lengths=(math.ceil(height / PATCH) * math.ceil(width / PATCH),),
            targets=np.array(target, dtype=np.int64),
            pixels=pixels,
        )

    def loss(self, model: nn.Module, batch: Batch) -> LossTerm:
        """Cross-entropy summed over the rows, in nats; smoothed, and weighted by class, only while the model trains."""
        if not model.training:
            return class_loss(model(batch), batch.targets)
        return class_loss(model(batch), batch.targets, smoothing=self.label_smoothing, weights_C=self._weights_C)

    def predict(self, model: nn.Module, batch: Batch) -> list[Row]:
        """{"label", "probability", "margin"} for each row; margin = logit of the first label minus the second's."""
        return named(model(batch), self.labels)

    def reference(self, row: Row) -> str:
        """What metrics compare an answer with."""
        return str(row["label"])

    def answer(self, prediction: Row) -> str:
        """What metrics compare of a prediction."""
        return str(prediction["label"])

    def asked(self, given: Row | str) -> Row:
        """A row to predict for, of a path or of a row with the task's columns; its label is not looked at."""
        return {"image": given} if isinstance(given, str) else {"image": given.get("image")}

    def shown(self, row: Row, prediction: Row) -> Row:
        """The prediction with the path of its image."""
        return {"image": row["image"], **prediction}
