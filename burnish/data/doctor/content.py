"""What stands in the texts and should not: template marks, turns out of order, personal data, broken characters."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from burnish.data.doctor.finding import ANSWER, Finding, Subject
from burnish.data.personal import find_personal_rows
from burnish.errors import excerpt

SHOWN = 20
USUALLY_SHORT = 0.5  # share of one-word answers above which they are what is to be learned
# Marks that chat templates and tokenizers of common model families put between turns.
TEMPLATE_MARKS = re.compile(
    r"<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|unk|mask|sep|cls)>|<(?:start|end)_of_turn>"
    r"|\[(?:CLS|SEP|PAD|MASK|UNK)\]|^### (?:Instruction|Response|Input):|</?(?:tool_call|think|tool_response)>",
    re.MULTILINE,
)
# Characters of UTF-8 bytes read as Windows-1252: a lead byte's character and one to three of those of 0x80..0xBF.
_TRAIL = "\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d\u2018\u2019" + (
    "\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
)
_DOUBLE_ENCODED = re.compile(f"[\u00c2-\u00f4][{_TRAIL}]{{1,3}}")
# What such pairs become when mended: letters of Latin scripts, general punctuation, euro and trade mark, emoji.
_PLAUSIBLE = re.compile("[\u00a0-\u017f\u2010-\u2044\u20ac\u2122\U0001f300-\U0001faff]")


def answers(subject: Subject) -> Iterator[Finding]:
    """Answers that say nothing, or one word where others say more."""
    places = subject.of_role(ANSWER)
    if not len(places):
        return
    words = [len(subject.texts[index].split(None, 2)) for index in places]
    rows = subject.rows[places]
    empty = [row for row, count in zip(rows, words, strict=True) if count == 0]
    if empty:
        yield subject.finding(
            "data/empty-answer", "error", empty, "have an answer without a word", "remove these rows, or answer them"
        )
    short = [row for row, count in zip(rows, words, strict=True) if count == 1]
    if short and len(short) <= USUALLY_SHORT * len(places):
        yield subject.finding(
            "data/one-word-answer",
            "info",
            short,
            "have an answer of one word, while most answers are longer",
            "look whether they are cut off or lazy; the model learns to answer like that",
        )


def template_marks(subject: Subject) -> Iterator[Finding]:
    """Marks between turns that stand inside a text, where a tokenizer would read them as its own."""
    marks: Counter[str] = Counter()
    rows: list[int] = []
    for row, text in zip(subject.rows.tolist(), subject.texts, strict=True):
        if ("<" in text or "[" in text or "###" in text) and (found := TEMPLATE_MARKS.findall(text)):
            rows.append(row)
            marks.update(found)
    if rows:
        yield subject.finding(
            "data/template-marks",
            "warning",
            rows,
            "hold marks that a chat template puts between turns; read as such they end the text early",
            "remove them from the texts; burnish adds the base's own",
            details=[f"{mark}: {count:,}" for mark, count in marks.most_common(SHOWN)],
        )


def turns(subject: Subject) -> Iterator[Finding]:
    """Conversations whose turns are out of order: what is learned is the wrong speaker's text."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for row, example in enumerate(subject.examples):
        messages = example.row.get("messages")
        if isinstance(messages, Sequence) and not isinstance(messages, str):
            reason = _broken_turns([message for message in messages if isinstance(message, Mapping)])
            if reason:
                found[reason].append(row)
    for reason, rows in found.items():
        yield subject.finding(
            "data/turn-order", "warning", rows, reason, "put the turns in order, or remove these rows"
        )


def _broken_turns(messages: Sequence[Mapping[str, object]]) -> str | None:
    speakers = [str(message.get("role")) for message in messages]
    spoken = [speaker for speaker in speakers if speaker not in ("system", "developer")]
    if not spoken:
        return "have no turn of a user or an assistant"
    if spoken[0] == "assistant":
        return "begin with the assistant: nothing says what it answers"
    if "assistant" not in spoken:
        return "have no turn of the assistant: there is nothing to learn"
    if spoken[-1] == "user":
        return "end with the user: the last question has no answer"
    before = dict(enumerate(spoken))
    for index, speaker in enumerate(spoken[1:]):
        if speaker == before[index] and speaker in ("user", "assistant"):
            return f"have two turns of the {speaker} in a row"
    late = next((i for i, speaker in enumerate(speakers) if speaker not in ("system", "developer")), 0)
    if any(speaker in ("system", "developer") for speaker in speakers[late:]):
        return "have a system message after the first turn"
    return None


def personal(subject: Subject) -> Iterator[Finding]:
    """Personal data and secrets, one finding for data of people and one for secrets."""
    rows_of: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for index, span in find_personal_rows(subject.texts):
        kind = "secret" if span.kind in ("secret", "private key") else "personal"
        rows_of[kind].setdefault(int(subject.rows[index]), span.kind)
    sentences = {
        "secret": ("data/secret", "hold keys, tokens or passwords, which a model can repeat to anyone"),
        "personal": ("data/personal", "hold personal data, which a model can repeat to anyone"),
    }
    for kind, rows in rows_of.items():
        code, what = sentences[kind]
        counts = ", ".join(f"{name} {count:,}" for name, count in Counter(rows.values()).most_common())
        yield subject.finding(
            code,
            "error" if kind == "secret" else "warning",
            rows,
            f"{what}: {counts}",
            "`data: {clean: {redact: true}}` replaces it by its kind in brackets"
            + ("; revoke what is still valid" if kind == "secret" else ""),
            details=[f"{subject.place(row)}: {name}" for row, name in list(rows.items())[:SHOWN]],
        )


def broken_characters(subject: Subject) -> Iterator[Finding]:
    """Texts whose UTF-8 was read as Windows-1252 once (`cafÃ©`), and texts with characters that are lost already."""
    doubled: dict[int, str] = {}
    lost: list[int] = []
    for row, text in zip(subject.rows.tolist(), subject.texts, strict=True):
        if text.isascii():
            continue
        if "\ufffd" in text:
            lost.append(row)
        mended = mend(text)
        if mended != text:
            doubled.setdefault(row, _first_change(text))
    if doubled:
        yield subject.finding(
            "data/double-encoded",
            "warning",
            doubled,
            "hold characters of UTF-8 that was read as Windows-1252",
            "export the file again as UTF-8, or mend a text with `text.encode('cp1252').decode('utf-8')`",
            details=[f"{subject.place(row)}: {shown}" for row, shown in list(doubled.items())[:SHOWN]],
        )
    if lost:
        yield subject.finding(
            "data/lost-characters",
            "warning",
            lost,
            "hold the replacement character \ufffd: what stood there is lost",
            "export the file again from its source in UTF-8",
        )


def mend(text: str) -> str:
    """The text with double-encoded characters mended; others stay as they are.

    >>> mend("cafÃ© â€“ CAFÉ»")
    'café – CAFÉ»'
    """
    return _DOUBLE_ENCODED.sub(lambda match: _mended(match.group()), text)


def _mended(piece: str) -> str:
    for end in range(len(piece), 1, -1):
        raw = b"".join(_byte(character) for character in piece[:end])
        try:
            once = raw.decode("utf-8")
        except UnicodeDecodeError:
            continue
        if len(once) == 1 and _PLAUSIBLE.match(once):
            return once + piece[end:]
    return piece


def _byte(character: str) -> bytes:
    """The byte of a Windows-1252 character; the five bytes it does not define stand for themselves."""
    try:
        return character.encode("cp1252")
    except UnicodeEncodeError:
        return character.encode("latin-1", "replace")


def _first_change(text: str) -> str:
    for match in _DOUBLE_ENCODED.finditer(text):
        once = _mended(match.group())
        if once != match.group():
            return f'"{excerpt(match.group())}" was "{excerpt(once)}"'
    return ""
