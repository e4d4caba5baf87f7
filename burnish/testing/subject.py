"""What the suites check: a task, a way to build its model, and rows; and trainings of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from burnish.data.options import TableOptions
from burnish.data.split import labels_in
from burnish.data.table_columns import fit_table
from burnish.engine.images import image_layout
from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.loop import Training
from burnish.engine.options import CheckpointOptions, TrainingOptions
from burnish.engine.precision import Precision
from burnish.engine.predict import loss_and_predictions, predict_rows
from burnish.method.lora import QLora
from burnish.model.find import find_base
from burnish.model.images import read_preprocessing
from burnish.model.language import load_language_model
from burnish.model.load import Base, load_encoder, load_tokenizer
from burnish.model.marks import find_marks
from burnish.model.options import ModelOptions
from burnish.model.pooled import PooledEncoder
from burnish.model.quantized import NF4
from burnish.model.tabular import TabularTransformer
from burnish.model.template import find_template
from burnish.serving.table_predict import ROWS_ARE_ALIKE
from burnish.settings import settings
from burnish.storage.durable import make_folder
from burnish.storage.run_folder import RunFolder
from burnish.task.chat import Chat
from burnish.task.embedding import Embedding, ScoredPairs
from burnish.task.image_classification import ImageClassification
from burnish.task.mask import Masker
from burnish.task.options import EmbeddingOptions, PreferenceOptions
from burnish.task.preference import Preference, UnpairedPreference
from burnish.task.recommendation import Recommendation
from burnish.task.seq2seq import Seq2Seq
from burnish.task.tabular import Tabular
from burnish.types import Encoded, Method, Progress, Row, Silent, Task

CPU = torch.device("cpu")
FP32 = Precision("fp32", "numbers are compared")


class Builder(Protocol):
    """Gives a new untrained model and its layout, of whole weights or of those in four bits ("nf4")."""

    def __call__(self, quantization: str | None = None) -> tuple[nn.Module, LayoutChoice]: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """A task with what is needed to check it.

    Attributes:
        task: as a run uses it.
        build: gives a new untrained model on the CPU, with the same weights at every call, and its layout.
        rows: 24 or more rows that the task learns from, of different lengths.
        refused: rows that `encode` must refuse.
        complete: what a run adds to encoded rows before it trains on them.
    """

    task: Task
    build: Builder
    rows: Sequence[Row]
    refused: Sequence[Row] = ()
    complete: Callable[[list[Encoded]], list[Encoded]] = list

    def encoded(self) -> list[Encoded]:
        """Every row as the engine wants it."""
        results = [self.task.encode(row) for row in self.rows]
        encoded = [result for result in results if isinstance(result, Encoded)]
        assert len(encoded) == len(results), f"encode refuses {len(results) - len(encoded)} rows that it should accept"
        return self.complete(encoded)

    def learner(self, method: Method) -> tuple[nn.Module, LayoutChoice]:
        """A new model with the method attached, with the same weights at every call, and its layout."""
        model, layout = self.build(NF4 if method.name == QLora.name else None)
        torch.manual_seed(0)
        return method.attach(model), layout

    def training(
        self,
        method: Method,
        folder: Path,
        *,
        progress: Progress | None = None,
        checkpoint_every: int | None = None,
        **options: Any,
    ) -> Training:
        """Two epochs of a new model in `folder`, with a logged line at every step and a checkpoint after each epoch.

        Args:
            checkpoint_every: steps, for more checkpoints than those.
        """
        model, layout = self.learner(method)
        rows = self.encoded()
        make_folder(folder)
        chosen = {"epochs": 2, "learning_rate": 3e-3, "global_batch_size": 8, "average_decay": 0.0, **options}

        def validate(model: nn.Module) -> dict[str, float]:
            return {"loss": loss_and_predictions(self.task, model, rows, layout=layout, precision=FP32, device=CPU)[0]}

        return Training(
            task=self.task,
            method=method,
            model=model,
            rows=rows,
            validate=validate,
            metric="loss",
            higher_is_better=False,
            options=TrainingOptions(log_every_steps=1, **chosen),
            checkpoint=CheckpointOptions(every_steps=checkpoint_every),
            folder=RunFolder(folder),
            layout=layout,
            precision=FP32,
            device=CPU,
            progress=progress or Silent(),
        )

    def predict(self, model: nn.Module, rows: Sequence[Encoded], layout: LayoutChoice) -> list[Row]:
        """The task's predictions in evaluation mode, in the order of the rows."""
        return predict_rows(self.task, model.eval(), rows, layout=layout, precision=FP32, device=CPU)


def subject_over(base: str, task: Any, rows: Sequence[Row], *, refused: Sequence[Row] = ()) -> Subject:
    """A task with a head over a base, named as in a recipe; labels, tags or the spread of scores are the rows'."""
    found = find_base(ModelOptions(base=base), recipe_folder=Path(), runs=settings().runs)
    made = task.rebuilt(load_tokenizer(found.folder), {"max_length": found.max_length, **_learned(rows)})

    def build(quantization: str | None = None) -> tuple[nn.Module, LayoutChoice]:
        encoder = load_encoder(found)
        torch.manual_seed(0)
        model = made.build(encoder, width=found.width, pooling=found.pooling, normalize=found.normalize)
        return model, choose_layout(encoder, subject.encoded(), device=CPU)

    subject = Subject(made, build, rows, refused)
    return subject


def _learned(rows: Sequence[Row]) -> dict[str, Any]:
    """What a task has to know of the training rows, if anything."""
    scores = [row["score"] for row in rows if "score" in row]
    if scores:
        return {"mean": float(np.mean(scores)), "deviation": float(np.std(scores))}
    return {"labels": sorted({label for row in rows for label in labels_in(row)})}


def image_subject_over(base: str, rows: Sequence[Row], *, refused: Sequence[Row] = ()) -> Subject:
    """The task image-classification over an image base; the labels are those of the rows."""
    found = find_base(ModelOptions(base=base), recipe_folder=Path(), runs=settings().runs)
    preprocessing = read_preprocessing(found.folder)
    made = ImageClassification(preprocessing, sorted({row["label"] for row in rows}))

    def build(quantization: str | None = None) -> tuple[nn.Module, LayoutChoice]:
        encoder = load_encoder(found)
        torch.manual_seed(0)
        model = made.build(encoder, width=found.width, pooling=found.pooling, normalize=found.normalize)
        return model, image_layout(preprocessing)

    return Subject(made, build, rows, refused)


def table_subject(rows: Sequence[Row], *, refused: Sequence[Row] = ()) -> Subject:
    """The task tabular over rows with features and a class each."""
    table = fit_table([row["features"] for row in rows], TableOptions())
    made = Tabular(table, sorted({row["target"] for row in rows}))

    def build(quantization: str | None = None) -> tuple[nn.Module, LayoutChoice]:
        torch.manual_seed(0)
        return TabularTransformer(made.shape()), ROWS_ARE_ALIKE

    return Subject(made, build, rows, refused)


def chat_subject_over(base: str, rows: Sequence[Row], *, refused: Sequence[Row] = ()) -> Subject:
    """The task chat over a causal base that has a template."""
    found = find_base(ModelOptions(base=base), recipe_folder=Path(), runs=settings().runs)
    made = Chat(Masker(find_template(found.folder, None), load_tokenizer(found.folder)), max_length=found.context)

    build = _language_builder(found, lambda: subject.encoded())
    subject = Subject(made, build, rows, refused)
    return subject


def embedding_subject_over(
    base: str, rows: Sequence[Row], options: EmbeddingOptions, *, refused: Sequence[Row] = ()
) -> Subject:
    """The task embedding over a base; rows with a score make it one of scored pairs, with a user a recommendation."""
    found = find_base(ModelOptions(base=base), recipe_folder=Path(), runs=settings().runs)
    kind = Recommendation if "user" in rows[0] else ScoredPairs if "score" in rows[0] else Embedding
    made = kind(load_tokenizer(found.folder), options, max_length=found.max_length)

    def build(quantization: str | None = None) -> tuple[nn.Module, LayoutChoice]:
        model = PooledEncoder(load_encoder(found), pooling=found.pooling, normalize=True)
        return model, choose_layout(model.encoder, subject.encoded(), device=CPU)

    subject = Subject(made, build, rows, refused)
    return subject


def seq2seq_subject_over(base: str, rows: Sequence[Row], *, refused: Sequence[Row] = ()) -> Subject:
    """The task seq2seq over an encoder with a decoder."""
    found = find_base(ModelOptions(base=base), recipe_folder=Path(), runs=settings().runs)
    limits = {"max_length": found.max_length, "max_target_length": found.max_length}
    made = Seq2Seq(load_tokenizer(found.folder), find_marks(found.folder), **limits)

    build = _language_builder(found, lambda: subject.encoded())
    subject = Subject(made, build, rows, refused)
    return subject


def preference_subject_over(
    base: str, rows: Sequence[Row], options: PreferenceOptions, *, refused: Sequence[Row] = ()
) -> Subject:
    """The task preference over a causal base that has a template; what the base thinks of the rows is with them."""
    found = find_base(ModelOptions(base=base), recipe_folder=Path(), runs=settings().runs)
    masker = Masker(find_template(found.folder, None), load_tokenizer(found.folder))
    task_class = UnpairedPreference if options.loss == "kto" else Preference
    made = task_class(masker, options, max_length=found.context)
    known: list[Encoded] = []

    def complete(encoded: list[Encoded]) -> list[Encoded]:
        if not known:
            rows = made.with_mismatched(encoded, seed=0) if isinstance(made, UnpairedPreference) else encoded
            model = load_language_model(found).eval()
            layout = choose_layout(model.encoder, rows, device=CPU)
            thought = predict_rows(made, model, rows, layout=layout, precision=FP32, device=CPU)
            for row, reference in zip(rows, thought, strict=True):
                assert row.given is not None
                known.append(replace(row, given=np.concatenate([row.given, reference["log_probabilities"]])))
        return list(known)

    build = _language_builder(found, lambda: subject.encoded())
    subject = Subject(made, build, rows, refused, complete)
    return subject


def _language_builder(base: Base, rows: Callable[[], Sequence[Encoded]]) -> Builder:
    def build(quantization: str | None = None) -> tuple[nn.Module, LayoutChoice]:
        model = load_language_model(replace(base, quantization=quantization))
        return model, choose_layout(model.encoder, rows(), device=CPU)

    return build
