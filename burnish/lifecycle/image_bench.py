"""An image classifier at work: pixels instead of tokens, and a package that plain transformers opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from burnish.data.prepare import PreparedData
from burnish.engine.distributed import join_ranks
from burnish.engine.images import image_layout
from burnish.errors import ModelError
from burnish.lifecycle.classifier_bench import ClassifierBench
from burnish.lifecycle.encode import encode_images
from burnish.lifecycle.own import Own
from burnish.lifecycle.workbench import Workbench, settled_machine
from burnish.model.images import FAMILIES, read_preprocessing
from burnish.model.load import Base, load_encoder
from burnish.model.pooled import PooledClassifier, PooledEncoder
from burnish.recipe.schema import Recipe
from burnish.serving.image_package import save_image_classifier
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Progress, Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from burnish.task.image_classification import ImageClassification


@dataclass(slots=True)
class ImageBench(ClassifierBench):
    """An image base with a head for the labels of the data."""

    @classmethod
    def set_up(
        cls,
        recipe: Recipe,
        base: Base,
        data: PreparedData,
        task_class: type[Any],
        own: Own,
        folder: RunFolder,
        progress: Progress,
    ) -> ImageBench:
        """Loads the base and decodes all images, unless the cache has them; what was chosen is recorded.

        Raises:
            ModelError: [model/no-images] for a base that reads something else, [model/no-preprocessing].
        """
        if base.model_type not in FAMILIES:
            raise ModelError(
                "model/no-images",
                f'"{base.name}" ({base.model_type}) reads no images',
                where="model.base",
                known=sorted(FAMILIES),
                hint="name the folder or hub id of an image model: --set model.base=microsoft/resnet-18",
            )
        ranks = join_ranks()
        device, precision = settled_machine(recipe)
        preprocessing = read_preprocessing(base.folder)
        task: ImageClassification = task_class(
            preprocessing,
            data.labels,
            label_smoothing=recipe.training.label_smoothing,
            class_weights=data.class_weights or None,
        )
        encoded = encode_images(task, data, progress)
        model: Any = task.build(load_encoder(base), width=base.width, pooling=base.pooling).to(device)
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
            layout=image_layout(preprocessing, recipe.augmentation),
            precision=precision,
            device=device,
            model=model,
            ranks=ranks,
        )

    def _base_anew(self) -> PooledEncoder:
        encoder = load_encoder(self.base).to(self.device)
        return PooledEncoder(encoder, pooling=self.base.pooling, normalize=False)

    def _compacted(self) -> AbstractContextManager[tuple[list[Sequence[Encoded]], str]]:
        return Workbench._compacted(self)

    def save_final(self, model: PooledClassifier) -> None:
        self.progress.stage("saving the model")
        assert self.recipe.method is not None
        save_image_classifier(
            self.folder.final,
            model.cpu(),
            base=self.base,
            labels=self.data.labels,
            method=self.recipe.method.name,
            task=self.task.name,
        )
        self.folder.event("saved", path="final")
