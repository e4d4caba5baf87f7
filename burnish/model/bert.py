"""BERT's encoder without transformers, whose import takes longer than torch's and 70 MB beside the weights.

Weights have the names that transformers gives them, and the operations are the same in the same order: hidden states
are its BertModel's to the bit (tests/parity/test_bert.py). What adds layers of its own, as peft does, knows the
classes of transformers and gets them; so does a folder that asks for anything that is not here (`open_bert`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.errors import DamagedStoreError
from burnish.model.products import Packed
from burnish.storage.durable import write_json
from burnish.storage.tensors import load_tensors, save_tensors

WEIGHTS = "model.safetensors"
PREFIX = "bert."  # of the names where the folder also holds heads
Attend = Callable[..., tuple[Tensor, Any]]  # as `attend_padded`: states, and weights that nobody reads
# All that a configuration may say of these; they are transformers' defaults, as are the sizes below.
PLAIN: Mapping[str, Any] = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "quantization_config": None,
}
_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3_072,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


@dataclass(frozen=True, slots=True)
class Output:
    """What the encoder gives, under the name that transformers gives it."""

    last_hidden_state: Tensor


class Bert(nn.Module):
    """An encoder of BERT's architecture (Devlin et al. 2019, arXiv:1810.04805).

    Args:
        settings: config.json's content.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = dict(settings)
        self.config = SimpleNamespace(**{**_DEFAULTS, **settings}, _attn_implementation="sdpa")
        self.embeddings = Embeddings(self.config)
        self.encoder = Stack(self.config)
        self.pooler = Pooler(self.config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Output:
        """Hidden states (B, S, D) of tokens (B, S); the mask is 1 where a token is real."""
        mask = None
        if attention_mask is not None and not bool(attention_mask.all()):
            mask = attention_mask[:, None, None, :].bool().expand(-1, 1, attention_mask.shape[1], -1)
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        states = self.embeddings(input_ids, token_type_ids, position_ids)
        return Output(self.encoder(states, mask, ATTENTIONS[self.config._attn_implementation]))

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def set_attn_implementation(self, name: str) -> None:
        """Attends by the function of this name from now on.

        Raises:
            ValueError: there is none.
        """
        if name not in ATTENTIONS:
            raise ValueError(f"no attention function is called {name}")
        self.config._attn_implementation = name

    def get_correct_attn_implementation(self, _: str | None) -> str:
        """The attention for padded rows."""
        return "sdpa"

    def save_pretrained(self, folder: Path, **_: Any) -> None:
        """Writes config.json and the weights into a folder that `published_folder` makes durable."""
        config = {name: value for name, value in self.settings.items() if name != "torch_dtype"}
        write_json(folder / "config.json", config | {"architectures": ["BertModel"], "dtype": "float32"})
        save_tensors(folder / WEIGHTS, self.state_dict())


class Embeddings(nn.Module):
    """Words, positions and the number of the text, added and normalised."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = _table(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.position_embeddings = _table(config.max_position_embeddings, width)
        self.token_type_embeddings = _table(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None, position_ids: Tensor) -> Tensor:
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        states = self.word_embeddings(input_ids) + self.token_type_embeddings(types)
        normed: Tensor = self.dropout(self.LayerNorm(states + self.position_embeddings(position_ids)))
        return normed


def _table(rows: int, width: int, *, padding_idx: int | None = None) -> nn.Embedding:
    """A table whose numbers are still to come; to draw some of no value torch would load its compiler."""
    return nn.Embedding(rows, width, padding_idx=padding_idx, _weight=torch.empty(rows, width))


class Stack(nn.Module):
    """The layers, the lowest first."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, states: Tensor, mask: Tensor | None, attend: Attend) -> Tensor:
        for layer in self.layer:
            states = layer(states, mask, attend)
        return states


class Pooler(nn.Module):
    """Weights for those who open the tuned model elsewhere; burnish pools the way the base was trained to."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)


class Layer(nn.Module):
    """Attention and a feed-forward part, each added to what it read and normalised."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Added(config.intermediate_size, config)

    def forward(self, states: Tensor, mask: Tensor | None, attend: Attend) -> Tensor:
        attended = self.attention(states, mask, attend)
        fed: Tensor = self.output(self.intermediate(attended), attended)
        return fed


class Attention(nn.Module):
    """What tokens take from each other, added to what they were."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self = SelfAttention(config)
        self.output = Added(config.hidden_size, config)

    def forward(self, states: Tensor, mask: Tensor | None, attend: Attend) -> Tensor:
        attended: Tensor = self.output(self.self(states, mask, attend), states)
        return attended


class SelfAttention(nn.Module):
    """Queries, keys and values of every head; a function of `ATTENTIONS` brings them together."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        if width % config.num_attention_heads:
            raise ValueError(f"{config.num_attention_heads} heads cannot share {width} numbers")
        self.head_size = width // config.num_attention_heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, states: Tensor, mask: Tensor | None, attend: Attend) -> Tensor:
        shape = (*states.shape[:-1], -1, self.head_size)
        query, key, value = (each.view(shape).transpose(1, 2) for each in self._projected(states))
        dropout = self.dropout.p if self.training else 0.0
        attended, _ = attend(self, query, key, value, mask, dropout=dropout, scaling=self.head_size**-0.5)
        return attended.reshape(states.shape).contiguous()

    def _projected(self, states: Tensor) -> Iterable[Tensor]:
        """Queries, keys and values; in bf16 of one product, which is wider and so faster, and rounds as three do."""
        parts = (self.query, self.key, self.value)
        if self.query.weight.dtype != torch.bfloat16:
            return [part(states) for part in parts]
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        return F.linear(states, weight, bias).chunk(3, -1)

    def packed(self, dtype: torch.dtype) -> tuple[str, Callable[..., Iterable[Tensor]]]:
        """The method that packed weights take over, and what it does with them; as in the other parts."""
        product = Packed([self.query, self.key, self.value], dtype)
        return "_projected", lambda states: product(states).chunk(3, -1)


class Intermediate(nn.Module):
    """The wide half of the feed-forward part."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, states: Tensor) -> Tensor:
        return F.gelu(self.dense(states))

    def packed(self, dtype: torch.dtype) -> tuple[str, Callable[..., Tensor]]:
        return "forward", Packed([self.dense], dtype, gelu=True)


class Added(nn.Module):
    """A linear layer whose output is added to what came before it, and normalised."""

    def __init__(self, width: int, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, states: Tensor, before: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dropout(self.dense(states)) + before)
        return normed

    def packed(self, dtype: torch.dtype) -> tuple[str, Callable[..., Tensor]]:
        product, norm = Packed([self.dense], dtype), self.LayerNorm
        return "forward", lambda states, before: norm(product.plus(states, before))


def attend_padded(
    _: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    dropout: float,
    scaling: float,
) -> tuple[Tensor, None]:
    """Attention over padded rows: (B, H, S, d) each, the mask True where a token may be seen; gives (B, S, H, d)."""
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
    return attended.transpose(1, 2), None


ATTENTIONS: dict[str, Attend] = {"sdpa": attend_padded}  # by name; engine/segments.py adds its own


def open_bert(folder: Path) -> Bert | None:
    """The encoder of a folder in float32, on the CPU; None where it asks for more than is here, or is damaged.

    What is wrong with such a folder transformers says when it opens it.
    """
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if any(settings.get(name, plain) != plain for name, plain in PLAIN.items()):
        return None
    try:
        with torch.device("meta"):  # shapes without numbers
            model = Bert(settings)
        stored = load_tensors(folder / WEIGHTS)
    except (TypeError, ValueError, RuntimeError, DamagedStoreError):
        return None
    found = {name.removeprefix(PREFIX): tensor for name, tensor in stored.items()}
    shapes = {name: weight.shape for name, weight in model.state_dict().items()}
    if any(name not in found or found[name].shape != shape for name, shape in shapes.items()):
        return None
    weights = {name: found[name].to(torch.float32, copy=True) for name in shapes}
    model.load_state_dict(weights, assign=True)
    return model.eval()
