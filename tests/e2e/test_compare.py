"""`burnish compare`: runs, arms, checkpoints and endpoints on the same rows, and people who choose blind."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import burnish as package
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import train
from burnish.recipe.read import build_recipe, recipe_text

Burnish = Callable[..., Any]
PROMPTS = 40


@pytest.fixture(scope="session")
def other(finished: Run, toy: Path, solved: tuple[str, ...]) -> Run:
    """A run with another base and method on the rows of `finished`, beside it."""
    return train(toy, overrides=solved, output=finished.path.parent / "other-run")


def test_two_runs_are_compared_by_what_they_wrote_down(
    burnish: Burnish, finished: Run, other: Run, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    page = tmp_path / "page.html"
    shown = burnish("compare", finished.path, other.path, "--json", "--html", page)
    assert shown.code == 0, shown.err
    found = json.loads(shown.out)
    assert (found["a"], found["b"]) == (str(finished.path), str(other.path))
    assert (found["task"], found["split"], found["left_out"]) == ("text-classification", "test", 0)
    tuned = [run.evaluation["models"]["tuned"] for run in (finished, other)]
    assert [found["models"][side]["accuracy"] for side in "ab"] == [models["accuracy"] for models in tuned]
    d = found["difference"]
    assert d["difference"] == pytest.approx(tuned[0]["accuracy"]["value"] - tuned[1]["accuracy"]["value"])
    assert d["low"] < d["difference"] < d["high"]
    assert d["test"] == "McNemar"
    assert [entry["metric"] for entry in found["comparisons"]] == ["macro-f1"]
    assert found["wins"]["a"] - found["wins"]["b"] == pytest.approx(d["difference"] * found["n"])
    assert found["seconds"] == {"a": None, "b": None}, "no model was opened"
    assert "seeds" in found
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before, "nothing is written"
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "McNemar" in text
    told = burnish("compare", finished.path, other.path).out
    assert found["sentence"] in told
    assert f"n = {found['n']}, McNemar" in told
    assert package.compare(finished.path, other.path) == found
    turned = package.compare(other.path, finished.path)
    assert turned["difference"]["difference"] == pytest.approx(-d["difference"])
    assert turned["wins"] == {"a": found["wins"]["b"], "b": found["wins"]["a"]}


def test_an_arm_of_a_run_gives_the_numbers_of_its_verdict(finished: Run) -> None:
    verdict = finished.verdict
    found = package.compare(finished.path, f"{finished.path}@{verdict['against']}")
    for name in ("difference", "low", "high", "p_value", "test", "n"):
        assert found["difference"][name] == verdict[name]
    itself = package.compare(f"{finished.path}@best", finished.path)
    assert itself["rows"] == []
    assert itself["difference"]["low"] < 0 < itself["difference"]["high"]
    assert itself["answer"] == "too little data", "so few rows rule nothing out"


def test_a_checkpoint_answers_the_sealed_rows(burnish: Burnish, finished: Run) -> None:
    best = finished.folder.manifest()["training"]["best_step"]
    shown = burnish("compare", f"{finished.path}@step-{best}", finished.path, "--json")
    assert shown.code == 0, shown.err
    found = json.loads(shown.out)
    assert found["rows"] == [], "the run ended with these weights"
    assert found["models"]["a"] == found["models"]["b"]
    assert found["seconds"]["a"] > 0
    absent = burnish("compare", f"{finished.path}@step-999", finished.path)
    assert absent.code == 2
    assert "this run keeps no checkpoint of step 999  [compare/unknown-part]" in absent.err
    assert f"step-{best}" in absent.err


def test_rows_of_a_file_are_answered_anew_without_what_was_learned(
    burnish: Burnish, finished: Run, other: Run, toy: Path, tmp_path: Path
) -> None:
    with toy.open(encoding="utf-8", newline="") as stream:
        learned = list(csv.DictReader(stream))
    text, label = learned[0]
    path = tmp_path / "new.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([text, label])
        writer.writerows([f"{row[text]} now {i}", row[label]] for i, row in enumerate(learned[:20]))
        writer.writerows([row[text], row[label]] for row in learned)
    shown = burnish("compare", finished.path, other.path, "--data", path, "--json")
    assert shown.code == 0, shown.err
    found = json.loads(shown.out)
    tested = json.loads((finished.path / "manifest.json").read_text())["data"]["splits"]["test"]
    assert found["split"] == str(path)
    assert found["n"] == 20 + tested, "the new rows, and those of the sealed test"
    assert found["seconds"]["a"] > 0
    assert "were learned or chosen from in this run and are left out" in shown.err
    arm = burnish("compare", f"{finished.path}@majority", other.path, "--data", path)
    assert (arm.code, "[compare/stored-only]" in arm.err) == (2, True)


def test_what_cannot_be_compared_is_said(burnish: Burnish, finished: Run, toy: Path, tmp_path: Path) -> None:
    def refused(*words: str | Path) -> str:
        shown = burnish("compare", *words)
        assert (shown.code, shown.out) == (2, "")
        return str(shown.err)

    assert "[run/not-found]" in refused("no-such-run", finished.path)
    wrong = refused(f"{finished.path}@base-prob", finished.path)
    assert '"base-prob" is no arm or checkpoint of this run  [compare/unknown-part]' in wrong
    assert 'did you mean "base-probe"?' in wrong
    assert "both are runs  [compare/no-endpoint]" in refused(finished.path, finished.path, "--model", "m")
    assert "which model answers there?  [compare/no-model]" in refused(finished.path, "http://localhost:1/v1")
    both = refused("http://localhost:1/v1", "http://localhost:1/v1", "--model", "m")
    assert "both are endpoints  [compare/no-run]" in both
    spoken = refused(finished.path, "http://localhost:1/v1", "--model", "m")
    assert "an endpoint writes texts; text-classification asks for none here  [compare/nothing-written]" in spoken
    assert "[compare/nothing-written]" in refused(finished.path, finished.path, "--blind")
    changed = Path(shutil.copytree(finished.path, tmp_path / "changed"))
    manifest = json.loads((changed / "manifest.json").read_text())
    (changed / "manifest.json").write_text(json.dumps(manifest | {"sealed": {"sha256": "0", "opened": 1}}))
    rows = refused(finished.path, changed)
    assert "judged on other test rows" in rows
    assert "--data FILE" in rows
    (changed / "manifest.json").write_text(json.dumps(manifest))
    (changed / "predictions.jsonl").write_text('{"file": "a.csv", "line": 2}\n')
    assert f"[compare/no-answers]\n  hint: have it written again: burnish evaluate {changed}" in refused(
        finished.path, changed
    )
    evaluation = json.loads((changed / "evaluation.json").read_text())
    (changed / "evaluation.json").write_text(json.dumps(evaluation | {"task": "chat"}))
    assert f"{changed} for chat  [compare/other-task]" in refused(finished.path, changed)


def test_runs_of_other_seeds_say_how_much_is_luck(
    burnish: Burnish, toy: Path, solved: tuple[str, ...], tmp_path: Path
) -> None:
    first, second = (
        train(toy, overrides=solved, seed=seed, output=tmp_path / "runs" / f"seed-{seed}") for seed in (1, 2)
    )
    train(toy, overrides=[*solved, "training.weight_decay=0.5"], output=tmp_path / "runs" / "unlike")
    spread = json.loads(burnish("runs", first.path, "--json").out)["seeds"]
    values = [run.evaluation["models"]["tuned"][spread["metric"]]["value"] for run in (first, second)]
    assert spread["runs"] == ["seed-1", "seed-2"]
    assert spread["mean"] == pytest.approx(sum(values) / 2)
    assert spread["deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert spread["gain"] == pytest.approx(sum(run.verdict["difference"] for run in (first, second)) / 2)
    assert spread["same_rows"] is False
    assert "on average over 2 seeds, standard deviation" in burnish("runs", second.path).out
    assert package.compare(first.path, f"{first.path}@tf-idf")["seeds"] == {"a": spread, "b": None}
    assert json.loads(burnish("runs", tmp_path / "runs" / "unlike", "--json").out)["seeds"] is None


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """A judged chat run of 40 prompts: tuned says what is wanted on three of four."""
    folder = tmp_path / "talk-1"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(
        recipe_text(build_recipe({"task": "chat", "data": {"train": "x.jsonl"}}, [], source="x"))
    )
    write(folder / "manifest.json", {"id": "talk-1", "status": "finished", "task": "chat", "format": 1})
    evaluation = {"task": "chat", "metric": "exact-match", "models": {"tuned": {"exact-match": {}, "chrf": {}}}}
    write(folder / "evaluation.json", evaluation | {"arms": {"base": {}}, "verdict": {"against": "base"}})
    rows = []
    for i in range(PROMPTS):
        asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"question {i}?"}]
        row = {"file": "a.jsonl", "line": i, "text": f"question {i}?", "conversation": asked, "label": f"answer {i}"}
        rows.append({**row, "prediction": f"answer {i}" if i % 4 else "\x1b[2J no", "arms": {"base": "hm"}})
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def endpoint() -> Iterator[dict[str, Any]]:
    """Answers as the run's references do, on every second prompt; "status" makes it fail."""
    state: dict[str, Any] = {"seen": [], "status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state["seen"].append(asked)
            number = int("".join(filter(str.isdigit, asked["messages"][-1]["content"])))
            said = f"answer {number}" if number % 2 else "who knows"
            self.send_response(state["status"])
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": f"{said}\n"}}]}).encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state["url"] = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    server.shutdown()
    server.server_close()


def test_an_endpoint_answers_the_prompts_of_a_run(burnish: Burnish, talk: Path, endpoint: dict[str, Any]) -> None:
    shown = burnish("compare", talk, endpoint["url"], "--model", "m", "--json")
    assert shown.code == 0, shown.err
    found = json.loads(shown.out)
    assert [found["models"][side]["exact-match"]["value"] for side in "ab"] == [0.75, 0.5]
    assert found["wins"] == {"a": 10, "b": 0}
    assert found["answer"] == "better"
    assert found["sentence"] == f"{talk} is better than {endpoint['url']}, by 25.0\u00a0points exact match."
    assert found["seconds"]["a"] is None
    assert found["seconds"]["b"] > 0
    assert len(endpoint["seen"]) == PROMPTS
    roles = [message["role"] for message in endpoint["seen"][0]["messages"]]
    assert (endpoint["seen"][0]["model"], roles, endpoint["seen"][0]["temperature"]) == ("m", ["system", "user"], 0.0)
    told = burnish("compare", endpoint["url"], talk, "--model", "m").out
    assert "\x1b" not in told
    assert "A is better" in told or "B is better" in told
    endpoint["status"] = 500
    failed = burnish("compare", talk, endpoint["url"], "--model", "m")
    assert (failed.code, failed.out) == (2, "")
    assert "HTTP status 500  [data/endpoint-failed]" in failed.err


def test_people_choose_between_two_models_and_do_not_know_which(burnish: Burnish, talk: Path) -> None:
    words = ("compare", talk, f"{talk}@base", "--blind")
    shown = burnish(*words, "--json", stdin="t" * PROMPTS)
    assert shown.code == 0, shown.err
    choices = json.loads(shown.out)["choices"]
    assert [choices[name] for name in ("prompts", "n", "wins", "ties", "losses")] == [40, 40, 0, 40, 0]
    assert f"[{PROMPTS}/{PROMPTS}]" in shown.err
    assert "base" not in shown.err
    assert "\x1b[2J" not in shown.err
    firsts = [block.split("\n  answer 2\n")[0] for block in shown.err.split("\n  answer 1\n")[1:]]
    places = ["1" if "hm" not in first else "2" for first in firsts]
    assert 8 < places.count("1") < 32, "either may stand first"
    picked = json.loads(burnish(*words, "--json", stdin="".join(places)).out)["choices"]
    assert (picked["wins"], picked["losses"], picked["p_value"]) == (40, 0, 2 / 2**40)
    told = burnish(*words, stdin="".join(places[:3]) + "q")
    assert "CHOSEN BLIND" in told.out
    assert "3 won, 0 tied, 0 lost of 3, sign test p" in told.out
    assert "nothing was chosen" in burnish(*words, stdin="q").out
    assert sorted(path.name for path in talk.iterdir()) == [
        "evaluation.json",
        "manifest.json",
        "predictions.jsonl",
        "recipe.yaml",
    ]
