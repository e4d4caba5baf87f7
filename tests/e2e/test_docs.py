"""The reference pages are what the code says, and snippets run."""

from __future__ import annotations

import csv
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help differently in other versions")
def test_reference_pages_are_up_to_date() -> None:
    command = [sys.executable, ROOT / "docs" / "generate.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_checks_of_own_parts(sentence_base: Path, tmp_path: Path) -> None:
    """The guide's snippet on the example's own task, over a tiny base instead of minilm."""
    example = ROOT / "examples" / "custom_task"
    spec = importlib.util.spec_from_file_location("custom_task", example / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with (example / "messages.csv").open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))[:24]
    rows = [{"business": line["business"], "text": line["message"], "label": line["next_action"]} for line in lines]
    guide = (ROOT / "docs" / "guides" / "own-parts.md").read_text(encoding="utf-8")
    (snippet,) = (found for found in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "burnish.testing" in found)
    assert '"minilm"' in snippet
    exec(
        snippet.replace('"minilm"', repr(str(sentence_base))),
        {"MyTask": module.BusinessAndMessage, "rows": rows, "folder": tmp_path},
    )
