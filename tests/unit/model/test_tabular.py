"""The transformer over a table's rows."""

from __future__ import annotations

import torch

from burnish.engine.bf16_weights import Bf16Weights
from burnish.model.tabular import RowEncoder, TabularShape, TabularTransformer

SHAPE = TabularShape(vocabulary=9, numbers=2, outputs=3, width=8, layers=2, heads=2)


def test_rows_side_by_side_and_behind_each_other_give_the_same() -> None:
    torch.manual_seed(0)
    encoder = RowEncoder(SHAPE).eval()
    ids, given = (
        torch.tensor([[0, 1, 3, 5], [0, 2, 3, 8]]),
        torch.tensor([[0.5, -1.0], [0.0, 2.0]], dtype=torch.float64),
    )
    side_by_side = encoder(input_ids=ids, given=given, attention_mask=torch.ones_like(ids)).last_hidden_state
    behind = encoder(input_ids=ids.view(1, -1), given=given, position_ids=torch.zeros(1, 8)).last_hidden_state
    assert side_by_side.shape == (2, 4, 8)
    assert behind.shape == (1, 8, 8)
    assert torch.allclose(side_by_side.flatten(0, 1), behind[0])


def test_a_number_moves_its_own_token_along_its_direction() -> None:
    torch.manual_seed(0)
    encoder = RowEncoder(TabularShape(vocabulary=9, numbers=2, outputs=3, width=8, layers=0, heads=2))
    ids = torch.tensor([[0, 1, 3, 5]])
    zero, moved = (
        encoder(input_ids=ids, given=torch.tensor([numbers])).last_hidden_state for numbers in ([0.0, 0.0], [0.0, 2.0])
    )
    assert torch.equal(zero[0, [0, 1, 3]], moved[0, [0, 1, 3]])
    assert torch.allclose(moved[0, 2] - zero[0, 2], 2 * encoder.direction_KD[1])


def test_numbers_near_each_other_stay_two_in_a_step_on_bf16_copies() -> None:
    model = TabularTransformer(TabularShape(vocabulary=9, numbers=1, outputs=3, width=8, layers=1, heads=2))
    ids, given = torch.tensor([[0, 1], [0, 1]]), torch.tensor([[2.001], [2.006]])
    with Bf16Weights(model, dict(model.named_parameters())).inside(), torch.autocast("cpu", dtype=torch.bfloat16):
        model.encoder.layers = torch.nn.ModuleList()  # what the first of them reads
        one, other = model.encoder(input_ids=ids, given=given).last_hidden_state[:, 1]
    assert not torch.equal(one, other)


def test_a_table_without_numbers() -> None:
    encoder = RowEncoder(TabularShape(vocabulary=9, numbers=0, outputs=3, width=8, layers=1, heads=2))
    found = encoder(input_ids=torch.tensor([[0, 5], [0, 6]]), given=torch.zeros(2, 0)).last_hidden_state
    assert found.shape == (2, 2, 8)
