"""The parts of a report that judge: verdict, goals, arms, classes, confusion, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation import chart, wording
from burnish.evaluation.arm_words import words_for
from burnish.evaluation.report_html import (
    Html,
    content,
    figures,
    folded,
    isolated,
    paragraph,
    scrolling,
    section,
    table,
)
from burnish.evaluation.report_images import error_picture, short_name
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import (
    count,
    entries,
    escaped,
    figure,
    finite,
    interval,
    metric_title,
    name_of_test,
    signed_interval,
)

MANY_CLASSES = 15  # more are told by the weakest of them, and their matrix by its most frequent confusions
MOST_CONFUSIONS = 15
MOST_ERRORS = 25
LABEL_LIMIT, TEXT_LIMIT = 80, 400  # characters
NONE = "none"  # of the entities of a sentence, of the labels of a text

SIGNS = {"better": "▲ better", "same": "= the same", "worse": "▼ worse", "too little data": "? too little data"}


def verdict_section(record: RunRecord) -> Html:
    """The answer in one sentence, what it rests on, and what to do."""
    verdict = record.verdict
    if not verdict:
        status = escaped(record.manifest.get("status", "unknown"))
        return Html(
            f'<section class="verdict" id="verdict"><h1>{wording.headline(verdict)}</h1>'
            f'<p class="lead">This run has not been judged on its test rows; its status is {status}.</p></section>'
        )
    answer = str(verdict.get("answer"))
    kind = answer if answer in ("better", "worse") else ""
    opened = finite(record.evaluation.get("opened")) or 1
    advice = verdict.get("advice")
    parts = [
        f'<p class="tag {kind}">{escaped(SIGNS.get(answer, answer))}</p>',
        f"<h1>{escaped(wording.headline(verdict))}</h1>",
        paragraph(wording.comparison(verdict, record.models), "lead"),
        f'<p class="advice"><strong>What to do.</strong> {content(advice)}</p>' if advice else "",
        _key_numbers(record),
        _difference(verdict) if finite(verdict.get("difference")) is not None else "",
    ]
    if opened > 1:
        again = f"The sealed test rows were opened {opened:.0f} times; each look makes their answer less independent."
        parts.append(paragraph(again, "note"))
    return Html(f'<section class="verdict" id="verdict">{"".join(parts)}</section>')


def _key_numbers(record: RunRecord) -> Html:
    verdict, models = record.verdict, record.models
    metric, against = str(verdict.get("metric")), str(verdict.get("against"))
    own, other = (entries(entries(models.get(arm)).get(metric)) for arm in ("tuned", against))
    title = metric_title(metric)
    boxes = [
        ("Difference", wording.signed(metric, verdict.get("difference")), wording.signed_interval(verdict)),
        (f"Tuned model, {title}", figure(metric, own.get("value")), interval(metric, own)),
        (f"{against}, {title}", figure(metric, other.get("value")), interval(metric, other)),
        (
            "Test rows",
            count(verdict.get("n")),
            f"{wording.name_of_test(verdict)}, {wording.p_value(verdict.get('p_value'))}",
        ),
    ]
    items = (
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}<small>{escaped(detail)}</small></dd></div>"
        for name, value, detail in boxes
    )
    return Html(f'<dl class="numbers">{"".join(items)}</dl>')


def _difference(verdict: Mapping[str, Any]) -> Html:
    """The difference on its interval beside zero, and the smallest difference that counts."""
    metric = verdict.get("metric")
    scale = 100.0 if wording.is_share(metric) else 1.0
    value, low, high, effect = (
        None if (number := finite(verdict.get(name))) is None else scale * number
        for name in ("difference", "low", "high", "minimum_effect")
    )
    unit = " points" if scale == 100.0 else ""
    drawn = chart.interval_chart(
        [chart.Interval(f"tuned minus {verdict.get('against')}", value or 0.0, low, high, highlight=True)],
        title="Difference with its 95 % interval",
        description=wording.signed_interval(verdict),
        x_label=f"{metric_title(metric)}, {'percentage points' if unit else 'in its own unit'}",
        unit=unit,
        mark=chart.Mark(0.0, "no difference"),
    )
    if effect is None:
        return figures(drawn)
    least = f"{effect:g}{unit.removesuffix('s') if effect == 1 else unit}"
    note = f"The recipe counts a difference of {least} or more as worth having (evaluation.minimum_effect)."
    return Html(figures(drawn) + paragraph(note, "note"))


def goals_section(record: RunRecord) -> Html:
    """What the recipe asked for, and whether the test rows show it."""
    goals = [entries(goal) for goal in record.evaluation.get("goals") or ()]
    if not goals:
        return section("goals", "Goals", paragraph("None are recorded; evaluation.goals in the recipe sets them."))
    rows = []
    for goal in goals:
        name = str(goal.get("goal", "?"))
        reached = bool(goal.get("reached"))
        mark = Html(f'<span class="{"better" if reached else "worse"}">{_goal_outcome(goal)}</span>')
        rows.append([isolated(name), mark, _with_interval(name.split(">=")[0], goal), count(goal.get("n"))])
    caption = "Goals of the recipe on the test rows, with 95 % intervals"
    return section("goals", "Goals", table(caption, ["goal", "outcome", "value", "n"], rows, numbers={2, 3}))


def _goal_outcome(goal: Mapping[str, Any]) -> str:
    if goal.get("reached"):
        return "✓ reached" if goal.get("certain") else "✓ reached, but not for certain"
    return "✗ missed" if goal.get("certain") else "✗ missed, but not for certain"


def arms_section(record: RunRecord) -> Html:
    """Every arm on the same test rows: charts and a table with intervals."""
    arms = record.arms()
    if not arms:
        return section("arms", "What it was compared with", paragraph("No comparison is recorded in this run."))
    metrics = list(dict.fromkeys(metric for arm in arms for metric in entries(record.models[arm])))
    rows = []
    for arm in arms:
        name = Html(f'{escaped(arm)}<small class="what">{escaped(words_for(arm).what)}</small>')
        cells = [_with_interval(metric, entries(record.models[arm]).get(metric)) for metric in metrics]
        rows.append([name, *cells])
    against = str(record.verdict.get("against", ""))
    intro = (
        "Each arm learned from the same training rows and answered the same sealed test rows. The verdict is against "
        f"the strongest one that needs no fine-tuning, chosen on validation rows: {against or 'not recorded'}."
    )
    n = count(record.evaluation.get("n"), "test rows")
    return section(
        "arms",
        "What it was compared with",
        paragraph(intro),
        figures(*(_arms_chart(record, arms, metric) for metric in metrics[:2])),
        table(
            f"All arms on {n}, with 95 % intervals",
            ["arm", *map(metric_title, metrics)],
            rows,
            numbers=range(1, 9),
            strong={0} if arms[0] == "tuned" else (),
        ),
        _further_differences(record),
    )


def _further_differences(record: RunRecord) -> Html:
    """What the metrics that decide nothing say of the tuned model and the strongest arm."""
    found = [entries(entry) for entry in record.evaluation.get("comparisons") or ()]
    if not found:
        return Html("")
    rows: list[list[object]] = []
    for entry in found:
        metric = entry.get("metric")
        difference = Html(f"{wording.signed(metric, entry.get('difference'))}<small>{signed_interval(entry)}</small>")
        tests = [
            f"{wording.p_value(entry.get('p_value'))} ({name_of_test(entry)})",
            wording.p_value(entry.get("p_holm")),
        ]
        rows.append([metric_title(metric), difference, *tests])
    caption = f"Further metrics: how much better the tuned model is than {record.verdict.get('against')}"
    note = "They decide nothing. Corrected: Holm's p-values, for looking at several metrics at once."
    heads = ["metric", "difference, with 95 % interval", "p-value", "corrected"]
    return Html(table(caption, heads, rows, numbers={1, 2, 3}) + paragraph(note, "note"))


def _with_interval(metric: str, entry: Any) -> Html:
    return Html(f"{figure(metric, entries(entry).get('value'))}<small>{interval(metric, entry)}</small>")


def _arms_chart(record: RunRecord, arms: Sequence[str], metric: str) -> str:
    scale = 100.0 if wording.is_share(metric) else 1.0
    rows = []
    for arm in arms:
        value, low, high = (
            finite(entries(entries(record.models[arm]).get(metric)).get(key)) for key in ("value", "low", "high")
        )
        if value is not None:
            rows.append(chart.Interval(
                arm, scale * value, None if low is None else scale * low, None if high is None else scale * high,
                highlight=arm == "tuned",
            ))  # fmt: skip
    unit = " %" if scale == 100.0 else ""
    title = f"{metric_title(metric)[:1].upper()}{metric_title(metric)[1:]} of every arm"
    return chart.interval_chart(
        rows,
        title=title,
        description="; ".join(f"{row.label} {row.value:.1f}{unit}" for row in rows),
        x_label=f"{metric_title(metric)}{',' + unit if unit else ''}, with 95 % interval",
        unit=unit,
    )


def classes_section(record: RunRecord) -> Html:
    """Precision, recall and F1 of every class, the weakest first."""
    classes = entries(record.evaluation.get("classes"))
    if not classes:
        return section("classes", "Class by class", paragraph("No figures per class are recorded in this run."))

    def weakness(label: str) -> tuple[float, str]:
        return finite(entries(entries(classes[label]).get("f1")).get("value")) or 0.0, label

    rows: list[list[object]] = []
    for label in sorted(classes, key=weakness):
        figures_of = entries(classes[label])
        cells = [_with_interval(name, figures_of.get(name)) for name in ("f1", "precision", "recall")]
        rows.append([isolated(label, LABEL_LIMIT), *cells, count(figures_of.get("support"))])
    text = (
        "The weakest class first. Precision: of the rows given this label, how many deserve it. Recall: of the rows "
        "that deserve it, how many got it. A wide interval means few test rows."
    )

    def listed(caption: str, some: list[list[object]]) -> Html:
        counted = "entities" if str(record.verdict.get("metric")).startswith("entity") else "test rows"
        return table(caption, ["class", "F1", "precision", "recall", counted], some, numbers={1, 2, 3, 4})

    everything = listed(f"All {len(rows)} classes, with 95 % intervals", rows)
    if len(rows) > MANY_CLASSES:
        weakest = listed(f"The {MANY_CLASSES} weakest of {len(rows)} classes, with 95 % intervals", rows[:MANY_CLASSES])
        everything = Html(weakest + folded(f"All {len(rows)} classes", everything))
    return section("classes", "Class by class", paragraph(text), everything)


def confusion_section(record: RunRecord) -> Html:
    """Which classes are taken for which: the whole matrix, or its most frequent confusions."""
    confusion = entries(record.evaluation.get("confusion"))
    labels, matrix = [str(x) for x in confusion.get("labels") or ()], confusion.get("matrix") or []
    if not labels or not matrix:
        return section("confusion", "What is confused with what", paragraph("No confusion matrix is recorded."))
    shown = [wording.visible(label, LABEL_LIMIT) for label in labels]
    pairs = sorted(
        ((cell, shown[i], shown[j]) for i, row in enumerate(matrix) for j, cell in enumerate(row) if cell and i != j),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    if len(labels) <= MANY_CLASSES:
        text = "Rows are true labels, columns predictions. A deeper shade is a larger share of its row."
        heat = chart.heat_table(shown, matrix, title=f"{count(record.evaluation.get('n'), 'test rows')}")
        inner = [paragraph(text), scrolling("Confusion matrix", heat)]
    elif pairs:
        caption = f"The {min(len(pairs), MOST_CONFUSIONS)} most frequent of {len(pairs):,} confusions"
        rows = [[isolated(true), isolated(predicted), count(n)] for n, true, predicted in pairs[:MOST_CONFUSIONS]]
        inner = [table(caption, ["true label", "predicted as", "test rows"], rows, numbers={2})]
    else:
        inner = [paragraph("Nothing: every test row got its own label.")]
    return section("confusion", "What is confused with what", *inner)


def answers_section(record: RunRecord) -> Html:
    """Answers beside their references, those that miss most first."""
    if not record.predictions:
        return section("answers", "Answers", paragraph("No answers are recorded in this run."))
    if any("margin" in row for row in record.predictions):
        return _compared_answers(record)
    if any("loss" in row for row in record.predictions):
        return _least_expected(record)
    shown = sorted(record.predictions, key=_missed)[:MOST_ERRORS]
    text = (
        f"The {len(shown)} of {count(len(record.predictions), 'test prompts')} whose answers differ most from their "
        "references. Read them: a reference may be wrong too, and another answer may be as good."
    )
    items = "".join(_answer(record, row) for row in shown)
    return section("answers", "Answers", paragraph(text), f'<ol class="errors">{items}</ol>')


def _least_expected(record: RunRecord) -> Html:
    """Of a model that is judged by its loss and writes nothing: the rows that it expects least."""
    shown = sorted(record.predictions, key=lambda row: -(finite(row.get("loss")) or 0.0))[:MOST_ERRORS]
    text = (
        f"This model was judged by its loss and wrote nothing. The {len(shown)} of "
        f"{count(len(record.predictions), 'test rows')} that it expects least, with their loss in nats per token:"
    )
    items = "".join(
        f'<li><q dir="auto">{escaped(row.get("text", ""), TEXT_LIMIT)}</q>'
        f"<span>loss <b>{wording.figure('loss', row.get('loss'))}</b>"
        + "".join(f" · {escaped(arm)} {wording.figure('loss', loss)}" for arm, loss in entries(row.get("arms")).items())
        + f" · {escaped(record.place(row))}</span></li>"
        for row in shown
    )
    return section("answers", "Answers", paragraph(text), f'<ol class="errors">{items}</ol>')


def _compared_answers(record: RunRecord) -> Html:
    """Of preferences: pairs judged the wrong way round, the surest first, and what the tuned model answers itself."""
    wrong = [row for row in record.predictions if row.get("label") != row.get("prediction")]
    wrong.sort(key=lambda row: -abs(finite(row.get("margin")) or 0.0))
    text = (
        f"{count(len(wrong))} of {count(len(record.predictions), 'test rows')} are judged the wrong way round, the "
        "surest first. Read them: the row may be wrong, and not the model."
    )
    items = "".join(
        f'<li><q dir="auto">{escaped(row.get("text", ""), TEXT_LIMIT)}</q>'
        f"<span>reward margin <b>{wording.signed('', row.get('margin'))}</b> · {escaped(record.place(row))}</span></li>"
        for row in wrong[:MOST_ERRORS]
    )
    spoken: list[list[object]] = [
        [
            isolated(row.get("text"), TEXT_LIMIT),
            isolated(row.get("answer"), TEXT_LIMIT),
            isolated(row.get("base_answer"), TEXT_LIMIT),
        ]
        for row in record.predictions
        if "answer" in row
    ]
    answered = table("Answers to test prompts", ["prompt", "tuned model", "base"], spoken, numbers=()) if spoken else ""
    return section("answers", "Answers", paragraph(text), f'<ol class="errors">{items}</ol>', answered)


def _missed(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Wrong ones first, and among them those that share fewest words with their reference."""
    wanted, said = str(row.get("label", "")).split(), str(row.get("prediction", "")).split()
    shared = len(set(wanted) & set(said)) / max(1, len(set(wanted) | set(said)))
    return wanted == said, shared


def _answer(record: RunRecord, row: Mapping[str, Any]) -> str:
    cut = "" if row.get("stopped", True) else " · cut off"
    others = " · ".join(
        f"{escaped(arm)}: {isolated(text, LABEL_LIMIT)}" for arm, text in entries(row.get("arms")).items()
    )
    return (
        f'<li><q dir="auto">{escaped(row.get("text", ""), TEXT_LIMIT)}</q>'
        f"<span>answer <b>{isolated(row.get('prediction'), TEXT_LIMIT)}</b>{cut}</span>"
        f"<span>reference <b>{isolated(row.get('label'), TEXT_LIMIT)}</b></span>"
        f"<span>{others} · {escaped(record.place(row))}</span></li>"
    )


def story_section(record: RunRecord) -> Html:
    """The same prompts answered at every evaluation: from the base to the end of the training."""
    if not record.samples:
        return Html("")
    prompts = list(dict.fromkeys(str(row.get("prompt")) for row in record.samples))
    parts = [paragraph("Validation prompts, answered before the first step and at every evaluation.")]
    for prompt in prompts:
        own = [row for row in record.samples if str(row.get("prompt")) == prompt]
        rows: list[list[object]] = [
            [
                count(row.get("step")),
                isolated(row.get("answer"), TEXT_LIMIT),
                "by itself" if row.get("stopped") else "cut off",
            ]
            for row in own
        ]
        rows.append(["reference", isolated(own[-1].get("reference"), TEXT_LIMIT), ""])
        parts.append(table(wording.visible(prompt, TEXT_LIMIT), ["step", "answer", "ended"], rows, numbers=()))
    return section("story", "From the base to the tuned model", *parts)


def errors_section(record: RunRecord) -> Html:
    """Wrong predictions with their texts, the surest first: either the model is wrong, or the label."""
    if not record.predictions:
        return section("errors", "Worst errors", paragraph("No predictions are recorded in this run."))
    wrong = [row for row in record.predictions if row.get("label") != row.get("prediction")]
    wrong.sort(key=lambda row: -(finite(row.get("probability")) or 0.0))
    total = count(len(record.predictions), "test rows")
    if not wrong:
        return section("errors", "Worst errors", paragraph(f"None: all {total} got the right label."))
    shown = wrong[:MOST_ERRORS]
    these = "is the one" if len(shown) == 1 else f"are the {len(shown)}"
    look = "Look at them" if record.shows_images else "Read the texts"
    text = (
        f"{len(wrong):,} of {total} are wrong. Here {these} the model was surest of. {look}: often it is the label "
        "that is wrong, and mending it helps most."
    )
    items = "".join(_error(record, row) for row in shown)
    return section("errors", "Worst errors", paragraph(text), f'<ol class="errors">{items}</ol>')


def _error(record: RunRecord, row: Mapping[str, Any]) -> str:
    label, prediction = row.get("label"), row.get("prediction")
    right = [escaped(arm) for arm, guess in entries(row.get("arms")).items() if guess == label]
    others = f" · right: {', '.join(right)}" if right else ""
    shown = row.get("text", short_name(row))
    return (
        f'<li>{error_picture(record, row)}<q dir="auto">{escaped(shown, TEXT_LIMIT)}</q>'
        f"<span>label <b>{isolated(label or NONE, TEXT_LIMIT)}</b> · predicted "
        f"<b>{isolated(prediction or NONE, TEXT_LIMIT)}</b> "
        f"({figure('accuracy', row.get('probability'))} sure){others} · {escaped(record.place(row))}</span></li>"
    )
