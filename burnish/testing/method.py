"""What must hold for every method on every task, in real short trainings of the engine."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from burnish.engine.checkpoint import read_checkpoint
from burnish.engine.dropout import replace_dropout
from burnish.engine.loop import Training
from burnish.engine.passes import can_be_cut
from burnish.engine.predict import loss_and_predictions
from burnish.engine.segments import own_attention
from burnish.engine.selftest import check_invariants
from burnish.errors import RecipeError, SelfTestError
from burnish.testing.subject import CPU, FP32, Subject
from burnish.testing.task import assert_alike
from burnish.types import Encoded, Method, Silent

CLOCK = ("rows_per_second", "tokens_per_second")


def check_method(subject: Subject, method: Method, folder: Path) -> None:
    """All checks of a method on a task, each in a folder of its own below `folder`."""
    for check in METHOD_CHECKS:
        check(subject, method, folder / check.__name__)


def check_arrangements(subject: Subject, method: Method, folder: Path) -> None:
    """Micro-batch, order, neighbours and padding change neither loss nor gradient, in both layouts."""
    model, layout = subject.learner(method)
    rows = subject.encoded()
    place: dict[str, Any] = {"device": CPU, "max_tokens": 100_000}
    try:
        check_invariants(task=subject.task, method=method, model=model, rows=rows, layout=layout, **place)
        with own_attention(model):
            padded = replace(layout, padded=True)
            check_invariants(task=subject.task, method=method, model=model, rows=rows, layout=padded, **place)
    except SelfTestError as error:
        raise AssertionError(str(error)) from error


def check_only_its_weights_move(subject: Subject, method: Method, folder: Path) -> None:
    """A training moves every weight the method names and leaves the bits of all others."""
    training = subject.training(method, folder)
    before = _copies(training.model)
    training.run()
    moved = {name for name, value in _values(training.model).items() if not torch.equal(value, before[name])}
    named = set(method.trainable(training.model))
    assert moved <= named, f"weights outside of the method's moved: {sorted(moved - named)[:3]}"
    assert moved == named, f"weights of the method stayed: {sorted(named - moved)[:3]}"


def check_micro_batches(subject: Subject, method: Method, folder: Path) -> None:
    """With dropout on, a training in pieces of unequal size has the losses and gradients of one in whole batches."""
    if not can_be_cut(subject.task):
        return
    whole, pieces = (
        _lines(subject.training(method, folder / name, dropout=0.2, micro_batch_tokens=tokens))
        for name, tokens in (("whole", 100_000), ("pieces", _few_rows(subject.encoded())))
    )
    for one, other in zip(pieces, whole, strict=True):
        # float32 sums in another order, carried on by the weights over a few steps of AdamW
        for name, tolerance in (("loss", 1e-4), ("gradient_norm", 1e-3)):
            _assert_close(one[name], other[name], tolerance, f"{name} of step {one['step']} in pieces and whole")


def check_logged_loss(subject: Subject, method: Method, folder: Path) -> None:
    """A step over all rows, in pieces, logs the loss it optimises: their mean over the units, and its gradient."""
    rows = subject.encoded()
    chosen: dict[str, Any] = {"global_batch_size": len(rows), "micro_batch_tokens": _few_rows(rows), "max_steps": 1}
    (line,) = _lines(subject.training(method, folder, dropout=0.0, **chosen))
    model, layout = subject.learner(method)
    replace_dropout(model, seed=0, probability=0.0)
    batch = layout.lay_out(rows, range(len(rows)), device=CPU)
    term = subject.task.loss(model.train(), batch)
    (term.total / term.weight).backward()  # type: ignore[no-untyped-call]
    gradients = [weight.grad for weight in method.trainable(model).values() if weight.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
    _assert_close(line["loss"], float(term.total.detach()) / term.weight, 1e-5, "the logged loss and the loss by hand")
    _assert_close(line["gradient_norm"], float(norm), 1e-4, "the logged gradient and the gradient of that loss")


def check_dropout(subject: Subject, method: Method, folder: Path) -> None:
    """Dropout is drawn anew at each step: all rows give another loss the second time, and the same one without it."""
    if not any(isinstance(part, nn.Dropout) for part in subject.learner(method)[0].modules()):
        return
    still: dict[str, Any] = {
        "learning_rate": 1e-30,
        "global_batch_size": len(subject.rows),
    }  # the weights keep their bits
    for dropout in (0.2, 0.0):
        first, second = _lines(subject.training(method, folder / str(dropout), dropout=dropout, **still))
        if dropout:
            rounding = 1e-5 * abs(first["loss"])  # the second pass has the rows in another order
            assert abs(first["loss"] - second["loss"]) > rounding, "two steps dropped the same values"
        else:
            _assert_close(first["loss"], second["loss"], 1e-5, "the same rows without dropout")


def check_resume(subject: Subject, method: Method, folder: Path) -> None:
    """A training killed in the middle of an epoch and run again leaves the bits of one that never stopped."""
    chosen: dict[str, Any] = {"dropout": 0.2, "checkpoint_every": 1}
    straight = subject.training(method, folder / "straight", **chosen)
    wanted = _lines(straight)
    killed = subject.training(method, folder / "killed", progress=_KillsAt(2), **chosen)
    assert killed.steps_per_epoch > 2, "the subject needs more than 16 rows"
    try:
        killed.run()
    except _Killed:
        torch.manual_seed(987)  # another process has other random numbers
        random.seed(987)
        np.random.seed(987)
    resumed = subject.training(method, folder / "killed", **chosen)
    found = _lines(resumed)
    assert any(event["event"] == "resumed" for event in resumed.folder.rows(resumed.folder.path / "events.jsonl"))
    assert found == wanted, "the logged lines differ after resuming"
    after = straight.model.state_dict()
    differ = [name for name, value in resumed.model.state_dict().items() if not torch.equal(value, after[name])]
    assert not differ, f"weights differ after resuming: {differ[:3]}"


def check_checkpoint(subject: Subject, method: Method, folder: Path) -> None:
    """A checkpoint holds the method's weights and no others; in a new model they predict the same bits."""
    training = subject.training(method, folder)
    trained = training.run()
    saved = read_checkpoint(training.folder.checkpoints / f"step-{trained.best_step}").weights
    model, layout = subject.learner(method)
    weights = method.trainable(model)
    assert saved.keys() == weights.keys(), f"saved are also or not: {sorted(saved.keys() ^ weights.keys())[:3]}"
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(saved[name])
    rows = subject.encoded()
    assert subject.predict(model, rows, layout) == subject.predict(training.model, rows, layout)


def check_merge(subject: Subject, method: Method, folder: Path) -> None:
    """The merged model has the plain architecture, and each row keeps its loss and its prediction.

    A method whose weights no plain architecture has a place for says so.
    """
    training = subject.training(method, folder)
    training.run()
    rows, layout = subject.encoded(), training.passes.layout

    def losses(model: nn.Module) -> list[float]:
        place: dict[str, Any] = {"layout": layout, "precision": FP32, "device": CPU}
        return [loss_and_predictions(subject.task, model, [row], **place)[0] for row in rows]

    before = losses(training.model), subject.predict(training.model, rows, layout)
    try:
        merged = method.merge(training.model).eval()
    except RecipeError as error:
        if error.code == "method/not-mergeable":
            return
        raise
    assert merged.state_dict().keys() == subject.build()[0].state_dict().keys(), "the merged model is not a plain one"
    for one, other in zip(losses(merged), before[0], strict=True):
        # float32: W x + s B(A x) against (W + s B A) x
        _assert_close(one, other, 1e-3, "the loss of a row after merging and before")
    assert_alike(subject.predict(merged, rows, layout), before[1], "after merging")


class _Killed(BaseException):
    """The process is gone."""


class _KillsAt(Silent):
    """Ends the training in this step, before its checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        if done == self.step:
            raise _Killed


def _lines(training: Training) -> list[dict[str, Any]]:
    """The logged steps of a training after it ran, without what the clock says."""
    training.run()
    lines = training.folder.rows(training.folder.metrics)
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines if "loss" in line]


def _few_rows(rows: list[Encoded]) -> int:
    """Tokens for three rows at once or a few more, so that a batch falls into unequal pieces."""
    return max(16, 3 * max(row.length for row in rows))


def _copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in _values(model).items()}


def _values(model: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint may hold, each tensor once: tied weights have several names in a state dict."""
    stored = model.state_dict()
    named = dict([*model.named_parameters(), *model.named_buffers()])
    return {name: value.detach() for name, value in named.items() if name in stored}


def _assert_close(found: float, wanted: float, tolerance: float, what: str) -> None:
    assert abs(found - wanted) <= tolerance * max(1.0, abs(wanted)), f"{what}: {found} and {wanted}"


METHOD_CHECKS = (
    check_arrangements,
    check_only_its_weights_move,
    check_micro_batches,
    check_logged_loss,
    check_dropout,
    check_resume,
    check_checkpoint,
    check_merge,
)
