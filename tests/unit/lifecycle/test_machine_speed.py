"""The speed of a machine: measured once, kept, corrected by what was seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.lifecycle import machine_speed as module
from burnish.lifecycle.machine_speed import MachineSpeed, learn_from, machine_speed
from burnish.settings import Settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "settings", lambda: Settings(home=tmp_path / "home"))
    return tmp_path / "home"


def test_the_range_narrows_once_a_like_training_was_seen() -> None:
    speed = MachineSpeed(1e9, {"bert lora": 0.5})
    assert speed.seconds(1e10, family="bert", method="lora") == pytest.approx((8 + 0.8 * 20, 30 + 1.4 * 20))
    low, high = speed.seconds(1e10, family="bert", method="full")
    assert (low, high) == pytest.approx((8 + 0.5 * 20, 30 + 2.0 * 20))


def test_it_is_measured_once_and_corrected_by_trainings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    monkeypatch.setattr(module, "_measured", lambda threads: measured.append(threads) or 1e9)
    assert machine_speed(1) == machine_speed(1) == MachineSpeed(1e9, {})
    learn_from(1e11, 408.0, threads=1, family="bert", method="lora")
    assert machine_speed(1).seen == {"bert lora": 0.25}
    learn_from(1e11, 208.0, threads=1, family="bert", method="lora")
    assert machine_speed(1).seen == {"bert lora": 0.375}, "half of what was known, half of what is new"
    assert machine_speed(2).seen == {}
    assert measured == [1, 2]


def test_a_damaged_file_is_made_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_measured", lambda threads: 2e9)
    home.mkdir()
    (home / "speed.json").write_text("{")
    assert machine_speed(1).product == 2e9
    learn_from(1e9, 59.0, threads=1, family="bert", method="lora")  # too short to say anything
    assert machine_speed(1).seen == {}


def test_the_measurement_gives_a_speed_of_this_century(single_thread: None) -> None:
    assert 1e8 < module._measured(1) < 1e14
