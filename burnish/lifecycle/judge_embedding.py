"""The verdict of an embedding: whether its vectors find what belongs together better than the base's, or words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from burnish.evaluation.arms import ArmResult
from burnish.evaluation.choices import Choices, popularity_vectors, successor_vectors
from burnish.evaluation.embedding_arms import Sides, bm25_vectors, tf_idf_vectors
from burnish.evaluation.judge import judge
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.similarity import Search
from burnish.lifecycle.embed import embedder
from burnish.lifecycle.embedding_bench import EmbeddingBench
from burnish.lifecycle.embedding_rows import Trial
from burnish.lifecycle.recommendation_rows import catalogue, sequences
from burnish.serving.package import DESCRIPTION, base_of
from burnish.storage.durable import require_undamaged
from burnish.storage.run_folder import RunFolder
from burnish.task.embedding import texts_of
from burnish.types import Split

PARTS = (Split.VALIDATION, Split.TEST)
Embed = Callable[[Trial], Sides]


def judge_embedding(
    folder: RunFolder, bench: EmbeddingBench, runs: Path, opened: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """evaluation.json's content, and the rows of predictions.jsonl."""
    arms = _arms(bench)
    bench.progress.stage("the verdict on the sealed test rows")
    require_undamaged(folder.final)
    description = json.loads((folder.final / DESCRIPTION).read_text(encoding="utf-8"))
    sides = {part: _embed(bench, base_of(folder.final, description, runs))(bench.trials[part]) for part in PARTS}
    tuned = {part: bench.trials[part].answers(*sides[part]) for part in PARTS}
    test, validation = bench.trials[Split.TEST], bench.trials[Split.VALIDATION]
    names = dict.fromkeys([str(bench.recipe.evaluation.metric), *bench.task.metrics])
    evaluation = judge(
        task=bench.task.name,
        metrics=[create_metric(name, ()) for name in names],
        references=test.references,
        tuned=tuned[Split.TEST],
        arms=arms,
        validation_references=validation.references,
        validation_tuned=tuned[Split.VALIDATION],
        options=bench.recipe.evaluation,
        method_name=bench.recipe.method.name if bench.recipe.method else "",
        seed=bench.recipe.training.seed,
        opened=opened,
        further={"judged_by": _described(test)},
    )
    return evaluation, _prediction_rows(bench, tuned[Split.TEST], arms, sides[Split.TEST])


def _arms(bench: EmbeddingBench) -> list[ArmResult]:
    """Similarities that need no fine-tuning."""
    if isinstance(bench.trials[Split.TEST], Choices):
        return _arms_of_choices(bench)
    known = [text for example in bench.data.splits[Split.TRAIN] for text in texts_of(example.row)]
    arms = [_arm("tf-idf-cosine", bench, lambda trial: tf_idf_vectors(known, trial.sides))]
    if isinstance(bench.trials[Split.TEST], Search):
        arms.insert(0, _arm("bm25", bench, lambda trial: bm25_vectors(trial.sides)))
    return [*arms, _arm("base", bench, _embed(bench, bench.base))]


def _arms_of_choices(bench: EmbeddingBench) -> list[ArmResult]:
    """Recommendations that need no fine-tuning."""
    chosen, items = sequences(bench.data.splits), catalogue(bench.data.splits)

    def counted(vectors: Callable[[Sequence[Sequence[str]], Choices], Sides]) -> Embed:
        def both(trial: Trial) -> Sides:
            assert isinstance(trial, Choices)
            return vectors(chosen, trial)

        return both

    return [
        _arm("popularity", bench, counted(popularity_vectors)),
        _arm("successor", bench, counted(successor_vectors)),
        _arm("tf-idf-cosine", bench, lambda trial: tf_idf_vectors(items, trial.sides)),
        _arm("base", bench, _embed(bench, bench.base)),
    ]


def _arm(name: str, bench: EmbeddingBench, embed: Embed) -> ArmResult:
    started = time.perf_counter()
    validation, test = (bench.trials[part].answers(*embed(bench.trials[part])) for part in PARTS)
    return ArmResult(name, validation, test, seconds=time.perf_counter() - started)


def _embed(bench: EmbeddingBench, base: Any) -> Embed:
    """A base's vectors of both sides of what is judged."""
    embed = embedder(base, progress=bench.progress, precision=bench.recipe.training.precision)

    def both(trial: Trial) -> Sides:
        first, second = trial.sides
        vectors_ND = embed([*first, *second])
        return vectors_ND[: len(first)], vectors_ND[len(first) :]

    return both


def _described(trial: Trial) -> dict[str, Any]:
    """What was judged, in numbers."""
    if isinstance(trial, Search):
        counts = np.array(trial.references)
        numbers = {"queries": len(trial.queries), "documents": len(trial.documents)}
        return {"kind": "search", **numbers, "relevant_in_the_middle": float(np.median(counts))}
    return {"kind": "scored pairs", "pairs": len(trial.first)}


def _prediction_rows(
    bench: EmbeddingBench, tuned: Sequence[Any], arms: Sequence[ArmResult], sides: Sides
) -> list[dict[str, Any]]:
    """A row for each query or pair: what belongs to it, and what the tuned model makes of it."""
    trial, examples = bench.trials[Split.TEST], bench.data.splits[Split.TEST]
    if isinstance(trial, Search):
        found = trial.first_found(*sides)
        wanted = [trial.documents[int(relevant[0])] for relevant in trial.relevant]
        said = [
            {"text": query, "wanted": text, "found": first, "relevant": count, "places": list(places)}
            for query, text, first, count, places in zip(
                trial.queries, wanted, found, trial.references, tuned, strict=True
            )
        ]
    else:
        said = [
            {"text": one, "second": other, "score": score, "similarity": similarity}
            for one, other, score, similarity in zip(trial.first, trial.second, trial.references, tuned, strict=True)
        ]
    return [
        {
            "file": examples[row].origin.file,
            "line": examples[row].origin.line,
            **line,
            "arms": {arm.name: arm.test_predictions[index] for arm in arms},
        }
        for index, (row, line) in enumerate(zip(trial.rows, said, strict=True))
    ]
