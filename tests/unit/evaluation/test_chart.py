"""Charts are well-formed, scale, are read out, and show only escaped text."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from burnish.evaluation.chart import (
    STYLE,
    WIDTH,
    Bar,
    Interval,
    Mark,
    Series,
    bar_chart,
    heat_table,
    interval_chart,
    line_chart,
)

HOSTILE = '<b>"&\x00\u202e'
SVG = "{http://www.w3.org/2000/svg}"


def lines(*series: Series, mark: Mark | None = None) -> str:
    return line_chart(series, title="Loss", description="falls", x_label="step", y_label="nats", mark=mark)


def intervals(*rows: Interval, mark: Mark | None = None) -> str:
    return interval_chart(rows, title="Arms", description="all", x_label="%", unit=" %", mark=mark)


def parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing.replace("<svg ", f'<svg xmlns="{SVG[1:-1]}" ', 1))


def texts(drawing: str) -> list[str]:
    return [element.text or "" for element in parsed(drawing).iter(f"{SVG}text")]


CHARTS = {
    "line": lines(Series("training", [(0, 2.0), (100, 1.0)]), mark=Mark(50, "chosen")),
    "one point": lines(Series("training", [(7, 2.0)])),
    "interval": intervals(Interval("tuned", 90, 88, 92, highlight=True), Interval("other", 80), mark=Mark(0, "zero")),
    "bar": bar_chart([Bar("a", 3), Bar("b", 0)], title="Rows", description="of each", x_label="rows"),
    "nothing": lines(),
    "no intervals": intervals(),
    "no bars": bar_chart([], title="Rows", description="none", x_label="rows"),
}


@pytest.mark.parametrize("drawing", CHARTS.values(), ids=CHARTS.keys())
def test_a_chart_scales_and_is_read_out(drawing: str) -> None:
    root = parsed(drawing)
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("width") is None
    assert (root.get("viewBox") or "").startswith(f"0 0 {WIDTH} ")
    assert root.find(f"{SVG}title") is not None
    assert root.find(f"{SVG}desc") is not None
    assert "nan" not in drawing
    assert "inf" not in drawing


@pytest.mark.parametrize(
    "drawing",
    [
        line_chart(
            [Series(HOSTILE, [(0, 1), (1, 2)])],
            title=HOSTILE,
            description=HOSTILE,
            x_label=HOSTILE,
            y_label=HOSTILE,
            mark=Mark(1, HOSTILE),
        ),
        interval_chart(
            [Interval(HOSTILE, 1)], title=HOSTILE, description="", x_label=HOSTILE, unit=HOSTILE, mark=Mark(0, HOSTILE)
        ),
        bar_chart([Bar(HOSTILE, 1)], title=HOSTILE, description=HOSTILE, x_label=HOSTILE, unit=HOSTILE),
        heat_table([HOSTILE, HOSTILE * 9], [[1, 2], [3, 4]], title=HOSTILE),
    ],
)
def test_every_text_is_escaped_and_control_characters_are_visible(drawing: str) -> None:
    assert "<b>" not in drawing
    assert "\x00" not in drawing
    assert "\u202e" not in drawing
    assert "&lt;b&gt;&quot;&amp;\\x00\\u202e" in drawing


def test_colours_come_from_the_page() -> None:
    assert not re.search(r"#[0-9a-f]{3}|\brgb", STYLE + "".join(CHARTS.values()))


def test_series_differ_in_more_than_colour() -> None:
    drawing = lines(*(Series(name, [(0, 1), (1, 2)], faint=name == "d") for name in "abcd"))
    dashes = re.findall(r"\.series-(\d) \{([^}]*)\}", STYLE)
    assert {style for style, _ in dashes} == {"0", "1", "2", "3"}
    assert len({re.sub(r"stroke: [^;]*;", "", rule) for _, rule in dashes}) == 4
    assert drawing.count("<rect") == 3
    assert drawing.count("<circle") == 6
    assert texts(drawing)[:4] == ["a", "b", "c", "d"]


def test_points_lie_where_their_values_say() -> None:
    path = re.search(r'd="M([^"]*)"', lines(Series("a", [(0, 0), (50, 5), (100, 10)])))
    assert path is not None
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, point.split())) for point in path[1].split("L"))
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert y0 > y1 > y2  # up is more


def test_points_that_are_not_finite_are_left_out() -> None:
    drawing = lines(Series("a", [(0, 1), (1, math.nan), (2, math.inf), (3, 2)]))
    path = re.search(r'd="M([^"]*)"', drawing)
    assert path is not None
    assert len(path[1].split("L")) == 2


def test_an_interval_is_written_beside_its_name() -> None:
    assert texts(intervals(Interval("tuned", 90, 88.04, 92, highlight=True)))[-2:] == [
        "tuned",
        "90.0 %  (88.0 to 92.0)",
    ]


def test_a_long_name_is_cut_to_the_room_beside_its_value() -> None:
    name, value = texts(intervals(Interval("x" * 500, 90, 88, 92)))[-2:]
    assert name.endswith("…")
    assert len(name) + len(value) < 75


def test_bars_begin_at_zero_and_have_their_lengths() -> None:
    drawing = bar_chart([Bar("a", 50), Bar("b", 100)], title="Rows", description="", x_label="rows")
    half, whole = (float(width) for width in re.findall(r'width="([0-9.]+)" height="9"', drawing))
    assert whole == pytest.approx(2 * half)
    assert whole == pytest.approx(WIDTH)


def test_a_heat_table_shades_by_the_share_of_its_row() -> None:
    table = heat_table(["a", "b"], [[9, 1], [0, 5]], title="All")
    assert table.count('scope="col"') == 3
    assert table.count('scope="row"') == 2
    assert '<td class="level-5 diagonal">9</td><td class="level-1">1</td>' in table
    assert '<td>·</td><td class="level-5 diagonal">5</td>' in table


def test_long_labels_head_their_columns_as_numbers() -> None:
    table = heat_table(["a" * 30, "b"], [[1, 0], [0, 1]], title="All")
    assert f'<abbr title="{"a" * 30}">1</abbr>' in table
    assert "2&ensp;b" in table
