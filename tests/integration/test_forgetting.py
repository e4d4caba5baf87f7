"""A language model that forgets, from its rows to the gate, and what keeps it from forgetting."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import BurnishError, DataReadError, RunError
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import resume_run, train
from burnish.storage.run_folder import RunFolder

QUICK = (
    *("training.threads=1", "method=full", "training.global_batch_size=16", "evaluation.resamples=200"),
    *("data.near_duplicates=false", "training.average_decay=0"),
)
LETTERS = ["cat", "dog", "sat", "ran", "mat", "and", "the", "on"]
DIGITS = ["12", "345", "67", "890", "11", "230", "4", "56"]


def texts(words: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """Different texts of the same words."""
    draw = random.Random(seed)
    return [{"text": " ".join(draw.choices(words, k=9))} for _ in range(count)]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Old texts of letters, new ones of digits, and probes of letters that are no old text."""
    folder = tmp_path_factory.mktemp("texts")
    return {
        "old": written(folder / "old.jsonl", texts(LETTERS, 64, 1)),
        "new": written(folder / "new.jsonl", texts(DIGITS, 64, 2)),
        "probes": written(folder / "probes.jsonl", texts(LETTERS, 16, 3)),
    }


@pytest.fixture(scope="module")
def knowing_base(language_base: Path, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random base after it has learned the old texts."""
    overrides = [*QUICK, f"model.base={language_base}", "training.epochs=8", "training.learning_rate=0.02"]
    run = train(files["old"], overrides=overrides, output=tmp_path_factory.mktemp("runs") / "base")
    gate = run.evaluation["gates"][0]
    assert gate["passed"], "a random base has nothing to lose"
    assert "hardly better than chance" in gate["reason"]
    return run.folder.final


@pytest.fixture
def settings(knowing_base: Path, files: dict[str, Path]) -> list[str]:
    own = ["training.epochs=4", "training.learning_rate=0.02", f"evaluation.forgetting.probes={files['probes']}"]
    return [*QUICK, f"model.base={knowing_base}", *own]


@pytest.fixture
def forget(settings: list[str], files: dict[str, Path], tmp_path: Path) -> Callable[..., Run]:
    def learn_digits(name: str, *more: str) -> Run:
        return train(files["new"], overrides=[*settings, *more], output=tmp_path / name)

    return learn_digits


def test_a_run_that_forgot_is_stopped_and_its_remedies_keep_more(
    forget: Callable[..., Run], files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Replay, EWC and L2 to the start let the loss on old texts rise less than doing nothing."""
    run = forget("nothing")
    (gate,) = run.evaluation["gates"]
    assert not gate["passed"]
    assert run.verdict["answer"] == "better", "it did learn its digits"
    assert run.verdict["advice"].startswith("Do not promote the tuned model: The loss on all 16 probes changed by +")
    assert run.folder.final.is_dir(), "the model is saved either way"
    report = run.report.read_text(encoding="utf-8")
    for words in ("What it forgot", "May it be promoted?", "✗ lost", "The probes that lost most"):
        assert words in report
    assert main(["evaluate", str(run.path), "--require", "gates"]) == 1
    shown = capsys.readouterr()
    assert "gate forgetting: NOT PASSED" in shown.out
    assert "not passed: forgetting  [verdict/gates-not-passed]" in shown.err
    kept = f"training.keep_ability.rows={files['old']}"
    remedies = {
        "replay": forget("replay", kept, "training.keep_ability.replay=0.5"),
        "ewc": forget("ewc", kept, "training.keep_ability.ewc=100"),
        "l2": forget("l2", "training.keep_ability.l2_to_start=0.1"),
    }
    rises = {name: done.evaluation["gates"][0]["figures"]["rise"] for name, done in remedies.items()}
    assert max(rises.values()) < 0.8 * gate["figures"]["rise"], rises
    again = remedies["replay"]
    assert again.evaluation["gates"][0]["passed"]
    assert main(["resume", str(again.path), "--require", "gates"]) == 0


def test_interpolation_goes_back_as_far_as_the_tolerance_asks(forget: Callable[..., Run]) -> None:
    run = forget("mixed", "checkpoint.choose=auto", "evaluation.forgetting.tolerance=0.3")
    choice = run.folder.manifest()["training"]["checkpoint_choice"]
    compared = {way["name"]: way for way in choice["compared"]}
    assert compared["best"]["rise"] > 0.3
    assert compared[choice["chosen"]]["rise"] <= 0.3
    found = run.evaluation["forgetting"]["kinds"]["all probes"]["rise"]
    assert found == pytest.approx(compared[choice["chosen"]]["rise"], abs=1e-3), "what was chosen is what was saved"
    assert "Which weights it ends with" in run.report.read_text(encoding="utf-8")
    steps = {row["step"] for row in run.folder.rows(run.folder.samples)}
    assert steps <= set(range(100)), "candidates leave no samples"


def test_a_kept_run_that_was_cut_ends_with_the_same_bits(forget: Callable[..., Run], files: dict[str, Path]) -> None:
    more = [
        *("method=lora", "training.epochs=2", "checkpoint.every_steps=2", "checkpoint.choose=interpolation"),
        *(f"training.keep_ability.rows={files['old']}", "training.keep_ability.replay=0.3"),
        *("training.keep_ability.ewc=3", "training.keep_ability.l2_to_start=0.01"),
    ]
    whole, cut = forget("whole", *more), forget("cut", *more)
    for path in sorted(cut.folder.checkpoints.glob("step-*"))[1:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    for _ in ("in its middle", "behind its last evaluation"):
        cut.folder.update_manifest(status="interrupted")
        resume_run(RunFolder(cut.path))
        for name in sorted(path.name for path in whole.folder.final.glob("*.safetensors")):
            assert (whole.folder.final / name).read_bytes() == (cut.folder.final / name).read_bytes()
        assert whole.evaluation["gates"] == cut.evaluation["gates"]


def test_rows_that_changed_between_stop_and_resume_are_refused(
    forget: Callable[..., Run], files: dict[str, Path], tmp_path: Path
) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_bytes(files["old"].read_bytes())
    keep = [f"training.keep_ability.rows={kept}", "training.keep_ability.replay=0.3", "training.max_steps=1"]
    run = forget("run", *keep)
    kept.write_text('{"text": "something else"}\n{"text": "and more of it"}\n', encoding="utf-8")
    run.folder.update_manifest(status="interrupted")
    with pytest.raises(RunError, match="others than when this run started") as raised:
        resume_run(RunFolder(run.path))
    assert (raised.value.code, raised.value.where) == ("run/data-changed", str(kept))


@pytest.mark.parametrize(
    ("field", "rows", "code", "line"),
    [
        ("evaluation.forgetting.probes", [{"text": "a " * 400}] * 10, "probes/too-long", 1),
        ("evaluation.forgetting.probes", [{"text": "a"}] * 9, "probes/too-few", None),
        ("training.keep_ability.rows", [{"number": 1}] * 20, "keep/no-rows", None),
    ],
)
def test_files_are_read_before_anything_is_trained(
    settings: list[str], files: dict[str, Path], tmp_path: Path, field: str, rows: Any, code: str, line: int | None
) -> None:
    path = written(tmp_path / "asked.jsonl", rows)
    with pytest.raises(BurnishError) as raised:
        train(
            files["new"],
            overrides=[
                *settings,
                f"{field}={path}",
                "training.keep_ability.ewc=1",
                f"training.keep_ability.rows={path}",
            ],
            output=tmp_path / "run",
        )
    assert raised.value.code == code
    assert raised.value.where == (f"{path}:{line}" if line else str(path))
    assert raised.value.hint


def test_no_gate_where_none_is_wanted(
    settings: list[str], files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", str(files["new"]), "--output", str(tmp_path / "run"), "--require", "gates", "--json"]
    overrides = [*settings, "evaluation.forgetting.probes=none", "training.max_steps=1"]
    assert main([*line, *(part for override in overrides for part in ("--set", override))]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "verdict/no-gates"
    assert "gates" not in RunFolder(tmp_path / "run").content(RunFolder(tmp_path / "run").evaluation)


def test_probes_beside_the_recipe_are_found(settings: list[str], files: dict[str, Path], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{train: {files['new']}}}\nevaluation: {{forgetting: {{probes: absent.jsonl}}}}\n")
    with pytest.raises(DataReadError, match="the probes cannot be read") as raised:
        train(recipe, overrides=[o for o in settings if "probes" not in o], output=tmp_path / "run")
    assert raised.value.where == str(tmp_path / "absent.jsonl")
