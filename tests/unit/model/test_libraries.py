"""Libraries that stand in place until they are used are the real ones when they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import gc, inspect, sys
sys.path.insert(0, {folder!r})
from burnish.model import libraries
libraries.WHEN_USED = ("given",)
libraries.open_transformers()
assert gc.isenabled()
import given
inspect.getmodule(gc)  # walks through all modules
assert not hasattr(given, "__wrapped__")
assert "given.part" not in sys.modules, "nobody asked for anything of it"
assert given.answer() == 42
assert "given.part" in sys.modules
assert type(given) is type(sys)
from transformers.loss import loss_for_object_detection
assert "scipy.optimize" not in sys.modules
assert [part.tolist() for part in loss_for_object_detection.linear_sum_assignment([[4, 1], [1, 4]])] == [[0, 1], [1, 0]]
import scipy.optimize
assert scipy.optimize.linear_sum_assignment([[1.0]])[0].tolist() == [0]
assert sys.modules["scipy.optimize"].__file__
"""


def test_a_library_is_loaded_when_something_of_it_is_used(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    package = tmp_path / "given"
    package.mkdir()
    (package / "__init__.py").write_text("from given.part import answer\n", encoding="utf-8")
    (package / "part.py").write_text("def answer():\n    return 42\n", encoding="utf-8")
    script = SCRIPT.format(folder=str(tmp_path))
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
