"""A transformer over the cells of a table's row; it starts from random weights, for there is no base of tables.

Shapes: B rows, S tokens of a row (1 + K + M), K numbers, M categories, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.types import Batch


@dataclass(frozen=True, slots=True)
class TabularShape:
    """What decides the weights of a `TabularTransformer`.

    Attributes:
        vocabulary: token ids of all cells.
        numbers: K, the tokens behind the first one that are scaled by a number.
        outputs: of the head.
    """

    vocabulary: int
    numbers: int
    outputs: int
    width: int = 64
    layers: int = 3
    heads: int = 8
    dropout: float = 0.1  # of the feed-forward parts


class RowLayer(nn.Module):
    """Attention and a gated feed-forward part, each behind a norm and beside the way around it.

    Args:
        first: without a norm before attention, which the paper found to train better.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, first: bool) -> None:
        super().__init__()
        hidden = width * 4 // 3
        self.heads = heads
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(width)
        self.into_heads = nn.Linear(width, 3 * width)
        self.out_of_heads = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.into_hidden = nn.Linear(width, 2 * hidden)
        self.dropout = nn.Dropout(dropout)
        self.out_of_hidden = nn.Linear(hidden, width)

    def forward(self, states_BSD: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.into_heads(self.attention_norm(states_BSD)).chunk(3, dim=-1)
        )
        attended_BHSd = F.scaled_dot_product_attention(query, key, value)
        states_BSD = states_BSD + self.out_of_heads(attended_BHSd.transpose(1, 2).flatten(-2))
        hidden, gate = self.into_hidden(self.norm(states_BSD)).chunk(2, dim=-1)
        added_BSD: Tensor = self.out_of_hidden(self.dropout(hidden * F.relu(gate)))
        return states_BSD + added_BSD


class RowEncoder(nn.Module):
    """One vector per cell: of its token, and of a number its own direction times the number; then the layers.

    All rows have the same S tokens: the first is read by the head, then the numbers, then the categories.
    """

    exact = ("direction_KD",)  # weights that no copy in bf16 stands in for

    def __init__(self, shape: TabularShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.direction_KD = nn.Parameter(torch.empty(shape.numbers, shape.width))
        bound = shape.width**-0.5
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        nn.init.uniform_(self.direction_KD, -bound, bound)
        self.layers = nn.ModuleList(
            RowLayer(shape.width, shape.heads, shape.dropout, first=layer == 0) for layer in range(shape.layers)
        )

    def forward(self, input_ids: Tensor, given: Tensor, **_: Tensor) -> SimpleNamespace:
        """Hidden states in the shape of `input_ids`, with D behind it, as transformers gives them.

        Args:
            input_ids: (B, S), or (1, B * S) where rows lie behind each other.
            given: (B, K) scaled numbers, 0 where one is missing.
        """
        numbers = given.float()  # bf16 would make one of numbers that are near each other
        states_BSD = self.embedding(input_ids.view(len(given), -1))
        scaled_BKD = numbers[..., None] * self.direction_KD
        rest = states_BSD.shape[1] - 1 - numbers.shape[1]
        states_BSD = states_BSD + F.pad(scaled_BKD, (0, 0, 1, rest))
        for layer in self.layers:
            states_BSD = layer(states_BSD)
        return SimpleNamespace(last_hidden_state=states_BSD.view(*input_ids.shape, -1))


class TabularTransformer(nn.Module):
    """(B, outputs) of each row, from its first token.

    Source: FT-Transformer, Gorishniy et al. 2021, arXiv:2106.11959; attention probabilities are not dropped out
    (docs/decisions/0004-dropout.md).
    """

    def __init__(self, shape: TabularShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder = RowEncoder(shape)
        self.head = nn.Sequential(nn.LayerNorm(shape.width), nn.ReLU(), nn.Linear(shape.width, shape.outputs))

    @property
    def core(self) -> nn.Module:
        """What a method attaches to."""
        return self.encoder

    def forward(self, batch: Batch) -> Tensor:
        """(B, outputs) float32."""
        outputs: Tensor = self.head(batch.hidden(self.encoder, at="first")).float()
        return outputs
