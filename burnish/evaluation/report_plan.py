"""A plan as a page: the answer and its reasons, every arm with its interval, and where each default comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from burnish.evaluation import wording
from burnish.evaluation.chart import Interval, Series, interval_chart, line_chart
from burnish.evaluation.report_html import Html, bullets, code_block, facts, figures, folded, paragraph, section, table
from burnish.evaluation.report_style import STYLE
from burnish.evaluation.wording import escaped

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(title: str, command: str, parts: str) -> str:
    """A whole page: self-contained, without scripts."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<header><strong>{escaped(command)}</strong></header>\n<main>\n{parts}\n</main>\n</body>\n</html>\n"
    )


def render_plan(found: Mapping[str, Any]) -> str:
    """The HTML page of what `lifecycle.advise.plan` gives."""
    parts = [_answer(found), _arms(found), _data(found), _choices(found)]
    return page(f"burnish plan: {found['answer']}", f"burnish plan · {found['task']}", "\n".join(parts))


def _answer(found: Mapping[str, Any]) -> Html:
    use = f": {wording.arm_title(found['use'])}" if found["use"] else ""
    cost = found["cost"]
    memory = f"{cost['peak_memory_bytes'] / 1e9:.1f} GB"
    about = f"The whole training would take about {cost['training_seconds']:.0f} s and {memory}, by {cost['by']}."
    return Html(
        f'<section class="verdict"><p class="tag">{escaped(found["sure"])}</p>'
        f"<h1>{escaped(found['answer'].capitalize() + use)}</h1>{bullets(found['reasons'])}"
        f'{paragraph(about, "note")}<p class="advice">Next: {escaped(found["next"])}</p></section>'
    )


def _arms(found: Mapping[str, Any]) -> Html:
    metric, share = found["metric"], wording.is_share(found["metric"])
    scale, unit = (100.0, " %") if share else (1.0, "")
    shown = {"rehearsal": found["rehearsal"], **found["arms"]}
    sign = 1.0 if metric in wording.ERRORS else -1.0
    rows = [
        Interval(
            "a short rehearsal of the training" if name == "rehearsal" else wording.arm_title(name),
            scale * value["value"],
            None if value["low"] is None else scale * value["low"],
            None if value["high"] is None else scale * value["high"],
            highlight=name == "rehearsal",
        )
        for name, value in sorted(shown.items(), key=lambda item: sign * float(item[1]["value"]))
    ]
    n = found["rehearsal"]["n"]
    title = wording.metric_title(metric)
    charts = [
        interval_chart(
            rows,
            title=f"{title} on rows that nothing learned from",
            description=f"{len(rows)} ways, n = {n:,}, 95 % intervals",
            x_label=f"{title}, n = {n:,}",
            unit=unit,
        )
    ]
    points = found["curve"]["points"]
    if points:
        names = [name for name in points[0] if name not in ("rows", "majority")]
        lines = [Series(wording.arm_title(name), [(p["rows"], scale * p[name]) for p in points]) for name in names[:3]]
        charts.append(
            line_chart(
                lines,
                title="The arms on fewer rows",
                description=f"{title} over training rows",
                x_label="training rows",
                y_label=title + unit,
            )
        )
    return section("arms", "What was measured", figures(*charts))


def _data(found: Mapping[str, Any]) -> Html:
    data = found["data"]
    shown: dict[str, object] = {f"{part} rows": f"{rows:,}" for part, rows in data["rows"].items()}
    shown["test rows"] = f"{data['rows']['test']:,}, sealed: not looked at"
    shown["learned from"] = " + ".join(f"{rows:,}" for rows in data["measured_on"]["learned"])
    shown["judged on"] = " + ".join(f"{rows:,}" for rows in data["measured_on"]["judged"])
    if data["disagreeing"] is not None:
        shown["nearest neighbours that disagree"] = f"{data['disagreeing']:.1%}"
    shown |= {code: f"{count:,} rows" for code, count in data["problems"].items()}
    return section("data", "The data", facts(shown), bullets([*data["notes"], *data["warnings"]]))


def _choices(found: Mapping[str, Any]) -> Html:
    rows = [(choice["field"], choice["value"], choice["why"], choice["source"]) for choice in found["choices"]]
    license_ = found["base"]["license"]
    about = {"license of the base": license_["title"] or license_["name"] or "unknown"}
    if found["cost"]["forecast"]:
        about["foreseen before the rehearsal"] = found["cost"]["forecast"]["said"]
    return section(
        "defaults",
        "Base, method and settings",
        facts(about),
        table("What would be trained with", ("field", "value", "why", "source"), rows),
        folded("The recipe, with every default filled in", code_block("The recipe", found["recipe"])),
    )
