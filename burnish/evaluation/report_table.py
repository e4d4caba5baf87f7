"""The parts of a report that only a table has: the columns relied on, and the largest misses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.evaluation import chart
from burnish.evaluation.report_html import Html, figures, isolated, paragraph, section, table
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import (
    ERRORS,
    count,
    entries,
    escaped,
    finite,
    is_share,
    metric_title,
)

MOST_COLUMNS, MOST_MISSES = 20, 25
NAME_LIMIT, TEXT_LIMIT = 60, 400  # characters
KEYS = ("loss", "low", "high")  # of a column: mean, least and greatest over the shuffles


def importance_section(record: RunRecord) -> Html:
    """What the deciding metric loses when the cells of a column are shuffled."""
    importance = entries(record.evaluation.get("importance"))
    metric = str(importance.get("metric"))
    found = [entries(entry) for entry in importance.get("columns") or ()]
    scale = 100.0 if is_share(metric) else 1.0
    shown = [(str(entry.get("column")), scale * (finite(entry.get("loss")) or 0.0)) for entry in found[:MOST_COLUMNS]]
    unit = " points" if scale == 100.0 else ""
    change = "gain of error" if metric in ERRORS else "loss"
    drawn = chart.bar_chart(
        [chart.Bar(column, round(max(0.0, loss), 2)) for column, loss in shown],
        title=f"{metric_title(metric)} lost without a column",
        description="; ".join(f"{column} {loss:.2f}{unit}" for column, loss in shown[:5]),
        x_label=f"{change} of {metric_title(metric)}{',' + unit if unit else ''}",
    )
    rows = [
        [isolated(entry.get("column"), NAME_LIMIT), *(f"{scale * (finite(entry.get(key)) or 0.0):.2f}" for key in KEYS)]
        for entry in found
    ]
    rows_read = count(importance.get("n"), "validation rows")
    text = (
        f"The model of this run, the {record.evaluation.get('shipped')}, on {rows_read} with the cells of one column "
        f"shuffled {count(importance.get('repeats'))} times. Columns that say the same stand in for each other: each "
        "alone then looks dispensable."
    )
    heads = ["column", f"mean{unit}", "least", "most"]
    listed = table("Every column that is read", heads, rows, numbers={1, 2, 3})
    return section("importance", "What it relies on", paragraph(text), figures(drawn), listed)


def misses_section(record: RunRecord) -> Html:
    """Test rows whose number was missed by most."""
    rows = sorted(record.predictions, key=lambda row: -_miss(row))[:MOST_MISSES]
    cells: list[list[object]] = [
        [
            Html(f'<q dir="auto">{escaped(row.get("text", ""), TEXT_LIMIT)}</q>'),
            f"{finite(row.get('label')) or 0.0:,.5g}",
            f"{finite(row.get('prediction')) or 0.0:,.5g}",
            record.place(row),
        ]
        for row in rows
    ]
    text = "Where the model was furthest off. Look at these rows first: a wrong number is often one of the data."
    listed = table("Largest misses", ["row", "truth", "predicted", "place"], cells, numbers={1, 2})
    return section("misses", "Largest misses", paragraph(text), listed)


def _miss(row: Mapping[str, Any]) -> float:
    return abs((finite(row.get("label")) or 0.0) - (finite(row.get("prediction")) or 0.0))
