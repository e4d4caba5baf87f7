"""Predictions of a saved model: as in training, in order, and with a coded error for what is no text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataProblemError
from burnish.model.pooled import PooledClassifier
from burnish.serving.predict import Predictor

Tune = Callable[..., PooledClassifier]
TEXTS = ["where is my card?", "refund", "lost my cash, late transfer", "a", "the money the money the money"]


@pytest.fixture(scope="module")
def final(tuned: Tune, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "final"
    tuned(folder, max_length=16)
    return folder


@pytest.fixture(scope="module")
def predictor(final: Path) -> Predictor:
    return Predictor(final, runs=Path("absent"), precision="fp32")


def test_each_text_gets_its_own_answer_in_order(predictor: Predictor) -> None:
    together = predictor.predict(TEXTS)
    alone = [predictor.predict([text])[0] for text in TEXTS]
    assert [row["label"] for row in together] == [row["label"] for row in alone]
    # float32 over another number of rows, logits scaled by 20
    assert [row["margin"] for row in together] == pytest.approx([row["margin"] for row in alone], abs=1e-3)
    assert set(together[0]) == {"label", "probability", "margin"}
    assert all(row["label"] in predictor.task.labels and 1 / 3 <= row["probability"] <= 1 for row in together)


def test_the_first_texts_do_not_decide_about_later_ones(final: Path, predictor: Predictor) -> None:
    """The layout is chosen on what comes first."""
    fresh = Predictor(final, runs=Path("absent"), precision="fp32")
    fresh.predict(["a"])
    assert [row["margin"] for row in fresh.predict(TEXTS)] == pytest.approx(
        [row["margin"] for row in predictor.predict(TEXTS)], abs=1e-3
    )


def test_texts_are_cut_where_they_were_cut_in_training(predictor: Predictor) -> None:
    """14 words and two special tokens are read; what follows changes nothing."""
    start = " ".join(["card"] * 14)
    first, second, third = predictor.predict([start, f"{start} refund", f"refund {start}"])
    assert first == second
    assert first["margin"] != third["margin"]


def test_a_label_beside_a_text_is_not_looked_at(predictor: Predictor) -> None:
    with_label = predictor.predict_rows([{"text": TEXTS[0], "label": "nobody knows this one"}])
    assert with_label == predictor.predict_rows([{"text": TEXTS[0]}])


def test_no_texts_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


@pytest.mark.parametrize("text", ["", "  \n", None, 3, ["a"], "\ud800"])
def test_what_is_no_text_is_named_by_its_place(predictor: Predictor, text: Any) -> None:
    with pytest.raises(DataProblemError) as caught:
        predictor.predict(["a text", text])
    assert (caught.value.code, caught.value.exit_code) == ("predict/bad-text", 1)
    assert caught.value.where == "item 2"
