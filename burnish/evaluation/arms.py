"""The arms that need no fine-tuning. A verdict is against the strongest of them, so each must be as good as it gets.

Every arm learns from the training rows the tuned model learns from, settles its own settings on the validation rows
and never sees a test label. Shapes: N rows, D features.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from burnish.evaluation.metrics.resampling import Array, value_of
from burnish.method.probe import choose_probe
from burnish.types import Metric

if TYPE_CHECKING:
    from scipy.sparse import spmatrix
    from sklearn.svm import LinearSVC


WORDS = r"\w+|[^\w\s]+"  # a word or a run of signs: every text that is not blank has one, in any script
SVM_STRENGTHS = (0.3, 1.0, 3.0)  # C of the linear SVM; on short texts the best lies in this range
# Characters of the training texts times classes: the time of a character n-gram SVM grows with it, about one minute
# per 100 million on one core. Beyond this the arm uses words alone and says so in its settings.
CHARACTER_BUDGET = 300_000_000


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What an arm predicts for the validation and the test rows, with the settings that validation chose."""

    name: str
    validation_predictions: Sequence[Any]
    test_predictions: Sequence[Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def strongest(arms: Sequence[ArmResult], metric: Metric, val_labels: Sequence[Any]) -> ArmResult:
    """The arm with the best validation value of `metric` (an empty one); of equal arms the first."""
    sign = 1.0 if metric.higher_is_better else -1.0
    return max(arms, key=lambda arm: sign * value_of(metric, val_labels, arm.validation_predictions))


def majority(train_labels: Sequence[str], n_val: int, n_test: int) -> ArmResult:
    """Always the most frequent training label; of equally frequent ones the first in alphabetical order."""
    label, count = min(Counter(train_labels).items(), key=lambda item: (-item[1], item[0]))
    return ArmResult("majority", [label] * n_val, [label] * n_test, {"label": label, "train_rows": count})


def tf_idf(
    train_texts: Sequence[str],
    train_labels: Sequence[str],
    val_texts: Sequence[str],
    val_labels: Sequence[str],
    test_texts: Sequence[str],
    metric: Metric,
    *,
    seed: int = 0,
) -> ArmResult:
    """A linear SVM on TF-IDF of words (1-2-grams), with or without characters (2-4-grams within words).

    Validation chooses the features and C; the classifier is then the one fitted on the training rows alone.

    Source: Wang and Manning 2012 (P12-2018) for linear models on n-grams as a strong baseline of text classification.
    """
    started = time.perf_counter()
    sign = 1.0 if metric.higher_is_better else -1.0
    best_score, best = -np.inf, ArmResult("tf-idf", [], [])
    cost = sum(map(len, train_texts)) * len(set(train_labels))
    for features in ("words", "words+characters") if cost <= CHARACTER_BUDGET else ("words",):
        train, val, test = tf_idf_features(features, train_texts, val_texts, test_texts)
        for strength in SVM_STRENGTHS:
            classifier = _linear_svm(train, train_labels, strength, seed)
            predictions = classifier.predict(val).tolist()
            score = sign * value_of(metric, val_labels, predictions)
            if score > best_score:
                settings = {"features": features, "classifier": "linear SVM", "C": strength, "columns": train.shape[1]}
                best_score = score
                best = ArmResult("tf-idf", predictions, classifier.predict(test).tolist(), settings)
    settings = {**best.settings, "characters_tried": cost <= CHARACTER_BUDGET}
    seconds = time.perf_counter() - started
    return ArmResult("tf-idf", best.validation_predictions, best.test_predictions, settings, seconds)


def tf_idf_features(features: str, *parts: Sequence[str]) -> list[spmatrix]:
    """One sparse (N, D) matrix per part; vocabulary and document frequencies are the first part's."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizers = [TfidfVectorizer(token_pattern=WORDS, ngram_range=(1, 2), sublinear_tf=True)]
    if features == "words+characters":
        vectorizers.append(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True))
    for vectorizer in vectorizers:
        vectorizer.fit(parts[0])
    return [hstack([vectorizer.transform(part) for vectorizer in vectorizers]).tocsr() for part in parts]


def _linear_svm(features: spmatrix, labels: Sequence[str], strength: float, seed: int) -> LinearSVC:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        # A candidate that has not converged is judged on validation like the others; nothing else depends on it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Half as many labels as rows are a hard task, not a mistake.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return LinearSVC(C=strength, random_state=seed).fit(features, labels)


def base_centroid(
    train_features: Array, train_labels: Sequence[str], val_features: Array, test_features: Array
) -> ArmResult:
    """The class whose mean training feature has the largest cosine with the row's; features (N, D) of the frozen base.

    Source: Snell et al. 2017, arXiv:1703.05175, with cosine similarity.
    """
    started = time.perf_counter()
    classes, class_N = np.unique(np.asarray(train_labels, dtype=object), return_inverse=True)
    train = unit_rows(train_features)
    centroids_CD = unit_rows(np.stack([train[class_N == c].mean(axis=0) for c in range(len(classes))]))
    val, test = (
        classes[(unit_rows(features) @ centroids_CD.T).argmax(axis=1)].tolist()
        for features in (val_features, test_features)
    )
    return ArmResult("base-centroid", val, test, {"similarity": "cosine"}, time.perf_counter() - started)


def base_probe(
    train_features: Array,
    train_labels: Sequence[str],
    val_features: Array,
    val_labels: Sequence[str],
    test_features: Array,
    metric: Metric,
    seed: int = 0,
) -> ArmResult:
    """Multinomial logistic regression on the unit-norm features of the frozen base, its L2 term chosen on validation.

    Args:
        train_features: (N, D) features of the base before any tuning.
        metric: an empty metric, the one that decides the verdict.
        seed: kept in the settings; the solver draws nothing.
    """
    started = time.perf_counter()
    sign = 1.0 if metric.higher_is_better else -1.0
    classes = np.array(sorted({*train_labels, *val_labels}), dtype=object)
    index = {label: c for c, label in enumerate(classes)}

    def score(targets: Array, predictions: Array) -> float:
        return sign * value_of(metric, classes[targets].tolist(), classes[predictions].tolist())

    train, val, test = (unit_rows(features) for features in (train_features, val_features, test_features))
    train_targets, val_targets = (np.array([index[label] for label in labels]) for labels in (train_labels, val_labels))
    probe = choose_probe(train, train_targets, val, val_targets, score, class_count=len(classes))
    val_predictions, test_predictions = (
        cast(list[str], classes[probe.logits(features).argmax(axis=1)].tolist()) for features in (val, test)
    )
    settings = {"features": "unit norm", "l2": probe.l2, "iterations": probe.iterations, "seed": seed}
    return ArmResult("base-probe", val_predictions, test_predictions, settings, time.perf_counter() - started)


def unit_rows(features: Array) -> Array:
    """Each row divided by its Euclidean norm, float64; a row of zeros stays zero."""
    features = np.asarray(features, dtype=np.float64)
    norm_N1 = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norm_N1 == 0, 1.0, norm_N1)
