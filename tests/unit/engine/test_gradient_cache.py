"""A step computed in pieces has the loss and the gradient of the step as a whole, dropout and all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.engine.distributed import Ranks
from burnish.engine.dropout import draw_starts, replace_dropout
from burnish.engine.gradient_cache import compare_in_pieces
from burnish.engine.layout import LaidOut
from burnish.engine.precision import Precision
from burnish.model.find import find_base
from burnish.model.load import load_encoder
from burnish.model.options import ModelOptions
from burnish.model.pooled import PooledEncoder
from burnish.task.embedding import Embedding, ScoredPairs
from burnish.task.options import EmbeddingOptions
from burnish.types import Encoded, LossTerm

CPU = torch.device("cpu")
ROWS = 64


class Unkeyed(nn.Module):
    """Dropout that is drawn from torch's generator, as in places that are not token by token."""

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.dropout(states, 0.2) if self.training else states


@pytest.fixture
def make_model(sentence_base: Path) -> Callable[[], PooledEncoder]:
    def make() -> PooledEncoder:
        base = find_base(ModelOptions(base=str(sentence_base)), recipe_folder=Path(), runs=Path("absent"))
        model = PooledEncoder(load_encoder(base), pooling="mean", normalize=True).train()
        replace_dropout(model, seed=3, probability=0.2)
        model.encoder.embeddings.LayerNorm = nn.Sequential(model.encoder.embeddings.LayerNorm, Unkeyed())
        return model

    return make


@pytest.fixture(params=[Embedding, ScoredPairs])
def task(request: pytest.FixtureRequest, make_tokenizer: Callable[[], Any]) -> Embedding:
    options = EmbeddingOptions(symmetric=request.param is Embedding, dimensions=(8,))
    made: Embedding = request.param(make_tokenizer(), options, max_length=32)
    return made


def rows_of(task: Embedding) -> list[Encoded]:
    random = np.random.default_rng(0)
    words = ["card", "cash", "late", "lost", "money", "my", "refund", "the", "transfer", "where"]
    names = [name for name, kind in task.columns.items() if kind is str]
    rows = []
    for number in range(ROWS):
        row: dict[str, Any] = {name: " ".join(random.choice(words, random.integers(2, 12))) for name in names}
        encoded = task.encode(row | {"score": float(number % 6)})
        assert isinstance(encoded, Encoded)
        rows.append(encoded)
    return rows


def computed(task: Embedding, model: nn.Module, size: int, step: int = 5) -> tuple[LossTerm, dict[str, Tensor]]:
    """The loss of 64 rows in pieces of `size`, and the gradient of each weight."""
    torch.manual_seed(11)
    rows = rows_of(task)
    pieces = [
        LaidOut(
            rows[start : start + size],
            range(start, start + size),
            padded=True,
            device=CPU,
            draw=draw_starts(range(start, start + size), seed=3, step=step),
        )
        for start in range(0, ROWS, size)
    ]
    place: dict[str, Any] = {"precision": Precision("fp32", ""), "device": CPU, "ranks": Ranks()}
    term = compare_in_pieces(task, model, pieces, rows=ROWS, **place)
    return term, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Within what float32 rounds when sums come in another order."""
    assert found.keys() == wanted.keys()
    length = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in wanted.values()]))
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-5 * length, name


@pytest.mark.parametrize("size", [1, 8, 24])
def test_pieces_are_the_whole(task: Embedding, make_model: Callable[[], Any], size: int) -> None:
    """With keyed dropout only: what torch's generator draws depends on how much is drawn at once."""
    models = [make_model(), make_model()]
    for model in models:
        model.encoder.embeddings.LayerNorm = model.encoder.embeddings.LayerNorm[0]
    (one, gradient), (other, wanted) = computed(task, models[0], ROWS), computed(task, models[1], size)
    assert one.weight == other.weight == ROWS
    assert other.total.item() == pytest.approx(one.total.item(), rel=1e-5)
    assert_equal(gradient, wanted)


def test_the_whole_is_a_plain_backward_pass(task: Embedding, make_model: Callable[[], Any]) -> None:
    found, gradient = computed(task, make_model(), ROWS)
    torch.manual_seed(11)
    model = make_model()
    batch = LaidOut(rows_of(task), range(ROWS), padded=True, device=CPU, draw=draw_starts(range(ROWS), seed=3, step=5))
    term = task.loss(model, batch)
    term.total.backward()  # type: ignore[no-untyped-call]
    assert float(found.total.detach()) == float(term.total.detach())
    for name, weight in model.named_parameters():
        assert weight.grad is None or torch.equal(weight.grad, gradient[name]), name


def test_both_passes_draw_the_same(task: Embedding, make_model: Callable[[], Any]) -> None:
    """What is not drawn per row too: the vectors of the second pass are the bits of the first."""
    model, seen = make_model(), list[Tensor]()
    model.register_forward_hook(lambda _, __, output: seen.append(output.detach().clone()))
    computed(task, model, 8)
    assert len(seen) == 2 * ROWS // 8
    for first, second in zip(seen[: ROWS // 8], seen[ROWS // 8 :], strict=True):
        assert torch.equal(first, second)


def test_what_is_drawn_afterwards_does_not_repeat(task: Embedding, make_model: Callable[[], Any]) -> None:
    """The generator goes on where the first pass left it."""
    model = make_model()
    computed(task, model, 8)
    after = torch.rand(3)
    torch.manual_seed(11)
    assert not torch.equal(after, torch.rand(3))


def test_memory_that_ends_is_told_as_such(
    task: Embedding, make_model: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Tensor:
        raise MemoryError("no more")

    monkeypatch.setattr(task, "represent", full)
    with pytest.raises(torch.OutOfMemoryError, match="no more"):
        computed(task, make_model(), 8)


def test_rows_come_together_in_the_order_of_the_step() -> None:
    parts: Sequence[Tensor] = [torch.arange(4.0).view(2, 2), torch.arange(4.0, 6.0).view(1, 2)]
    assert Ranks().joined(parts, 3, CPU).tolist() == [[0, 1], [2, 3], [4, 5]]
