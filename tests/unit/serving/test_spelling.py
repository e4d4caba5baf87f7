"""Text that grows: no half characters, no beginning of a stop string, and in the end the whole."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from burnish.serving.spelling import Spelling, TokenTexts

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def by_bytes() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(LETTERS)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


BYTES = by_bytes()


def pieces_of(text: str, stops: list[str], *, stripped: bool) -> tuple[list[str], bool]:
    spelling = Spelling(BYTES, stops, stripped=stripped)
    found = []
    for token in BYTES.encode(text, add_special_tokens=False).ids:
        found.append(spelling.push(token))
        if spelling.stopped:
            break
    return [*found, spelling.finish()], spelling.stopped


def expected(text: str, stops: list[str], *, stripped: bool) -> str:
    """By the definition: the text until the first character at which a stop string is complete."""
    for end in range(len(text) + 1):
        for stop in stops:
            if text[:end].endswith(stop):
                found = min(text[:end].find(each) for each in stops if each in text[:end])
                return text[:found].strip() if stripped else text[:found]
    return text.strip() if stripped else text


@example("b a ", ["a "], True)  # the space before what may be a stop string may be the last thing
@given(
    st.text(alphabet="aab \nα😀", max_size=20),
    st.lists(st.text(alphabet="ab α", min_size=1, max_size=4), max_size=3),
    st.booleans(),
)
def test_pieces_add_up_and_stop_where_they_should(text: str, stops: list[str], stripped: bool) -> None:
    pieces, stopped = pieces_of(text, stops, stripped=stripped)
    assert "".join(pieces) == expected(text, stops, stripped=stripped)
    assert stopped == any(stop in text for stop in stops)
    assert not any("\ufffd" in piece for piece in pieces)


def test_pieces_come_as_soon_as_they_may() -> None:
    assert pieces_of("ab😀c", [], stripped=True)[0] == ["a", "b", "", "", "", "😀", "c", ""]
    assert pieces_of("a stop", ["stop!"], stripped=False)[0] == ["a", " ", "", "", "", "", "stop"]


def test_bytes_that_are_no_character_come_at_the_end() -> None:
    spelling = Spelling(BYTES)
    first = BYTES.encode("😀", add_special_tokens=False).ids[0]
    assert spelling.push(first) == ""
    assert spelling.finish() == "\ufffd"


def test_a_decoder_that_writes_spaces_between_words_is_followed(make_tokenizer: object, tmp_path: Path) -> None:
    tokenizer: Tokenizer = make_tokenizer()  # type: ignore[operator]
    tokenizer.decoder = decoders.WordPiece()
    ids = tokenizer.encode("where is my lost card").ids
    spelling = Spelling(tokenizer)
    text = "".join(spelling.push(token) for token in ids) + spelling.finish()
    assert text == tokenizer.decode(ids, skip_special_tokens=True)


def test_an_answer_goes_on_from_its_prompt_and_tokens_keep_their_spaces(make_tokenizer: object) -> None:
    """A decoder that leaves out the space before the first word, as SentencePiece does."""
    tokenizer: Tokenizer = make_tokenizer()  # type: ignore[operator]
    tokenizer.decoder = decoders.WordPiece()
    ids = tokenizer.encode("where is my lost card", add_special_tokens=False).ids
    for size in range(len(ids)):
        said, begun = tokenizer.decode(ids), tokenizer.decode(ids[:size])
        spelling = Spelling(tokenizer, stripped=False, before=ids[:size])
        assert begun + "".join(map(spelling.push, ids[size:])) + spelling.finish() == said
        assert begun + Spelling(tokenizer, stripped=False, before=ids[:size]).text_of(ids[size:]) == said
    texts = TokenTexts(tokenizer)
    assert "".join(texts[token] for token in ids).lstrip() == tokenizer.decode(ids)
    assert len({texts[token][:1] for token in ids} & {" "}) == 1


def test_a_prompt_that_ends_inside_a_character_is_left_alone() -> None:
    ids = BYTES.encode("a😀b", add_special_tokens=False).ids
    spelling = Spelling(BYTES, stripped=False, before=ids[:3])
    assert ("".join(map(spelling.push, ids[3:])) + spelling.finish())[-1] == "b"


def by_words_or_bytes() -> Tokenizer:
    """As SentencePiece has it: a few words, and bytes, whose runs are decoded together."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "card", "st", "und"]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


FALLBACK = by_words_or_bytes()
SOME = [FALLBACK.token_to_id(token) for token in ("card", "st", "<0x0A>", "<0x41>", "<0xC3>", "<0xA9>", "<0xFF>")]


@example([SOME[0], SOME[2], SOME[6], SOME[1]])  # a line break before a byte that is no character
@given(st.lists(st.sampled_from(SOME), max_size=12))
def test_bytes_of_one_run_are_told_as_they_are_decoded_together(ids: list[int]) -> None:
    spelling = Spelling(FALLBACK, stripped=False)
    told = "".join(map(spelling.push, ids)) + spelling.finish()
    assert told == FALLBACK.decode(ids)
