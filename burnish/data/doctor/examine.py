"""Every check of the doctor in one pass; what needs a model is handed in and left out without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from burnish.data.doctor import classes, content, language, lengths, repeats, table
from burnish.data.doctor.finding import PLACES, Finding, Severity, Subject, by_importance
from burnish.types import Problem, Progress

CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    repeats.near_duplicates,
    repeats.repeated_inputs,
    classes.imbalance,
    content.answers,
    content.template_marks,
    content.turns,
    content.personal,
    content.broken_characters,
    language.languages,
    table.target_leaks,
    table.unread_columns,
)
# What reading, cleaning and splitting did about rows: sentence and advice. Other codes are rows that cannot be used.
_LEFT_OUT = {
    "data/duplicate": (
        "repeat an earlier row word for word",
        "training leaves them out by itself (`data: {deduplicate: false}` keeps them)",
    ),
    "data/conflicting-label": (
        "have the text of another row and another label",
        "correct the labels; training keeps the label that most rows of a text have, or none of them",
    ),
    "data/leakage": (
        "have a twin among the rows the model is judged on",
        "training leaves them out by itself; better, remove them from one of the files",
    ),
    "data/near-duplicate": ("say almost the same as an earlier row", "left out as `data.clean.near_duplicates` says"),
    "data/relabelled": ("have another label, as the audit says", "nothing to do: this is what `data.clean` asked for"),
    "data/unfit": ("fit no label, as the audit says", "left out as `data.clean.relabel` says"),
    "data/redacted": ("held personal data", "nothing to do: replaced as `data.clean.redact` says"),
    "data/long-row": ("have a long text", "cut or left out as `data.clean.max_characters` says"),
    "data/length-outlier": ("are far longer or shorter than others", "cut or left out, as `data.clean` says"),
    "data/repeated-choice": ("choose what their user chose before", "nothing to do: a first choice counts"),
    "data/unknown-item": (
        "choose last what no training row holds",
        "training judges nobody on them; more rows of these items let them be recommended",
    ),
    "data/synthetic": ("are synthetic and stood in a file the model is judged on", "left out; keep them in train"),
}


def examine(
    subject: Subject,
    *,
    groups: Mapping[str, Sequence[str]],
    limit: lengths.Limit | None,
    base_parameters: int | None,
    progress: Progress,
) -> list[Finding]:
    """Everything that can be found without a model, the most important first.

    Args:
        groups: column named by the user -> the value of each row.
        limit: what the base reads; None: lengths are not judged.
        base_parameters: weights of the base; None: not known yet.
    """
    found: list[Finding] = []
    progress.stage("examining the rows")
    for done, check in enumerate(CHECKS):
        progress.advance(done, len(CHECKS), {})
        found += check(subject)
    for column, values in groups.items():
        found += classes.groups(subject, column, values)
    if limit is not None:
        found += lengths.truncation(subject, limit)
    found += classes.too_few(subject, base_parameters)
    return by_importance(found)


def _severity(problem: Problem) -> Severity:
    """Rows that were mended as the recipe asks are no cause for worry; rows that cannot be used are."""
    if problem.action == "changed":
        return "info"
    return "warning" if problem.code in _LEFT_OUT else "error"


def left_out(problems: Iterable[Problem], row_count: int) -> list[Finding]:
    """A finding for each kind of row that reading, cleaning and splitting left out or complained of."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.code, []).append(problem)
    findings = []
    for code, found in kinds.items():
        example = f"e.g. {found[0].reason}" if len(found) > 1 else found[0].reason
        unusable = f"cannot be used: {example}", "mend or remove these rows; training leaves them out"
        what, fix = _LEFT_OUT.get(code, unusable)
        findings.append(
            Finding(
                code=code,
                severity=_severity(found[0]),
                count=len(found),
                share=len(found) / max(1, row_count),
                what=what,
                fix=fix,
                places=tuple(problem.origin for problem in found[:PLACES]),
                details=tuple(f"{problem.origin}: {problem.reason}" for problem in found[:20]),
            )
        )
    return findings
