"""The energy a run takes, where the machine counts it: Intel's and AMD's RAPL counters of whole processors."""

from __future__ import annotations

from pathlib import Path

COUNTERS = Path("/sys/class/powercap")
MICROJOULES_PER_WH = 3.6e9


class EnergyMeter:
    """Counts from when it is made.

    A counter starts again from zero now and then, within minutes under load: it is read at every `look`.

    Args:
        folder: of the counters.
    """

    def __init__(self, folder: Path = COUNTERS) -> None:
        # intel-rapl:0 is a whole processor, intel-rapl:0:1 a part of it
        self.packages = sorted(path for path in folder.glob("intel-rapl:*") if path.name.count(":") == 1)
        self.last = {path: _number(path / "energy_uj") for path in self.packages}
        self.used = 0

    def look(self) -> None:
        """Adds what was used since the last look."""
        for path, before in self.last.items():
            now = _number(path / "energy_uj")
            if now is None or before is None:
                continue
            around = _number(path / "max_energy_range_uj") or 0
            self.used += now - before if now >= before else now - before + around
            self.last[path] = now

    def reading(self) -> tuple[float | None, str]:
        """Watt hours since the meter was made, and where they come from; None with the reason."""
        self.look()
        if not self.packages:
            return None, f"this machine has no energy counters under {COUNTERS}"
        if any(value is None for value in self.last.values()):
            return None, "the energy counters of this machine are not readable for this user"
        return self.used / MICROJOULES_PER_WH, f"RAPL counters of {len(self.packages)} processors, without GPUs"


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
