"""Every command as its help says: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish import __version__
from burnish.lifecycle.demo import demo_recipe
from burnish.lifecycle.run import Run

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "demo",
    "init",
    "check",
    "train",
    "resume",
    "pause",
    "cancel",
    "evaluate",
    "compare",
    "predict",
    "plan",
    "curve",
    "sweep",
    "chat",
    "reproduce",
    "import",
    "import-openai",
    "runs",
    "audit",
    "augment",
    "datasets",
    "forget",
    "models",
    "export",
    "monitor",
    "serve",
    "keys",
    "log",
    "backup",
    "verify",
    "gc",
    "worker",
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Burnish = Callable[..., Any]
Sets = Callable[[Sequence[str]], list[str]]


def python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process of its own, beside the package."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environment, text=True, check=False, **options)


def one_object(text: str) -> dict[str, Any]:
    assert text.count("\n") == 1
    content = json.loads(text)
    assert isinstance(content, dict)
    return content


def copied(run: Run, folder: Path) -> Path:
    """A run that a test may change."""
    return Path(shutil.copytree(run.path, folder / "copy"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example(burnish: Burnish, command: str) -> None:
    shown = burnish(command, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert f"example:\n  burnish {command}" in shown.out
    assert "--json" in shown.out


def test_help_lists_the_commands(burnish: Burnish) -> None:
    shown = burnish("--help")
    assert (shown.code, shown.err) == (0, "")
    assert tuple(re.findall(r"^    ([\w-]+)(?:  |$)", shown.out, re.MULTILINE)) == COMMANDS
    assert burnish().out == shown.out


def test_help_and_recipe_checking_load_nothing_heavy() -> None:
    code = """
import sys
from burnish.cli.main import build_parser
build_parser().format_help()
light = set(sys.modules)
import burnish.recipe.read
heavy = {"torch", "transformers", "tokenizers", "peft", "sklearn", "scipy"}
print(sorted(light & (heavy | {"numpy", "pydantic"})), sorted(set(sys.modules) & heavy))
"""
    assert python(code, capture_output=True).stdout == "[] []\n"


def test_version(burnish: Burnish) -> None:
    assert burnish("--version").out == f"burnish {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian", "x.csv"], 'did you mean "train"?'),
        (["train"], "RECIPE|DATA"),
        (["train", "x.csv", "--out", "run"], "unrecognized arguments: --out run"),
        (["train", "x.csv", "--seed", "many"], "invalid int value: 'many'"),
        (["predict", "run", "--text", "a", "--data", "b"], "not allowed with"),
    ],
)
def test_what_argparse_refuses(burnish: Burnish, arguments: list[str], said: str) -> None:
    shown = burnish(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert said in shown.err


def test_from_file_to_prediction(
    burnish: Burnish,
    sets: Sets,
    solved: tuple[str, ...],
    toy: Path,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """init, check, train, runs, predict, one after the other, each with what the last one printed."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(toy, tmp_path / "tickets.csv")
    written = burnish("init", "tickets.csv")
    assert (written.code, written.out) == (0, "recipe.yaml\n")
    recipe = (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    assert 'train: "tickets.csv"' in recipe
    assert 'columns: {text: "body", label: "intent"}' in recipe
    assert burnish("check", "recipe.yaml").code == 0

    trained = burnish("train", "recipe.yaml", *sets([*solved, "training={seed: 5, threads: 1}"]))
    assert trained.code == 0
    assert trained.out.startswith("\nVERDICT")
    run = re.search(r"^run +(\S+)$", trained.out, re.MULTILINE)
    assert run
    assert re.search(rf"^folder +{re.escape(str(runs / run[1]))}$", trained.out, re.MULTILINE)

    listed = burnish("runs")
    assert listed.out.splitlines()[1].startswith(f"{run[1]}  finished  head")
    assert f"run      {run[1]}\nstatus   finished\n" in burnish("runs", run[1][:10]).out
    assert burnish("predict", run[1], "--text", "where is my card").code == 0
    assert burnish("evaluate", run[1]).code == 0


def test_relative_paths_hold_from_anywhere(
    burnish: Burnish,
    sets: Sets,
    solved: tuple[str, ...],
    sentence_base: Path,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Data, base and output are named from where a run is started; it is used from elsewhere."""
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(sentence_base, here / "base")
    shutil.copy(toy, here / "rows.csv")
    there.mkdir()
    monkeypatch.chdir(here)
    shown = burnish("train", "rows.csv", "--output", "run", *sets([*solved, "model.base=base"]))
    assert shown.code == 0
    monkeypatch.chdir(there)
    assert burnish("evaluate", here / "run").code == 0
    assert burnish("train", here / "run" / "recipe.yaml", "--output", "again").code == 0
    assert burnish("predict", "again", "--text", "my card").code == 0


def test_alias_is_not_hidden_by_a_folder_of_that_name(
    burnish: Burnish, sets: Sets, sentence_base: Path, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`minilm` is one base everywhere."""
    shutil.copytree(sentence_base, tmp_path / "minilm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("burnish.model.find._catalogue_folder", lambda entry: sentence_base)
    shown = burnish("train", toy, "--output", "run")
    assert (shown.code, "[model/wrong-weights]" in shown.err) == (2, True)


def test_report_shows_markup_as_text(
    burnish: Burnish, sets: Sets, solved: tuple[str, ...], write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    evil = "<script>alert(1)</script>"
    rows = [(f"{evil} card {i}", ("card", f"{evil}\"'&")[i % 2]) for i in range(60)]
    apart = [*solved, "data.near_duplicates=false"]  # the rows say almost the same
    assert burnish("train", write_csv(rows), "--output", tmp_path / "run", *sets(apart)).code == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert" in page
    assert "<script>alert" not in page


def test_init_never_writes_over_a_file(burnish: Burnish, toy: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "new" / "recipe.yaml"
    assert burnish("init", toy, "--output", recipe).code == 0
    before = recipe.read_bytes()
    shown = burnish("init", toy, "--output", recipe)
    assert (shown.code, shown.out) == (2, "")
    assert f"{recipe}: this file exists already  [cli/file-exists]" in shown.err
    assert recipe.read_bytes() == before


def test_recipe_of_init_means_what_it_says(burnish: Burnish, toy: Path, tmp_path: Path) -> None:
    """Its commented lines are real fields."""
    burnish("init", toy, "--output", tmp_path / "recipe.yaml")
    text = (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    assert f'train: "{toy}"' in text
    for line in ('# goals: ["accuracy >= 0.90"]', "# test: test.csv"):
        assert line in text
        text = text.replace(line, line.removeprefix("# "))
    shutil.copy(toy, tmp_path / "test.csv")
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    shown = burnish("check", tmp_path / "recipe.yaml")
    assert f'holds the same bytes as "{toy}"' in shown.err


def test_check_says_no_with_places(
    burnish: Burnish, toy_rows: list[tuple[str, str]], write_csv: Callable[..., Path]
) -> None:
    path = write_csv([*toy_rows, toy_rows[0], ("", "card")])
    shown = burnish("check", path)
    assert shown.code == 1
    assert f"{path}:182" in shown.out
    assert f"{path}:183" in shown.out
    found = one_object(burnish("check", path, "--json").out)
    assert {p["code"]: p["places"] for p in found["problems"]} == {
        "data/duplicate": [f"{path}:182"],
        "data/empty-text": [f"{path}:183"],
    }
    assert (found["rows"], found["labels"]) == (182, {"card": 60, "late": 60, "refund": 60})


def test_check_writes_a_page_and_compares_groups_and_real_inputs(
    burnish: Burnish, toy_rows: list[tuple[str, str]], tmp_path: Path
) -> None:
    path, real, page = tmp_path / "rows.csv", tmp_path / "real.csv", tmp_path / "check.html"
    rows = [f"{text},{label},{'north' if index % 2 else 'south'}" for index, (text, label) in enumerate(toy_rows)]
    path.write_text("\n".join(["text,label,site", *rows, "mail ann@example.org,card,south"]), encoding="utf-8")
    real.write_text("text\n" + "my passport and luggage at the airport\n" * 30, encoding="utf-8")
    shown = burnish("check", path, "--group", "site", "--like", real, "--html", page)
    assert shown.code == 0
    assert "1 row holds personal data" in shown.out
    assert f"{path}:182: email" in shown.out
    assert "south: 91 rows" in shown.out
    assert "luggage" in shown.out
    assert "data/personal" in page.read_text(encoding="utf-8")
    assert "ann@example.org" not in page.read_text(encoding="utf-8") + shown.out


def test_check_goes_on_where_a_training_would_stop(
    burnish: Burnish, toy_rows: list[tuple[str, str]], write_csv: Callable[..., Path]
) -> None:
    path = write_csv([*toy_rows, *[("", "card")] * 60, ("mail ann@example.org", "card")])
    shown = burnish("check", path)
    assert shown.code == 1
    assert "a training would stop here: 60 of 241 rows cannot be used, 12 are tolerated" in shown.out
    assert "60 rows (24.9%) cannot be used: e.g. the text is empty" in shown.out
    assert "data/personal" in shown.out
    nothing = burnish("check", write_csv([("", "card")] * 60))
    assert nothing.code == 1
    assert "data/too-many-bad-rows" in nothing.err


def test_check_names_the_columns_when_a_group_is_unknown(burnish: Burnish, toy: Path) -> None:
    shown = burnish("check", toy, "--group", "intnt")
    assert shown.code == 2
    assert "cli/unknown-column" in shown.err
    assert 'did you mean "intent"?' in shown.err


def test_check_of_clean_data(burnish: Burnish, toy: Path) -> None:
    shown = burnish("check", toy)
    assert shown.code == 0
    assert "no problems found" in shown.out


def test_check_finds_leaks_into_the_test_file(
    burnish: Burnish, toy_rows: list[tuple[str, str]], write_csv: Callable[..., Path]
) -> None:
    path, test = write_csv(toy_rows[:100]), write_csv(toy_rows[99:])
    shown = burnish("check", path, "--test", test)
    assert shown.code == 1
    assert "data/leakage" in shown.out
    assert f"{path}:101" in shown.out


def test_predict_from_arguments_file_and_stdin(burnish: Burnish, finished: Run, write_csv: Callable[..., Path]) -> None:
    """The same texts give the same lines, whichever way they come."""
    texts = ["my card", "where is the transfer", 'a "refund", please']
    by_text = burnish("predict", finished.path, *[w for text in texts for w in ("--text", text)])
    assert by_text.code == 0
    rows = [line.split("\t") for line in by_text.out.splitlines()]
    assert [row[2] for row in rows] == texts
    assert all(re.fullmatch(r"[01]\.\d{3}", row[1]) for row in rows)
    by_stdin = burnish("predict", finished.path, stdin="\n".join(texts) + "\n")
    by_file = burnish("predict", finished.path, "--data", write_csv([(t, "?") for t in texts]))
    other_names = burnish("predict", finished.path, "--data", write_csv([(t,) for t in texts], header=("message",)))
    assert by_text.out == by_stdin.out == by_file.out == other_names.out
    as_json = one_object(burnish("predict", finished.path, "--json", stdin="my card\n").out)
    assert [set(p) for p in as_json["predictions"]] == [{"text", "label", "probability", "margin"}]


def test_predict_reads_files_as_in_training(
    burnish: Burnish, sets: Sets, solved: tuple[str, ...], toy_rows: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Headerless, and in another encoding than UTF-8."""
    data, run = tmp_path / "data.csv", tmp_path / "run"
    lines = [f"{label},caf\xe9 {text}" for text, label in toy_rows[:60]]
    data.write_bytes("\n".join(lines).encode("cp1252"))
    assert burnish("train", data, "--output", run, *sets([*solved, "data.encoding=cp1252"])).code == 0
    shown = burnish("predict", run, "--data", data)
    assert shown.code == 0
    assert [line.split("\t")[2] for line in shown.out.splitlines()] == [line.split(",")[1] for line in lines]


def test_predict_nothing(burnish: Burnish, finished: Run) -> None:
    assert burnish("predict", finished.path).out == ""
    assert one_object(burnish("predict", finished.path, "--json").out) == {"predictions": []}


def test_runs_lists_newest_first_and_finds_by_beginning(
    burnish: Burnish, finished: Run, runs: Path, tmp_path: Path
) -> None:
    assert burnish("runs").out == f"no runs in {runs} yet; start with `burnish demo` or `burnish train DATA`\n"
    assert one_object(burnish("runs", "--json").out) == {"runs": []}
    for name, created in (("spam-1", "2026-01-01T00:00:00+00:00"), ("toys-2", "2026-02-01T00:00:00+00:00")):
        shutil.copytree(finished.path, runs / name)
        manifest = finished.folder.manifest() | {"id": name, "created": created}
        (runs / name / "manifest.json").write_text(json.dumps(manifest))
    (runs / "unrelated").mkdir()
    (runs / "damaged").mkdir()
    (runs / "damaged" / "manifest.json").write_text("{")
    listed = burnish("runs").out.splitlines()
    assert [line.split()[0] for line in listed] == ["id", "toys-2", "spam-1"]
    assert [run["id"] for run in one_object(burnish("runs", "--json").out)["runs"]] == ["toys-2", "spam-1"]
    for name in ("toys-2", "to", str(runs / "toys-2"), f"{runs / 'toys-2'}/"):
        assert one_object(burnish("runs", name, "--json").out)["manifest"]["id"] == "toys-2"


def test_evaluate_again_counts_how_often_the_test_was_opened(burnish: Burnish, finished: Run, tmp_path: Path) -> None:
    run = copied(finished, tmp_path)
    before = json.loads((run / "evaluation.json").read_text())
    shown = burnish("evaluate", run)
    assert shown.code == 0
    assert shown.out.startswith("\nVERDICT")
    after = json.loads((run / "evaluation.json").read_text())
    assert (before["opened"], after["opened"]) == (1, 2)
    assert "sealed test rows opened: 2 times; each look" in shown.out
    sealed = json.loads((run / "manifest.json").read_text())["sealed"]
    assert (sealed["opened"], len(sealed["sha256"])) == (2, 64)
    (run / "evaluation.json").write_text(json.dumps({**after, "opened": 0}))  # the manifest remembers too
    assert one_object(burnish("evaluate", run, "--json").out)["opened"] == 3
    assert after["models"] == before["models"]
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"


def test_evaluate_on_other_rows_writes_nothing(
    burnish: Burnish,
    finished: Run,
    toy_rows: list[tuple[str, str]],
    write_csv: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Rows the run knows are left out: the toy rows are all known but those of its own test."""
    run = copied(finished, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    other = write_csv([*toy_rows, *[(f"{text} the where", label) for text, label in toy_rows[:30]]])
    shown = burnish("evaluate", run, "--data", other, "--json")
    assert shown.code == 0
    evaluation = one_object(shown.out)
    assert (evaluation["split"], evaluation["n"]) == (str(other), 27 + 30)
    assert f"153 rows of {other} were learned or chosen from in this run and are left out" in shown.err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_evaluate_refuses_other_training_data(
    burnish: Burnish,
    toy_rows: list[tuple[str, str]],
    write_csv: Callable[..., Path],
    sets: Sets,
    solved: tuple[str, ...],
    tmp_path: Path,
) -> None:
    """Test rows split off a changed file may have been learned from."""
    data, run = write_csv(toy_rows), tmp_path / "run"
    assert burnish("train", data, "--output", run, *sets(solved)).code == 0
    data.write_text("\n".join(data.read_text(encoding="utf-8").splitlines()[:-9]), encoding="utf-8")
    for more in ([], ["--data", data]):
        shown = burnish("evaluate", run, *more)
        assert (shown.code, shown.out) == (2, "")
        assert "[run/data-changed]" in shown.err


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("better", '--require better: the verdict is "worse"  [verdict/not-better]'),
        ("goals", "--require goals: not reached: accuracy >= 0.99  [verdict/goals-missed]"),
    ],
)
def test_require(
    burnish: Burnish, sets: Sets, solved: tuple[str, ...], toy: Path, wanted: str, said: str, tmp_path: Path
) -> None:
    """The result is printed either way; the exit code says whether it is good enough."""
    run = tmp_path / "run"
    goals = 'evaluation.goals=["accuracy >= 0.1", "accuracy >= 0.99"]'
    for line in (["train", toy, "--output", run, *sets([*solved, goals])], ["evaluate", run], ["resume", run]):
        shown = burnish(*line, "--require", wanted)
        assert shown.code == 1
        assert shown.out.startswith("\nVERDICT")
        assert shown.err.splitlines()[-1] == said
    as_json = burnish("resume", run, "--require", wanted, "--json")
    assert as_json.code == 1
    assert one_object(as_json.out)["verdict"]["answer"] == "worse"


def test_require_goals_that_are_reached(
    burnish: Burnish, sets: Sets, solved: tuple[str, ...], toy: Path, tmp_path: Path
) -> None:
    goal = 'evaluation.goals=["accuracy >= 0"]'
    shown = burnish("train", toy, "--output", tmp_path / "run", *sets([*solved, goal]), "--require", "goals")
    assert shown.code == 0
    assert "goal accuracy >= 0: reached" in shown.out


def test_require_goals_without_goals_trains_nothing(
    burnish: Burnish, sets: Sets, solved: tuple[str, ...], toy: Path, tmp_path: Path
) -> None:
    shown = burnish("train", toy, "--output", tmp_path / "run", *sets(solved), "--require", "goals", "--json")
    assert shown.code == 2
    assert one_object(shown.out)["error"]["code"] == "verdict/no-goals"
    assert not (tmp_path / "run").exists()


def test_json_is_one_object_and_progress_is_elsewhere(
    burnish: Burnish, sets: Sets, solved: tuple[str, ...], finished: Run, toy: Path, runs: Path, tmp_path: Path
) -> None:
    lines = {
        "init": ["init", toy, "--output", tmp_path / "recipe.yaml"],
        "check": ["check", toy],
        "train": ["train", toy, "--output", tmp_path / "run", *sets(solved)],
        "resume": ["resume", finished.path],
        "evaluate": ["evaluate", copied(finished, tmp_path)],
        "predict": ["predict", finished.path, "--text", "my card"],
        "runs": ["runs"],
        "run": ["runs", finished.path],
    }
    keys = {name: set(one_object(burnish(*line, "--json").out)) for name, line in lines.items()}
    assert keys["train"] == keys["resume"] >= {"id", "folder", "verdict", "models", "goals", "report", "final"}
    assert keys["evaluate"] >= {"task", "split", "n", "models", "verdict"}
    assert keys["init"] == {"recipe", "columns", "labels", "rows", "notes"}
    assert keys["check"] >= {"files", "rows", "columns", "labels", "splits", "notes", "warnings", "problems"}
    assert keys["run"] == {"folder", "manifest", "evaluation", "seeds"}


def test_errors_are_json_too(burnish: Burnish, tmp_path: Path) -> None:
    shown = burnish("train", tmp_path / "missing.csv", "--output", tmp_path / "run", "--json")
    assert shown.code == 2
    content = one_object(shown.out)
    assert (content["exit_code"], content["error"]["code"]) == (2, "data/missing-file")
    assert content["error"]["where"] == str(tmp_path / "missing.csv")


def test_traceback_on_demand(burnish: Burnish, tmp_path: Path) -> None:
    assert "Traceback" not in burnish("check", tmp_path / "missing.csv").err
    assert "Traceback" in burnish("check", tmp_path / "missing.csv", "--traceback").err


@pytest.mark.parametrize("plain", [True, False])
def test_colour_only_on_a_terminal_that_wants_it(
    burnish: Burnish, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    run = copied(finished, tmp_path)
    assert not COLOUR.search(burnish("evaluate", run).out)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    shown = burnish("evaluate", run)
    assert bool(COLOUR.search(shown.out)) != plain
    assert bool(COLOUR.search(shown.err)) != plain


def test_reader_that_goes_away_is_no_error(finished: Run) -> None:
    """As in `burnish runs RUN | head -0`."""
    code = f"""
import os, sys
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
sys.argv = ["burnish", "runs", {str(finished.path)!r}]
from burnish.cli.main import entry
entry()
"""
    result = python(code, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(("last", "code", "said"), [("return 5", 5, ""), ("signal.raise_signal(15)", 143, "stopped\n")])
def test_signal_at_the_very_end_prints_no_traceback(last: str, code: int, said: str) -> None:
    """While the first one is being reported, and while the process exits."""
    script = f"""
import atexit, signal
import burnish.cli.main as cli
def main(arguments):
    {last}
cli.main = main
atexit.register(signal.raise_signal, signal.SIGTERM)
cli.entry()
"""
    result = python(script, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (code, said)


def test_demo_is_a_recipe_like_any_other() -> None:
    recipe = demo_recipe()
    assert recipe.model.base == "minilm"
    for name in (recipe.data.train, recipe.data.test):
        assert Path(str(name)).is_file()


@pytest.mark.slow
def test_demo_takes_the_arguments_of_train(burnish: Burnish, sets: Sets, sentence_base: Path, tmp_path: Path) -> None:
    """The shipped data on a tiny base: every stage, none of the quality."""
    training = "training={max_steps: 2, threads: 1}"
    changes = sets([f"model.base={sentence_base}", training, "evaluation.resamples=100"])
    shown = burnish("demo", "--output", tmp_path / "run", "--seed", "7", *changes, "--json", "--require", "better")
    assert shown.code in (0, 1)
    content = one_object(shown.out)
    assert content["models"]["tuned"]["accuracy"]["n"] >= 400
    assert [goal["goal"] for goal in content["goals"]] == ["macro-f1 >= 0.85", "recall[support] >= 0.90"]
    assert "seed: 7" in (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")
