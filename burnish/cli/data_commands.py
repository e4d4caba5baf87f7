"""The commands about data beside `check`: call lifecycle, print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.cli.progress import TerminalProgress
from burnish.errors import excerpt

_ID = 12  # digits of an id that are shown


def augment(options: argparse.Namespace) -> int:
    from burnish.lifecycle.augment import augment as augment_

    found = augment_(
        options.source,
        url=options.endpoint,
        model=options.model,
        key_variable=options.key_from,
        copies=options.copies,
        rows=options.rows,
        output=Path(options.output),
        overrides=options.set,
        progress=TerminalProgress(),
    )
    if options.json:
        print(_json(found))
        return 0
    refused = "".join(f", {count:,} refused: {reason}" for reason, count in found["refused"].items())
    print(f"{found['written']:,} rows written to {found['output']}{refused}")
    print(
        f"  train on them beside your own: `data: {{train: [YOURS, {found['output']}]}}`; only rows from people "
        "validate and test",
        file=sys.stderr,
    )
    return 0


def datasets(options: argparse.Namespace) -> int:
    from burnish.lifecycle import datasets as store

    if options.action == "list":
        found = store.summaries()
        for damaged in store.damaged():
            print(f"{damaged[:_ID]} is damaged and left out; restore it from a copy, or delete it", file=sys.stderr)
        print(_json({"datasets": found}) if options.json else show_versions(found))
    elif options.action == "show":
        version = store.describe(options.version)
        print(_json(version) if options.json else show_version(version))
    elif options.action == "diff":
        change = store.compare(options.version, options.other)
        print(_json(change) if options.json else show_difference(change))
    elif options.output:
        count = store.export_to(options.version, Path(options.output))
        print(_json({"file": options.output, "rows": count}) if options.json else options.output)
    else:
        for line in store.export(options.version):
            print(line)
    return 0


def forget(options: argparse.Namespace) -> int:
    from burnish.lifecycle.datasets import forget_rows

    found = forget_rows(options.where, yes=options.yes)
    if options.json:
        print(_json(found))
    else:
        print(show_forgotten(found))
    if found["versions"] and not found["done"]:
        print("nothing was removed yet; repeat the command with --yes", file=sys.stderr)
        return 1
    return 0


def show_versions(versions: Sequence[Mapping[str, Any]]) -> str:
    if not versions:
        return "no data versions yet; each `burnish train` makes one"
    rows = [("version", "name", "rows", "labels", "runs", "created")]
    for version in versions:
        count = f"{version['rows']:,}" if version["forgotten"] is None else "forgotten"
        rows.append(
            (
                str(version["id"])[:_ID],
                excerpt(str(version["name"]), 30),
                count,
                str(version["labels"]),
                str(len(version["runs"])),
                str(version["created"])[:19],
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def show_version(version: Mapping[str, Any]) -> str:
    lines = [
        f"version  {version['id']}",
        f"name     {excerpt(str(version.get('name')))}",
        f"created  {version['created']}",
        f"folder   {version['folder']}",
        f"rows     {version['rows']:,} ({_counts(version['origins'])})",
        f"columns  {', '.join(map(excerpt, version['columns']))}",
        f"labels   {_counts(version['labels'], 8)}",
    ]
    lines += [f"file     {name}: {facts['rows']:,} rows" for name, facts in version.get("files", {}).items()]
    lines += [f"repair   {n:,} rows {what}" for what, n in version.get("repairs", {}).get("rows", {}).items()]
    lines += [f"parent   {parent}" for parent in version.get("parents", [])]
    lines += [f"run      {run['id']} ({run['status']})" for run in version["runs"]]
    forgotten = version.get("forgotten")
    if forgotten:
        lines.append(
            f"forgotten {forgotten['time']}: {forgotten['rows']:,} rows by {excerpt(forgotten['column'])}; "
            f"the others are in {forgotten['successor'][:_ID]}"
        )
    return "\n".join(lines)


def show_difference(change: Mapping[str, Any]) -> str:
    counts, rows = change["counts"], change["rows"]
    lines = [
        f"{change['before'][:_ID]} ({rows[0]:,} rows) -> {change['after'][:_ID]} ({rows[1]:,} rows): "
        f"{counts['added']:,} added, {counts['removed']:,} removed, {counts['relabelled']:,} relabelled"
    ]
    lines += [f"  + {_row(row)}" for row in change["added"]]
    lines += [f"  - {_row(row)}" for row in change["removed"]]
    lines += [
        f"  ~ {excerpt(entry['before'])} -> {excerpt(entry['after'])}  {_row(entry['row'])}"
        for entry in change["relabelled"]
    ]
    return "\n".join(lines)


def show_forgotten(found: Mapping[str, Any]) -> str:
    """What was or would be removed, who learned from it, and what this command cannot reach."""
    done = found["done"]
    if not found["versions"]:
        lines = ["no data version has such a row"]
    else:
        total = sum(version["rows"] for version in found["versions"])
        lines = [f"{total:,} rows {'removed' if done else 'to remove'} in {len(found['versions'])} data versions"]
    for version in found["versions"]:
        successor = f", now {version['successor'][:_ID]}" if version["successor"] else ""
        lines.append(f"  {version['id'][:_ID]}: {version['rows']:,} rows{successor}")
        lines += [
            f"    learned from by run {run['id']}; its folder {run['folder']} may show them in predictions.jsonl, "
            "report.html and problems.jsonl"
            for run in version["runs"]
        ]
    if found["not_searched"]:
        names = ", ".join(version[:_ID] for version in found["not_searched"][:5])
        lines.append(
            f"not searched: {len(found['not_searched'])} versions, damaged or without the column "
            f"{excerpt(found['column'])} ({names}{', …' if len(found['not_searched']) > 5 else ''})"
        )
    lines.append("the files you trained from are yours: burnish does not change them")
    return "\n".join(lines)


def _counts(counts: Mapping[str, int], limit: int = 10) -> str:
    shown = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    more = f", and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(f"{excerpt(name)} {count:,}" for name, count in shown[:limit]) + more


def _row(row: Mapping[str, Any]) -> str:
    return "  ".join(excerpt(str(value)) for name, value in row.items() if name != "origin")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
