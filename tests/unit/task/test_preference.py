"""Pairs of answers behind one prompt: held once, and worth what each of them is worth alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.engine.layout import LaidOut
from burnish.engine.layout_choice import choose_layout
from burnish.model.find import find_base
from burnish.model.language import load_language_model
from burnish.model.load import load_tokenizer
from burnish.model.options import ModelOptions
from burnish.model.template import find_template
from burnish.task.mask import Masker, Segment
from burnish.task.options import PreferenceOptions
from burnish.task.preference import Preference, UnpairedPreference, behind_one_prompt
from burnish.types import Encoded, Refusal, Row

CPU = torch.device("cpu")
Made = Callable[..., Any]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


PAIR: Row = {"prompt": [user("say a word")], "chosen": [assistant("tree")], "rejected": [assistant("no, never")]}


@pytest.fixture(scope="module")
def make_task(language_base: Path) -> Made:
    masker = Masker(find_template(language_base, None), load_tokenizer(language_base))

    def make(loss: str = "dpo", *, max_length: int = 256, **options: Any) -> Preference:
        chosen = UnpairedPreference if loss == "kto" else Preference
        return chosen(masker, PreferenceOptions(loss=loss, **options), max_length=max_length)  # type: ignore[arg-type]

    return make


def texts(task: Preference, row: Encoded) -> list[str]:
    """Every segment whole, the shared beginning included."""
    decode = task.masker.tokenizer.decode
    found, start = [], 0
    for index, length in enumerate(row.segment_lengths):
        shared = row.token_ids[: row.shared_prefix] if index else row.token_ids[:0]
        found.append(decode([*shared, *row.token_ids[start : start + length]], skip_special_tokens=False))
        start += length
    return found


def test_the_prompt_is_held_once(make_task: Made) -> None:
    task = make_task()
    row = task.encode(PAIR)
    first, second = task.answers(PAIR)
    assert row.shared_prefix == int(np.flatnonzero(first.learned)[0]), "all of the prompt is shared"
    assert row.length == first.length + second.length - row.shared_prefix
    decode = task.masker.tokenizer.decode
    assert texts(task, row) == [decode(s.token_ids.tolist(), skip_special_tokens=False) for s in (first, second)]


def test_the_targets_are_both_answers_with_their_ends(make_task: Made) -> None:
    task = make_task()
    row = task.encode(PAIR)
    first = int(row.given[0])
    decode = task.masker.tokenizer.decode
    said = [decode(part.tolist(), skip_special_tokens=False) for part in (row.targets[:first], row.targets[first:])]
    assert said[0].strip().startswith("tree")
    assert said[1].strip().startswith("no, never")
    assert row.targets[first - 1] == row.targets[-1], "the same token ends both"


def test_only_the_answer_is_compared(make_task: Made) -> None:
    """What the assistant said earlier belongs to the prompt."""
    task = make_task()
    longer = {**PAIR, "prompt": [user("hello"), assistant("good day"), user("say a word")]}
    assert int(task.encode(longer).given[0]) == int(task.encode(PAIR).given[0])


@pytest.mark.parametrize("padded", [False, True])
def test_an_answer_is_worth_what_it_is_worth_alone(make_task: Made, language_base: Path, padded: bool) -> None:
    """Log-probabilities of pairs with a shared prompt, next to those of each answer in a batch of its own."""
    task = make_task()
    base = find_base(ModelOptions(base=str(language_base)), recipe_folder=Path(), runs=Path("absent"))
    model = load_language_model(base).eval()
    rows = [
        task.encode({**PAIR, "prompt": [user("say a word " * n)], "rejected": [assistant("never " * n)]})
        for n in (1, 4, 2)
    ]
    layout = choose_layout(model.encoder, rows, device=CPU)
    assert not layout.padded, layout.reason
    if padded:
        model = load_language_model(base).eval()
    with torch.no_grad():
        found = task.predict(model, LaidOut(rows, range(3), padded=padded, device=CPU))
        alone = [
            [
                task.predict(model, LaidOut([_twice(segment)], [0], padded=padded, device=CPU))[0]["log_probabilities"]
                for segment in task.answers(pair)
            ]
            for pair in (
                {**PAIR, "prompt": [user("say a word " * n)], "rejected": [assistant("never " * n)]} for n in (1, 4, 2)
            )
        ]
    for row, (chosen, rejected) in zip(found, alone, strict=True):
        assert row["log_probabilities"] == pytest.approx([chosen[0], rejected[0]], abs=2e-4)


def _twice(segment: Segment) -> Encoded:
    """One answer as a pair with itself, nothing shared."""
    learned = np.flatnonzero(segment.learned)
    return Encoded(
        token_ids=np.concatenate([segment.token_ids, segment.token_ids]),
        segment_lengths=(segment.length, segment.length),
        targets=np.concatenate([segment.token_ids[learned]] * 2),
        read_positions=np.concatenate([learned - 1, learned - 1 + segment.length]),
        given=np.array([len(learned)], np.float64),
    )


def test_tokens_that_differ_before_the_answer_are_not_shared() -> None:
    ids = np.array([5, 6, 7, 8]), np.array([5, 9, 7, 8])
    row = behind_one_prompt([Segment(i, np.array([False, False, False, True])) for i in ids], numbers=())
    assert row.shared_prefix == 1
    assert row.token_ids.tolist() == [5, 6, 7, 8, 9, 7, 8]
    assert row.read_positions is not None
    assert row.read_positions.tolist() == [2, 5]


def test_a_conversation_that_is_too_long_is_refused_or_loses_its_first_turns(make_task: Made) -> None:
    long = {**PAIR, "prompt": [user("word " * 40), assistant("yes"), user("say a word")]}
    short = make_task(max_length=80)
    refused = short.encode(long)
    assert isinstance(refused, Refusal)
    assert refused.code == "chat/too-long"
    short.long_rows = "drop-first-turns"
    shortened = short.encode(long)
    assert texts(short, shortened) == texts(short, short.encode(PAIR))


def test_answers_to_other_prompts_stand_behind_ones_own(make_task: Made) -> None:
    task = make_task("kto")
    rows = [
        task.encode({"prompt": [user(word)], "completion": [assistant(word.upper())], "label": index % 2 == 0})
        for index, word in enumerate(("one", "two", "three"))
    ]
    assert [row.given[1] for row in rows] == [1.0, 0.0, 1.0]
    beside = task.with_mismatched(rows, seed=3)
    for row, before in zip(beside, rows, strict=True):
        own, other = texts(task, row)
        prompt = task.masker.tokenizer.decode(row.token_ids[: row.shared_prefix].tolist(), skip_special_tokens=False)
        assert own == texts(task, before)[0]
        assert other.startswith(prompt)
        assert other != own
        assert len(row.read_positions) == len(row.targets)
        place = row.read_positions[int(row.given[0]) :]
        assert place[0] == row.shared_prefix - 1, "the first token is foreseen from the end of the prompt"
