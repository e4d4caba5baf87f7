"""Each format is recognised by its columns and values, and each row of it becomes canonical or says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from burnish.data.formats import detect_format
from burnish.data.options import DataOptions
from burnish.data.records import Record
from burnish.data.row_format import RowFormat
from burnish.data.source import inspect_source, read_source
from burnish.types import Example, Origin, Problem

USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}
TURNS = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
LONG = "a sentence of quite a few words"
Values = dict[str, object]


def records(rows: Sequence[Values]) -> list[Record]:
    return [Record(row, Origin("rows.jsonl", line)) for line, row in enumerate(rows, start=1)]


def detected(*rows: Values) -> RowFormat | None:
    return detect_format(tuple(dict.fromkeys(key for row in rows for key in row)), records(rows))


def canonical(*rows: Values) -> list[object]:
    """Rows of the detected format in canonical columns, a problem as its code."""
    found = detected(*rows)
    assert found is not None
    items = found.examples(records(rows))
    return [item.row if isinstance(item, Example) else item.code for item in items]


def varied(**columns: Sequence[object]) -> list[Values]:
    """Twelve rows that go through the values of each column."""
    return [{name: values[i % len(values)] for name, values in columns.items()} for i in range(12)]


TEXTS = [f"{LONG} number {i}" for i in range(12)]
SAMPLES: list[tuple[str, str, list[Values]]] = [
    ("messages", "chat", [{"messages": [USER, ANSWER], "tools": []}]),
    ("sharegpt", "chat", [{"conversations": TURNS, "tools": "[]"}]),
    ("alpaca", "chat", [{"instruction": "Say hi.", "input": "", "output": "hi"}]),
    ("alpaca", "chat", [{"instruction": "Say hi.", "context": "", "response": "hi", "category": "open_qa"}]),
    ("self-instruct", "chat", [{"instruction": "Say hi.", "instances": [{"input": "", "output": "hi"}]}]),
    ("prompt-completion", "chat", [{"prompt": "Say hi.", "completion": "hi"}]),
    ("prompt-completion", "chat", [{"question": "1 + 1?", "answer": "two\n#### 2"}]),
    ("chosen-rejected", "preference", [{"prompt": "Say hi.", "chosen": "hi", "rejected": "no"}]),
    ("chosen-rejected", "preference", [{"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "no"}]}]),
    (
        "openai-preference",
        "preference",
        [{"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]}],
    ),
    ("voted-responses", "preference", [{"instruction": "a", "response1": "b", "response2": "c", "majority": 1}]),
    ("unpaired-preference", "preference", [{"prompt": "a", "completion": "b", "label": True}]),
    ("reward", "reinforcement", [{"messages": [USER], "reference_answer": "42"}]),
    ("reward", "reinforcement", [{"prompt": "1 + 1?", "ground_truth": "2"}]),
    ("tokens-tags", "token-classification", [{"tokens": ["Ann"], "ner_tags": ["B-PER"]}]),
    ("pair-score", "embedding", varied(sentence1=TEXTS, sentence2=TEXTS, score=["0.5", "4.0"])),
    ("pair-label", "text-pair-classification", varied(premise=TEXTS, hypothesis=TEXTS, label=["yes", "no"])),
    ("triplet", "embedding", [{"anchor": "a", "positive": "b", "negative": "c"}]),
    ("anchor-positive", "embedding", [{"query": "a", "positive": "b"}]),
    ("text-label", "text-classification", varied(body=TEXTS, intent=["a", "b"])),
    ("text-label", "text-classification", varied(question=TEXTS, answer=TEXTS, category=["a", "b"])),
    ("text-label", "text-classification", varied(text=TEXTS, labels=["a", "b"])),
    ("text-labels", "multi-label-classification", varied(text=TEXTS, labels=[["a"], ["a", "b"], []])),
    ("text-labels", "multi-label-classification", varied(text=TEXTS, genres=["a|b", "b", "a|c|b"])),
    ("text-score", "text-regression", varied(text=TEXTS, score=["0.25", "1.5", "3.75"])),
    ("image-label", "image-classification", varied(file=["a.png", "b.JPG"], label=["cat", "dog"])),
    ("image-caption", "image-text", varied(file=[f"{i}.png" for i in range(12)], caption=TEXTS)),
    ("image-caption", "image-text", varied(image=[{"bytes": "data:;base64,AA==", "path": None}], text=TEXTS)),
    ("audio-text", "speech-recognition", varied(path=[f"{i}.wav" for i in range(12)], transcript=TEXTS)),
    ("audio-label", "audio-classification", varied(file=["a.wav", "b.wav"], digit=["1", "2"], split=["x", "y"])),
    ("user-item-time", "recommendation", varied(userId=["1", "2"], movieId=["7", "8"], timestamp=["3", "4"])),
    ("source-target", "seq2seq", varied(source=TEXTS, target=TEXTS[::-1])),
    ("source-target", "seq2seq", varied(en=TEXTS, de=TEXTS[::-1])),
    ("source-target", "seq2seq", varied(translation=[{"en": "a", "de": "b"}])),
    ("source-target", "seq2seq", varied(document=TEXTS, summary=TEXTS[::-1])),
    ("table", "tabular", varied(age=["31", "45", "22"], job=["a", "b"], income=["1.5", "2"], churn=["yes", "no"])),
    ("table", "tabular", varied(rooms=[1, 2, 3], area=[10.5, 20.25], price=[100.5, 200.0, 300.5])),
    ("text", "language-modelling", [{"text": "once upon a time"}]),
]


def test_the_title_of_what_was_chosen() -> None:
    """It is the same wherever the item is; that of a review is not."""
    rows = varied(userId=["1", "2", "3"], movieId=["7", "8"], timestamp=["3", "4"], title=["Heat", "Alien"])
    found = detected(*rows)
    assert found is not None
    assert found.columns["title"] == "title"
    assert {row["title"] for row in canonical(*rows) if isinstance(row, dict)} == {"Heat", "Alien"}
    of_reviews = detected(*({**row, "title": f"number {index}"} for index, row in enumerate(rows)))
    assert of_reviews is not None
    assert "title" not in of_reviews.columns


@pytest.mark.parametrize(("name", "task", "rows"), SAMPLES, ids=[f"{i}-{s[0]}" for i, s in enumerate(SAMPLES)])
def test_format_and_task(name: str, task: str, rows: list[Values]) -> None:
    found = detected(*rows)
    assert found is not None
    assert (found.name, found.task) == (name, task)
    assert set(found.columns.values()) <= set(rows[0])
    assert found.reason
    if name != "openai-preference":  # that sample prefers equal answers
        assert not [item for item in canonical(*rows) if isinstance(item, str)]


@pytest.mark.parametrize(
    "rows",
    [
        varied(a=["1", "2"], b=["3", "4"]),
        varied(column1=["ham", "spam"], column2=TEXTS),
        varied(sentence_good=TEXTS, sentence_bad=TEXTS, field=["x", "y"]),
        [{"messages": "no list"}],
        [{"tokens": "a b", "tags": "O O"}],
        [{"x": None, "y": None}],
    ],
)
def test_what_is_not_recognised(rows: list[Values]) -> None:
    assert detected(*rows) is None


def test_stars_are_classes_unless_somebody_says_they_are_numbers() -> None:
    rows = varied(text=TEXTS, stars=["1", "5", "3"])
    plain = detected(*rows)
    assert plain is None or plain.task != "text-regression"
    found = detect_format(tuple(rows[0]), records(rows), tasks=("text-regression",))
    assert found is not None
    assert (found.name, found.columns["score"]) == ("text-score", "stars")


def test_messages_become_canonical() -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}]}
    turns = [{"role": "developer", "content": "Be kind."}, USER, call, {"role": "tool", "content": "2"}, ANSWER]
    assert canonical({"messages": turns, "tools": '[{"name": "f"}]'}) == [
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
                },
                {"role": "tool", "content": "2"},
                ANSWER,
            ],
            "tools": [{"name": "f"}],
        }
    ]


@pytest.mark.parametrize(
    ("turns", "code", "said"),
    [
        ([USER], "data/role-order", "the last turn is the user's"),
        ([ANSWER], "data/role-order", "turn 1: the assistant begins the conversation"),
        ([USER, ANSWER, ANSWER], "data/role-order", "turn 3: the assistant follows the assistant"),
        ([USER, USER, ANSWER], "data/role-order", "turn 2: the user follows the user"),
        ([USER, {"role": "system", "content": "x"}, ANSWER], "data/role-order", "turn 2"),
        ([USER, ANSWER, {"role": "tool", "content": "x"}, ANSWER], "data/role-order", "none was called"),
        ([USER, {**ANSWER, "content": " "}], "data/empty-answer", "turn 2: the assistant says nothing"),
        ([USER, {"role": "assistant"}], "data/empty-answer", "turn 2"),
        ([{**USER, "content": None}, ANSWER], "data/empty-turn", "turn 1: the user says nothing"),
        ([{**USER, "content": [1]}, ANSWER], "data/empty-turn", "turn 1"),
        ([{**USER, "role": "usr"}, ANSWER], "data/unknown-role", '"usr" is no role (system, user, assistant, tool)'),
        ([{"role": ["user"], "content": "a"}, ANSWER], "data/unknown-role", "turn 1"),
        ([USER, "hello"], "data/bad-turn", "turn 2 is no object"),
        ([], "data/bad-turn", "no list of turns"),
        ("text", "data/bad-turn", "no list of turns"),
        ([USER, {**ANSWER, "weight": 0.5}], "data/bad-weight", "weight 0.5 is neither 0 nor 1"),
        ([USER, {**ANSWER, "weight": True}], "data/bad-weight", "neither"),
        ([USER, {**ANSWER, "weight": 0}], "data/bad-weight", "nothing is learned"),
        ([{**USER, "weight": 1}, ANSWER], "data/bad-weight", "only the assistant's"),
        (
            [USER, {**ANSWER, "tool_calls": [{"function": {"arguments": "{}"}}]}],
            "data/bad-tool-call",
            "without the name",
        ),
        ([USER, {**ANSWER, "tool_calls": ["f"]}], "data/bad-tool-call", "without the name"),
        ([USER, {**ANSWER, "tool_calls": "f"}], "data/bad-tool-call", "not a list"),
        (
            [USER, {**ANSWER, "tool_calls": [{"function": {"name": "f", "arguments": "{a"}}]}],
            "data/bad-tool-call",
            "the arguments of f are not JSON",
        ),
        (
            [USER, {**ANSWER, "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}],
            "data/bad-tool-call",
            "the arguments of f are no object",
        ),
    ],
)
def test_bad_conversations_say_what_is_wrong(turns: object, code: str, said: str) -> None:
    good: Values = {"messages": [USER, ANSWER]}
    found = detected(good)
    assert found is not None
    [problem] = found.examples(records([{"messages": turns}]))
    assert isinstance(problem, Problem)
    assert (problem.code, problem.origin) == (code, Origin("rows.jsonl", 1))
    assert said in problem.reason


def test_weights_and_tools_of_sharegpt() -> None:
    turns = [
        *TURNS,
        {"from": "human", "value": "2?"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {}}'},
        {"from": "observation", "value": "4"},
        {"from": "gpt", "value": "4", "weight": 1},
    ]
    [row] = canonical({"conversations": turns, "system": "Be kind.", "tools": ""})
    assert isinstance(row, dict)
    roles = [turn["role"] for turn in row["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "tool", "assistant"]
    assert row["messages"][4]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert (row["messages"][6]["weight"], "tools" in row) == (1, False)


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([{"from": "gpt", "value": ""}], "data/empty-answer"),
        ([{"from": "gpt"}], "data/empty-answer"),
        ([{"from": "narrator", "value": "x"}], "data/unknown-role"),
        ([{"value": "x"}], "data/bad-turn"),
        ([TURNS[0], {"from": "function_call", "value": "no json"}], "data/bad-tool-call"),
        ([TURNS[0], {"from": "function_call", "value": "3"}], "data/bad-tool-call"),
        (3, "data/bad-turn"),
    ],
)
def test_bad_sharegpt_turns(turns: object, code: str) -> None:
    found = detected({"conversations": TURNS})
    assert found is not None
    [problem] = found.examples(records([{"conversations": turns}]))
    assert isinstance(problem, Problem)
    assert problem.code == code


def test_instructions_and_prompts() -> None:
    expected = {"messages": [{"role": "user", "content": "Add.\n\n1 2"}, {"role": "assistant", "content": "3"}]}
    assert canonical({"instruction": "Add.", "input": "1 2", "output": "3"}) == [expected]
    assert canonical({"instruction": "Add.", "instances": [{"input": "1 2", "output": "3"}]}) == [expected]
    rows: list[Values] = [{"prompt": "a", "completion": "b"}, {"prompt": "", "completion": "b"}, {"prompt": "a"}]
    assert canonical(*rows)[1:] == ["data/empty-prompt", "data/empty-completion"]
    assert canonical({"prompt": [USER], "completion": [ANSWER]}) == [{"messages": [USER, ANSWER]}]


def test_both_spellings_of_a_preference_are_one() -> None:
    other = {**ANSWER, "content": "no"}
    expected = {"prompt": [USER], "chosen": [ANSWER], "rejected": [other]}
    openai = {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [other]}
    assert canonical(openai) == [expected]
    assert canonical({"prompt": "hi", "chosen": "hello", "rejected": "no"}) == [expected]
    assert canonical({"prompt": [USER], "chosen": [ANSWER], "rejected": [other]}) == [expected]
    assert canonical({"chosen": [USER, ANSWER], "rejected": [USER, other]}) == [expected]
    votes = [{"prompt": "hi", "response_a": "no", "response_b": "hello", "winner": vote} for vote in ("b", "tie", "?")]
    assert canonical(*votes) == [expected, "data/no-preference", "data/no-preference"]


def test_pairs_that_prefer_nothing() -> None:
    rows: list[Values] = [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"prompt": "a", "chosen": "b", "rejected": "b"},
        {"prompt": "a", "chosen": " ", "rejected": "b"},
        {"prompt": "a", "chosen": "b", "rejected": None},
        {"prompt": [ANSWER], "chosen": "b", "rejected": "c"},
        {"prompt": "a", "chosen": [USER], "rejected": "c"},
    ]
    assert canonical(*rows)[1:] == [
        *("data/equal-answers", "data/empty-chosen", "data/empty-rejected", "data/role-order", "data/role-order"),
    ]


def test_single_answers_and_rewards() -> None:
    rows = [{"prompt": "a", "completion": "b", "label": value} for value in (*[True, False] * 10, "maybe")]
    labels = [row["label"] if isinstance(row, dict) else row for row in canonical(*rows)]
    assert labels[-3:] == [True, False, "data/bad-label"]
    assert canonical({"messages": [USER], "reference_answer": "2"}, {"messages": [USER], "reference_answer": ""}) == [
        {"prompt": [USER], "reference_answer": "2"},
        "data/empty-reference",
    ]


@pytest.mark.parametrize(
    ("rows", "bad", "code"),
    [
        (varied(text=TEXTS, score=["0.5", "1.25"]), {"text": "a", "score": "much"}, "data/bad-number"),
        (varied(text=TEXTS, score=["0.5", "1.25"]), {"text": "a", "score": 10**400}, "data/bad-number"),
        (varied(text=TEXTS, score=["0.5", "1.25"]), {"text": "a", "score": -1e300}, "data/bad-number"),
        (varied(text=TEXTS, score=["0.5", "1.25"]), {"text": "a", "score": ""}, "data/empty-score"),
        (varied(text=TEXTS, score=["0.5", "1.25"]), {"text": " ", "score": "1"}, "data/empty-text"),
        (varied(text=TEXTS, labels=[["a"], ["b"]]), {"text": "a", "labels": "b"}, "data/bad-label"),
        (varied(text=TEXTS, labels=[["a"], ["b"]]), {"text": "a", "labels": [None]}, "data/empty-label"),
        (varied(tokens=[["a"]], tags=[["O"]]), {"tokens": ["a"], "tags": ["O", "O"]}, "data/uneven-tags"),
        (varied(tokens=[["a"]], tags=[["O"]]), {"tokens": [], "tags": []}, "data/empty-tokens"),
        (varied(tokens=[["a"]], tags=[["O"]]), {"tokens": [""], "tags": ["O"]}, "data/empty-tokens"),
        (varied(tokens=[["a"]], tags=[["O"]]), {"tokens": "a", "tags": "O"}, "data/wrong-type"),
        (varied(translation=[{"en": "a", "de": "b"}]), {"translation": {"en": "a"}}, "data/wrong-type"),
        (varied(en=TEXTS, es=TEXTS), {"en": "a", "es": None}, "data/empty-target"),
        (varied(file=["a.png", "b.png"], label=["x", "y"]), {"file": None, "label": "x"}, "data/empty-image"),
        (varied(user=["1"], item=["2"], time=["3"]), {"user": "1", "item": "2", "time": None}, "data/empty-time"),
        (varied(a=["1", "2"], b=["3"], target=["x", "y"]), {"a": "1", "b": "2", "target": ""}, "data/empty-target"),
    ],
)
def test_bad_rows_say_what_is_missing(rows: list[Values], bad: Values, code: str) -> None:
    assert canonical(*rows, bad)[-1] == code


def test_labels_scores_and_features() -> None:
    assert canonical(*varied(text=TEXTS, tags=["b; a", "a", "b;c;a"]))[0] == {"text": TEXTS[0], "labels": ["a", "b"]}
    assert canonical(*varied(text=TEXTS, score=["0.50", "1e-3"]))[1] == {"text": TEXTS[1], "score": 0.001}
    row = canonical(*varied(age=[31, 22], job=["a", "b"], target=[0, 1]))[0]
    assert row == {"features": {"age": 31, "job": "a"}, "target": "0"}
    row = canonical(*varied(user=["1"], item=["2"], time=["2024-01-01"], rating=["4.5", "3"]))[0]
    assert row == {"user": "1", "item": "2", "time": "2024-01-01", "rating": 4.5}


REAL: Sequence[tuple[str, str, str, int, int]] = [  # file, format, task, rows, of them refused
    ("toolcall_chat/train.jsonl", "sharegpt", "chat", 300, 0),
    ("pandalm_preferences/pairs.jsonl", "chosen-rejected", "preference", 894, 58),
    ("pandalm_preferences/preferences.jsonl", "voted-responses", "preference", 999, 164),
    ("self_instruct/seed_tasks.jsonl", "self-instruct", "chat", 175, 0),
    ("gsm8k/test.jsonl", "prompt-completion", "chat", 1319, 0),
    ("wnut17/test.conll", "tokens-tags", "token-classification", 1287, 0),
    ("stsb_captions/train.csv", "pair-score", "embedding", 1000, 0),
    ("tatoeba_en_es/test.tsv", "source-target", "seq2seq", 1000, 0),
    ("e2e_nlg/train.csv", "source-target", "seq2seq", 4672, 0),
    ("emoji_captions/captions.csv", "image-caption", "image-text", 1312, 0),
    ("telco_churn/churn.csv", "table", "tabular", 7043, 0),
    ("german_credit/german.csv", "table", "tabular", 1000, 0),
    ("elec2/elec.csv", "table", "tabular", 45312, 0),
    ("fsdd/labels.csv", "audio-label", "audio-classification", 1000, 0),
    ("ljspeech_32/metadata.csv", "audio-text", "speech-recognition", 32, 0),
    ("probes/humaneval.jsonl", "reward", "reinforcement", 164, 0),
    ("banking77/test.csv", "text-label", "text-classification", 3080, 0),
    ("clinc150/test.csv", "text-label", "text-classification", 5500, 0),
    ("tiny_shakespeare/input.txt", "text", "language-modelling", 7222, 0),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "format_", "task", "rows", "refused"), REAL, ids=[real[0] for real in REAL])
def test_public_sets(shared_data: Path, name: str, format_: str, task: str, rows: int, refused: int) -> None:
    options = DataOptions(train=name)
    shape = inspect_source(shared_data / name, options, name=name)
    found = detect_format(shape.columns, shape.sample)
    assert found is not None
    items = list(found.examples(read_source(shared_data / name, shape, options)))
    assert (found.name, found.task, len(items)) == (format_, task, rows)
    assert sum(isinstance(item, Problem) for item in items) == refused


@pytest.mark.parametrize(
    ("targets", "first"),
    [(["yes", "no"], "yes"), (["1", "2"], "1"), ([1, 0], "1"), (["1.5", "2.25"], 1.5), (range(30), 0.0)],
)
def test_a_target_is_a_class_or_a_number(targets: Sequence[object], first: object) -> None:
    made = [{"age": 20 + i % 9, "job": "ab"[i % 2], "target": targets[i % len(targets)]} for i in range(60)]
    (row, *_) = canonical(*made)
    assert row == {"features": {"age": 20, "job": "a"}, "target": first}


def test_one_column_of_remarks_among_many_does_not_hide_a_table() -> None:
    made = [
        {**{f"x{k}": (i * k) % 7 for k in range(8)}, "remark": f"{LONG} number {i}", "target": "ab"[i % 2]}
        for i in range(40)
    ]
    found = detected(*made)
    assert found is not None
    assert found.task == "tabular"
