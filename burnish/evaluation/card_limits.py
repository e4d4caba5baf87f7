"""Where a model is weak, and what nobody looked at: the limits that its card states."""

from __future__ import annotations

from collections.abc import Iterator

from burnish.evaluation import wording
from burnish.evaluation.markdown import bullets, markdown, markdown_sentence, table
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import count, entries, figure, finite, interval, metric_title

WEAKEST = 5  # classes named as limits
FEW_ROWS = 30  # test rows of a class below which its figures say little
LOW_RECALL = 0.5  # a class of which more is missed than found
NAMED = 10  # classes listed by name
SPELLINGS = {"typos": "typing errors", "upper": "capitals", "lower": "small letters", "spaces": "other spaces"}
UNMEASURED = {  # part of an evaluation -> what is not known without it, and the tasks it is about
    "groups": ("whether it is as good for every group of people or rows (`evaluation.groups`)", None),
    "calibration": ("whether its probabilities can be believed", ("text-classification", "tabular")),
    "robustness": ("how it bears typing errors and other spellings", ("text-classification",)),
    "forgetting": ("what its base could do and it cannot any more (`evaluation.forgetting`)", ("chat", "preference")),
    "memorisation": ("whether it gives training rows away (`evaluation.memorisation_rows`)", ("chat",)),
    "flagged": ("whether its answers are safe (`evaluation.moderator`)", ("chat",)),
}


def limits(record: RunRecord) -> str:
    """The paragraphs of the part Limits."""
    parts = [*_classes(record), *_gaps(record), *_calibration(record), *_spellings(record), *_forgotten(record)]
    unmeasured = [
        words
        for name, (words, tasks) in UNMEASURED.items()
        if not record.evaluation.get(name) and (tasks is None or record.manifest.get("task") in tasks)
    ]
    unmeasured += ["texts of other kinds than its data: other sources, languages or times"]
    return "\n\n".join([*parts, "Not measured:", bullets(unmeasured)])


def cell(metric: str, entry: object) -> str:
    """A value with its interval, for a table."""
    value = figure(metric, entries(entry).get("value"))
    span = interval(metric, entry)
    return value if span == wording.NOTHING else f"{value} ({span})"


def _classes(record: RunRecord) -> Iterator[str]:
    classes = {str(label): entries(about) for label, about in entries(record.evaluation.get("classes")).items()}
    if not classes:
        if record.evaluation.get("labels") or not record.evaluation:
            yield "No figures per class are recorded."
        return
    f1 = {label: entries(about.get("f1")) for label, about in classes.items()}
    weakest = sorted(f1, key=lambda label: (finite(f1[label].get("value")) or 0.0, label))[:WEAKEST]
    rows = [
        [
            markdown(label),
            cell("f1", f1[label]),
            cell("recall", entries(classes[label].get("recall"))),
            count(entries(classes[label]).get("support")),
        ]
        for label in weakest
    ]
    yield f"The weakest of {len(classes)} classes, with 95 % intervals:"
    yield table(["class", "F1", "recall", "test rows"], rows)
    missed = [
        label
        for label, about in classes.items()
        if (recall := finite(entries(about.get("recall")).get("value"))) is not None and recall < LOW_RECALL
    ]
    if missed:
        named = ", ".join(map(markdown, missed[:NAMED])) + (", …" if len(missed) > NAMED else "")
        yield f"More than half of the rows of {named} are given another label: do not rely on it for these."
    small = sum((finite(about.get("support")) or 0) < FEW_ROWS for about in classes.values())
    if small:
        yield (f"{count(small, 'classes') if small != 1 else '1 class'} of {len(classes)} "
               f"{'has' if small == 1 else 'have'} fewer than {FEW_ROWS} test rows: "
               "read their figures with their intervals.")  # fmt: skip
    yield "The model always gives one of its labels, also to a row that belongs to none of them."


def _gaps(record: RunRecord) -> Iterator[str]:
    """One sentence on the widest gap between the groups of each column that the recipe names."""
    judged = entries(record.evaluation.get("groups"))
    metric = str(judged.get("metric"))
    for column in map(entries, judged.get("columns") or ()):
        if gap := entries(column.get("gap")):
            by = wording.signed(metric, gap.get("value")).removeprefix("+")
            yield (
                f"Of the groups of {markdown(column.get('column'))}, {markdown(gap.get('best'))} and "
                f"{markdown(gap.get('worst'))} are furthest apart in {metric_title(metric)}: by {by} (95 % interval "
                f"for all pairs {wording.signed_interval({'metric': metric, **gap})})."
            )


def _calibration(record: RunRecord) -> Iterator[str]:
    tuned = entries(entries(entries(record.evaluation.get("calibration")).get("models")).get("tuned"))
    error = entries(entries(entries(tuned.get("figures")).get("calibration-error")).get("after"))
    if finite(error.get("value")) is not None:
        yield (
            "Its probabilities are off by "
            f"{cell('accuracy', error)} on average: of rows that it calls 80 % sure, so much more or less than 80 in "
            "100 come true."
        )


def _spellings(record: RunRecord) -> Iterator[str]:
    robustness = entries(record.evaluation.get("robustness"))
    metric = str(robustness.get("metric"))
    drops = {
        str(kind): drop
        for kind, about in entries(robustness.get("kinds")).items()
        if finite((drop := entries(entries(about).get("drop"))).get("value")) is not None
    }
    if drops:
        kind = max(drops, key=lambda kind: finite(drops[kind].get("value")) or 0.0)
        span = wording.signed_interval({"metric": metric, **drops[kind]})
        cost = wording.signed(metric, drops[kind].get("value")).removeprefix("+")
        yield (
            f"{SPELLINGS.get(kind, kind).capitalize()} cost it {cost} of {metric_title(metric)} (95 % interval {span}, "
            f"n = {count(robustness.get('n'))}), more than the other spellings that were tried."
        )


def _forgotten(record: RunRecord) -> Iterator[str]:
    """What the gate says of the abilities of the base; answers given away, where rows were gone on with."""
    gates = [entries(gate) for gate in record.evaluation.get("gates") or ()]
    reason = next((gate.get("reason") for gate in gates if gate.get("name") == "forgetting"), None)
    if reason:
        yield f"What its base could do: {markdown_sentence(reason)}"
    continued = entries(entries(record.evaluation.get("memorisation")).get("continuations"))
    gained = entries(entries(continued.get("exact")).get("difference"))
    if finite(gained.get("value")) is not None:
        yield f"Training rows that it goes on with word for word, beyond test rows: {cell('accuracy', gained)}."
