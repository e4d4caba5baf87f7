"""What a checkpoint holds of a model, and what comes back of it."""

from __future__ import annotations

import torch
from torch import nn

from burnish.engine.learned import AVERAGE, BUFFER, Learned


def make(decay: float | None) -> Learned:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2, affine=False))
    return Learned(model, {"0.weight": model[0].weight}, decay)


def test_buffers_are_saved_once_they_have_changed() -> None:
    learned = make(None)
    assert learned.as_saved().keys() == {"0.weight"}
    learned.model(torch.ones(4, 2))
    saved = learned.as_saved()
    assert {name for name in saved if name.startswith(BUFFER)} == {
        f"{BUFFER}1.running_mean",
        f"{BUFFER}1.running_var",
        f"{BUFFER}1.num_batches_tracked",
    }
    other = make(None)
    other.restore(saved)
    assert all(torch.equal(value, saved[name]) for name, value in other.as_saved().items())
    other.restore({"0.weight": saved["0.weight"]})
    assert other.as_saved().keys() == {"0.weight"}, "what is not stored never changed"


def test_the_average_is_in_the_model_only_inside_the_block() -> None:
    learned = make(0.5)
    assert learned.average is not None
    weight = learned.trainable["0.weight"]
    with torch.no_grad():
        weight.fill_(3.0)
        learned.average.weights["0.weight"].fill_(1.0)
    with learned.averaged():
        assert weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert weight.tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert learned.as_saved()[f"{AVERAGE}0.weight"].tolist() == [[1.0, 1.0], [1.0, 1.0]]
