"""The part of a report that shows what vectors were judged by: the searches, or pairs, that went worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation.report_html import Html, isolated, paragraph, section
from burnish.evaluation.run_record import RunRecord
from burnish.evaluation.wording import count, entries, escaped, finite

SHOWN = 20
TEXT_LIMIT = 400  # characters


def worst_section(record: RunRecord) -> Html:
    """What was judged, and the rows that the tuned model got most wrong."""
    judged = entries(record.evaluation.get("judged_by"))
    rows = [row for row in record.predictions if "similarity" in row or "places" in row]
    if judged.get("kind") == "search":
        return _searches(record, judged, rows)
    return _pairs(record, judged, rows)


def _searches(record: RunRecord, judged: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Html:
    about = (
        f"{count(judged.get('documents'), 'texts')} were searched for each of {count(judged.get('queries'), 'queries')}"
        f"; half of the queries have {count(judged.get('relevant_in_the_middle'))} relevant texts or fewer among them."
    )
    lost = [row for row in rows if 1 not in (row.get("places") or ())]
    lost.sort(key=lambda row: min(row.get("places") or (11,)), reverse=True)
    if not lost:
        return section("worst", "Worst searches", paragraph(about), paragraph("None: all find a relevant text first."))
    shown = lost[:SHOWN]
    more = f"{len(lost):,} find another text first. Here are {len(shown):,} of them, those that find it last."
    items = "".join(_search(record, row) for row in shown)
    listed = Html(f'<ol class="errors">{items}</ol>')
    return section("worst", "Worst searches", paragraph(about), paragraph(more), listed)


def _search(record: RunRecord, row: Mapping[str, Any]) -> str:
    places = row.get("places") or ()
    place = f"place {min(places)}" if places else "not among the first ten"
    return (
        f'<li><q dir="auto">{escaped(row.get("text", ""), TEXT_LIMIT)}</q>'
        f"<span>found first <b>{isolated(row.get('found'), TEXT_LIMIT)}</b></span>"
        f"<span>relevant <b>{isolated(row.get('wanted'), TEXT_LIMIT)}</b> ({place}) · "
        f"{escaped(record.place(row))}</span></li>"
    )


def _pairs(record: RunRecord, judged: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Html:
    about = (
        f"{count(judged.get('pairs'), 'pairs')} in the order of their similarity, beside the order of their scores. "
        "Here are those whose places in the two orders differ most."
    )
    given, found = (_order([finite(row.get(name)) or 0.0 for row in rows]) for name in ("score", "similarity"))
    apart = [abs(one - other) for one, other in zip(given, found, strict=True)]
    worst = sorted(range(len(rows)), key=lambda index: -apart[index])[:SHOWN]
    items = "".join(_pair(record, rows[index]) for index in worst)
    return section("worst", "Worst pairs", paragraph(about), Html(f'<ol class="errors">{items}</ol>'))


def _pair(record: RunRecord, row: Mapping[str, Any]) -> str:
    return (
        f'<li><q dir="auto">{escaped(row.get("text", ""), TEXT_LIMIT)}</q>'
        f'<q dir="auto">{escaped(row.get("second", ""), TEXT_LIMIT)}</q>'
        f"<span>score <b>{finite(row.get('score')) or 0.0:g}</b> · similarity "
        f"<b>{finite(row.get('similarity')) or 0.0:.2f}</b> · {escaped(record.place(row))}</span></li>"
    )


def _order(values: Sequence[float]) -> list[float]:
    """The place of each value among all; equal ones share the middle of theirs."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    last = {value: place for place, value in enumerate(ordered)}
    return [(first[value] + last[value]) / 2 for value in values]
