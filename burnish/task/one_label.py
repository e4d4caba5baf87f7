"""What tasks with one label a row share: the class of a label, the loss over classes, and the label that is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from burnish.errors import nearest
from burnish.types import LossTerm, Refusal, Row

if TYPE_CHECKING:
    from torch import Tensor


def class_of(row: Row, classes: Mapping[str, int]) -> int | Refusal:
    """The class id of a row's label, -1 when it has none because it is only predicted."""
    label = row.get("label")
    if label is None or label in classes:
        return -1 if label is None else classes[label]
    close = nearest(label, classes)
    advice = f', did you mean "{close}"?' if close else ""
    return Refusal("data/unknown-label", f'"{label}" is no label of this model{advice}')


def weights_of(labels: Sequence[str], class_weights: Mapping[str, float] | None) -> list[float] | None:
    """How much a row of each class counts, in the order of the labels; None: all the same."""
    return [class_weights.get(label, 1.0) for label in labels] if class_weights else None


def class_loss(
    logits_BC: Tensor, targets_B: Tensor, *, smoothing: float = 0.0, weights_C: Sequence[float] | None = None
) -> LossTerm:
    """Cross-entropy summed over the rows, in nats; weight = B rows.

    The sum is divided by rows and not by their weights: these are 1 on average over the training rows, so the size of
    a step does not depend on which classes a batch holds.

    Args:
        smoothing: probability spread over the other labels, 0..1 (Szegedy et al. 2016, arXiv:1512.00567).
        weights_C: how much a row of each class counts; None: all the same.
    """
    from torch.nn import functional as F

    losses_B = F.cross_entropy(logits_BC, targets_B, label_smoothing=smoothing, reduction="none")
    if weights_C is not None:
        losses_B = losses_B * losses_B.new_tensor(weights_C)[targets_B]
    return LossTerm(losses_B.sum(), float(len(targets_B)))


def named(logits_BC: Tensor, labels: Sequence[str]) -> list[Row]:
    """{"label", "probability", "margin"} for each row; margin = logit of the first label minus the second's."""
    import torch

    probabilities_BC = torch.softmax(logits_BC, dim=-1)
    top_B2, classes_B2 = torch.topk(logits_BC, 2, dim=-1)
    return [
        {
            "label": labels[int(classes[0])],
            "probability": float(probabilities[classes[0]]),
            "margin": float(top[0] - top[1]),
        }
        for probabilities, top, classes in zip(probabilities_BC, top_B2, classes_B2, strict=True)
    ]
