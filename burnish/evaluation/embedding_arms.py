"""What a fine-tuned embedding has to beat without a model: texts that share rare words.

Each arm gives vectors of both sides of what is judged; their products are the similarities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from burnish.evaluation.arms import WORDS

SATURATION, LENGTH_WEIGHT = 1.2, 0.75  # k1 and b of BM25, as the paper recommends

Sides = tuple[Any, Any]


def tf_idf_vectors(train_texts: Sequence[str], sides: tuple[Sequence[str], Sequence[str]]) -> Sides:
    """Unit vectors of TF-IDF of words (1-2-grams); document frequencies are those of the training texts and of the
    texts that are searched."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=WORDS, ngram_range=(1, 2), sublinear_tf=True)
    vectorizer.fit([*train_texts, *sides[1]])
    return vectorizer.transform(sides[0]), vectorizer.transform(sides[1])


def bm25_vectors(sides: tuple[Sequence[str], Sequence[str]]) -> Sides:
    """Counts of the queries' words, and the documents' BM25 weights of theirs.

    Source: Robertson & Zaragoza 2009, The Probabilistic Relevance Framework, eq. 3.15, with the idf ln(1 + (N - n +
    0.5) / (n + 0.5)), which is never negative.
    """
    from scipy.sparse import csr_matrix, diags
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(token_pattern=WORDS)
    counts_NV = vectorizer.fit_transform(sides[1]).astype(np.float64)
    documents, words_N = counts_NV.shape[0], np.asarray(counts_NV.sum(axis=1)).ravel()
    holding_V = np.asarray((counts_NV > 0).sum(axis=0)).ravel()
    idf_V = np.log1p((documents - holding_V + 0.5) / (holding_V + 0.5))
    length_N = 1 - LENGTH_WEIGHT + LENGTH_WEIGHT * words_N / words_N.mean()
    row, column = counts_NV.nonzero()
    count = counts_NV.data
    weight = count * (SATURATION + 1) / (count + SATURATION * length_N[row])
    weights_NV = csr_matrix((weight, (row, column)), shape=counts_NV.shape)
    return vectorizer.transform(sides[0]).astype(np.float64), weights_NV @ diags(idf_V)
