"""Tags of tokens: which spans of a sentence they mark, in the schemes IO, BIO (IOB2), IOB1 and IOBES (BILOU)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OUTSIDE = "O"
_PREFIXES = frozenset("BIOESLUM")  # M and L, U: IOBES under other names (BMES, BILOU)
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")

Span = tuple[str, int, int]  # kind, first token, one past the last


def is_scheme(tags: Iterable[str]) -> bool:
    """Whether tags mark spans: every one is O or a prefix with a kind, and some begin a span or go on with one.

    >>> is_scheme(["O", "B-person", "I-person"]), is_scheme(["NOUN", "VERB"])
    (True, False)
    """
    marking = {tag for tag in tags if tag != OUTSIDE}
    return bool(marking) and all(tag[0] in _PREFIXES and tag[1:2] in ("-", "_") and tag[2:] for tag in marking)


def kind_of(tag: str) -> str:
    """What a tag marks: "person" of "B-person", the whole tag where it has no prefix, nothing of "O".

    >>> kind_of("I-person"), kind_of("NOUN"), kind_of("O")
    ('person', 'NOUN', '')
    """
    if tag == OUTSIDE:
        return ""
    return tag[2:] if len(tag) > 2 and tag[0] in _PREFIXES and tag[1] in "-_" else tag


def spans(tags: Sequence[str]) -> list[Span]:
    """The spans that tags mark, in order.

    A tag that cannot go on with what is before it begins a span of its own, as in the evaluation of CoNLL-2000 and
    CoNLL-2003: no token that a model marks is passed over because of how it is spelled.

    Source: Tjong Kim Sang and Buchholz 2000 (W00-0726), the conlleval rules.

    >>> spans(["B-per", "I-per", "O", "I-loc", "B-loc"])
    [('per', 0, 2), ('loc', 3, 4), ('loc', 4, 5)]
    """
    found: list[Span] = []
    begin, kind = 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        now = kind_of(tag)
        if kind and (now != kind or tag[0] in _BEGINS or tags[place - 1][0] in _ENDS):
            found.append((kind, begin, place))
            kind = ""
        if now and not kind:
            begin, kind = place, now
    return found
