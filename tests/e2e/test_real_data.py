"""A public data set as it comes, without a word of help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.real_data


@pytest.fixture
def sms_spam(shared_data: Path) -> Path:
    """Headerless TSV with literal quotes: 5,574 rows, of which 403 repeat an earlier one."""
    return shared_data / "sms_spam" / "SMSSpamCollection.tsv"


def test_check_of_sms_spam(burnish: Callable[..., Any], sms_spam: Path) -> None:
    shown = burnish("check", sms_spam)
    assert shown.code == 1
    assert f"5,574 rows read from {sms_spam}" in shown.out
    assert "no header, quotes read literally" in shown.out
    assert 'text is "column2", label is "column1"' in shown.out
    assert "WARNING  403 rows (7.2%) repeat an earlier row word for word  [data/duplicate]" in shown.out
    assert f"{sms_spam}:104: the same text and label as {sms_spam}:8\n" in shown.out
    assert all(len(line) <= 300 for line in shown.out.splitlines())
    assert all(character.isprintable() or character == "\n" for character in shown.out)


def test_check_of_sms_spam_as_json(burnish: Callable[..., Any], sms_spam: Path) -> None:
    found = json.loads(burnish("check", sms_spam, "--json").out)
    assert found["rows"] == 5574
    assert found["labels"] == {"ham": 4518, "spam": 653}
    assert sum(found["splits"].values()) == 5574 - 403
    (problem,) = found["problems"]
    assert (problem["code"], problem["count"]) == ("data/duplicate", 403)
    assert problem["share"] == pytest.approx(403 / 5574)
    assert problem["places"][0] == f"{sms_spam}:104"


def test_training_on_sms_spam(
    burnish: Callable[..., Any], sms_spam: Path, solved: tuple[str, ...], sets: Callable[..., list[str]], tmp_path: Path
) -> None:
    """The head on a tiny random base; the verdict sees through it, because TF-IDF is far better on spam."""
    run = tmp_path / "run"
    shown = burnish("train", sms_spam, "--output", run, *sets(solved), "--json")
    assert shown.code == 0
    content = json.loads(shown.out)
    assert content["verdict"]["answer"] == "worse"
    assert content["verdict"]["against"] == "tf-idf"
    assert content["verdict"]["metric"] == "macro-f1"
    assert content["models"]["tf-idf"]["macro-f1"]["value"] > 0.93
    assert len((run / "problems.jsonl").read_text(encoding="utf-8").splitlines()) >= 403
