"""Rows one after the other or padded: the same numbers, no row sees another, and a model that leaks is found out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.engine import layout, segments
from burnish.engine.layout import LaidOut, LayoutChoice, position_offset
from burnish.engine.layout_choice import choose_layout
from burnish.method.lora import Lora
from burnish.types import Batch, Encoded, Reads

Make = Callable[..., Any]
CPU = torch.device("cpu")
READS: tuple[Reads, ...] = ("all", "first", "last", "read")
# float32: the same products over another number of rows; states are of the order of 1
TOLERANCE = 2e-5


@pytest.fixture(autouse=True)
def _no_gradients(single_thread: None) -> Iterator[None]:
    with torch.no_grad():
        yield


def hidden(model: nn.Module, rows: Sequence[Encoded], choice: LayoutChoice) -> list[Tensor]:
    """The states of each row."""
    batch = LaidOut(rows, range(len(rows)), padded=choice.padded, device=CPU, position_offset=choice.position_offset)
    return list(torch.split(batch.hidden(model), [row.length for row in rows]))


def alone(model: nn.Module, row: Encoded) -> Tensor:
    """The states of a row as transformers itself gives them, without burnish."""
    states: Tensor = model(input_ids=torch.from_numpy(row.token_ids)[None]).last_hidden_state[0]
    return states


CONCATENATED = ["bert", "minilm", "roberta", "modernbert", "llama", "qwen", "mixtral"]
FAMILIES = [*CONCATENATED, "distilbert", "t5", "mpnet"]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_gets_what_the_model_gives_it_alone(encoder: Make, family: str, make_rows: Make) -> None:
    """Whatever layout is chosen, neighbours and padding change nothing."""
    model, rows = encoder(family), make_rows([7, 3, 12, 7, 5])
    expected = [alone(encoder(family), row) for row in rows]
    choice = choose_layout(model, rows, device=CPU)
    for states, wanted in zip(hidden(model, rows, choice), expected, strict=True):
        assert torch.allclose(states, wanted, atol=TOLERANCE), choice.reason


@pytest.mark.parametrize("family", CONCATENATED)
def test_these_families_are_laid_out_without_padding(encoder: Make, family: str, make_rows: Make) -> None:
    choice = choose_layout(encoder(family), make_rows([7, 3, 12]), device=CPU)
    assert not choice.padded
    assert choice.reason.startswith("concatenated: largest difference to padded")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rows_vectors_do_not_change_with_its_neighbours(encoder: Make, family: str, make_rows: Make) -> None:
    model, rows = encoder(family), make_rows([7, 3, 12, 7, 5])
    choice = choose_layout(model, rows, device=CPU)
    others = make_rows([9, 3, 2, 8, 5], seed=1)
    before = hidden(model, rows, choice)[2]
    after = hidden(model, [*others[:2], rows[2], *others[3:]], choice)[2]
    assert torch.allclose(before, after, atol=TOLERANCE)


@pytest.mark.parametrize("family", CONCATENATED)
def test_in_bf16_on_a_cpu_tokens_come_in_whole_grains(
    encoder: Make, family: str, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each other number of tokens would be compiled for and kept; what is added changes a row by rounding at most."""
    rows, seen, found = make_rows([7, 30, 12]), [], []
    model = encoder(family)
    choice = choose_layout(model, rows, device=CPU)
    model.get_input_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    for grain in (1, 32):
        monkeypatch.setattr(layout, "GRAIN", grain)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(hidden(model, rows, choice))
    assert seen == [49, 64]
    for plain, filled in zip(*found, strict=True):
        assert filled.shape == plain.shape
        assert float((filled - plain).norm()) <= 0.02 * float(plain.norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_longer_than_those_it_was_chosen_on(encoder: Make, family: str, make_rows: Make) -> None:
    """The choice is made on the rows at hand; longer ones that come later must be right as well."""
    model, rows = encoder(family), make_rows([40, 3, 61])
    expected = [alone(encoder(family), row) for row in rows]
    choice = choose_layout(model, make_rows([3, 2, 4]), device=CPU)
    for states, wanted in zip(hidden(model, rows, choice), expected, strict=True):
        assert torch.allclose(states, wanted, atol=TOLERANCE), choice.reason


def test_a_causal_model_with_a_window(encoder: Make, make_rows: Make) -> None:
    model, rows = encoder("mistral"), make_rows([20, 3, 9])
    expected = [alone(encoder("mistral"), row) for row in rows]
    choice = choose_layout(model, make_rows([3, 2]), device=CPU)
    for states, wanted in zip(hidden(model, rows, choice), expected, strict=True):
        assert torch.allclose(states, wanted, atol=TOLERANCE), choice.reason


def test_gradients_are_the_same_in_both_layouts(encoder: Make, make_rows: Make) -> None:
    rows = make_rows([7, 3, 12, 7])
    gradients = []
    for padded in (True, False):
        model = encoder("bert")
        if not padded:
            choose_layout(model, rows, device=CPU)
        with torch.enable_grad():
            batch = LaidOut(rows, range(4), padded=padded, device=CPU)
            batch.mean(batch.hidden(model)).pow(3).sum().backward()
        gradients.append({name: w.grad for name, w in model.named_parameters() if w.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        # float32: sums over all tokens in another order; largest entries are of the order of 10 to 100
        assert torch.allclose(gradient, gradients[1][name], atol=2e-3, rtol=1e-3), name


def sharing(lengths: Sequence[tuple[int, int, int]]) -> tuple[list[Encoded], list[Encoded]]:
    """Rows of two segments with one beginning, of (prefix, first, second) tokens; and the same held twice."""
    random = np.random.default_rng(3)
    once, twice = [], []
    for prefix, first, second in lengths:
        parts = [random.integers(5, 40, size=n) for n in (prefix, first, second)]
        ends = np.array(0)
        both = np.concatenate(parts)
        once.append(Encoded(both, (prefix + first, second), ends, shared_prefix=prefix))
        apart = np.concatenate([parts[0], parts[1], parts[0], parts[2]])
        twice.append(Encoded(apart, (prefix + first, prefix + second), ends))
    return once, twice


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("family", ["llama", "qwen", "mixtral", "mistral"])
def test_two_segments_behind_one_beginning_are_as_if_each_had_its_own(encoder: Make, family: str, padded: bool) -> None:
    """States and gradients, with a window that is shorter than the rows (Mistral) as well."""
    once, twice = sharing([(6, 3, 5), (1, 2, 7), (20, 4, 1)])
    found = []
    for rows in (twice, once):
        model = encoder(family)
        choice = choose_layout(model, rows, device=CPU)
        assert not choice.padded
        if padded:
            model = encoder(family)
        model.zero_grad()
        with torch.enable_grad():
            states = hidden(model, rows, LayoutChoice(padded, choice.position_offset, ""))
            first = [s[: row.segment_lengths[0]] for s, row in zip(states, rows, strict=True)]
            own = [row.token_ids.size - once_row.segment_lengths[1] for row, once_row in zip(rows, once, strict=True)]
            second = [s[start:] for s, start in zip(states, own, strict=True)]
            torch.cat([*first, *second]).pow(3).sum().backward()  # type: ignore[no-untyped-call]
        gradients = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
        found.append((torch.cat([*first, *second]).detach(), gradients))
    (wanted, gradients), (states, others) = found
    assert torch.allclose(states, wanted, atol=TOLERANCE)
    for name, gradient in gradients.items():
        assert torch.allclose(others[name], gradient, atol=2e-3, rtol=1e-3), name


def leaky(*arguments: Any, **named: Any) -> tuple[Tensor, None]:
    """Attention over the whole concatenated batch: each row sees all others."""
    _, query, key, value, *_ = arguments
    output = nn.functional.scaled_dot_product_attention(query, key, value, scale=named.get("scaling"))
    return output.transpose(1, 2), None


def test_a_planted_leak_is_found_and_the_model_put_back(
    encoder: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "segment_attention", leaky)
    model, rows = encoder("bert"), make_rows([7, 3, 12])
    expected = [alone(encoder("bert"), row) for row in rows]
    before = model.config._attn_implementation
    choice = choose_layout(model, rows, device=CPU)
    assert choice.padded
    assert choice.reason.startswith("padded: concatenated differs by")
    assert model.config._attn_implementation == before
    for states, wanted in zip(hidden(model, rows, choice), expected, strict=True):
        assert torch.allclose(states, wanted, atol=TOLERANCE)


def test_rows_of_one_length_do_not_hide_a_leak(encoder: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "segment_attention", leaky)
    assert choose_layout(encoder("bert"), make_rows([6, 6, 6]), device=CPU).padded


def test_a_model_that_refuses_the_attention_is_padded(
    encoder: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise TypeError("no such argument")

    monkeypatch.setattr(segments, "segment_attention", refuse)
    choice = choose_layout(encoder("bert"), make_rows([7, 3]), device=CPU)
    assert choice == LayoutChoice(True, 0, "padded: the model refused the attention function (TypeError)")


def test_the_same_weights_and_rows_are_compared_once(encoder: Make, make_rows: Make) -> None:
    rows = make_rows([7, 3, 12])
    first, again, reweighted, reread = (encoder("bert") for _ in range(4))
    choice = choose_layout(first, rows, device=CPU, weights="a")
    passes = Counter[int]()
    for model in (again, reweighted, reread):
        model.register_forward_hook(lambda model, *_: passes.update([id(model)]))
    assert choose_layout(again, rows, device=CPU, weights="a") == choice
    assert not passes
    for at in ("all", "first"):
        batches = [choice.lay_out(rows, range(3), device=CPU) for _ in range(2)]
        assert torch.equal(batches[0].hidden(first, at=at), batches[1].hidden(again, at=at))
    before = passes[id(again)]
    assert choose_layout(reweighted, rows, device=CPU, weights="b") == choice
    choose_layout(reread, make_rows([7, 4]), device=CPU, weights="a")
    assert passes == {id(again): before, id(reweighted): 4, id(reread): 4}  # padded, concatenated, two ends of a row


def test_a_model_without_position_ids_is_padded(make_rows: Make) -> None:
    class Plain(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return None

    choice = choose_layout(Plain(), make_rows([7, 3]), device=CPU)
    assert choice.padded
    assert choice.reason == "padded: the model takes no position ids"


def test_the_choice_leaves_training_mode_as_it_was(encoder: Make, make_rows: Make) -> None:
    for training in (True, False):
        model = encoder("bert").train(training)
        choose_layout(model, make_rows([7, 3]), device=CPU)
        assert model.training is training


def test_an_adapted_model_keeps_the_layout_of_its_base(encoder: Make, make_rows: Make) -> None:
    """The layout is chosen on the base, before a method adds to it."""
    model, rows = encoder("bert"), make_rows([7, 3, 12])
    choice = choose_layout(model, rows, device=CPU)
    adapted = Lora(rank=2).attach(model)
    assert not choice.padded
    for states, row in zip(hidden(adapted, rows, choice), rows, strict=True):
        assert torch.allclose(states, alone(encoder("bert"), row), atol=TOLERANCE)


def test_segment_attention_outside_of_a_batch_is_a_bug_and_says_so(encoder: Make, make_rows: Make) -> None:
    model = encoder("bert")
    choose_layout(model, make_rows([7, 3]), device=CPU)
    with pytest.raises(RuntimeError, match="outside of a concatenated batch"):
        alone(model, make_rows([3])[0])


@pytest.mark.parametrize(
    ("model_type", "pad", "expected"), [("bert", 0, 0), ("roberta", 1, 2), ("xlm-roberta", None, 1), ("llama", 7, 0)]
)
def test_the_first_position_of_a_segment(model_type: str, pad: int | None, expected: int) -> None:
    config = type("Config", (), {"model_type": model_type, "pad_token_id": pad})
    assert position_offset(config) == expected


def pair() -> list[Encoded]:
    """Two rows of two segments: [a b | c] and [d | e f], reading b, c and f."""
    return [
        Encoded(np.array([10, 11, 12]), (2, 1), np.array([1, 2]), read_positions=np.array([1, 2])),
        Encoded(np.array([13, 14, 15]), (1, 2), np.array([3]), read_positions=np.array([2])),
    ]


@pytest.mark.parametrize("padded", [True, False])
def test_segments_positions_and_targets_by_hand(padded: bool) -> None:
    batch = LaidOut(pair(), [4, 9], padded=padded, device=CPU)
    assert (batch.row_count, batch.segment_count, batch.row_ids) == (2, 4, (4, 9))
    hidden_TD = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])  # a b c d e f
    assert batch.mean(hidden_TD).tolist() == [[0.5], [2.0], [3.0], [4.5]]
    places = {at: batch.positions(at) for at in READS}
    assert places["all"] is None
    assert {at: place.tolist() for at, place in places.items() if place is not None} == {
        "first": [0, 2, 3, 4],
        "last": [1, 2, 3, 5],
        "read": [1, 2, 5],
    }
    assert batch.targets.tolist() == [1, 2, 3]


def test_what_the_model_is_given_by_hand() -> None:
    seen: dict[str, Tensor] = {}

    class Watch(nn.Module):
        def forward(self, **given: Tensor) -> Any:
            seen.clear()
            seen.update(given)
            return type("Output", (), {"last_hidden_state": given["input_ids"][..., None].float()})

    concatenated = LaidOut(pair(), [0, 1], padded=False, device=CPU, position_offset=2)
    assert concatenated.hidden(Watch()).flatten().tolist() == [10, 11, 12, 13, 14, 15]
    assert seen["input_ids"].tolist() == [[10, 11, 12, 13, 14, 15]]
    assert seen["position_ids"].tolist() == [[2, 3, 2, 2, 2, 3]]  # counted anew in each segment
    padded = LaidOut(pair(), [0, 1], padded=True, device=CPU)
    assert padded.hidden(Watch()).flatten().tolist() == [10, 11, 12, 13, 14, 15]
    assert seen["input_ids"].tolist() == [[10, 11], [12, 0], [13, 0], [14, 15]]
    assert seen["attention_mask"].tolist() == [[1, 1], [1, 0], [1, 0], [1, 1]]
    for batch in (concatenated, padded):
        assert batch.hidden(Watch(), at="last").flatten().tolist() == [11, 12, 13, 15]
        assert batch.hidden(Watch(), at="read").flatten().tolist() == [11, 12, 15]


def test_states_are_remembered_where_nothing_can_change_them(make_rows: Make) -> None:
    calls: list[int] = []

    class Counted(nn.Module):
        def forward(self, **given: Tensor) -> Any:
            calls.append(1)
            return type("Output", (), {"last_hidden_state": given["input_ids"][..., None].float()})

    model, batch = Counted(), LaidOut(make_rows([3, 4]), [0, 1], padded=False, device=CPU)
    batch.hidden(model)
    batch.hidden(model)
    assert len(calls) == 2  # a step may lie between the two
    with torch.inference_mode():
        assert batch.hidden(model) is batch.hidden(model)
        batch.hidden(model, at="first")
    assert len(calls) == 4


def test_rows_without_read_positions(make_rows: Make) -> None:
    batch: Batch = LaidOut(make_rows([3, 4]), [0, 1], padded=False, device=CPU)  # satisfies the contract
    assert batch.targets.tolist() == [0, 1]
    with pytest.raises(ValueError, match="name no read positions"):
        batch.hidden(nn.Identity(), at="read")


def test_segments_of_a_row_do_not_see_each_other(encoder: Make) -> None:
    model = encoder("bert")
    one = Encoded(np.array([10, 11, 12, 13]), (2, 2), np.array(0))
    apart = [Encoded(np.array([10, 11]), (2,), np.array(0)), Encoded(np.array([12, 13]), (2,), np.array(0))]
    expected = torch.cat([alone(encoder("bert"), row) for row in apart])
    choice = choose_layout(model, [one], device=CPU)
    for padded in (choice.padded, True):
        if padded:
            model = encoder("bert")
        states = hidden(model, [one], LayoutChoice(padded, 0, ""))[0]
        assert torch.allclose(states, expected, atol=TOLERANCE)


class TakesNumbers(nn.Module):
    """An encoder that adds what its rows bring to every state."""

    def forward(self, input_ids: Tensor, given: Tensor, **_: Tensor) -> Any:
        rows = input_ids.view(len(given), -1)
        states = (rows[..., None] + given[:, None].float()).view(*input_ids.shape, -1)
        return SimpleNamespace(last_hidden_state=states)


@pytest.mark.parametrize("padded", [False, True])
def test_numbers_of_the_rows_are_given_to_an_encoder_that_takes_them(padded: bool) -> None:
    rows = [
        Encoded(np.array([1, 2]), (2,), np.array(0), given=np.array([0.5, 0.0])),
        Encoded(np.array([3, 4]), (2,), np.array(0), given=np.array([0.0, 7.0])),
    ]
    hidden = LaidOut(rows, [0, 1], padded=padded, device=torch.device("cpu")).hidden(TakesNumbers())
    assert hidden.tolist() == [[1.5, 1.0], [2.5, 2.0], [3.0, 10.0], [4.0, 11.0]]


def test_without_gradients_a_row_that_is_no_number_stays_alone(encoder: Make, make_rows: Make) -> None:
    """Places of the grid that are empty are filled from their own row, never from another one."""
    bert, rows = encoder("bert"), make_rows([4, 6, 9], classes=3)  # of other words
    choice = choose_layout(bert, rows, device=CPU)
    batch = LaidOut(rows, [0, 1, 2], padded=False, device=CPU, position_offset=choice.position_offset)
    with torch.no_grad():
        bert.embeddings.word_embeddings.weight[rows[0].token_ids] = torch.nan
        hidden = batch.hidden(bert)
    assert bool(hidden[:4].isnan().all())
    assert not bool(hidden[4:19].isnan().any())
