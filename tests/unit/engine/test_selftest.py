"""The self-test passes what is right, names what is wrong, and leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.engine.layout import LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.probe import probe_rows
from burnish.engine.segments import ATTENTION, own_attention
from burnish.engine.selftest import check_invariants
from burnish.errors import SelfTestError
from burnish.method.build import METHODS
from burnish.method.full import Full
from burnish.method.lora import Lora
from burnish.types import LossTerm

Make = Callable[..., Any]
CPU = torch.device("cpu")
PADDED = LayoutChoice(True, 0, "")
LENGTHS = [5, 3, 9, 12, 4, 7, 30, 8, 6, 11]


@pytest.fixture
def make_case(make_classifier: Make, make_rows: Make) -> Make:
    """The arguments of a self-test; the layout is chosen as for a run when none is given."""

    def make(*, method: Any = None, layout: LayoutChoice | None = None, **options: Any) -> dict[str, Any]:
        task, model = make_classifier(**options)
        rows, method = make_rows(LENGTHS), method or Full()
        chosen = layout or choose_layout(model.encoder, rows, device=CPU)
        case = {"task": task, "method": method, "model": method.attach(model), "rows": rows, "layout": chosen}
        return {**case, "device": CPU, "max_tokens": 1000}

    return make


@pytest.mark.parametrize("layout", [None, PADDED])
@pytest.mark.parametrize("name", METHODS)
def test_what_is_right_passes_and_is_recorded(make_case: Make, name: str, layout: LayoutChoice | None) -> None:
    sentence = check_invariants(**make_case(method=METHODS[name](), layout=layout))
    ways = "in reverse order, one by one, two by two" + ("" if layout else ", padded")
    assert sentence.startswith(f"self-test: 4 rows of 3 to 30 tokens give the same {ways}; largest difference ")
    assert sentence.endswith("of the gradient")


def test_it_leaves_no_trace(make_case: Make) -> None:
    """No random number is drawn, no gradient stays, and mode, weights and attention are as before."""
    case = make_case()
    model = case["model"].train()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=True)
    check_invariants(**case)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state(legacy=True)) == str(before[2])
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert model.encoder.config._attn_implementation == ATTENTION
    assert not any(part._forward_hooks for part in model.modules())


def test_it_computes_no_more_at_once_than_a_training(make_case: Make) -> None:
    """Of the rows it picks, the longest are left out until the others fit."""
    sentence = check_invariants(**{**make_case(), "max_tokens": 40})
    assert "3 rows of 3 to 9 tokens" in sentence
    assert "1 rows of 3 to 3 tokens" in check_invariants(**{**make_case(), "max_tokens": 1})


def test_rows_that_are_compared_are_not_taken_apart(make_case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case()
    loss = case["task"].loss
    monkeypatch.setattr(type(case["task"]), "decomposable", False)
    case["task"].loss = lambda model, batch: LossTerm(loss(model, batch).total ** 2, float(batch.row_count))
    assert "give the same in reverse order, padded;" in check_invariants(**case)


def failure(case: dict[str, Any]) -> SelfTestError:
    with pytest.raises(SelfTestError) as caught:
        check_invariants(**case)
    error = caught.value
    assert (error.code, error.exit_code) == ("engine/self-test", 3)
    assert error.message.startswith("the self-test failed: ")
    assert error.hint
    assert all(weight.grad is None for weight in case["model"].parameters())
    return error


def mean_of_rows(losses_B: Tensor) -> Tensor:
    return losses_B / len(losses_B)


def own_loss(harm: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda logits_BC, targets_B: harm(torch.nn.functional.cross_entropy(logits_BC, targets_B, reduction="none"))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (mean_of_rows, "4 rows at once and one by one give different losses, "),
        (
            lambda losses_B: losses_B - losses_B.detach().max() / 2,
            "4 rows at once and one by one give different losses, ",
        ),
        (lambda losses_B: losses_B * torch.arange(1, 1 + len(losses_B)), "4 rows at once and in reverse order give"),
        (
            lambda losses_B: losses_B.detach() + (losses_B - losses_B.detach()) * len(losses_B),
            "4 rows at once and one by one give different gradients, by ",
        ),
        (lambda losses_B: losses_B * float("nan"), "loss nan or its gradient is not finite before the first step"),
        (lambda losses_B: losses_B + torch.sqrt(losses_B - losses_B), "is not finite before the first step"),
        (lambda losses_B: losses_B.detach(), "the loss has no gradient"),
    ],
)
def test_a_loss_that_is_no_sum_over_rows(make_case: Make, harm: Callable[[Tensor], Tensor], words: str) -> None:
    error = failure(make_case(loss=own_loss(harm)))
    assert words in error.message
    assert error.where == "text-classification"


def test_a_weight_that_is_not_that_of_the_rows(make_case: Make) -> None:
    case = make_case()
    loss = case["task"].loss
    case["task"].loss = lambda model, batch: LossTerm(loss(model, batch).total, 1.0)
    assert failure(case).message.endswith("the loss counts 1 units, its rows hold 4")


class SeesTheBatch(nn.Module):
    """A head that centres its batch, as BatchNorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        return self.linear(pooled_BD - pooled_BD.mean(0))


def test_a_model_whose_rows_see_each_other(make_case: Make) -> None:
    assert "one by one give different losses" in failure(make_case(head=SeesTheBatch())).message


class Cuts(nn.Module):
    """A head that cuts the base off."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2)

    def forward(self, pooled_BD: Tensor) -> Tensor:
        return self.linear(pooled_BD.detach())


def test_weights_that_no_gradient_reaches(make_case: Make) -> None:
    error = failure(make_case(head=Cuts()))
    assert "no gradient reaches base.encoder.embeddings." in error.message
    assert " more" in error.message
    assert error.where == "full"


def test_weights_nobody_reads_may_stay_without_a_gradient(make_case: Make) -> None:
    """A base may have a part that this task does not use."""
    case = make_case()
    case["model"].unread = nn.Linear(2, 2)
    assert check_invariants(**case)


@pytest.mark.parametrize(("learns", "words"), [(True, "would get a gradient"), (False, "asks for no gradient")])
def test_a_method_that_says_something_else_than_it_does(make_case: Make, learns: bool, words: str) -> None:
    class Says(Full):
        def trainable(self, model: nn.Module) -> Any:
            named = dict(model.named_parameters())
            if learns:
                del named["head.linear.bias"]
            return {name: weight for name, weight in named.items() if weight.requires_grad or not learns}

    error = failure(make_case(method=Says()))
    assert words in error.message
    assert ("head.linear.bias" if learns else "pooler") in error.message


def test_rows_are_picked_over_all_lengths(make_rows: Make) -> None:
    rows = make_rows(LENGTHS)
    assert [row.length for row in probe_rows(rows, 4)] == [3, 6, 9, 30]
    assert len(probe_rows(rows, 8)) == 8
    assert [row.length for row in probe_rows(rows[:1], 8)] == [5]


def test_padded_rows_of_a_model_that_attends_by_segments(make_case: Make) -> None:
    """Also below an adapter, and the segments come back after an error."""
    model = make_case(method=Lora(rank=2))["model"]
    config = model.encoder.config
    assert config._attn_implementation == ATTENTION

    def fail() -> None:
        with own_attention(model):
            assert config._attn_implementation == "sdpa"
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    assert config._attn_implementation == ATTENTION
