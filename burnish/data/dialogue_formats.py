"""Formats of rows that somebody answers: conversations, instructions, prompts, and which of two answers is better."""

from __future__ import annotations

from collections.abc import Mapping

from burnish.data import conversations, preferences
from burnish.data.look import Look
from burnish.data.row_format import Canonical, RowFormat, present

_PROMPTS = "prompt,question,query,instruction,input,problem,context,user"
_COMPLETIONS = "completion,response,answer,output,reply,assistant,solution"
_REFERENCES = "reference,reference answer,ground truth,solution,canonical solution,answer,tests,test,reward model"
_SECOND_ANSWERS = "response2,response b,response 2,answer2,answer b,output2"


def conversation(look: Look) -> RowFormat | None:
    column = look.named("messages,conversations,conversation,dialogue,dialog,turns,chat")
    if column is None:
        return None
    extra = present(look, tools="tools,functions", system="system,system prompt")
    if look.have_key(column, "from", "value"):
        return RowFormat(
            name="sharegpt",
            task="chat",
            columns={"messages": column, **extra},
            reason=f'"{column}" holds turns with "from" and "value", as ShareGPT writes conversations',
            canonical=conversations.from_sharegpt,
        )
    if not look.have_key(column, "role"):
        return None
    extra.pop("system", None)
    last = [value[-1] for value in look.values(column) if isinstance(value, list) and value]
    asks = sum(isinstance(turn, dict) and turn.get("role") in ("user", "tool") for turn in last)
    reference = _others(look, column, *extra.values())
    if 2 * asks > len(last) and reference:
        return _reward({"prompt": column, **extra}, reference)
    return RowFormat(
        name="messages",
        task="chat",
        columns={"messages": column, **extra},
        reason=f'"{column}" holds turns with role and content, as OpenAI\'s fine-tuning files do',
        canonical=conversations.from_messages,
    )


def preference(look: Look) -> RowFormat | None:
    pair = look.all_named("input", "preferred output", "non preferred output")
    if pair:
        columns = dict(zip(("input", "preferred_output", "non_preferred_output"), pair, strict=True))
        reason = "an input with a preferred and a non-preferred output, as OpenAI's preference files have them"
        return _preference_format("openai-preference", columns, reason, preferences.from_openai_pair)
    pair = look.all_named("chosen", "rejected")
    if pair:
        columns = dict(zip(("chosen", "rejected"), pair, strict=True))
        columns |= present(look, prompt="prompt,question,instruction,input", tools="tools")
        reason = "each row has a chosen and a rejected answer"
        return _preference_format("chosen-rejected", columns, reason, preferences.from_pair)
    answers = look.all_named("response1,response a,response 1,answer1,answer a,output1", _SECOND_ANSWERS)
    vote = look.named("majority,winner,preference,vote,better,label,choice")
    prompt = look.named("prompt,instruction,question,input")
    if answers and vote and prompt:
        columns = {"prompt": prompt, "first": answers[0], "second": answers[1], "vote": vote}
        columns |= present(look, input="input") if prompt != look.named("input") else {}
        reason = f'two answers to each prompt, and a vote for one of them in "{vote}"'
        return _preference_format("voted-responses", columns, reason, preferences.from_vote)
    return None


def _preference_format(name: str, columns: Mapping[str, str], reason: str, canonical: Canonical) -> RowFormat:
    return RowFormat(name=name, task="preference", columns=columns, reason=reason, canonical=canonical)


def unpaired_preference(look: Look) -> RowFormat | None:
    columns = look.all_named("prompt,question,instruction", "completion,response,answer,output", "label,desirable,good")
    if columns is None or not (look.are(columns[2], bool) or _is_binary(look, columns[2])):
        return None
    return RowFormat(
        name="unpaired-preference",
        task="preference",
        columns=dict(zip(("prompt", "completion", "label"), columns, strict=True)),
        reason=f'a prompt with one answer, and in "{columns[2]}" whether it is a good one',
        canonical=preferences.from_unpaired,
    )


def _is_binary(look: Look, column: str) -> bool:
    return {str(value).strip().lower() for value in look.values(column)} in ({"true", "false"}, {"0", "1"})


def instruction(look: Look) -> RowFormat | None:
    instruction = look.named("instruction")
    instances = look.named("instances")
    if instruction and instances and look.have_key(instances, "input", "output"):
        columns = {"instruction": instruction, "instances": instances}
        reason = "an instruction with instances of input and output, as Self-Instruct writes them"
        one = conversations.from_instances
        return RowFormat(name="self-instruct", task="chat", columns=columns, reason=reason, canonical=one)
    output = look.named("output,response,completion,answer")
    if not instruction or not output:
        return None
    return RowFormat(
        name="alpaca",
        task="chat",
        columns={
            "instruction": instruction,
            "output": output,
            **present(look, input="input,context", system="system"),
        },
        reason="an instruction, perhaps an input, and the output, as Alpaca writes them",
        canonical=conversations.from_instruction,
    )


def graded_prompt(look: Look) -> RowFormat | None:
    prompt = look.named("prompt")
    if prompt is None or look.named("completion,response,output,chosen"):
        return None
    named = look.named(_REFERENCES)
    reference = {**({"reference": named} if named else {}), **present(look, test="test", entry_point="entry point")}
    return _reward({"prompt": prompt}, reference) if named else None


def _reward(columns: Mapping[str, str], reference: Mapping[str, str]) -> RowFormat:
    shown = ", ".join(f'"{column}"' for column in dict.fromkeys(reference.values()))
    return RowFormat(
        name="reward",
        task="reinforcement",
        columns={**columns, **reference},
        reason=f"a prompt without an answer, and what answers can be graded with in {shown}",
        canonical=preferences.from_reward,
    )


def prompt(look: Look) -> RowFormat | None:
    pair = look.all_named(_PROMPTS, _COMPLETIONS)
    if pair is None:
        return None
    answers = [value for value in look.values(pair[1]) if isinstance(value, str)]
    graded = sum("\n#### " in answer for answer in answers)
    checkable = '; the answers end with "#### RESULT", so they could be graded too' if graded else ""
    return RowFormat(
        name="prompt-completion",
        task="chat",
        columns={"prompt": pair[0], "completion": pair[1], **present(look, system="system", tools="tools")},
        reason=f'"{pair[0]}" asks and "{pair[1]}" answers{checkable}',
        canonical=conversations.from_prompt,
    )


def _others(look: Look, *known: str) -> dict[str, str]:
    """Columns of any name beside the known ones; what each is called stays."""
    return {column: column for column in look.columns if column not in known and column not in ("id", "weight")}
