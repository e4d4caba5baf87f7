"""Small files and the readers over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.data.lines import TextFile, open_text_file
from burnish.data.options import DataOptions
from burnish.data.source import Record, SourceShape, inspect_source, read_source
from burnish.types import Problem


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[SourceShape, list[Record | Problem]]]:
    """Shape and everything read from a file with this content; its name in messages is the bare file name."""

    def read_content(
        content: str | bytes, name: str = "rows.csv", **options: Any
    ) -> tuple[SourceShape, list[Record | Problem]]:
        path = _write(tmp_path, name, content)
        settings = DataOptions(train=name, **options)
        shape = inspect_source(path, settings, name=name)
        return shape, list(read_source(path, shape, settings))

    return read_content


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., TextFile]:
    """An opened text file with this content, called rows.csv."""

    def open_content(content: str | bytes, **options: Any) -> TextFile:
        path = _write(tmp_path, "rows.csv", content)
        return open_text_file(path, "rows.csv", DataOptions(train="rows.csv", **options))

    return open_content
