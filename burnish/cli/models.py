"""`burnish models`: bases searched, shown and checked; models of runs kept, promoted, rolled back and deleted."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.cli.versions import VERSION_ACTIONS, run_version_action, version_actions

GIB = 2**30
SCALE = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    example = "burnish models search --task chat\n  burnish models promote runs/tickets --to champion"
    models = command("models", "find a base; keep, promote and roll back models", example)
    actions = models.add_subparsers(dest="action", metavar="ACTION", required=True)
    search = actions.add_parser("search", help="bases of the catalogue, smallest first")
    search.add_argument("words", metavar="WORD", nargs="*", help="in name, kind, family, languages, license or tasks")
    search.add_argument("--task", metavar="T", help="what is to be learned, e.g. text-classification, chat")
    search.add_argument(
        "--use",
        choices=("commercial", "research", "redistribution"),
        help="only those whose license is known and allows it",
    )
    search.add_argument("--max-parameters", metavar="N", type=_count, help="weights at most, e.g. 500m, 7b")
    search.add_argument("--fits", action="store_true", help="only those that can be trained in the memory free here")
    show = actions.add_parser("show", help="a base with its license and what it needs here, or a version's lineage")
    show.add_argument("name", metavar="NAME", help="of a base: alias, hub id, folder or run; of a version: NAME:ALIAS")
    check = actions.add_parser("check", help="inspect a model folder without loading it")
    check.add_argument("folder", metavar="FOLDER")
    for parser in (search, show, check, *version_actions(actions.add_parser)):
        parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object on stdout")


def models(options: argparse.Namespace) -> int:
    from burnish.cli.show_versions import show_version
    from burnish.lifecycle.models import check_folder, is_base, search_bases, show_base
    from burnish.lifecycle.promote import describe_version, is_version

    if options.action == "search":
        rows = search_bases(
            options.words,
            task=options.task,
            use=options.use,
            max_parameters=options.max_parameters,
            fits=options.fits,
        )
        _print({"bases": rows}, options, show_rows(rows))
        return 0 if rows else 1
    if options.action in VERSION_ACTIONS:
        done, said = run_version_action(options)
        _print(done, options, said)
        return 0
    if options.action == "show" and not is_base(options.name) and is_version(options.name):
        version = describe_version(options.name)
        _print(version, options, show_version(version))
        return 0
    if options.action == "show":
        found = show_base(options.name)
        _print(found, options, show_one(found))
        return 0
    checked = check_folder(Path(options.folder))
    _print(checked, options, show_checked(checked))
    return 0


def show_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of bases, smallest first."""
    if not rows:
        return "no base of the catalogue is like that; any hub id or model folder can be used as well"
    head = ("base", "weights", "context", "license", "needs", "fits here", "languages")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def show_one(found: Mapping[str, Any]) -> str:
    """A base with its license, what it needs here, and smaller and larger ones."""
    terms = found["terms"]
    lines = [f"{found['name']}  {said_count(found['parameters'])} weights, {found['context']:,} tokens"]
    lines.append(f"license  {found['license'] or 'none is known'}" + (f"  {terms['source']}" if terms else ""))
    if terms:
        lines += [f"  forbids {use} use: {clause}" for use, clause in terms["forbids"].items()]
        lines += [f"  {obligation}" for obligation in terms["obligations"]]
    if found.get("source"):
        lines.append(f"read     {found['source']}, {found['read']}")
    if found.get("safetensors") is False:
        lines.append("weights  published as pickles only, which burnish does not open")
    lines.append(f"\nmemory here: {found['free_bytes'] / GIB:.1f} GiB free")
    lines += [f"  {need['method']:<8} {need['total'] / GIB:6.1f} GiB  {_fits(need)}" for need in found["needs"]]
    lines.append(
        "\nsmallest first; try the first that reads your language, and larger ones only when it is not enough:"
    )
    lines += [f"  {line}" for line in show_rows(found["ladder"]).splitlines()]
    return "\n".join(lines)


def show_checked(found: Mapping[str, Any]) -> str:
    lines = [
        f"ok  {found['folder']}",
        f"    {found['model_type']}, {said_count(found['parameters'])} weights in {', '.join(found['weight_files'])}",
        f"    license: {found['license'] or 'none is named'}"
        + (f" ({found['written_in']})" if found["written_in"] else ""),
    ]
    if found["never_opened"]:
        lines.append(f"    never opened: {', '.join(found['never_opened'][:5])}")
    return "\n".join(lines)


def said_count(number: int) -> str:
    """A number of weights for people.

    >>> said_count(22_713_216), said_count(1_235_814_400)
    ('22.7 M', '1.2 B')
    """
    return f"{number / 1e9:.1f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        said_count(row["parameters"]),
        f"{row['context']:,}",
        row["license"],
        f"{row['needs_bytes'] / GIB:.1f} GiB ({row['method']})",
        _fits(row) if row["safetensors"] else "pickles only",
        row["languages"],
    )


def _fits(row: Mapping[str, Any]) -> str:
    return "yes" if row["fits"] else "no"


def _count(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmb]?)", text.strip().lower())
    if found is None or float(found.group(1)) <= 0:
        raise argparse.ArgumentTypeError(f"not a number of weights like 500m or 7b: {text!r}")
    return int(float(found.group(1)) * SCALE[found.group(2)])


def _print(found: Mapping[str, Any], options: argparse.Namespace, text: str) -> None:
    print(json.dumps(found, ensure_ascii=False, default=str) if options.json else text)
