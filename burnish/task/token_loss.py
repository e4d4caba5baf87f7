"""Cross-entropy of tokens through a language model's own head, for the positions a row reads and no others.

A vocabulary of 150,000 words makes the logits the largest tensor of a training. Three things keep them small: the
head sees only the positions whose token is supervised, it sees them a chunk at a time, and a chunk's logits are not
kept: their gradient is computed with them (token_gradients.py), or they are computed again.

Shapes: R positions read, D width, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from burnish.model.device import device_bytes
from burnish.task.token_gradients import Logits, plain_head, summed_loss, token_losses
from burnish.types import Batch, LossTerm, Row

CHUNK = 128  # positions whose logits are in memory at once: 128 x 150,000 in float32 are 77 MB
OF_GPU = 1 / 128  # of its memory that they may take there instead: more at once are faster products


def positions_at_once(model: Any, hidden_RD: Tensor) -> int:
    """Positions whose logits are computed at once: what keeps the device busy and little of its memory."""
    if hidden_RD.device.type != "cuda":
        return CHUNK
    vocabulary = len(model.get_output_embeddings().weight)
    rows = int(OF_GPU * device_bytes(hidden_RD.device)) // (4 * vocabulary)
    return min(32 * CHUNK, max(CHUNK, rows // CHUNK * CHUNK))


def token_cross_entropy(model: Any, hidden_RD: Tensor, targets_R: Tensor, *, chunk: int | None = None) -> Tensor:
    """Sum over the R positions of -log p(target), () float32 in nats.

    Args:
        model: a language model of transformers, causal or an encoder with a decoder.
        hidden_RD: its last hidden states at the positions before the supervised tokens.
        targets_R: ids of these tokens.
        chunk: positions computed at once, None: as the device likes; changes memory, not the result.
    """
    chunk = chunk or positions_at_once(model, hidden_RD)
    if not torch.is_grad_enabled():
        return _losses(model, hidden_RD, targets_R, chunk).sum()
    logits_of, learning = partial(head_logits, model), _learning_beside_body(model)
    head = plain_head(model, logits_of)
    if not learning:
        return token_losses(hidden_RD, targets_R, logits_of, head, chunk).sum()
    return summed_loss(hidden_RD, targets_R, logits_of, head, learning, chunk)


def token_log_probabilities(model: Any, hidden_RD: Tensor, targets_R: Tensor, *, chunk: int | None = None) -> Tensor:
    """log p(target) of each token, (R,) float32 in nats; computed like `token_cross_entropy`."""
    chunk = chunk or positions_at_once(model, hidden_RD)
    if not torch.is_grad_enabled():
        return -_losses(model, hidden_RD, targets_R, chunk)
    if not _learning_beside_body(model):
        logits_of = partial(head_logits, model)
        return -token_losses(hidden_RD, targets_R, logits_of, plain_head(model, logits_of), chunk)
    found = []  # what each token's loss weighs is not known yet: the head's gradient has to wait for it
    for start in range(0, len(targets_R), chunk):
        states, targets = hidden_RD[start : start + chunk], targets_R[start : start + chunk]
        found.append(checkpoint(_chunk_losses, model, states, targets, use_reentrant=False))
    return -torch.cat(found)


def token_scores(
    model: Any, hidden_RD: Tensor, targets_R: Tensor, *, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """-log p(target) of each token, (R,) float32 in nats, and whether it is the likeliest one, (R,) bool."""
    chunk = chunk or positions_at_once(model, hidden_RD)
    losses, hits, logits_of = [], [], _rounded_once(model, hidden_RD)
    for start in range(0, len(targets_R), chunk):
        logits_RV = logits_of(hidden_RD[start : start + chunk]).float()
        targets = targets_R[start : start + chunk]
        losses.append(F.cross_entropy(logits_RV, targets, reduction="none"))
        hits.append(logits_RV.argmax(dim=-1) == targets)
    return torch.cat(losses), torch.cat(hits)


def loss_of_read_tokens(model: Any, batch: Batch) -> LossTerm:
    """Cross-entropy summed over the targets of a `LanguageModel`'s rows, in nats; weight = R tokens."""
    hidden_RD = batch.hidden(model.encoder, at="read")
    targets_R = batch.targets
    return LossTerm(token_cross_entropy(model.causal, hidden_RD, targets_R), float(len(targets_R)))


def scores_of_rows(model: Any, batch: Batch) -> list[Row]:
    """{"loss" in nats per target, "tokens", "accuracy": share of targets that are the likeliest token} per row."""
    hidden_RD = batch.hidden(model.encoder, at="read")
    losses_R, hits_R = token_scores(model.causal, hidden_RD, batch.targets)
    rows: list[Row] = []
    start = 0
    for count in batch.read_counts:
        own = slice(start, start + count)
        loss, accuracy = float(losses_R[own].mean()), float(hits_R[own].float().mean())
        rows.append({"loss": loss, "tokens": count, "accuracy": accuracy})
        start += count
    return rows


def _losses(model: Any, hidden_RD: Tensor, targets_R: Tensor, chunk: int) -> Tensor:
    pieces = zip(torch.split(hidden_RD, chunk), torch.split(targets_R, chunk), strict=True)
    logits_of = _rounded_once(model, hidden_RD)
    return torch.cat([F.cross_entropy(logits_of(s).float(), targets, reduction="none") for s, targets in pieces])


def _rounded_once(model: Any, hidden_RD: Tensor) -> Logits:
    """What the model makes of hidden states, without gradients.

    A head that is one product has its weight, the largest of small models, rounded here and not for each chunk again.
    """
    device = hidden_RD.device.type
    logits_of = partial(head_logits, model)
    head = plain_head(model, logits_of) if torch.is_autocast_enabled(device) else None
    if head is None:
        return logits_of
    precision = torch.get_autocast_dtype(device)
    weight_VD = head.weight.to(precision)
    return lambda states_CD: F.linear(states_CD.to(precision), weight_VD)


def _chunk_losses(model: Any, hidden_RD: Tensor, targets_R: Tensor) -> Tensor:
    return F.cross_entropy(head_logits(model, hidden_RD).float(), targets_R, reduction="none")


def head_logits(model: Any, hidden_RD: Tensor) -> Tensor:
    """(R, V) logits for given hidden states.

    They come from the model's own forward pass with its body replaced by one that answers `hidden_RD`: whatever a
    family does after its body, soft-capping (Gemma) or scaling (Granite, Cohere, T5), is done.
    """
    places = torch.zeros((1, len(hidden_RD)), dtype=torch.long, device=hidden_RD.device)
    given: dict[str, Any] = {"input_ids": places}
    if model.config.is_encoder_decoder:
        given = {"encoder_outputs": (hidden_RD[None],), "decoder_input_ids": places}  # the encoder is not run
    with _body_that_answers(model, hidden_RD[None]):
        logits_RV: Tensor = model(**given, use_cache=False).logits[0]
    return logits_RV


class _Answered:
    """What a body gives back: hidden states, and nothing else that a family may ask for."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: int | slice) -> Any:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        return None


class _Body(nn.Module):
    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, *_: Any, **__: Any) -> _Answered:
        return _Answered(self.hidden)


def _learning_beside_body(model: Any) -> list[Tensor]:
    """Weights that learn and that turn hidden states into words; one tied to the body's embeddings is among them."""
    name = _name_of_body(model)
    parts = [part for other, part in model.named_children() if other != name]
    return list({id(w): w for part in parts for w in part.parameters() if w.requires_grad}.values())


def _name_of_body(model: Any) -> str:
    return (
        str(model.base_model_prefix) if model.base_model is not model else "decoder"
    )  # T5 has its stacks side by side


@contextlib.contextmanager
def _body_that_answers(model: Any, hidden: Tensor) -> Iterator[None]:
    name = _name_of_body(model)
    body = model._modules[name]
    model._modules[name] = _Body(hidden)
    try:
        yield
    finally:
        model._modules[name] = body
