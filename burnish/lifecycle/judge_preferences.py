"""The verdict of a preference model: whether it tells the better answer of held-out pairs, and what it answers itself.

The reward of an answer is the one its loss trains: for `dpo` and `kto` beta times the log-ratio to the base, for
`simpo` and `orpo` the mean log-probability of its tokens. A reward can be right because the better answers are simply
longer, or because the base knew: both are arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from burnish.engine.layout_choice import choose_layout
from burnish.engine.predict import predict_rows
from burnish.engine.segments import own_attention
from burnish.evaluation.arms import ArmResult, majority, tf_idf
from burnish.evaluation.judge_answers import judge_answers
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.preference_arms import Pair, by_length, by_words, said
from burnish.lifecycle.chat_bench import last_words, prompt_of
from burnish.lifecycle.preference_bench import PreferenceBench
from burnish.lifecycle.resolve import answer_text
from burnish.model.generate import Sampling
from burnish.serving.answer import Answerer
from burnish.storage.run_folder import RunFolder
from burnish.types import Example, Row, Split

SHOWN_ANSWERS, ANSWER_TOKENS = 8, 128  # test prompts that tuned model and base answer for the report
PARTS = (Split.VALIDATION, Split.TEST)
METRIC = "reward-accuracy"
GOOD, BAD = "good", "bad"


def judge_preferences(
    folder: RunFolder, bench: PreferenceBench, runs: Path, opened: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """evaluation.json's content, and the rows of predictions.jsonl."""
    bench.progress.stage("the verdict: the rewards of the sealed test answers")
    tuned = Answerer.of_run(folder.final, runs=runs)
    base = Answerer.of_base(bench.base, bench.task.masker.template, bench.ends)
    tuned.open()
    base.open()
    found = {split: bench.margins(split, rows) for split, rows in _predicted(bench, tuned).items()}
    arms = _arms(bench, base, found)
    references = {split: _references(bench, found[split]) for split in PARTS}
    answers = {split: _answers(bench, found[split]) for split in PARTS}
    margins = np.array([margin for _, margin in found[Split.TEST]])
    evaluation = judge_answers(
        references=references[Split.TEST],
        tuned=answers[Split.TEST],
        arms=arms,
        validation_references=references[Split.VALIDATION],
        validation_tuned=answers[Split.VALIDATION],
        options=bench.recipe.evaluation,
        method_name=bench.recipe.method.name if bench.recipe.method else "",
        seed=bench.recipe.training.seed,
        task=bench.task.name,
        opened=opened,
        diagnostics={"loss": bench.recipe.preference.loss, "reward_margin": _mean_with_interval(margins)},
    )
    spoken = _spoken(bench, tuned, base, [example for example, _ in found[Split.TEST]])
    rows = [
        {
            "file": example.origin.file,
            "line": example.origin.line,
            "text": last_words(prompt_of(example.row)),
            "label": references[Split.TEST][i],
            "prediction": answers[Split.TEST][i],
            "margin": margin,
            "arms": {arm.name: arm.test_predictions[i] for arm in arms},
            **spoken.get(i, {}),
        }
        for i, (example, margin) in enumerate(found[Split.TEST])
    ]
    return bench.with_gates(evaluation, tuned.model), rows


def _predicted(bench: PreferenceBench, answerer: Answerer) -> dict[Split, list[Row]]:
    """What a model, loaded as it was saved, thinks of the validation and the test answers."""
    model = answerer.model
    layout = choose_layout(model.encoder, bench.encoded[Split.TEST], device=bench.device)
    options: Any = {"layout": layout, "precision": bench.precision, "device": bench.device}
    return {split: predict_rows(bench.task, model, bench.encoded[split], **options) for split in PARTS}


def _references(bench: PreferenceBench, found: Sequence[tuple[Example, float]]) -> list[str]:
    if bench.paired:
        return said([1.0] * len(found))
    return [GOOD if example.row["label"] else BAD for example, _ in found]


def _answers(bench: PreferenceBench, found: Sequence[tuple[Example, float]]) -> list[str]:
    """What the margins say; of a single answer, whether it has a reward above zero."""
    if bench.paired:
        return said([margin for _, margin in found])
    rewards = [margin if example.row["label"] else -margin for example, margin in found]
    return [GOOD if reward > 0 else BAD for reward in rewards]


def _arms(bench: PreferenceBench, base: Answerer, found: dict[Split, list[tuple[Example, float]]]) -> list[ArmResult]:
    """The ways to tell the better answer that need no fine-tuning."""
    train = bench.data.splits[Split.TRAIN]
    if not bench.paired:
        texts = {split: [_text(e.row["completion"]) for e, _ in found[split]] for split in PARTS}
        labels = [GOOD if example.row["label"] else BAD for example in train]
        validation = _references(bench, found[Split.VALIDATION])
        seed = bench.recipe.training.seed
        known = [_text(example.row["completion"]) for example in train]
        words = tf_idf(
            known, labels, texts[Split.VALIDATION], validation, texts[Split.TEST], create_metric(METRIC, ()), seed=seed
        )
        return [majority(labels, len(texts[Split.VALIDATION]), len(texts[Split.TEST])), words]
    pairs = {split: _pairs([example for example, _ in found[split]], bench, split) for split in PARTS}
    likely = {split: _of_base(bench, split, rows) for split, rows in _predicted(bench, base).items()}
    return [
        by_length(pairs[Split.VALIDATION], pairs[Split.TEST]),
        by_words(_pairs(train, bench, Split.TRAIN), pairs[Split.VALIDATION], pairs[Split.TEST]),
        *(
            ArmResult(name, said(likely[Split.VALIDATION][place]), said(likely[Split.TEST][place]))
            for place, name in enumerate(("base", "base-mean"))
        ),
    ]


def _pairs(examples: Sequence[Example], bench: PreferenceBench, split: Split) -> list[Pair]:
    """The texts of the better and the worse answer of each pair."""
    if examples and "chosen" in examples[0].row:
        return [Pair(_text(e.row["chosen"]), _text(e.row["rejected"])) for e in examples]
    texts: dict[tuple[str, bool], str] = {
        (str(e.origin), bool(e.row["label"])): _text(e.row["completion"]) for e in bench.data.splits[split]
    }
    places = dict.fromkeys(str(example.origin) for example in examples)
    return [
        Pair(texts[place, True], texts[place, False])
        for place in places
        if (place, True) in texts and (place, False) in texts
    ]


def _of_base(bench: PreferenceBench, split: Split, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """Margins of the base's log-probability, of the whole answers and per token."""
    whole = [_first_two(row, per_token=False) for row in rows]
    mean = [_first_two(row, per_token=True) for row in rows]
    return _margins(bench, split, whole), _margins(bench, split, mean)


def _first_two(row: Row, *, per_token: bool) -> list[float]:
    values = zip(row["log_probabilities"], row["tokens"], strict=True)
    return [value / tokens if per_token else value for value, tokens in values]


def _margins(bench: PreferenceBench, split: Split, values: Sequence[Sequence[float]]) -> list[float]:
    return [margin for _, margin in bench.margins(split, [{"rewards": value} for value in values])]


def _spoken(
    bench: PreferenceBench, tuned: Answerer, base: Answerer, examples: Sequence[Example]
) -> dict[int, dict[str, Any]]:
    """What tuned model and base answer to the first test prompts, by the number of the row."""
    bench.progress.stage("answers to some test prompts")
    prompts = {i: prompt_of(example.row) for i, example in enumerate(examples[:SHOWN_ANSWERS])}
    fitting = {i: prompt for i, prompt in prompts.items() if tuned.fits(prompt, ANSWER_TOKENS)}
    sampling = Sampling(max_new_tokens=ANSWER_TOKENS, seed=bench.recipe.training.seed)
    with own_attention(tuned.model), own_attention(base.model):
        both = [answerer.answer(list(fitting.values()), sampling) for answerer in (tuned, base)]
    return {
        i: {"answer": mine.text, "base_answer": other.text, "stopped": mine.stopped}
        for i, mine, other in zip(fitting, *both, strict=True)
    }


def _mean_with_interval(values_N: np.ndarray[Any, Any]) -> dict[str, float | int]:
    """The mean with its 95 % interval by the central limit theorem."""
    n = len(values_N)
    mean, half = float(values_N.mean()), 1.96 * float(values_N.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    return {"value": mean, "low": mean - half, "high": mean + half, "n": n}


def _text(messages: Sequence[Row]) -> str:
    """What an answer says, turn by turn, calls of tools as JSON."""
    return "\n".join(filter(None, (answer_text({"messages": [message]}) for message in messages)))
