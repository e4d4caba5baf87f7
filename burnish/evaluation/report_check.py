"""The findings of `burnish check` as a page: self-contained, without scripts, like the report of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation.report_html import Html, bullets, code, facts, folded, paragraph, section, table
from burnish.evaluation.report_style import STYLE
from burnish.evaluation.wording import escaped

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
TITLES = {"error": "To mend", "warning": "To look at", "info": "Good to know"}
SHOWN = 20  # places of a finding


def render_check(found: Mapping[str, Any]) -> str:
    """The HTML page of what `lifecycle.check.check_data` gives."""
    findings: Sequence[Mapping[str, Any]] = found["findings"]
    files = ", ".join(map(str, found["files"]))
    parts = [section("data", "What was read", *_read(found))]
    for severity, title in TITLES.items():
        group = [finding for finding in findings if finding["severity"] == severity]
        if group:
            parts.append(section(severity, title, *(_finding(finding) for finding in group)))
    if not findings:
        parts.append(section("clean", "Findings", paragraph("No problems found.")))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(f'burnish check of {files}')}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<header><strong>burnish check</strong><span>{escaped(files, 120)}</span></header>\n"
        f"<main>\n{''.join(parts)}\n</main>\n</body>\n</html>\n"
    )


def _read(found: Mapping[str, Any]) -> list[Html]:
    shown: dict[str, object] = {"rows": f"{found['rows']:,}", **found["splits"]}
    lengths = found["lengths"]
    parts = [facts(shown), bullets([*found["notes"], *found["warnings"]])]
    if lengths:
        rows = [(f"{edge:,}", f"{count:,}") for edge, count in lengths["histogram"]]
        parts.append(table("Characters per row", ("from", "rows"), rows, numbers={1}))
    return parts


def _finding(finding: Mapping[str, Any]) -> Html:
    """What was found in one sentence, what to do, and the places folded away."""
    rows = f"{finding['count']:,} rows ({finding['share']:.1%}) " if finding["count"] else ""
    parts = [paragraph(Html(f"<strong>{escaped(rows + finding['what'])}</strong> {code(finding['code'])}"))]
    parts.append(paragraph(f"→ {finding['fix']}"))
    if finding["details"]:
        parts.append(folded("Details", bullets([code(line) for line in finding["details"]])))
    if finding["places"]:
        first = finding["places"][:SHOWN]
        name = f"Rows (the first {len(first)} of {finding['count']:,})" if finding["count"] > len(first) else "Rows"
        parts.append(folded(name, bullets([code(place) for place in first])))
    return Html("".join(parts))
