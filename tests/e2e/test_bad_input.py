"""What people get wrong: one message with a place and what to do, the documented exit code, and nothing touched."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from burnish.lifecycle.run import Run
from burnish.settings import settings

CODE = re.compile(r"  \[([a-z]+/[a-z0-9-]+)\]$", re.MULTILINE)
MARKS = [f"{i * 2654435761 % 2**32:08x}" for i in range(40)]  # rows that differ by these are no near duplicates
ROWS = "".join(f"where is my card {mark},card\nmy money is late {mark},late\n" for mark in MARKS[:20])
CSV = ("body,intent\n" + ROWS).encode()
HEADERLESS = "".join(f"ham\twhere is my card {x}\nspam\tmy 'money' is \"late {x}\n" for x in MARKS[:20]).encode()
LINES = [{"text": f"where is {word} {mark}", "label": word} for mark in MARKS[:20] for word in ("card", "money")]

Burnish = Callable[..., Any]
Sets = Callable[[Sequence[str]], list[str]]


def assert_refused(shown: Any, *, exit_code: int, code: str, where: str = "", hint: str = "") -> None:
    """One message, which begins with its place, on stderr; nothing on stdout."""
    assert CODE.findall(shown.err) == [code], shown.err
    assert (shown.code, shown.out) == (exit_code, "")
    assert "Traceback" not in shown.err
    lines = shown.err.splitlines()
    first = next(index for index, line in enumerate(lines) if CODE.search(line))
    assert all(line.startswith(("▸ ", "  ")) for line in lines[:first])
    assert all(line.startswith("  ") for line in lines[first + 1 :])
    assert where in lines[first].split(": ")[0] + ":"
    assert hint in "\n".join(line for line in lines[first:] if line.startswith("  hint: "))


def jsonl(rows: Sequence[object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@dataclass(frozen=True, slots=True)
class File:
    """A data file that is refused."""

    name: str
    content: bytes
    code: str
    exit_code: int = 2
    line: int | None = None
    hint: str = ""
    sets: tuple[str, ...] = ()
    suffix: str = "csv"


FILES = [
    File("empty", b"", "data/empty-file", hint="one row per line"),
    File("blank", b"\n \n\t\n", "data/empty-file"),
    File("byte order mark alone", b"\xef\xbb\xbf", "data/empty-file"),
    File("header only", b"body,intent\n", "data/no-rows", line=1),
    File("header unclear", b"good,bad\nup,down\nleft,right\n", "data/header-unclear", line=1, hint="header: false"),
    File("no text column", b"a,b\n1,2\n3,4\n", "data/unclear-column", hint="data.columns.text="),
    File(
        "unknown column",
        CSV,
        "data/unknown-column",
        hint="--set data.columns.text=body",
        sets=("data.columns.text=boddy",),
    ),
    File("unknown canonical column", CSV, "data/unknown-canonical-column", sets=("data.columns.txet=body",)),
    File("duplicate columns", b"body,body,intent\na,b,c\nd,e,f\n", "data/duplicate-columns", line=1, hint="own"),
    File("one class", b"body,intent\n" + b"".join(b"my card %d,card\n" % i for i in range(30)), "data/one-class", 1, 2),
    File(
        "label variants",
        CSV + b"where is it,Card\nwho has it, card\n",
        "data/label-variants",
        1,
        42,
        "merge_label_variants: true",
    ),
    File("too few rows", b"body,intent\nmy card is lost,card\nmoney is late,late\n", "data/too-few-rows", 1),
    File(
        "labels all different",
        b"body,intent\n" + b"".join(b"my %d,l%d\n" % (i, i) for i in range(30)),
        "data/too-few-rows",
        1,
    ),
    File("rows without labels", CSV + b"who has it,\n" * 9, "data/too-many-bad-rows", 1, 42, "max_bad_ratio"),
    File("ragged rows", CSV + b"who,has,it\n" * 9, "data/too-many-bad-rows", 1, 42, "max_bad_ratio"),
    File("cp1252", CSV + "caf\xe9,card\n".encode("cp1252"), "data/wrong-encoding", line=42, hint="cp1252"),
    File("utf-16", CSV.decode().encode("utf-16"), "data/wrong-encoding", line=1, hint="iconv -f UTF-16 -t UTF-8"),
    File("unknown encoding", CSV, "data/unknown-encoding", sets=("data.encoding=klingon",)),
    File("nul bytes", CSV + b"a\0b,card\n" * 9, "data/too-many-bad-rows", 1, 42),
    File("binary", bytes(range(256)) * 64, "data/wrong-encoding"),
    File("excel", b"PK\x03\x04" + bytes(100), "data/unknown-format", hint="CSV"),
    File("open quote", b'body,intent\n"my card,card\n' + ROWS.encode(), "data/unterminated-quote", line=2),
    File("json without rows", b'{"a": 1, "b": [2]}', "data/unknown-format", line=1, hint="jq -c", suffix="json"),
    File("json with two arrays", b'{"a": [{}],\n"b": [{}]}', "data/unknown-format", line=2, suffix="json"),
    File("json cut off", json.dumps(LINES)[:-9].encode(), "data/bad-json", line=1, suffix="json"),
    File("gzip cut off", gzip.compress(CSV)[:-20], "data/damaged-file", line=1, hint="again", suffix="csv.gz"),
    File("gzip bomb", gzip.compress(b"body,intent\n" + b"x,y\n" * 5_000_000), "data/damaged-file", suffix="csv.gz"),
    File("parquet in name only", CSV, "data/damaged-file", line=1, suffix="parquet"),
    File("jsonl of lists", jsonl([["a", "b"]] * 30), "data/not-an-object", line=1, suffix="jsonl"),
    File(
        "jsonl cut off",
        jsonl(LINES)[:-9] + b"\n" + b'{"text": \n' * 9,
        "data/too-many-bad-rows",
        1,
        40,
        suffix="jsonl",
    ),
    File(
        "texts that are numbers",
        jsonl(LINES + [{"text": 5, "label": "card"}, {"text": ["a"], "label": "card"}] * 4),
        "data/too-many-bad-rows",
        1,
        41,
        suffix="jsonl",
    ),
    File(
        "labels that are lists",
        jsonl(LINES + [{"text": "a", "label": ["b"]}] * 9),
        "data/too-many-bad-rows",
        1,
        41,
        suffix="jsonl",
    ),
]


@pytest.mark.parametrize(
    ("command", "file"),
    [
        pytest.param(command, file, id=f"{command} {file.name}")
        for file in FILES
        for command in ("check", "train", "init")
        if command != "init" or not file.sets  # init takes no --set
        if command != "check" or file.code != "data/too-many-bad-rows"  # check goes on, see below
    ],
)
def test_data_file(burnish: Burnish, sets: Sets, runs: Path, tmp_path: Path, command: str, file: File) -> None:
    path = tmp_path / f"rows.{file.suffix}"
    path.write_bytes(file.content)
    shown = burnish(command, path, *sets(file.sets), *(["--output", tmp_path / "new"] if command != "check" else []))
    place = "" if file.code in ("data/too-few-rows", "data/unknown-encoding", "data/unknown-canonical-column") else path
    where = f"{place}:{file.line}:" if file.line else str(place)
    assert_refused(shown, exit_code=file.exit_code, code=file.code, where=where, hint=file.hint)
    assert path.read_bytes() == file.content
    assert not (tmp_path / "new" / "recipe.yaml").exists()


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.code == "data/too-many-bad-rows"], ids=lambda file: file.name
)
def test_check_looks_on_where_a_training_would_stop(burnish: Burnish, tmp_path: Path, file: File) -> None:
    path = tmp_path / f"rows.{file.suffix}"
    path.write_bytes(file.content)
    shown = burnish("check", path)
    assert shown.code == 1
    assert "warning: a training would stop here: " in shown.out
    assert "max_bad_ratio" in shown.out
    assert f"         {path}:{file.line}: " in shown.out
    assert "Traceback" not in shown.err


def test_no_data_file(burnish: Burnish, tmp_path: Path) -> None:
    (tmp_path / "tickets.csv").write_bytes(CSV)
    path = tmp_path / "tikcets.csv"
    assert_refused(
        burnish("check", path), exit_code=2, code="data/missing-file", where=f"{path}:", hint=f"{tmp_path}/tickets.csv"
    )
    path = tmp_path / "tickets.csv" / "inside.csv"
    assert_refused(burnish("check", path), exit_code=2, code="data/missing-file", where=f"{path}:")
    assert_refused(burnish("check", tmp_path), exit_code=2, code="data/no-classes", where=f"{tmp_path}:", hint="*.csv")
    assert_refused(burnish("check", ""), exit_code=2, code="data/not-a-file")
    assert_refused(burnish("check", "nul\0.csv"), exit_code=2, code="data/unreadable-file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_pipe_does_not_hang(burnish: Burnish, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert_refused(burnish("check", tmp_path / "pipe.csv"), exit_code=2, code="data/not-a-file")


def test_test_file(burnish: Burnish, tmp_path: Path) -> None:
    path, test = tmp_path / "rows.csv", tmp_path / "test.csv"
    path.write_bytes(CSV)
    shutil.copy(path, test)
    assert_refused(burnish("check", path, "--test", test), exit_code=1, code="data/same-file", where=f"{test}:")
    test.write_text("body,intent\nwho has my card,card\nand my crd,crd\n")
    shown = burnish("check", path, "--test", test)
    assert_refused(shown, exit_code=1, code="data/unknown-label", where=f"{test}:3:", hint="label_map: {crd: card}")
    test.write_text("message,intent\nwho has my card,card\n")
    shown = burnish("check", path, "--test", test)
    assert_refused(shown, exit_code=2, code="data/unknown-column", where=f"{test}:")


def trains(shown: Any) -> str:
    assert shown.code == 0, shown.err
    assert shown.out.startswith("\nVERDICT")
    return str(shown.err)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", CSV + b"where is the lost money,refund\n", 'label "refund" has one row'),
        ("rows.csv", CSV + b"the money " * 100_000 + b",late\n", "1 row is longer"),
        ("rows.csv", CSV.replace(b"\n", b"\r\n"), "header on the first row"),
        ("rows.csv", b"\xef\xbb\xbf" + CSV, "columns body, intent"),
        ("rows.tsv", HEADERLESS, "no header"),
        ("rows.jsonl", jsonl([{**row, "label": int(row["label"] == "card")} for row in LINES]), "JSONL"),
        ("rows.jsonl", jsonl([{**row, "label": (1, "x", "1", "x")[i % 4]} for i, row in enumerate(LINES)]), "JSONL"),
        ("rows.csv", CSV + b"a\0b,card\n", "header on the first row"),
        ("rows.csv", CSV + "\u202ewho\u202c is \U0001f600\u0301 it,card\n".encode(), "header on the first row"),
        ("ro ws\n#1.csv", CSV, "header on the first row"),
    ],
    ids=["class of one", "megabytes", "crlf", "bom", "headerless", "numbers", "mixed", "one nul", "unicode", "name"],
)  # fmt: skip
def test_odd_files_train(
    burnish: Burnish, sets: Sets, solved: tuple[str, ...], tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    err = trains(burnish("train", path, "--output", tmp_path / "run", *sets(solved)))
    assert said in err
    assert path.read_bytes() == content


def test_label_variants_can_be_merged(burnish: Burnish, sets: Sets, solved: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(CSV + b"where is it,Card\nwho has it, card\n")
    merge = "data.merge_label_variants=true"
    err = trains(burnish("train", path, "--output", tmp_path / "run", *sets([*solved, merge])))
    assert 'label "Card" (1 rows) merged into "card"' in err
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["labels"] == ["card", "late"]


# Nine times nine times nine... values out of a few bytes.
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcde", "bcdef", strict=True)
)

RECIPES = [
    ("typo", "data:\n  train: rows.csv\ntrainning:\n  epochs: 2\n", "recipe/invalid", 3, 'did you mean "training"?'),
    ("inner typo", "data: {train: rows.csv}\ntraining:\n  epoch: 2\n", "recipe/invalid", 3, 'did you mean "epochs"?'),
    ("no data", "task: text-classification\n", "recipe/invalid", 1, '"data" is needed'),
    ("negative", "data: {train: rows.csv}\ntraining: {epochs: -1}\n", "recipe/invalid", 2, "than or equal to 1"),
    ("text", "data: {train: rows.csv}\ntraining: {seed: many}\n", "recipe/invalid", 2, "(found 'many')"),
    ("nan", "data: {train: rows.csv}\ntraining: {learning_rate: .nan}\n", "recipe/invalid", 2, "(found nan)"),
    ("method", "data: {train: rows.csv}\nmethod: lorra\n", "recipe/invalid", 2, "head, prompt-tuning, ia3"),
    ("not yaml", "data: {train: rows.csv\ntraining: 3\n", "recipe/bad-yaml", 2, ""),
    ("tab", "data:\n\ttrain: rows.csv\n", "recipe/bad-yaml", 2, ""),
    ("twice", "data: {train: rows.csv}\ndata: {train: rows.csv}\n", "recipe/bad-yaml", 2, ""),
    ("a list", "- data\n", "recipe/bad-yaml", 1, "section"),
    ("empty", "", "recipe/bad-yaml", 1, "data: {train: FILE.csv}"),
    ("deep", "data: " + "[" * 400, "recipe/bad-yaml", None, ""),
    ("circle", "data: &a [*a]\n", "recipe/invalid", 1, ""),
    ("bomb", BOMB, "recipe/bad-yaml", None, ""),
    ("code", "data: !!python/object/apply:os.system [exit]\n", "recipe/invalid", 1, ""),
    ("date", "data: {train: rows.csv}\ntraining: {seed: 2001-99-99}\n", None, None, ""),
    ("nul", "data: {train: \"a\0b\"}\n", "recipe/bad-yaml", None, ""),
    ("task", "data: {train: rows.csv}\ntask: classification\n", "recipe/unknown-task", None, '"text-classification"?'),
    ("missing rows", "data: {train: rowz.csv}\n", "data/missing-file", None, 'rows.csv"?'),
]  # fmt: skip


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize(("name", "text", "code", "line", "said"), RECIPES, ids=[recipe[0] for recipe in RECIPES])
def test_recipe(
    burnish: Burnish, tmp_path: Path, runs: Path, command: str, name: str, text: str, code: str, line: int, said: str
) -> None:
    (tmp_path / "rows.csv").write_bytes(CSV)
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    shown = burnish(command, path)
    code = code or CODE.findall(shown.err)[0]
    assert_refused(shown, exit_code=2, code=code, where=f"{path}:{line}:" if line else "")
    assert said in shown.err
    assert path.read_text(encoding="utf-8") == text


def test_no_recipe(burnish: Burnish, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    assert_refused(burnish("train", path), exit_code=2, code="recipe/not-found", where=f"{path}:", hint="check")
    path.write_bytes(b"data: {train: caf\xe9.csv}")
    assert_refused(burnish("train", path), exit_code=2, code="recipe/bad-yaml", where=f"{path}:")
    assert_refused(burnish("train", path / "recipe.yaml"), exit_code=2, code="recipe/not-found")
    path.unlink()
    path.mkdir()
    assert_refused(burnish("train", path), exit_code=2, code="recipe/not-found")


def test_all_problems_of_a_recipe_at_once(burnish: Burnish, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("data:\n  train: rows.csv\n  test_ratio: 2\ntraining:\n  epochs: 0\n  sed: 3\n")
    shown = burnish("train", path)
    assert_refused(shown, exit_code=2, code="recipe/invalid", where=f"{path}:")
    for line in (3, 5, 6):
        assert f"\n  {path}:{line}: " in shown.err


OVERRIDES = [
    ("training.epochs", "recipe/bad-override", "section.field=value"),
    ("=3", "recipe/bad-override", "section.field=value"),
    ("training..epochs=3", "recipe/bad-override", "section.field=value"),
    ("training.epochs=[3", "recipe/bad-override", "is not a value"),
    ("data.train=" + "[" * 400, "recipe/bad-override", "is not a value"),
    ("training.epochs=-1", "recipe/invalid", "greater than or equal to 1 (found -1)"),
    ("training.epochs=1.5", "recipe/invalid", "(found 1.5)"),
    ("training.learning_rate=nan", "recipe/invalid", "(found 'nan')"),
    ("training.learning_rate=.inf", "recipe/invalid", "(found inf)"),
    ("evaluation.minimum_effect=.inf", "recipe/invalid", "(found inf)"),
    ("training.learningrate=1", "recipe/invalid", 'did you mean "learning_rate"?'),
    ("method.rank=0", "recipe/invalid", ""),
    ("training=fast", "recipe/invalid", ""),
    ("method=head", "recipe/invalid", "takes no steps"),
    ("evaluation.metric=acuracy", "recipe/unknown-metric", "metric: accuracy"),
    ('evaluation.goals=["accuracy > 0.9"]', "recipe/bad-goal", "METRIC >= SHARE"),
    ('evaluation.goals=["accuracy >= 90"]', "recipe/bad-goal", "asks for 90"),
    ('evaluation.goals=["recall[crd] >= 0.9"]', "recipe/unknown-goal-label", "recall[card] >= 0.9"),
    ("model.base=minilmm", "model/unknown-base", 'did you mean "minilm"?'),
    ("model.base=/no/such/folder", "model/unknown-base", "config.json"),
    ("model.base=owner/name", "model/not-downloaded", "local folder"),
    ("model.max_length=2", "recipe/invalid", "greater than or equal to 8"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "code", "said"), OVERRIDES, ids=[override[0][:40] for override in OVERRIDES])
def test_override(burnish: Burnish, sets: Sets, tmp_path: Path, override: str, code: str, said: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(CSV)
    shown = burnish("train", path, "--output", tmp_path / "run", *sets(["training.epochs=2", override]))
    assert_refused(shown, exit_code=2, code=code)
    assert said in shown.err
    assert not (tmp_path / "run" / "recipe.yaml").exists()  # the folder can be used again


def test_seed_out_of_range(burnish: Burnish, toy: Path) -> None:
    assert_refused(burnish("train", toy, "--seed", "-1"), exit_code=2, code="recipe/invalid", where="--set:")


def replaced(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def auto_map(base: Path) -> None:
    replaced(base / "config.json", auto_map={"AutoModel": "model.Evil"})
    (base / "model.py").write_text("raise SystemExit('ran code of the model')")


def pickle_only(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def symlink_out(base: Path) -> None:
    (base / "model.safetensors").unlink()
    (base / "model.safetensors").symlink_to("/etc/hostname")


def index_out(base: Path) -> None:
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../../secret.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))


def huge_header(base: Path) -> None:
    (base / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")


def cut_off(base: Path) -> None:
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[: len(content) // 2])


def no_config(base: Path) -> None:
    (base / "config.json").unlink()


def no_type(base: Path) -> None:
    (base / "config.json").write_text("{}")


def foreign_type(base: Path) -> None:
    replaced(base / "config.json", model_type="evil-model")


def other_sizes(base: Path) -> None:
    replaced(base / "config.json", hidden_size=32)


def missing_layers(base: Path) -> None:
    replaced(base / "config.json", num_hidden_layers=4)


def odd_sizes(base: Path) -> None:
    replaced(base / "config.json", max_position_embeddings="many")


def bad_tokenizer(base: Path) -> None:
    (base / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Evil"}}')


def no_tokenizer(base: Path) -> None:
    (base / "tokenizer.json").unlink()
    (base / "tokenizer_config.json").unlink()


def large_vocabulary(base: Path) -> None:
    """Token ids the weights know nothing of."""
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {word: i + 500 * (word == "card") for word, i in tokenizer["model"]["vocab"].items()}
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))


MODELS: list[tuple[Callable[[Path], None], str, str, str]] = [
    (auto_map, "model/remote-code", "config.json", '"auto_map"'),
    (pickle_only, "model/no-safetensors", "", "pytorch_model.bin, which burnish never opens"),
    (symlink_out, "model/path-escape", "model.safetensors", "/etc/hostname"),
    (index_out, "model/path-escape", "model.safetensors.index.json", "../../secret.safetensors"),
    (huge_header, "model/bad-file", "model.safetensors", "4,611,686,018,427,387,904 bytes"),
    (cut_off, "model/bad-file", "model.safetensors", "does not fit"),
    (no_config, "model/not-a-model", "", "config.json"),
    (no_type, "model/not-a-model", "config.json", '"model_type"'),
    (foreign_type, "model/unloadable", "", "evil-model"),
    (other_sizes, "model/unloadable", "", "other sizes than config.json says"),
    (missing_layers, "model/unloadable", "", "its weights lack encoder.layer.2."),
    (odd_sizes, "model/bad-file", "", "many"),
    (bad_tokenizer, "model/bad-file", "tokenizer.json", "not a tokenizer"),
    (no_tokenizer, "model/no-tokenizer", "", "tokenizer.json"),
    (large_vocabulary, "model/bad-file", "tokenizer.json", "the weights hold 99"),
]


@pytest.mark.parametrize(("spoil", "code", "file", "said"), MODELS, ids=[spoil.__name__ for spoil, *_ in MODELS])
def test_model_folder(
    burnish: Burnish,
    sets: Sets,
    solved: tuple[str, ...],
    sentence_base: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    code: str,
    file: str,
    said: str,
) -> None:
    path, base = tmp_path / "rows.csv", tmp_path / "base"
    path.write_bytes(CSV)
    shutil.copytree(sentence_base, base)
    spoil(base)
    shown = burnish("train", path, "--output", tmp_path / "run", *sets([*solved, f"model.base={base}"]))
    assert_refused(shown, exit_code=2, code=code, where=f"{base / file}:")
    assert said in shown.err


def test_output_that_cannot_be_written(
    burnish: Burnish, sets: Sets, solved: tuple[str, ...], toy: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("a regular file")
    output = tmp_path / "file" / "run"
    shown = burnish("train", toy, "--output", output, *sets(solved))
    assert_refused(shown, exit_code=2, code="storage/not-writable", where=f"{output}:", hint="--output")
    shown = burnish("init", toy, "--output", output)
    assert_refused(shown, exit_code=2, code="storage/not-writable", where=f"{output.parent}:")
    assert (tmp_path / "file").read_text() == "a regular file"


def test_output_that_exists(burnish: Burnish, finished: Run, toy: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    shown = burnish("train", toy, "--output", finished.path)
    assert_refused(shown, exit_code=2, code="run/exists", where=f"{finished.path}:", hint="--resume")
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before
    (tmp_path / "thesis.txt").write_text("years of work")
    shown = burnish("train", toy, "--output", tmp_path)
    assert_refused(shown, exit_code=2, code="run/not-empty", where=f"{tmp_path}:", hint="--output")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_resume_without_output(burnish: Burnish, toy: Path) -> None:
    shown = burnish("train", toy, "--resume")
    assert_refused(shown, exit_code=2, code="cli/resume-needs-output", where="--resume:", hint="--output DIR")


def test_disk_too_small(
    burnish: Burnish,
    sets: Sets,
    solved: tuple[str, ...],
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, used=10**9, free=1_000_000))
    shown = burnish("train", toy, "--output", tmp_path / "run", *sets(solved))
    assert_refused(shown, exit_code=5, code="storage/disk-too-small", where=f"{tmp_path / 'run'}:", hint="--output")
    assert "1 MB free" in shown.err
    monkeypatch.undo()
    assert burnish("resume", tmp_path / "run").code == 0


def test_disk_fills_up(
    burnish: Burnish,
    sets: Sets,
    quick: tuple[str, ...],
    finished: Run,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was written before stays whole, and the run goes on when there is room again."""
    run, real, left = tmp_path / "run", os.fsync, [60]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    shown = burnish("train", toy, "--output", run, *sets(quick))
    assert_refused(shown, exit_code=5, code="storage/disk-full", where=str(run), hint="burnish resume")
    monkeypatch.undo()
    assert list(run.glob("checkpoints/step-*"))
    assert burnish("resume", run).code == 0
    for name in ("final/model.safetensors", "final/head.safetensors"):
        assert (run / name).read_bytes() == (finished.path / name).read_bytes()


def test_divergence(burnish: Burnish, sets: Sets, quick: tuple[str, ...], toy: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    wild = ("training.weight_decay=1e30", "training.learning_rate=1")
    shown = burnish("train", toy, "--output", run, *sets([*quick, *wild]))
    assert_refused(shown, exit_code=3, code="engine/diverged", where=str(run), hint="training.learning_rate=0.25")
    assert "status   failed" in burnish("runs", run).out


def test_run_that_is_not_there(burnish: Burnish, finished: Run, runs: Path) -> None:
    for command in ("resume", "evaluate", "runs"):
        assert_refused(burnish(command, "nothing"), exit_code=2, code="run/not-found", hint="burnish runs")
    shown = burnish("predict", "nothing", "--text", "my card")
    assert_refused(shown, exit_code=2, code="run/not-found", hint="burnish runs")
    for name in ("toys-1", "toys-2"):
        shutil.copytree(finished.path, runs / name)
        replaced(runs / name / "manifest.json", id=name)
    shown = burnish("runs", "toys")
    assert_refused(shown, exit_code=2, code="run/ambiguous")
    assert re.search("known: toys-[12], toys-[12]$", shown.err, re.MULTILINE)
    assert_refused(burnish("runs", "tosy-1"), exit_code=2, code="run/not-found", hint='did you mean "toys-1"?')


def test_run_that_never_finished(burnish: Burnish, tmp_path: Path) -> None:
    run = tmp_path / "run"
    burnish("train", tmp_path / "missing.csv", "--output", run)
    assert "error    " in burnish("runs", run).out
    assert_refused(burnish("resume", run), exit_code=2, code="run/no-recipe", where=f"{run}:", hint="--output")
    for line in (["evaluate", run], ["predict", run, "--text", "my card"], ["predict", run, "--data", tmp_path]):
        shown = burnish(*line)
        assert_refused(shown, exit_code=2, code="run/not-finished", where=f"{run}:", hint=f"burnish resume {run}")


@pytest.mark.parametrize(
    "file", ["final/model.safetensors", "final/model.json", "final/files.json", "evaluation.json", "manifest.json"]
)
def test_damaged_run(burnish: Burnish, finished: Run, tmp_path: Path, file: str) -> None:
    """One flipped bit is found before anything is answered from it."""
    run = Path(shutil.copytree(finished.path, tmp_path / "run"))
    content = bytearray((run / file).read_bytes())
    content[0 if file.endswith(".json") else -1] ^= 1
    (run / file).write_bytes(content)
    command = ["resume", run] if file == "evaluation.json" else ["predict", run, "--text", "my card"]
    shown = burnish(*command)
    place = run / file if file in ("evaluation.json", "manifest.json") else run / "final"
    assert_refused(shown, exit_code=6, code="storage/damaged", where=f"{place}:")


def test_other_rows_to_judge_on(burnish: Burnish, finished: Run, toy: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("body,intent\nwho has my card,card\nand my crd,crd\n")
    shown = burnish("evaluate", finished.path, "--data", path)
    assert_refused(shown, exit_code=1, code="data/unknown-label", where=f"{path}:3:", hint='did you mean "card"?')
    path.write_text("text,label\nwho has my card,card\nand my money,refund\n")
    shown = burnish("evaluate", finished.path, "--data", path)
    assert_refused(shown, exit_code=2, code="data/unknown-column", where=f"{path}:")
    path.write_text("body,intent\n,card\n ,refund\n")
    shown = burnish("evaluate", finished.path, "--data", path)
    assert_refused(shown, exit_code=1, code="data/too-many-bad-rows", where=f"{path}:2:")
    sealed = {row["line"] for row in finished.folder.rows(finished.folder.predictions)}
    known = [line for number, line in enumerate(toy.read_text().splitlines(), start=1) if number not in sealed]
    path.write_text("\n".join(known))
    shown = burnish("evaluate", finished.path, "--data", path)
    assert_refused(shown, exit_code=1, code="data/nothing-new", where=f"{path}:")


def test_texts_to_predict(burnish: Burnish, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = burnish("predict", finished.path, stdin="my card\n\nmy money\n")
    assert_refused(shown, exit_code=1, code="predict/bad-text", where="item 2:")
    shown = burnish("predict", finished.path, "--text", "half \udce9 character")
    assert_refused(shown, exit_code=1, code="predict/bad-text", where="item 1:")
    path = tmp_path / "rows.csv"
    path.write_text("body,intent\nmy card,card\n,card\n")
    shown = burnish("predict", finished.path, "--data", path)
    assert_refused(shown, exit_code=1, code="predict/bad-row", where=f"{path}:3:")
    shown = burnish("predict", finished.path, "--data", tmp_path / "none.csv")
    assert_refused(shown, exit_code=2, code="data/missing-file", where=f"{tmp_path / 'none.csv'}:")


def test_stdin_that_is_no_text(
    burnish: Burnish, finished: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes("caf\xe9\n".encode("cp1252"))
    with (tmp_path / "in").open(encoding="utf-8") as stream:
        monkeypatch.setattr("io.StringIO", lambda _: stream)
        shown = burnish("predict", finished.path)
    assert_refused(shown, exit_code=2, code="data/wrong-encoding", where="stdin:", hint="iconv")


def test_setting_that_is_no_number(burnish: Burnish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_THREADS", "many")
    settings.cache_clear()
    shown = burnish("runs")
    assert_refused(shown, exit_code=2, code="settings/invalid", where="BURNISH_THREADS:", hint="unset BURNISH_THREADS")
    assert "(found 'many')" in shown.err
    monkeypatch.undo()
    settings.cache_clear()
