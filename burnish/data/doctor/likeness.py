"""What real inputs have and the data lacks: distinctive words, and inputs far from every training row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from burnish.data.doctor.finding import Array, Finding, Subject
from burnish.errors import excerpt
from burnish.types import Origin

FAR = 0.05  # share of the data's own rows that are at least as far from the rest of the data as a "far" input
SAMPLE = 20_000  # rows of each side that are compared
Z = 3.0  # standard errors by which a word must be more frequent; 3 of 1,000 words are by chance
MOSTLY_FAR = 0.2  # share of far inputs above which the data does not cover what the model will see
WORDS_SHOWN, PLACES_SHOWN = 15, 20
BLOCK = 2_000
_WORD = re.compile(r"\w+|[^\w\s]+")  # every text that is not blank has one, in any script

Embed = Callable[[Sequence[str]], Array]


def likeness(
    subject: Subject, inputs: Sequence[str], places: Sequence[Origin], *, embed: Embed | None = None
) -> Iterator[Finding]:
    """Compares the data with a sample of real inputs.

    Args:
        inputs: texts the model will be given.
        places: where each of them stands.
        embed: vectors of length 1 for texts; None: TF-IDF of words, which knows no synonyms.
    """
    own = [subject.inputs[index] for index in _even(len(subject.inputs))]
    real_index = _even(len(inputs))
    real = [inputs[index] for index in real_index]
    if len(own) < 2 or not real:
        return
    vectors_own, vectors_real = (embed(own), embed(real)) if embed else _tf_idf(own, real)
    usual = _nearest(vectors_own, vectors_own, leave_out_self=True)
    border = float(np.quantile(usual, FAR))
    near = _nearest(vectors_real, vectors_own)
    far = np.flatnonzero(near < border)
    share = len(far) / len(real)
    by_chance = FAR + 2 * np.sqrt(FAR * (1 - FAR) / len(real))
    if share > by_chance:
        order = far[np.argsort(near[far])]
        yield Finding(
            code="data/unlike-inputs",
            severity="warning" if share > MOSTLY_FAR else "info",
            count=len(far),
            share=share,
            what=f"of {len(real):,} real inputs are further from every row of the data than {1 - FAR:.0%} of its own "
            f"rows are ({share:.0%}; {FAR:.0%} would be usual)",
            fix="label some of these inputs and add them to the training rows",
            places=tuple(places[real_index[index]] for index in order),
            details=tuple(f'{places[real_index[i]]}: "{excerpt(real[i])}"' for i in order[:PLACES_SHOWN]),
        )
    yield from _words(own, real)


def _even(count: int) -> list[int]:
    """At most SAMPLE places, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)).tolist() if count else []


def _tf_idf(own: Sequence[str], real: Sequence[str]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    def words(text: str) -> list[str]:
        return _WORD.findall(text.lower())

    vectorizer = TfidfVectorizer(analyzer=words, sublinear_tf=True, dtype=np.float32)
    vectorizer.fit([*own, *real])
    return vectorizer.transform(own), vectorizer.transform(real)


def _nearest(vectors: Any, others: Any, *, leave_out_self: bool = False) -> Array:
    """(N,) the cosine with the most similar of the others."""
    best = []
    for start in range(0, vectors.shape[0], BLOCK):
        cosine = vectors[start : start + BLOCK] @ others.T
        cosine = cosine.toarray() if hasattr(cosine, "toarray") else cosine
        if leave_out_self:
            rows = np.arange(len(cosine))
            cosine[rows, start + rows] = -1
        best.append(cosine.max(axis=1))
    return np.concatenate(best)


def _words(own: Sequence[str], real: Sequence[str]) -> Iterator[Finding]:
    """Words that are much more frequent in the real inputs.

    Source: log-odds ratio with an informative Dirichlet prior, Monroe, Colaresi and Quinn 2008, section 3.3.1.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer()
    try:
        counts = vectorizer.fit_transform([*own, *real])
    except ValueError:  # not one word
        return
    names = vectorizer.get_feature_names_out()
    in_own = np.asarray(counts[: len(own)].sum(axis=0)).ravel().astype(np.float64)
    in_real = np.asarray(counts[len(own) :].sum(axis=0)).ravel().astype(np.float64)
    prior = (in_own + in_real) * (100.0 / (in_own + in_real).sum()) + 0.01
    odds_real = (in_real + prior) / (in_real.sum() + prior.sum() - in_real - prior)
    odds_own = (in_own + prior) / (in_own.sum() + prior.sum() - in_own - prior)
    z = (np.log(odds_real) - np.log(odds_own)) / np.sqrt(1 / (in_real + prior) + 1 / (in_own + prior))
    distinct = [index for index in np.argsort(-z) if z[index] >= Z][:WORDS_SHOWN]
    if distinct:
        shown = ", ".join(excerpt(str(names[index])) for index in distinct)
        yield Finding(
            code="data/missing-words",
            severity="info",
            count=len(distinct),
            share=0.0,
            what=f"words are much more frequent in the real inputs than in the data: {shown}",
            fix="look whether a topic is missing from the data",
            details=tuple(
                f"{excerpt(str(names[i]))}: {int(in_real[i]):,} times in {len(real):,} real inputs, "
                f"{int(in_own[i]):,} times in {len(own):,} rows"
                for i in distinct
            ),
        )
