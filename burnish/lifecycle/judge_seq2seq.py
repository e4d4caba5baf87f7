"""The verdict of an encoder with a decoder: its texts for held-out sources against those that need no fine-tuning.

Rows with the same source are one question with several right answers: they are written for once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from burnish.evaluation.answer_arms import Neighbours, copied_source, most_frequent_answer, nearest_answer
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.judge import judge
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.metrics.texts import TEXT_METRICS
from burnish.lifecycle.seq2seq_bench import Seq2SeqBench
from burnish.serving.answer import Said
from burnish.serving.writer import Writer
from burnish.storage.run_folder import RunFolder
from burnish.types import Example, Split

MARGIN = 1.5  # times the longest training targets: a text may be that long before it is cut


@dataclass(frozen=True, slots=True)
class Question:
    """A source with every target its rows give."""

    source: str
    targets: tuple[str, ...]
    example: Example  # its first row


def judge_written(
    folder: RunFolder, bench: Seq2SeqBench, runs: Path, opened: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """evaluation.json's content, and the rows of predictions.jsonl."""
    asked = {split: _chosen(bench, split) for split in (Split.VALIDATION, Split.TEST)}
    references = {split: [question.targets for question in asked[split]] for split in asked}
    most = _longest(bench)
    arms = _arms(bench, asked, most)
    bench.progress.stage("the verdict: texts for the sealed test sources")
    tuned = Writer.of_run(folder.final, runs=runs)
    said = {split: _written(bench, tuned, asked[split], most) for split in asked}
    decider = str(bench.recipe.evaluation.metric)
    evaluation = judge(
        task=bench.task.name,
        metrics=[
            create_metric(name, ()) for name in dict.fromkeys([decider, *(metric.name for metric in TEXT_METRICS)])
        ],
        references=references[Split.TEST],
        tuned=[each.text for each in said[Split.TEST]],
        arms=arms,
        validation_references=references[Split.VALIDATION],
        validation_tuned=[each.text for each in said[Split.VALIDATION]],
        options=bench.recipe.evaluation,
        method_name=bench.recipe.method.name if bench.recipe.method else "",
        seed=bench.recipe.training.seed,
        opened=opened,
        further={
            "diagnostics": {
                "stopped_by_itself": sum(each.stopped for each in said[Split.TEST]) / len(said[Split.TEST]),
                "max_new_tokens": most,
                "references": sum(len(targets) for targets in references[Split.TEST]),
            }
        },
    )
    return evaluation, _prediction_rows(asked[Split.TEST], said[Split.TEST], arms)


def questions(examples: Sequence[Example]) -> list[Question]:
    """The distinct sources in the order of their first rows, with all their targets."""
    together: dict[str, list[Example]] = {}
    for example in examples:
        together.setdefault(str(example.row["source"]), []).append(example)
    return [
        Question(source, tuple(dict.fromkeys(str(row.row["target"]) for row in rows)), rows[0])
        for source, rows in together.items()
    ]


def _chosen(bench: Seq2SeqBench, split: Split) -> list[Question]:
    """The questions of a part that are written for: all of them, or evenly spread ones up to evaluation.max_prompts."""
    found = questions(bench.data.splits[split])
    most = bench.recipe.evaluation.max_prompts
    picked = np.unique(np.linspace(0, len(found) - 1, min(len(found), most)).round().astype(int)).tolist()
    if len(picked) < len(found):
        bench.progress.note(f"{len(picked):,} of {len(found):,} {split.value} sources are written for")
    return [found[i] for i in picked]


def _longest(bench: Seq2SeqBench) -> int:
    """Tokens after which a text is cut: half as much again as nearly all training targets have."""
    rows = bench.encoded[Split.TRAIN]
    lengths = [len(row.targets) for row in rows[:: max(1, len(rows) // 2_000)]]
    return int(min(bench.task.max_target_length, max(8, int(MARGIN * float(np.quantile(lengths, 0.99))) + 2)))


def _arms(bench: Seq2SeqBench, asked: dict[Split, list[Question]], most: int) -> list[ArmResult]:
    """The arms without a model, and the base as it comes where it has been trained."""
    train = [example.row for example in bench.data.splits[Split.TRAIN]]
    known = [str(row["target"]) for row in train]
    sources = {split: [question.source for question in asked[split]] for split in asked}
    validation, test = sources[Split.VALIDATION], sources[Split.TEST]
    bench.progress.stage("arms that need no fine-tuning: copy, most frequent, nearest")
    near = Neighbours([str(row["source"]) for row in train])
    arms = [
        most_frequent_answer(known, len(validation), len(test)),
        copied_source(validation, test),
        nearest_answer(near, known, validation, test),
    ]
    if bench.base.initialization == "pretrained":
        started = time.perf_counter()
        bench.progress.stage("texts of the base as it comes")
        base = Writer.of_base(bench.base, bench.task)
        texts = {split: [each.text for each in _written(bench, base, asked[split], most)] for split in asked}
        seconds = time.perf_counter() - started
        arms.append(ArmResult("base", texts[Split.VALIDATION], texts[Split.TEST], {}, seconds))
    return arms


def _written(bench: Seq2SeqBench, writer: Writer, asked: Sequence[Question], most: int) -> list[Said]:
    return writer.write(
        [question.source for question in asked],
        max_new_tokens=most,
        advance=lambda done, total: bench.progress.advance(done, total, {}),
    )


def _prediction_rows(
    asked: Sequence[Question], said: Sequence[Said], arms: Sequence[ArmResult]
) -> list[dict[str, Any]]:
    return [
        {
            "file": question.example.origin.file,
            "line": question.example.origin.line,
            "text": question.source,
            "label": question.targets[0],
            "references": list(question.targets),
            "prediction": text.text,
            "stopped": text.stopped,
            "tokens": text.tokens,
            "arms": {arm.name: arm.test_predictions[index] for arm in arms},
        }
        for index, (question, text) in enumerate(zip(asked, said, strict=True))
    ]
