"""Parallel coordinates: where values lie on their axes, and what is drawn."""

from __future__ import annotations

import re

import pytest

from burnish.evaluation.chart import EDGE, WIDTH
from burnish.evaluation.parallel_chart import GAP, TOP, Axis, Line, parallel_chart


@pytest.mark.parametrize(
    ("axis", "value", "wanted"),
    [
        (Axis("rank", ("4", "8")), 4, 0.25),
        (Axis("rank", ("4", "8")), "8", 0.75),
        (Axis("rate", (), 1e-5, 1e-3, logarithmic=True), 1e-4, 0.5),
        (Axis("epochs", (), 2, 6), 3, 0.25),
        (Axis("epochs", (), 2, 6), 9, 1.0),
        (Axis("value", (), 0.5, 0.5), 0.5, 0.5),
    ],
)
def test_a_value_has_its_place(axis: Axis, value: float | str, wanted: float) -> None:
    assert axis.place(value) == pytest.approx(wanted)


def test_lines_go_through_their_values() -> None:
    axes = [Axis("rank", ("4", "<8>")), Axis("rate", (), 0.0, 1.0), Axis("value", (), 0.0, 1.0)]
    drawn = parallel_chart(
        axes, [Line(("4", 1.0, 0.0), highlight=True), Line(("<8>", None, 1.0))], title="t", description="d"
    )
    room = WIDTH - 2 * EDGE
    lines = re.findall(r'class="series series-(\d)" points="([^"]*)"', drawn)
    assert lines == [
        ("0", f"{EDGE + 0.75 * room:.1f},{TOP:.1f} {WIDTH - EDGE:.1f},{TOP + 2 * GAP:.1f}"),  # without a rate
        ("1", f"{EDGE + 0.25 * room:.1f},{TOP:.1f} {WIDTH - EDGE:.1f},{TOP + GAP:.1f} {EDGE:.1f},{TOP + 2 * GAP:.1f}"),
    ]
    assert "&lt;8&gt;" in drawn
    assert "<8>" not in drawn
