"""What lies beside the weights of an export."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from burnish.errors import UsageError
from burnish.serving.exports.folder import copy_beside, write_notice, write_use
from burnish.serving.exports.plain import require_vllm


def filled(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def test_an_export_gets_all_but_weights_and_what_it_writes_itself(tmp_path: Path) -> None:
    names = ("model__safetensors", "model__json", "files__json", "USE__md", "adapter_model__safetensors")
    final = filled(tmp_path / "final", tokenizer__json="{}", head__safetensors="h", **dict.fromkeys(names, "x"))
    filled(final / "1_Pooling", config__json="{}")
    whole = filled(tmp_path / "whole", tokenizer__json="its own")
    copy_beside(final, whole)
    assert sorted(path.name for path in whole.rglob("*")) == [
        *("1_Pooling", "config.json", "head.safetensors", "tokenizer.json"),
    ]
    assert (whole / "tokenizer.json").read_text() == "its own"
    adapter = filled(tmp_path / "adapter")
    copy_beside(final, adapter, adapter=True)
    assert (adapter / "adapter_model.safetensors").is_file()


def test_use_names_the_folder(tmp_path: Path) -> None:
    final = filled(tmp_path / "final", USE__md='beside `final`: open("final"), load("final/head"), finally')
    write_use(tmp_path, final, "merged")
    assert (tmp_path / "USE.md").read_text() == 'beside `merged`: open("merged"), load("merged/head"), finally'


def test_a_notice_says_what_the_license_asks_for(tmp_path: Path) -> None:
    base: Any = SimpleNamespace(under=None, folder=filled(tmp_path / "base", LICENSE="its text"))
    license_ = {"title": "MIT License", "text": "https://example.org/mit", "obligations": ["keep the line"]}
    assert write_notice(tmp_path, license_, base, name="tiny") == ["keep the line"]
    notice = (tmp_path / "NOTICE.md").read_text()
    assert "`tiny` comes under MIT License, whose text is at https://example.org/mit." in notice
    assert "- keep the line" in notice
    assert (tmp_path / "LICENSE").read_text() == "its text"


def test_an_unknown_license_is_said(tmp_path: Path) -> None:
    assert write_notice(tmp_path, {}, None, name="tiny") == []
    assert "is not known" in (tmp_path / "NOTICE.md").read_text()


def test_what_vllm_would_not_find(tmp_path: Path) -> None:
    folder = filled(tmp_path / "out", config__json=json.dumps({"architectures": ["BertModel"]}), tokenizer__json="{}")
    with pytest.raises(UsageError) as caught:
        require_vllm(folder, ends=[2])
    error = caught.value
    assert (error.code, error.where) == ("export/not-for-vllm", str(folder))
    for lacking in ("chat_template.jinja", "an architecture that writes texts", "weights", "[2]"):
        assert lacking in error.message
