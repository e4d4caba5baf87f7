"""Data files that somebody could send: valid ones in every format, and seeded ways to spoil them.

Each case is a file (or something that is no file) in a folder of its own, and whether it must be read or refused.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Expected = Literal["read", "refused", "either"]
ROWS = [(f"where is the {word} number {i} that I sent", word) for i in range(30) for word in ("card", "money")]
MEGABYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Case:
    """A path to check, what was done to it, and what must come of it."""

    path: Path
    kind: str
    expected: Expected


def csv_text() -> str:
    return "text,label\n" + "".join(f'"{text}, please",{label}\n' for text, label in ROWS)


def jsonl_text() -> str:
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS)


def _json_text() -> str:
    return json.dumps({"version": 1, "rows": [{"text": text, "label": label} for text, label in ROWS]}, indent=1)


def _chat_text() -> str:
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": label * 3}] for text, label in ROWS]
    return "".join(json.dumps({"messages": messages}) + "\n" for messages in turns)


def _conll_text() -> str:
    tag = {True: "B-long", False: "O"}
    return "\n".join("".join(f"{word}\t{tag[len(word) > 4]}\n" for word in text.split()) for text, _ in ROWS)


def _plain_text() -> str:
    return "\n\n".join(f"{text.capitalize()},\nand {label} it was." for text, label in ROWS)


def _markdown_text() -> str:
    return "\n".join(f"# {text}\n\nabout {label}, that is\n" for text, label in ROWS)


def _html_text() -> str:
    return "".join(f"<h2>{text}</h2><p>about <b>{label}</b> &amp; more</p>\n" for text, label in ROWS)


TEXTS: Mapping[str, Callable[[], str]] = {
    "csv": csv_text,
    "tsv": lambda: "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS),
    "jsonl": jsonl_text,
    "chat.jsonl": _chat_text,
    "json": _json_text,
    "conll": _conll_text,
    "txt": _plain_text,
    "md": _markdown_text,
    "html": _html_text,
}


def _parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}), sink)
    return sink.getvalue()


def _arrow() -> bytes:
    import pyarrow as pa
    import pyarrow.feather as feather

    sink = io.BytesIO()
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": label}] for text, label in ROWS]
    feather.write_feather(pa.table({"messages": turns}), sink)
    return sink.getvalue()


def _zstd(content: bytes) -> bytes:
    import zstandard

    return bytes(zstandard.ZstdCompressor().compress(content))


BINARIES: Mapping[str, Callable[[], bytes]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "csv.gz": lambda: gzip.compress(csv_text().encode()),
    "jsonl.zst": lambda: _zstd(jsonl_text().encode()),
}

Spoil = Callable[[bytes, random.Random], bytes]


def truncated(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def bits_flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 40)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def bytes_inserted(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + chance.randbytes(chance.randrange(1, 200)) + content[at:]


def pieces_shuffled(content: bytes, chance: random.Random) -> bytes:
    cuts = sorted(chance.randrange(len(content)) for _ in range(6))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    chance.shuffle(pieces)
    return b"".join(pieces)


def nul_bytes(content: bytes, chance: random.Random) -> bytes:
    return _at_lines(content, chance, lambda line: line[: len(line) // 2] + b"\0" + line[len(line) // 2 :])


def quoting_chaos(content: bytes, chance: random.Random) -> bytes:
    marks = [b'"', b'""', b'",', b',"', b"'", b'\\"', b"\r", b"\n", b"\\"]
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 30)):
        at = chance.randrange(len(changed))
        changed[at:at] = chance.choice(marks)
    return bytes(changed)


def brackets_inserted(content: bytes, chance: random.Random) -> bytes:
    return _at_lines(
        content, chance, lambda line: line + chance.choice([b"{", b"}", b"[", b"]", b"<!--", b"<", b"```"])
    )


def wide_encoding(content: bytes, chance: random.Random) -> bytes:
    return content.decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-16-be", "utf-32", "utf-32-le"]))


def invalid_utf8(content: bytes, chance: random.Random) -> bytes:
    bad = chance.choice([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"caf\xe9"])
    return _at_lines(content, chance, lambda line: line[:3] + bad + line[3:])


def odd_characters(content: bytes, chance: random.Random) -> bytes:
    odd = chance.choice(["\u202e", "\u2028", "\x1b[2J", "\ufeff", "\x7f", "\x85", "\U0010ffff", "a\u0300" * 50, "\r"])
    return _at_lines(content, chance, lambda line: line[:20] + odd.encode() + line[20:])


def carriage_returns(content: bytes, _: random.Random) -> bytes:
    return content.replace(b"\n", b"\r")


def cells_added(content: bytes, chance: random.Random) -> bytes:
    return _at_lines(content, chance, lambda line: line + b",x,y\tz")


def _at_lines(content: bytes, chance: random.Random, change: Callable[[bytes], bytes]) -> bytes:
    """The content with a change in one to ten of its lines."""
    lines = content.split(b"\n")
    for _ in range(chance.randrange(1, 11)):
        at = chance.randrange(len(lines))
        lines[at] = change(lines[at])
    return b"\n".join(lines)


ANYWHERE: tuple[Spoil, ...] = (truncated, bits_flipped, bytes_inserted, pieces_shuffled)
IN_TEXT: tuple[Spoil, ...] = (
    *(nul_bytes, quoting_chaos, brackets_inserted, wide_encoding, invalid_utf8, odd_characters, carriage_returns),
    cells_added,
)


def _gzip_bomb(_: random.Random) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(b"text,label\n"), *(packer.compress(b"a" * 99 + b",b\n" * MEGABYTE) for _ in range(250))]
    return b"".join([*parts, packer.flush()])


def _parquet_bomb(_: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), ["x" * 4 * MEGABYTE])
    pq.write_table(pa.table({"text": text, "label": ["a", "b", "c"] * 1000}), sink, compression="zstd")
    return sink.getvalue()


def _numbers(chance: random.Random) -> bytes:
    number = chance.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "-" * 3, "0x1", "1.", "01"])
    return (f'{{"text": {number}, "label": "a"}}\n' * 60).encode()


# Files made as a whole: how they are called, whether they can be read, and their bytes.
WHOLE: Mapping[str, tuple[str, Expected, Callable[[random.Random], bytes]]] = {
    "empty": ("csv", "refused", lambda _: b""),
    "blank": ("jsonl", "refused", lambda _: b" \n\t\n" * 1000),
    "random bytes": ("csv", "refused", lambda chance: chance.randbytes(100_000)),
    "random bytes in JSON": ("json", "refused", lambda chance: b"[" + chance.randbytes(100_000)),
    "a line of 50 MB": ("csv", "either", lambda _: csv_text().encode() + b"x" * 50 * MEGABYTE),
    "a line of 50 MB in quotes": ("csv", "refused", lambda _: csv_text().encode() + b'"' + b"x\n" * 25 * MEGABYTE),
    "an object of 50 MB": ("jsonl", "either", lambda _: jsonl_text().encode() + b'{"text": "' + b"x" * 50 * MEGABYTE),
    "an element of 50 MB": ("json", "refused", lambda _: b'[{"text": "' + b"x" * 50 * MEGABYTE + b'"}]'),
    "a page of 50 MB": ("html", "refused", lambda _: b"<p>" + b"x " * 25 * MEGABYTE),
    "a page of open comments": ("html", "either", lambda _: b"<p>text" + b"<!--" * MEGABYTE),
    "a page of open tags": ("html", "either", lambda _: b"<p>text" + b"<a '" * MEGABYTE),
    "a paragraph of 50 MB": ("txt", "refused", lambda _: b"word word\n" * 5 * MEGABYTE),
    "a sentence of 20 MB": ("conll", "refused", lambda _: b"word\tO\n" * 3 * MEGABYTE),
    "100,000 levels": ("jsonl", "refused", lambda _: b'{"text": ' * 100_000),
    "100,000 levels, closed": ("jsonl", "refused", lambda _: b'{"a": ' * 100_000 + b"1" + b"}" * 100_000),
    "100,000 levels in a row": (
        "jsonl",
        "either",
        lambda _: jsonl_text().encode() + b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    ),
    "100,000 levels in an array": ("json", "refused", lambda _: b"[" * 100_000),
    "100,000 levels in an element": ("json", "refused", lambda _: b"[" * 100_000 + b"]" * 100_000),
    "duplicate keys": ("jsonl", "refused", lambda _: b'{"text": "a", "text": "b", "label": "c"}\n' * 60),
    "duplicate keys in an array": ("json", "refused", lambda _: b'[{"text": "a", "text": "b"}]'),
    "numbers that are none": ("jsonl", "refused", _numbers),
    "half a surrogate": ("jsonl", "refused", lambda _: b'{"text": "\\ud800", "label": "a"}\n' * 60),
    "100,000 columns": ("csv", "either", lambda _: b",".join(b"c%d" % i for i in range(100_000)) + b"\n1,2\n" * 60),
    "100,000 keys": (
        "jsonl",
        "either",
        lambda _: b"{" + b",".join(b'"k%d": 1' % i for i in range(100_000)) + b"}\n",
    ),
    "a million delimiters": ("csv", "either", lambda _: b"text,label\n" + b"," * MEGABYTE),
    "a million quotes": ("csv", "either", lambda _: b"text,label\n" + b'"' * MEGABYTE),
    "a million quotes and commas": ("csv", "either", lambda _: b"text,label\n" + b'",' * MEGABYTE),
    "a million brackets": ("json", "refused", lambda _: b"[" + b"]" * MEGABYTE),
    "a million backslashes": ("json", "refused", lambda _: b'[{"text": "' + b"\\" * MEGABYTE),
    "a gzip bomb": ("csv.gz", "refused", _gzip_bomb),
    "a gzip bomb under another name": ("csv", "refused", _gzip_bomb),
    "a zstd bomb": ("jsonl.zst", "refused", lambda _: _zstd(b'{"text": "a"}\n' * 20 * MEGABYTE)),
    "gzip in gzip": ("csv.gz", "refused", lambda _: gzip.compress(gzip.compress(csv_text().encode()))),
    "a Parquet bomb": ("parquet", "refused", _parquet_bomb),
    "Parquet by name only": ("parquet", "refused", lambda _: csv_text().encode()),
    "Parquet in gzip": ("parquet.gz", "refused", lambda _: gzip.compress(_parquet())),
    "a zip": ("csv", "refused", lambda chance: b"PK\x03\x04" + chance.randbytes(1000)),
    "a pickle": ("jsonl", "refused", lambda _: b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94."),
}


def _special(folder: Path, chance: random.Random) -> Case:
    """Something that has the name of a data file and is none."""
    path, kind = (
        folder / "rows.csv",
        chance.choice(["pipe", "loop", "dangling", "folder link", "folder", "link", "device"]),
    )
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "dangling":
        path.symlink_to(folder / "nowhere.csv")
    elif kind == "folder link":
        path.symlink_to(folder)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        (folder / "other.csv").write_text(csv_text(), encoding="utf-8")
        path.symlink_to(folder / "other.csv")
    return Case(path, f"special: {kind}", "read" if kind == "link" else "refused")


def make_case(index: int, folder: Path, seed: int) -> Case:
    """The case of a number: one in eight a valid control, one in eight a whole file, one in 40 something special."""
    chance = random.Random(f"{seed}-{index}")
    turn = index % 40
    if turn == 39:
        return _special(folder, chance)
    if turn % 8 == 1:
        kind = list(WHOLE)[index // 8 % len(WHOLE)]
        suffix, expected, make = WHOLE[kind]
        return _written(folder, suffix, make(chance), f"whole: {kind}", expected)
    valid = {**{name: make().encode() for name, make in TEXTS.items()}, **{n: make() for n, make in BINARIES.items()}}
    suffix = list(valid)[index // 3 % len(valid)]
    if turn % 8 == 0:
        return _written(folder, suffix, valid[suffix], f"valid: {suffix}", "read")
    spoil = chance.choice(ANYWHERE + IN_TEXT if suffix in TEXTS else ANYWHERE)
    return _written(folder, suffix, spoil(valid[suffix], chance), f"{spoil.__name__}: {suffix}", "either")


def _written(folder: Path, suffix: str, content: bytes, kind: str, expected: Expected) -> Case:
    path = folder / f"rows.{suffix}"
    path.write_bytes(content)
    return Case(path, kind, expected)
