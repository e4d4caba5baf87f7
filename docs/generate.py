"""Writes docs/reference/ from the code: commands, recipe fields, error codes.

python docs/generate.py          write the pages
python docs/generate.py --check  exit with 1 when a page is out of date
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from burnish.cli.main import build_parser
from burnish.data.options import Format
from burnish.method.build import METHODS
from burnish.method.options import (
    AdapterOptions,
    FreezeOptions,
    FullOptions,
    HeadOptions,
    IA3Options,
    LoraOptions,
    PromptTuningOptions,
    QLoraOptions,
)
from burnish.model.families import TESTED, TESTED_SEQ2SEQ, WHOLE
from burnish.recipe.schema import Recipe, json_schema_text
from burnish.task.build import TASKS

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "burnish"
BEGIN, END = "<!-- made by docs/generate.py -->", "<!-- end -->"


def commands_page() -> str:
    """Every command's own help."""
    os.environ["COLUMNS"] = "100"
    parser = build_parser()
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    parts = ["# Commands\n", "```text\n" + parser.format_help() + "```\n"]
    for name, sub in subparsers.choices.items():
        parts.append(f"## burnish {name}\n\n```text\n{sub.format_help()}```\n")
    return "\n".join(parts)


def recipe_page() -> str:
    """Every field of a recipe with its default and meaning."""
    lines = [
        "# The recipe\n",
        "Only `data.train` is needed. What is `null` here is filled in and written to the run's `recipe.yaml`.",
        "For completion in an editor, put this on the first line of a recipe:",
        "`# yaml-language-server: $schema=<package>/recipe/recipe.schema.json`\n",
        "| field | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Recipe.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            lines += _rows(name, field.annotation)
        else:
            lines.append(_row(name, field))
    for method in (
        *(HeadOptions, PromptTuningOptions, IA3Options, AdapterOptions),
        *(LoraOptions, QLoraOptions, FreezeOptions, FullOptions),
    ):
        title = str(method.model_fields["name"].default)
        lines += ["", f"## method: {title}\n", str(method.__doc__), ""]
        lines += ["| field | default | meaning |", "|---|---|---|"]
        lines += [_row(f"method.{key}", inner) for key, inner in method.model_fields.items()]
    return "\n".join(lines) + "\n"


def _rows(name: str, section: type[BaseModel]) -> Iterator[str]:
    """One row per field; a field that is a section of its own gives its fields."""
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _rows(f"{name}.{key}", field.annotation)
        else:
            yield _row(f"{name}.{key}", field)


def _row(name: str, field: FieldInfo) -> str:
    default: Any = "needed" if field.is_required() else field.get_default(call_default_factory=True)
    shown = "null" if default is None else str(default)
    text = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | `{shown}` | {text} |"


def errors_page() -> str:
    """Every error code with the message it comes with and the exit code."""
    rows: dict[str, tuple[str, int, str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for kind, code, message in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            rows.setdefault(code, (message, EXIT_CODES.get(kind, 2), path.parent.name))
    lines = [
        "# Errors\n",
        "An error is printed as `place: message  [code]`, then what to do. Codes are stable.\n",
        "| code | exit | message |",
        "|---|---|---|",
    ]
    lines += [f"| `{code}` | {exit_} | {message} |" for code, (message, exit_, _) in sorted(rows.items())]
    return "\n".join(lines) + "\n"


EXIT_CODES = {
    "DataProblemError": 1,
    "GoalNotReachedError": 1,
    "LicenseError": 1,
    "DivergedError": 3,
    "SelfTestError": 3,
    "OutOfMemoryError": 4,
    "DiskFullError": 5,
    "DamagedStoreError": 6,
    "InterruptedRunError": 130,
}


def _raised(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """(class, code, message) of every error constructed in a module, by its class or a function that gives one."""
    makers = {name: (name, True) for node in ast.walk(tree) if (name := _called(node)).endswith("Error")}
    for made in tree.body:
        if (
            isinstance(made, ast.FunctionDef)
            and isinstance(made.returns, ast.Name)
            and made.returns.id.endswith("Error")
        ):
            whole = [given.arg for given in made.args.args][1:2] in (["message"], ["text"])
            makers[made.name] = (made.returns.id, whole)
    assigned = [
        (node.lineno, node.targets[0].id, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _called(node) not in makers:
            continue
        code, *rest = node.args or [None]
        if not isinstance(code, ast.Constant) or not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", str(code.value)):
            continue
        said = rest[0] if rest else ast.Constant("")
        if isinstance(said, ast.Name):
            above = [value for line, name, value in assigned if name == said.id and line < node.lineno]
            said = above[-1] if above else said
        kind, whole = makers[_called(node)]
        yield kind, code.value, _text(said) if whole else f"… {_text(said)}"


def _called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _text(node: ast.AST) -> str:
    """The message with … where values go."""
    if isinstance(node, ast.Constant):
        return str(node.value).replace("|", "\\|")
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return "…"


def families_page() -> str:
    """The causal families that the test suite takes through every method."""
    methods = [name for name in TASKS["chat"].methods if name != "freeze"]  # tested with three of them
    lines = [
        "# Families of language models\n",
        "Tested in tiny shapes with random weights (`tests/integration/test_language_families.py`): packed rows as",
        "separate ones, order and padding without effect, a killed training that goes on to the same bits, adapters",
        "that merge, and plain transformers and peft that answer as the tuned model did. A family that is not listed",
        "trains after the same self-test of the engine on its own weights, and says that it was not tested.\n",
        "| family | `model_type` | " + " | ".join(methods) + " |",
        "|---|---|" + "---|" * len(methods),
    ]
    for kind, name in TESTED.items():
        marks = (" " if method == "qlora" and kind in WHOLE else "✓" for method in methods)
        lines.append(f"| {name} | `{kind}` | " + " | ".join(marks) + " |")
    lines.append("\ntransformers keeps no layer of Falcon in four bits; qlora is refused there.")
    lines.append(f"\nEncoders with a decoder, for `task: seq2seq`: {', '.join(TESTED_SEQ2SEQ.values())}.")
    return "\n".join(lines) + "\n"


def works_table() -> str:
    """What is registered; tests/integration/test_train.py trains every cell of it."""
    lines = ["| task | " + " | ".join(METHODS) + " |", "|---|" + "---|" * len(METHODS)]
    for task, offered in TASKS.items():
        lines.append(f"| {task} | " + " | ".join("✓" if name in offered.methods else " " for name in METHODS) + " |")
    written = {"parquet": "Parquet", "arrow": "Arrow", "conll": "CoNLL", "text": "plain text", "markdown": "Markdown"}
    written["image-folder"] = "folders of images"
    formats = ", ".join(written.get(name, name.upper()) for name in get_args(Format))
    return "\n".join(
        [
            *lines,
            "",
            f"Data: {formats}. Bases: minilm; tested in tiny shapes: BERT, RoBERTa, DistilBERT, ModernBERT and "
            f"{len(TESTED)} [families of language models](docs/reference/families.md), T5 and BART.",
        ]
    )


def readme() -> str:
    """The README with its generated part made anew."""
    before, _, rest = (DOCS.parent / "README.md").read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{works_table()}\n{END}{after}"


def main(check: bool) -> int:
    pages = {
        DOCS.parent / "README.md": readme(),
        DOCS / "reference" / "commands.md": commands_page(),
        DOCS / "reference" / "recipe.md": recipe_page(),
        DOCS / "reference" / "errors.md": errors_page(),
        DOCS / "reference" / "families.md": families_page(),
        PACKAGE / "recipe" / "recipe.schema.json": json_schema_text(),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"{path} is out of date: python docs/generate.py")
        return 1 if stale else 0
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
