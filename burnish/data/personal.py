"""Personal data and secrets inside texts: where they are, and the text without them.

What has a checksum is checked (cards by Luhn, IBANs by mod 97), what has a shape is matched tightly (e-mail, phone, IP
addresses, known prefixes of keys, private key blocks). Names and addresses of people need a model; they are not looked
for here.
"""

from __future__ import annotations

import ipaddress
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MIN_ENTROPY = 3.0  # bits per character; hexadecimal secrets have about 3.6, base64 ones about 5, `xxxxxxxx` has 0


@dataclass(frozen=True, slots=True, order=True)
class PersonalSpan:
    """A piece of a text, [start, end) in characters, and what it is: "email", "card", "secret"..."""

    start: int
    end: int
    kind: str


def luhn_valid(number: str) -> bool:
    """Whether the digits of `number` pass the Luhn check (ISO/IEC 7812-1).

    >>> luhn_valid("4111 1111 1111 1111"), luhn_valid("4111 1111 1111 1112")
    (True, False)
    """
    digits = [int(character) for character in reversed(number) if character.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(digits) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def iban_valid(iban: str) -> bool:
    """Whether an IBAN has its country's length and a remainder of 1 modulo 97 (ISO 13616, ISO 7064).

    >>> iban_valid("GB82 WEST 1234 5698 7654 32")
    True
    """
    compact = re.sub(r"[ -]", "", iban).upper()
    if len(compact) != IBAN_LENGTHS.get(compact[:2]):
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _card(match: str) -> bool:
    digits = re.sub(r"\D", "", match)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn_valid(digits)


def _address(match: str) -> bool:
    """Whether an IP address is valid and can be somebody's: loopback and multicast are nobody's."""
    try:
        address = ipaddress.ip_address(match)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


def _phone(match: str) -> bool:
    return 8 <= sum(character.isdigit() for character in match) <= 15  # E.164: at most 15; under 8: a local extension


def _random(match: str) -> bool:
    """Whether a key looks drawn at random: `sk-your-api-key-goes-here` and `xxxx...` do not."""
    value = re.split(r"[:=\s\"']+", match)[-1]
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return entropy >= MIN_ENTROPY and any(character.isdigit() for character in value)


def _always(_: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Pattern:
    kind: str
    needs: str  # a piece that every match holds
    expression: str
    valid: Callable[[str], bool] = _always


# Lengths of the IBANs of each country (SWIFT IBAN registry, release 99).
IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FO FI FK GL NL SD", "19": "MK SI", "20": "AT BA EE KZ XK LT LU MN",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ OM SO TL", "24": "AD CZ MD "
        "PK RO SA SE SK ES TN VG", "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM", "28": "AL AZ BY "
        "CY DO GT HU LB NI PL SV", "29": "BR EG PS QA UA", "30": "JO KW MU YE", "31": "MT SC", "32": "LC", "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_BLOCK = (
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?"
    r"(?:-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
_KEYS = "|".join(
    (
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS
        r"sk-(?:proj-|ant-|svcacct-|or-)?[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, OpenRouter
        r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}",
        r"glpat-[A-Za-z0-9_-]{20,}",
        r"hf_[A-Za-z0-9]{30,}",
        r"xox[abprs]-[A-Za-z0-9-]{10,}",  # Slack
        r"AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}",  # Google
        r"[rs]k_(?:live|test)_[0-9A-Za-z]{16,}",  # Stripe
        r"SG\.[\w-]{16,}\.[\w-]{16,}",  # SendGrid
        r"npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}",
        r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",  # JSON web token
    )
)
_NAMED = r"(?i:api[_-]?key|secret|token|passw(?:or)?d|bearer)[\"']?\s*[:=]?\s*[\"']?"
# In order: of spans that overlap the first stays.
_PATTERNS = (
    _Pattern("private key", "-----BEGIN", _BLOCK),
    _Pattern("secret", "", rf"(?<![\w-])(?:{_KEYS})(?![\w-])", _random),
    _Pattern("secret", "", rf"\b{_NAMED}(?=[^\s\"']{{0,80}}\d)[A-Za-z0-9+/_=-]{{20,}}", _random),
    _Pattern("email", "@", r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}"
             r"[A-Za-z]{2,24}(?![\w@-])"),
    _Pattern("iban", "", r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])", iban_valid),
    _Pattern("card", "", r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)", _card),
    _Pattern("ip", ".", rf"(?<![Vv]ersion )(?<![\w.-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w-]|\.\d)", _address),
    _Pattern("ip", ":", r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{1,4}(?![\w:])", _address),
    _Pattern("phone", "", r"(?<![\w.+-])(?:\+|00)[1-9](?:[ ().-]{0,2}\d){7,14}(?!\w)", _phone),
    _Pattern("phone", "", r"(?<![\w.+-])(?:\(\d{3}\) ?|\d{3}[.-])\d{3}[.-]\d{4}(?![\w-])", _phone),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern.expression, re.ASCII), pattern) for pattern in _PATTERNS)
_CHUNK = 1 << 18  # characters looked through at a time by `_suspicious`


def find_personal(text: str) -> list[PersonalSpan]:
    """Where personal data and secrets are, in order, without overlaps.

    >>> find_personal("write to ann@example.org")
    [PersonalSpan(start=9, end=24, kind='email')]
    """
    found: list[PersonalSpan] = []
    for expression, pattern in _COMPILED:
        if pattern.needs in text:
            for start, end in _matches(expression, pattern, text):
                place = bisect_left(found, start, key=lambda span: span.start)
                free_before = place == 0 or found[place - 1].end <= start
                if free_before and (place == len(found) or end <= found[place].start):
                    found.insert(place, PersonalSpan(start, end, pattern.kind))
    return found


def find_personal_rows(texts: Iterable[str]) -> Iterator[tuple[int, PersonalSpan]]:
    """The index of each text with personal data and the span in it, in order.

    Only texts that could hold some are searched with the expressions: a tenth of the time on ordinary sentences.
    """
    for first, chunk in _chunks(texts):
        for row in _suspicious(chunk):
            for span in find_personal(chunk[row]):
                yield first + row, span


def _chunks(texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Texts in chunks of about _CHUNK characters, each with the index of its first one."""
    chunk: list[str] = []
    first = size = 0
    for index, text in enumerate(texts):
        chunk.append(text)
        size += len(text)
        if size >= _CHUNK:
            yield first, chunk
            chunk, first, size = [], index + 1, 0
    if chunk:
        yield first, chunk


def _suspicious(texts: Sequence[str]) -> list[int]:
    """The texts with an @, seven digits without a letter between, three dots or colons, or a long run of no space."""
    parts = [text.encode("utf-8", "replace") for text in texts]
    code = np.frombuffer(b"\n".join(parts) + b"\n", np.uint8)
    ends = np.cumsum([len(part) + 1 for part in parts])
    suspect = code == ord("@")
    lower = code | 0x20
    digit = (code >= ord("0")) & (code <= ord("9"))
    breaks = np.flatnonzero((code == ord("\n")) | ((lower >= ord("a")) & (lower <= ord("z"))) | (code >= 128))
    suspect[breaks] |= np.diff(np.cumsum(digit, dtype=np.int32)[breaks], prepend=0) >= 7  # the shortest phone number
    blanks = np.flatnonzero((code == ord("\n")) | (code == ord(" ")))
    suspect[blanks] |= np.diff(blanks, prepend=-1) > 16  # the shortest key
    starts = np.concatenate([[0], ends[:-1]])
    several = [np.add.reduceat(code == ord(sign), starts, dtype=np.int32) >= 3 for sign in ".:"]
    blocks = np.fromiter(("-----BEGIN" in text for text in texts), bool, len(texts))
    return np.flatnonzero(np.logical_or.reduceat(suspect, starts) | several[0] | several[1] | blocks).tolist()


def _matches(expression: re.Pattern[str], pattern: _Pattern, text: str) -> Iterator[tuple[int, int]]:
    for match in expression.finditer(text):
        start, end = match.span()
        if pattern.kind == "iban":  # words may follow that look like more of it
            end = start + _iban_end(match.group())
        if end > start and pattern.valid(text[start:end]):
            yield start, end


def _iban_end(candidate: str) -> int:
    """Characters of `candidate` that its country's length takes; 0 when it is too short or of no such country."""
    wanted = IBAN_LENGTHS.get(candidate[:2].upper(), 0)
    seen = 0
    for index, character in enumerate(candidate):
        seen += character.isalnum()
        if seen == wanted:
            return index + 1
    return 0


def redact(text: str) -> str:
    """The text with every piece of personal data replaced by its kind in brackets; a second pass changes nothing.

    >>> redact("write to ann@example.org")
    'write to [EMAIL]'
    """
    while spans := find_personal(text):  # what stood in the way of a match may be gone after the first pass
        parts, last = [], 0
        for span in spans:
            parts += [text[last : span.start], f"[{span.kind.upper().replace(' ', '_')}]"]
            last = span.end
        text = "".join([*parts, text[last:]])
    return text
