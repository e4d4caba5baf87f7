"""The largest micro-batch, computed for its memory alone: nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.engine import rehearsal
from burnish.engine.passes import Passes
from burnish.engine.rehearsal import rehearse, surely_fits
from burnish.engine.sampler import epoch_batches, tokens_at_once
from burnish.types import LossTerm
from tests.unit.engine.test_faults import Harmful, no_memory

Make = Callable[..., Any]


def test_a_rehearsal_changes_nothing_but_the_micro_batch(make_training: Make, tmp_path: Path) -> None:
    """Memory that ends in it is dealt with before the first step, and the run is the one it would have been."""
    plain = make_training(tmp_path / "a", dropout=0.3)
    plain.run()
    rehearsed = make_training(tmp_path / "b", dropout=0.3)
    before = {name: weight.clone() for name, weight in rehearsed.trainable.items()}
    rehearse(rehearsed)
    assert all(
        torch.equal(weight, before[name]) and weight.grad is None for name, weight in rehearsed.trainable.items()
    )
    rehearsed.run()
    assert all(torch.equal(weight, plain.trainable[name]) for name, weight in rehearsed.trainable.items())
    short = make_training(tmp_path / "c", loss=Harmful([1], no_memory), dropout=0.3)
    rehearse(short)
    assert (short.step, short.faults.memory_retries) == (0, 1)
    assert short.faults.micro_batch_tokens < tokens_at_once(None, torch.device("cpu"))
    assert short.run().skipped_steps == 0


def test_the_largest_micro_batch_is_rehearsed(
    make_training: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rows times the longest of them, what padded rows and the attention take."""
    training = make_training(tmp_path, lengths=[3] * 30 + [16] * 3 + [5] * 7)
    seen: list[list[int]] = []

    def kept(_: Passes, piece: list[int], step: int) -> LossTerm:
        seen.append(piece)
        return LossTerm(torch.zeros(()), 1.0)

    monkeypatch.setattr(Passes, "forward_backward", kept)
    rehearse(training)
    batches = epoch_batches(training.passes.lengths, batch_size=training.options.global_batch_size, seed=13, epoch=0)
    sizes = [len(batch) * max(training.passes.lengths[i] for i in batch) for batch in batches]
    assert len(seen[0]) * max(training.passes.lengths[i] for i in seen[0]) == max(sizes)


def test_a_small_micro_batch_surely_fits_and_nothing_has_changed(
    make_training: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = make_training(tmp_path / "a", dropout=0.3), make_training(tmp_path / "b", dropout=0.3)
    monkeypatch.setattr(rehearsal, "free_bytes", lambda: 2**30)
    assert surely_fits(asked)
    monkeypatch.setattr(rehearsal, "free_bytes", lambda: 10_000)
    assert not surely_fits(asked)
    for training in (plain, asked):
        training.run()
    assert all(torch.equal(weight, plain.trainable[name]) for name, weight in asked.trainable.items())


def test_a_row_without_memory_does_not_fit(make_training: Make, tmp_path: Path) -> None:
    training = make_training(tmp_path)

    def full(*_: Any) -> None:
        raise MemoryError

    training.passes.task.loss = full
    assert not surely_fits(training)


def test_rows_that_are_compared_or_shared_are_rehearsed(make_training: Make, tmp_path: Path) -> None:
    training = make_training(tmp_path)
    training.ranks = type("Two", (), {"world": 2})()
    assert not surely_fits(training)
