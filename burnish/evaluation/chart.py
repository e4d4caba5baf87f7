"""Small SVG charts as strings: they scale with their box, follow the page's colours and are read out by title.

Every chart needs `STYLE` on its page and these CSS variables: --ink, --muted, --line, --paper, --accent. Nothing is
told by colour alone: series differ in dash and marker, highlighted rows in weight and shape, and values are written.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from burnish.evaluation.wording import escaped

WIDTH = 460  # units of the viewBox: about the width of the chart on a page, so that text keeps its size
LEFT, RIGHT = 48, 14  # margins of a line chart
EDGE = 16  # beside the scale of an interval chart, so that its last number is whole
PLOT_HEIGHT = 190
ROW_HEIGHT = 42  # of an interval or a bar: a line of text above its mark
MOST_DOTS = 30  # points of a series; more would hide the line
LETTER = 6.6  # mean width of a letter at the charts' 13 units

STYLE = """
.chart { display: block; width: 100%; height: auto; font: 13px/1 system-ui, sans-serif; }
.chart text { fill: var(--muted); font-variant-numeric: tabular-nums; paint-order: stroke; stroke: var(--paper);
  stroke-width: 4px; stroke-linejoin: round; }
.chart .name { fill: var(--ink); }
.chart .strong { fill: var(--ink); font-weight: 650; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .mark { stroke: var(--muted); stroke-width: 1.2; stroke-dasharray: 2 3; }
.chart .series { fill: none; stroke: var(--muted); stroke-linejoin: round; }
.chart .series-0 { stroke-width: 1.2; }
.chart .series-1 { stroke: var(--accent); stroke-width: 2.4; }
.chart .series-2 { stroke: var(--ink); stroke-width: 1.6; stroke-dasharray: 6 4; }
.chart .series-3 { stroke-width: 2; stroke-dasharray: 1.5 3; }
.chart .dot { fill: var(--paper); stroke: var(--muted); stroke-width: 1.8; }
.chart .dot-1 { fill: var(--accent); stroke: var(--accent); }
.chart .dot-2 { stroke: var(--ink); }
.chart .range { stroke: var(--muted); stroke-width: 2; stroke-linecap: round; }
.chart .range-strong { stroke: var(--accent); stroke-width: 5; }
.chart .bar { fill: var(--accent); fill-opacity: 0.6; }
.chart .bar-strong { fill-opacity: 1; }
.heat td, .heat thead th + th { text-align: center; }
.heat td.diagonal { font-weight: 650; }
.heat .level-1 { background: color-mix(in srgb, var(--accent) 10%, transparent); }
.heat .level-2 { background: color-mix(in srgb, var(--accent) 20%, transparent); }
.heat .level-3 { background: color-mix(in srgb, var(--accent) 30%, transparent); }
.heat .level-4 { background: color-mix(in srgb, var(--accent) 40%, transparent); }
.heat .level-5 { background: color-mix(in srgb, var(--accent) 50%, transparent); }
"""


@dataclass(frozen=True, slots=True)
class Series:
    """A line through (x, y) points; points that are not finite are left out."""

    name: str
    points: Sequence[tuple[float, float]]
    faint: bool = False  # thin and without dots: for a noisy curve behind the others


@dataclass(frozen=True, slots=True)
class Mark:
    """A dashed line at a value of the horizontal axis, with its name."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval, in the unit of the axis."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    highlight: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A length from zero."""

    label: str
    value: float
    highlight: bool = False


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps low..high onto start..end units of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> Iterator[float]:
        step = _nice_step((self.high - self.low) / 4)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return (index * step for index in range(first, last + 1))


def line_chart(
    series: Sequence[Series], *, title: str, description: str, x_label: str, y_label: str, mark: Mark | None = None
) -> str:
    """Lines over a common horizontal axis; up to three that are not faint are told apart by dash and dot."""
    styles = _styles(series)
    lines = [[p for p in s.points if math.isfinite(p[0]) and math.isfinite(p[1])] for s in series]
    points = [point for line in lines for point in line]
    legend, top = _legend([(s.name, style) for s, style in zip(series, styles, strict=True)], mark)
    top += 22  # the name of the vertical axis
    bottom = top + PLOT_HEIGHT
    if not points:
        return svg([text_at(LEFT, 30, "no values", "name")], 60, title, description)
    x = _axis([p[0] for p in points], LEFT + 8, WIDTH - RIGHT - 8, round_off=False)
    y = _axis([p[1] for p in points], bottom - 4, top + 4)
    parts = [*legend, text_at(0, top - 10, y_label)]
    for tick in y.ticks():
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(text_at(LEFT - 8, y(tick) + 4, written(tick), anchor="end"))
    parts += [text_at(x(tick), bottom + 18, written(tick), anchor="middle") for tick in x.ticks()]
    parts.append(text_at((LEFT + WIDTH - RIGHT) / 2, bottom + 38, x_label, anchor="middle"))
    if mark is not None:
        parts.append(_mark(x(mark.at), top, bottom))
    parts += [_line([(x(a), y(b)) for a, b in line], style) for line, style in zip(lines, styles, strict=True)]
    return svg(parts, bottom + 44, title, description)


def interval_chart(
    rows: Sequence[Interval],
    *,
    title: str,
    description: str,
    x_label: str,
    unit: str = "",
    mark: Mark | None = None,
) -> str:
    """One line per row: its name and value in words, below them the value on its interval."""
    ends = [v for r in rows for v in (r.value, r.low, r.high) if v is not None and math.isfinite(v)]
    if not ends:
        return svg([text_at(0, 30, "no values", "name")], 60, title, description)
    x = _axis([*ends, *([mark.at] if mark else [])], EDGE, WIDTH - EDGE)
    top = 22 if mark else 4
    bottom = top + ROW_HEIGHT * len(rows)
    parts = _horizontal_axis(x, top, bottom, x_label)
    if mark is not None:
        at = x(mark.at)
        anchor = "start" if at < WIDTH / 3 else "end" if at > 2 * WIDTH / 3 else "middle"
        parts += [_mark(at, top, bottom), text_at(at, top - 10, mark.label, "name", anchor)]
    for index, row in enumerate(rows):
        y = top + index * ROW_HEIGHT + 30
        parts += _row_text(row.label, _range_text(row, unit), y - 14, strong=row.highlight)
        strong = "-strong" if row.highlight else ""
        if row.low is not None and row.high is not None:
            parts.append(f'<line class="range range{strong}" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" '
                         f'y1="{y}" y2="{y}"/>')  # fmt: skip
        parts.append(_dot(x(row.value), y, 1 if row.highlight else 3))
    return svg(parts, bottom + 44, title, description)


def bar_chart(rows: Sequence[Bar], *, title: str, description: str, x_label: str, unit: str = "") -> str:
    """One bar per row from zero, its name and value in words above it."""
    x = _axis([0.0, *(row.value for row in rows)], 0, WIDTH)
    bottom = 4 + ROW_HEIGHT * len(rows)
    parts = []
    for index, row in enumerate(rows):
        y = 4 + index * ROW_HEIGHT + 22
        parts += _row_text(row.label, f"{row.value:,g}{unit}", y - 6, strong=row.highlight)
        strong = " bar-strong" if row.highlight else ""
        width = max(x(row.value) - x(0.0), 1.0)
        parts.append(f'<rect class="bar{strong}" x="{x(0.0):.1f}" y="{y}" width="{width:.1f}" height="9" rx="2"/>')
    parts.append(text_at(0, bottom + 14, x_label))
    return svg(parts, bottom + 22, title, description)


def heat_table(labels: Sequence[str], matrix: Sequence[Sequence[int]], *, title: str) -> str:
    """A confusion matrix as an HTML table: rows are true labels, columns predictions, deeper shade means more.

    A shade is the cell's share of its row in five levels; long or many labels head their columns as numbers.
    """
    named = len(labels) <= 6 and max((len(label) for label in labels), default=0) <= 12
    heads = "".join(
        f'<th scope="col">{escaped(label)}</th>'
        if named
        else f'<th scope="col"><abbr title="{escaped(label)}">{number}</abbr></th>'
        for number, label in enumerate(labels, start=1)
    )
    corner = "true label" if named else "true label and its column"
    body = []
    for number, (label, row) in enumerate(zip(labels, matrix, strict=False), start=1):
        name = escaped(label) if named else f"{number}&ensp;{escaped(label)}"
        body.append(f'<tr><th scope="row">{name}</th>{_heat_cells(row, number - 1)}</tr>')
    return (
        f'<table class="heat"><caption>{escaped(title)}</caption>'
        f'<thead><tr><th scope="col">{corner}</th>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    )


def _heat_cells(row: Sequence[int], diagonal: int) -> str:
    total = sum(row) or 1
    cells = []
    for column, value in enumerate(row):
        classes = [f"level-{math.ceil(5 * value / total)}"] if value else []
        classes += ["diagonal"] if column == diagonal else []
        attribute = f' class="{" ".join(classes)}"' if classes else ""
        cells.append(f"<td{attribute}>{value:,}</td>" if value else f"<td{attribute}>·</td>")
    return "".join(cells)


def svg(parts: Sequence[str], height: float, title: str, description: str) -> str:
    """The parts of a drawing as a chart that is read out by its title."""
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escaped(f"{title}. {description}")}">'
        f"<title>{escaped(title)}</title><desc>{escaped(description)}</desc>{''.join(parts)}</svg>"
    )


def text_at(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """Text with its baseline at a place, set to start, middle or end there."""
    class_name = f' class="{kind}"' if kind else ""
    return f'<text{class_name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(text)}</text>'


def _row_text(label: str, value: str, y: float, *, strong: bool) -> list[str]:
    room = WIDTH - 20 - _width(value)
    kind = "strong" if strong else "name"
    return [text_at(0, y, _cut(label, room), kind), text_at(WIDTH, y, value, kind, anchor="end")]


def _range_text(row: Interval, unit: str) -> str:
    if row.low is None or row.high is None:
        return f"{row.value:.1f}{unit}"
    return f"{row.value:.1f}{unit}  ({row.low:.1f} to {row.high:.1f})"


def _mark(x: float, top: float, bottom: float) -> str:
    return f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 4:.1f}" y2="{bottom:.1f}"/>'


def _horizontal_axis(x: _Axis, top: float, bottom: float, label: str) -> list[str]:
    parts = []
    for tick in x.ticks():
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(text_at(x(tick), bottom + 16, written(tick), anchor="middle"))
    return [*parts, text_at(WIDTH / 2, bottom + 36, label, anchor="middle")]


def _styles(series: Sequence[Series]) -> list[int]:
    """0 for a faint series, 1, 2, 3 for the others in order."""
    drawn = 0
    styles = []
    for one in series:
        drawn += not one.faint
        styles.append(0 if one.faint else min(drawn, 3))
    return styles


def _legend(names: Sequence[tuple[str, int]], mark: Mark | None) -> tuple[list[str], float]:
    """Samples of the series and of the mark in as many lines as they need, and the height they take."""
    parts: list[str] = []
    x, y = 0.0, 12.0
    for name, style in [*names, *([(mark.label, -1)] if mark else [])]:
        width = 34 + _width(name) + 14
        if x and x + width > WIDTH + 14:
            x, y = 0.0, y + 21
        if style < 0:
            parts.append(_mark(x + 13, y - 8, y + 3))
        else:
            line = f'x1="{x:.1f}" x2="{x + 26:.1f}" y1="{y - 4}" y2="{y - 4}"'
            parts.append(f'<line class="series series-{style}" {line}/>{_dot(x + 13, y - 4, style)}')
        parts.append(text_at(x + 34, y, name, "name"))
        x += width
    return parts, y + 10


def _line(points: Sequence[tuple[float, float]], style: int) -> str:
    """A series as a path, with a dot on each point while there is room for dots."""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = "".join(_dot(x, y, style) for x, y in points) if len(points) <= MOST_DOTS else ""
    return (f'<path class="series series-{style}" d="{path}"/>' if len(points) > 1 else "") + dots


def _dot(x: float, y: float, style: int) -> str:
    """A disc, a square or a ring for series 1, 2 and 3; nothing for a faint one."""
    if style == 0:
        return ""
    if style == 2:
        return f'<rect class="dot dot-2" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>'
    return f'<circle class="dot dot-{style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'


def _axis(values: Sequence[float], start: float, end: float, *, round_off: bool = True) -> _Axis:
    """An axis around finite values; with `round_off` it begins and ends at round numbers."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    if round_off:
        step = _nice_step((high - low) / 4)
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return _Axis(low, high, start, end)


def _nice_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `rough`."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough * (1 - 1e-9)), 10 * power)


def written(value: float) -> str:
    """A number as people write it, with four digits."""
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "0" if shown == "-0" else shown.replace("-", "−")


def _width(text: str) -> float:
    """Estimated width of a text in the charts' font."""
    return sum(2 * LETTER if unicodedata.east_asian_width(c) in "WF" else LETTER for c in text)


def _cut(text: str, room: float) -> str:
    """The text, or as much of it as fits, with …"""
    if _width(text) <= room:
        return text
    while text and _width(text) > room - LETTER:
        text = text[:-1]
    return text + "…"
