"""Everything a run needs to go on, in safetensors and JSON; complete or absent."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from burnish.engine.optimizer import AdamW
from burnish.storage.durable import (
    copy_file,
    damage_of,
    published_folder,
    remove_leftovers,
    remove_published,
    write_json,
)
from burnish.storage.tensors import load_tensors, save_tensors

STATE = "state.json"
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANDOM = "random.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One state of a run, as read from disk.

    Attributes:
        step: optimizer steps done.
        weights: the weights that learn, by name; "average." prefixes their running average.
        optimizer: AdamW's moments, "<weight>.<moment>".
        state: sampler position, early stopping, offset of the metrics file in bytes, seeds.
    """

    step: int
    folder: Path
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path,
    step: int,
    *,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> Path:
    """Publishes `folder`/step-N; whoever looks sees all of it or nothing."""
    target = folder / f"step-{step}"
    with published_folder(target) as temporary:
        save_tensors(temporary / WEIGHTS, weights)
        save_tensors(temporary / OPTIMIZER, optimizer)
        tensors, plain = _random_state()
        save_tensors(temporary / RANDOM, tensors)
        write_json(temporary / STATE, {**state, "step": step, "random": plain})
    return target


def newest_checkpoint(folder: Path, *, warn: Callable[[str], None], up_to: int | None = None) -> Checkpoint | None:
    """The newest complete checkpoint, at most of step `up_to`; damaged ones are passed over by name. None: no such."""
    remove_leftovers(folder)
    for path in sorted(folder.glob("step-*"), key=_step_of, reverse=True):
        if up_to is not None and _step_of(path) > up_to:
            continue
        damage = damage_of(path, needed=(STATE, WEIGHTS, OPTIMIZER, RANDOM))
        if damage is None:
            return read_checkpoint(path)
        warn(f"checkpoint {path.name} is damaged ({damage}); looking for an older one")
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    state = json.loads((path / STATE).read_text(encoding="utf-8"))
    return Checkpoint(
        step=int(state["step"]),
        folder=path,
        weights=load_tensors(path / WEIGHTS),
        optimizer=load_tensors(path / OPTIMIZER),
        state=state,
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint and their average, without the optimizer's state."""
    return load_tensors(path / WEIGHTS)


def copy_checkpoint(source: Path, folder: Path, *, patient: bool) -> None:
    """Publishes a copy of a checkpoint in another run.

    Args:
        patient: the copy forgets how long nothing better was seen and that a rate was halved: other settings get
            their own chance.
    """
    with published_folder(folder / source.name) as temporary:
        for name in (WEIGHTS, OPTIMIZER, RANDOM):
            copy_file(source / name, temporary / name)
        state = json.loads((source / STATE).read_text(encoding="utf-8"))
        if patient:
            state["stopping"] |= {"waited": 0, "rising": 0}
            state["faults"] |= {"in_a_row": 0, "rolled_back": False}
        write_json(temporary / STATE, state)


def prune_checkpoints(folder: Path, *, step: int, keep: int, best_step: int) -> None:
    """Deletes all but the newest `keep` up to `step`, which was just published, and the best.

    What lies beyond `step` was damaged when the run went on from an older one, and will be written anew.
    """
    published = {_step_of(path): path for path in folder.glob("step-*")}
    newest = sorted((past for past in published if past <= step), reverse=True)[:keep]
    for past in published.keys() - {best_step, *newest}:
        remove_published(published[past])


def newest_steps(folder: Path, *, up_to: int, count: int) -> list[int]:
    """Steps of the newest published checkpoints, the last one first."""
    published = (_step_of(path) for path in folder.glob("step-*"))
    return sorted((step for step in published if 0 <= step <= up_to), reverse=True)[:count]


def optimizer_tensors(optimizer: AdamW, names: Mapping[int, str]) -> dict[str, Tensor]:
    """AdamW's state as named tensors; `names` maps id(weight) to the weight's name."""
    return {
        f"{names[id(weight)]}.{moment}": value
        for weight, moments in optimizer.state.items()
        for moment, value in moments.items()
    }


def restore_optimizer(optimizer: AdamW, tensors: Mapping[str, Tensor], names: Mapping[int, str]) -> None:
    """Puts saved moments back, on the device of their weight (the step counter stays where AdamW wants it)."""
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, moment = key.rsplit(".", 1)
        moments.setdefault(name, {})[moment] = value
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    found = [(weight, moments.get(names[id(weight)], {})) for weight in weights]
    optimizer.load({w: {moment: value.to(w.device) for moment, value in own.items()} for w, own in found if own})


def _step_of(path: Path) -> int:
    tail = path.name.removeprefix("step-")
    return int(tail) if tail.isdigit() else -1


def _random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Every generator: torch's as a tensor, Python's and numpy's as JSON."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    plain = {
        "python": [version, list(numbers), gauss],
        "numpy": [str(kind), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
    }
    return tensors, plain


def restore_random_state(checkpoint: Checkpoint) -> None:
    tensors = load_tensors(checkpoint.folder / RANDOM)
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    version, numbers, gauss = checkpoint.state["random"]["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = checkpoint.state["random"]["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
