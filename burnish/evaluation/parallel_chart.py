"""Parallel coordinates as an SVG string: one horizontal axis per field, one line per trial through its values.

The axes lie below each other, so that the chart fits on a phone. What `chart.py` says of its charts holds here too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from burnish.evaluation.chart import EDGE, WIDTH, svg, text_at, written

GAP = 62  # units between two axes
TOP = 26


@dataclass(frozen=True, slots=True)
class Axis:
    """A field: its choices in order, or numbers from the lowest to the highest.

    Attributes:
        logarithmic: whether equal lengths are equal factors; the numbers are over 0 then.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    logarithmic: bool = False

    def place(self, value: str | float) -> float:
        """0..1 along the axis."""
        if self.choices:
            return (self.choices.index(str(value)) + 0.5) / len(self.choices)
        ends = [float(value), self.low, self.high]
        at, low, high = map(math.log, ends) if self.logarithmic else ends
        return min(max((at - low) / (high - low), 0.0), 1.0) if high > low else 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """A trial: a value for each axis, None where it has none."""

    values: tuple[str | float | None, ...]
    highlight: bool = False


def parallel_chart(axes: Sequence[Axis], lines: Sequence[Line], *, title: str, description: str) -> str:
    """All lines through all axes, the highlighted ones last and thickest."""
    bottom = TOP + GAP * (len(axes) - 1)
    parts: list[str] = []
    for line in sorted(lines, key=lambda one: one.highlight):
        places = [
            (EDGE + axis.place(value) * (WIDTH - 2 * EDGE), TOP + GAP * index)
            for index, (axis, value) in enumerate(zip(axes, line.values, strict=True))
            if value is not None
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="series series-{int(line.highlight)}" points="{points}"/>')
    for index, axis in enumerate(axes):
        parts += _axis_parts(axis, TOP + GAP * index)
    return svg(parts, bottom + 34, title, description)


def _axis_parts(axis: Axis, y: float) -> list[str]:
    parts = [f'<line class="range" x1="{EDGE}" x2="{WIDTH - EDGE}" y1="{y}" y2="{y}"/>']
    parts.append(text_at(EDGE, y - 10, axis.name, "name"))
    if axis.choices:
        room = WIDTH - 2 * EDGE
        named = [(EDGE + axis.place(choice) * room, choice) for choice in axis.choices]
        return [*parts, *(text_at(x, y + 18, choice, anchor="middle") for x, choice in named)]
    ends = ((EDGE, axis.low, "start"), (WIDTH - EDGE, axis.high, "end"))
    return [*parts, *(text_at(x, y + 18, _written(value), anchor=anchor) for x, value, anchor in ends)]


def _written(value: float) -> str:
    return f"{value:.2g}" if value and not 0.01 <= abs(value) < 1e5 else written(value)
