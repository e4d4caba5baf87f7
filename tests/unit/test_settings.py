"""Settings come from the environment and from the settings file, the environment first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from burnish.errors import UsageError
from burnish.settings import Options, expanded, settings


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


def test_a_variable_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_THREADS", "many")
    with pytest.raises(UsageError) as caught:
        settings()
    assert (caught.value.code, caught.value.where) == ("settings/invalid", "BURNISH_THREADS")
    assert "'many'" in caught.value.message
    assert "unset BURNISH_THREADS" in str(caught.value.hint)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_of_an_option_is_finite(value: float) -> None:
    class Small(Options):
        rate: float = 1.0

    with pytest.raises(ValidationError, match="finite"):
        Small(rate=value)


def test_only_a_home_that_exists_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert expanded("~/rows.csv") == Path("/home/anna/rows.csv")
    assert expanded("~$rows.csv") == Path("~$rows.csv")
    assert expanded(Path("a~b")) == Path("a~b")


def test_options_are_closed_and_frozen() -> None:
    class Small(Options):
        rank: int = 1

    with pytest.raises(ValidationError, match="extra_forbidden"):
        Small.model_validate({"rnak": 2})
    with pytest.raises(ValidationError, match="frozen"):
        Small().rank = 2
