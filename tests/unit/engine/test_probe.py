"""Few and short rows, and long ones for models whose settings name a length at which they change."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from burnish.engine.probe import PROBE_TOKENS, probe_rows
from burnish.types import Encoded

Make = Callable[..., list[Encoded]]


def lengths(rows: list[Encoded], count: int = 4, **settings: Any) -> list[int]:
    return [row.length for row in probe_rows(rows, count, SimpleNamespace(**settings))]


def test_short_rows_are_enough(make_rows: Make) -> None:
    picked = lengths(make_rows([200, 9, 14, 90, 11, 12, 30, 150]))
    assert picked == [9, 11, 14, 30]  # spread over as many as are not more than the limit together
    assert sum(picked) <= PROBE_TOKENS


def test_where_all_are_long_two_of_different_length_are_taken(make_rows: Make) -> None:
    assert lengths(make_rows([100, 80, 80, 80, 300])) == [80, 100]
    assert lengths(make_rows([80, 80, 80])) == [80, 80, 80]
    assert lengths(make_rows([80])) == [80]


@pytest.mark.parametrize(
    "settings",
    [
        {"sliding_window": 128},
        {"local_attention": 128, "vocab_size": 30_522},
        {"attention_window": [64, 128]},
        {"text_config": SimpleNamespace(sliding_window=128, to_dict=dict)},
        {"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 128}},
    ],
)
def test_rows_beyond_a_length_at_which_the_model_changes_are_among_them(
    make_rows: Make, settings: dict[str, Any]
) -> None:
    """A window that one layout forgets shows on rows that are longer than it, and on no others."""
    assert lengths(make_rows([9, 10, 12, 14, 129]), **settings)[-1] == 129
    assert lengths(make_rows([9, 10, 12, 14, 64, 60]), **settings)[-1] < 64


def test_what_is_no_such_length_costs_nothing(make_rows: Make) -> None:
    unused = {
        "sliding_window": None,
        "max_window_layers": 28,
        "use_sliding_window": True,
        "max_position_embeddings": 64,
    }
    assert lengths(make_rows([9, 10, 12, 14, 129]), **unused)[-1] < 129
