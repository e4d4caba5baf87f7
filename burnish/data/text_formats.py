"""Formats of rows of text: with classes, numbers, tags or spans, in pairs, or to be rewritten."""

from __future__ import annotations

import re
from functools import partial

from burnish.data import row_values
from burnish.data.known_names import KNOWN_NAMES
from burnish.data.look import Look
from burnish.data.row_format import LABELS, RowFormat, present

_LANGUAGES = frozenset(  # ISO 639-1
    re.findall(
        r"\w\w",
        "ar bg bn cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru sk sl sr sv ta th "
        "tr uk ur vi zh",
    )
)
_FIRST = "sentence1,sentence 1,sentence a,text1,text 1,text a,question1,question 1,premise,first"
_SECOND = "sentence2,sentence 2,sentence b,text2,text 2,text b,question2,question 2,hypothesis,second"
_SCORES = "score,similarity,similarity score,relatedness score,rating,stars"
_TEXTS = "text," + ",".join(sorted(KNOWN_NAMES["text"] - {"text"}))


def question(look: Look) -> RowFormat | None:
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


def tags(look: Look) -> RowFormat | None:
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


def embedding(look: Look) -> RowFormat | None:
    positive = look.named("positive,pos,positive passage")
    anchor = look.named("anchor,query,question,sentence,text")
    if positive and anchor:
        columns = {"anchor": anchor, "positive": positive, **present(look, negative="negative,neg,hard negative")}
        name = "triplet" if "negative" in columns else "anchor-positive"
        reason = f"a text with one that belongs to it{' and one that does not' if 'negative' in columns else ''}"
        return RowFormat(name=name, task="embedding", columns=columns, reason=reason, canonical=row_values.texts)
    pair = look.all_named(_FIRST, _SECOND)
    if pair is None:
        return None
    columns = {"first": pair[0], "second": pair[1]}
    score, label = look.named(_SCORES), look.named(LABELS)
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


def labelled_text(look: Look) -> RowFormat | None:
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


def scored_text(look: Look) -> RowFormat | None:
    text, score = look.named(_TEXTS), look.named(f"{_SCORES},value,target")
    if not text or not score:
        return None
    said = set(look.tasks or ()) == {"text-regression"}  # then one to five stars are numbers too
    if not (look.are_numbers(score) if said else look.measures(score)):
        return None
    return RowFormat(
        name="text-score",
        task="text-regression",
        columns={"text": text, "score": score},
        reason=f'a text and in "{score}" a number',
        canonical=row_values.text_with_score,
    )


def sequence(look: Look) -> RowFormat | None:
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


def document(look: Look) -> RowFormat | None:
    if len(look.columns) != 1 or look.named("text,content,document,body") is None:
        return None
    return RowFormat(
        name="text",
        task="language-modelling",
        columns={"text": look.columns[0]},
        reason="texts and nothing else",
        canonical=row_values.texts,
    )
