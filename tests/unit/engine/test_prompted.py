"""Rows behind a prompt: every segment begins with it, a shared prefix has it once, and nothing else moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.engine.prompted import behind_prompt
from burnish.model.prompt import add_prompt
from burnish.types import Encoded

Make = Callable[..., Any]
CPU = torch.device("cpu")
PROMPT = (90, 91)


def row(ids: list[int], segments: tuple[int, ...], shared: int = 0) -> Encoded:
    return Encoded(token_ids=np.array(ids), segment_lengths=segments, targets=np.array(0), shared_prefix=shared)


def test_each_segment_has_its_own() -> None:
    longer, places = behind_prompt([row([1, 2, 3], (2, 1)), row([4], (1,))], PROMPT)
    assert longer[0].token_ids.tolist() == [90, 91, 1, 2, 90, 91, 3]
    assert longer[0].segment_lengths == (4, 3)
    assert longer[1].token_ids.tolist() == [90, 91, 4]
    assert places.tolist() == [2, 3, 6, 9]  # 7 tokens of the first row come before the second


def test_a_shared_prefix_begins_with_it() -> None:
    """Prompt 1 2, answers 3 4 and 5: the second segment takes over the learned prompt with the row's own."""
    (longer,), places = behind_prompt([row([1, 2, 3, 4, 5], (4, 1), shared=2)], PROMPT)
    assert longer.token_ids.tolist() == [90, 91, 1, 2, 3, 4, 5]
    assert (longer.segment_lengths, longer.shared_prefix) == ((6, 1), 4)
    assert places.tolist() == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "llama", "qwen", "mixtral", "distilbert", "mpnet"])
@pytest.mark.parametrize("at", ["all", "first", "last", "read"])
def test_the_states_are_those_behind_the_vectors(encoder: Make, family: str, at: Any, make_rows: Make) -> None:
    """In the layout that is chosen and in the padded one, as transformers gives them for vectors before one row."""
    rows = [
        Encoded(
            token_ids=made.token_ids,
            segment_lengths=made.segment_lengths,
            targets=made.token_ids[1:],
            read_positions=np.arange(made.length - 1),
        )
        for made in make_rows([7, 3, 12, 5])
    ]
    plain, model = encoder(family).eval(), encoder(family).eval()
    chosen = choose_layout(model, rows, device=CPU)
    prompt = add_prompt(model, 4)
    wanted = []
    with torch.no_grad():
        for each in rows:
            words = plain.get_input_embeddings()(torch.from_numpy(each.token_ids))
            states = plain(inputs_embeds=torch.cat([prompt.weight, words])[None]).last_hidden_state[0, 4:]
            wanted.append({"all": states, "first": states[:1], "last": states[-1:], "read": states[:-1]}[at])
        place: dict[str, Any] = {"device": CPU, "position_offset": chosen.position_offset}
        found = LaidOut(rows, range(4), padded=chosen.padded, **place).hidden(model, at)
    # float32: the same products over another number of rows; states are of the order of 1
    assert torch.allclose(found, torch.cat(wanted), atol=2e-5), chosen.reason
