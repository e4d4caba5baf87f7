"""burnish as a library: train, load, predict, and one's own parts by argument."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import burnish
from burnish.errors import BurnishError, DataProblemError, ModelError, RunError
from burnish.lifecycle.train import resume_run
from burnish.recipe.read import read_recipe
from burnish.settings import settings
from burnish.types import Encoded, MetricValue, Refusal, Row

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_task"

Overrides = Callable[[str], list[str]]


class TwoColumns(burnish.TextClassification):
    """One label from two columns."""

    name: ClassVar[str] = "two-columns"
    columns: ClassVar = {"place": str, "text": str, "label": str}

    def encode(self, row: Row) -> Encoded | Refusal:
        return super().encode({**row, "text": f"{row['place']} {row['text']}"})


class Misses:
    """Rows that are wrong, in all: lower is better, and no share."""

    name: ClassVar[str] = "misses"
    higher_is_better: ClassVar[bool] = False

    def __init__(self) -> None:
        self.wrong, self.n = 0, 0

    def update(self, predictions: Sequence[Row], references: Sequence[Row]) -> None:
        self.n += len(references)
        self.wrong += sum(p["label"] != r["label"] for p, r in zip(predictions, references, strict=True))

    def merge(self, other: Self) -> None:
        self.wrong += other.wrong
        self.n += other.n

    def compute(self) -> MetricValue:
        return MetricValue(self.name, float(self.wrong), self.n, higher_is_better=False)


def doubled_loss(logits_BC: Tensor, targets_B: Tensor) -> Tensor:
    return 2 * F.cross_entropy(logits_BC, targets_B, reduction="none")


def deep_head(width: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, classes))


@pytest.fixture(scope="module")
def run(toy: Path, quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return burnish.train(toy, overrides=quick, output=tmp_path_factory.mktemp("run") / "toy")


@pytest.fixture(scope="module")
def two_columns(toy_rows: list[tuple[str, str]], write_csv: Callable[..., Path]) -> Path:
    """The keyword stands in the one column or in the other."""
    rows = []
    for index, (text, label) in enumerate(toy_rows):
        words = text.split()
        half = (len(words) + index % 2) // 2
        rows.append((" ".join(words[:half]), " ".join(words[half:]), label))
    return write_csv(rows, header=("place", "text", "label"))


def test_train_then_load_then_predict(run: Any, toy_rows: list[tuple[str, str]]) -> None:
    loaded = burnish.load(run.path)
    assert (loaded.id, loaded.status, loaded.verdict) == ("toy", "finished", run.verdict)
    assert loaded.report.is_file()
    texts = [text for text, _ in toy_rows[:40]]
    predictions = loaded.predict(texts)
    assert sum(p["label"] == label for p, (_, label) in zip(predictions, toy_rows, strict=False)) >= 36
    for prediction in predictions:
        assert set(prediction) == {"label", "probability", "margin"}
        assert 1 / 3 <= prediction["probability"] <= 1
        assert prediction["margin"] >= 0


def test_prediction_does_not_depend_on_its_company(run: Any, toy_rows: list[tuple[str, str]]) -> None:
    """One text alone, many together, in another order: the same up to rounding (float32 sums in another order)."""
    texts = [text for text, _ in toy_rows[:30]] + ["card " * 70]
    together = run.predict(texts)
    backwards = run.predict(texts[::-1])[::-1]
    alone = [run.predict([text])[0] for text in texts]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert a["label"] == b["label"] == c["label"]
        assert math.isclose(a["margin"], b["margin"], abs_tol=1e-4)
        assert math.isclose(a["margin"], c["margin"], abs_tol=1e-4)


def test_predict_takes_texts_or_rows(run: Any) -> None:
    assert run.predict([{"text": "my card", "label": "ignored"}]) == run.predict(["my card"])
    assert run.predict([]) == []


@pytest.mark.parametrize("bad", ["", "  \n", None, 3, "half \ud83d", {"txet": "my card"}, b"my card"])
def test_what_is_no_text_is_refused_by_number(run: Any, bad: Any) -> None:
    with pytest.raises(DataProblemError) as caught:
        run.predict(["my card", bad])
    assert (caught.value.code, caught.value.where) == ("predict/bad-text", "item 2")


def test_run_is_found_by_id_and_beginning(
    toy: Path, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides_of: Overrides
) -> None:
    monkeypatch.setenv("BURNISH_RUNS", str(tmp_path))
    settings.cache_clear()
    try:
        first = burnish.train(toy, overrides=overrides_of("head"))
        assert first.path.parent == tmp_path
        assert first.id.startswith("toy-")
        assert burnish.load(first.id).path == first.path
        assert burnish.load("toy-2").path == first.path
        with pytest.raises(RunError) as caught:
            burnish.load("tyo")
        assert caught.value.code == "run/not-found"
        assert caught.value.known == (first.id,)
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_recipe_in_memory(toy: Path, quick: tuple[str, ...], run: Any, tmp_path: Path) -> None:
    again = burnish.train(read_recipe(run.folder.recipe), output=tmp_path / "again")
    assert again.evaluation["models"] == run.evaluation["models"]


def test_errors_are_of_one_kind(tmp_path: Path) -> None:
    with pytest.raises(BurnishError) as caught:
        burnish.train(tmp_path / "missing.csv", output=tmp_path / "run")
    assert set(caught.value.as_dict()) == {"code", "message", "where", "known", "hint", "details"}


def test_own_task(two_columns: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    """A task with two text columns learns from both; without its class the model is not used."""
    run = burnish.train(two_columns, overrides=quick, task=TwoColumns, output=tmp_path / "run")
    assert run.folder.manifest()["task"] == "two-columns"
    assert run.folder.manifest()["data"]["columns"] == {"place": "place", "text": "text", "label": "label"}
    assert run.evaluation["models"]["tuned"]["accuracy"]["value"] >= 0.7
    row = {"place": "where is", "text": "my card"}
    expected = run.predict([row])
    with pytest.raises(DataProblemError, match='"place" is missing'):
        run.predict(["my card"])
    assert burnish.load(run.path, task=TwoColumns).predict([row]) == expected
    with pytest.raises(RunError) as caught:
        burnish.load(run.path).predict([row])
    assert caught.value.code == "run/own-parts"
    assert "task=" in str(caught.value.hint)


def test_own_metric_decides(toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    """A metric where less is more, and which is no share of the rows."""
    overrides = [*quick, "evaluation.minimum_effect=1"]
    run = burnish.train(toy, overrides=overrides, metric=Misses, output=tmp_path / "run")
    models, n = run.evaluation["models"], run.evaluation["n"]
    assert (run.verdict["metric"], run.evaluation["metric"]) == ("misses", "misses")
    for metrics in models.values():
        assert metrics["misses"]["value"] == pytest.approx(n * (1 - metrics["accuracy"]["value"]))
    assert models["tuned"]["misses"]["value"] < models["majority"]["misses"]["value"]
    assert run.verdict["against"] == "tf-idf"
    gain = models["tf-idf"]["misses"]["value"] - models["tuned"]["misses"]["value"]
    assert run.verdict["difference"] == pytest.approx(gain)
    best = run.folder.manifest()["training"]["best_value"]
    logged = [row["validation"]["misses"] for row in run.folder.rows(run.folder.metrics) if "validation" in row]
    assert best == min(logged) < max(logged)


def test_own_loss(toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    """Twice the loss is logged as twice the loss."""
    overrides = [*quick, "training.max_steps=1", "training.log_every_steps=1", "training.dropout=0"]
    ours = burnish.train(toy, overrides=overrides, output=tmp_path / "ours")
    own = burnish.train(toy, overrides=overrides, loss=doubled_loss, output=tmp_path / "own")
    first = [run.folder.rows(run.folder.metrics)[0]["loss"] for run in (ours, own)]
    assert first[1] == pytest.approx(2 * first[0], rel=1e-5)
    assert own.folder.manifest()["parts_of_the_caller"] == {"loss": f"{__name__}:doubled_loss"}


def test_own_head(toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    run = burnish.train(toy, overrides=quick, head=deep_head, output=tmp_path / "run")
    assert run.evaluation["models"]["tuned"]["accuracy"]["value"] >= 0.8
    expected = run.predict(["where is my card"])
    assert burnish.load(run.path, head=deep_head).predict(["where is my card"]) == expected
    with pytest.raises(ModelError) as caught:
        burnish.load(run.path).predict(["where is my card"])
    assert caught.value.code == "model/own-head"
    assert "head=" in str(caught.value.hint)


def test_own_parts_are_needed_to_go_on(toy: Path, quick: tuple[str, ...], tmp_path: Path) -> None:
    def failing_loss(logits_BC: Tensor, targets_B: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        burnish.train(toy, overrides=quick, loss=failing_loss, output=tmp_path / "run")
    run = burnish.load(tmp_path / "run")
    assert run.status == "failed"
    with pytest.raises(RunError) as caught:
        resume_run(run.folder)
    assert caught.value.code == "run/own-parts"
    assert "loss" in caught.value.message
    again = burnish.train(toy, overrides=quick, loss=doubled_loss, output=tmp_path / "run", resume=True)
    assert again.status == "finished"


def test_own_head_cannot_be_solved(toy: Path, overrides_of: Overrides, tmp_path: Path) -> None:
    with pytest.raises(BurnishError) as caught:
        burnish.train(toy, overrides=overrides_of("head"), head=deep_head, output=tmp_path / "run")
    assert (caught.value.code, caught.value.where) == ("recipe/invalid", "method")
    assert "method: full" in str(caught.value.hint)


def test_unfinished_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BurnishError):
        burnish.train(tmp_path / "missing.csv", output=tmp_path / "run")
    run = burnish.load(tmp_path / "run")
    for use, code in ((lambda: run.predict(["a"]), "run/not-finished"), (lambda: run.verdict, "run/not-judged")):
        with pytest.raises(RunError) as caught:
            use()
        assert caught.value.code == code
        assert "burnish resume" in str(caught.value.hint)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("custom_task_example", EXAMPLE / "train.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parts_of_the_example(example: ModuleType, quick: tuple[str, ...], tmp_path: Path) -> None:
    """examples/custom_task/train.py on the tiny base."""
    run = burnish.train(
        EXAMPLE / "messages.csv",
        overrides=[
            *quick,
            "data.columns={business: business, text: message, label: next_action}",
            "training.epochs=2",
        ],
        task=example.BusinessAndMessage,
        metric=example.Savings,
        loss=example.focal_loss,
        head=example.two_layers,
        output=tmp_path / "run",
    )
    assert run.verdict["metric"] == "savings"
    assert set(run.folder.manifest()["parts_of_the_caller"]) == {"task", "metric", "loss", "head"}
    prediction = run.predict([{"business": "travel", "text": "where is my refund"}])[0]
    assert prediction["label"] in run.evaluation["labels"]


def test_focal_loss_of_the_example(example: ModuleType) -> None:
    """(1 - p) * -ln p for gamma 1, with p of the right class."""
    probabilities_BC = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    losses_B = example.focal_loss(probabilities_BC.log(), torch.tensor([0, 0]))
    expected_B = torch.tensor([0.5 * math.log(2), -0.1 * math.log(0.9)])
    assert torch.allclose(losses_B, expected_B, atol=1e-6)  # float32
