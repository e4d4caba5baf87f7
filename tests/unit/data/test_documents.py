"""Documents become rows of text: paragraphs, sections under headings, and what a browser would show."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from burnish.data.records import Record, SourceShape
from burnish.errors import DataReadError
from burnish.types import Problem

Read = Callable[..., tuple[SourceShape, list[Record | Problem]]]


def rows(items: list[Record | Problem]) -> list[tuple[int, object]]:
    return [(item.origin.line, item.values["text"]) for item in items if isinstance(item, Record)]


def test_paragraphs_byte_for_byte(read: Read) -> None:
    shape, items = read("\nFirst Citizen:\n  Speak,  speak.\n \t\n\nAll:\r\nYes!\r\n", "rows.txt")
    assert (shape.format, shape.columns) == ("text", ("text",))
    assert rows(items) == [(2, "First Citizen:\n  Speak,  speak."), (6, "All:\nYes!")]


def test_a_paragraph_too_long_or_with_nul(read: Read) -> None:
    _, items = read("a b\n\n" + "x\n" * 3000 + "\nc\0d\n\n" + "y" * 3000 + "\n\ne f\n", "rows.txt", max_row_bytes=1024)
    assert [getattr(item, "code", "") for item in items] == [
        *("", "data/row-too-long", "data/nul-byte", "data/row-too-long", ""),
    ]
    assert [item.origin.line for item in items] == [1, 3, 3004, 3006, 3008]


def test_markdown_sections(read: Read) -> None:
    content = "intro\n\n# One\n## Two\ntext\n```sh\n# no heading\n```\n#no heading\n\n## Three\nmore\n\n### Empty\n"
    shape, items = read(content, "rows.md")
    assert shape.format == "markdown"
    assert rows(items) == [
        (1, "intro"),
        (3, "# One\n## Two\ntext\n```sh\n# no heading\n```\n#no heading"),
        (11, "## Three\nmore"),
        (14, "### Empty"),
    ]


def test_html_as_a_browser_shows_it(read: Read) -> None:
    content = (
        "<!doctype html><html><head><title>My page</title><style>p {color: red}</style></head>\n"
        "<body><!-- <p>hidden --><p>caf&eacute; &lt;3\n  and <b>bo</b>ld</p><script>if (a < b) {}</script>\n"
        '<h2 title="a > b">Next</h2><ul><li>one<li>two</ul>1 < 2</body></html>'
    )
    shape, items = read(content, "rows.html")
    assert shape.format == "html"
    assert rows(items) == [(1, "My page\ncafé <3 and bold"), (4, "Next\none\ntwo\n1 < 2")]


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<script>", "<a '", '<a "', "<", "<a ", "</", "<![CDATA[", "&#", "<p", "<!", "<?", "<style><", "<a b='c'"],
)
def test_hostile_html_takes_linear_time(read: Read, piece: str) -> None:
    start = time.monotonic()
    read("<p>x</p>" + piece * (200_000 // len(piece)), "rows.html")
    assert time.monotonic() - start < 5  # quadratic time would be minutes


def test_a_page_larger_than_a_row(read: Read) -> None:
    with pytest.raises(DataReadError) as caught:
        read("<p>" + "x " * 2000, "rows.html", max_row_bytes=1024)
    assert (caught.value.code, caught.value.where) == ("data/row-too-long", "rows.html:1")


@pytest.mark.parametrize("name", ["rows.html", "rows.md", "rows.txt"])
def test_documents_without_text(read: Read, name: str) -> None:
    with pytest.raises(DataReadError) as caught:
        read("<p> </p>" if name == "rows.html" else " \n\n", name)
    assert (caught.value.code, caught.value.where) == ("data/empty-file", name)
