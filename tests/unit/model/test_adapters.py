"""Which adapter lies in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.model.adapters import adapter_kind, adapter_weights


@pytest.mark.parametrize(("peft_type", "kind"), [("LORA", "lora"), ("IA3", "ia3"), ("PROMPT_TUNING", "prompt-tuning")])
def test_pefts_are_told_by_their_config(tmp_path: Path, peft_type: str, kind: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": peft_type}))
    (tmp_path / "adapter_model.safetensors").touch()
    assert adapter_kind(tmp_path) == kind
    assert adapter_weights(tmp_path) == tmp_path / "adapter_model.safetensors"


def test_bottlenecks_and_whole_models(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert adapter_weights(tmp_path) is None
    (tmp_path / "bottleneck.safetensors").touch()
    assert adapter_kind(tmp_path) == "adapter"
    assert adapter_weights(tmp_path) == tmp_path / "bottleneck.safetensors"
