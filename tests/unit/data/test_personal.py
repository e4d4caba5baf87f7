"""Personal data and secrets: what is found, what is not, and what is left after redaction."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.personal import find_personal, find_personal_rows, iban_valid, luhn_valid, redact

KEY = "d8e8fca2dc0f896fd7cb4cb0031ba249"
FOUND = [
    ("mail john.doe+x@mail.example.com.", "email", "john.doe+x@mail.example.com"),
    ("IBAN DE89 3704 0044 0532 0130 00 please", "iban", "DE89 3704 0044 0532 0130 00"),
    ("iban gb82west12345698765432 thanks", "iban", "gb82west12345698765432"),
    ("card 4111 1111 1111 1111, exp", "card", "4111 1111 1111 1111"),
    ("5500-0000-0000-0004", "card", "5500-0000-0000-0004"),
    ("amex 378282246310005.", "card", "378282246310005"),
    ("from 192.168.1.17 to", "ip", "192.168.1.17"),
    ("from 2001:db8::1 to", "ip", "2001:db8::1"),
    ("+49 170 1234567", "phone", "+49 170 1234567"),
    ("call 555-123-4567 now", "phone", "555-123-4567"),
    ("(555) 123-4567", "phone", "(555) 123-4567"),
    ("AKIAIOSFODNN7EXAMPLE", "secret", "AKIAIOSFODNN7EXAMPLE"),
    ("use sk-proj-a8Fj29fkAls02kfjAkd93jfks0", "secret", "sk-proj-a8Fj29fkAls02kfjAkd93jfks0"),
    (f"api_key = '{KEY}'", "secret", f"api_key = '{KEY}"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "private key", None),
    ("-----BEGIN PRIVATE KEY-----\nMIIE", "private key", None),
]
CLEAN = [
    "",
    "1234567890123456",  # sixteen digits that fail the Luhn check
    "4111 1111 1111 1112",
    "NO93 8601 1117 948",
    "sk-your-api-key-goes-here-please",
    "password: xxxxxxxxxxxxxxxxxxxxxxxx",
    "version 1.2.3.4 of 2023-10-12 10:20:30",
    "12:34:56:78",
    "price 1 234 567",
    "127.0.0.1",
    "999.1.1.1",
    "@everyone meet @ 5",
    "0000 0000 0000 0000",
]


@pytest.mark.parametrize(("text", "kind", "piece"), FOUND)
def test_found(text: str, kind: str, piece: str | None) -> None:
    (span,) = find_personal(text)
    assert (span.kind, text[span.start : span.end]) == (kind, piece or text)
    assert redact(text) == text.replace(piece or text, f"[{kind.upper().replace(' ', '_')}]")


@pytest.mark.parametrize("text", CLEAN)
def test_nothing_to_find(text: str) -> None:
    assert find_personal(text) == []
    assert redact(text) == text


def test_several_in_one_text_in_order() -> None:
    text = "DE89 3704 0044 0532 0130 00 and 4111111111111111, a@b.co"
    assert [span.kind for span in find_personal(text)] == ["iban", "card", "email"]
    assert redact(text) == "[IBAN] and [CARD], [EMAIL]"


def test_every_number_with_a_valid_checksum_is_found_and_no_other() -> None:
    chooser = random.Random(3)
    for _ in range(500):
        digits = "4" + "".join(chooser.choices("0123456789", k=15))
        text = f"my card {digits} was swallowed"
        assert [span.kind for span in find_personal(text)] == (["card"] if luhn_valid(digits) else [])


def test_checksums() -> None:
    assert luhn_valid("79927398713")
    assert not luhn_valid("79927398710")
    assert not luhn_valid("")
    assert iban_valid("NO93 8601 1117 947")
    assert not iban_valid("NO93 8601 1117 94")
    assert not iban_valid("XX00")


def test_rows_are_numbered() -> None:
    texts = ["nothing here", "a@b.co", "", "c@d.co and 4111111111111111"]
    assert [(row, span.kind) for row, span in find_personal_rows(texts)] == [(1, "email"), (3, "email"), (3, "card")]


PIECES = [text for text, *_ in FOUND] + CLEAN + ["é", "\ud800", "\0", "\n", "1", "-", " ", "a"]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=4).map("".join), max_size=5))
def test_rows_together_are_searched_like_rows_alone(texts: list[str]) -> None:
    assert list(find_personal_rows(texts)) == [(row, s) for row, text in enumerate(texts) for s in find_personal(text)]


@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
def test_redaction_is_final(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text", ["1" * 50_000, "a" * 50_000, "a@" * 20_000, "1 " * 30_000, "a:" * 30_000, "1." * 30_000]
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    assert redact(text) == text
