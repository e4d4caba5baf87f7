"""Texts of another language than the others."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.data.doctor.language import languages, word_scores

ENGLISH = ["where is my card and when will it be here", "what can I do if they have not sent it", "ok thanks"]
OTHERS = {
    "Spanish": "¿dónde está mi tarjeta y cuándo llega? no sé qué hay que hacer para esto",
    "French": "je ne sais pas où est ma carte et elle n'est pas dans la boîte, que faire",
    "German": "ich weiß nicht wo die Karte ist und wann sie bei mir ankommt",
    "Cyrillic": "где моя карта и когда она придёт",
    "Chinese": "我的卡在哪里",
    "Arabic": "أين بطاقتي",
}


@pytest.mark.parametrize("language", OTHERS)
def test_a_stray_is_found(subject: Any, language: str) -> None:
    (found,) = languages(subject([*ENGLISH, OTHERS[language]]))
    assert (found.count, str(found.places[0])) == (1, "rows.csv:5")
    assert f"{language} 1" in found.what
    assert "not English" in found.what


def test_each_role_has_its_own_language(subject: Any) -> None:
    rows = [{"source": text, "target": OTHERS["Spanish"]} for text in ENGLISH]
    assert list(languages(subject(rows))) == []


def test_short_foreign_looking_texts_are_not_accused(subject: Any) -> None:
    assert list(languages(subject([*ENGLISH, "die hard", "déjà vu", "a la carte", "12345", ""]))) == []
    assert word_scores("") == {}
