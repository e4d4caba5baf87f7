"""The benchmarks of GPUs, in a tiny shape on the CPU: what a GPU is rented for has run from end to end before."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a script with its arms in this process, each on a place of its own; gives what it wrote."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    for name in ("dpo", "fp8", "full", "arms", "frame"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def run(name: str, *arguments: str) -> dict[str, Any]:
        module: Any = importlib.import_module(name)
        frame: Any = importlib.import_module("frame")

        def here(_: str, arm: str, given: dict[str, Any], *, threads: int, seconds: float = 0.0) -> dict[str, Any]:
            work = tmp_path / f"{time.monotonic_ns()}"
            work.mkdir()
            found: dict[str, Any] = {**frame.COMMON, **module.ARMS}[arm](
                frame.Place(work, threads, time.monotonic()), **given
            )
            return found

        monkeypatch.setattr(frame, "run_arm", here)
        given = ["--tiny", "--threads", "1", "--arms", "none", "--results", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [name, *given, *arguments])
        module.main()
        written: dict[str, Any] = json.loads((tmp_path / f"gpu-{name}.json").read_text())
        assert not written["failed"], written["failed"]
        return written

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [("lora", "8k"), ("qlora", "4k"), ("small_card", "4k"), ("full", "4k"), ("dpo", "chat"), ("fp8", "4k")],
)
def test_each_measures_in_a_tiny_shape(
    script: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    from burnish.engine import fp8

    monkeypatch.setattr(fp8, "DEVICES", fp8.DEVICES)  # the script lets a CPU through
    written = script(name, "--rows", kind)
    (figures,) = written["measured"][kind]["burnish"]
    assert figures["pairs_per_second" if name == "dpo" else "tokens_per_second"] > 0
    assert len(figures["losses"]) == 3
    assert all(math.isfinite(loss) for loss in figures["losses"])
    if name != "dpo":
        assert figures["share"] > 0


def test_a_script_by_itself_skips_peers_by_name_and_names_arms_that_fail(tmp_path: Path) -> None:
    """With an arm in a process of its own, which gets no second of time: it fails, and the script does not."""
    command = [sys.executable, str(FOLDER / "lora.py"), "--tiny", "--threads", "1", "--rows", "4k", "--seconds", "1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "trl: skipped, trl is not installed" in done.stderr
    assert "4k: burnish: not enough time is left" in done.stderr
