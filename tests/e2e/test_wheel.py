"""What is shipped: everything a user needs, nothing that runs by itself."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
needed = ("build", "hatchling")
absent = [name for name in needed if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(absent), reason=f"not installed here: {', '.join(absent)}"),
]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of a wheel built from this tree, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (wheel,) = folder.glob("burnish-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_holds_what_the_package_reads(names: list[str]) -> None:
    for name in ("py.typed", "data/demo/train.csv", "data/demo/test.csv", "recipe/recipe.schema.json", "__main__.py"):
        assert f"burnish/{name}" in names
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "burnish").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}


def test_wheel_holds_nothing_else(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert len(tops) == 2  # the package and its dist-info
    assert "burnish" in tops
    assert [name for name in names if name.endswith((".pth", ".so", ".pkl", ".pyc")) or "/tests/" in name] == []
