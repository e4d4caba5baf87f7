"""Two models side by side as a page: self-contained, without scripts, like the report of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from burnish.evaluation import chart, wording
from burnish.evaluation.report_check import POLICY
from burnish.evaluation.report_html import Html, bullets, facts, figures, isolated, paragraph, section, table
from burnish.evaluation.report_style import STYLE
from burnish.evaluation.wording import (
    count,
    escaped,
    figure,
    interval,
    metric_title,
    name_of_test,
    signed,
    signed_interval,
)

CUT = 400  # characters of a text or an answer
SIGNS = {"better": "▲ A is better", "worse": "▼ B is better", "same": "= the same"}


def render_comparison(found: Mapping[str, Any]) -> str:
    """The HTML page of what `burnish compare --json` prints."""
    names = f"{found['a']} and {found['b']}"
    parts = [_answer(found), _metrics(found), _rows(found)]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(f'burnish compare: {names}')}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<header><strong>burnish compare</strong><span>{escaped(names, 120)}</span></header>\n"
        f"<main>\n{''.join(parts)}\n</main>\n</body>\n</html>\n"
    )


def _answer(found: Mapping[str, Any]) -> Html:
    """The sentence, the difference on its interval, and what it rests on."""
    d, metric = found["difference"], found["metric"]
    scale = 100.0 if wording.is_share(metric) else 1.0
    unit = " points" if scale == 100.0 else ""
    drawn = chart.interval_chart(
        [chart.Interval("A over B", scale * d["difference"], scale * d["low"], scale * d["high"], highlight=True)],
        title="How much better A is, with its 95 % interval",
        description=signed_interval(d),
        x_label=f"{metric_title(metric)}, {'percentage points' if unit else 'in its own unit'}",
        unit=unit,
        mark=chart.Mark(0.0, "no difference"),
    )
    answer = str(found["answer"])
    kind = answer if answer in ("better", "worse") else ""
    rests_on: dict[str, object] = {
        "A": isolated(found["a"]),
        "B": isolated(found["b"]),
        "rows": count(found["n"]),
        "of": isolated("sealed test" if found["split"] == "test" else PurePath(found["split"]).name),
        "difference": f"{signed(metric, d['difference'])} ({signed_interval(d)})",
        "test": f"{name_of_test(d)}, {wording.p_value(d['p_value'])}",
        "rows won": f"{count(found['wins']['a'])} by A, {count(found['wins']['b'])} by B",
    }
    rests_on |= {
        f"{name.upper()} answered in": wording.duration(seconds)
        for name, seconds in found["seconds"].items()
        if seconds is not None
    }
    notes = [f"{side.upper()}: {wording.over_seeds(spread)}" for side, spread in found["seeds"].items() if spread]
    if found["left_out"]:
        notes.append(f"{count(found['left_out'], 'rows')} that only one of the two answered are left out.")
    if found.get("choices", {}).get("n"):
        notes += ["Chosen blind:", *wording.choices(found["choices"], found["choices"]["prompts"])]
    return Html(
        f'<section class="verdict" id="answer"><p class="tag {kind}">{escaped(SIGNS.get(answer, answer))}</p>'
        f"<h1>{escaped(found['sentence'])}</h1>{figures(drawn)}{facts(rests_on)}{bullets(notes) if notes else ''}"
        "</section>"
    )


def _metrics(found: Mapping[str, Any]) -> Html:
    differences = {entry["metric"]: entry for entry in (found["difference"], *found["comparisons"])}
    rows: list[list[object]] = []
    for name, entry in differences.items():
        both = (found["models"][side][name] for side in "ab")
        values = [Html(f"{figure(name, one['value'])}<small>{interval(name, one)}</small>") for one in both]
        gain = Html(f"{signed(name, entry['difference'])}<small>{signed_interval(entry)}</small>")
        rows.append([metric_title(name), *values, gain, wording.p_value(entry.get("p_holm", entry["p_value"]))])
    note = "The first metric decides. The p-values of the others are corrected for there being several of them (Holm)."
    caption = f"Both on {count(found['n'], 'rows')}, with 95 % intervals"
    heads = ["metric", "A", "B", "A over B", "p-value"]
    return section("metrics", "By every metric", table(caption, heads, rows, numbers={1, 2, 3, 4}), paragraph(note))


def _rows(found: Mapping[str, Any]) -> Html:
    if not found["rows"]:
        return section("rows", "Where they differ", paragraph("They answer every row alike."))
    items = "".join(_row(row) for row in found["rows"])
    text = "Rows that the two answer differently; first those that one of them answers better, in turns."
    return section("rows", "Where they differ", paragraph(text), f'<ol class="errors">{items}</ol>')


def _row(row: Mapping[str, Any]) -> str:
    better = f" · {row['better'].upper()} is better" if row["better"] else ""
    place = f"{PurePath(str(row['file'])).name}:{row['line']}"
    return (
        f'<li><q dir="auto">{escaped(row["text"], CUT)}</q>'
        f"<span>A <b>{isolated(row['a'], CUT)}</b></span><span>B <b>{isolated(row['b'], CUT)}</b></span>"
        f"<span>wanted <b>{isolated(row['label'], CUT)}</b>{better} · {escaped(place)}</span></li>"
    )
