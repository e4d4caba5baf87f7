"""Settings come from the environment and from the settings file, the environment first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from burnish.settings import Options, settings


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_the_file_in_the_home_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path))
    monkeypatch.delenv("BURNISH_RUNS")
    (tmp_path / "settings.env").write_text("BURNISH_RUNS=/data/runs\nBURNISH_THREADS=3\nBURNISH_LATER=x\n")
    assert settings().runs == Path("/data/runs")
    assert settings().threads == 3


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.env").write_text("BURNISH_RUNS=/data/runs\n")
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path))
    monkeypatch.setenv("BURNISH_RUNS", "/other")
    assert settings().runs == Path("/other")


def test_the_defaults_are_those_of_the_design(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BURNISH_HOME")
    monkeypatch.delenv("BURNISH_RUNS")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings().expanded_home() == tmp_path / ".burnish"
    assert settings().runs == Path("runs")
    assert settings().threads is None


def test_options_are_closed_and_frozen() -> None:
    class Small(Options):
        rank: int = 1

    with pytest.raises(ValidationError, match="extra_forbidden"):
        Small.model_validate({"rnak": 2})
    with pytest.raises(ValidationError, match="frozen"):
        Small().rank = 2  # type: ignore[misc]
