"""A base that a GPU has no room for in float32, on a CPU that is taken for one: kept in bf16 from its files on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import burnish
from burnish.engine import lean
from burnish.model import device, language
from burnish.model.find import find_base
from burnish.model.language import load_language_model
from burnish.model.options import ModelOptions
from burnish.types import Silent

CPU = torch.device("cpu")


@pytest.fixture
def small_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (device, language, lean):
        monkeypatch.setattr(module, "DEVICES", ("cpu",))
    monkeypatch.setattr(device, "device_bytes", lambda _: 1_000)


@pytest.fixture
def base(language_base: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    shutil.copytree(language_base, folder)
    weights = {name: weight.bfloat16() for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"dtype": "bfloat16"}))
    return folder


def _found(folder: Path) -> Any:
    return find_base(ModelOptions(base=str(folder)), recipe_folder=Path(), runs=Path("absent"))


def test_only_what_stays_as_it_is_and_finds_no_room_is_held_in_bf16(
    base: Path, language_base: Path, small_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dtypes(folder: Path, *, frozen: bool) -> set[torch.dtype]:
        return {weight.dtype for weight in load_language_model(_found(folder), CPU, frozen=frozen).parameters()}

    assert dtypes(base, frozen=True) == {torch.bfloat16}
    assert dtypes(base, frozen=False) == {torch.float32}
    assert dtypes(language_base, frozen=True) == {torch.float32}  # its numbers have more digits than bf16
    monkeypatch.setattr(device, "device_bytes", lambda _: 2**30)
    assert dtypes(base, frozen=True) == {torch.float32}


class _EnoughError(Exception):
    pass


class _Steps(Silent):
    """Keeps the losses of six steps and what is said, and ends the run."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)

    def advance(self, done: int, total: int, figures: Mapping[str, float]) -> None:
        if "loss" in figures:
            self.losses.append(figures["loss"])
            if len(self.losses) == 6:
                raise _EnoughError


def test_a_run_beside_a_base_in_bf16_learns_what_one_beside_float32_does(
    base: Path, conversations: list[dict[str, Any]], tmp_path: Path, small_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layout, self-test and fused layers, on weights that never were float32."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in conversations[:80]), encoding="utf-8")
    settings = [f"model.base={base}", "method.name=lora", "method.rank=4", "training.precision=bf16"]
    settings += ["training.global_batch_size=8", "training.max_steps=8", "evaluation.forgetting.probes=none"]
    found = []
    for name, room in (("float32", 2**30), ("bf16", 1_000)):
        monkeypatch.setattr(device, "device_bytes", lambda _, room=room: room)
        steps = _Steps()
        with pytest.raises(_EnoughError):
            burnish.train(data, output=tmp_path / name, overrides=settings, record=False, progress=steps)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert manifest["environment"]["layout"].startswith("concatenated")
        assert any("14 LoRA layers are computed together" in said for said in steps.said)
        assert any(said.startswith("self-test: 4 rows") for said in steps.said)
        found.append(steps.losses)
    assert found[1] == pytest.approx(found[0], rel=0.02)
