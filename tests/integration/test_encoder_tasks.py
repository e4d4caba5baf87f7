"""Every task with a head over a base, from a file to the verdict, the package and the next prediction."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import RunError
from burnish.lifecycle.compare import compare
from burnish.lifecycle.judge import evaluate_run
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import train
from burnish.settings import settings
from burnish.types import Silent

Rows = list[dict[str, Any]]
KINDS = {"thing": ("card", "cash"), "fault": ("late", "lost")}


def sentences(texts: list[str]) -> Rows:
    kind_of = {word: kind for kind, words in KINDS.items() for word in words}
    return [
        {"tokens": text.split(), "tags": [f"B-{kind_of[w]}" if w in kind_of else "O" for w in text.split()]}
        for text in texts
    ]


def label_sets(texts: list[str]) -> Rows:
    return [{"text": t, "labels": [word for word in ("card", "late", "money") if word in t.split()]} for t in texts]


def numbers(texts: list[str]) -> Rows:
    return [{"text": text, "score": 10.5 + 3 * ("card" in text) - 2 * ("late" in text)} for text in texts]


def labelled_pairs(texts: list[str]) -> Rows:
    """Is one of them about a thing?"""
    things = set(KINDS["thing"])
    return [
        {"premise": a, "hypothesis": b, "label": "thing" if things & {*a.split(), *b.split()} else "no"}
        for a, b in itertools.pairwise(texts)
    ]


def scored_pairs(texts: list[str]) -> Rows:
    pairs = zip(texts[::2], texts[1::2], strict=True)  # pairs with a text in common would stay together
    return [{"sentence1": a, "sentence2": b, "score": 2.5 * ("card" in a) + 1.25 * ("late" in b)} for a, b in pairs]


def questions(texts: list[str]) -> Rows:
    """Which of the keywords is in the text? None in some."""
    words = {word for kind in KINDS.values() for word in kind}
    found = [(text, next((word for word in text.split() if word in words), "")) for text in texts]
    return [{"question": "which is it", "context": text, "answer": word} for text, word in found]


CASES: dict[str, tuple[Callable[[list[str]], Rows], str, str]] = {  # rows, the metric that decides, the plainest arm
    "token-classification": (sentences, "entity-f1", "majority"),
    "multi-label-classification": (label_sets, "micro-f1", "majority"),
    "text-regression": (numbers, "r2", "mean"),
    "text-pair-classification": (labelled_pairs, "accuracy", "majority"),
    "text-pair-regression": (scored_pairs, "spearman", "mean"),
    "question-answering": (questions, "answer-f1", "no-answer"),
}
NAMED = {"text-pair-regression": ("task=text-pair",)}  # such rows teach embeddings, unless somebody says otherwise


@pytest.fixture(scope="module")
def files(toy_rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("data")

    def write(task: str) -> Path:
        path = folder / f"{task}.jsonl"
        rows = CASES[task][0]([text for text, _ in toy_rows])
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def trained(
    files: Callable[[str], Path], quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Run]:
    made: dict[str, Run] = {}

    def make(task: str) -> Run:
        if task not in made:
            chosen = [*quick, *NAMED.get(task, ()), "training.epochs=12", "data.near_duplicates=false"]
            made[task] = train(files(task), overrides=chosen, output=tmp_path_factory.mktemp("runs") / "run")
        return made[task]

    return make


@pytest.mark.parametrize("task", CASES)
def test_it_is_recognised_learned_and_judged(trained: Callable[[str], Run], task: str) -> None:
    run = trained(task)
    _, metric, plainest = CASES[task]
    evaluation = run.evaluation
    assert run.folder.manifest()["task"] == evaluation["task"] == task
    assert evaluation["metric"] == metric
    models = evaluation["models"]
    assert models["tuned"][metric]["value"] > models[plainest][metric]["value"] + 0.1
    assert models["tuned"][metric]["low"] <= models["tuned"][metric]["value"] <= models["tuned"][metric]["high"]
    assert {"tuned", plainest, "base-similarity" if task == "question-answering" else "base-probe"} < set(models)
    html = run.report.read_text(encoding="utf-8")
    assert f'id="{"misses" if "regression" in task else "errors"}"' in html
    assert ('id="classes"' in html) == ("classes" in evaluation)
    rows = run.folder.rows(run.folder.predictions)
    assert len(list(rows)) == evaluation["n"]


@pytest.mark.parametrize("task", CASES)
def test_judged_again_it_is_the_same(trained: Callable[[str], Run], task: str) -> None:
    run = trained(task)
    before = run.evaluation["models"]
    evaluate_run(run.folder, data=None, runs=settings().runs, progress=Silent())
    assert run.evaluation["models"] == before


@pytest.mark.parametrize("task", CASES)
def test_predictions_are_those_of_the_verdict(trained: Callable[[str], Run], files: Any, task: str) -> None:
    """Rows of a file, through Python and the command line, give what the sealed rows gave."""
    run = trained(task)
    judged = list(run.folder.rows(run.folder.predictions))[:4]
    lines = files(task).read_text(encoding="utf-8").splitlines()
    path = files(task).with_name(f"{task}-asked.jsonl")
    path.write_text("".join(lines[row["line"] - 1] + "\n" for row in judged), encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["predict", str(run.path), "--data", str(path), "--json"]) == 0
    for found, wanted in zip(json.loads(out.getvalue())["predictions"], judged, strict=True):
        if task == "token-classification":
            assert found["tags"] == wanted["tags"]
            assert "; ".join(f"{s['kind']}: {s['text']}" for s in found["spans"]) == wanted["prediction"]
        elif task == "multi-label-classification":
            assert "; ".join(found["labels"]) == wanted["prediction"]
        elif task == "question-answering":
            assert found["answer"] == wanted["prediction"]
        elif "score" in found:
            assert found["score"] == pytest.approx(wanted["prediction"], abs=1e-3)
        else:
            assert found["label"] == wanted["prediction"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["predict", str(run.path), "--data", str(path)]) == 0
    assert len(out.getvalue().splitlines()) == 4


@pytest.mark.parametrize("task", CASES)
def test_compared_with_itself_it_gets_its_own_numbers(trained: Callable[[str], Run], files: Any, task: str) -> None:
    """By what it wrote down, and by what its model answers to the same rows in a file."""
    run = trained(task)
    stored = compare(run.path, run.path)
    assert (stored["models"]["a"], stored["n"], stored["rows"]) == (run.evaluation["models"]["tuned"], stored["n"], [])
    answered = compare(run.path, run.path, data=files(task))
    assert 0 < answered["n"] <= stored["n"]
    if answered["n"] == stored["n"]:
        assert answered["models"]["a"] == stored["models"]["a"]
    arm = f"{run.path}@{run.verdict['against']}"
    if task == "token-classification":  # an arm's tags are written down in words only
        with pytest.raises(RunError, match="in words only") as caught:
            compare(run.path, arm)
        assert caught.value.code == "compare/no-answers"
    else:
        assert compare(run.path, arm)["difference"]["difference"] == run.verdict["difference"]


@pytest.mark.parametrize("task", CASES)
def test_model_opens_without_burnish(trained: Callable[[str], Run], task: str) -> None:
    """The script of USE.md answers what burnish answers."""
    run = trained(task)
    script = re.search("```python\n(.*)```", (run.folder.final / "USE.md").read_text(encoding="utf-8"), re.DOTALL)
    assert script is not None
    asked = {
        "token-classification": {"tokens": ["my", "card", "here"]},
        "multi-label-classification": {"text": "my late card"},
        "text-regression": {"text": "my late card"},
        "question-answering": {"question": "which is it", "context": "my late card"},
    }.get(task, {"first": "my card", "second": "is late here"})
    source = script[1].replace('["your", "tokens", "here"]', repr(["my", "card", "here"]))
    source = source.replace('"your text here"', '"my late card"')
    source = source.replace('["one text here"], ["the other one"]', '["my card"], ["is late here"]')
    with contextlib.chdir(run.path), contextlib.redirect_stdout(io.StringIO()) as out:
        source = source.replace('"your question", "the text that answers it"', '"which is it", "my late card"')
        exec(compile(source, "USE.md", "exec"), {})
    (found,) = run.predict([asked])
    said = json.loads(out.getvalue().replace("'", '"'))
    if task == "token-classification":
        assert said == found["tags"]
    elif "score" in found:
        assert said == [pytest.approx(found["score"], rel=1e-4)]
    else:
        assert said == [next(found[name] for name in ("labels", "label", "answer") if name in found)]


def test_a_loss_of_ones_own_is_refused_where_nothing_reads_it(
    files: Callable[[str], Path], quick: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(RunError) as caught:
        train(files("text-regression"), overrides=quick, output=tmp_path / "run", loss=lambda logits, _: logits)
    assert (caught.value.code, caught.value.where) == ("run/own-parts", "burnish.train")
    assert caught.value.message == "text-regression takes no loss or head of your own"
