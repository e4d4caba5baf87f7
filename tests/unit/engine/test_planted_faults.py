"""One fault after the other is planted into the engine, and the check that is there for it must fail."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from burnish.engine import checkpoint as checkpoints
from burnish.engine import passes
from burnish.engine.loop import Training
from burnish.engine.passes import Passes
from burnish.engine.segments import ATTENTION
from burnish.engine.selftest import check_invariants
from burnish.errors import SelfTestError
from burnish.method.build import METHODS
from burnish.storage import durable
from burnish.storage.durable import published_folder, write_text
from burnish.testing import Subject
from burnish.testing.method import (
    check_arrangements,
    check_dropout,
    check_logged_loss,
    check_micro_batches,
    check_resume,
)
from burnish.types import LossTerm

Patch = pytest.MonkeyPatch


@pytest.fixture
def subject(make_subject: Callable[[str], Subject]) -> Subject:
    return make_subject("text-classification")


def mean_of_means(patch: Patch) -> None:
    """Each micro-batch is divided by its own weight."""
    original = Passes.forward_backward

    def divided(self: Passes, *arguments: Any) -> LossTerm:
        weights = list(self.model.parameters())
        before = [0.0 if weight.grad is None else weight.grad.clone() for weight in weights]
        term = original(self, *arguments)
        for parameter, old in zip(weights, before, strict=True):
            if parameter.grad is not None:
                parameter.grad.sub_(old).div_(term.weight).add_(old)
        return LossTerm(term.total / term.weight, 1.0)

    patch.setattr(Passes, "forward_backward", divided)


def moments_stay_behind(patch: Patch) -> None:
    """A resumed run starts with an empty optimizer."""
    patch.setattr(checkpoints, "restore_optimizer", lambda *_: None)


def epoch_starts_over(patch: Patch) -> None:
    """A resumed run takes the rows from the start of its epoch."""
    original = Training._rows_of_step

    def restarted(self: Training) -> list[int]:
        self.first = getattr(self, "first", self.step)
        step, epoch = self.step, self.first // self.steps_per_epoch
        if step // self.steps_per_epoch == epoch:
            self.step -= self.first % self.steps_per_epoch
        rows = original(self)
        self.step = step
        return rows

    patch.setattr(Training, "_rows_of_step", restarted)


def dropout_from_the_global_generator(patch: Patch) -> None:
    patch.setattr(passes, "row_draws", lambda *_, **__: None)


def dropout_without_the_step(patch: Patch) -> None:
    original = passes.row_draws
    patch.setattr(passes, "row_draws", lambda rows, *, seed, step: original(rows, seed=seed, step=0))


def dropout_of_the_place_in_the_piece(patch: Patch) -> None:
    original = passes.row_draws
    patch.setattr(passes, "row_draws", lambda rows, **keys: original(range(len(rows)), **keys))


@pytest.mark.parametrize(
    ("plant", "check"),
    [
        (mean_of_means, check_micro_batches),
        (mean_of_means, check_logged_loss),
        (moments_stay_behind, check_resume),
        (epoch_starts_over, check_resume),
        (dropout_from_the_global_generator, check_micro_batches),
        (dropout_of_the_place_in_the_piece, check_micro_batches),
        (dropout_without_the_step, check_dropout),
    ],
)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_planted_fault_is_found(
    subject: Subject, plant: Callable[[Patch], None], check: Any, method: str, monkeypatch: Patch, tmp_path: Path
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        check(subject, METHODS[method](), tmp_path)


def leaky(*arguments: Any, **named: Any) -> tuple[Tensor, None]:
    """Attention over the whole concatenated batch: each row sees all others."""
    _, query, key, value, *_ = arguments
    return F.scaled_dot_product_attention(query, key, value, scale=named.get("scaling")).transpose(1, 2), None


@pytest.mark.parametrize("method", METHODS)
def test_attention_that_leaks_between_rows_after_the_layout_was_chosen(
    subject: Subject, method: str, tmp_path: Path
) -> None:
    """Found by the self-test of a run and by the suite; a registered function is put back afterwards."""
    from transformers import AttentionInterface

    made = METHODS[method]()
    model, layout = subject.learner(made)
    assert not layout.padded
    rows, place = subject.encoded(), {"layout": layout, "device": torch.device("cpu"), "max_tokens": 1000}
    sound = AttentionInterface()[ATTENTION]
    AttentionInterface.register(ATTENTION, leaky)
    try:
        with pytest.raises(SelfTestError, match="give different losses"):
            check_invariants(task=subject.task, method=made, model=model, rows=rows, **place)
    finally:
        AttentionInterface.register(ATTENTION, sound)
    check_arrangements(subject, made, tmp_path)


class Disk:
    """Watches calls of the system: what was written and not synced when it got its name."""

    def __init__(self, patch: Patch) -> None:
        self.synced: set[int] = set()
        self.early: list[str] = []  # renamed before their bytes were on the disk
        self.unnamed: set[Path] = set()  # folders whose new names are not on the disk
        fsync, rename, replace = os.fsync, Path.rename, Path.replace

        def seen_fsync(descriptor: int) -> None:
            fsync(descriptor)
            inode = os.fstat(descriptor).st_ino
            self.synced.add(inode)
            self.unnamed = {folder for folder in self.unnamed if folder.stat().st_ino != inode}

        def seen(original: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
            def call(path: Path, target: Path) -> Path:
                parts = [path, *path.rglob("*")]
                self.early += [part.name for part in parts if part.is_file() and part.stat().st_ino not in self.synced]
                self.unnamed.add(Path(target).parent)
                return original(path, target)

            return call

        patch.setattr(os, "fsync", seen_fsync)
        patch.setattr(Path, "rename", seen(rename))
        patch.setattr(Path, "replace", seen(replace))

    def assert_durable(self) -> None:
        assert self.early == [], f"renamed before fsync: {self.early}"
        assert self.unnamed == set(), f"no fsync of the folder after the rename: {self.unnamed}"


def save(folder: Path) -> None:
    """Everything burnish writes goes through these two."""
    write_text(folder / "manifest.json", "{}")
    with published_folder(folder / "step-1") as temporary:
        (temporary / "weights.safetensors").write_bytes(b"abc")


def test_what_is_saved_is_durable(monkeypatch: Patch, tmp_path: Path) -> None:
    disk = Disk(monkeypatch)
    save(tmp_path)
    disk.assert_durable()


def no_fsync_of_files(patch: Patch) -> None:
    fsync = os.fsync
    patch.setattr(os, "fsync", lambda number: fsync(number) if stat.S_ISDIR(os.fstat(number).st_mode) else None)


def no_fsync_of_folders(patch: Patch) -> None:
    fsync = os.fsync
    patch.setattr(os, "fsync", lambda number: None if stat.S_ISDIR(os.fstat(number).st_mode) else fsync(number))


def no_fsync_of_published_files(patch: Patch) -> None:
    patch.setattr(durable, "_fsync", lambda _: None)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (no_fsync_of_files, r"renamed before fsync: .*manifest\.json.*weights\.safetensors"),
        (no_fsync_of_published_files, r"renamed before fsync: \['weights\.safetensors'\]"),
        (no_fsync_of_folders, "no fsync of the folder after the rename"),
    ],
)
def test_a_skipped_fsync_is_found(
    plant: Callable[[Patch], None], words: str, monkeypatch: Patch, tmp_path: Path
) -> None:
    disk = Disk(monkeypatch)
    plant(monkeypatch)
    save(tmp_path)
    with pytest.raises(AssertionError, match=words):
        disk.assert_durable()
