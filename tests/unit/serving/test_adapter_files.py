"""The files of an adapter are the same in every process."""

from __future__ import annotations

import json
from pathlib import Path

from burnish.serving.adapter_files import tidy_adapter


def test_names_that_peft_keeps_as_a_set_are_sorted_and_its_readme_goes(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("template")
    settings = {"target_modules": ["value", "key"], "rank_pattern": {}, "layers": [2, 1], "exclude_modules": None}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    tidy_adapter(tmp_path)
    found = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert found == {**settings, "target_modules": ["key", "value"]}
    assert not (tmp_path / "README.md").exists()


def test_a_model_without_an_adapter_is_left_alone(tmp_path: Path) -> None:
    tidy_adapter(tmp_path)
    assert list(tmp_path.iterdir()) == []
