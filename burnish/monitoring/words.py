"""What a monitor's numbers mean to people: which tests speak, what silence is worth, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from burnish.monitoring.drift import CONFIDENCE, INPUTS, LABEL, LENGTH, PREDICTION, Sample

QUALITY = "quality"  # the test of the metric, where rows have labels
LEAST = 10  # rows under which nothing is compared
FEWEST = 50  # rows under which silence is no answer
BINS = 12  # of a histogram
MOST_KINDS = 12  # classes shown
WHAT = {  # of each test, as people say it
    INPUTS: "what the rows are about",
    LENGTH: "how long they are",
    CONFIDENCE: "how sure the model is",
    PREDICTION: "what it predicts",
    LABEL: "the labels",
    QUALITY: "how good its answers are",
}
HEADLINES = {
    "drift": "The new rows are not like those this model was judged on.",
    "no drift seen": "No drift seen: the new rows look like those this model was judged on.",
    "too few rows": "Too few rows to tell.",
}
# Rows -> share of rows of a kind the model never saw that was noticed in 8 of 10 draws or more, with alpha 0.01.
# Source: benchmarks/monitor.py on clinc150, requests outside its 150 classes.
NOTICED = {200: 0.1}


def what(test: str) -> str:
    """A test in words; of a column of a table its own name."""
    return WHAT.get(test, test)


def power(rows: int) -> str:
    """How large a change so many rows show."""
    known = [count for count in NOTICED if count <= rows]
    least = max(known, default=min(NOTICED))
    share = NOTICED[least]
    if not known:
        return (
            f"{rows} rows show only larger changes: in our measurements it took {least} rows to notice that "
            f"{share:.0%} of them were of a kind the model had never seen"
        )
    return (
        f"In our measurements {least:,} rows were enough to notice, 8 times in 10, that {share:.0%} of them were of a "
        "kind the model had never seen; smaller changes may stay unseen"
    )


def advice(answer: str, alarms: Sequence[str]) -> str:
    """What to do."""
    if answer == "too few rows":
        return f"Collect {FEWEST} rows or more and ask again."
    if answer != "drift":
        return "Nothing needs to be done. Ask again with the next rows."
    if QUALITY in alarms:
        return (
            "The model has become worse by more than it may. Label some of the rows that look new, add them to the "
            "training rows and train again."
        )
    if INPUTS in alarms or CONFIDENCE in alarms:
        return (
            "Read the rows that look new. Are they meant for this model? Then label some, measure with --labels, and "
            "train again with them. If not, find out where they come from."
        )
    return (
        "What came in has changed in its make-up. Find out whether it is to stay so, and measure with --labels before "
        "training again."
    )


def distributions(reference: Sample, new: Sample) -> dict[str, Any]:
    """Shares of both samples, for charts: {"numbers": {name: {"edges", "reference", "new"}}, "kinds": {name: [[value,
    share of the reference, share of the new rows], ...]}}, the values whose shares differ most first.
    """
    numbers = {
        name: _histogram(before, new.numbers[name]) for name, before in reference.numbers.items() if name in new.numbers
    }
    kinds = {name: _shares(before, new.kinds[name]) for name, before in reference.kinds.items() if name in new.kinds}
    return {"numbers": {name: shown for name, shown in numbers.items() if shown}, "kinds": kinds}


def _histogram(before: Any, after: Any) -> Mapping[str, Any]:
    both = np.concatenate([before, after])
    both = both[np.isfinite(both)]
    if not len(both):
        return {}
    low, high = np.quantile(both, [0.005, 0.995])  # what lies farther out is counted at the ends
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    shares = [
        np.histogram(np.clip(part[np.isfinite(part)], edges[0], edges[-1]), edges)[0] / len(part)
        for part in (before, after)
    ]
    return {"edges": edges.tolist(), "reference": shares[0].tolist(), "new": shares[1].tolist()}


def _shares(before: Sequence[str], after: Sequence[str]) -> list[list[Any]]:
    counts = [Counter(before), Counter(after)]
    found = [(kind, counts[0][kind] / len(before), counts[1][kind] / len(after)) for kind in {**counts[0], **counts[1]}]
    return [list(row) for row in sorted(found, key=lambda row: (-abs(row[2] - row[1]), row[0]))[:MOST_KINDS]]
