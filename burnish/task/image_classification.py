"""Image classification: one label out of two or more for each image.

Torch and Pillow are imported where they are used: what a task's columns are is asked without either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from burnish.data.images import image_of, read_image
from burnish.data.records import RefusedRowError
from burnish.task.text_classification import TextClassification
from burnish.types import Encoded, Refusal, Row

if TYPE_CHECKING:
    from burnish.model.images import Preprocessing

PATCH = 16  # pixels of a side of what counts as one unit of work


class ImageClassification(TextClassification):
    """One label per image, from the base's vector of it through a linear head; loss and answers are those of texts.

    Args:
        preprocessing: the base's.
        labels: in the order of the logits.
        label_smoothing, class_weights: as of TextClassification.
    """

    name: ClassVar[str] = "image-classification"
    columns: ClassVar[Mapping[str, type]] = {"image": str, "label": str}
    methods: ClassVar[tuple[str, ...]] = ("head", "lora", "freeze", "full")
    row_kinds: ClassVar[tuple[str, ...]] = ("image-classification",)
    learns_from: ClassVar[str] = "images with a label: a folder per class, or a list of paths and labels"
    row_example: ClassVar[str] = 'image: {"image": "cats/1.jpg", "label": "cat"}'

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
        self._loss = None
        self._weights_C = [class_weights.get(label, 1.0) for label in self.labels] if class_weights else None
        self._class_of = {label: index for index, label in enumerate(self.labels)}

    def describe(self) -> dict[str, Any]:
        """What a package keeps of the task."""
        return {"labels": list(self.labels), "max_length": None}

    @classmethod
    def rebuilt(cls, preprocessing: Any, description: Mapping[str, Any]) -> Self:
        """The task of a package."""
        return cls(preprocessing, description["labels"])

    def encode(self, row: Row) -> Encoded | Refusal:
        """The pixels of the image in the size of the base; the label may be absent when only predicting."""
        import numpy as np

        target = self.target(row)
        if isinstance(target, Refusal):
            return target
        try:
            given = row["image"]  # bytes of an image that was sent, else its path
            picture = image_of(given) if isinstance(given, bytes) else read_image(Path(given))
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
            targets=target,
            pixels=pixels,
        )

    def asked(self, given: Row | str) -> Row:
        """A row to predict for, of a path or of a row with the task's columns; its label is not looked at."""
        return {"image": given} if isinstance(given, str) else {"image": given.get("image")}

    def shown(self, row: Row, prediction: Row) -> Row:
        """The prediction with the path of its image."""
        return {"image": row["image"], **prediction}
