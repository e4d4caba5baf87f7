"""Whose description a tuned model carries: an adapter that of the plain base it lies on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from burnish.model.load import Base, find_base
from burnish.model.options import ModelOptions
from burnish.serving.adapter_files import describe_base, keeps_adapter


def base_at(folder: Path) -> Base:
    return find_base(ModelOptions(base=str(folder)), recipe_folder=Path(), runs=Path("absent"))


def test_an_adapter_needs_the_plain_base(sentence_base: Path) -> None:
    plain = base_at(sentence_base)
    tuned = dataclasses.replace(plain, name="earlier", sha256="0" * 64, adapter=Path("earlier/final"), under=plain)
    assert describe_base(tuned, adapter=True)["name"] == str(sentence_base)
    assert describe_base(tuned, adapter=True)["sha256"] == plain.sha256
    assert describe_base(tuned, adapter=False)["name"] == "earlier"
    assert describe_base(plain, adapter=True) == describe_base(plain, adapter=False)


def test_what_the_methods_keep_beside_a_plain_base(sentence_base: Path) -> None:
    plain = base_at(sentence_base)
    kept = {name for name in ("head", "full", "freeze") if keeps_adapter(None, name, plain)}
    assert not kept
    assert all(keeps_adapter(None, name, plain) for name in ("lora", "qlora", "ia3", "adapter", "prompt-tuning"))
