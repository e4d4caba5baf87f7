"""Frozen layers computed once: the same losses, exact when gone on with, left as they are where that cannot be."""

from __future__ import annotations

import errno
import itertools
import os
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.engine import frozen_states
from burnish.engine.precision import Precision
from burnish.errors import DiskFullError, RecipeError
from burnish.method.freeze import Freeze
from burnish.method.lora import Lora
from burnish.storage.run_folder import RunFolder
from burnish.task.options import PreferenceOptions
from burnish.testing import Subject, chat_subject_over, preference_subject_over, subject
from burnish.testing.method import check_resume

UPPER = Lora(rank=4, layers=1)


@pytest.fixture
def over(language_base: Path, conversations: list[dict[str, Any]]) -> Subject:
    return chat_subject_over(str(language_base), conversations[:24])


def _trained(over: Subject, method: Any, folder: Path, **options: Any) -> tuple[list[float], str]:
    """Losses of the steps, and what was said of frozen layers."""
    over.training(method, folder, **options).run()
    run = RunFolder(folder)
    said = [event["what"] for event in run.rows(run.events) if event["event"] == "frozen-states"]
    return [line["loss"] for line in run.rows(run.metrics) if "loss" in line], "".join(said)


@pytest.mark.parametrize("method", [UPPER, Freeze(layers=1)])
@pytest.mark.parametrize(("precision", "close"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_the_losses_are_those_of_whole_passes(
    over: Subject, method: Any, precision: Any, close: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "FP32", Precision(precision, ""))
    plain, nothing = _trained(over, method, tmp_path / "plain")
    kept, said = _trained(over, method, tmp_path / "kept", keep_frozen_states=True)
    assert nothing == ""
    assert said.startswith("1 frozen layers computed once, ")
    assert kept == pytest.approx(plain, rel=close)
    assert not list((tmp_path / "kept").glob(".tmp-*"))


def test_frozen_layers_are_not_computed_in_steps(over: Subject, tmp_path: Path) -> None:
    calls: list[int] = []
    for epochs in (2, 6):
        training = over.training(UPPER, tmp_path / str(epochs), epochs=epochs, keep_frozen_states=True, patience=1_000)
        met = [0, 0]

        def count(place: int, met: list[int] = met) -> Any:
            def note(*_: Any) -> None:
                met[place] += torch.is_grad_enabled()

            return note

        for place, layer in enumerate(training.model.encoder.layers):
            layer.register_forward_hook(count(place))
        training.run()
        calls.append(met[1])
        assert met[0] == 0
    assert calls[1] >= 3 * calls[0] > 0


def test_a_run_goes_on_to_the_bit(over: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(over), "training", partialmethod(type(over).training, keep_frozen_states=True))
    check_resume(over, UPPER, tmp_path)


def test_where_they_cannot_be_left_out_it_is_said(
    over: Subject, language_base: Path, conversations: list[dict[str, Any]], tmp_path: Path
) -> None:
    rows = [
        {"prompt": row["messages"][:-1], "chosen": row["messages"][-1:], "rejected": other["messages"][-1:]}
        for row, other in itertools.pairwise(conversations[:20])
    ]
    pairs = preference_subject_over(str(language_base), rows, PreferenceOptions())
    for number, (subject_, method, options, reason) in enumerate(
        (
            (over, Lora(rank=4), {}, "the lowest layer learns, too"),
            (over, UPPER, {"epochs": 1}, "computes each row once anyway"),
            (pairs, UPPER, {}, "rows of several texts"),
        )
    ):
        _, said = _trained(subject_, method, tmp_path / str(number), keep_frozen_states=True, **options)
        assert said.startswith("frozen layers are computed in every pass: ")
        assert reason in said


def test_another_loss_gives_them_up(over: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = frozen_states.FrozenStates.put
    monkeypatch.setattr(frozen_states.FrozenStates, "put", lambda self, row, states: put(self, row, -states))
    plain, _ = _trained(over, UPPER, tmp_path / "plain")
    found, said = _trained(over, UPPER, tmp_path / "kept", keep_frozen_states=True)
    assert said.startswith("frozen layers are computed in every pass: else the loss is ")
    assert found == plain


def test_a_disk_without_room_is_found_before_the_first_step(
    over: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another program took it since somebody looked."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    def fuller(folder: Path, needed: int) -> None:
        raise DiskFullError("storage/disk-too-small", f"{needed} bytes")

    for module, name, failing in ((os, "posix_fallocate", full), (frozen_states, "require_space", fuller)):
        monkeypatch.setattr(module, name, failing)
        with pytest.raises(DiskFullError):
            over.training(UPPER, tmp_path, keep_frozen_states=True).run()
        assert not list(tmp_path.glob(".tmp-*"))


def test_updates_stand_in_the_last_layers_only(over: Subject) -> None:
    model, _ = over.learner(UPPER)
    learned = list(UPPER.trainable(model))
    assert len(learned) == 2 * 7
    assert all(".layers.1." in name for name in learned)
    with pytest.raises(RecipeError) as caught:
        over.learner(Lora(layers=3))
    assert caught.value.code == "method/too-many-layers"
