"""A folder of results belongs to the search that began there."""

from __future__ import annotations

import json
from pathlib import Path

from burnish.lifecycle.claim import claimed


def test_the_first_one_may_begin_and_go_on_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    assert claimed(file, "a")
    assert json.loads(file.read_text(encoding="utf-8")) == {"key": "a"}
    assert claimed(file, "a")
    assert not claimed(file, "b")
    assert json.loads(file.read_text(encoding="utf-8")) == {"key": "a"}
