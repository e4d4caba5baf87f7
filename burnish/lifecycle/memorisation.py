"""What a language model learned by heart, and what its answers are flagged for: beside the verdict, when asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from burnish.engine.layout_choice import choose_layout
from burnish.engine.predict import predict_rows
from burnish.engine.rows import EncodedRows
from burnish.errors import DataProblemError
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.memorisation import (
    FEWEST_TOKENS,
    alternatives,
    exposure,
    judge_continuations,
    judge_flags,
)
from burnish.lifecycle.canaries import answer_moderator, read_canaries
from burnish.lifecycle.chat_bench import ChatBench
from burnish.model.generate import Sampling
from burnish.recipe.schema import Recipe
from burnish.serving.answer import Answerer
from burnish.task.mask import Segment
from burnish.types import Encoded, Example, Row, Split

MOST_TOKENS = 64  # of a second half: what is reproduced so far is reproduced
Continued = list[tuple[list[int], list[int]]]  # what the model goes on with, and what stood there


def judged_memory(bench: ChatBench, tuned: Answerer, said: Sequence[str], arms: Sequence[ArmResult]) -> dict[str, Any]:
    """{"memorisation", "flagged"} of evaluation.json, as far as the recipe asks for them.

    Args:
        tuned: the tuned model.
        said: its answers to the test prompts; none for texts.
        arms: with the base's answers to the same prompts.
    """
    options, found = bench.recipe.evaluation, dict[str, Any]()
    memory: dict[str, Any] = {}
    if options.memorisation_rows:
        bench.progress.stage("training rows, gone on with from their first half")
        pairs = [_continued(bench, tuned, split) for split in (Split.TRAIN, Split.TEST)]
        if all(pairs):
            memory["continuations"] = judge_continuations(*pairs)
        else:
            bench.progress.warn(f"answers under {2 * FEWEST_TOKENS} tokens are too short to be gone on with")
    if options.canaries is not None:
        bench.progress.stage("planted secrets, ranked among random ones")
        memory["canaries"] = _exposures(bench, tuned, Path(options.canaries))
    if memory:
        found["memorisation"] = memory
    base = next((arm for arm in arms if arm.name == "base"), None)
    if options.moderator is not None and said and base is not None:
        bench.progress.stage(f"answers judged by {options.moderator}")
        judge = answer_moderator(options)
        flags = {"tuned": judge(list(said)), "base": judge([str(answer) for answer in base.test_predictions])}
        shares = judge_flags(*([bool(categories) for categories in flags[name]] for name in ("tuned", "base")))
        counts = {name: dict(Counter(c for each in flags[name] for c in each).most_common()) for name in flags}
        found["flagged"] = {"moderator": options.moderator, **shares, "categories": counts}
    return found


def _continued(bench: ChatBench, tuned: Answerer, split: Split) -> Continued:
    """Greedy continuations of the first halves of some rows, and their second halves."""
    prefixes, wanted = [], []
    rows = _spread(bench.data.found[split] if split is Split.TRAIN else bench.data.splits[split], bench.recipe)
    for example in rows:
        if not isinstance(bench.task.encode(example.row), Encoded):
            continue
        segment = bench.task.segments(example.row)[0 if "text" in example.row else -1]
        start, end = _last_learned(segment, tuned.ends)
        middle = (start + end) // 2
        if end - middle >= FEWEST_TOKENS:
            prefixes.append(segment.token_ids[:middle].tolist())
            wanted.append(segment.token_ids[middle : min(end, middle + MOST_TOKENS)].tolist())
    if not wanted:
        return []
    longest = max(map(len, wanted))
    said = tuned.write(prefixes, Sampling(max_new_tokens=longest))
    return [(answer.token_ids[: len(own)], own) for answer, own in zip(said, wanted, strict=True)]


def _spread(examples: Sequence[Example], recipe: Recipe) -> list[Example]:
    count = min(len(examples), recipe.evaluation.memorisation_rows)
    places = np.unique(np.linspace(0, len(examples) - 1, count).round().astype(int)).tolist()
    return [examples[i] for i in places]


def _last_learned(segment: Segment, ends: Sequence[int]) -> tuple[int, int]:
    """Where the last learned stretch of a segment begins and ends, without the token that ends a turn."""
    learned = np.flatnonzero(segment.learned)
    first = learned[np.flatnonzero(np.diff(learned, prepend=learned[0] - 2) > 1)[-1]]
    end = int(learned[-1]) + 1
    return int(first), end - (int(segment.token_ids[end - 1]) in ends)


def _exposures(bench: ChatBench, tuned: Answerer, path: Path) -> list[dict[str, Any]]:
    """The exposure of every canary; most exposed first."""
    found = []
    layout = None
    for row, secret, origin in read_canaries(path):
        secrets = [secret, *alternatives(secret, bench.recipe.training.seed)]
        rows = [bench.task.encode(_replaced(row, secret, other)) for other in secrets]
        if not all(isinstance(each, Encoded) for each in rows):
            raise DataProblemError("data/bad-canary", "cannot be read by this model", where=str(origin))
        encoded = EncodedRows.of(rows)
        layout = layout or choose_layout(tuned.model.encoder, encoded, device=tuned.device)
        losses = predict_rows(
            bench.task, tuned.model, encoded, layout=layout, precision=bench.precision, device=tuned.device
        )
        nats = [float(said["loss"]) * float(said["tokens"]) for said in losses]
        found.append({"file": origin.file, "line": origin.line, **exposure(nats[0], nats[1:])})
    return sorted(found, key=lambda entry: -entry["exposure"])


def _replaced(row: Row, secret: str, other: str) -> Row:
    """The row with another secret where the model learned the first."""
    if "messages" in row:
        *before, last = row["messages"]
        return {**row, "messages": [*before, {**last, "content": last["content"].replace(secret, other)}]}
    return {**row, "text": row["text"].replace(secret, other)}
