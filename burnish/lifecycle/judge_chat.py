"""The verdict of a language model: its answers to held-out prompts against those that need no fine-tuning.

Rows of plain text have no answers; there the loss on each held-out row is compared with the base's.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.predict import predict_rows
from burnish.evaluation.answer_arms import Neighbours, most_frequent_answer, nearest_answer
from burnish.evaluation.arms import ArmResult
from burnish.evaluation.judge_answers import judge_answers
from burnish.lifecycle.chat_bench import ChatBench, last_words, prompt_of, reference_of
from burnish.lifecycle.memorisation import judged_memory
from burnish.model.generate import Sampling
from burnish.serving.answer import Answerer, Prompt, Said
from burnish.serving.language_package import load_packaged_language_model
from burnish.storage.run_folder import RunFolder
from burnish.types import Example, Row, Split

SHOTS = 3  # examples in the prompt of the base
MARGIN = 1.5  # times the longest training answers: an answer may be that long before it is cut


def judge_conversations(
    folder: RunFolder, bench: ChatBench, runs: Path, opened: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """evaluation.json's content, and the rows of predictions.jsonl."""
    if bench.recipe.evaluation.metric == "loss":
        return _judge_texts(folder, bench, runs, opened)
    chosen = {split: _chosen(bench, split) for split in (Split.VALIDATION, Split.TEST)}
    train = [example for example in bench.data.splits[Split.TRAIN] if "messages" in example.row]
    known = [reference_of(bench.task, example.row) for example in train]
    prompts = {split: [prompt_of(example.row) for example in chosen[split]] for split in chosen}
    references = {split: [reference_of(bench.task, e.row) for e in chosen[split]] for split in chosen}
    sampling = Sampling(max_new_tokens=_longest_answer(bench, known), seed=bench.recipe.training.seed)
    near = Neighbours([last_words(prompt_of(example.row)) for example in train])
    words = {split: [last_words(prompt) for prompt in prompts[split]] for split in prompts}
    arms = [
        most_frequent_answer(known, len(prompts[Split.VALIDATION]), len(prompts[Split.TEST])),
        nearest_answer(near, known, words[Split.VALIDATION], words[Split.TEST]),
        *_base_arms(bench, prompts, near, train, sampling),
    ]
    bench.progress.stage("the verdict: answers to the sealed test prompts")
    tuned = Answerer.of_run(folder.final, runs=runs)
    said = {split: tuned.answer(prompts[split], sampling, _advance(bench)) for split in prompts}
    evaluation = judge_answers(
        references=references[Split.TEST],
        tuned=[answer.text for answer in said[Split.TEST]],
        arms=arms,
        validation_references=references[Split.VALIDATION],
        validation_tuned=[answer.text for answer in said[Split.VALIDATION]],
        options=bench.recipe.evaluation,
        method_name=bench.recipe.method.name if bench.recipe.method else "",
        seed=bench.recipe.training.seed,
        opened=opened,
        diagnostics={
            "stopped_by_itself": _stopped(said[Split.TEST]),
            **{f"stopped_by_itself_{arm.name}": arm.settings["stopped"] for arm in arms if "stopped" in arm.settings},
            "max_new_tokens": sampling.max_new_tokens,
        },
    )
    said_texts = [answer.text for answer in said[Split.TEST]]
    evaluation |= judged_memory(bench, tuned, said_texts, arms)
    rows = _prediction_rows(chosen[Split.TEST], prompts[Split.TEST], references[Split.TEST], said[Split.TEST], arms)
    return bench.with_gates(evaluation, tuned.model), rows


def _chosen(bench: ChatBench, split: Split) -> list[Example]:
    """The rows of a part that are answered: all of them, or evenly spread ones up to evaluation.max_prompts."""
    rows = [example for example in bench.data.splits[split] if "messages" in example.row]
    most = bench.recipe.evaluation.max_prompts
    picked = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)).tolist()
    if len(picked) < len(rows):
        bench.progress.note(f"{len(picked):,} of {len(rows):,} {split.value} prompts are answered")
    return [rows[i] for i in picked]


def _longest_answer(bench: ChatBench, answers: Sequence[str]) -> int:
    """Tokens after which an answer is cut: half as much again as nearly all training answers have."""
    tokenizer = bench.task.masker.tokenizer
    some = answers[:: max(1, len(answers) // 2_000)]
    lengths = [len(tokenizer.encode(answer, add_special_tokens=False).ids) for answer in some]
    return max(8, int(MARGIN * float(np.quantile(lengths, 0.99))) + 2)


def _base_arms(
    bench: ChatBench,
    prompts: dict[Split, list[Prompt]],
    near: Neighbours,
    train: Sequence[Example],
    sampling: Sampling,
) -> list[ArmResult]:
    """The base as it comes, and with the most similar training rows in its prompt."""
    base = Answerer.of_base(bench.base, bench.task.masker.template, bench.ends)
    arms = []
    for name in ("base", "base-few-shot"):
        started = time.perf_counter()
        bench.progress.stage(f"answers of {name}")
        asked = prompts
        if name == "base-few-shot":
            asked = {split: _with_examples(base, few, near, train, sampling) for split, few in prompts.items()}
        said = {split: base.answer(asked[split], sampling, _advance(bench)) for split in asked}
        settings: dict[str, Any] = {"stopped": _stopped(said[Split.TEST])}
        if name == "base-few-shot":
            settings["examples"] = SHOTS
        texts = {split: [answer.text for answer in said[split]] for split in said}
        seconds = time.perf_counter() - started
        arms.append(ArmResult(name, texts[Split.VALIDATION], texts[Split.TEST], settings, seconds))
    return arms


def _with_examples(
    base: Answerer, prompts: Sequence[Prompt], near: Neighbours, train: Sequence[Example], sampling: Sampling
) -> list[Prompt]:
    """Each prompt behind its most similar training rows, as many of SHOTS as leave room for the answer."""
    found = []
    for prompt, rows in zip(prompts, near.of([last_words(prompt) for prompt in prompts], SHOTS), strict=True):
        system = [message for message in prompt.messages if message["role"] == "system"]
        rest = [message for message in prompt.messages if message["role"] != "system"]
        longer = prompt
        for count in range(1, len(rows) + 1):
            shown = [m for i in reversed(rows[:count]) for m in train[i].row["messages"] if m["role"] != "system"]
            candidate = Prompt([*system, *shown, *rest], prompt.tools)
            if not base.fits(candidate, sampling.max_new_tokens):
                break
            longer = candidate
        found.append(longer)
    return found


def _advance(bench: ChatBench) -> Any:
    return lambda done, total: bench.progress.advance(done, total, {})


def _stopped(said: Sequence[Said]) -> float:
    return sum(answer.stopped for answer in said) / max(1, len(said))


def _prediction_rows(
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    references: Sequence[str],
    said: Sequence[Said],
    arms: Sequence[ArmResult],
) -> list[dict[str, Any]]:
    return [
        {
            "file": example.origin.file,
            "line": example.origin.line,
            "text": last_words(prompt),
            "conversation": list(prompt.messages),
            "label": reference,
            "prediction": answer.text,
            "stopped": answer.stopped,
            "tokens": answer.tokens,
            "arms": {arm.name: arm.test_predictions[index] for arm in arms},
        }
        for index, (example, prompt, reference, answer) in enumerate(
            zip(examples, prompts, references, said, strict=True)
        )
    ]


def _judge_texts(
    folder: RunFolder, bench: ChatBench, runs: Path, opened: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Losses of the tuned model and of the base on each held-out text."""
    bench.progress.stage("the verdict: the loss on the sealed test texts")
    losses = {}
    for name in ("base", "tuned"):  # in this order: the gates ask the tuned one
        if name == "base":
            model: Any = Answerer.of_base(bench.base, bench.task.masker.template, bench.ends).model
        else:
            model = load_packaged_language_model(folder.final, runs=runs).model.to(bench.device).eval()
        layout = choose_layout(model.encoder, bench.encoded[Split.TEST], device=bench.device)
        losses[name] = {split: _losses(bench, model, layout, split) for split in (Split.VALIDATION, Split.TEST)}
    arm = ArmResult("base", losses["base"][Split.VALIDATION], losses["base"][Split.TEST])
    examples = bench.data.splits[Split.TEST]
    nothing = [""] * len(examples)
    evaluation = judge_answers(
        references=nothing,
        tuned=losses["tuned"][Split.TEST],
        arms=[arm],
        validation_references=[""] * len(bench.data.splits[Split.VALIDATION]),
        validation_tuned=losses["tuned"][Split.VALIDATION],
        options=bench.recipe.evaluation,
        method_name=bench.recipe.method.name if bench.recipe.method else "",
        seed=bench.recipe.training.seed,
        opened=opened,
    )
    if bench.recipe.evaluation.memorisation_rows or bench.recipe.evaluation.canaries:
        evaluation |= judged_memory(bench, Answerer.of_run(folder.final, runs=runs), [], [])
    rows = [
        {
            "file": example.origin.file,
            "line": example.origin.line,
            "text": str(example.row.get("text", ""))[:400],
            "loss": float(tuned),
            "arms": {"base": float(base)},
        }
        for example, tuned, base in zip(examples, losses["tuned"][Split.TEST], arm.test_predictions, strict=True)
    ]
    return bench.with_gates(evaluation, model), rows


def _losses(bench: ChatBench, model: Any, layout: LayoutChoice, split: Split) -> list[str]:
    """Nats per token of each row, as texts."""
    rows = bench.encoded[split]
    found: list[Row] = predict_rows(
        bench.task, model, rows, layout=layout, precision=bench.precision, device=bench.device
    )
    return [repr(float(row["loss"])) for row in found]
