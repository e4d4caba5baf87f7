"""Predictions come back in the order of the rows, whatever the batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from burnish.engine import predict
from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.precision import Precision
from burnish.engine.predict import loss_and_predictions, pooled_features, predict_rows
from burnish.errors import OutOfMemoryError
from burnish.types import Silent

Make = Callable[..., Any]
CPU = torch.device("cpu")
FP32 = Precision("fp32", "")
PADDED = LayoutChoice(True, 0, "")


@pytest.fixture(params=[30, 4_096])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small batches, or one."""
    monkeypatch.setattr(predict, "MAX_TOKENS", request.param)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("concatenated", [False, True])
def test_each_row_gets_its_own_prediction_in_order(make_classifier: Make, make_rows: Make, concatenated: bool) -> None:
    task, model = make_classifier(classes=3)
    rows = make_rows(np.random.default_rng(0).integers(1, 20, size=25).tolist(), classes=3)
    alone = [predict_rows(task, model, [row], layout=PADDED, precision=FP32, device=CPU)[0] for row in rows]
    layout = choose_layout(model.encoder, rows, device=CPU) if concatenated else PADDED
    together = predict_rows(task, model, rows, layout=layout, precision=FP32, device=CPU)
    assert [p["label"] for p in together] == [p["label"] for p in alone]
    # float32 over another number of rows, logits scaled by 20
    assert [p["margin"] for p in together] == pytest.approx([p["margin"] for p in alone], abs=1e-3)
    assert len({round(p["margin"], 2) for p in together}) > 15  # rows differ, so their order shows


@pytest.mark.usefixtures("_pieces")
def test_features_are_those_of_each_row_alone(make_classifier: Make, make_rows: Make) -> None:
    _, model = make_classifier()
    rows = make_rows([9, 1, 5, 9, 2])
    found = pooled_features(model.base, rows, layout=PADDED, precision=FP32, device=CPU)
    assert found.shape == (5, 16)
    assert found.dtype == np.float32
    for index, row in enumerate(rows):
        alone = pooled_features(model.base, [row], layout=PADDED, precision=FP32, device=CPU)[0]
        assert np.allclose(found[index], alone, atol=1e-5)
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


@pytest.mark.usefixtures("_pieces")
def test_the_mean_loss_is_over_rows_and_not_over_batches(make_classifier: Make, make_rows: Make) -> None:
    task, model = make_classifier()
    rows = make_rows([9, 1, 5, 9, 2, 7, 7])
    alone = [loss_and_predictions(task, model, [row], layout=PADDED, precision=FP32, device=CPU)[0] for row in rows]
    assert loss_and_predictions(task, model, rows, layout=PADDED, precision=FP32, device=CPU)[0] == pytest.approx(
        float(np.mean(alone)), abs=1e-4
    )


def test_no_rows_no_predictions(make_classifier: Make) -> None:
    task, model = make_classifier()
    assert predict_rows(task, model, [], layout=PADDED, precision=FP32, device=CPU) == []


def test_predicting_keeps_no_gradients_and_tells_how_far_it_is(
    make_classifier: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "MAX_TOKENS", 10)
    task, model = make_classifier()
    seen: list[tuple[int, int]] = []

    class Watch(Silent):
        def advance(self, done: int, total: int, figures: Any) -> None:
            seen.append((done, total))

    predict_rows(
        task, model.eval(), make_rows([5, 6, 4, 9]), layout=PADDED, precision=FP32, device=CPU, progress=Watch()
    )
    assert seen == [(2, 4), (3, 4), (4, 4)]
    assert all(weight.grad is None for weight in model.parameters())


def test_a_batch_that_does_not_fit_is_halved(make_classifier: Make, make_rows: Make) -> None:
    task, model = make_classifier()
    rows = make_rows([3, 4, 5, 6, 7])
    place = {"layout": PADDED, "precision": FP32, "device": CPU}
    expected = loss_and_predictions(task, model, rows, **place)
    seen: list[int] = []

    class Small:
        """Memory for two rows."""

        def predict(self, model: Any, batch: Any) -> Any:
            seen.append(batch.row_count)
            if batch.row_count > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes")
            return task.predict(model, batch)

        loss = staticmethod(task.loss)

    loss, predictions = loss_and_predictions(Small(), model, rows, **place)  # type: ignore[arg-type]
    assert seen == [5, 2, 3, 1, 2]
    assert loss == pytest.approx(expected[0], rel=1e-6)
    assert [p["label"] for p in predictions] == [p["label"] for p in expected[1]]


def test_a_row_that_does_not_fit_alone_is_an_error_that_says_so(make_classifier: Make, make_rows: Make) -> None:
    _, model = make_classifier()

    class Full:
        def predict(self, *_: Any) -> Any:
            raise MemoryError

    with pytest.raises(OutOfMemoryError, match="one row of 9 tokens does not fit") as caught:
        predict_rows(Full(), model, make_rows([9]), layout=PADDED, precision=FP32, device=CPU)  # type: ignore[arg-type]
    assert caught.value.code == "engine/out-of-memory"


def test_loss_and_predictions_come_from_one_pass(make_classifier: Make, make_rows: Make) -> None:
    task, model = make_classifier()
    passes: list[int] = []
    model.encoder.register_forward_hook(lambda *_: passes.append(1))
    loss_and_predictions(task, model, make_rows([3, 4]), layout=PADDED, precision=FP32, device=CPU)
    assert len(passes) == 1
