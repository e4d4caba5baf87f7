"""Which weights a training ends with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from burnish.engine.choice import SHARES, Candidate, Scored, candidates, chosen, mixed

STORED = {
    2: {"w": torch.tensor([1.0, 3.0]), "head.w": torch.tensor([5.0]), "buffer.mean": torch.tensor([7.0])},
    4: {"w": torch.tensor([2.0, 5.0]), "head.w": torch.tensor([6.0]), "buffer.mean": torch.tensor([8.0])},
}
START = {"w": torch.tensor([0.0, 1.0]), "head.w": torch.tensor([9.0])}


def weights_of(step: int) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in STORED[step].items()}


def values(weights: object) -> dict[str, list[float]]:
    assert isinstance(weights, dict)
    return {name: weight.tolist() for name, weight in weights.items()}


def test_what_is_compared() -> None:
    names = {way: [c.name for c in candidates(way, best=2, newest=(4, 2))] for way in ("best", "last", "average")}
    assert names == {"best": ["best"], "last": ["last"], "average": ["average of 2"]}
    mixtures = candidates("interpolation", best=2, newest=(4, 2))
    assert [(c.steps, c.share) for c in mixtures] == [((2,), 1.0), *(((2,), share) for share in SHARES)]
    everything = candidates("auto", best=2, newest=(4, 2))
    assert [c.name for c in everything[:4]] == ["best", "last", "average of 2", "interpolation 0.9"]


def test_one_checkpoint_is_taken_bit_by_bit() -> None:
    assert values(mixed(Candidate("last", (4,)), START, weights_of)) == values(STORED[4])


def test_an_average_of_two_by_hand() -> None:
    found = values(mixed(Candidate("average", (4, 2)), START, weights_of))
    assert found == {"w": [1.5, 4.0], "head.w": [5.5], "buffer.mean": [8.0]}, "of buffers the newest"


def test_a_quarter_of_the_way_by_hand_and_the_head_stays() -> None:
    found = values(mixed(Candidate("interpolation", (2,), 0.25), START, weights_of))
    assert found == {"w": [0.25, 1.5], "head.w": [5.0], "buffer.mean": [7.0]}


def test_of_lora_the_update_is_scaled_and_not_its_two_factors() -> None:
    """B @ A at half the way is half of what was learned; halving the way of both would not be."""
    began = {"x.lora_A.w": torch.tensor([[4.0]]), "x.lora_B.w": torch.tensor([[0.0]])}
    learned = {"x.lora_A.w": torch.tensor([[2.0]]), "x.lora_B.w": torch.tensor([[3.0]])}
    found = mixed(Candidate("half", (1,), 0.5), began, lambda step: dict(learned))
    assert float(found["x.lora_B.w"] @ found["x.lora_A.w"]) == 0.5 * 2.0 * 3.0


def scored(name: str, value: float, loss: float = 1.0, rise: float | None = None) -> Scored:
    return Scored(Candidate(name, (1,)), value, loss, rise)


@pytest.mark.parametrize(
    ("of", "higher", "tolerance", "expected"),
    [
        ([scored("best", 0.8), scored("last", 0.9)], True, None, "last"),
        ([scored("best", 0.8), scored("last", 0.9)], False, None, "best"),
        ([scored("best", 0.8, 1.0), scored("last", 0.8, 0.9)], True, None, "last"),
        ([scored("best", 0.8), scored("last", 0.8)], True, None, "best"),
        ([scored("best", 0.9, rise=0.3), scored("half", 0.8, rise=0.1)], True, 0.1, "half"),
        ([scored("best", 0.9, rise=0.3), scored("half", 0.8, rise=0.2)], True, 0.1, "half"),
        ([scored("best", 0.9, rise=0.05), scored("half", 0.8, rise=0.01)], True, 0.1, "best"),
    ],
    ids=["higher", "lower", "equal-by-loss", "equal-by-order", "within", "none-within", "both-within"],
)
def test_the_choice(of: list[Scored], higher: bool, tolerance: float | None, expected: str) -> None:
    assert chosen(of, higher_is_better=higher, tolerance=tolerance).candidate.name == expected


def test_a_scored_candidate_as_the_manifest_has_it() -> None:
    assert scored("last", 0.5, rise=0.1).as_dict() == {
        "name": "last", "steps": (1,), "share": 1.0, "value": 0.5, "loss": 1.0, "rise": 0.1,
    }  # fmt: skip
