"""What the rows of a file are for: recognised by their columns and values, never declared.

Each format has a name, the task it is data for, and one function that turns a row of the file into canonical columns
or says what is wrong with it. `detect_format` tries them in order, the most telling first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from burnish.data import conversations, preferences, row_values
from burnish.data.clean import with_extra
from burnish.data.known_names import KNOWN_NAMES
from burnish.data.look import Look
from burnish.data.records import Record, RefusedRowError
from burnish.errors import excerpt
from burnish.types import Example, Problem

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff")
_AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
_LANGUAGES = frozenset(  # ISO 639-1
    re.findall(
        r"\w\w",
        "ar bg bn cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru sk sl sr sv ta th "
        "tr uk ur vi zh",
    )
)
_PROMPTS = "prompt,question,query,instruction,input,problem,context,user"
_COMPLETIONS = "completion,response,answer,output,reply,assistant,solution"
_REFERENCES = "reference,reference answer,ground truth,solution,canonical solution,answer,tests,test,reward model"
_FIRST = "sentence1,sentence 1,sentence a,text1,text 1,text a,question1,question 1,premise,first"
_SECOND = "sentence2,sentence 2,sentence b,text2,text 2,text b,question2,question 2,hypothesis,second"
_SCORES = "score,similarity,similarity score,relatedness score,rating,stars"
_LABELS = ",".join(sorted(KNOWN_NAMES["label"])) + ",gold label,is duplicate"
_TEXTS = "text," + ",".join(sorted(KNOWN_NAMES["text"] - {"text"}))
_TITLES = "title,item title,item name,movie title,product name,product title,book title,track name,name,text"
_TARGETS = "target,class,label,outcome,churn,default,y,survived,result,category"

INTERACTIONS = "user-item-time"  # the format of rows that say who chose what and when
IMAGES = "image-label"  # the format of rows that name an image and its class

Canonical = Callable[[Mapping[str, object], Mapping[str, str]], dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFormat:
    """How the rows of a file are spelled, and what they are for.

    Attributes:
        name: of the format, e.g. "sharegpt".
        task: what the rows can teach, e.g. "chat".
        columns: canonical column -> column of the file.
        reason: one sentence for people: what was seen.
        canonical: turns a file row into canonical columns; raises RefusedRowError.
        has_label: whether the canonical columns hold a class called "label".
    """

    name: str
    task: str
    columns: Mapping[str, str]
    reason: str
    canonical: Canonical
    has_label: bool = False

    def examples(self, records: Iterable[Record | Problem], kept: Sequence[str] = ()) -> Iterator[Example | Problem]:
        """Examples with canonical columns; a row that is not what the format promises is a Problem.

        Args:
            kept: further columns of the file that the recipe names.
        """
        for record in records:
            if isinstance(record, Problem):
                yield record
                continue
            try:
                yield with_extra(self.canonical(record.values, self.columns), record, kept)
            except RefusedRowError as refused:
                shown = " | ".join(str(record.values.get(column)) for column in self.columns.values())
                yield Problem(refused.code, refused.reason, record.origin, excerpt=excerpt(shown))


def detect_format(
    columns: Sequence[str],
    sample: Sequence[Record],
    *,
    tasks: Sequence[str] | None = None,
    called: Mapping[str, str] | None = None,
) -> RowFormat | None:
    """The format of rows with these columns, or None when none of them is recognised.

    Args:
        columns: of the file.
        sample: its first records.
        tasks: that the rows must be for, or names of formats that they must have; None: any.
        called: canonical column -> column of the file, where somebody said so.
    """
    found = _first(Look(columns, sample, tasks), tasks)
    called = called or {}
    if found is not None and all(found.columns.get(key, column) == column for key, column in called.items()):
        return found
    names = {column: canonical for canonical, column in called.items()}
    renamed = [_renamed(record, names) for record in sample]
    again = _first(Look([names.get(column, column) for column in columns], renamed, tasks), tasks)
    if again is None:
        return found
    return replace(again, columns={key: called.get(column, column) for key, column in again.columns.items()})


def _first(look: Look, tasks: Sequence[str] | None) -> RowFormat | None:
    formats = (found for detect in _DETECTORS if (found := detect(look)) is not None)
    return next((found for found in formats if tasks is None or {found.task, found.name} & set(tasks)), None)


def _renamed(record: Record, names: Mapping[str, str]) -> Record:
    return replace(record, values={names.get(column, column): value for column, value in record.values.items()})


def _conversation(look: Look) -> RowFormat | None:
    column = look.named("messages,conversations,conversation,dialogue,dialog,turns,chat")
    if column is None:
        return None
    extra = _present(look, tools="tools,functions", system="system,system prompt")
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


def _preference(look: Look) -> RowFormat | None:
    pair = look.all_named("input", "preferred output", "non preferred output")
    if pair:
        columns = dict(zip(("input", "preferred_output", "non_preferred_output"), pair, strict=True))
        reason = "an input with a preferred and a non-preferred output, as OpenAI's preference files have them"
        return _preference_format("openai-preference", columns, reason, preferences.from_openai_pair)
    pair = look.all_named("chosen", "rejected")
    if pair:
        columns = dict(zip(("chosen", "rejected"), pair, strict=True))
        columns |= _present(look, prompt="prompt,question,instruction,input", tools="tools")
        reason = "each row has a chosen and a rejected answer"
        return _preference_format("chosen-rejected", columns, reason, preferences.from_pair)
    answers = look.all_named("response1,response a,response 1,answer1,answer a,output1", _SECOND_ANSWERS)
    vote = look.named("majority,winner,preference,vote,better,label,choice")
    prompt = look.named("prompt,instruction,question,input")
    if answers and vote and prompt:
        columns = {"prompt": prompt, "first": answers[0], "second": answers[1], "vote": vote}
        columns |= _present(look, input="input") if prompt != look.named("input") else {}
        reason = f'two answers to each prompt, and a vote for one of them in "{vote}"'
        return _preference_format("voted-responses", columns, reason, preferences.from_vote)
    return None


_SECOND_ANSWERS = "response2,response b,response 2,answer2,answer b,output2"


def _preference_format(name: str, columns: Mapping[str, str], reason: str, canonical: Canonical) -> RowFormat:
    return RowFormat(name=name, task="preference", columns=columns, reason=reason, canonical=canonical)


def _question(look: Look) -> RowFormat | None:
    columns = look.all_named("question,query", "context,passage,paragraph,document", "answers,answer")
    if columns is None or not look.are(columns[0], str) or not look.are(columns[1], str):
        return None
    question, context, answer = columns
    if look.have_key(answer, "text", "answer_start"):
        reason = "a question, a context, and where in the context the answer stands, as SQuAD writes them"
    elif look.are(answer, str) and look.within(answer, context):
        reason = f'a question and a context with the words of "{answer}"'
    else:
        return None
    return RowFormat(
        name="question-context",
        task="question-answering",
        columns={"question": question, "context": context, "answers": answer},
        reason=reason,
        canonical=row_values.question_in_context,
    )


def _tags(look: Look) -> RowFormat | None:
    pair = look.all_named("tokens,words", "tags,ner tags,pos tags,labels,ner")
    if pair is None or not (look.are(pair[0], list) and look.are(pair[1], list)):
        return None
    return RowFormat(
        name="tokens-tags",
        task="token-classification",
        columns={"tokens": pair[0], "tags": pair[1]},
        reason="each row is a list of tokens with a tag for each",
        canonical=row_values.tokens_with_tags,
    )


def _embedding(look: Look) -> RowFormat | None:
    positive = look.named("positive,pos,positive passage")
    anchor = look.named("anchor,query,question,sentence,text")
    if positive and anchor:
        columns = {"anchor": anchor, "positive": positive, **_present(look, negative="negative,neg,hard negative")}
        name = "triplet" if "negative" in columns else "anchor-positive"
        reason = f"a text with one that belongs to it{' and one that does not' if 'negative' in columns else ''}"
        return RowFormat(name=name, task="embedding", columns=columns, reason=reason, canonical=row_values.texts)
    pair = look.all_named(_FIRST, _SECOND)
    if pair is None:
        return None
    columns = {"first": pair[0], "second": pair[1]}
    score, label = look.named(_SCORES), look.named(_LABELS)
    if score and look.are_numbers(score):
        reason = f'two texts and in "{score}" how alike they are'
        columns["score"] = score
        scored = row_values.pair_with_score
        return RowFormat(name="pair-score", task="embedding", columns=columns, reason=reason, canonical=scored)
    if label is None:
        return None
    return RowFormat(
        name="pair-label",
        task="text-pair-classification",
        columns={**columns, "label": label},
        reason=f'two texts and in "{label}" what one is to the other',
        canonical=row_values.pair_with_label,
        has_label=True,
    )


def _unpaired_preference(look: Look) -> RowFormat | None:
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


def _instruction(look: Look) -> RowFormat | None:
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
            **_present(look, input="input,context", system="system"),
        },
        reason="an instruction, perhaps an input, and the output, as Alpaca writes them",
        canonical=conversations.from_instruction,
    )


def _labelled_text(look: Look) -> RowFormat | None:
    text, labels = look.named(_TEXTS), look.named("labels,tags,categories,topics,genres,keywords")
    if text and labels and text != labels:
        separator = None if look.are(labels, list) else look.separator(labels)
        if separator or look.are(labels, list):
            how = f'separated by "{separator}"' if separator else "as a list"
            return RowFormat(
                name="text-labels",
                task="multi-label-classification",
                columns={"text": text, "labels": labels},
                reason=f'a text and in "{labels}" any number of labels, {how}',
                canonical=partial(row_values.text_with_labels, separator=separator),
            )
    pair = look.all_named(_TEXTS, ",".join(sorted(KNOWN_NAMES["label"])))
    if pair is None or not look.are(pair[1], str, int, float):
        return None
    return RowFormat(
        name="text-label",
        task="text-classification",
        columns={"text": pair[0], "label": pair[1]},
        reason=f'a text and in "{pair[1]}" its class',
        canonical=row_values.texts,
        has_label=True,
    )


def _scored_text(look: Look) -> RowFormat | None:
    text, score = look.named(_TEXTS), look.named(f"{_SCORES},value,target")
    if not text or not score:
        return None
    said = set(look.tasks or ()) == {"text-regression"}  # then one to five stars are numbers too
    if not (look.are_numbers(score) if said else _measures(look, score)):
        return None
    return RowFormat(
        name="text-score",
        task="text-regression",
        columns={"text": text, "score": score},
        reason=f'a text and in "{score}" a number',
        canonical=row_values.text_with_score,
    )


def _measures(look: Look, column: str) -> bool:
    """Whether a column holds numbers, and not a few whole ones, which are classes as well."""
    fractions = any("." in str(value).strip().removesuffix(".0") for value in look.values(column))
    return look.are_numbers(column) and (fractions or look.distinct(column) > 20)


def _media(look: Look) -> RowFormat | None:
    for kind, suffixes in (("image", _IMAGE_SUFFIXES), ("audio", _AUDIO_SUFFIXES)):
        column = next((c for c in look.columns if _holds_media(look, c, kind, suffixes)), None)
        if column is None:
            continue
        names = "text,caption,sentence,transcript,transcription,description"
        text = look.named(names) if look.named(names) != column else None
        others = [c for c in look.columns if c not in (column, "split")]
        label = look.named(_LABELS) or next((c for c in others if look.repeats(c)), None)
        if text and not (label and look.repeats(text)):
            task, name = ("image-text", "image-caption") if kind == "image" else ("speech-recognition", "audio-text")
            columns, reason = {kind: column, "text": text}, f'"{column}" names a file of {kind}, "{text}" its text'
            return RowFormat(name=name, task=task, columns=columns, reason=reason, canonical=row_values.media)
        if label:
            return RowFormat(
                name=f"{kind}-label",
                task=f"{kind}-classification",
                columns={kind: column, "label": label},
                reason=f'"{column}" names a file of {kind}, "{label}" its class',
                canonical=row_values.media,
                has_label=True,
            )
    return None


def _holds_media(look: Look, column: str, kind: str, suffixes: tuple[str, ...]) -> bool:
    return look.are_texts_ending(column, suffixes) or (column.lower() == kind and look.have_key(column, "bytes"))


def _interaction(look: Look) -> RowFormat | None:
    columns = look.all_named(
        "user id,user,customer id,userid,session id",
        "item id,item,movie id,product id,book id,track id,itemid,movieid,productid",
        "timestamp,time,date,datetime,unix time",
    )
    if columns is None:
        return None
    return RowFormat(
        name=INTERACTIONS,
        task="recommendation",
        columns=dict(zip(("user", "item", "time"), columns, strict=True)) | _title_and_rating(look, columns[1]),
        reason="who chose what, and when",
        canonical=row_values.interaction,
    )


def _title_and_rating(look: Look, item: str) -> dict[str, str]:
    """The optional columns of interactions; a title is one where each item has one, or else it is a review's."""
    found = _present(look, title=_TITLES, rating="rating,score,stars")
    if "title" in found and not look.is_told_by(found["title"], item):
        del found["title"]
    return found


def _graded_prompt(look: Look) -> RowFormat | None:
    prompt = look.named("prompt")
    if prompt is None or look.named("completion,response,output,chosen"):
        return None
    named = look.named(_REFERENCES)
    reference = {**({"reference": named} if named else {}), **_present(look, test="test", entry_point="entry point")}
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


def _prompt(look: Look) -> RowFormat | None:
    pair = look.all_named(_PROMPTS, _COMPLETIONS)
    if pair is None:
        return None
    answers = [value for value in look.values(pair[1]) if isinstance(value, str)]
    graded = sum("\n#### " in answer for answer in answers)
    checkable = '; the answers end with "#### RESULT", so they could be graded too' if graded else ""
    return RowFormat(
        name="prompt-completion",
        task="chat",
        columns={"prompt": pair[0], "completion": pair[1], **_present(look, system="system", tools="tools")},
        reason=f'"{pair[0]}" asks and "{pair[1]}" answers{checkable}',
        canonical=conversations.from_prompt,
    )


def _sequence(look: Look) -> RowFormat | None:
    column = look.named("translation")
    if column and look.are(column, dict):
        columns, reason = {"translation": column}, "a text in two languages"
        both = row_values.translation
        return RowFormat(name="source-target", task="seq2seq", columns=columns, reason=reason, canonical=both)
    pairs = (
        look.all_named("source,src,source text,input text", "target,tgt,target text"),
        look.all_named("input", "target,output"),
        look.all_named("mr,meaning representation", "ref,reference,human reference"),
        look.all_named("document,article,text,dialogue,body", "summary,highlights,abstract,headline"),
        [column for column in look.columns if column.lower() in _LANGUAGES],
    )
    pair = next((pair for pair in pairs if pair and len(pair) == 2), None)
    if pair is None or not (look.are(pair[0], str) and look.are(pair[1], str)) or look.are_numbers(pair[1]):
        return None
    return RowFormat(
        name="source-target",
        task="seq2seq",
        columns={"source": pair[0], "target": pair[1]},
        reason=f'"{pair[1]}" is what is to be written for "{pair[0]}"',
        canonical=row_values.texts,
    )


def _table(look: Look) -> RowFormat | None:
    prose = sum(look.is_prose(column) for column in look.columns)
    if len(look.columns) < 3 or 8 * prose > len(look.columns):  # one column of names or remarks among many is left out
        return None
    last = look.columns[-1]
    flat = all(look.are(column, str, int, float, bool) or not look.values(column) for column in look.columns)
    target = look.named(_TARGETS) or (last if look.repeats(last) or look.are_numbers(last) else None)
    numbers = sum(look.are_numbers(column) or look.repeats(column) for column in look.columns if column != target)
    if not flat or target is None or 2 * numbers < len(look.columns):
        return None
    return RowFormat(
        name="table",
        task="tabular",
        columns={"target": target},
        reason=f'{len(look.columns) - 1} columns of numbers and categories, and in "{target}" what is to be predicted',
        canonical=row_values.table_row_with_number if _measures(look, target) else row_values.table_row,
    )


def _document(look: Look) -> RowFormat | None:
    if len(look.columns) != 1 or look.named("text,content,document,body") is None:
        return None
    return RowFormat(
        name="text",
        task="language-modelling",
        columns={"text": look.columns[0]},
        reason="texts and nothing else",
        canonical=row_values.texts,
    )


def _present(look: Look, **names: str) -> dict[str, str]:
    """The optional columns that are there."""
    found = {canonical: look.named(wanted) for canonical, wanted in names.items()}
    return {canonical: column for canonical, column in found.items() if column is not None}


def _others(look: Look, *known: str) -> dict[str, str]:
    """Columns of any name beside the known ones; what each is called stays."""
    return {column: column for column in look.columns if column not in known and column not in ("id", "weight")}


_DETECTORS: tuple[Callable[[Look], RowFormat | None], ...] = (
    _conversation,
    _preference,
    _question,
    _tags,
    _embedding,
    _unpaired_preference,
    _instruction,
    _media,
    _interaction,
    _labelled_text,
    _scored_text,
    _graded_prompt,
    _prompt,
    _sequence,
    _table,
    _document,
)
