"""Rows that say which answer is better, or how good one is: pairs in both spellings, votes, single answers, rewards."""

from __future__ import annotations

from collections.abc import Mapping

from burnish.data.conversations import Columns, Message, answer_of, as_text, checked, prompt_of, with_tools
from burnish.data.records import RefusedRowError
from burnish.errors import excerpt

_TRUE = (True, 1, 1.0, "1", "true", "yes", "good", "up", "desirable")
_FALSE = (False, 0, 0.0, "0", "false", "no", "bad", "down", "undesirable")
_FIRST = ("1", "a", "first", "response1", "response_a", "model_a")
_SECOND = ("2", "b", "second", "response2", "response_b", "model_b")


def from_pair(values: Mapping[str, object], columns: Columns) -> dict[str, object]:
    """prompt, chosen, rejected: texts or lists of messages; without a prompt, what both answers begin with is it."""
    chosen, rejected = values.get(columns["chosen"]), values.get(columns["rejected"])
    if "prompt" in columns:
        return _pair(prompt_of(values.get(columns["prompt"])), chosen, rejected, values, columns)
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise RefusedRowError("data/empty-prompt", "the pair has no prompt, and its answers are no conversations")
    common = 0
    for first, second in zip(chosen[:-1], rejected[:-1], strict=False):
        if first != second:
            break
        common += 1
    return _pair(prompt_of(chosen[:common]), chosen[common:], rejected[common:], values, columns)


def from_openai_pair(values: Mapping[str, object], columns: Columns) -> dict[str, object]:
    """OpenAI's preference rows: input {"messages", "tools"}, preferred_output, non_preferred_output."""
    given = values.get(columns["input"])
    tools = {"tools": given.get("tools")} if isinstance(given, dict) else {}
    preferred, other = values.get(columns["preferred_output"]), values.get(columns["non_preferred_output"])
    return _pair(prompt_of(given), preferred, other, tools, {"tools": "tools"})


def from_vote(values: Mapping[str, object], columns: Columns) -> dict[str, object]:
    """Two responses to one prompt and a vote for the first (1, a) or the second (2, b); ties are refused."""
    vote = str(values.get(columns["vote"])).strip().lower()
    first, second = values.get(columns["first"]), values.get(columns["second"])
    if vote not in _FIRST + _SECOND:
        tie = vote in ("0", "tie", "none", "both", "equal")
        reason = "the vote is a tie" if tie else f'the vote "{excerpt(vote)}" is neither 1 nor 2, a nor b'
        raise RefusedRowError("data/no-preference", reason)
    prompt = as_text(values.get(columns["prompt"]), "prompt")
    extra = values.get(columns.get("input", ""))
    if isinstance(extra, str) and extra.strip():
        prompt = f"{prompt}\n\n{extra}"
    chosen, rejected = (first, second) if vote in _FIRST else (second, first)
    return _pair(prompt_of(prompt), chosen, rejected, {}, {})


def from_unpaired(values: Mapping[str, object], columns: Columns) -> dict[str, object]:
    """prompt, completion and whether it is a good one."""
    value = values.get(columns["label"])
    key = value.strip().lower() if isinstance(value, str) else value
    if isinstance(key, list | dict) or (key not in _TRUE and key not in _FALSE):
        raise RefusedRowError("data/bad-label", f'"{excerpt(str(value))}" is neither true nor false')
    completion = answer_of(values.get(columns["completion"]), "completion")
    return {"prompt": prompt_of(values.get(columns["prompt"])), "completion": completion, "label": key in _TRUE}


def from_reward(values: Mapping[str, object], columns: Columns) -> dict[str, object]:
    """A prompt that ends with the user, and what answers to it are graded with."""
    reference = {name: values.get(column) for name, column in columns.items() if name not in ("prompt", "tools")}
    if all(value in (None, "", [], {}) for value in reference.values()):
        raise RefusedRowError("data/empty-reference", "the row has nothing that answers could be graded with")
    return with_tools({"prompt": prompt_of(values.get(columns["prompt"])), **reference}, values, columns)


def _pair(
    prompt: list[Message], chosen: object, rejected: object, values: Mapping[str, object], columns: Columns
) -> dict[str, object]:
    better, worse = answer_of(chosen, "chosen"), answer_of(rejected, "rejected")
    if better == worse:
        raise RefusedRowError("data/equal-answers", "chosen and rejected are the same")
    for answer in (better, worse):
        checked([*prompt, *answer])
    return with_tools({"prompt": prompt, "chosen": better, "rejected": worse}, values, columns)
