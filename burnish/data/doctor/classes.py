"""How the rows are spread over labels and over the groups a user names, and whether there are enough of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from burnish.data.balance import is_imbalanced
from burnish.data.clean import LABEL
from burnish.data.doctor.finding import Finding, Subject, is_table

VERY_IMBALANCED = 10  # largest : smallest class
RARE = 10  # rows of a label; of fewer, 15 % are at most one test row, which judges nothing
SMALL_GROUP = 30  # rows of a group; the 95 % interval of a share is then wider than +-18 points
FEW, MANY = 1_000, 100_000  # rows in all
ROWS_PER_BILLION = 1_000  # per billion weights of the base, a rule of thumb for changing all of them
SHOWN = 20


def imbalance(subject: Subject) -> Iterator[Finding]:
    """Labels with many times the rows of others, and labels with too few rows to be judged."""
    if subject.labels is None:
        return
    counts = Counter(subject.labels)
    (largest, most), (smallest, least) = counts.most_common(1)[0], min(counts.items(), key=lambda item: item[1])
    spread = [f'"{label}": {count:,}' for label, count in counts.most_common()]
    if is_imbalanced(counts):
        yield subject.finding(
            "data/imbalance",
            "warning" if most > VERY_IMBALANCED * least else "info",
            (),
            f'"{largest}" has {most / least:.0f} times the rows of "{smallest}" ({most:,} to {least:,})',
            "judge by macro-F1 (chosen by default here); more rows of the small labels help most; "
            "`data: {balance: weights}` lets each label count alike in the loss",
            details=[*spread[:SHOWN], *(["…"] if len(spread) > 2 * SHOWN else []), *spread[SHOWN:][-SHOWN:]],
        )
    rare = {label for label, count in counts.items() if count < RARE}
    if rare:
        yield subject.finding(
            "data/rare-label",
            "warning",
            (row for row, label in enumerate(subject.labels) if label in rare),
            f"have one of the {len(rare)} labels with fewer than {RARE} rows: too few to be judged",
            "add rows, or fold such labels into others: `data: {label_map: {RARE_LABEL: OTHER_LABEL}}`",
            details=[f'"{label}": {counts[label]}' for label in sorted(rare, key=lambda label: counts[label])],
        )


def groups(subject: Subject, column: str, values: Sequence[str]) -> Iterator[Finding]:
    """The share and the label rates of each group of a column that the user named.

    Args:
        values: the group of each row, in the order of the subject's rows.
    """
    counts = Counter(values)
    small = {value for value, count in counts.items() if count < SMALL_GROUP}
    labels = subject.labels or [""] * len(values)
    pairs = Counter(zip(values, labels, strict=True))
    usual = [label for label, _ in Counter(labels).most_common(5)]
    details = []
    for value, count in counts.most_common():
        rates = ", ".join(f'"{label}" {pairs[value, label] / count:.1%}' for label in usual) if subject.labels else ""
        details.append(f"{value}: {count:,} rows, {count / len(values):.1%}{'; ' if rates else ''}{rates}")
    yield subject.finding(
        "data/groups",
        "warning" if small else "info",
        (row for row, value in enumerate(values) if value in small),
        f'are in one of the {len(small)} groups of "{column}" with fewer than {SMALL_GROUP} rows; '
        f"{len(counts)} groups in all"
        if small
        else f'"{column}" has {len(counts)} groups, each of {SMALL_GROUP} rows or more',
        "compare the label rates of the groups; a group with few rows is neither learned well nor judged",
        details=details[: 2 * SHOWN],
    )


def _few_rows_help(subject: Subject) -> str:
    """The methods that change few weights, of those that the rows can be trained with."""
    row = subject.examples[0].row if subject.examples else {}
    if not row or is_table(row):
        return "more rows help most"
    if set(row) == {"text", LABEL} or "image" in row:
        return "`method: lora` or `method: head` change few weights; more rows help most"
    return "`method: lora` changes few weights; more rows help most"


def too_few(subject: Subject, base_parameters: int | None) -> Iterator[Finding]:
    """Rules of thumb for the number of rows."""
    count = len(subject.examples)
    wanted = 0 if base_parameters is None else int(ROWS_PER_BILLION * base_parameters / 1e9)
    if count < wanted:
        yield subject.finding(
            "data/too-few-for-base",
            "warning",
            (),
            f"{count:,} rows for a base of {base_parameters:,} weights; {wanted:,} is the rule of thumb",
            "take a smaller base, or a method that changes few weights: `method: lora`",
        )
    elif count < FEW:
        yield subject.finding(
            "data/few-rows",
            "info",
            (),
            f"{count:,} rows are few: differences under some points cannot be proven",
            _few_rows_help(subject),
        )
    elif count > MANY:
        yield subject.finding(
            "data/many-rows",
            "info",
            (),
            f"{count:,} rows are many",
            "compare with a model trained from scratch, which may do as well",
        )
