"""Column names that people use, per canonical column."""

from __future__ import annotations

import re
from collections.abc import Mapping


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


KNOWN_NAMES: Mapping[str, frozenset[str]] = {
    "text": _words(
        "text body message sentence content utterance query title review comment input question description document "
        "tweet email post ticket"
    ),
    "label": _words("label labels category categories intent class target sentiment topic tag tags classification"),
}

_OTHER_HEADINGS = _words(
    "id index date time timestamp name score rating source url author user username lang language split subject "
    "answer response output completion prompt instruction sentence1 sentence2 premise hypothesis"
)
HEADINGS = _OTHER_HEADINGS.union(*KNOWN_NAMES.values())  # a first row holding one of these is a header


def plain_name(name: str) -> str:
    """A column name as the tables here spell it: lower case, words separated by one space.

    >>> plain_name(" Review_Text ")
    'review text'
    """
    return " ".join(re.split(r"[\W_]+", name.casefold())).strip()
