"""How much this machine computes in a second: measured once, kept in BURNISH_HOME, corrected by every training."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from burnish.lifecycle.environment import describe_environment
from burnish.settings import settings
from burnish.storage.durable import make_folder, write_json

SIDE, SECONDS = 512, 0.3  # of the matrices that are multiplied, and for how long
EFFICIENCY = 0.5  # of the matrix product that a training of a small model reaches, before any was seen
UNSEEN, SEEN = (0.5, 2.0), (0.8, 1.4)  # factors of the range: before a like training was seen here, and after
FIXED_SECONDS = (8.0, 30.0)  # of any run: libraries, files, what needs no fine-tuning; on an idle machine, and a busy
SHORTEST = 60.0  # seconds of a run that says something about speed; in shorter ones the fixed part is too large
WEIGHT_OF_NEW = 0.5  # of a training just seen against those before


@dataclass(frozen=True, slots=True)
class MachineSpeed:
    """Multiply-and-adds, counted twice, in a second.

    Attributes:
        product: of large matrix products.
        seen: "family method" -> share of it that trainings here reached, all in all.
    """

    product: float
    seen: Mapping[str, float]

    def seconds(self, work: float, *, family: str, method: str) -> tuple[float, float]:
        """(low, high) seconds of a run with so much work."""
        share = self.seen.get(f"{family} {method}")
        likely = work / (self.product * (share or EFFICIENCY))
        low, high = SEEN if share else UNSEEN
        return FIXED_SECONDS[0] + low * likely, FIXED_SECONDS[1] + high * likely


def machine_speed(threads: int) -> MachineSpeed:
    """The speed of this machine with so many threads, from where it is kept, or measured now."""
    kept = _kept(threads)
    if kept is None:
        kept = {"product": _measured(threads), "seen": {}}
        _keep(threads, kept)
    return MachineSpeed(float(kept["product"]), {name: float(share) for name, share in kept["seen"].items()})


def learn_from(work: float, seconds: float, *, threads: int, family: str, method: str) -> None:
    """Corrects what is kept of this machine by a training that took `seconds` for so much work."""
    kept = _kept(threads)
    if kept is None or work <= 0 or seconds < SHORTEST:
        return
    name, reached = f"{family} {method}", work / (seconds - FIXED_SECONDS[0]) / float(kept["product"])
    before = kept["seen"].get(name, reached)
    kept["seen"][name] = WEIGHT_OF_NEW * reached + (1 - WEIGHT_OF_NEW) * before
    _keep(threads, kept)


def _measured(threads: int) -> float:
    """Multiply-and-adds, counted twice, in a second of float32 matrix products."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    left, right = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
    try:
        torch.mm(left, right)
        done, started = 0, time.monotonic()
        while time.monotonic() - started < SECONDS:
            torch.mm(left, right)
            done += 1
        return done * 2 * SIDE**3 / (time.monotonic() - started)
    finally:
        torch.set_num_threads(before)


def _key(threads: int) -> str:
    found = describe_environment()
    return f"{found['cpu']}, {threads} threads, torch {found.get('torch')}"


def _kept(threads: int) -> dict[str, Any] | None:
    path = settings().expanded_home() / "speed.json"
    try:
        found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")).get(_key(threads))
    except (OSError, ValueError, AttributeError):
        return None
    return found if found and float(found.get("product", 0)) > 0 else None


def _keep(threads: int, what: Mapping[str, Any]) -> None:
    home = settings().expanded_home()
    make_folder(home)
    path = home / "speed.json"
    try:
        everything = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        everything = {}
    write_json(path, {**everything, _key(threads): dict(what)})
