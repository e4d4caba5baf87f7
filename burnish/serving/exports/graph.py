"""What an encoder computes from tokens to numbers, in plain torch: what USE.md's script does, as one module.

Shapes: B rows, S tokens, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from burnish.model.pooled import READ


class TextGraph(nn.Module):
    """(B, C) logits of each row, (B, S, C) of each token, or (B, D) vectors of length 1 without a head.

    Args:
        encoder: module of transformers.
        head: "weight" (C, D) and "bias" (C,); None: the vectors are the answer.
        pooling: "mean", "first", "last", or "read" for each token.
        normalize: scale each vector to length 1 before the head.
        prompt: vectors that peft puts before each text; nothing reads them.
    """

    def __init__(
        self, encoder: Any, head: Mapping[str, Tensor] | None, *, pooling: str, normalize: bool, prompt: int = 0
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.normalize = normalize or head is None
        self.prompt = prompt
        self.head: nn.Linear | None = None
        if head is not None:
            classes, width = head["weight"].shape
            self.head = nn.Linear(width, classes)
            self.head.load_state_dict(dict(head))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **types)
        hidden_BSD = output.last_hidden_state[:, self.prompt :].float()
        vectors = self._pooled(hidden_BSD, attention_mask)
        if self.normalize:
            vectors = F.normalize(vectors, dim=-1)
        return vectors if self.head is None else self.head(vectors)

    def _pooled(self, hidden_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        if self.pooling == READ:
            return hidden_BSD
        if self.pooling == "first":
            return hidden_BSD[:, 0]
        if self.pooling == "last":
            return hidden_BSD[torch.arange(hidden_BSD.shape[0]), mask_BS.sum(1) - 1]
        mask_BS1 = mask_BS[..., None].to(hidden_BSD.dtype)
        return (hidden_BSD * mask_BS1).sum(1) / mask_BS1.sum(1)


class ImageGraph(nn.Module):
    """(B, C) logits of an image classifier of transformers."""

    def __init__(self, classifier: Any) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits_BC: Tensor = self.classifier(pixel_values=pixel_values).logits
        return logits_BC


class TableGraph(nn.Module):
    """(B, outputs) of a table's transformer; its cells are not laid out anew, so that B stays free."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.head = model.encoder, model.head

    def forward(self, input_ids: Tensor, given: Tensor) -> Tensor:
        states_BSD = self.encoder.embedding(input_ids)
        scaled_BKD = given[..., None] * self.encoder.direction_KD
        states_BSD = states_BSD + F.pad(scaled_BKD, (0, 0, 1, input_ids.shape[1] - 1 - given.shape[1]))
        for layer in self.encoder.layers:
            states_BSD = layer(states_BSD)
        outputs_BC: Tensor = self.head(states_BSD[:, 0])
        return outputs_BC
