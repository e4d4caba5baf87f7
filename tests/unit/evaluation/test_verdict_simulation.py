"""How often the whole rule is wrong, by a small cut of benchmarks/verdict_simulation.py with fixed seeds."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ERROR = 0.0025  # one standard error of a coverage of 5,000 trials
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("verdict_simulation")


@pytest.mark.parametrize("n", [200, 1000, 3000])
@pytest.mark.parametrize("quality", [0.6, 0.95])
def test_a_verdict_on_accuracy_keeps_its_promises(simulation: Any, n: int, quality: float) -> None:
    found = simulation.study(simulation.World("accuracy", n, quality, 0.1), trials=5000, seed=2)
    assert max(found["better"], found["better_least"], found["worse_least"]) <= 0.05
    assert 0.93 <= found["covers"] <= 0.97
    assert 0.93 <= found["covers_own"] <= 0.97


def test_five_points_are_found_in_a_thousand_rows(simulation: Any) -> None:
    found = simulation.study(simulation.World("accuracy", 1000, 0.8, 0.2, 0.05), trials=2000, seed=1)
    assert found["better"] >= 0.9
    assert 0.93 <= found["covers"] <= 0.97


@pytest.mark.parametrize("kind", ["macro-f1", "score", "mae"])
def test_other_metrics_are_seldom_called_better_without_a_difference(simulation: Any, kind: str) -> None:
    found = simulation.study(simulation.World(kind, 200, 0.8, 0.2), trials=60, seed=1)
    assert found["better_least"] <= 0.05 + 0.03  # the promise, and one standard error of 60 trials
    assert found["covers"] >= 0.9
    assert found["width"] > 0


def test_worlds_that_cannot_be_are_left_out(simulation: Any) -> None:
    assert not simulation.World("accuracy", 200, 0.95, 0.2).possible
    worlds = [world for world in simulation.grid() if world.possible]
    assert {world.kind for world in worlds} == set(simulation.KINDS)
    assert all(world.gain < world.discordant <= 2 * (1 - world.quality) + 1e-9 for world in worlds)
