"""Dropout belongs to a row: the same draw in any micro-batch and layout, another one at every step and site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.engine.dropout import POOL_ROWS, RowDropout, draw_starts, drawn, mask_pool, replace_dropout
from burnish.engine.layout import LaidOut
from burnish.types import Encoded

Make = Callable[..., Any]
CPU = torch.device("cpu")


class Watched(nn.Module):
    """An encoder that is dropout alone: its states say which values were kept."""

    def __init__(self, *sites: RowDropout) -> None:
        super().__init__()
        self.sites = nn.ModuleList(sites)

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        states = torch.ones(*input_ids.shape, 16)
        for site in self.sites:
            states = site(states)
        return type("Output", (), {"last_hidden_state": states})


def masks(
    rows: Sequence[Encoded], ids: Sequence[int], *, padded: bool = False, step: int = 0, seed: int = 7, site: int = 0
) -> dict[int, Tensor]:
    """What each row's tokens keep, by row id."""
    draw = draw_starts(ids, seed=seed, step=step)
    batch = LaidOut([rows[i] for i in ids], ids, padded=padded, device=CPU, draw=draw)
    hidden_TD = batch.hidden(Watched(RowDropout(0.5, site=site, seed=seed)).train())
    pieces = torch.split(hidden_TD, [rows[i].length for i in ids])
    return dict(zip(ids, pieces, strict=True))


@pytest.fixture
def rows(make_rows: Make) -> list[Encoded]:
    return make_rows([5, 9, 3, 9])


def test_a_rows_draw_is_the_same_in_any_micro_batch_and_layout(rows: list[Encoded]) -> None:
    expected = masks(rows, [0, 1, 2, 3])
    for ids in ([3, 0], [1], [2, 3, 1, 0]):
        for padded in (False, True):
            for row, mask in masks(rows, ids, padded=padded).items():
                assert torch.equal(mask, expected[row]), f"row {row} of {ids}, padded {padded}"


@pytest.mark.parametrize("change", [{"step": 1}, {"seed": 8}, {"site": 1}])
def test_another_step_seed_or_site_draws_anew(rows: list[Encoded], change: dict[str, int]) -> None:
    before, after = masks(rows, [0, 1]), masks(rows, [0, 1], **change)
    assert not any(torch.equal(before[i], after[i]) for i in (0, 1))


def test_two_rows_draw_differently(rows: list[Encoded]) -> None:
    drawn_ = masks(rows, [1, 3])
    assert rows[1].length == rows[3].length
    assert not torch.equal(drawn_[1], drawn_[3])


def test_two_tokens_of_a_row_draw_differently(rows: list[Encoded]) -> None:
    mask = masks(rows, [1])[1]
    assert len({tuple(token.tolist()) for token in mask}) == len(mask)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_the_share_of_zeros_and_the_mean(probability: float) -> None:
    """p of the values are zero, the others are scaled so that the mean stays: 4 standard errors of 131k draws."""
    pool = mask_pool(16, probability, 3)
    error = 4 * (probability * (1 - probability) / pool.numel()) ** 0.5
    assert float((pool == 0).float().mean()) == pytest.approx(probability, abs=error)
    assert float(pool.mean()) == pytest.approx(1.0, abs=error / (1 - probability))
    assert set(pool.unique().tolist()) == {0.0, float(torch.tensor(1.0) / (1.0 - probability))}


def test_kept_values_do_not_depend_on_their_neighbours() -> None:
    """Neither along the width nor along the pool."""
    zero = (mask_pool(16, 0.5, 3) == 0).float() - 0.5
    along_width = float((zero[:, 1:] * zero[:, :-1]).mean()) * 4
    along_pool = float((zero[1:] * zero[:-1]).mean()) * 4
    assert abs(along_width) < 4 / 120_000**0.5
    assert abs(along_pool) < 4 / 120_000**0.5


def test_starts_are_spread_over_the_pool() -> None:
    """Rows, steps and seeds next to each other start anywhere."""
    for vary in ("row", "step", "seed"):
        if vary == "row":
            starts = draw_starts(range(20_000), seed=0, step=0)
        else:
            fixed = {"seed": 0, "step": 0}
            starts = np.concatenate([draw_starts([5], **{**fixed, vary: i}) for i in range(2_000)])
        assert starts.min() >= 0
        assert starts.max() < POOL_ROWS
        quarters = np.bincount(starts * 4 // POOL_ROWS, minlength=4) / len(starts)
        assert np.allclose(quarters, 0.25, atol=0.04), vary
        steps = np.diff(starts) % POOL_ROWS
        assert len(np.unique(steps)) > len(steps) / 4, vary


def splitmix64(value: int) -> int:
    """In plain integers, as published."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def test_starts_are_the_published_hash() -> None:
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # first number of the published generator seeded with 0
    for row, seed, step in ((0, 13, 0), (1, 13, 7), (2**40, 2**31 - 1, 10**6)):
        expected = splitmix64(splitmix64(row ^ splitmix64(seed)) ^ splitmix64(step)) % POOL_ROWS
        assert draw_starts([row], seed=seed, step=step).tolist() == [expected]


def test_nothing_is_dropped_in_evaluation_nor_at_probability_0() -> None:
    states = torch.randn(1, 4, 16)
    with drawn(torch.arange(4)[None]):
        assert RowDropout(0.5, site=0, seed=0).eval()(states) is states
        assert RowDropout(0.0, site=0, seed=0).train()(states) is states


def test_gradients_pass_where_values_were_kept() -> None:
    states = torch.ones(1, 4, 16, requires_grad=True)
    with drawn(torch.arange(4)[None]):
        dropped = RowDropout(0.5, site=0, seed=0).train()(states)
    dropped.sum().backward()
    assert torch.equal(states.grad, dropped.detach())


def test_states_that_are_not_of_tokens_fall_back_to_plain_dropout() -> None:
    site = RowDropout(0.5, site=0, seed=0).train()
    pooled = torch.ones(64, 16)
    torch.manual_seed(0)
    with drawn(torch.arange(4)[None]):
        first = site(pooled)
    torch.manual_seed(0)
    assert torch.equal(first, site(pooled))
    assert 0.3 < float((first == 0).float().mean()) < 0.7


def test_the_draw_ends_with_its_block_even_after_an_error() -> None:
    def fail() -> None:
        with drawn(torch.zeros(1, 1)):
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    site = RowDropout(0.5, site=0, seed=0).train()
    torch.manual_seed(0)
    first = site(torch.ones(1, 1, 64))
    torch.manual_seed(1)
    assert not torch.equal(first, site(torch.ones(1, 1, 64)))  # drawn from torch's generator


def test_every_dropout_of_a_model_is_replaced_with_its_own_site() -> None:
    model = nn.Sequential(nn.Dropout(0.2), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)), nn.Dropout(0.0))
    assert replace_dropout(model, seed=5, probability=None) == 3
    sites = [part for part in model.modules() if isinstance(part, RowDropout)]
    assert sorted((s.probability, s.seed) for s in sites) == [(0.0, 5), (0.2, 5), (0.3, 5)]
    assert sorted(s.site for s in sites) == [0, 1, 2]
    assert not any(isinstance(part, nn.Dropout) for part in model.modules())


def test_a_probability_of_the_recipe_replaces_each_places_own() -> None:
    model = nn.Sequential(nn.Dropout(0.2), nn.Dropout(0.0))
    replace_dropout(model, seed=5, probability=0.4)
    assert [part.probability for part in model] == [0.4, 0.4]


def test_attention_probabilities_are_not_dropped(make_classifier: Make, make_rows: Make) -> None:
    """With dropout of hidden states at 0, a model in training gives what it gives in evaluation."""
    _, model = make_classifier()
    assert any(isinstance(part, nn.Dropout) and part.p > 0 for part in model.modules())
    replace_dropout(model, seed=5, probability=0.0)
    rows = LaidOut(make_rows([5, 3]), range(2), padded=True, device=CPU, draw=draw_starts([0, 1], seed=0, step=0))
    with torch.no_grad():
        assert torch.equal(model.train()(rows), model.eval()(rows))


def test_a_whole_models_draws_do_not_depend_on_the_micro_batch(make_classifier: Make, make_rows: Make) -> None:
    """The logits of a row in training are the same alone and among others, in both layouts."""
    _, model = make_classifier()
    replace_dropout(model, seed=5, probability=0.3)
    encoded = make_rows([5, 9, 3])
    model.train()

    def logits(ids: list[int], padded: bool) -> Tensor:
        draw = draw_starts(ids, seed=5, step=2)
        batch = LaidOut([encoded[i] for i in ids], ids, padded=padded, device=CPU, draw=draw)
        with torch.no_grad():
            return model(batch)

    together = logits([0, 1, 2], padded=True)
    for row in range(3):
        # float32: products over another number of rows are summed in another order; logits are scaled by 20
        assert torch.allclose(logits([row], padded=True)[0], together[row], atol=1e-4)
    with torch.no_grad():
        plain = model.eval()(LaidOut(encoded, range(3), padded=True, device=CPU))
    assert not torch.allclose(together, plain, atol=1e-2)
