"""Weights side by side learn what weights apart learn, also where some of them miss a gradient.

Not to the bit: processors compute numbers that fill a register together in another way than the ones left over.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.flat import ALIGNED, Flat
from burnish.engine.optimizer import SECOND, STEP, AdamW, WeightAverage

SHAPES = [(40, 24), (7,), (3, 5), (64,)]


def weights_of(seed: int) -> list[nn.Parameter]:
    drawn = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=drawn)) for shape in SHAPES]


def rule_for(weights: list[nn.Parameter]) -> AdamW:
    decays, rests = [w for w in weights if w.ndim == 2], [w for w in weights if w.ndim == 1]
    groups = [{"params": own, "lr": 0.1, "weight_decay": decay} for own, decay in ((decays, 0.1), (rests, 0.0))]
    return AdamW(groups)


class Held:
    """The same weights side by side, with room for their gradients."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        self.rule = rule_for(weights)
        self.order: list[Any] = [w for group in self.rule.param_groups for w in group["params"]]
        self.values, self.gradients = Flat(self.order), Flat(self.order)
        for weight, part in zip(self.order, self.values.parts, strict=True):
            weight.data = part.copy_(weight.data)
        self.rule.hold(self.order, self.values, self.gradients)

    def take(self, gradients: dict[int, Tensor]) -> None:
        for weight, place in zip(self.order, self.gradients.parts, strict=True):
            given = gradients.get(id(weight))
            weight.grad = None if given is None else place.copy_(given)


def test_parts_lie_side_by_side_and_begin_where_cache_lines_do() -> None:
    flat = Flat([torch.zeros(shape) for shape in SHAPES], torch.bfloat16)
    assert [tuple(part.shape) for part in flat.parts] == SHAPES
    assert all(part.storage_offset() % ALIGNED == 0 for part in flat.parts)
    for number, part in enumerate(flat.parts):
        part.fill_(number + 1)
    assert set(flat.between(slice(1, 3)).tolist()) == {0.0, 2.0, 3.0}  # and zeros where nothing lies
    assert flat.buffer.dtype == torch.bfloat16


@pytest.mark.parametrize("missing", [(), (1,), (0, 1, 2, 3)])
def test_they_learn_as_if_each_were_alone(missing: tuple[int, ...]) -> None:
    """Some have no gradient in the third of six steps; before the fifth the state is saved and put back."""
    apart, together = weights_of(0), weights_of(0)
    alone, held = rule_for(apart), Held(together)
    drawn = torch.Generator().manual_seed(1)
    for step in range(6):
        gradients = [torch.randn(shape, generator=drawn) for shape in SHAPES]
        given = {place: g for place, g in enumerate(gradients) if step != 2 or place not in missing}
        for place, weight in enumerate(apart):
            weight.grad = given[place].clone() if place in given else None
        held.take({id(together[place]): gradient for place, gradient in given.items()})
        assert held.rule.mean_norm(4.0) == pytest.approx(alone.mean_norm(4.0), rel=1e-6)
        if step == 4:
            saved = {weight: {n: value.clone() for n, value in own.items()} for weight, own in held.rule.state.items()}
            held.rule.load({})
            held.rule.load(saved)
        alone.step(0.25)
        held.rule.step(0.25)
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(alone.state[one][SECOND], held.rule.state[other][SECOND], rtol=1e-6, atol=0)
        assert alone.state[one][STEP] == held.rule.state[other][STEP]


@pytest.mark.parametrize("missing", [(), (1,), (1, 3), (0, 1, 2, 3)])
def test_what_goes_on_from_a_saved_state_ends_with_the_same_bits(missing: tuple[int, ...]) -> None:
    """Also where the step before was the first that did not move all of them."""
    whole, parts = weights_of(4), weights_of(4)
    gradients = [{place: torch.randn(shape) for place, shape in enumerate(SHAPES)} for _ in range(6)]
    for place in missing:
        gradients[2].pop(place)
    held, first = Held(whole), Held(parts)
    for step, own in enumerate(gradients):
        if step == 3:  # the state goes through a file into new weights
            saved = [{n: value.clone() for n, value in first.rule.state[weight].items()} for weight in parts]
            parts = [nn.Parameter(weight.detach().clone()) for weight in parts]
            first = Held(parts)
            first.rule.load(dict(zip(parts, saved, strict=True)))
        for weights, one in ((whole, held), (parts, first)):
            one.take({id(weights[place]): gradient for place, gradient in own.items()})
            one.rule.step(min(1.0, 1.0 / one.rule.mean_norm(1.0)) if own else 1.0)
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_a_gradient_that_lies_elsewhere_counts_as_it_is() -> None:
    apart, together = weights_of(2), weights_of(2)
    alone, held = rule_for(apart), Held(together)
    for one, other in zip(apart, together, strict=True):
        one.grad, other.grad = torch.ones_like(one), torch.ones_like(other)
    assert held.rule.mean_norm(1.0) == pytest.approx(alone.mean_norm(1.0))
    alone.step()
    held.rule.step()
    assert all(torch.equal(one, other) for one, other in zip(apart, together, strict=True))


@pytest.mark.parametrize("first", [0, 1])  # all of them are side by side, or one is not
def test_their_average_is_that_of_each(first: int) -> None:
    names = [str(place) for place in range(len(SHAPES))]
    apart, together = (dict(zip(names, weights_of(3), strict=True)) for _ in range(2))
    whole, held = WeightAverage(apart, 0.9), WeightAverage(together, 0.9)
    some = names[first:]
    values = Flat([together[name] for name in some])
    for name, part in zip(some, values.parts, strict=True):
        together[name].data = part.copy_(together[name].data)
    held.hold(some, values)
    for step in range(1, 4):
        for name in names:
            for weights in (apart, together):
                weights[name].data.mul_(1.5)
        whole.update(apart, step)
        held.update(together, step)
    torch.testing.assert_close(whole.weights, held.weights)
