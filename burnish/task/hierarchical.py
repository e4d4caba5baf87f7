"""Hierarchical classification: labels that are branches of a tree, "cards/lost", so that near misses count as near.

Shapes: B rows, C labels, L levels above the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from burnish.errors import DataProblemError, excerpt
from burnish.task.text_classification import TextClassification
from burnish.types import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

SEPARATOR = "/"


class HierarchicalClassification(TextClassification):
    """One label per text, and the branches above it: they are often sure where the label is not.

    The probability of a branch is the sum of those of its labels. A label that ends above a level is a branch of its
    own there.

    Raises:
        DataProblemError: [data/no-branches] when no two labels share a branch: there is nothing above them to learn.
    """

    name: ClassVar[str] = "hierarchical-classification"
    methods: ClassVar[tuple[str, ...]] = ("prompt-tuning", "ia3", "adapter", "lora", "freeze", "full")

    def __init__(self, tokenizer: Tokenizer, labels: Sequence[str], **options: Any) -> None:
        super().__init__(tokenizer, labels, **options)
        paths = [label.split(SEPARATOR) for label in self.labels]
        depths = range(1, max(map(len, paths)))
        self.branches_LC = [[SEPARATOR.join(path[:depth]) for path in paths] for depth in depths]  # of each label
        if all(len(set(branches)) == len(paths) for branches in self.branches_LC):
            raise DataProblemError(
                "data/no-branches",
                f"no two of the {len(paths)} labels are in one branch",
                where="the labels",
                known=[excerpt(label) for label in self.labels],
                hint=f'write them as "cards{SEPARATOR}lost" and "cards{SEPARATOR}broken", or leave the task out',
            )

    def losses(self, logits_BC: Tensor, targets_B: Tensor, *, smoothing: float) -> Tensor:
        """(B,) cross-entropies in nats, the mean of those of the labels and of each level's branches.

        Only the labels are smoothed. The caller's own losses stay as they are.

        Source: the hierarchical cross-entropy of Bertinetto et al. 2020, arXiv:1912.09393. It weighs what is said of
        each branch given the one above it; the mean over whole branches, as here, is one choice of these weights.
        """
        import torch

        labels_B = super().losses(logits_BC, targets_B, smoothing=smoothing)
        if self._loss is not None:
            return labels_B
        levels = [labels_B]
        for branches in self.branches_LC:
            known = {branch: index for index, branch in enumerate(sorted(set(branches)))}
            branch_of_C = torch.tensor([known[branch] for branch in branches], device=logits_BC.device)
            beside_BC = branch_of_C[None, :] != branch_of_C[targets_B][:, None]
            inside_B = logits_BC.masked_fill(beside_BC, -torch.inf).logsumexp(dim=1)
            levels.append(logits_BC.logsumexp(dim=1) - inside_B)
        return torch.stack(levels).mean(dim=0)

    def said(self, logits_BC: Tensor) -> list[Row]:
        """As of a text classification, with "branches": the likeliest of each level and its probability."""
        import torch

        probabilities_BC = torch.softmax(logits_BC / self.temperature, dim=-1).tolist()
        found = zip(super().said(logits_BC), probabilities_BC, strict=True)
        return [{**row, "branches": self._likeliest(own)} for row, own in found]

    def _likeliest(self, probabilities_C: Sequence[float]) -> dict[str, float]:
        likeliest = {}
        for branches in self.branches_LC:
            sums: dict[str, float] = {}
            for branch, probability in zip(branches, probabilities_C, strict=True):
                sums[branch] = sums.get(branch, 0.0) + probability
            branch = max(sums, key=lambda name: sums[name])
            likeliest[branch] = sums[branch]
        return likeliest
