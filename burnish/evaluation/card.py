"""The model card of a run, in Markdown: what the model is and is for, how good, where weak, what it was made of.

Written from the manifest and the evaluation alone, so that it can be written again at any time.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePath

from burnish.evaluation import wording
from burnish.evaluation.card_front import front_matter
from burnish.evaluation.card_limits import cell, limits
from burnish.evaluation.markdown import bullets, code, fenced, markdown, markdown_sentence, table
from burnish.evaluation.report_background import command_line, python_lines
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import count, entries, metric_title

LABELS_SHOWN = 30
VERSION_SHOWN = 12  # digits of a data version's id
GIVES = {  # task -> what comes out for what goes in
    "text-classification": "one label for a text",
    "hierarchical-classification": "one label of a tree for a text",
    "multi-label-classification": "any number of labels for a text",
    "text-regression": "a number for a text",
    "text-pair-classification": "one label for two texts",
    "text-pair-regression": "a number for two texts",
    "token-classification": "the entities in a text",
    "question-answering": "the part of a text that answers a question",
    "chat": "an answer to a conversation",
    "preference": "an answer to a conversation",
    "seq2seq": "a text for a text",
    "embedding": "a vector for a text, near those of texts that belong to it",
    "recommendation": "what somebody may choose next, from what they chose before",
    "image-classification": "one label for an image",
    "tabular": "a label or a number for a row of a table",
}


def render_card(run: Path) -> str:
    """The model card of a run, from nothing but the files of its folder; what is missing is said in its place.

    Raises:
        DamagedStoreError: [storage/damaged] naming the file that is not JSON.
    """
    record = RunRecord.read(run)
    parts = [
        front_matter(record),
        f"# {markdown(record.id)}",
        _what(record),
        "## Verdict",
        _verdict(record),
        "## Intended use",
        _intended(record),
        "## Limits",
        limits(record),
        "## Data",
        _data(record),
        "## License",
        _license(record),
        "## Use",
        _use(record),
        "## Lineage",
        _lineage(record),
        "## Reproduce",
        _reproduce(record),
    ]
    return "\n\n".join(parts) + "\n"


def _what(record: RunRecord) -> str:
    task = markdown(record.manifest.get("task") or record.evaluation.get("task") or "unknown task")
    name, base_license = _base_name(record), record.base.get("license")
    base = f"the base {markdown(name)}" if name else "a base that is not recorded"
    terms = f"license {markdown(base_license)}" if base_license else "license not stated: check before sharing"
    labels = record.evaluation.get("labels") or []
    classes = f" It gives one of {len(labels)} labels." if labels else ""
    method = markdown(record.manifest.get("method") or "not recorded")
    return f"A model for {task}, tuned from {base} ({terms}), method {method}.{classes}"


def _base_name(record: RunRecord) -> str | None:
    """The base as people call it: a stored version by its label, a folder by its name and not by its path."""
    parents = [entries(parent) for parent in record.manifest.get("parents") or ()]
    stored = next((str(parent["name"]) for parent in parents if parent.get("version")), None)
    name = record.base.get("name")
    return stored or (PurePath(str(name)).name if name and PurePath(str(name)).is_absolute() else name)


def _verdict(record: RunRecord) -> str:
    if not record.verdict:
        return "None yet: the model has not been judged on test rows."
    metrics = list(dict.fromkeys(metric for arm in record.models.values() for metric in entries(arm)))
    rows = [
        [markdown(arm), *(cell(metric, entries(record.models[arm]).get(metric)) for metric in metrics)]
        for arm in record.arms()
    ]
    advice = record.verdict.get("advice")
    sentences = [
        f"**{wording.headline(record.verdict)}** {wording.comparison(record.verdict, record.models)}",
        *([markdown_sentence(advice)] if advice else []),
        table([f"arm, n = {count(record.evaluation.get('n'))}", *map(metric_title, metrics)], rows),
    ]
    goals = [entries(goal) for goal in record.evaluation.get("goals") or ()]
    if goals:
        reached = (f"{code(g.get('goal'))}: {'reached' if g.get('reached') else 'missed'}"
                   f"{'' if g.get('certain') else ', not for certain'}" for g in goals)  # fmt: skip
        sentences.append("Goals:\n\n" + bullets(reached))
    gates = [entries(gate) for gate in record.evaluation.get("gates") or ()]
    if gates:
        told = (f"{code(gate.get('name'))}: {'passed' if gate.get('passed') else 'not passed'}. "
                f"{markdown_sentence(gate.get('reason'))}" for gate in gates)  # fmt: skip
        sentences.append("Gates:\n\n" + bullets(told))
    return "\n\n".join(sentences)


def _intended(record: RunRecord) -> str:
    """For what it was made and judged, in the words of the run; nobody said more."""
    gives = GIVES.get(str(record.manifest.get("task")), "what its task says")
    columns = ", ".join(code(name) for name in entries(record.data.get("columns")).values())
    read = f", learned from the columns {columns}" if columns else ""
    lines = [f"It gives {gives}{read}. It was judged on rows like those, and on no others."]
    labels = [str(label) for label in record.evaluation.get("labels") or ()]
    if labels:
        more = f", and {count(len(labels) - LABELS_SHOWN)} more" if len(labels) > LABELS_SHOWN else ""
        lines.append(f"Its labels: {', '.join(map(code, labels[:LABELS_SHOWN]))}{more}.")
    if record.verdict and record.verdict.get("answer") != "better":
        against = markdown(record.verdict.get("against"))
        lines.append(f"It was not shown to be better than {against}, which needs no fine-tuning: use that until it is.")
    lines.append("Not for decisions about people without a person who can overrule it.")
    return "\n\n".join(lines)


def _data(record: RunRecord) -> str:
    if not record.data:
        return "The run does not describe its data."
    splits = ", ".join(f"{count(n)} {name}" for name, n in entries(record.data.get("splits")).items())
    problems = {str(name): n for name, n in entries(record.data.get("problems")).items()}
    dropped = "; ".join(f"{code(name)} {count(n)}" for name, n in problems.items()) or "none"
    files = (
        f"{code(path)}: {count(entries(about).get('rows'), 'rows')}, sha256 {code(entries(about).get('sha256', '–'))}"
        for path, about in entries(record.data.get("files")).items()
    )
    lines = [f"Rows: {splits}. Dropped or suspicious rows: {dropped}."]
    origins = entries(record.data.get("origins"))
    if origins:
        lines.append(
            f"Who wrote the training rows: {', '.join(f'{markdown(k)} {count(n)}' for k, n in origins.items())}."
        )
    redacted = problems.get("data/redacted")
    lines.append(
        f"Personal data: replaced in {count(redacted, 'rows')} before training."
        if redacted
        else "Personal data: none was replaced in this run; `burnish check` looks for it in the files."
    )
    return "\n\n".join([*lines, bullets(files)])


def _license(record: RunRecord) -> str:
    """The base's license, what it asks for, and whether a use was checked against it."""
    found = entries(record.manifest.get("license"))
    name = found.get("name") or record.base.get("license")
    if not name:
        return "The license of the base is not known: find it out before sharing or selling anything made of it."
    title, text = found.get("title") or name, found.get("text")
    lines = [f"The base is under {markdown(title)}{f' ({markdown(text)})' if text else ''}."]
    obligations = [markdown_sentence(each) for each in found.get("obligations") or ()]
    if obligations:
        lines.append(f"It asks for:\n\n{bullets(obligations)}")
    use = found.get("use")
    lines.append(
        f"Checked for {markdown(use)} use."
        if use and found.get("checked")
        else "It was not checked against a use: name one with `model.use`."
    )
    return "\n\n".join([*lines, "The license of the training data is not recorded here; it binds the model as well."])


def _use(record: RunRecord) -> str:
    if _imported(record):
        asked = f"burnish train DATA --set model.base={record.id}:NUMBER"
        return f"It was imported, to be trained on from:\n\n{fenced('sh', asked)}"
    blocks = [fenced("sh", command_line(record)), fenced("python", python_lines(record))]
    if record.use:
        blocks.append(re.sub(r"^(#+ )", r"##\1", record.use.strip(), count=1))  # its title becomes a part of Use
    return "\n\n".join(blocks)


def _lineage(record: RunRecord) -> str:
    return bullets(
        [
            f"run {code(record.id)}, made {markdown(record.manifest.get('created', 'at an unknown time'))}",
            f"base {markdown(_base_name(record) or 'not recorded')}, sha256 "
            f"{code(record.base.get('sha256', 'not recorded'))}",
            f"data version {code(str(record.data.get('version') or 'not recorded')[:VERSION_SHOWN])}, split "
            f"fingerprint {code(record.data.get('split_fingerprint', 'not recorded'))}",
            *_parents(record),
        ]
    )


def _parents(record: RunRecord) -> Iterator[str]:
    for parent in map(entries, record.manifest.get("parents") or ()):
        if parent.get("checkpoint"):
            changed = ", ".join(code(change) for change in parent.get("changed") or ()) or "nothing"
            yield f"goes on from run {code(parent.get('run'))}, {markdown(parent['checkpoint'])}, changed: {changed}"
        else:
            yield f"trained on from {code(parent.get('name') or parent.get('run'))}"


def _imported(record: RunRecord) -> bool:
    """Whether the model was made elsewhere: how it is asked and how it was made are not known."""
    return record.manifest.get("status") == "imported"


def _reproduce(record: RunRecord) -> str:
    if _imported(record):
        origin = entries(record.manifest.get("imported")).get("from", "an unknown place")
        return f"It was not made by burnish, but imported from {code(origin)}; how it was made is not known."
    environment = record.environment
    versions = ", ".join(
        f"{name} {markdown(environment[name])}"
        for name in ("burnish", "python", "torch", "transformers", "tokenizers", "peft")
        if name in environment
    )
    lines = [f"versions: {versions or 'not recorded'}", f"machine: {_machine(record)}"]
    told = (
        "runs it again and says how close it came; with these versions and threads on the same processor, bit for bit:"
    )
    return f"{bullets(lines)}\n\nThis {told}\n\n{fenced('sh', f'burnish reproduce {shlex.quote(str(record.folder))}')}"


def _machine(record: RunRecord) -> str:
    shown = [
        f"{name} {markdown(record.environment[name])}"
        for name in ("device", "cpu", "threads", "precision")
        if name in record.environment
    ]
    return ", ".join(shown) or "not recorded"
