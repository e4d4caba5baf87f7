"""The languages of the texts, by script and by the commonest words: enough to notice a stray one, not to name any.

Heuristic on purpose: no model, no download. A text counts as of another language only when several of its words are
common in that language and few are common in the main one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from burnish.data.doctor.finding import ANSWER, INPUT, ROLES, Finding, Subject

SAMPLE = 50_000  # texts looked at, evenly spread: enough to find a share of 0.01 %
SURE = 3  # words of a language that are not common in the main one as well
SHOWN = 10
_SCRIPTS = (
    ("Cyrillic", "\u0400-\u052f"), ("Greek", "\u0370-\u03ff"), ("Arabic", "\u0600-\u06ff\u0750-\u077f"),
    ("Hebrew", "\u0590-\u05ff"), ("Devanagari", "\u0900-\u097f"), ("Bengali", "\u0980-\u09ff"),
    ("Tamil", "\u0b80-\u0bff"), ("Thai", "\u0e00-\u0e7f"), ("Georgian", "\u10a0-\u10ff"),
    ("Armenian", "\u0530-\u058f"), ("Japanese", "\u3040-\u30ff"), ("Korean", "\uac00-\ud7af"),
    ("Chinese", "\u4e00-\u9fff"),
)  # fmt: skip
_OF_SCRIPT = [(name, re.compile(f"[{ranges}]")) for name, ranges in _SCRIPTS]
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
# The commonest function words of each language, short lists written for this use; those that several languages share
# say little and count for each.
_WORDS = {
    "English": "the of and to in is you that it he was for on are with as his they be at one have this from or had by "
    "not but what all were we when your can said there an each which she do how their if will my i me would could has",
    "Spanish": "de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí "
    "porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante es está qué mi yo",
    "French": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec ou "
    "son mais comme on nous vous elle je tu cette été être fait ont leur même aux j'ai c'est d'un qu'il mon ma n'est",
    "German": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus "
    "er hat dass sie nach wird bei einer um am sind noch wie einem über so zum war haben nur oder aber vor zur ich wir",
    "Italian": "di e il la che in un a per è una sono con non le si da come io del ma ho i lo mi al ha più della gli "
    "nel anche se questo questa cosa perché molto tutto alla dei sono era ci quando essere hai mio c'è",
    "Portuguese": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem "
    "à seu sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era você meu",
    "Dutch": "de van het een en in is dat op te zijn voor met die niet aan er om ook als dan maar bij of uit nog "
    "worden door naar heeft tot ze wat mijn deze ik je hij wordt geen kan zo wel was over",
    "Swedish": "och i att en det som på är av för med till den har de inte om ett han men var jag sig från vi så kan "
    "när man nu eller än ska mot efter också under",
    "Polish": "i w nie na z się do to jest że jak co po o ale tak za od mnie czy by tylko jego jej dla są już być ich",
    "Turkish": "bir ve bu da de için ne çok ben o ile mi gibi daha var en kadar ama değil sen diye sonra her şey ki",
    "Indonesian": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena ada bisa kami",
    "Vietnamese": "và của là có không trong một cho được với các này người những tôi đã khi để",
    "Romanian": "și în de la cu nu o pe că este din un mai care pentru se sunt ce dar au fi fost sau",
    "Czech": "a se v na je že to s z do o i jako za pro by ale si co jsem tak po jsou podle nebo už jen",
}
_LANGUAGES_OF: defaultdict[str, list[str]] = defaultdict(list)
for _language, _words in _WORDS.items():
    for _word in set(_words.split()):
        _LANGUAGES_OF[_word].append(_language)


def languages(subject: Subject) -> Iterator[Finding]:
    """Texts of another language or script than most texts of their role."""
    for role in (INPUT, ANSWER):
        places = subject.of_role(role)
        if len(places) > SAMPLE:
            places = places[np.linspace(0, len(places) - 1, SAMPLE).astype(np.int64)]
        if len(places):
            yield from _strays(subject, places.tolist(), role)


def _strays(subject: Subject, places: list[int], role: str) -> Iterator[Finding]:
    scores = [word_scores(subject.texts[index]) for index in places]
    main = Counter(guess for score in scores if (guess := _best(score))).most_common(1)
    if not main:
        return
    usual = main[0][0]
    strays = {index: guess for index, score in zip(places, scores, strict=True) if (guess := _other(score, usual))}
    if not strays:
        return
    counts = Counter(strays.values())
    whole = len(subject.of_role(ROLES[subject.roles[places[0]]]))
    seen = "" if len(places) == whole else f" (of {len(places):,} looked at)"
    yield subject.finding(
        "data/other-language",
        "info",
        (subject.rows[index] for index in strays),
        f"have an {role} that is not {usual} as most are{seen}: "
        + ", ".join(f"{language} {count:,}" for language, count in counts.most_common()),
        "fine when the model has to serve these languages and the base knows them; else remove these rows",
        details=[
            f"{subject.place(subject.rows[index])}: {language}" for index, language in list(strays.items())[:SHOWN]
        ],
    )


def word_scores(text: str) -> Counter[str]:
    """How many different words of the text are common in each language; a script of its own counts ten per text.

    >>> word_scores("wo ist die Karte und wann kommt sie").most_common(1)
    [('German', 4)]
    """
    scores: Counter[str] = Counter()
    if not text.isascii():
        letters = len(_LETTER.findall(text))
        for name, expression in _OF_SCRIPT:
            if len(expression.findall(text)) > letters / 2:
                scores[name] = 10
                return scores
    for word in set(_WORD.findall(text.lower())):
        scores.update(_LANGUAGES_OF.get(word, ()))
    return scores


def _best(scores: Counter[str]) -> str | None:
    return scores.most_common(1)[0][0] if scores else None


def _other(scores: Counter[str], usual: str) -> str | None:
    """The language a text is in for sure, when it is not the usual one."""
    guess = _best(scores)
    sure = guess is not None and scores[guess] >= scores[usual] + SURE and scores[guess] >= 3 * scores[usual]
    return guess if sure else None
