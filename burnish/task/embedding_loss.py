"""Losses of vectors of texts as functions of the vectors: nothing here knows of models or tokens.

Shapes: B rows, K texts of each (anchor, positive, negatives), D width, C candidates = B (K - 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def ranking(vectors_BKD: Tensor, identities_BK: Tensor, *, scale: float, symmetric: bool) -> Tensor:
    """(B,) cross-entropy of finding each anchor's own positive among the positives and negatives of all rows, nats.

    The logits are `scale` times cosines. What says the same as the anchor or its positive, and the positive of an equal
    anchor, is no wrong answer: it is left out of the candidates.

    Args:
        vectors_BKD: anchor, positive and any negatives of each row, of any length.
        identities_BK: int64, equal for texts that mean the same.
        scale: one over the temperature, > 0; sentence-transformers takes 20.
        symmetric: averages the denominator with that of finding each positive's anchor among all anchors.

    Source: Henderson et al. 2017, arXiv:1705.00652, section 4.4; van den Oord et al. 2018, arXiv:1807.03748 (InfoNCE);
    symmetric: Günther et al. 2023, arXiv:2310.19923, with each direction's denominator for itself.
    """
    unit_BKD = F.normalize(vectors_BKD, dim=-1)
    anchors_BD, candidates_CD = unit_BKD[:, 0], unit_BKD[:, 1:].transpose(0, 1).flatten(0, 1)
    logits_BC = scale * anchors_BD @ candidates_CD.T
    own_B = logits_BC.diagonal()  # the first B candidates are the positives
    left_out_BC = _left_out(identities_BK)
    norms_B = logits_BC.masked_fill(left_out_BC, -math.inf).logsumexp(dim=1)
    if symmetric:
        rows = len(vectors_BKD)
        back_BB = logits_BC[:, :rows].masked_fill(left_out_BC[:, :rows], -math.inf)
        norms_B = (norms_B + back_BB.logsumexp(dim=0)) / 2
    return norms_B - own_B


def _left_out(identities_BK: Tensor) -> Tensor:
    """(B, C) True where a candidate is neither the row's own positive nor a wrong answer."""
    anchor_B1, positive_B1 = identities_BK[:, :1], identities_BK[:, 1:2]
    candidate_C = identities_BK[:, 1:].T.flatten()
    same_BC = (candidate_C == anchor_B1) | (candidate_C == positive_B1)
    rows = len(identities_BK)
    same_BC[:, :rows] |= anchor_B1 == anchor_B1.T
    own_BC = torch.zeros_like(same_BC)
    own_BC.fill_diagonal_(True)
    return same_BC & ~own_BC


def cosent(vectors_B2D: Tensor, scores_B: Tensor, *, scale: float) -> Tensor:
    """() log(1 + sum of exp(scale (cosine of the less alike pair - that of the more alike))), over pairs of pairs.

    Only the order of the scores counts, as in Spearman's correlation: no unit of theirs has to fit cosines. One value
    for the whole batch.

    Source: Huang et al. 2024, CoSENT, IEEE/ACM TASLP, doi:10.1109/TASLP.2024.3402087, eq. 7 (Su 2022).
    """
    cosine_B = F.cosine_similarity(vectors_B2D[:, 0], vectors_B2D[:, 1], dim=-1)
    excess_BB = scale * (cosine_B[None, :] - cosine_B[:, None])  # [i, j]: how much more alike j is called than i
    wrong_BB = excess_BB.masked_fill(scores_B[:, None] <= scores_B[None, :], -math.inf)
    return torch.cat([wrong_BB.flatten(), excess_BB.new_zeros(1)]).logsumexp(dim=0)


def shortened(vectors_BKD: Tensor, dimensions: Sequence[int]) -> list[Tensor]:
    """The vectors whole, and cut to their first numbers: what each of these lengths is trained on.

    Source: Kusupati et al. 2022, arXiv:2205.13147, eq. 1.
    """
    return [vectors_BKD, *(vectors_BKD[..., :length] for length in dimensions)]
