"""Which workbench a task is worked on, and how its verdict is found; `KINDS` is the registration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.prepare import PreparedData
from burnish.errors import RunError
from burnish.lifecycle.chat_bench import ChatBench
from burnish.lifecycle.classifier_bench import ClassifierBench
from burnish.lifecycle.embedding_bench import EmbeddingBench
from burnish.lifecycle.encoder_bench import EncoderBench
from burnish.lifecycle.fit_base import fitted_base
from burnish.lifecycle.image_bench import ImageBench
from burnish.lifecycle.judge_chat import judge_conversations
from burnish.lifecycle.judge_embedding import judge_embedding
from burnish.lifecycle.judge_preferences import judge_preferences
from burnish.lifecycle.judge_seq2seq import judge_written
from burnish.lifecycle.label_set_bench import LabelSetBench
from burnish.lifecycle.number_bench import NumberBench
from burnish.lifecycle.own import Own
from burnish.lifecycle.pair_bench import PairClassifierBench, PairNumberBench
from burnish.lifecycle.preference_bench import PreferenceBench
from burnish.lifecycle.question_bench import QuestionBench
from burnish.lifecycle.seq2seq_bench import Seq2SeqBench
from burnish.lifecycle.tabular_bench import TabularBench
from burnish.lifecycle.tagger_bench import TaggerBench
from burnish.lifecycle.workbench import Workbench
from burnish.model.load import Base
from burnish.recipe.schema import Recipe
from burnish.storage.run_folder import RunFolder
from burnish.task.build import worked_as
from burnish.types import Progress

Judgement = tuple[dict[str, Any], list[dict[str, Any]]]  # evaluation.json's content, rows of predictions.jsonl


def _judge_encoder(folder: RunFolder, bench: EncoderBench, runs: Path, opened: int) -> Judgement:
    return bench.judge(runs, opened)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of task is worked on and judged."""

    bench: Any  # class with set_up
    judge: Callable[[RunFolder, Any, Path, int], Judgement] = _judge_encoder


CLASSIFIER = Kind(ClassifierBench)
KINDS: Mapping[str, Kind] = {
    "text-classification": CLASSIFIER,
    "multi-label-classification": Kind(LabelSetBench),
    "text-regression": Kind(NumberBench),
    "text-pair-classification": Kind(PairClassifierBench),
    "text-pair-regression": Kind(PairNumberBench),
    "token-classification": Kind(TaggerBench),
    "image-classification": Kind(ImageBench),
    "question-answering": Kind(QuestionBench),
    "tabular": Kind(TabularBench, lambda folder, bench, runs, opened: bench.judge(opened)),
    "chat": Kind(ChatBench, judge_conversations),
    "preference": Kind(PreferenceBench, judge_preferences),
    "embedding": Kind(EmbeddingBench, judge_embedding),
    "recommendation": Kind(EmbeddingBench, judge_embedding),
    "seq2seq": Kind(Seq2SeqBench, judge_written),
}


def open_bench(
    recipe: Recipe,
    base: Base,
    data: PreparedData,
    task_class: Any,
    own: Own,
    folder: RunFolder,
    progress: Progress,
) -> Workbench:
    """The bench of a task, set up."""
    base = fitted_base(base, recipe.method)
    kind = _kind_of(task_class)
    if kind is not CLASSIFIER and (own.loss or own.head):
        raise RunError(
            "run/own-parts",
            f"{task_class.name} takes no loss or head of your own",
            where="burnish.train",
            hint="leave them out; text-classification takes both",
        )
    bench: Workbench = kind.bench.set_up(recipe, base, data, task_class, own, folder, progress)
    return bench


def judged(folder: RunFolder, bench: Workbench, runs: Path, opened: int) -> Judgement:
    """The verdict of a run, by the judge of its kind of task."""
    return _kind_of(type(bench.task)).judge(folder, bench, runs, opened)


def _kind_of(task_class: Any) -> Kind:
    """A task that refines another one is worked on and judged as that one is; any other as a classification."""
    return KINDS.get(worked_as(task_class, KINDS) or "", CLASSIFIER)
