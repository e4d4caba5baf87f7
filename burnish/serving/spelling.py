"""From tokens to text while they come: no half characters, no part of a stop string, the same text as decoded whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are no character yet

BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a token of vocabularies that spell what they have no word for in bytes

NEUTRAL = "a"  # what a token is decoded behind


class Spelling:
    """The text of an answer as it grows.

    Args:
        stops: texts that end the answer; they are not part of it.
        stripped: whether white space around the answer is left out, as `Answerer` does.
        before: tokens that the answer goes on from: many a decoder leaves out the space before a first word.
        special: whether special tokens are part of the text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stops: Sequence[str] = (),
        *,
        stripped: bool = True,
        before: Sequence[int] = (),
        special: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._stops = [stop for stop in stops if stop]
        self._stripped = stripped
        self._special = special
        self._before = self._decode(before) if before else ""
        known = () if self._before.endswith(UNFINISHED) else before
        self._before = self._before if known else ""
        self._ids: list[int] = list(known)
        self._begin = self._read = len(self._ids)  # those up to `_read` were decoded
        self._shown = 0  # ids before this one are text for good
        self._text = ""
        self._sent = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """What can be shown now, with one more token; nothing after a stop string."""
        self._ids.append(token)
        if BYTE.fullmatch(self._tokenizer.id_to_token(token) or ""):
            return ""  # such bytes are decoded together: one that is no character makes the others none, too
        before = self._decode(self._ids[self._shown : self._read])
        now = self._decode(self._ids[self._shown :])
        if self.stopped or len(now) <= len(before) or now.endswith(UNFINISHED):
            return ""
        self._shown, self._read = self._read, len(self._ids)
        return self._more(now[len(before) :])

    def finish(self) -> str:
        """What was held back."""
        if not self.stopped:
            whole = self.text_of(self._ids[self._begin :])
            if whole.startswith(self._text):  # else a decoder that rewrites what it said: the text stays as it was told
                self._look_for_stop(whole[len(self._text) :])
        shown = self._text.rstrip() if self._stripped else self._text
        more = shown[self._start() :]
        self._sent = max(self._sent, len(shown))
        return more

    def whole(self) -> str:
        """All of the answer, where nothing of it was told before."""
        self.finish()
        return self._text.strip() if self._stripped else self._text

    def text_of(self, ids: Sequence[int]) -> str:
        """What tokens say behind those that the answer goes on from."""
        both = self._decode([*self._ids[: self._begin], *ids])
        return both[len(self._before) :] if both.startswith(self._before) else self._decode(ids)

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=not self._special)
        return text

    def _more(self, text: str) -> str:
        self._look_for_stop(text)
        safe = len(self._text) if self.stopped else len(self._text) - self._held()
        start = self._start()
        if self._stripped:
            safe = len(self._text[:safe].rstrip())
        if safe <= start:
            return ""
        self._sent = safe
        return self._text[start:safe]

    def _start(self) -> int:
        """Where what was not told yet begins."""
        if self._sent == 0 and self._stripped:
            return len(self._text) - len(self._text.lstrip())
        return self._sent

    def _look_for_stop(self, text: str) -> None:
        longest = max(map(len, self._stops), default=1)
        begin = max(0, len(self._text) - longest + 1)
        self._text += text
        found = [place for stop in self._stops if (place := self._text.find(stop, begin)) >= 0]
        if found:
            self._text = self._text[: min(found)]
            self.stopped = True

    def _held(self) -> int:
        """Characters at the end that may be the beginning of a stop string."""
        return max(
            (
                length
                for stop in self._stops
                for length in range(1, min(len(stop), len(self._text) + 1))
                if self._text.endswith(stop[:length])
            ),
            default=0,
        )


class TokenTexts:
    """The text of single tokens as it stands inside a text, with the space before a word."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = tokenizer.encode(NEUTRAL, add_special_tokens=False).ids
        self._text: str = tokenizer.decode(self._before, skip_special_tokens=False)

    def __getitem__(self, token: int) -> str:
        both: str = self._tokenizer.decode([*self._before, token], skip_special_tokens=False)
        if both.startswith(self._text):
            return both[len(self._text) :]
        alone: str = self._tokenizer.decode([token], skip_special_tokens=False)
        return alone
