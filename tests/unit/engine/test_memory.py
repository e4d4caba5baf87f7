"""What a pass keeps, by hand; and free memory, whoever limits it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from burnish.engine import loop, memory
from burnish.engine.memory import free_bytes, kept_for_backward

Make = Callable[..., Any]


def test_what_a_layer_keeps_is_its_input_and_not_its_weights() -> None:
    layer = nn.Linear(100, 50)
    given = torch.ones(8, 100)
    assert kept_for_backward(layer, lambda: layer(given)) == 8 * 100 * 4
    assert kept_for_backward(layer, lambda: layer(given) + layer(given)) == 8 * 100 * 4  # the same input, once
    assert kept_for_backward(layer, lambda: layer(given).relu()) == 8 * 100 * 4 + 8 * 50 * 4


def test_free_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    machine = psutil.virtual_memory().available
    assert free_bytes() == pytest.approx(machine, rel=0.5)
    (tmp_path / "memory.max").write_text("3000000\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("1000000\n", encoding="ascii")
    assert free_bytes() == 2_000_000
    (tmp_path / "memory.current").write_text("4000000\n", encoding="ascii")
    assert free_bytes() == 0
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert free_bytes() == pytest.approx(machine, rel=0.5)


def test_where_the_process_is_limited_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**9, 10**9))
    assert free_bytes() == 0


def test_a_small_micro_batch_surely_fits_and_nothing_has_changed(
    make_training: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = make_training(tmp_path / "a", dropout=0.3), make_training(tmp_path / "b", dropout=0.3)
    monkeypatch.setattr(loop, "free_bytes", lambda: 2**30)
    assert asked.surely_fits()
    monkeypatch.setattr(loop, "free_bytes", lambda: 10_000)
    assert not asked.surely_fits()
    for training in (plain, asked):
        training.run()
    assert all(torch.equal(weight, plain.trainable[name]) for name, weight in asked.trainable.items())


def test_a_row_without_memory_does_not_fit(make_training: Make, tmp_path: Path) -> None:
    training = make_training(tmp_path)

    def full(*_: Any) -> None:
        raise MemoryError

    training.task.loss = full
    assert not training.surely_fits()


def test_rows_that_are_compared_or_shared_are_rehearsed(make_training: Make, tmp_path: Path) -> None:
    training = make_training(tmp_path)
    training.ranks = type("Two", (), {"world": 2})()
    assert not training.surely_fits()
