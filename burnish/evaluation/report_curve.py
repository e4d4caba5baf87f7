"""A learning curve as a page: what was measured, the law through it, and what more rows would bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.evaluation import wording
from burnish.evaluation.chart import Mark, Series, line_chart
from burnish.evaluation.report_html import Html, bullets, figures, paragraph, section, table
from burnish.evaluation.report_plan import page
from burnish.evaluation.wording import escaped

DOUBLED = 2  # of the forecasts the chart shows those up to twice the rows; ten times would flatten what was measured


def render_curve(found: Mapping[str, Any]) -> str:
    """The HTML page of what `lifecycle.curve.curve` gives."""
    answer = Html(
        f'<section class="verdict"><p class="tag">{escaped(found["task"])}, method {escaped(found["method"])}</p>'
        f"<h1>What would help: {escaped(found['lever'])}</h1>{paragraph(found['why'], 'lead')}</section>"
    )
    return page(f"burnish curve: {found['lever']}", "burnish curve", f"{answer}\n{_chart(found)}\n{_numbers(found)}")


def _chart(found: Mapping[str, Any]) -> Html:
    metric = found["metric"]
    scale, unit = (100.0, " %") if wording.is_share(metric) else (1.0, "")
    title = wording.metric_title(metric)
    measured = [(p["rows"], p["values"]["tuned"]) for p in found["points"]]
    foreseen = [(p["rows"], p) for p in found["forecast"] if p["rows"] <= DOUBLED * found["rows"]]
    both = [*measured, *foreseen] if foreseen and foreseen[0][0] > measured[-1][0] else [*measured, *foreseen[1:]]
    chart = line_chart(
        [
            Series("low", [(rows, scale * value["low"]) for rows, value in both], faint=True),
            Series("measured", [(rows, scale * value["value"]) for rows, value in measured]),
            Series("foreseen", [(rows, scale * value["value"]) for rows, value in [measured[-1], *foreseen]]),
            Series("high", [(rows, scale * value["high"]) for rows, value in both], faint=True),
        ],
        title=f"{title} over training rows",
        description="measured on nested subsets, and foreseen by the law, with 95 % intervals",
        x_label="training rows",
        y_label=title + unit,
        mark=Mark(found["rows"], "all rows"),
    )
    return section("curve", "The curve", figures(chart))


def _numbers(found: Mapping[str, Any]) -> Html:
    metric = found["metric"]
    rows = [(f"{p['rows']:,}", "measured", *_cells(p["values"]["tuned"], metric)) for p in found["points"]]
    rows += [(f"{p['rows']:,}", "foreseen", *_cells(p, metric)) for p in found["forecast"]]
    law = found["law"]
    about = (
        f"{law['form']}, with scale {law['scale']:.3g}, exponent {law['exponent']:.3g} and floor {law['floor']:.3g}; "
        "intervals from draws of the points (Figueroa et al. 2012; Hestness et al. 2017, arXiv:1712.00409)."
    )
    heads = ("training rows", "", wording.metric_title(metric), "95 % interval")
    shown = table("Measured and foreseen", heads, rows, numbers={2, 3})
    return section("numbers", "The numbers", shown, paragraph(about, "note"), bullets(found["notes"]))


def _cells(value: Mapping[str, Any], metric: str) -> tuple[str, str]:
    if wording.is_share(metric):
        return f"{100 * value['value']:.1f} %", f"{100 * value['low']:.1f} to {100 * value['high']:.1f}"
    return f"{value['value']:.4g}", f"{value['low']:.4g} to {value['high']:.4g}"
