"""An empty registry in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.registry.store import Registry, open_registry
from burnish.registry.version import NewVersion


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry(tmp_path / "home")


@pytest.fixture
def new_model(tmp_path: Path) -> Callable[..., NewVersion]:
    """A model to be stored whose one file holds a text."""

    def make(text: str = "weights", name: str = "tickets", **parts: Any) -> NewVersion:
        path = tmp_path / "made" / text / "weights.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return NewVersion("model", name, files={"final/weights.bin": path}, **parts)

    return make
