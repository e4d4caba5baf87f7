"""Rows that say the same thing: repeated, contradicting, or in two parts of the data at once."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from burnish.data.clean import LABEL
from burnish.types import Example, Problem, Row

LEARNED = frozenset((LABEL, "labels", "tags", "score", "answers"))  # columns that hold what is learned of a row


def normal_form(row: Row) -> str:
    """What a row says without its label, labels, tags or score: NFC, each run of whitespace one space;
    of an image the hash of its file.

    Two rows are exact duplicates when their normal forms are equal. Case counts.
    """
    if "sha256" in row:
        return str(row["sha256"])
    return "\0".join(_collapsed(_as_text(row[column])) for column in sorted(row) if column not in LEARNED)


def content_name(row: Row) -> str:
    """What a row holds beside what is learned of it, for people."""
    return "image" if "sha256" in row else "text"


def _as_text(value: object) -> str:
    """A value as text; of a conversation only what is said, because brackets and roles are alike in all of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(turn, dict) and "role" in turn for turn in value):
        return "\n".join(said for turn in value for said in _said(turn))
    return json.dumps(value, sort_keys=True)


def _said(turn: dict[str, object]) -> list[str]:
    content, calls = turn.get("content"), turn.get("tool_calls")
    said = [content if isinstance(content, str) else json.dumps(content, sort_keys=True)] if content else []
    return [*said, *([json.dumps(calls, sort_keys=True)] if calls else [])]


def asked_form(row: Row) -> str | None:
    """What is asked, in loose form: of a conversation all before its last turn, else the source; None without one."""
    if "source" in row:
        return loose_form({"source": row["source"]})
    messages = row.get("messages")
    if not isinstance(messages, list) or len(messages) < 2:
        return None
    return loose_form({"messages": messages[:-1]})


def belonging_forms(row: Row) -> list[str]:
    """What the texts of a pair say, or the context of a question, in loose form; nothing for other rows.

    A text of one pair tells a model something about every pair it is in. Negatives do not count: any text may be one.
    """
    if "context" in row and "question" in row:
        return [loose_form({"text": row["context"]})]
    if "anchor" not in row and ("first" not in row or "score" not in row):
        return []
    texts = (row[column] for column in ("anchor", "positive", "first", "second") if column in row)
    return [loose_form({"text": text}) for text in texts]


def _collapsed(text: str) -> str:
    normal = unicodedata.normalize("NFC", text)
    collapsed = " ".join(normal.split())
    if len(collapsed) == len(normal):
        return collapsed
    before, after = " " * normal[:1].isspace(), " " * normal[-1:].isspace()
    return f"{before}{collapsed}{after}"


def loose_form(row: Row) -> str:
    """The normal form, blind to case and outer whitespace too: rows equal under it stay in one part of the data."""
    return normal_form(row).strip().casefold()


def deduplicate(examples: Sequence[Example]) -> tuple[list[Example], list[Problem]]:
    """The rows with each text once, in order, and a Problem for each row left out.

    Of rows with the same text and label the first is kept. Of a text with several labels the first row of the label
    that more than half of its rows have is kept; without such a majority none is. Different scores of one text do not
    contradict each other.
    """
    groups: defaultdict[tuple[str, object], list[Example]] = defaultdict(list)
    for example in examples:
        groups[normal_form(example.row), example.row.get("score")].append(example)
    dropped: dict[int, Problem] = {}  # by identity of the example
    for group in groups.values():
        if len(group) > 1:
            _judge(group, dropped)
    kept = [example for example in examples if id(example) not in dropped]
    return kept, [dropped[id(example)] for example in examples if id(example) in dropped]


def leakage(examples: Iterable[Example], judged_on: Iterable[Example]) -> tuple[list[Example], list[Problem]]:
    """The rows that do not also appear in `judged_on`, and a Problem for each that does (case aside).

    Of pairs of texts neither text may appear there.
    """
    judged: dict[str, Example] = {}
    for example in judged_on:
        for form in (loose_form(example.row), *belonging_forms(example.row)):
            judged.setdefault(form, example)
    kept, problems = [], []
    for example in examples:
        forms = (loose_form(example.row), *belonging_forms(example.row))
        twin = next((judged[form] for form in forms if form in judged), None)
        if twin is None:
            kept.append(example)
        else:
            reason = f"the same {content_name(example.row)} is in {twin.origin}, which the model is judged on"
            problems.append(Problem("data/leakage", reason, example.origin))
    return kept, problems


def _judge(group: Sequence[Example], dropped: dict[int, Problem]) -> None:
    """Marks all rows of one text but the one to keep."""
    labels = Counter(map(_learned, group))
    majority, count = labels.most_common(1)[0]
    first_of_majority = next(example for example in group if _learned(example) == majority)
    keeper = first_of_majority if 2 * count > len(group) else None
    for example in group:
        if example is keeper:
            continue
        if keeper is not None and _learned(example) == majority:
            same = f"{content_name(example.row)} and label" if majority else "values"
            problem = Problem("data/duplicate", f"the same {same} as {keeper.origin}", example.origin)
        else:
            problem = _conflict(group, labels, example, keeper)
        dropped[id(example)] = problem


def _learned(example: Example) -> str:
    """What is learned of a row, for people too: its label, several labels, tags; nothing where it has none."""
    found = [example.row[column] for column in sorted(LEARNED) if column in example.row]
    return " ".join(" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in found)


def _conflict(group: Sequence[Example], labels: Counter[str], example: Example, keeper: Example | None) -> Problem:
    shares = ", ".join(f'"{label}" {count}' for label, count in labels.most_common())
    other = next(twin for twin in group if _learned(twin) != _learned(example))
    decision = f"{keeper.origin} is kept" if keeper else "no label has a majority, so none is kept"
    reason = f"the same {content_name(example.row)} as {other.origin} with another label ({shares}); {decision}"
    column = next(column for column in sorted(LEARNED) if column in example.row)
    return Problem("data/conflicting-label", reason, example.origin, column=column)
