"""Models under names: kept, promoted through gates, rolled back, used, trained on from, deleted and copied."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.evaluation.gates import Gate
from burnish.lifecycle.run import Run
from burnish.registry.gates import GATES, register_gate
from burnish.settings import settings

Burnish = Callable[..., Any]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own, so that no other test's runs are in the registry."""
    monkeypatch.setenv("BURNISH_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()


@pytest.fixture
def copy_of(finished: Run, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a finished run with another verdict, as if it had been judged so."""

    def copy(name: str, answer: str = "better", **evaluation: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(finished.path, folder, ignore=shutil.ignore_patterns("checkpoints", ".lock"))
        judged = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
        judged["verdict"]["answer"] = answer
        (folder / "evaluation.json").write_text(json.dumps({**judged, **evaluation}), encoding="utf-8")
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        (folder / "manifest.json").write_text(json.dumps({**manifest, "id": name}), encoding="utf-8")
        return folder

    return copy


def shown(burnish: Burnish, *arguments: object, code: int = 0) -> dict[str, Any]:
    done = burnish(*arguments, "--json")
    assert done.code == code, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_a_model_is_promoted_used_rolled_back_and_never_changes(
    burnish: Burnish, copy_of: Callable[..., Path], home: Path
) -> None:
    first, second = (
        shown(burnish, "models", "promote", copy_of(name), "--name", "toys") for name in ("first", "second")
    )
    assert (first["alias"], first["before"], first["version"]["label"]) == ("toys:champion", None, "toys:1")
    assert second["before"] == first["version"]["id"]
    assert [gate["name"] for gate in second["gates"]] == ["verdict", "goals", "license"]
    listed = shown(burnish, "models", "list", "--name", "toys")["versions"]
    assert [(row["label"], row["aliases"]) for row in listed] == [("toys:2", ["champion"]), ("toys:1", [])]

    said = shown(burnish, "models", "show", "toys:champion")
    assert said["id"] == second["version"]["id"]
    assert [(each["role"], each["kind"]) for each in said["lineage"]] == [
        ("run", "run"),
        ("base", "base"),
        ("data", "dataset"),
    ]
    assert [move["action"] for move in said["moves"]] == ["promote"]
    predicted = shown(burnish, "predict", "toys:champion", "--text", "my card")
    assert predicted == shown(burnish, "predict", home.parent / "second", "--text", "my card")

    weights = next((home / "versions").glob(f"*/{first['version']['id']}/final/head.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"?")
    refused = shown(burnish, "models", "rollback", "toys", code=6)
    assert refused["error"]["code"] == "storage/damaged"
    assert shown(burnish, "models", "show", "toys:champion")["id"] == second["version"]["id"], "nothing was moved"
    weights.write_bytes(whole)

    back = shown(burnish, "models", "rollback", "toys")
    assert (back["version"]["label"], back["before"]) == ("toys:1", second["version"]["id"])
    refused = shown(burnish, "evaluate", "toys:champion", code=2)
    assert refused["error"]["code"] == "run/is-a-version"
    assert shown(burnish, "verify") == {"damages": []}


def test_runs_of_every_folder_are_listed_from_the_registry(
    burnish: Burnish, toy: Path, solved: tuple[str, ...], tmp_path: Path
) -> None:
    changes = [word for setting in solved for word in ("--set", setting)]
    assert burnish("train", toy, *changes, "--output", tmp_path / "elsewhere").code == 0
    (listed,) = shown(burnish, "runs", "list", "--all")["runs"]
    assert (listed["id"], listed["folder"], listed["method"]) == ("elsewhere", str(tmp_path / "elsewhere"), "head")
    assert shown(burnish, "runs", "list", "--all", "--task", "chat")["runs"] == []
    assert shown(burnish, "evaluate", tmp_path / "elsewhere")["verdict"]
    assert len(shown(burnish, "runs", "list", "--all")["runs"]) == 1


def test_gates_name_what_stops_a_model_which_can_still_await_its_tests(
    burnish: Burnish, copy_of: Callable[..., Path]
) -> None:
    goal = {"goal": "accuracy >= 0.99", "reached": False}
    lost = Gate("forgetting", False, "It forgot its stories.", "Train again with replay.").as_dict()
    folder = copy_of("poor", "worse", goals=[goal], gates=[lost])
    refused = shown(burnish, "models", "promote", folder, "--name", "toys", code=1)["error"]
    assert refused["code"] == "promote/refused"
    assert [detail.partition(":")[0] for detail in refused["details"]] == ["verdict", "goals", "forgetting"]
    assert "accuracy >= 0.99" in refused["details"][1]
    assert "Train again with replay." in refused["details"][2]
    assert shown(burnish, "models", "promote", "toys:1", "--to", "candidate")["alias"] == "toys:candidate"


def test_a_license_that_forbids_the_use_stops_every_alias(burnish: Burnish, copy_of: Callable[..., Path]) -> None:
    folder = copy_of("borrowed")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["license"] |= {"name": "cc-by-nc-4.0", "use": "commercial"}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    for alias in ("champion", "candidate"):
        refused = shown(burnish, "models", "promote", folder, "--name", "toys", "--to", alias, code=1)["error"]
        assert refused["code"] == "promote/refused"
        assert "forbids commercial use" in refused["details"][-1]


def test_a_gate_of_ones_own(copy_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from burnish.errors import PromotionRefusedError
    from burnish.lifecycle.promote import promote

    monkeypatch.setattr("burnish.registry.gates.GATES", dict(GATES))
    register_gate("size", lambda version, run: Gate("size", version.size_bytes < 10, f"{version.size_bytes} bytes."))
    with pytest.raises(PromotionRefusedError, match="does not become") as caught:
        promote(copy_of("large"), name="toys")
    assert caught.value.details[0].startswith("size: ")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("promote", "nothing"), "run/not-found"),
        (("promote", "toys:9"), "run/not-found"),
        (("rollback", "toys"), "registry/nothing-before"),
        (("delete", "toys:9"), "registry/not-found"),
        (("keep", "RUN", "--name", "../toys"), "registry/bad-name"),
        (("promote", "RUN", "--to", "7"), "registry/bad-name"),
    ],
)
def test_wrong_names_are_one_line(burnish: Burnish, finished: Run, arguments: tuple[str, ...], code: str) -> None:
    done = burnish("models", *(str(finished.path) if word == "RUN" else word for word in arguments), "--json")
    assert done.code == 2
    assert json.loads(done.out)["error"]["code"] == code


def test_garbage_is_shown_then_deleted_and_what_is_needed_stays(
    burnish: Burnish, copy_of: Callable[..., Path], home: Path
) -> None:
    shown(burnish, "models", "promote", copy_of("first"), "--name", "toys")
    shown(burnish, "models", "promote", copy_of("second"), "--name", "toys")  # the first one can be gone back to
    shown(burnish, "models", "keep", copy_of("third"), "--name", "toys")
    would = shown(burnish, "gc", "--older-than-days", "0")
    assert ([version["label"] for version in would["versions"]], would["done"]) == (["toys:3"], False)
    of_another_database = home / "versions" / "ab" / ("ab" * 32)
    of_another_database.mkdir(parents=True)
    os.utime(of_another_database, (0, 0))
    did = shown(burnish, "gc", "--older-than-days", "0", "--yes")
    assert of_another_database.is_dir(), "what is not shown is not deleted"
    of_another_database.rmdir()
    assert [version["label"] for version in did["versions"]] == ["toys:3"]
    assert [row["label"] for row in shown(burnish, "models", "list")["versions"]] == ["toys:2", "toys:1"]
    assert burnish("models", "delete", "toys:2", "--yes").code == 2
    assert shown(burnish, "verify") == {"damages": []}


def test_a_copy_is_a_home_and_a_changed_bit_in_it_is_found(
    burnish: Burnish, copy_of: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown(burnish, "models", "promote", copy_of("first"), "--name", "toys")
    copy = tmp_path / "copy"
    strange, own = tmp_path / ".tmp-of-somebody-else", tmp_path / ".tmp-12345678-copy"
    for left in (strange, own):
        left.mkdir()
        os.utime(left, (0, 0))
    made = shown(burnish, "backup", copy)
    assert (strange.exists(), own.exists()) == (True, False), "only its own leftovers go"
    assert made["versions"] == 4
    assert shown(burnish, "verify", "--home", copy) == {"damages": []}
    assert json.loads(burnish("backup", copy, "--json").out)["error"]["code"] == "backup/exists"
    monkeypatch.setenv("BURNISH_HOME", str(copy))
    settings.cache_clear()
    assert shown(burnish, "models", "show", "toys")["label"] == "toys:1"
    weights = next(copy.glob("versions/*/*/final/model.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    found = shown(burnish, "verify", code=6)["damages"]
    assert len(found) == 1
    assert "final/model.safetensors differs from its sha256" in found[0]
    refused = shown(burnish, "predict", "toys", "--text", "my card", code=6)["error"]
    assert "final/model.safetensors" in refused["message"]


def test_a_training_goes_on_from_a_version_and_knows_it(
    burnish: Burnish, copy_of: Callable[..., Path], toy: Path, solved: tuple[str, ...], tmp_path: Path
) -> None:
    version = shown(burnish, "models", "promote", copy_of("first"), "--name", "toys")["version"]
    changes = [word for setting in solved[1:] for word in ("--set", setting)]
    done = burnish("train", toy, *changes, "--set", "model.base=toys:champion", "--output", tmp_path / "on")
    assert done.code == 0, done.err
    kept = shown(burnish, "models", "keep", tmp_path / "on", "--name", "toys")["version"]
    lineage = shown(burnish, "models", "show", kept["label"])["lineage"]
    assert version["id"] in [each["id"] for each in lineage if each["role"] == "parent"]


def test_a_checkpoint_is_kept_and_gone_on_from(burnish: Burnish, finished: Run, tmp_path: Path, home: Path) -> None:
    step = sorted(int(path.name.removeprefix("step-")) for path in finished.folder.checkpoints.glob("step-*"))[-1]
    kept = shown(burnish, "models", "keep", f"{finished.path}@step-{step}")["version"]
    assert (kept["kind"], kept["number"]) == ("checkpoint", None)
    refused = shown(burnish, "models", "promote", f"{finished.path}@step-{step}", code=2)["error"]
    assert refused["code"] == "promote/no-model"
    assert (
        shown(burnish, "models", "keep", f"{finished.path}@step-999999", code=2)["error"]["code"] == "run/no-checkpoint"
    )
    assert shown(burnish, "resume", kept["id"][:12], "--set", "training.epochs=9", code=2)["error"]["code"] == (
        "run/is-a-version"
    )
    further = ("--set", "training.epochs=9", "--output", tmp_path / "on")
    done = burnish("resume", kept["id"][:12], *further)
    assert done.code == 0, done.err
    assert f"step {step}" in done.err
    assert shown(burnish, "verify") == {"damages": []}
