"""What a recommendation is judged by: a search for what a user chooses next, and what such a search can do untuned.

Each arm gives vectors of both sides whose products are the scores, as a model does.

Shapes: Q rows that are judged, N items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from burnish.evaluation.embedding_arms import Sides
from burnish.evaluation.similarity import Search


@dataclass(frozen=True, slots=True)
class Choices(Search):
    """Histories that search all items for what was chosen next; what is in a history is not searched for.

    Attributes:
        last: number of the item that was chosen last in each history; None for one that is not among the items.
    """

    last: Sequence[int | None]


def popularity_vectors(sequences: Sequence[Sequence[str]], trial: Choices) -> Sides:
    """Scores that are how often each item was chosen in training, the same for everybody.

    Args:
        sequences: of each training user, the items in the order they were chosen.
    """
    counts = Counter(item for items in sequences for item in items)
    return np.ones((len(trial.queries), 1)), np.array([[counts[item]] for item in trial.documents], np.float64)


def successor_vectors(sequences: Sequence[Sequence[str]], trial: Choices) -> Sides:
    """Scores that are how often each item was chosen right after the last one of the history; of equals, the more
    popular one. A Markov chain of first order."""
    from scipy.sparse import csr_matrix, hstack

    number = {item: index for index, item in enumerate(trial.documents)}
    follows = Counter((number[one], number[other]) for items in sequences for one, other in pairwise(items))
    last, after = ([pair[side] for pair in follows] for side in (0, 1))
    items = len(trial.documents)
    counts_NN = csr_matrix((np.array(list(follows.values()), np.float64), (after, last)), shape=(items, items))
    rows = [index for index, item in enumerate(trial.last) if item is not None]
    columns = [item for item in trial.last if item is not None]
    last_QN = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(trial.queries), items))
    ones_Q1, popular_N1 = popularity_vectors(sequences, trial)
    popular_N1 /= popular_N1.max() + 1.0  # under 1: settles only what is equal without it
    return hstack([last_QN, csr_matrix(ones_Q1)]).tocsr(), hstack([counts_NN, csr_matrix(popular_N1)]).tocsr()
