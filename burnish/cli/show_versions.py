"""Stored versions as a terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from burnish.evaluation import wording

Row = Mapping[str, Any]


def show_list(rows: Sequence[Row]) -> str:
    """A line for each version: what to call it, what it is, how good it was."""
    if not rows:
        return "no model is stored yet: burnish models keep RUN"
    head = ("version", "aliases", "task", "method", "verdict", "size", "created")
    lines = [head, *(_line(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def show_version(found: Row) -> str:
    """A version with what it came from, what came from it, and how aliases moved to it and away."""
    lines = [f"{found['label']}  {found['kind']} {found['id']}"]
    if found["aliases"]:
        lines.append(f"aliases  {', '.join(found['name'] + ':' + alias for alias in found['aliases'])}")
    lines.append(f"verdict  {_verdict(found)}")
    if found["folder"]:
        lines.append(f"folder   {found['folder']}  ({_size(found)}, {len(found['files'])} files)")
    lines.append("came from")
    lines += [f"{'  ' * each['generation']}{each['role']}: {_came_from(each)}" for each in found["lineage"]]
    if found["children"]:
        lines.append(f"needed by  {', '.join(each['kind'] + ' ' + _called(each) for each in found['children'])}")
    for move in found["moves"]:
        now = "meant it" if move["version"] == found["id"] else "left it"
        lines.append(f"{move['time'][:16].replace('T', ' ')}  {move['action']}: {move['name']}:{move['alias']} {now}")
    return "\n".join(lines)


def show_move(moved: Row) -> str:
    """What an alias means now, and what each gate said."""
    version = moved["version"]
    before = f" (before: {moved['before'][:12]})" if moved["before"] not in (None, version["id"]) else ""
    lines = [f"{moved['alias']} is {version['label']}{before}"]
    lines += [f"  {gate['name']}: {gate['reason']}" for gate in moved.get("gates", ())]
    if "mlflow" in moved:
        lines.append(f"  in MLflow: {moved['mlflow']}")
    return "\n".join(lines)


def show_deleted(gone: Row) -> str:
    version = gone["version"]
    if gone["done"]:
        return f"deleted {version['label']}  {version['id']}"
    return f"would delete {version['label']}  {version['id']}  ({_size(version)}); do it with --yes"


def _line(row: Row) -> tuple[str, ...]:
    created = row["created"][:16].replace("T", " ")
    aliases = ", ".join(row["aliases"])
    return (row["label"], aliases, row["task"] or "", row["method"] or "", _verdict(row), _size(row), created)


def _came_from(row: Row) -> str:
    return f"{row['kind']} {_called(row)}  {row['id'][:12]}"


def _called(row: Row) -> str:
    return str(row["label"] if row["number"] is not None else row["name"])


def _verdict(row: Row) -> str:
    if row["answer"] is None:
        return "not judged"
    if row["metric"] is None or row["value"] is None:
        return str(row["answer"])
    return f"{row['answer']}, {wording.metric_title(row['metric'])} {wording.figure(row['metric'], row['value'])}"


def _size(row: Row) -> str:
    return wording.size(row["size_bytes"])
