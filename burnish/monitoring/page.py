"""What a monitor found as a page: the answer first, then what rests on it; self-contained, without scripts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation import chart, wording
from burnish.evaluation.report_html import Html, bullets, code, content, figures, isolated, paragraph, section, table
from burnish.evaluation.report_style import STYLE
from burnish.evaluation.wording import count, escaped
from burnish.monitoring.words import HEADLINES, what

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
SIGNS = {"drift": "▼ drift", "no drift seen": "= no drift seen", "too few rows": "? too few rows"}
KINDS = {"drift": "worse", "no drift seen": "better"}
MOST_CHARTS = 6


def render_monitor(found: Mapping[str, Any]) -> str:
    """The HTML page of what `lifecycle.monitor.monitor` gives."""
    parts = [_answer(found), _tests(found), _quality(found), _charts(found), _new_rows(found)]
    title = f"{HEADLINES[found['answer']]} burnish monitor of {found['run']}"
    about = "".join(f"<span>{escaped(item, 120)}</span>" for item in (f"run {found['run']}", found["task"]))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<header><strong>burnish monitor</strong>{about}</header>\n"
        f"<main>\n{''.join(parts)}\n</main>\n</body>\n</html>\n"
    )


def _answer(found: Mapping[str, Any]) -> Html:
    answer = found["answer"]
    rows = (
        f"{count(found['compared'])} of {count(found['rows'], 'new rows')} from {escaped(found['data'], 120)} were "
        f"compared with {count(found['reference_rows'], 'test rows')} of the run, which the model never learned from. "
        f"When nothing has changed, an alarm has a chance of {100 * found['alpha']:g}{wording.TIED}% at most, over all "
        "tests together."
    )
    return Html(
        f'<section class="verdict" id="verdict"><p class="tag {KINDS.get(answer, "")}">{SIGNS[answer]}</p>'
        f"<h1>{escaped(HEADLINES[answer])}</h1>"
        f"{paragraph(Html(rows), 'lead')}"
        f'<p class="advice"><strong>What to do.</strong> {content(found["advice"])}</p>'
        f"{paragraph(found['power'] + '.', 'note')}</section>"
    )


def _tests(found: Mapping[str, Any]) -> Html:
    rows = []
    for test in found["tests"]:
        mark = "▼ changed" if test["alarm"] else "= as before"
        shown = Html(f'<span class="{"worse" if test["alarm"] else "better"}">{mark}</span>')
        cells = [wording.p_value(test["adjusted"]), wording.p_value(test["p_value"])]
        rows.append([isolated(what(test["of"]), 80), shown, *cells])
    caption = "What was compared: chance of such a difference when nothing has changed"
    heads = ["compared", "outcome", "with all tests counted", "by itself"]
    return section("tests", "What was compared", table(caption, heads, rows, numbers={2, 3}))


def _quality(found: Mapping[str, Any]) -> Html:
    quality = found["quality"]
    if not quality:
        return Html("")
    metric = quality["metric"]
    scale, unit = (100.0, "%") if wording.is_share(metric) else (1.0, "")
    if quality["measured"]:
        sentence = (
            f"Measured on the labels of the new rows: {wording.metric_title(metric)} went from "
            f"{wording.figure(metric, quality['before'])} to {wording.figure(metric, quality['after'])}. That is "
            f"{abs(quality['share']):.1%} {'worse' if quality['share'] > 0 else 'better'} (95 % interval "
            f"{quality['low']:+.1%} to {quality['high']:+.1%} worse); training again is called for from "
            f"{quality['rule']:.0%} on, when chance does not explain it."
        )
        return section("quality", "How good the answers are", paragraph(sentence))
    expected = (scale * quality["value"], scale * quality["low"], scale * quality["high"])
    drawn = chart.interval_chart(
        [
            chart.Interval("on the test rows, measured", scale * quality["before"]),
            chart.Interval("on the new rows, expected", *expected, highlight=True),
        ],
        title=f"Expected {wording.metric_title(metric)}",
        description=f"{wording.figure(metric, quality['value'])} expected, {wording.interval(metric, quality)}",
        x_label=f"{wording.metric_title(metric)}, {unit}",
        unit=unit,
    )
    assumed = (
        "Without labels this is an estimate from how sure the model is: it holds if answers of the same confidence are "
        "right as often as on the test rows. Of inputs it has never seen a model may be too sure; labels and --labels "
        "measure it."
    )
    return section("quality", "How good the answers may be", figures(drawn), paragraph(assumed, "note"))


def _charts(found: Mapping[str, Any]) -> Html:
    """Those of the tests that speak first."""
    alarms = [test["of"] for test in sorted(found["tests"], key=lambda test: float(test["adjusted"]))]
    drawn = []
    for name in alarms:
        numbers, kinds = found["distributions"]["numbers"].get(name), found["distributions"]["kinds"].get(name)
        if numbers:
            drawn.append(_lines(name, numbers))
        elif kinds:
            drawn.append(_shares(name, kinds))
    return section("charts", "Before and now", figures(*drawn[:MOST_CHARTS])) if drawn else Html("")


def _lines(name: str, shown: Mapping[str, Any]) -> str:
    edges = shown["edges"]
    middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
    series = [
        chart.Series(title, [(x, 100 * y) for x, y in zip(middles, shown[key], strict=True)])
        for title, key in (("new rows", "new"), ("test rows", "reference"))
    ]
    unit = {"length": "characters", "confidence": "probability of the prediction"}.get(name, name)
    text = f"Shares of rows by {name}, from {edges[0]:.3g} to {edges[-1]:.3g}"
    return chart.line_chart(series, title=what(name), description=text, x_label=unit, y_label="% of the rows")


def _shares(name: str, rows: Sequence[Sequence[Any]]) -> str:
    shown = [[isolated(kind, 60), f"{100 * before:.1f}", f"{100 * after:.1f}"] for kind, before, after in rows]
    caption = f"{what(name)}: the values whose shares differ most"
    return table(caption, [name, "% of test rows", "% of new rows"], shown, numbers={1, 2})


def _new_rows(found: Mapping[str, Any]) -> Html:
    new = found["new"]
    if not new:
        return Html("")
    told = (
        f"{count(new['count'], 'new rows')} are farther from every test row than all but one in a hundred test rows "
        f"are from their nearest; of as many rows like those, about {new['by_chance']:g} would be."
    )
    rows = [_row(row) for row in new["rows"]]
    return section("rows", "Rows that look new", paragraph(told), bullets(rows))


def _row(row: Mapping[str, Any]) -> Html:
    place = code(f"{row['file']}:{row['line']}")
    return Html(f"{isolated(row['excerpt'])} {place}")
