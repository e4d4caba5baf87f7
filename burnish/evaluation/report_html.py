"""The few pieces of HTML that a report is made of. Text is escaped unless it is `Html` already."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from burnish.evaluation.wording import escaped


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def content(value: object) -> str:
    """Markup as it is, anything else escaped."""
    return value if isinstance(value, Html) else escaped(value)


def paragraph(text: object, kind: str = "") -> Html:
    attribute = f' class="{kind}"' if kind else ""
    return Html(f"<p{attribute}>{content(text)}</p>")


def section(anchor: str, title: str, *parts: str) -> Html:
    """A part of the page under its heading; parts are markup."""
    return Html(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title"><h2 id="{anchor}-title">{escaped(title)}</h2>'
        f"{''.join(parts)}</section>"
    )


def scrolling(name: str, inner: str) -> Html:
    """A box that scrolls sideways by itself where its content is wider than the page."""
    return Html(f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(name)}">{inner}</div>')


def table(
    caption: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    numbers: Collection[int] = (),
    strong: Collection[int] = (),
) -> Html:
    """A table in a scrolling box; the first cell of a row is its heading.

    Args:
        numbers: columns set as numbers, to the right.
        strong: rows that stand out.
    """

    def kind(column: int) -> str:
        return ' class="number"' if column in numbers else ""

    head = "".join(f'<th scope="col"{kind(i)}>{escaped(name)}</th>' for i, name in enumerate(heads))
    body = []
    for index, (first, *others) in enumerate(rows):
        cells = "".join(f"<td{kind(i)}>{content(cell)}</td>" for i, cell in enumerate(others, start=1))
        row_kind = ' class="strong"' if index in strong else ""
        body.append(f'<tr{row_kind}><th scope="row">{content(first)}</th>{cells}</tr>')
    inner = (
        f"<table><caption>{escaped(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )
    return scrolling(caption, inner)


def facts(pairs: Mapping[str, object]) -> Html:
    """A list of names and values."""
    items = "".join(f"<div><dt>{escaped(name)}</dt><dd>{content(value)}</dd></div>" for name, value in pairs.items())
    return Html(f'<dl class="facts">{items}</dl>')


def folded(summary: str, inner: str) -> Html:
    """Content behind a line that opens it."""
    return Html(f"<details><summary>{escaped(summary)}</summary>{inner}</details>")


def code_block(name: str, text: str) -> Html:
    """Lines of code or a file, as they are."""
    lines = "\n".join(escaped(line) for line in text.rstrip("\n").split("\n"))
    return Html(f'<pre role="region" tabindex="0" aria-label="{escaped(name)}"><code>{lines}</code></pre>')


def code(text: object, limit: int | None = None) -> Html:
    return Html(f"<code>{escaped(text, limit)}</code>")


def isolated(text: object, limit: int | None = None) -> Html:
    """A user's text that may run from right to left without turning what stands around it.

    A name_of_many_words may break after its underscores.
    """
    return Html(f"<bdi>{escaped(text, limit).replace('_', '_<wbr>')}</bdi>")


def figures(*charts: str) -> Html:
    """Charts side by side where there is room."""
    return Html(f'<div class="charts">{"".join(f"<figure>{chart}</figure>" for chart in charts)}</div>')


def bullets(items: Sequence[object]) -> Html:
    return Html(f"<ul>{''.join(f'<li>{content(item)}</li>' for item in items)}</ul>")
