"""Trainings on rows with one system prompt: computed once per micro-batch, to the same numbers, on to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.engine.distributed import Ranks
from burnish.engine.faults import halve_micro_batch
from burnish.engine.loop import Training
from burnish.engine.passes import Sums
from burnish.method.lora import Lora
from burnish.task.options import PreferenceOptions
from burnish.testing import Subject, chat_subject_over, preference_subject_over
from burnish.testing.method import check_micro_batches, check_resume

SYSTEM = {"role": "system", "content": "answer with a word of the question, and never with any other word at all"}
Check = Callable[[Subject, Any, Path], None]


@pytest.fixture(scope="module", params=["chat", "preference"])
def instructed(request: pytest.FixtureRequest, language_base: Path, conversations: list[dict[str, Any]]) -> Subject:
    """40 conversations, or 24 pairs of answers to their questions, behind one system prompt."""
    asked = [(each["messages"][-2], each["messages"][-1]) for each in conversations]
    if request.param == "chat":
        return chat_subject_over(str(language_base), [{"messages": [SYSTEM, *turns]} for turns in asked[:40]])
    pairs = [
        {"prompt": [SYSTEM, question], "chosen": [answer], "rejected": [{**answer, "content": "never, my dear"}]}
        for question, answer in asked[:24]
    ]
    return preference_subject_over(str(language_base), pairs, PreferenceOptions(loss="dpo"))


@pytest.mark.parametrize("check", [check_micro_batches, check_resume])
def test_what_holds_for_every_training_holds_with_a_shared_beginning(
    instructed: Subject, check: Check, tmp_path: Path
) -> None:
    """Pieces of unequal size share different parts; a training that was killed goes on to the bit."""
    assert instructed.training(Lora(rank=2), tmp_path / "looked-at").passes.shared >= 16
    check(instructed, Lora(rank=2), tmp_path)


def one_step(training: Training, max_tokens: int) -> tuple[Sums, int]:
    """What eight rows add up to, and how many tokens were computed for them."""
    seen: list[int] = []
    table = training.model.encoder.get_input_embeddings()  # type: ignore[operator]
    hook = table.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numel()))
    training.model.train()
    sums = Sums()
    training.passes.add_up(range(8), sums, step=0, max_tokens=max_tokens, factor=0.0, ranks=Ranks())
    hook.remove()
    return sums, sum(seen)


def test_a_step_computes_the_beginning_once_and_gives_the_same(instructed: Subject, tmp_path: Path) -> None:
    """Counted, and next to the same step with every row's own beginning: loss and gradient."""
    found = []
    for across in (False, True):
        training = instructed.training(Lora(rank=2), tmp_path / str(across), dropout=0.0)
        training.passes.layout = dataclasses.replace(training.passes.layout, across=across)
        sums, tokens = one_step(training, 100_000)
        gradient = torch.cat([w.grad.flatten() for w in training.trainable.values() if w.grad is not None])
        found.append((sums, tokens, gradient))
    (plain, every, wanted), (shared, computed, gradient) = found
    passes = training.passes
    assert every == passes.tokens_of(range(8))
    assert computed <= every - 7 * passes.shared
    # float32: the same sums in another order
    assert shared.total == pytest.approx(plain.total, rel=1e-5)
    assert float((gradient - wanted).norm()) <= 1e-4 * float(wanted.norm())


def test_micro_batches_hold_more_rows_for_it_and_still_halve(instructed: Subject, tmp_path: Path) -> None:
    training = instructed.training(Lora(rank=2), tmp_path)
    passes, rows = training.passes, range(16)
    room = passes.shared + sum(passes.lengths[row] - passes.shared for row in range(6))
    pieces = passes.pieces(rows, room)
    assert len(pieces[0]) == 6
    assert sum(passes.lengths[row] for row in range(6)) > room
    assert all(passes.tokens_at_once(piece) <= room for piece in pieces)
    training.faults.micro_batch_tokens = room
    while len(pieces) < len(rows):
        before = training.faults.micro_batch_tokens
        how: dict[str, Any] = {"step": 1, "rows_per_step": 8, "recompute": training.recompute, "at_first": room}
        halve_micro_batch(training.faults, passes, rows, training.journal, **how)
        assert training.faults.micro_batch_tokens < before
        pieces = passes.pieces(rows, training.faults.micro_batch_tokens)
