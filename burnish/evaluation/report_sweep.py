"""A sweep as a page: the best values, the trials behind them, and what mattered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.evaluation import wording
from burnish.evaluation.chart import Bar, bar_chart
from burnish.evaluation.parallel_chart import Axis, Line, parallel_chart
from burnish.evaluation.report_html import Html, facts, figures, paragraph, section, table
from burnish.evaluation.report_plan import page
from burnish.evaluation.wording import escaped

STATES = {"pruned": "given up early", "failed": "failed"}


def render_sweep(found: Mapping[str, Any]) -> str:
    """The HTML page of what `lifecycle.sweep.sweep` gives."""
    parts = "\n".join([_answer(found), _charts(found), _trials(found)])
    return page("burnish sweep", f"burnish sweep · {found['task']}", parts)


def _answer(found: Mapping[str, Any]) -> Html:
    metric, best, verdict = found["metric"], found["best"], found["verdict"]
    title = f"{wording.metric_title(metric)} {_shown(best['value'], metric)} on the validation rows"
    before = f"{_shown(found['first']['value'], metric)} with the recipe as it is"
    lead = f"The best of {len(found['trials'])} trials; {before}."
    judged = f"On the sealed test rows, opened once, the winner is {verdict['answer']}: {verdict['advice']}"
    saved = found["saved"]
    time_saved = f"about {saved['seconds']:.0f} s of {saved['of_seconds']:.0f}"
    early = f"{saved['trials']} trials were given up early, which saved {time_saved}."
    return Html(
        f'<section class="verdict"><p class="tag">validation chooses, the test judges once</p><h1>{escaped(title)}</h1>'
        f"{paragraph(lead, 'lead')}{facts({name: _value(value) for name, value in best['values'].items()})}"
        f'<p class="advice">{escaped(judged)}</p>{paragraph(early, "note") if saved["trials"] else ""}</section>'
    )


def _charts(found: Mapping[str, Any]) -> Html:
    charts = [_parallel(found)]
    if found["importance"]:
        bars = [Bar(name, 100 * share) for name, share in found["importance"].items()]
        about = "share of each field in what tells the good trials from the others (PED-ANOVA)"
        charts.append(bar_chart(bars, title="What mattered", description=about, x_label="share", unit=" %"))
    return section("charts", "What was tried", figures(*charts))


def _parallel(found: Mapping[str, Any]) -> str:
    metric, best = found["metric"], found["best"]
    scale = 100.0 if wording.is_share(metric) else 1.0
    whole = [row for row in found["trials"] if row["state"] == "complete"]
    values = [scale * row["value"] for row in whole]
    title = wording.metric_title(metric) + (", %" if scale > 1 else "")
    axes = [*map(_axis, found["space"]), Axis(title, (), min(values), max(values))]
    fields = [dimension["field"] for dimension in found["space"]]
    lines = [
        Line((*(row["values"].get(field) for field in fields), scale * row["value"]), row["trial"] == best["trial"])
        for row in whole
    ]
    about = f"each line is one of {len(whole)} trials that came to their end; the thick one is the best"
    return parallel_chart(axes, lines, title="Trials through their values", description=about)


def _axis(dimension: Mapping[str, Any]) -> Axis:
    name = dimension["field"]
    if "choices" in dimension:
        return Axis(name, tuple(dimension["choices"]))
    return Axis(name, (), dimension["low"], dimension["high"], dimension["logarithmic"])


def _trials(found: Mapping[str, Any]) -> Html:
    metric = found["metric"]
    fields = [dimension["field"] for dimension in found["space"]]
    sign = -1.0 if found["higher_is_better"] else 1.0
    order = sorted(found["trials"], key=lambda row: (row["value"] is None, sign * (row["value"] or 0.0), row["trial"]))
    rows = [
        [
            str(row["trial"]),
            _shown(row["value"], metric) if row["value"] is not None else STATES[row["state"]],
            *(_value(row["values"][field]) if field in row["values"] else "-" for field in fields),
            f"{len(row['evaluations'])} of {row['of']}",
            f"{row['seconds']:.0f}",
        ]
        for row in order
    ]
    heads = ["trial", wording.metric_title(metric), *fields, "evaluations", "seconds"]
    numbers = set(range(1, len(heads)))
    return section("trials", "All trials", table("Trials, the best first", heads, rows, numbers=numbers, strong={0}))


def _shown(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if wording.is_share(metric) else f"{value:.4g}"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
