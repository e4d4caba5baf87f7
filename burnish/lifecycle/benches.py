"""Which workbench a task is worked on."""

from __future__ import annotations

from typing import Any

from burnish.data.prepare import PreparedData
from burnish.lifecycle.chat_bench import ChatBench
from burnish.lifecycle.classifier_bench import ClassifierBench
from burnish.lifecycle.embedding_bench import EmbeddingBench
from burnish.lifecycle.own import Own
from burnish.lifecycle.preference_bench import PreferenceBench
from burnish.model.load import Base
from burnish.recipe.schema import Recipe
from burnish.storage.run_folder import RunFolder
from burnish.types import Progress

Bench = ChatBench | ClassifierBench | EmbeddingBench
BENCHES: dict[str, type[Bench]] = {"chat": ChatBench, "preference": PreferenceBench, "embedding": EmbeddingBench}


def open_bench(
    recipe: Recipe,
    base: Base,
    data: PreparedData,
    task_class: Any,
    own: Own,
    folder: RunFolder,
    progress: Progress,
) -> Bench:
    """The bench of a task, set up; a task of the caller's is a classifier."""
    return BENCHES.get(task_class.name, ClassifierBench).set_up(recipe, base, data, task_class, own, folder, progress)
