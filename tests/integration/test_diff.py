"""What is different in two runs: recipe, data, base, environment, results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.cli.main import main
from burnish.lifecycle.diff import diff_runs
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import train

ToyRows = list[tuple[str, str]]


@pytest.fixture(scope="module")
def three(
    toy_rows: ToyRows,
    write_csv: Callable[..., Path],
    overrides_of: Callable[[str], list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Run, Run, Run]:
    """Two runs on the same rows, one with more resamples, and one on other rows."""
    folder, head = tmp_path_factory.mktemp("diff"), overrides_of("head")
    data = write_csv(toy_rows)
    other = write_csv([*toy_rows[:-6], ("one row that is new here", toy_rows[0][1])])
    return (
        train(data, overrides=head, output=folder / "a"),
        train(data, overrides=[*head, "evaluation.resamples=300"], output=folder / "b"),
        train(other, overrides=head, output=folder / "c"),
    )


def test_two_runs_on_the_same_rows(three: tuple[Run, Run, Run]) -> None:
    found = diff_runs(str(three[0].path), str(three[1].path))
    assert found["recipe"] == [{"what": "evaluation.resamples", "before": 200, "now": 300}]
    assert (found["base"], found["environment"]) == ([], [])
    assert (found["data"]["same"], found["data"]["same_split"]) == (True, True)
    results = found["results"]
    assert results["n"] == three[0].evaluation["n"]
    assert results["models"]["a"]["accuracy"]["low"] <= results["models"]["a"]["accuracy"]["value"]
    assert results["difference"]["difference"] == 0


def test_two_runs_on_other_rows(three: tuple[Run, Run, Run]) -> None:
    found = diff_runs(str(three[0].path), str(three[2].path))
    assert [each["what"] for each in found["recipe"]] == ["data.train"]
    assert found["data"]["counts"] == {"added": 1, "removed": 6, "relabelled": 0}
    assert "other test rows" in found["results"]["reason"]
    assert set(found["results"]["models"]["a"]) == set(three[0].evaluation["models"]["tuned"])


def test_as_people_read_it(three: tuple[Run, Run, Run], capsys: pytest.CaptureFixture[str]) -> None:
    one, two, other = (str(run.path) for run in three)
    assert main(["runs", "diff", one, two]) == 0
    shown = capsys.readouterr().out
    assert "evaluation.resamples: 200 -> 300" in shown
    assert "the same rows in the same parts" in shown
    assert main(["runs", "diff", one, other]) == 0
    assert "rows: 1 added, 6 removed, 0 relabelled" in capsys.readouterr().out
    assert main(["runs", "diff", one, two, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["a"] == three[0].id


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["diff", "a"], "burnish runs diff RUN RUN"),
        (["show"], "burnish runs show RUN"),
        (["a", "b"], "burnish runs show RUN"),
        (["list", "a"], "burnish runs list"),
        (["show", "a", "--limit", "3"], "burnish runs list ..."),
    ],
)
def test_words_that_do_not_fit(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", *words]) == 2
    said = capsys.readouterr().err
    assert "[runs/usage]" in said
    assert said.endswith(f"hint: {hint}\n")


def test_a_filter_that_fits_no_run_says_so(
    three: tuple[Run, Run, Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from burnish.settings import settings

    monkeypatch.setenv("BURNISH_RUNS", str(three[0].path.parent))
    settings.cache_clear()
    assert main(["runs", "list", "--task", "chat"]) == 0
    assert capsys.readouterr().out == "none of 3 runs is like that\n"
    assert main(["runs", "--limit", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    settings.cache_clear()
