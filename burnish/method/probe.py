"""A linear probe: multinomial logistic regression on features that do not change.

It is the whole training of the method `head` and the arm `base-probe` that a tuned model has to beat.

Shapes: N rows, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

Array = np.ndarray[Any, Any]
Score = Callable[[Array, Array], float]  # (targets, predictions), class ids (N,) each -> higher is better

# Inverse strengths of the L2 term (scikit-learn's C) for features of norm 1; the best is seldom outside 1..100.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
PATIENCE = 2  # strengths in a row that are no better before the rest of the path is left out
MAX_ITERATIONS = 1000


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe; the logits of features x are `x @ weight.T + bias`.

    Attributes:
        weight: (C, D) float64.
        bias: (C,) float64.
        l2: weight of the L2 term beside the mean cross-entropy; 1 / (C * N) with scikit-learn's C.
        validation_score: of the chosen l2, on the validation rows.
        iterations: L-BFGS iterations spent on the whole path.
    """

    weight: Array
    bias: Array
    l2: float
    validation_score: float
    iterations: int

    def logits(self, features: Array) -> Array:
        """(N, C) float64 from (N, D)."""
        return np.asarray(features @ self.weight.T + self.bias)


def fit_softmax(
    features: Array,
    targets: Array,
    l2: float,
    init: tuple[Array, Array] | None = None,
    *,
    gradient_tolerance: float = 1e-5,
    class_weights: Array | None = None,
) -> tuple[Array, Array]:
    """The weight (C, D) and bias (C,) that minimise mean cross-entropy + l2/2 * |weight|^2; the bias is free.

    Args:
        features: (N, D), any float type; computed in float64.
        targets: (N,) class ids, 0..C-1.
        l2: > 0, so that the minimum exists and is unique up to a constant added to the bias.
        init: weight and bias to start from, which also say C; None: zeros and C = largest target + 1.
        gradient_tolerance: stop when no entry of the gradient, in nats for features scaled to a root mean square norm
            of 1, exceeds it, nor the L2 weight: when that is weak, gradients are small far from the minimum already.
        class_weights: (C,) how much a row of each class counts in the mean, > 0; None: all the same.

    Source: L-BFGS-B, Zhu et al. 1997 (scipy); the same minimum as scikit-learn's LogisticRegression with
    C = 1 / (l2 * N), or twice that for two classes, where it keeps one weight per feature instead of two.
    Cost: two products of (N, D) and (D, C) per iteration.
    """
    weight, bias, _ = _minimise(features, targets, l2, init, gradient_tolerance, class_weights)
    return weight, bias


def choose_probe(
    features: Array,
    targets: Array,
    val_features: Array,
    val_targets: Array,
    score: Score,
    *,
    class_count: int | None = None,
    class_weights: Array | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """The probe whose L2 term scores best on the validation rows, fitted on the training rows alone.

    Args:
        features: (N, D) training features.
        targets: (N,) class ids.
        val_features: (V, D) features that choose the L2 term.
        val_targets: (V,) class ids.
        score: of validation targets and predictions; higher is better. Of equal scores the stronger L2 term wins.
        class_count: C; None: largest target + 1.
        class_weights: (C,) how much a row of each class counts in the mean, > 0; None: all the same.
        strengths: rising inverse strengths, for features scaled to a root mean square norm of 1, so that the same path
            serves every encoder; each fit starts from the one before.
    """
    classes = class_count or int(targets.max()) + 1
    norm = _root_mean_square_norm(features)
    weight, bias = np.zeros((classes, features.shape[1])), np.zeros(classes)
    best: Probe | None = None
    iterations = unimproved = 0
    for strength in strengths:
        l2 = norm**2 / (strength * len(targets))
        weight, bias, spent = _minimise(features, targets, l2, (weight, bias), 1e-5, class_weights)
        iterations += spent
        candidate = Probe(weight, bias, l2, 0.0, iterations)
        scored = score(val_targets, candidate.logits(val_features).argmax(axis=1))
        if best is None or scored > best.validation_score:
            best, unimproved = Probe(weight, bias, l2, scored, iterations), 0
        else:
            unimproved += 1
            if unimproved == PATIENCE:
                break
    assert best is not None, "strengths is empty"
    return Probe(best.weight, best.bias, best.l2, best.validation_score, iterations)


def _minimise(
    features: Array,
    targets: Array,
    l2: float,
    init: tuple[Array, Array] | None,
    gradient_tolerance: float,
    class_weights: Array | None = None,
) -> tuple[Array, Array, int]:
    """Weight, bias and iterations spent; solved on centred and scaled features, which has the same minimum, sooner."""
    from scipy.optimize import minimize

    n, width = features.shape
    scale, mean_D = _root_mean_square_norm(features), features.mean(axis=0, dtype=np.float64)
    centred_ND, l2 = (features - mean_D) / scale, l2 / scale**2
    if init is None:
        classes = int(targets.max()) + 1
        init = np.zeros((classes, width)), np.zeros(classes)
    weight_CD, bias_C = init
    classes = len(bias_C)
    row_N = np.arange(n)
    share_N = np.full(n, 1.0) if class_weights is None else class_weights[targets]
    share_N = share_N / share_N.sum()  # of each row in the mean

    def objective(flat: Array) -> tuple[float, Array]:
        weight_CD, bias_C = flat[:-classes].reshape(classes, width), flat[-classes:]
        logits_NC = centred_ND @ weight_CD.T + bias_C
        logits_NC -= logits_NC.max(axis=1, keepdims=True)
        target_logit_N = logits_NC[row_N, targets]
        residual_NC = np.exp(logits_NC, out=logits_NC)  # becomes probability minus target
        total_N = residual_NC.sum(axis=1)
        residual_NC /= total_N[:, None]
        residual_NC[row_N, targets] -= 1.0
        residual_NC *= share_N[:, None]
        loss = share_N @ (np.log(total_N) - target_logit_N) + 0.5 * l2 * np.square(weight_CD).sum()
        gradient_CD = residual_NC.T @ centred_ND + l2 * weight_CD
        return float(loss), np.concatenate([gradient_CD.ravel(), residual_NC.sum(axis=0)])

    start = np.concatenate([np.ravel(weight_CD * scale), bias_C + weight_CD @ mean_D]).astype(np.float64)
    options = {"maxiter": MAX_ITERATIONS, "gtol": min(gradient_tolerance, l2), "ftol": 0.0, "maxcor": 20}
    with threadpool_limits(1):  # the products are small: a second thread costs more than it brings
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weight_CD = found.x[:-classes].reshape(classes, width) / scale
    return weight_CD, found.x[-classes:] - weight_CD @ mean_D, int(found.nit)


def _root_mean_square_norm(features: Array) -> float:
    """Square root of the mean squared Euclidean norm of the rows; 1 when all are zero."""
    return float(np.sqrt(np.square(features, dtype=np.float64).sum(axis=1).mean())) or 1.0
