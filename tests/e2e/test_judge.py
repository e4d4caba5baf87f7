"""`burnish evaluate --judge`: a model on the loopback, people with scripted keys, and what goes wrong with both."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from burnish.lifecycle.run import Run
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder

Burnish = Callable[..., Any]
PROMPTS = 40


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A judged chat run of 40 prompts: tuned says "good", base "bad", but on every fourth prompt both say the same."""
    folder = tmp_path / "talk-1"
    (folder / "final").mkdir(parents=True)
    write(folder / "manifest.json", {"id": "talk-1", "status": "finished", "task": "chat", "format": 1})
    verdict = {
        "answer": "same",
        "metric": "chrf",
        "against": "base",
        "difference": 0.0,
        "low": -0.1,
        "high": 0.1,
        "n": 40,
    }
    write(folder / "evaluation.json", {"task": "chat", "metric": "chrf", "verdict": verdict, "models": {},
                                       "arms": {"majority": {}, "base": {}}, "n": PROMPTS})  # fmt: skip
    write_answers(folder, ["good answer" if i % 4 else "the same" for i in range(PROMPTS)])
    return folder


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_answers(folder: Path, tuned: list[str]) -> None:
    rows = []
    for i, answer in enumerate(tuned):
        asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"question \x1b[2J {i}?"}]
        arms = {"majority": "yes", "base": f"bad answer, {'long ' * (i % 3)}" if i % 4 else "the same"}
        row = {"file": "a.jsonl", "line": i, "text": f"question {i}?", "conversation": asked, "label": "x"}
        rows.append({**row, "prediction": answer, "stopped": True, "arms": arms})
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Judge:
    """An endpoint whose choice is a function of the two answers; keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.choose: Callable[[str, str], str] = lambda a, b: "A" if "good" in a else "B" if "good" in b else "tie"
        self.status: Callable[[int], int] = lambda number: 200

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        message = asked["messages"][1]["content"]
        first, second = (
            re.search(rf"answer {name}\]\n(.*?)\n\[\w+ end of answer {name}", message, re.DOTALL) for name in "AB"
        )
        assert first
        assert second
        choice = self.choose(first[1], second[1])
        content = json.dumps({"choice": choice}) if choice in ("A", "B", "tie") else choice
        return {"choices": [{"message": {"content": content}}]}


@pytest.fixture
def judge() -> Iterator[Judge]:
    state = Judge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.seen.append(asked)
            state.keys.append(self.headers["Authorization"])
            self.send_response(state.status(len(state.seen)))
            self.end_headers()
            self.wfile.write(json.dumps(state.answer(asked)).encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    server.shutdown()
    server.server_close()


def test_a_model_judges_in_both_orders(burnish: Burnish, run: Path, judge: Judge) -> None:
    words = ("evaluate", run, "--judge", judge.url, "--judge-model", "m")
    shown = burnish(*words, "--json", "--require", "better")
    assert shown.code == 0
    found = json.loads(shown.out)
    (judged,) = found["judges"]
    assert (found["against"], found["prompts"]) == ("base", 40)
    assert [judged[name] for name in ("n", "wins", "ties", "losses", "by_place", "refused")] == [40, 30, 10, 0, 0, 0]
    assert judged["win_rate"]["value"] == 35 / 40
    assert judged["first"] == {**judged["first"], "chosen": 30, "n": 60}
    assert judged["verdict"]["answer"] == "better"
    assert len(judge.seen) == 60, "identical answers are ties without asking"
    assert {(asked["model"], asked["temperature"]) for asked in judge.seen} == {("m", 0.0)}
    assert "system: Be kind.\nuser: question" in judge.seen[0]["messages"][1]["content"]
    assert not {"base", "tuned"} & set(re.findall(r"\w+", json.dumps(judge.seen))), "blind"
    assert json.loads((run / "pairwise.json").read_text())["comparisons"] == [found]
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "Choices between two answers" in report
    assert "the tuned model&#x27;s is preferred" in report
    again = burnish(*words)
    assert len(judge.seen) == 60, "nobody is asked twice"
    assert "CHOICES OF m against base: BETTER" in again.out
    assert "87.5 % (".replace(" ", "\u00a0", 1) in again.out
    assert "30 won, 10 tied, 0 lost of 40" in again.out


def test_what_was_answered_before_a_kill_is_not_asked_again(burnish: Burnish, run: Path, judge: Judge) -> None:
    words = ("evaluate", run, "--judge", judge.url, "--judge-model", "m", "--json")
    whole = json.loads(burnish(*words).out)
    choices = run / "choices.jsonl"
    lines = choices.read_text().splitlines(keepends=True)
    choices.write_text("".join(lines[:37]) + lines[37][:25])
    judge.seen.clear()
    assert json.loads(burnish(*words).out) == whole
    assert len(judge.seen) == 70 - 37
    assert len(choices.read_text().splitlines()) == 70


def test_other_answers_and_another_rubric_are_judged_anew(
    burnish: Burnish, run: Path, judge: Judge, tmp_path: Path
) -> None:
    words = ("evaluate", run, "--judge", judge.url, "--judge-model", "m", "--json")
    burnish(*words)
    judge.seen.clear()
    write_answers(run, ["good answer" if i % 4 else "the same" for i in range(39)] + ["a new one"])
    found = json.loads(burnish(*words).out)
    assert len(judge.seen) == 2
    assert found["judges"][0]["wins"] == 29
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("Prefer what is bad.")
    judge.seen.clear()
    judge.choose = lambda a, b: "A" if "bad" in a else "B"
    shown = burnish(*words, "--rubric", rubric, "--require", "better")
    assert shown.code == 1, "it is this judge that is asked for better"
    first, second = json.loads(shown.out)["judges"]
    assert (len(judge.seen), second["n"], second["losses"]) == (60, 40, 30)
    assert (first["judge"], first["wins"]) == ("m", 29)
    assert re.fullmatch(r"m, rubric [0-9a-f]{8}", second["judge"])
    assert "Prefer what is bad." in judge.seen[0]["messages"][0]["content"]


def test_an_answer_that_is_no_choice_is_counted_and_asked_again(burnish: Burnish, run: Path, judge: Judge) -> None:
    words = ("evaluate", run, "--judge", judge.url, "--judge-model", "m")
    judge.choose = lambda a, b: "A, of course" if "bad" in a and "long" not in a else "A" if "good" in a else "B"
    shown = burnish(*words, "--json")
    (judged,) = json.loads(shown.out)["judges"]
    assert (judged["n"], judged["refused"]) == (30, 10)
    assert "10 of 60 answers are no choice" in shown.err
    assert "10 answers of the judge without a choice" in burnish(*words).out
    judge.choose = Judge().choose
    (judged,) = json.loads(burnish(*words, "--json").out)["judges"]
    assert (judged["n"], judged["refused"]) == (40, 0)


def test_a_judge_that_never_chooses_is_not_asked_to_the_end(burnish: Burnish, run: Path, judge: Judge) -> None:
    judge.choose = lambda a, b: "Both are \x1b[2J fine."
    shown = burnish("evaluate", run, "--judge", judge.url, "--judge-model", "m")
    assert (shown.code, shown.out) == (2, "")
    assert f"{judge.url}: none of 20 answers of the judge is a choice" in shown.err
    assert "[judge/no-choice]" in shown.err
    assert "--judge-model" in shown.err
    assert "\x1b" not in shown.err
    assert len(judge.seen) < 20 + 4


def test_an_endpoint_that_refuses_is_said_and_what_it_answered_is_kept(
    burnish: Burnish, run: Path, judge: Judge
) -> None:
    words = ("evaluate", run, "--judge", judge.url, "--judge-model", "m", "--key-from", "JUDGE_KEY")
    judge.status = lambda number: 429 if number > 20 else 200
    shown = burnish(*words)
    assert (shown.code, shown.out) == (2, "")
    assert f"{judge.url}: the endpoint does not answer: HTTP status 429  [data/endpoint-failed]" in shown.err
    assert "the key in JUDGE_KEY; 20 answers are kept" in shown.err
    judge.status = lambda number: 500 if number == len(judge.seen) and number % 9 == 0 else 200
    shown = burnish(*words)
    assert shown.code == 0
    assert "requests failed; the same command asks them again" in shown.err


def test_the_key_is_the_named_variable(
    burnish: Burnish, run: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")
    words = ("evaluate", run, "--judge", judge.url, "--judge-model", "m")
    shown = burnish(*words, "--key-from", "JUDGE_KEY")
    assert set(judge.keys) == {"Bearer secret"}
    assert "secret" not in shown.out + shown.err + (run / "choices.jsonl").read_text()


def test_nothing_is_sent_where_the_settings_say_offline(
    burnish: Burnish, run: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BURNISH_OFFLINE", "1")
    settings.cache_clear()
    shown = burnish("evaluate", run, "--judge", judge.url, "--judge-model", "m")
    monkeypatch.undo()
    settings.cache_clear()
    assert (shown.code, judge.seen) == (2, [])
    assert "[data/offline]" in shown.err


def test_people_choose_blind_and_go_on_where_they_stopped(burnish: Burnish, run: Path, judge: Judge) -> None:
    words = ("evaluate", run, "--judge", "people", "--annotator", "ann")
    shown = burnish(*words, stdin="1x2s\ntq")
    assert shown.code == 0
    assert shown.err.count("1 the first is better   2 the second   t tie   s skip   q quit") == 6
    assert "[1/30]" in shown.err
    assert "tuned" not in shown.err
    assert "base" not in shown.err
    assert "\x1b" not in shown.err + shown.out
    lines = [json.loads(line) for line in (run / "choices.jsonl").read_text().splitlines()]
    assert [line["said"] for line in lines if line["said"] != "identical"] == ["first", "second", "tie"]
    shown = burnish(*words, stdin="")
    assert "[4/30]" in shown.err
    choose_good(burnish, run, words)
    found = json.loads(burnish(*words, "--json").out)
    (people,) = found["judges"]
    assert (people["judge"], people["people"], people["n"]) == ("people", ["ann"], 40)
    assert people["wins"] >= 27
    burnish("evaluate", run, "--judge", judge.url, "--judge-model", "m")
    shown = burnish(*words, stdin="q")
    assert re.search(r"agreement of m and people: [\d.]+\s% of 30 prompts, kappa ", shown.out)
    assert "agreement" in (run / "report.html").read_text(encoding="utf-8").lower()


def choose_good(burnish: Burnish, run: Path, words: tuple[Any, ...]) -> None:
    """Answers one pair after another by looking at what is shown."""
    for _ in range(30):
        shown = burnish(*words, stdin="q").err
        if "answer 1" not in shown:
            return
        first = shown.split("answer 1")[1].split("answer 2")[0]
        burnish(*words, stdin="1" if "good" in first else "2")


def test_places_are_random_and_the_order_is_the_same_for_everybody(burnish: Burnish, run: Path) -> None:
    for name in "ab":
        burnish("evaluate", run, "--judge", "people", "--annotator", name, stdin="1" * 30)
    lines = [json.loads(line) for line in (run / "choices.jsonl").read_text().splitlines()]
    mine, theirs = ([line for line in lines if line["judge"] == name] for name in "ab")
    assert [line["prompt"] for line in mine] == [line["prompt"] for line in theirs]
    for some in (mine, theirs):
        assert 6 <= sum(line["tuned_first"] for line in some if line["said"] == "first") <= 24
    assert [line["tuned_first"] for line in mine] != [line["tuned_first"] for line in theirs]
    assert {line["task"] for line in lines} == {None}


def test_a_verdict_that_is_not_better_ends_with_1(burnish: Burnish, run: Path) -> None:
    shown = burnish("evaluate", run, "--judge", "people", "--require", "better", stdin="q")
    assert shown.code == 1
    assert "[verdict/not-better]" in shown.err
    empty = burnish("evaluate", run, "--judge", "people", "--against", "majority", stdin="q")
    assert "nobody has chosen between tuned and majority yet" in empty.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rubric", "r.txt"], "--rubric: this is for a judge behind a URL  [cli/judge-options]"),
        (["--against", "base"], "--against: "),
        (["--judge", "people", "--judge-model", "m"], "--judge-model: this is for a judge behind a URL"),
        (["--judge", "http://x/v1", "--judge-model", "m", "--annotator", "a"], "--annotator: this is for people"),
        (["--judge", "http://x/v1"], "which model judges?  [cli/judge-model]"),
        (["--judge", "people", "--data", "a.jsonl"], "[cli/judge-data]"),
        (["--judge", "people", "--require", "goals"], "[cli/judge-goals]"),
        (["--judge", "people", "--require", "gates"], "--require gates: choices say nothing about gates"),
        (["--judge", "ftp://x", "--judge-model", "m"], "e.g. --judge http://localhost:8000/v1"),
        (["--judge", "people", "--against", "bas"], '--against: "bas" is no arm of this run  [judge/unknown-arm]'),
        (["--judge", "people", "--against", "bas"], 'did you mean "base"?'),
        (["--judge", "people", "--against", "x"], "known: majority, base"),
        (["--judge", "http://x/v1", "--judge-model", "m", "--rubric", "absent"], "absent: the rubric cannot be read"),
    ],
)
def test_what_is_refused(burnish: Burnish, run: Path, words: list[str], said: str) -> None:
    shown = burnish("evaluate", run, *words)
    assert (shown.code, shown.out) == (2, "")
    assert said in shown.err
    assert not (run / "choices.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"  \n", "is empty"),
        (b"\xff\xfe", "cannot be read: it is not UTF-8"),
        (b"x" * 20_001, "is over 20,000 characters long"),
    ],
)
def test_a_rubric_that_cannot_be_used(burnish: Burnish, run: Path, tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "rubric.txt"
    path.write_bytes(content)
    shown = burnish("evaluate", run, "--judge", "http://127.0.0.1:9/v1", "--judge-model", "m", "--rubric", path)
    assert shown.code == 2
    assert f"{path}: the rubric {reason}  [judge/unreadable-rubric]" in shown.err
    assert "leave --rubric out" in shown.err


def test_a_run_without_answers_is_refused(burnish: Burnish, finished: Run, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished.path, tmp_path / "labels")
    shown = burnish("evaluate", copy, "--judge", "people")
    assert shown.code == 2
    assert f"{copy}: this run has no written answers to choose between  [judge/no-answers]" in shown.err
    evaluation = json.loads((run / "evaluation.json").read_text())
    write(run / "evaluation.json", {**evaluation, "metric": "loss"})
    assert "[judge/no-answers]" in burnish("evaluate", run, "--judge", "people").err


@pytest.mark.parametrize("line", ["{}", "[1]", "nonsense", '{"said": "third"}'])
def test_damaged_choices_are_named(burnish: Burnish, run: Path, line: str) -> None:
    (run / "choices.jsonl").write_text(f"{line}\n")
    shown = burnish("evaluate", run, "--judge", "people", stdin="1")
    assert shown.code == 6
    assert f"{RunFolder(run).choices}: choices.jsonl holds a line that is no choice" in shown.err
