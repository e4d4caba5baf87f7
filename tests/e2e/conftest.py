"""The commands as a person types them, in this process."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from burnish.cli.main import main
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import train
from burnish.settings import settings


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Burnish = Callable[..., Outcome]


@pytest.fixture
def burnish(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Burnish:
    """Runs `burnish ARGUMENTS`, with what is typed into it."""

    def run(*arguments: str | Path, stdin: str = "") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of runs of its own."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("BURNISH_RUNS", str(folder))
    settings.cache_clear()
    yield folder
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture(scope="session")
def sets() -> Callable[[Sequence[str]], list[str]]:
    """Overrides as words of a command line."""
    return lambda overrides: [word for override in overrides for word in ("--set", override)]


@pytest.fixture(scope="session")
def solved(sentence_base: Path) -> tuple[str, ...]:
    """Overrides of the quickest training there is."""
    return (f"model.base={sentence_base}", "method=head", "training.threads=1", "evaluation.resamples=100")


@pytest.fixture(scope="session")
def finished(toy: Path, quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; shared, so nothing may change it."""
    return train(toy, overrides=quick, output=tmp_path_factory.mktemp("finished") / "toy-run")
