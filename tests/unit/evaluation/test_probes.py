"""Probes: ours, and files of the user's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from burnish.errors import DataReadError
from burnish.evaluation.probes import FEWEST, SHIPPED, read_probes

TEXTS = "".join(f'{{"text": "text {i}"}}\n' for i in range(FEWEST))


def test_ours_are_of_several_kinds_with_enough_of_each_to_tell() -> None:
    probes = read_probes([SHIPPED])
    kinds = Counter(probe.kind for probe in probes)
    assert kinds == {
        "story": 10,
        "prose": 10,
        "instruction": 8,
        "reasoning": 8,
        "arithmetic": 8,
        "knowledge": 8,
        "code": 4,
    }
    assert len({probe.text for probe in probes}) == len(probes)
    places = Counter(probe.answer for probe in probes if probe.is_choice)
    assert max(places.values()) <= 10, "the place of the right choice tells nothing"


def test_the_three_kinds_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text(
        '{"text": "Water is wet."}\n\n'
        '{"prompt": "Water is", "completion": " wet.", "kind": "facts"}\n'
        '{"prompt": "Water is", "choices": [" dry", " wet"], "answer": 1}\n' + TEXTS,
        encoding="utf-8",
    )
    text, completion, choice, *_ = read_probes([str(path)])
    assert (text.kind, text.prompt, text.continuations) == ("probes", "", ("Water is wet.",))
    assert (completion.kind, completion.prompt, completion.continuations) == ("facts", "Water is", (" wet.",))
    assert (choice.continuations, choice.answer, choice.text) == ((" dry", " wet"), 1, "Water is wet")
    assert [probe.is_choice for probe in (text, completion, choice)] == [False, False, True]
    assert str(choice.origin) == f"{path}:4"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"text": " "}', '"text" is no text or empty'),
        ('{"prompt": "a"}', '"completion" is no text or empty'),
        ('{"prompt": 1, "completion": "a"}', '"prompt" is no text'),
        ('{"text": "a", "kind": 3}', '"kind" is no text'),
        ('{"choices": ["a"], "answer": 0}', '"choices" is no list of two texts or more'),
        ('{"choices": ["a", "a"], "answer": 0}', 'the choice "a" is there twice'),
        ('{"choices": ["a", "b"], "answer": 2}', '"answer" is no number from 0 to 1'),
        ('{"choices": ["a", "b"], "answer": true}', '"answer" is no number from 0 to 1'),
        ("[1]", "the row is JSON but not an object"),
    ],
)
def test_a_row_that_is_no_probe_is_named_with_its_line(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text(f"{TEXTS}{row}\n", encoding="utf-8")
    with pytest.raises(DataReadError) as raised:
        read_probes([str(path)])
    assert raised.value.code == "probes/bad-row"
    assert raised.value.where == f"{path}:{FEWEST + 1}"
    assert raised.value.message.startswith(said)
    assert raised.value.hint == (
        'a probe is {"text": ...}, {"prompt": ..., "completion": ...} or {"prompt": ..., "choices": [...], "answer": 0}'
    )


def test_too_few_probes(tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(DataReadError, match="1 probes are too few") as raised:
        read_probes([str(path)])
    assert (raised.value.code, raised.value.where) == ("probes/too-few", str(path))
    assert raised.value.hint == "give at least 10, or write `shipped` for ours"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xe4\n")
    for name, said in (("absent", "No such file or directory"), ("latin", "not UTF-8")):
        with pytest.raises(DataReadError, match=said) as raised:
            read_probes([str(tmp_path / name)])
        assert (raised.value.code, raised.value.where) == ("probes/unreadable", str(tmp_path / name))
        assert raised.value.hint is not None
        assert "evaluation.forgetting.probes" in raised.value.hint


def test_the_lines_of_the_guide_are_probes(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "keep-abilities.md").read_text(encoding="utf-8")
    path = tmp_path / "mine.jsonl"
    path.write_text(guide.split("```json\n")[1].split("```")[0] + TEXTS, encoding="utf-8")
    assert [probe.kind for probe in read_probes([str(path)])[:3]] == ["letters", "facts", "sums"]
