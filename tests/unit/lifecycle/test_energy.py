"""Energy from counters like those of Linux."""

from __future__ import annotations

from pathlib import Path

from burnish.lifecycle.energy import EnergyMeter


def counter(folder: Path, name: str, microjoules: int, around: int = 10**10) -> Path:
    path = folder / name
    path.mkdir(exist_ok=True)
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{around}\n")
    return path


def test_processors_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        counter(tmp_path, name, 1_000)
    meter = EnergyMeter(tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        counter(tmp_path, name, 1_000 + 1_800_000_000)
    watt_hours, source = meter.reading()
    assert watt_hours == 1.0
    assert source == "RAPL counters of 2 processors, without GPUs"


def test_a_counter_that_began_again_is_followed(tmp_path: Path) -> None:
    counter(tmp_path, "intel-rapl:0", 9 * 10**9)
    meter = EnergyMeter(tmp_path)
    counter(tmp_path, "intel-rapl:0", 26 * 10**8)
    assert meter.reading()[0] == 1.0


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    watt_hours, reason = EnergyMeter(tmp_path).reading()
    assert watt_hours is None
    assert "no energy counters" in reason


def test_counters_that_are_locked_say_so(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    watt_hours, reason = EnergyMeter(tmp_path).reading()
    assert watt_hours is None
    assert "not readable" in reason
