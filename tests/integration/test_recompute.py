"""Layers computed again where single rows do not fit: here on a CPU, which is told that its memory has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.engine import lean, recompute
from burnish.engine.loop import Training
from burnish.engine.memory import kept_for_backward
from burnish.engine.passes import Passes
from burnish.engine.precision import Precision
from burnish.errors import OutOfMemoryError
from burnish.method.lora import Lora
from burnish.storage.run_folder import RunFolder
from burnish.testing import chat_subject_over, subject

ROOM = 60_000  # bytes that a micro-batch may keep for its gradient


@pytest.fixture
def over(language_base: Path, conversations: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in (recompute, lean):
        monkeypatch.setattr(module, "DEVICES", ("cpu",))
    monkeypatch.setattr(subject, "FP32", Precision("bf16", "as on a GPU"))
    return chat_subject_over(str(language_base), conversations[:24])


def _with_room(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """Memory ends for micro-batches that keep more than so many bytes."""
    whole = Passes.forward_backward

    def within(passes: Passes, piece: Any, step: int, factor: float = 1.0) -> Any:
        def forward() -> Any:
            with passes.precision.compute(passes.device):
                return passes.task.loss(passes.model, passes.lay_out(piece, step))

        if kept_for_backward(passes.model, forward) > size_bytes:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(passes, piece, step, factor)

    monkeypatch.setattr(Passes, "forward_backward", within)


def _lines(training: Training, folder: Path) -> list[tuple[float, float]]:
    training.run()
    rows = RunFolder(folder).rows(folder / "metrics.jsonl")
    return [(row["loss"], row["gradient_norm"]) for row in rows if "gradient_norm" in row]


def test_gradients_are_the_same_bits(over: Any, tmp_path: Path) -> None:
    """Fused layers, narrowed last layer, dropout of rows: all of it twice."""
    training, found = over.training(Lora(rank=4), tmp_path, dropout=0.2), []
    training.model.train()
    with training._fused():
        for again in (False, True):
            assert not again or training.recompute.begin()
            training.passes.forward_backward(range(8), 0)
            found.append([weight.grad.clone() for weight in training.trainable.values()])
            training.optimizer.zero_grad()
            training.recompute.end()
    assert any(gradient.any() for gradient in found[0])
    assert all(map(torch.equal, *found))


def test_what_finds_no_room_is_computed_again(over: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = over.training(Lora(rank=4), tmp_path / "plain")
    wanted = _lines(plain, tmp_path / "plain")
    _with_room(monkeypatch, ROOM)
    training = over.training(Lora(rank=4), tmp_path / "again")
    found = _lines(training, tmp_path / "again")
    events = RunFolder(tmp_path / "again").rows(tmp_path / "again" / "events.jsonl")
    assert [event["event"] for event in events].count("layers-recomputed") == 1
    assert [a for a, _ in found] == pytest.approx([a for a, _ in wanted], rel=0.01)  # bf16, in other micro-batches
    assert not training.recompute._before  # the layers are as they were


def test_where_even_that_does_not_fit_the_run_ends(over: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_room(monkeypatch, 100)
    with pytest.raises(OutOfMemoryError):
        over.training(Lora(rank=4), tmp_path).run()


def test_a_cpu_keeps_what_it_has(over: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "DEVICES", ("cuda",))
    assert not over.training(Lora(rank=4), tmp_path).recompute.begin()
