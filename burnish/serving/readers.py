"""Models that do not write token by token, in the form that batches are made of: reading apart from computing.

What a client sends is a text or a row. An image comes as a data: URL; a path or another URL is refused, never opened.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.precision import choose_device, choose_precision
from burnish.engine.predict import pooled_features
from burnish.errors import DataProblemError, excerpt
from burnish.model.load import Base, load_encoder, load_tokenizer, require_known_tokens
from burnish.model.pooled import PooledEncoder
from burnish.serving.batching import Prepared
from burnish.serving.lanes import bytes_of
from burnish.serving.predict import Predictor, hold_for_prediction
from burnish.serving.recommend import Recommender
from burnish.serving.table_predict import TablePredictor
from burnish.serving.writer import Writer
from burnish.task.image_classification import ImageClassification
from burnish.types import Encoded, Row

PROBE = "a"  # a text that shows where a tokenizer puts its special tokens
MAX_IMAGE_BYTES = 10 * 2**20
IMAGE_KINDS = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/webp;base64,", "data:image/gif;base64,")


class Labels:
    """Whatever a `Predictor` predicts: labels, tags, numbers, spans, vectors, classes of images."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._of_images = isinstance(predictor.task, ImageClassification)

    def prepare(self, given: Sequence[Any]) -> list[Prepared]:
        if self._of_images:
            return [self._image(index, one) for index, one in enumerate(given)]
        found = self.predictor.prepared(given)
        return [Prepared((row, encoded), len(encoded.token_ids)) for row, encoded in found]

    def answer(self, prepared: Sequence[Prepared]) -> list[Row]:
        found = self.predictor.predict_encoded([each.content[1] for each in prepared])
        shown = self.predictor.task.shown
        rows = [shown(each.content[0], said) for each, said in zip(prepared, found, strict=True)]
        return [{k: v for k, v in row.items() if k != "image"} for row in rows] if self._of_images else rows

    def _image(self, index: int, given: Any) -> Prepared:
        """The pixels of an image that was sent whole."""
        sent = given.get("image") if isinstance(given, Mapping) else given
        (encoded,) = self.predictor.encoded([{"image": image_bytes(sent, f"item {index + 1}")}])
        return Prepared(({"image": ""}, encoded), 1)

    @property
    def size_bytes(self) -> int:
        return bytes_of(self.predictor.model)


class Texts:
    """What a `Writer` writes: an encoder with a decoder, taking the likeliest token each time."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def prepare(self, given: Sequence[Any]) -> list[Prepared]:
        return [Prepared(ids, len(ids) + self.writer.task.max_target_length) for ids in self.writer.prepared(given)]

    def answer(self, prepared: Sequence[Prepared]) -> list[Row]:
        found = self.writer.write_ids([each.content for each in prepared])
        return [{"answer": said.text, "tokens": said.tokens, "stopped": said.stopped} for said in found]

    @property
    def size_bytes(self) -> int:
        return bytes_of(self.writer.model)


class Cells:
    """What a model of a table says of rows."""

    def __init__(self, table: TablePredictor) -> None:
        self.table = table

    def prepare(self, given: Sequence[Any]) -> list[Prepared]:
        self.table.require_rows(given)
        return [Prepared(row, len(row)) for row in given]

    def answer(self, prepared: Sequence[Prepared]) -> list[Row]:
        return self.table.predict([each.content for each in prepared])

    @property
    def size_bytes(self) -> int:
        return bytes_of(self.table.model)


class Items:
    """What a recommendation recommends."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender

    def prepare(self, given: Sequence[Any]) -> list[Prepared]:
        found = self.recommender.predictor.prepared(given)
        return [
            Prepared((one, row, encoded), len(encoded.token_ids))
            for one, (row, encoded) in zip(given, found, strict=True)
        ]

    def answer(self, prepared: Sequence[Prepared]) -> list[Row]:
        found = self.recommender.predictor.predict_encoded([each.content[2] for each in prepared])
        return self.recommender.best_of([each.content[0] for each in prepared], found)

    @property
    def size_bytes(self) -> int:
        return bytes_of(self.recommender.predictor.model)


@dataclass(slots=True)
class Vectors:
    """The vectors of texts, of length 1: of a tuned sentence encoder, or of a base as it comes.

    Attributes:
        max_length: tokens of a text that are read, special ones included.
    """

    model: PooledEncoder
    tokenizer: Any
    max_length: int
    precision: Any
    device: Any
    width: int
    _layout: LayoutChoice | None = None

    @classmethod
    def of_base(cls, base: Base) -> Vectors:
        """A base as it comes."""
        tokenizer = load_tokenizer(base.folder)
        device = choose_device()
        encoder = load_encoder(base, unaltered=True).to(device)
        require_known_tokens(tokenizer, encoder, base.folder)
        model = PooledEncoder(encoder, pooling=base.pooling, normalize=True).eval()
        return cls._made(model, tokenizer, base.max_length, base.width)

    @classmethod
    def of_run(cls, predictor: Predictor, width: int) -> Vectors:
        """A tuned one."""
        return cls._made(predictor.model, predictor.task.tokenizer, predictor.task.max_length, width)

    @classmethod
    def _made(cls, model: Any, tokenizer: Any, max_length: int, width: int) -> Vectors:
        tokenizer.enable_truncation(max_length)
        device = next(model.parameters()).device
        return cls(model, tokenizer, max_length, choose_precision("auto", device), device, width)

    def prepare(self, given: Sequence[Any]) -> list[Prepared]:
        """Texts, or their tokens, which the special ones of the base are put around."""
        texts = [one for one in given if isinstance(one, str)]
        encodings = iter(self.tokenizer.encode_batch(texts) if texts else ())
        found = []
        for index, one in enumerate(given):
            ids = next(encodings).ids if isinstance(one, str) else self._completed(index, one)
            if not ids:
                raise DataProblemError("predict/bad-text", "the text has no tokens", where=f"item {index + 1}")
            found.append(Prepared(np.asarray(ids, np.int64), len(ids)))
        return found

    def answer(self, prepared: Sequence[Prepared]) -> list[np.ndarray]:
        """(D,) float32 each."""
        rows = [Encoded(each.content, (len(each.content),), targets=np.asarray(0)) for each in prepared]
        if self._layout is None:
            self._layout = choose_layout(self.model.encoder, rows, device=self.device)
            hold_for_prediction(self.model, rows, self._layout, self.precision, self.device)
        found = pooled_features(self.model, rows, layout=self._layout, precision=self.precision, device=self.device)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return list(found / np.maximum(lengths, 1e-12))

    @property
    def size_bytes(self) -> int:
        return bytes_of(self.model)

    def _completed(self, index: int, ids: Sequence[int]) -> list[int]:
        """Token ids of a text as the tokenizer itself would give them."""
        words = self.tokenizer.get_vocab_size(with_added_tokens=True)
        if any(not 0 <= token < words for token in ids):
            raise DataProblemError(
                "predict/bad-text", f"a token is not one of the {words:,} of this model", where=f"item {index + 1}"
            )
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(is_pair=False)
        around = self.tokenizer.encode(PROBE)
        special = around.special_tokens_mask
        begin = next((place for place, is_special in enumerate(special) if not is_special), len(special))
        end = begin + special.count(0)
        return [*around.ids[:begin], *list(ids)[:room], *around.ids[end:]]


def image_bytes(sent: Any, where: str) -> bytes:
    """The bytes of an image in a data: URL.

    Raises:
        DataProblemError: [predict/bad-image] for anything else, e.g. a path.
    """
    kind = next((kind for kind in IMAGE_KINDS if isinstance(sent, str) and sent.startswith(kind)), None)
    if kind is None:
        raise DataProblemError(
            "predict/bad-image",
            f'"{excerpt(str(sent))}" is not an image in a data: URL',
            where=where,
            hint='send the image itself: {"image": "data:image/png;base64,..."}; no path or other URL is opened',
        )
    try:
        content = base64.b64decode(sent[len(kind) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataProblemError("predict/bad-image", "the image is not valid base64", where=where) from error
    if len(content) > MAX_IMAGE_BYTES:
        raise DataProblemError("predict/bad-image", f"the image is larger than {MAX_IMAGE_BYTES:,} bytes", where=where)
    return content
