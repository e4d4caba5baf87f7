"""Words of users in Markdown pages: nothing they wrote starts markup, a link, HTML or a table cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from burnish.evaluation import wording

NAME_LIMIT = 100  # characters of a user's name
MARKUP = re.compile(r"([\\`*_\[\]<>|~&$])")  # what may start markup, a link, HTML or a table cell inside a line


def markdown(text: object) -> str:
    """A user's name as plain words in Markdown.

    >>> markdown("a|b <i>")
    'a\\\\|b \\\\<i\\\\>'
    """
    return markdown_sentence(wording.visible(text, NAME_LIMIT))


def markdown_sentence(text: object) -> str:
    """A sentence of any length as plain words."""
    return re.sub(MARKUP, r"\\\1", wording.visible(text))


def code(text: object) -> str:
    """A user's text as inline code, fenced by more backticks than it holds."""
    shown = wording.visible(text)
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", shown)), default=0))
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column holds names and whose others hold numbers."""
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
