"""The model card of a run, in Markdown: what the model is, how good, where weak, how to use and to reproduce it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from burnish.evaluation import wording
from burnish.evaluation.report_background import command_line, python_lines
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import count, entries, figure, finite, interval, metric_title

WEAKEST = 5  # classes named as limits
FEW_ROWS = 30  # test rows of a class below which its figures say little
NAME_LIMIT = 100  # characters of a user's name
MARKUP = re.compile(r"([\\`*_\[\]<>|~&$])")  # what may start markup, a link, HTML or a table cell inside a line


def render_card(run: Path) -> str:
    """The model card of a run, from nothing but the files of its folder; what is missing is said in its place.

    Raises:
        DamagedStoreError: [storage/damaged] naming the file that is not JSON.
    """
    record = RunRecord.read(run)
    parts = [
        f"# {markdown(record.id)}",
        _what(record),
        "## Verdict",
        _verdict(record),
        "## Limits",
        _limits(record),
        "## Data",
        _data(record),
        "## Use",
        _use(record),
        "## Reproducibility",
        _reproducibility(record),
    ]
    return "\n\n".join(parts) + "\n"


def markdown(text: object) -> str:
    """A user's name as plain words in Markdown.

    >>> markdown("a|b <i>")
    'a\\\\|b \\\\<i\\\\>'
    """
    return markdown_sentence(wording.visible(text, NAME_LIMIT))


def code(text: object) -> str:
    """A user's text as inline code, fenced by more backticks than it holds."""
    shown = wording.visible(text)
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", shown)), default=0))
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def _what(record: RunRecord) -> str:
    task = markdown(record.manifest.get("task") or record.evaluation.get("task") or "unknown task")
    name, base_license = record.base.get("name"), record.base.get("license")
    base = f"the base {markdown(name)}" if name else "a base that is not recorded"
    terms = f"license {markdown(base_license)}" if base_license else "license not stated: check before sharing"
    labels = record.evaluation.get("labels") or []
    classes = f" It gives one of {len(labels)} labels." if labels else ""
    method = markdown(record.manifest.get("method") or "not recorded")
    return f"A model for {task}, tuned from {base} ({terms}), method {method}.{classes}"


def _verdict(record: RunRecord) -> str:
    if not record.verdict:
        return "None yet: the model has not been judged on test rows."
    metrics = list(dict.fromkeys(metric for arm in record.models.values() for metric in entries(arm)))
    rows = [
        [markdown(arm), *(_cell(metric, entries(record.models[arm]).get(metric)) for metric in metrics)]
        for arm in record.arms()
    ]
    advice = record.verdict.get("advice")
    sentences = [
        f"**{wording.headline(record.verdict)}** {wording.comparison(record.verdict, record.models)}",
        *([markdown_sentence(advice)] if advice else []),
        _table([f"arm, n = {count(record.evaluation.get('n'))}", *map(metric_title, metrics)], rows),
    ]
    goals = [entries(goal) for goal in record.evaluation.get("goals") or ()]
    if goals:
        reached = (f"- {code(g.get('goal'))}: {'reached' if g.get('reached') else 'missed'}"
                   f"{'' if g.get('certain') else ', not for certain'}" for g in goals)  # fmt: skip
        sentences.append("Goals:\n\n" + "\n".join(reached))
    gates = [entries(gate) for gate in record.evaluation.get("gates") or ()]
    if gates:
        told = (f"- {code(gate.get('name'))}: {'passed' if gate.get('passed') else 'not passed'}. "
                f"{markdown_sentence(gate.get('reason'))}" for gate in gates)  # fmt: skip
        sentences.append("Gates:\n\n" + "\n".join(told))
    return "\n\n".join(sentences)


def markdown_sentence(text: object) -> str:
    """A sentence of any length as plain words."""
    return re.sub(MARKUP, r"\\\1", wording.visible(text))


def _cell(metric: str, entry: object) -> str:
    value = figure(metric, entries(entry).get("value"))
    span = interval(metric, entry)
    return value if span == wording.NOTHING else f"{value} ({span})"


def _limits(record: RunRecord) -> str:
    classes = entries(record.evaluation.get("classes"))
    if not classes:
        return "No figures per class are recorded."
    f1 = {label: entries(entries(about).get("f1")) for label, about in classes.items()}
    weakest = sorted(f1, key=lambda label: (finite(f1[label].get("value")) or 0.0, label))[:WEAKEST]
    rows = [
        [
            markdown(label),
            _cell("f1", f1[label]),
            _cell("recall", entries(classes[label]).get("recall")),
            count(entries(classes[label]).get("support")),
        ]
        for label in weakest
    ]
    small = sum((finite(entries(about).get("support")) or 0) < FEW_ROWS for about in classes.values())
    parts = [
        f"The weakest of {len(classes)} classes, with 95 % intervals:",
        _table(["class", "F1", "recall", "test rows"], rows),
    ]
    if small:
        parts.append(f"{count(small, 'classes') if small != 1 else '1 class'} of {len(classes)} "
                     f"{'has' if small == 1 else 'have'} fewer than {FEW_ROWS} test rows: "
                     "read their figures with their intervals.")  # fmt: skip
    parts += _gaps(record)
    parts.append("The model always gives one of its labels, also to a text that belongs to none of them.")
    return "\n\n".join(parts)


def _gaps(record: RunRecord) -> list[str]:
    """One sentence on the widest gap between the groups of each column that the recipe names."""
    judged = entries(record.evaluation.get("groups"))
    metric, said = str(judged.get("metric")), []
    for column in map(entries, judged.get("columns") or ()):
        if gap := entries(column.get("gap")):
            by = wording.signed(metric, gap.get("value")).removeprefix("+")
            said.append(
                f"Of the groups of {markdown(column.get('column'))}, {markdown(gap.get('best'))} and "
                f"{markdown(gap.get('worst'))} are furthest apart in {metric_title(metric)}: by {by} (95 % interval "
                f"for all pairs {wording.signed_interval({'metric': metric, **gap})})."
            )
    return said


def _data(record: RunRecord) -> str:
    if not record.data:
        return "The run does not describe its data."
    splits = ", ".join(f"{count(n)} {name}" for name, n in entries(record.data.get("splits")).items())
    problems = entries(record.data.get("problems"))
    dropped = "; ".join(f"{code(name)} {count(n)}" for name, n in problems.items()) or "none"
    files = (
        f"- {code(path)}: {count(entries(about).get('rows'), 'rows')}, sha256 {code(entries(about).get('sha256', '–'))}"
        for path, about in entries(record.data.get("files")).items()
    )
    return "\n".join([f"Rows: {splits}. Dropped or suspicious rows: {dropped}.", "", *files])


def _use(record: RunRecord) -> str:
    blocks = [_fenced("sh", command_line(record)), _fenced("python", python_lines(record))]
    if record.use:
        blocks.append(re.sub(r"^(#+ )", r"##\1", record.use.strip(), count=1))  # its title becomes a part of Use
    return "\n\n".join(blocks)


def _reproducibility(record: RunRecord) -> str:
    environment = record.environment
    versions = ", ".join(
        f"{name} {markdown(environment[name])}"
        for name in ("burnish", "python", "torch", "transformers", "tokenizers", "peft")
        if name in environment
    )
    lines = [
        f"- run {code(record.id)}, made {markdown(record.manifest.get('created', 'at an unknown time'))}",
        f"- base sha256 {code(record.base.get('sha256', 'not recorded'))}",
        f"- split fingerprint {code(record.data.get('split_fingerprint', 'not recorded'))}",
        f"- versions: {versions or 'not recorded'}",
        f"- machine: {_machine(record)}",
        f"- recipe.yaml beside this card runs again to the same numbers: {code('burnish train recipe.yaml')}",
    ]
    return "\n".join(lines)


def _machine(record: RunRecord) -> str:
    shown = [
        f"{name} {markdown(record.environment[name])}"
        for name in ("device", "cpu", "threads", "precision")
        if name in record.environment
    ]
    return ", ".join(shown) or "not recorded"


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
