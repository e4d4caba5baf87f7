"""The parts of a report that explain: learning curves, data, recipe, training, use."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation import chart, wording
from burnish.evaluation.diagnosis import diagnose
from burnish.evaluation.report_html import (
    Html,
    bullets,
    code,
    code_block,
    facts,
    figures,
    folded,
    isolated,
    paragraph,
    section,
    table,
)
from burnish.evaluation.report_images import contact_sheet
from burnish.evaluation.report_sections import LABEL_LIMIT
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import count, entries, figure, finite, metric_title

MOST_POINTS = 200  # of a curve; longer ones are drawn as means of neighbours
MOST_BARS = 15
FIRST_PLACES = 3
PROBLEM_TITLES = {  # where a row's own reason names another row or a number
    "data/leakage": "the same, or almost the same, is among the rows the model is judged on",
    "data/duplicate": "the same row again",
    "data/conflicting-label": "the same row with contradicting labels",
    "data/truncated": "longer than the model reads; the end is not read",
}
ENVIRONMENT_TITLES = {
    "burnish": "burnish",
    "python": "Python",
    "torch": "PyTorch",
    "cpu": "processor",
    "memory_bytes": "memory",
    "physical_cores": "physical cores",
}


def curves_section(record: RunRecord) -> Html:
    """Loss and metrics over the steps, the chosen checkpoint, and what the curves say."""
    if not record.metrics:
        return section("curves", "How the training went", paragraph("No training steps are recorded in this run."))
    training = [_point(row, row.get("loss")) for row in record.metrics if "loss" in row]
    evaluated = [row for row in record.metrics if entries(row.get("validation"))]
    best = record.training.get("best_step") or next(
        (row.get("step") for row in reversed(evaluated) if row.get("best")), None
    )
    mark = None if finite(best) is None else chart.Mark(float(best or 0), f"chosen: step {count(best)}")
    charts = []
    loss = [_point(row, row["validation"].get("loss")) for row in evaluated if "loss" in row["validation"]]
    if training or loss:
        series = [chart.Series("training loss", _thinned(training), faint=True), chart.Series("validation loss", loss)]
        charts.append(_curve("Loss over the steps", "loss, nats per row", series, mark))
    names = list(dict.fromkeys(name for row in evaluated for name in row["validation"] if name != "loss"))
    if len(evaluated) > 1 and names:
        charts.append(_metrics_chart(evaluated, names, mark))
    return section(
        "curves",
        "How the training went",
        paragraph(diagnose(record.metrics, record.training)),
        figures(*charts) if charts else "",
        _evaluations(evaluated, names),
    )


def _point(row: Mapping[str, Any], value: Any) -> tuple[float, float]:
    step, number = finite(row.get("step")), finite(value)
    return (float("nan") if step is None else step, float("nan") if number is None else number)


def _metrics_chart(evaluated: Sequence[Mapping[str, Any]], names: Sequence[str], mark: chart.Mark | None) -> str:
    shares = all(wording.is_share(name) for name in names)
    scale = 100.0 if shares else 1.0
    series = []
    for name in names[:3]:
        points = [_point(row, row["validation"].get(name)) for row in evaluated]
        series.append(chart.Series(metric_title(name), [(x, scale * y) for x, y in points]))
    return _curve(
        "Quality on the validation rows",
        "% of the validation rows" if shares else "on the validation rows",
        series,
        mark,
    )


def _curve(title: str, y_label: str, series: Sequence[chart.Series], mark: chart.Mark | None) -> str:
    ends = [f"{s.name} from {s.points[0][1]:.3g} to {s.points[-1][1]:.3g}" for s in series if s.points]
    description = "; ".join([*ends, *([mark.label] if mark else [])])
    drawn = [s for s in series if s.points]
    return chart.line_chart(drawn, title=title, description=description, x_label="step", y_label=y_label, mark=mark)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of equal runs of neighbours, at most MOST_POINTS of them."""
    width = -(-len(points) // MOST_POINTS) or 1
    blocks = [points[start : start + width] for start in range(0, len(points), width)]
    return [(sum(x for x, _ in block) / len(block), sum(y for _, y in block) / len(block)) for block in blocks]


def _evaluations(evaluated: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    if not evaluated:
        return ""
    rows = []
    for row in evaluated:
        values = row["validation"]
        loss = finite(values.get("loss"))
        cells = ["–" if loss is None else f"{loss:.4f}", *(figure(name, values.get(name)) for name in names)]
        rows.append([count(row.get("step")), count(row.get("epoch")), *cells, "best so far" if row.get("best") else ""])
    heads = ["step", "epoch", "validation loss", *map(metric_title, names), ""]
    caption = "Every evaluation on the validation rows"
    return folded("All evaluations", table(caption, heads, rows, numbers=range(1, len(heads) - 1)))


def data_section(record: RunRecord) -> Html:
    """The data card: rows, classes, what was left out and why, files."""
    data = record.data
    if not data:
        return section("data", "The data", paragraph("The run does not describe its data."))
    splits = entries(data.get("splits"))
    numbers = [(f"{name} rows", count(splits.get(name))) for name in ("train", "validation", "test") if name in splits]
    labels = entries(data.get("labels"))
    parts: list[str] = [
        paragraph(
            "The model learned from the training rows; the validation rows chose its settings and its best step; the "
            "test rows stayed sealed until the verdict."
        ),
        facts({**dict(numbers), **_classes(labels), **_written_by(data), "columns": _columns(data)}),
        _label_counts(labels),
        contact_sheet(record),
        _lengths(entries(record.manifest.get("lengths"))),
        _problems(record),
        _notes(data),
        _files(data),
    ]
    return section("data", "The data", *parts)


def _classes(labels: Mapping[str, Any]) -> dict[str, object]:
    names = _class_names(labels)
    return {"classes": count(len(names))} if names else {}


def _written_by(data: Mapping[str, Any]) -> dict[str, object]:
    """Who wrote the training rows, where it was not people alone."""
    origins = entries(data.get("origins"))
    if set(origins) <= {"human"}:
        return {}
    return {"written by": ", ".join(f"{name} {count(number)}" for name, number in origins.items())}


def _columns(data: Mapping[str, Any]) -> Html:
    columns = entries(data.get("columns"))
    return Html("; ".join(f"{code(name)} from {code(of)}" for name, of in columns.items()) or "not recorded")


def _class_names(labels: Mapping[str, Any]) -> list[str]:
    """All labels of all parts, the most frequent in training first."""
    train = entries(labels.get("train"))
    names = dict.fromkeys(str(name) for part in labels.values() for name in entries(part))
    return sorted(names, key=lambda name: (-(finite(train.get(name)) or 0.0), name))


def _label_counts(labels: Mapping[str, Any]) -> str:
    names = _class_names(labels)
    if not names:
        return ""
    parts = [part for part in ("train", "validation", "test") if part in labels]
    rows = [[isolated(name, LABEL_LIMIT), *(count(entries(labels[p]).get(name, 0)) for p in parts)] for name in names]
    counts = table("Rows per class and part", ["class", *parts], rows, numbers=range(1, 4))
    train = entries(labels.get("train"))
    bars = [chart.Bar(wording.visible(n, LABEL_LIMIT), finite(train.get(n)) or 0.0) for n in names[:MOST_BARS]]
    few = f"the {MOST_BARS} most frequent of {len(names)} classes" if len(names) > MOST_BARS else "all classes"
    largest, smallest = names[0], names[-1]
    description = (
        f"Most: {largest}, {count(train.get(largest, 0))}; fewest: {smallest}, {count(train.get(smallest, 0))}."
    )
    drawn = chart.bar_chart(bars, title="Training rows per class", description=description, x_label=f"rows, {few}")
    if len(names) > MOST_BARS:
        sentence = (
            f"The largest class has {count(train.get(largest, 0), 'training rows')} ({wording.visible(largest, 60)}), "
            f"the smallest {count(train.get(smallest, 0))} ({wording.visible(smallest, 60)})."
        )
        return paragraph(sentence) + folded(f"Rows of all {len(names)} classes", counts)
    return figures(drawn) + folded("Rows per class and part", counts)


def _lengths(lengths: Mapping[str, Any]) -> str:
    """How many tokens the conversations have, and how many are longer than the model reads."""
    ends, rows = lengths.get("ends") or (), lengths.get("rows") or ()
    if not ends or len(ends) != len(rows):
        return ""
    starts = [1, *(int(end) + 1 for end in ends[:-1])]
    bars = [
        chart.Bar(f"{start:,} to {int(end):,}", finite(number) or 0.0)
        for start, end, number in zip(starts, ends, rows, strict=True)
    ]
    longer = finite(lengths.get("longer")) or 0.0
    left_out = f"{count(longer, 'rows')} longer than {count(lengths.get('read'), 'tokens')} left out"
    if longer:
        bars.append(chart.Bar("longer: left out", longer, highlight=True))
    return figures(
        chart.bar_chart(
            bars, title="Tokens of a row", description=left_out, x_label=f"rows by their tokens; {left_out}"
        )
    )


def _problems(record: RunRecord) -> str:
    """What was dropped or is suspicious: counted by kind, with the first places."""
    heading = "<h3>Dropped or suspicious rows</h3>"
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for problem in record.problems:
        groups.setdefault((str(problem.get("code")), str(problem.get("action"))), []).append(problem)
    if not groups:
        counts = entries(record.data.get("problems"))
        known = "; ".join(f"{code}: {count(n)}" for code, n in counts.items())
        return heading + paragraph(known or "None: every row was used.")
    rows = []
    for (name, action), found in sorted(groups.items(), key=lambda item: -len(item[1])):
        places = ", ".join(record.place(problem) for problem in found[:FIRST_PLACES])
        more = ", …" if len(found) > FIRST_PLACES else ""
        why = PROBLEM_TITLES.get(name) or wording.visible(found[0].get("reason", ""), 160)
        title = Html(f'{wording.escaped(why)}<small class="what">{wording.escaped(name)}</small>')
        rows.append([title, count(len(found)), action, places + more])
    caption = "All of them, row by row, are in problems.jsonl"
    return heading + table(caption, ["why", "rows", "what happened", "first places"], rows, numbers={1})


def _notes(data: Mapping[str, Any]) -> str:
    lines = [*(data.get("warnings") or ()), *(data.get("notes") or ())]
    return folded("Notes taken while reading", bullets(lines)) if lines else ""


def _files(data: Mapping[str, Any]) -> str:
    files = entries(data.get("files"))
    rows = []
    for path, about in files.items():
        entry = entries(about)
        digest = Html(f'<code class="hash">{wording.escaped(entry.get("sha256", "–"))}</code>')
        rows.append([isolated(path), count(entry.get("rows")), wording.size(entry.get("bytes")), digest])
    listed = table("Files as they were read", ["file", "rows", "size", "sha256"], rows, numbers={1, 2}) if rows else ""
    split = facts({"fingerprint of the split": code(data.get("split_fingerprint", "not recorded"))})
    return f"<h3>Files and fingerprints</h3>{listed}{split}"


def training_section(record: RunRecord) -> Html:
    """Base, method, effort and environment: what the numbers depend on."""
    base, training = record.base, record.training
    learned, total = finite(training.get("trainable_parameters")), finite(training.get("total_parameters"))
    share = f" ({100 * learned / total:.3g} % of all)" if learned is not None and total else ""
    about: dict[str, object] = {
        "base model": isolated(base.get("name", "not recorded")),
        "license of the base": base.get("license") or "not stated",
        "parameters of the base": count(base.get("parameters")),
        "sha256 of the base": code(base.get("sha256", "not recorded")),
        "method": record.manifest.get("method") or "not recorded",
        "weights that learned": count(learned) + share,
        "steps and epochs": f"{count(training.get('steps'))} and {count(training.get('epochs'))}",
        "chosen step": count(training.get("best_step")),
        "why it stopped": training.get("stopped") or "not recorded",
        "time": f"{wording.duration(training.get('training_seconds'))} of training, "
        f"{wording.duration(record.manifest.get('seconds') or training.get('seconds'))} in all",
        "largest memory": wording.size(training.get("peak_memory_bytes")),
    }
    about |= _mishaps(record)
    machine: dict[str, object] = {
        ENVIRONMENT_TITLES.get(name, name): wording.size(value) if name == "memory_bytes" else _plain(value)
        for name, value in record.environment.items()
    }
    return section(
        "training",
        "Model, training and machine",
        facts(about),
        "<h3>Environment</h3>",
        facts(machine) if machine else paragraph("No environment is recorded in this run."),
    )


def _mishaps(record: RunRecord) -> dict[str, object]:
    """What the training met and overcame, and where it came from; nothing for a smooth run."""
    training = record.training
    told: dict[str, object] = {}
    for parent in record.manifest.get("parents") or []:
        origin = entries(parent)
        if not origin.get("checkpoint"):
            told["trained on from"] = isolated(origin.get("name"))
            continue
        changed = ", ".join(map(str, origin.get("changed") or []))
        told["goes on from"] = isolated(f"{origin.get('run')}, {origin.get('checkpoint')}, with {changed}")
    if training.get("skipped_steps"):
        told["steps skipped"] = f"{count(training['skipped_steps'])}: loss or gradient was not finite"
    if training.get("rolled_back"):
        told["went back"] = "once to an earlier checkpoint, with half the learning rate from there"
    if training.get("memory_retries"):
        told["micro-batch halved"] = f"{count(training['memory_retries'])} times for lack of memory; the batch stayed"
    if training.get("embedding_table"):
        told["embedding table"] = str(training["embedding_table"]).removeprefix("embedding table: ")
    if training.get("self_test"):
        told["self-test"] = str(training["self_test"]).removeprefix("self-test: ")
    return told


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def recipe_section(record: RunRecord) -> Html:
    """The resolved recipe: run again, it gives the same numbers on the same machine."""
    if not record.recipe:
        return section("recipe", "Recipe", paragraph("No recipe is recorded in this run."))
    return section(
        "recipe",
        "Recipe",
        paragraph("Everything this run was told or decided for itself; run again on the same machine and versions, it "
                  "gives the same numbers."),
        folded("recipe.yaml", code_block("recipe.yaml", record.recipe)),
    )  # fmt: skip


def use_section(record: RunRecord) -> Html:
    """How to ask the model, from a terminal and from Python."""
    parts: list[str] = [
        paragraph("From a terminal:"),
        code_block("Command", command_line(record)),
        paragraph("From Python:"),
        code_block("Python", python_lines(record)),
    ]
    if record.use:
        parts.append(paragraph("Without burnish: final/USE.md has a script for transformers alone.", "note"))
    return section("use", "Use the model", *parts)


def command_line(record: RunRecord) -> str:
    asked = "--data your-image.jpg" if record.shows_images else '--text "your text here"'
    return f"burnish predict {shlex.quote(str(record.folder))} {asked}"


def python_lines(record: RunRecord) -> str:
    asked = "your-image.jpg" if record.shows_images else "your text here"
    return f'import burnish\n\nmodel = burnish.load({str(record.folder)!r})\nprint(model.predict(["{asked}"]))'
