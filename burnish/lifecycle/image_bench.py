"""An image classifier at work: pixels instead of tokens, and a package that plain transformers opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from burnish.data.prepare import PreparedData
from burnish.engine.batch_norm import restate_batch_norms
from burnish.engine.distributed import join_ranks
from burnish.engine.images import image_layout
from burnish.engine.predict import pooled_features
from burnish.engine.rows import EncodedRows
from burnish.errors import ModelError
from burnish.evaluation.arms import ArmResult, base_centroid, base_probe, majority
from burnish.evaluation.image_arms import pixels
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.pictures import small_picture
from burnish.evaluation.report_sections import MOST_ERRORS
from burnish.lifecycle.classifier_bench import ClassifierBench, spread
from burnish.lifecycle.encode import encode_images
from burnish.lifecycle.own import Own
from burnish.lifecycle.workbench import Workbench, settled_machine
from burnish.model.images import FAMILIES, read_preprocessing
from burnish.model.load import Base, load_encoder
from burnish.model.pooled import SCALE, PooledClassifier
from burnish.recipe.schema import Recipe
from burnish.serving.image_package import save_image_package
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Example, Progress, Row, Split

STATISTICS_ROWS, STATISTICS_BATCH = 512, 64  # images that batch norms take their statistics from
OF_A_CLASS, MOST_CLASSES = 8, 20  # pictures in the report


@dataclass(slots=True)
class ImageBench(ClassifierBench):
    """An image base with a head for the labels of the data."""

    @classmethod
    def set_up(
        cls,
        recipe: Recipe,
        base: Base,
        data: PreparedData,
        task_class: Any,
        own: Own,
        folder: RunFolder,
        progress: Progress,
    ) -> Self:
        """Loads the base and decodes all images, unless the cache has them; what was chosen is recorded."""
        ranks = join_ranks()
        device, precision = settled_machine(recipe)
        task = cls.make_task(recipe, base, data, task_class, own)
        encoded = encode_images(task, data, progress)
        model: Any = task.build(load_encoder(base), width=base.width, pooling=base.pooling, normalize=base.normalize)
        return cls(
            recipe=recipe,
            base=base,
            data=data,
            task=task,
            own=own,
            folder=folder,
            progress=progress,
            encoded=encoded,
            problems=[],
            layout=image_layout(task.preprocessing, recipe.augmentation),
            precision=precision,
            device=device,
            model=model.to(device),
            ranks=ranks,
        )

    @classmethod
    def make_task(cls, recipe: Recipe, base: Base, data: PreparedData, task_class: Any, own: Own) -> Any:
        """The task over the base's size and scale of images.

        Raises:
            ModelError: [model/no-images] for a base that reads something else; those of `read_preprocessing`.
        """
        if base.model_type not in FAMILIES:
            raise ModelError(
                "model/no-images",
                f'"{base.name}" ({base.model_type}) reads no images',
                where="model.base",
                known=sorted(FAMILIES),
                hint="name an image model, a folder or a hub id: --set model.base=microsoft/resnet-18",
            )
        return task_class(
            read_preprocessing(base.folder),
            data.labels,
            label_smoothing=recipe.training.label_smoothing,
            class_weights=data.class_weights or None,
        )

    def train_along(self) -> None:
        self._before_steps()  # statistics and scale are computed alike on every rank
        Workbench.train_along(self)

    def _before_steps(self) -> None:
        """Batch norms take the statistics of the training images; then the head starts from the class means."""
        rows = self.encoded[Split.TRAIN]
        few = spread(np.arange(len(rows)), STATISTICS_ROWS).tolist()
        pieces = -(-len(few) // STATISTICS_BATCH)
        places = [few[start::pieces] for start in range(pieces)]  # each from the first class to the last
        base = self.model.base.to(self.device).eval()
        batches = (self.layout.lay_out([rows[i] for i in piece], piece, device=self.device) for piece in places)
        if restate_batch_norms(base, batches):
            self.progress.note(f"batch norms take the statistics of {len(few):,} training images, and keep them")
        ClassifierBench._before_steps(self)

    def _start_vectors(self, rows: EncodedRows) -> np.ndarray[Any, Any]:
        """Vectors of the base with its new statistics; their length decides the scale of the head."""
        vectors = pooled_features(
            self.model.base.eval(), rows, layout=self.layout, precision=self.precision, device=self.device
        )
        self.model.head.scale = SCALE / max(float(np.linalg.norm(vectors, axis=1).mean()), 1e-6)
        return vectors

    def arms(self) -> list[ArmResult]:
        train, validation, test = (self.labels(split) for split in Split)
        features = [self.features(split) for split in Split]
        self.progress.stage("arms that need no fine-tuning: pixels, centroid, probe")
        metric = create_metric(str(self.recipe.evaluation.metric), self.data.labels)
        shown = [self.encoded[split].arrays["pixels"] for split in Split]
        return [
            majority(train, len(validation), len(test)),
            pixels(shown[0], train, shown[1], validation, shown[2], metric),
            base_centroid(features[0], train, features[1], features[2]),
            base_probe(features[0], train, features[1], validation, features[2], metric, self.recipe.training.seed),
        ]

    def prediction_row(self, example: Example, prediction: Row) -> dict[str, Any]:
        return {
            "file": example.origin.file,
            "line": example.origin.line,
            "image": example.row["image"],
            "label": example.row["label"],
            "prediction": prediction["label"],
            "probability": prediction["probability"],
            "margin": prediction["margin"],
        }

    def pictures(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Small copies for the report: training images of each class, and the wrong predictions it shows.

        Args:
            rows: of predictions.jsonl, in the order of the test rows.

        Returns:
            {"classes": {label: [data: URL, ...]}, "errors": {path: data: URL}}.
        """
        train, test = (self.encoded[split].arrays["pixels"] for split in (Split.TRAIN, Split.TEST))
        classes = self._class_ids(Split.TRAIN)
        wrong = [index for index, row in enumerate(rows) if row["label"] != row["prediction"]]
        surest = sorted(wrong, key=lambda index: -float(rows[index]["probability"]))[:MOST_ERRORS]
        return {
            "classes": {
                label: [small_picture(train[place]) for place in spread(np.flatnonzero(classes == number), OF_A_CLASS)]
                for number, label in enumerate(self.data.labels[:MOST_CLASSES])
            },
            "errors": {rows[index]["image"]: small_picture(test[index]) for index in surest},
        }

    def _compacted(self) -> AbstractContextManager[tuple[list[Sequence[Encoded]], str]]:
        return Workbench._compacted(self)  # there are no words to leave out

    def save_final(self, model: PooledClassifier) -> None:
        described = self.described(model)
        self.progress.stage("saving the model")
        save_image_package(self.folder.final, model.cpu(), base=self.base, described=described)
        self.folder.event("saved", path="final")
