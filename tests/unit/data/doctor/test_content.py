"""What stands in the texts and should not."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.data.doctor.content import answers, broken_characters, mend, personal, template_marks, turns

CLEAN = ["where is my card?", "a < b and c > d [sic]", "CAFÉ» is «open», naïve façade", "ÇÃO 20 °C – 5 €", ""]


def test_empty_and_one_word_answers(subject: Any) -> None:
    rows = [{"prompt": "q", "completion": text} for text in ("a full answer", "another full one", "yes", " \n")]
    empty, short = answers(subject(rows))
    assert (empty.code, empty.severity, [str(p) for p in empty.places]) == (
        "data/empty-answer",
        "error",
        ["rows.csv:5"],
    )
    assert (short.code, [str(p) for p in short.places]) == ("data/one-word-answer", ["rows.csv:4"])


def test_one_word_answers_may_be_the_task(subject: Any) -> None:
    assert list(answers(subject([{"prompt": "q", "completion": "yes"}] * 3))) == []


@pytest.mark.parametrize("mark", ["<|im_start|>", "[INST]", "</s>", "<bos>", "<end_of_turn>", "<<SYS>>", "[MASK]"])
def test_template_marks(subject: Any, mark: str) -> None:
    (found,) = template_marks(subject(["fine", f"hello {mark} there"]))
    assert (found.code, found.count, found.details) == ("data/template-marks", 1, (f"{mark}: 1",))


def messages(*speakers: str) -> dict[str, Any]:
    return {"messages": [{"role": speaker, "content": "x"} for speaker in speakers]}


@pytest.mark.parametrize(
    ("speakers", "reason"),
    [
        (("user", "assistant"), None),
        (("system", "user", "assistant", "tool", "tool", "assistant"), None),
        (("user", "assistant", "user"), "end with the user"),
        (("assistant", "user"), "begin with the assistant"),
        (("user", "user", "assistant"), "two turns of the user"),
        (("user", "tool"), "no turn of the assistant"),
        (("system",), "no turn of a user"),
        (("user", "assistant", "system", "user", "assistant"), "system message after"),
    ],
)
def test_turns(subject: Any, speakers: tuple[str, ...], reason: str | None) -> None:
    found = list(turns(subject([messages(*speakers)])))
    assert len(found) == (reason is not None)
    assert reason is None or reason in found[0].what


def test_personal_data_and_secrets_are_two_findings(subject: Any) -> None:
    found = list(personal(subject(["mail a@b.co", "x", "AKIAIOSFODNN7EXAMPLE", "4111 1111 1111 1111"])))
    assert {f.code: (f.severity, f.count) for f in found} == {
        "data/personal": ("warning", 2),
        "data/secret": ("error", 1),
    }
    assert not any("a@b.co" in line or "AKIA" in line for f in found for line in (f.what, *f.details))


@pytest.mark.parametrize("text", ["café", "“quoted”", "€ 5 – 6", "naïve", "Ünïcödé", "🙂"])
def test_double_encoding_is_found_and_mended(subject: Any, text: str) -> None:
    broken = _misread(text)
    assert mend(broken) == text
    (found,) = broken_characters(subject(["fine", broken]))
    assert (found.code, found.count) == ("data/double-encoded", 1)


def _misread(text: str) -> str:
    """UTF-8 read as Windows-1252, whose five undefined bytes browsers read as control characters."""
    return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in text.encode())


def test_lost_characters(subject: Any) -> None:
    (found,) = broken_characters(subject(["caf\ufffd"]))
    assert found.code == "data/lost-characters"


@pytest.mark.parametrize("check", [template_marks, personal, broken_characters])
def test_nothing_in_clean_texts(subject: Any, check: Any) -> None:
    assert list(check(subject(CLEAN))) == []
    assert [mend(text) for text in CLEAN] == CLEAN
