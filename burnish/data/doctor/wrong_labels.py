"""Labels that are probably wrong: what a classifier that never saw a row thinks of its label.

Out-of-fold probabilities on the base's vectors, the mean of a calibrated logistic regression and of the nearest
neighbours, then confident learning. The regression ranks labels well that are wrong at random, the neighbours keep
right labels from being suspected.
Shapes: N rows, D numbers of a vector, C classes.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np

from burnish.data.doctor.finding import Array, Finding, Subject
from burnish.errors import UsageError, excerpt

FOLDS = 5
STRENGTH = 1.0  # C of the regression on vectors of length 1: strong enough that a wrong label is not learned by heart
MIN_ROWS = 5  # of a label, so that every fold has some to learn from; rarer labels are not judged
NEIGHBOURS, SHARPNESS = 12, 10.0  # neighbours vote with weight exp(SHARPNESS * cosine)
LARGEST, BLOCK = 50_000, 1_000  # rows neighbours are looked for among, evenly spread; rows looked at at a time
NOISE = 0.1  # share of labels taken to be drawn at random while calibrating: wrong ones must not stretch the scale
SHOWN = 20


def wrong_labels(subject: Subject, vectors: Array) -> Iterator[Finding]:
    """Rows whose label is probably wrong, the most suspicious first in the details.

    Args:
        vectors: (N, D) of the rows' inputs, length 1.

    Raises:
        UsageError: [cli/extra-needed] when cleanlab is not installed.

    Source: Northcutt, Jiang, Chuang 2021, arXiv:1911.00068 (confident learning, as in cleanlab).
    """
    if subject.labels is None:
        return
    counts = Counter(subject.labels)
    names = sorted(label for label, count in counts.items() if count >= MIN_ROWS)
    if len(names) < 2:
        return
    number = {name: index for index, name in enumerate(names)}
    rows = np.array([row for row, label in enumerate(subject.labels) if label in number])
    targets = np.array([number[subject.labels[row]] for row in rows])
    probabilities = out_of_fold(vectors[rows], targets, subject.clusters[rows])
    suspects = suspicious(targets, probabilities)
    if not len(suspects):
        return
    details = []
    for index in suspects[:SHOWN].tolist():
        given, better = names[targets[index]], names[probabilities[index].argmax()]
        text = excerpt(subject.inputs[rows[index]])
        details.append(f'{subject.place(rows[index])}: "{text}" is "{excerpt(given)}"; rather "{excerpt(better)}"?')
    yield subject.finding(
        "data/wrong-label",
        "warning",
        rows[suspects],
        "have a label that is probably wrong: a classifier that never saw them is sure of another",
        "read them, the most suspicious first, and correct the labels; `burnish audit` asks for them one by one",
        details=details,
    )


def out_of_fold(vectors: Array, targets: Array, clusters: Array) -> Array:
    """(N, C) calibrated probabilities of each row from a classifier that saw neither it nor its near duplicates."""
    places = np.unique(clusters, return_inverse=True)[1]
    fold = (np.random.default_rng(0).permutation(places.max() + 1) % FOLDS)[places]
    classes = int(targets.max()) + 1
    logits = np.full((len(targets), classes), -30.0)  # of a class that a fold never saw
    votes = np.zeros((len(targets), classes))
    for number in np.unique(fold):
        seen, held_out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if len(np.unique(targets[seen])) > 1:
            _regress(logits, vectors, targets, seen, held_out)
            _vote(votes, vectors, targets, seen[:: -(-len(seen) // LARGEST)], held_out)
    neighbours = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-12)
    mean = (_calibrated(logits, targets) + neighbours) / 2
    return np.asarray(mean / mean.sum(axis=1, keepdims=True))


def _regress(logits: Array, vectors: Array, targets: Array, seen: Array, held_out: Array) -> None:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly converged is enough to rank rows
        classifier = LogisticRegression(C=STRENGTH, max_iter=200, tol=1e-3).fit(vectors[seen], targets[seen])
    decision = classifier.decision_function(vectors[held_out])
    if decision.ndim == 1:
        decision = np.stack([np.zeros_like(decision), decision], axis=1)
    logits[np.ix_(held_out, classifier.classes_)] = decision


def _vote(votes: Array, vectors: Array, targets: Array, seen: Array, held_out: Array) -> None:
    """Adds what the nearest rows of the other folds are labelled."""
    count = min(NEIGHBOURS, len(seen))
    for start in range(0, len(held_out), BLOCK):
        rows = held_out[start : start + BLOCK]
        cosine = vectors[rows] @ vectors[seen].T
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        weight = np.exp(SHARPNESS * np.take_along_axis(cosine, nearest, axis=1))
        np.add.at(votes, (rows[:, None], targets[seen[nearest]]), weight)


def _calibrated(logits: Array, targets: Array) -> Array:
    """Probabilities at the temperature that explains the labels best, if some of them are noise."""
    rows = np.arange(len(targets))

    def surprise(temperature: float) -> float:
        own = _softmax(logits / temperature)[rows, targets]
        return float(-np.log((1 - NOISE) * own + NOISE / logits.shape[1]).mean())

    return _softmax(logits / min(np.logspace(-1.5, 1, 26), key=surprise))


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def suspicious(targets: Array, probabilities: Array) -> Array:
    """Rows whose label is probably wrong, the least probable label first; their number is confident learning's."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise UsageError(
            "cli/extra-needed",
            "looking for wrong labels needs cleanlab, which is not installed",
            where="--deep",
            hint="pip install 'burnish[audit]'",
        ) from None
    found = find_label_issues(targets, probabilities, filter_by="low_self_confidence", n_jobs=1)
    rows = np.flatnonzero(found)
    return rows[np.argsort(probabilities[rows, targets[rows]], kind="stable")]
