"""What the base's vectors show: rows that mean the same in other words, rows unlike any other, and topics.

Shapes: N rows, D numbers of a vector, K topics.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from burnish.data.doctor.finding import Array, Finding, Subject
from burnish.errors import excerpt

SAME = 0.95  # cosine of two sentences that say the same with a sentence encoder
NEIGHBOURS = 10
FAR_OUT = 4.0  # robust standard deviations beyond the median distance; 1 in 30,000 if distances were normal
BLOCK = 1_000
LARGEST = 50_000  # rows whose pairs are compared; the work grows with their square
SHOWN = 20
ROWS_PER_TOPIC = 50
THIN = 0.2  # a topic with less than this share of an equal part of the rows is nearly empty


def meaning(subject: Subject, vectors: Array) -> Iterator[Finding]:
    """Semantic duplicates, outliers and topics.

    Args:
        vectors: (N, D) of the rows' inputs, length 1.
    """
    count = len(subject.examples)
    chosen = np.arange(count) if count <= LARGEST else np.linspace(0, count - 1, LARGEST).astype(np.int64)
    pairs, distances = _neighbourhood(vectors[chosen])
    yield from _same_meaning(subject, [(int(chosen[a]), int(chosen[b]), cosine) for a, b, cosine in pairs])
    yield from _outliers(subject, chosen, distances)
    yield from _topics(subject, vectors)


def _neighbourhood(vectors: Array) -> tuple[list[tuple[int, int, float]], Array]:
    """Pairs with a cosine of SAME or more, and each row's mean distance to its nearest neighbours."""
    neighbours = min(NEIGHBOURS, len(vectors) - 1)
    pairs: list[tuple[int, int, float]] = []
    distances = np.zeros(len(vectors))
    for start in range(0, len(vectors) if neighbours > 0 else 0, BLOCK):
        cosine = vectors[start : start + BLOCK] @ vectors.T
        own = np.arange(len(cosine))
        cosine[own, start + own] = -1
        nearest = np.partition(cosine, -neighbours, axis=1)[:, -neighbours:]
        distances[start : start + BLOCK] = 1 - nearest.mean(axis=1)
        left, right = np.nonzero(cosine >= SAME)
        later = right > left + start
        found = zip(left[later].tolist(), right[later].tolist(), strict=True)
        pairs += [(start + a, b, float(cosine[a, b])) for a, b in found]
    return pairs, distances


def _same_meaning(subject: Subject, pairs: list[tuple[int, int, float]]) -> Iterator[Finding]:
    new = [(a, b, cosine) for a, b, cosine in pairs if subject.clusters[a] != subject.clusters[b]]
    if not new:
        return
    labels = subject.labels
    apart = [pair for pair in new if labels is not None and labels[pair[0]] != labels[pair[1]]]
    said = f"; {len(apart):,} of these pairs have different labels" if apart else ""
    shown = sorted(apart or new, key=lambda pair: -pair[2])[:SHOWN]
    yield subject.finding(
        "data/same-meaning",
        "warning" if apart else "info",
        {row for pair in new for row in pair[:2]},
        f"mean almost the same as another row in other words ({len(new):,} pairs){said}",
        "look at pairs with different labels; such rows must not be split between training and test rows",
        details=[f"{subject.place(a)} ~ {subject.place(b)} ({cosine:.2f})" for a, b, cosine in shown],
    )


def _outliers(subject: Subject, chosen: Array, distances: Array) -> Iterator[Finding]:
    if len(distances) <= NEIGHBOURS:
        return
    middle = np.median(distances)
    spread = 1.4826 * np.median(np.abs(distances - middle))  # of a normal distribution: its standard deviation
    far = np.flatnonzero(distances > middle + FAR_OUT * max(spread, 1e-6))
    if len(far):
        order = far[np.argsort(-distances[far])]
        yield subject.finding(
            "data/outlier",
            "info",
            chosen[far],
            "are unlike every other row",
            "look at them: another topic, another language or noise",
            details=[f'{subject.place(r)}: "{excerpt(subject.inputs[r])}"' for r in chosen[order[:SHOWN]].tolist()],
        )


def _topics(subject: Subject, vectors: Array) -> Iterator[Finding]:
    """Topics by k-means, each named by its most typical row; nearly empty ones are pointed at."""
    from sklearn.cluster import MiniBatchKMeans

    count = min(20, len(vectors) // ROWS_PER_TOPIC)
    if count < 2:
        return
    found = MiniBatchKMeans(count, random_state=0, n_init=3, batch_size=2_048).fit(vectors)
    topic = np.asarray(found.labels_)
    sizes = np.bincount(topic, minlength=count)
    thin = np.flatnonzero(sizes < THIN * len(vectors) / count)
    details = []
    for index in np.argsort(-sizes).tolist():
        rows = np.flatnonzero(topic == index)
        if len(rows):
            typical = int(rows[(vectors[rows] @ found.cluster_centers_[index]).argmax()])
            details.append(f'{len(rows):,} rows like {subject.place(typical)}: "{excerpt(subject.inputs[typical])}"')
    fall = f"the rows fall into {count} topics"
    yield subject.finding(
        "data/topics",
        "info",
        np.flatnonzero(np.isin(topic, thin)),
        f"lie in {len(thin)} nearly empty topics; {fall}" if len(thin) else fall,
        "ask whether every topic the model will meet is here, and has enough rows",
        details=details,
    )
