"""The parts of a report on trust: groups, calibration, confidence, other spellings, rows learned by heart, flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation import chart, wording
from burnish.evaluation.report_html import Html, code, figures, folded, isolated, paragraph, section, table
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import arm_title, count, entries, figure, finite, interval, metric_title

NAME_LIMIT = 60  # characters of a group or a column
RATES = {
    "selection": "given {positive}",
    "true-positive": "found among {positive}",
    "false-positive": "given {positive} wrongly",
}
COMMAND = "burnish predict RUN --min-confidence P"
CONTINUED = ("training", "held_out")
SPELLINGS = {
    "typos": "typing errors",
    "upper": "capitals",
    "lower": "small letters",
    "spaces": "other spaces and signs",
}


def groups_section(record: RunRecord) -> Html:
    """The metric of each group, the widest gap, and the gate that looks at it."""
    judged = entries(record.evaluation.get("groups"))
    metric = str(judged.get("metric"))
    gate = next((g for g in record.evaluation.get("gates") or () if entries(g).get("name") == "groups"), None)
    parts: list[str] = [
        paragraph(
            f"{_sentence(metric_title(metric))} of each group on the test rows. Groups under "
            f"{count(judged.get('fewest'))} rows are not compared. The intervals of gaps hold for all pairs of groups "
            "at once: of many groups, the best and the worst are apart by chance alone."
        )
    ]
    if gate is not None:
        kind = "better" if gate.get("passed") else "worse"
        mark = "✓ gate passed" if gate.get("passed") else "✗ gate not passed"
        parts.append(
            Html(f'<p><strong class="{kind}">{mark}.</strong> {wording.escaped(gate.get("reason", ""), 500)}</p>')
        )
    parts += [_column(metric, entries(column)) for column in judged.get("columns") or ()]
    return section("groups", "Is it as good for every group?", *parts)


def _column(metric: str, column: Mapping[str, Any]) -> Html:
    name = wording.visible(column.get("column"), NAME_LIMIT)
    groups = [entries(group) for group in column.get("groups") or ()]
    if not groups:
        return paragraph(f"{name}: no group has enough test rows to be compared.", "note")
    rates = [rate for rate in RATES if any(rate in entries(group.get("rates")) for group in groups)]
    positive = f"“{wording.visible(column.get('positive'), NAME_LIMIT)}”"
    heads = ["group", "test rows", metric_title(metric), "against all others"]
    heads += [RATES[rate].format(positive=positive) for rate in rates]
    rows = [
        [
            isolated(group.get("group"), NAME_LIMIT),
            count(group.get("n")),
            _value(metric, group),
            _signed(metric, entries(group.get("against_others"))),
            *(_value("accuracy", entries(entries(group.get("rates")).get(rate))) for rate in rates),
        ]
        for group in groups
    ]
    listed = table(f"Groups of {name}, with 95 % intervals", heads, rows, numbers=range(1, len(heads)))
    return Html(listed + paragraph(f"{name}: {_gaps(metric, column, positive)}", "note"))


def _gaps(metric: str, column: Mapping[str, Any], positive: str) -> str:
    gap, said = entries(column.get("gap")), []
    if gap:
        said.append(
            f"{wording.visible(gap.get('best'), NAME_LIMIT)} and {wording.visible(gap.get('worst'), NAME_LIMIT)} are "
            f"furthest apart, by {_plain(metric, gap)}"
        )
    for rate, words in RATES.items():
        if between := entries(entries(column.get("rate_gaps")).get(rate)):
            high, low = (wording.visible(between.get(end), NAME_LIMIT) for end in ("highest", "lowest"))
            said.append(f"{words.format(positive=positive)}: {high} before {low} by {_plain('accuracy', between)}")
    small = [f"{wording.visible(g['group'], NAME_LIMIT)} ({g['n']})" for g in column.get("too_small") or ()]
    if small:
        said.append(f"not compared: {', '.join(small[:10])}{' …' if len(small) > 10 else ''}")
    return "; ".join(said) + "." if said else "nothing to compare."


def calibration_section(record: RunRecord) -> Html:
    """Whether rows that are said to be 70 % sure come true 70 times in a hundred."""
    calibration = entries(record.evaluation.get("calibration"))
    models = {name: entries(model) for name, model in entries(calibration.get("models")).items()}
    series = [chart.Series("as said", [(0.0, 0.0), (100.0, 100.0)], faint=True)]
    parts: list[str] = []
    for place, (name, model) in enumerate(models.items()):
        temperature, bins = entries(model.get("temperature")), entries(model.get("bins"))
        when = ("after", "before") if place == 0 else ("after",)
        titled = {"after": arm_title(name), "before": f"{arm_title(name)}, before"}
        if not temperature.get("reason"):
            parts += [_changes(name, temperature, entries(model.get("figures")), record.evaluation.get("n"))]
        else:
            stay = f"{arm_title(name)}: its probabilities stay as they come. {_sentence(temperature['reason'])}."
            parts.append(paragraph(stay, "note"))
            when = ("after",)
        series += [chart.Series(titled[w], _points(bins.get(w) or ()), faint=w == "before") for w in when]
    drawn = chart.line_chart(
        series,
        title="What came true, by the probability that was given",
        description="one point for each bin of test rows that are about equally sure",
        x_label="probability given, %",
        y_label="came true, %",
    )
    text = (
        f"Test rows in bins of equally many, by the probability of {calibration.get('of')}. A model on the straight "
        "line can be taken at its word; below it, it is too sure. Calibration error is the mean distance from it."
    )
    first = entries(next(iter(models.values()), {}))
    rows = [
        [count(b["n"]), figure("accuracy", b["probability"]), figure("accuracy", b["share"]), interval("accuracy", b)]
        for b in entries(first.get("bins")).get("after") or ()
    ]
    heads = ["test rows", "mean probability", "came true", "95 % interval"]
    listed = folded("The bins", table("Bins of the model that answers", heads, rows, numbers={0, 1, 2, 3}))
    return section("calibration", "Can its probabilities be believed?", paragraph(text), figures(drawn), *parts, listed)


def _points(bins: Sequence[Any]) -> list[tuple[float, float]]:
    return [(100 * b["probability"], 100 * b["share"]) for b in map(entries, bins)]


def _changes(name: str, temperature: Mapping[str, Any], found: Mapping[str, Any], n: Any) -> Html:
    rows = [
        [
            metric_title(metric),
            *(_value(metric, entries(entries(values).get(key))) for key in ("before", "after")),
            _signed(metric, entries(entries(values).get("difference"))),
        ]
        for metric, values in found.items()
    ]
    return table(
        f"{_sentence(arm_title(name))}: temperature {finite(temperature.get('temperature')) or 1.0:.2f} from "
        f"{count(temperature.get('n'), 'validation rows')}; {count(n, 'test rows')}, 95 % intervals, lower is better",
        ["figure", "before", "after", "change"],
        rows,
        numbers={1, 2, 3},
    )


def _sentence(text: object) -> str:
    """The text with a capital first letter."""
    return f"{str(text)[:1].upper()}{str(text)[1:]}"


def confidence_section(record: RunRecord) -> Html:
    """How many rows are answered, and how well, when the unsure ones are left to people."""
    judged = entries(record.evaluation.get("confidence"))
    rows = [
        [f"{finite(row.get('threshold')) or 0.0:g}", *_answered(row)]
        for row in map(entries, judged.get("rows") or ())
        if row.get("n")
    ]
    parts: list[str] = [
        paragraph(
            Html(
                f"Answers may be held back where the probability of the label is low: {code(COMMAND)} marks such rows "
                "as unsure. What is left of the test rows, and how good it is:"
            )
        ),
        table(
            f"{count(judged.get('n'), 'test rows')} by how sure the model has to be, with 95 % intervals",
            ["at least", "answered", "test rows", "right of them"],
            rows,
            numbers={1, 2, 3},
        ),
    ]
    if target := entries(judged.get("target")):
        parts.append(paragraph(confidence_advice(target)))
    return section("confidence", "How sure does it have to be?", *parts)


def confidence_advice(target: Mapping[str, Any]) -> str:
    """One sentence on `evaluation.min_accuracy`: the threshold that validation chose and what it gives."""
    wanted = figure("accuracy", target.get("min_accuracy"))
    threshold, test = finite(target.get("threshold")), entries(target.get("test"))
    if threshold is None:
        return f"On validation rows no threshold gives {wanted} right answers."
    covered, right = (figure("accuracy", test.get(key)) for key in ("coverage", "accuracy"))
    return (
        f"For {wanted} right answers, validation chooses --min-confidence {math.floor(threshold * 1000) / 1000:g}. Of "
        f"the test rows it answers {covered}, and {right} of these are right "
        f"(95 % interval {interval('accuracy', test)}, {count(test.get('n'), 'rows')})."
    )


def _answered(row: Mapping[str, Any]) -> list[object]:
    shown = _value("accuracy", {**row, "value": row.get("accuracy")})
    return [figure("accuracy", row.get("coverage")), count(row.get("n")), shown]


def spellings_section(record: RunRecord) -> Html:
    """What the metric loses when the same rows are typed otherwise."""
    judged = entries(record.evaluation.get("robustness"))
    metric = str(judged.get("metric"))
    rows = []
    for name, kind in entries(judged.get("kinds")).items():
        drop = entries(entries(kind).get("drop"))
        fallen = {key: 0.0 - value for key in ("value", "low", "high") if (value := finite(drop.get(key))) is not None}
        turned = {"value": fallen.get("value"), "low": fallen.get("high"), "high": fallen.get("low")}
        rows.append([
            SPELLINGS.get(name, name), figure(metric, entries(kind).get("value")), _signed(metric, turned),
            figure("accuracy", entries(kind).get("changed")),
        ])  # fmt: skip
    text = (
        f"{count(judged.get('n'), 'test rows')}, spelt otherwise. As they are, {metric_title(metric)} on them is "
        f"{figure(metric, judged.get('value'))}. Where typing errors cost much, learn from some: data.noisy_copies."
    )
    heads = ["spelt with", metric_title(metric), "gain, or loss", "other answers"]
    listed = table("Other spellings, with 95 % intervals of the change", heads, rows, numbers={1, 2, 3})
    return section("robustness", "Does it hold up when people type?", paragraph(text), listed)


def memory_section(record: RunRecord) -> Html:
    """Training rows that are reproduced, and planted secrets that are given away."""
    memory = entries(record.evaluation.get("memorisation"))
    continued, canaries = entries(memory.get("continuations")), [entries(c) for c in memory.get("canaries") or ()]
    parts: list[str] = []
    if continued:
        text = (
            f"{count(continued.get('n'), 'training rows')} and {count(continued.get('held_out_n'), 'test rows')} "
            "were gone on with from their first half. What is done with test rows too was not learned by heart: the "
            "difference counts."
        )
        rows = [
            [
                words,
                *(_value("accuracy", entries(entries(continued.get(name)).get(part))) for part in CONTINUED),
                _signed("accuracy", entries(entries(continued.get(name)).get("difference"))),
            ]
            for name, words in (("exact", "token by token"), ("overlap", "half of it in one go"))
        ]
        heads = ["second half reproduced", "training rows", "test rows", "difference"]
        parts += [paragraph(text), table("Rows learned by heart, with 95 % intervals", heads, rows, numbers={1, 2, 3})]
    if canaries:
        text = (
            "Each planted secret among random ones of its shape, by how likely the model finds the row. Chance gives "
            "an exposure of about 1 bit; the highest that can be seen is given away for certain."
        )
        shown = [
            [record.place(c), f"{count(c['rank'])} of {count(c['of'])}", _bits(c, "exposure"), _bits(c, "most")]
            for c in canaries
        ]
        listed = table("Planted secrets", ["row", "rank", "exposure", "highest"], shown, numbers={1, 2, 3})
        parts += [paragraph(text), listed]
    return section("memorisation", "Did it learn rows by heart?", *parts)


def _bits(canary: Mapping[str, Any], key: str) -> str:
    return f"{finite(canary.get(key)) or 0.0:.1f} bits"


def flagged_section(record: RunRecord) -> Html:
    """How many answers a moderator flags, of the tuned model and of the base."""
    flagged = entries(record.evaluation.get("flagged"))
    rows: list[list[object]] = []
    for name in ("tuned", "base"):
        counts = entries(entries(flagged.get("categories")).get(name))
        told = ", ".join(f"{wording.visible(label, NAME_LIMIT)} {count(n)}" for label, n in counts.items())
        rows.append([name, _value("accuracy", entries(flagged.get(name))), told or "none"])
    text = (
        f"Answers to {count(flagged.get('n'), 'test prompts')} as {wording.visible(flagged.get('moderator'), 200)} "
        f"judges them. Tuned minus base: {wording.signed('accuracy', entries(flagged.get('difference')).get('value'))} "
        f"({wording.signed_interval({'metric': 'accuracy', **entries(flagged.get('difference'))})})."
    )
    listed = table("Flagged answers, with 95 % intervals", ["model", "flagged", "for"], rows, numbers={1})
    return section("flagged", "What are its answers flagged for?", paragraph(text), listed)


def _value(metric: str, entry: Mapping[str, Any]) -> Html:
    return Html(f"{figure(metric, entry.get('value'))}<small>{interval(metric, entry)}</small>")


def _signed(metric: str, entry: Mapping[str, Any]) -> Html:
    shown = {"metric": metric, **entry}
    return Html(f"{wording.signed(metric, entry.get('value'))}<small>{wording.signed_interval(shown)}</small>")


def _plain(metric: str, entry: Mapping[str, Any]) -> str:
    """A gap without its sign, and its interval."""
    value = wording.signed(metric, entry.get("value")).removeprefix("+")
    return f"{value} ({wording.signed_interval({'metric': metric, **entry})})"
