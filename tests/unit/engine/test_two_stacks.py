"""An encoder with a decoder in a batch: a grid for each side, and the numbers transformers gives each row alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.engine.dropout import draw_starts, replace_dropout
from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.model.find import find_base
from burnish.model.language import LanguageModel, has_two_stacks, load_language_model
from burnish.model.options import ModelOptions
from burnish.task.token_loss import head_logits, loss_of_read_tokens
from burnish.types import Encoded

CPU = torch.device("cpu")
TOLERANCE = 2e-5  # float32: the same products over another number of rows
FAMILIES = ("t5", "bart")
LENGTHS = ((5, 3), (2, 7), (9, 1), (4, 4))  # tokens of source and target


@pytest.fixture
def model(make_seq2seq_base: Callable[..., Path], request: pytest.FixtureRequest) -> LanguageModel:
    base = find_base(
        ModelOptions(base=str(make_seq2seq_base(family=request.param))), recipe_folder=Path(), runs=Path("absent")
    )
    return load_language_model(base).eval()


def rows() -> list[Encoded]:
    random = np.random.default_rng(0)
    made = []
    for read, written in LENGTHS:
        source, target = random.integers(2, 200, read), np.append(random.integers(2, 200, written - 1), 1)
        given = np.append(0, target[:-1])
        reads = np.arange(read, read + written)
        both = np.concatenate([source, given])
        made.append(Encoded(both, (read, written), target, read_positions=reads, weight=float(written)))
    return made


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_each_row_gets_what_the_model_gives_it_alone(model: LanguageModel) -> None:
    choice = choose_layout(model.encoder, rows(), device=CPU)
    assert choice.reason == "padded: encoder-decoder, sources and targets on a grid each"
    batch = LaidOut(rows(), range(4), padded=choice.padded, device=CPU)
    with torch.no_grad():
        states = torch.split(batch.hidden(model.encoder), [row.length for row in rows()])
        for row, found in zip(rows(), states, strict=True):
            source, given = torch.split(torch.from_numpy(row.token_ids)[None], list(row.segment_lengths), dim=1)
            body = model.encoder if model.encoder is not model.causal else model.causal
            memory = body.get_encoder()(input_ids=source).last_hidden_state
            decoded = body.get_decoder()(input_ids=given, encoder_hidden_states=memory).last_hidden_state
            assert torch.allclose(found, torch.cat([memory[0], decoded[0]]), atol=TOLERANCE)


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_the_loss_is_that_of_transformers(model: LanguageModel) -> None:
    """Summed over rows of one, with its own labels moved right by its own start token."""
    with torch.no_grad():
        term = loss_of_read_tokens(model, LaidOut(rows(), range(4), padded=True, device=CPU))
        wanted = 0.0
        for row in rows():
            source = torch.from_numpy(row.token_ids[: row.segment_lengths[0]])[None]
            labels = torch.from_numpy(row.targets)[None]
            wanted += float(model.causal(input_ids=source, labels=labels).loss) * labels.numel()
    assert term.weight == sum(written for _, written in LENGTHS)
    assert float(term.total) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_logits_of_given_states_are_those_of_the_whole_model(model: LanguageModel) -> None:
    source, given = torch.arange(4, 9)[None], torch.tensor([[0, 7, 9]])
    with torch.no_grad():
        whole = model.causal(input_ids=source, decoder_input_ids=given).logits[0]
        memory = model.encoder.get_encoder()(input_ids=source).last_hidden_state
        hidden = model.encoder.get_decoder()(input_ids=given, encoder_hidden_states=memory).last_hidden_state[0]
        assert torch.allclose(head_logits(model.causal, hidden), whole, atol=TOLERANCE)


@pytest.mark.parametrize("model", FAMILIES, indirect=True)
def test_dropout_belongs_to_a_row_wherever_it_stands(model: LanguageModel) -> None:
    replace_dropout(model, seed=3, probability=0.3)
    model.train()

    def states(ids: list[int]) -> dict[int, Any]:
        chosen = [rows()[i] for i in ids]
        batch = LaidOut(chosen, ids, padded=True, device=CPU, draw=draw_starts(ids, seed=3, step=5))
        split = torch.split(batch.hidden(model.encoder), [row.length for row in chosen])
        return dict(zip(ids, split, strict=True))

    with torch.no_grad():
        together, apart = states([0, 1, 2, 3]), {**states([3, 1]), **states([2, 0])}
        for index, found in together.items():
            assert torch.allclose(found, apart[index], atol=TOLERANCE)


def test_one_stack_of_two_is_one_stack(make_seq2seq_base: Callable[..., Path]) -> None:
    from transformers import T5EncoderModel

    assert not has_two_stacks(T5EncoderModel.from_pretrained(make_seq2seq_base()))
