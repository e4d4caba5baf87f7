"""`burnish audit` in a terminal: one row, one key."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.cli.keyboard import read_key, say
from burnish.cli.progress import TerminalProgress
from burnish.errors import UsageError, excerpt

if TYPE_CHECKING:
    from burnish.data.audit import Item
    from burnish.lifecycle.audit import Audit

_SHOWN = 9  # labels that one digit can choose
_TEXT = 2_000  # characters of a row that are shown
_KEYS = "k keep   l other label   n none fits   u unsure   s skip   q quit"


def audit(options: argparse.Namespace) -> int:
    from burnish.lifecycle.audit import answers_file, apply_audit, findings_of, open_audit

    file = answers_file(options.source, options.file)
    if options.apply or options.summary:
        found = findings_of(file)
        if options.apply:
            output = Path(options.output)
            found = {**found, "output": str(output), "written": apply_audit(file, output)}
        print(json.dumps(found) if options.json else show_findings(found))
        return 0
    if options.json:
        raise UsageError(
            "cli/audit-asks", "an audit asks questions", where="--json", hint="use --json with --summary or --apply"
        )
    work = open_audit(
        options.source, annotator=options.annotator, file=file, overrides=options.set, progress=TerminalProgress()
    )
    _ask_all(work)
    print(show_findings(work.findings()))
    return 0


def _ask_all(work: Audit) -> None:
    """Row after row until the queue is empty or somebody quits; every answer is kept at once."""
    done = work.total - len(work.waiting)
    for number, item in enumerate(work.waiting, start=done + 1):
        row = item.example.row
        text = excerpt(" | ".join(str(value) for column, value in row.items() if column != "label"), _TEXT)
        choices = item.suggestions[:_SHOWN]
        say(f"\n[{number}/{work.total}]  {item.example.origin}   label: {excerpt(str(row['label']))}")
        say(textwrap.fill(text, 96, initial_indent="    ", subsequent_indent="    "))
        say("  " + "   ".join(f"{i} {excerpt(label, 30)}" for i, label in enumerate(choices, 1)))
        say(f"  {_KEYS}")
        if not _answered(work, item, choices):
            return


def _answered(work: Audit, item: Item, choices: tuple[str, ...]) -> bool:
    """Asks until a key means something; False when it means to stop."""
    while True:
        key = read_key()
        if key in ("q", ""):
            return False
        if key == "s":
            return True
        if key == "k":
            work.record(item, str(item.example.row["label"]))
        elif key == "u":
            work.record(item, None, unsure=True)
        elif key == "n":
            work.record(item, None)
        elif key.isdecimal() and 1 <= int(key) <= len(choices):
            work.record(item, choices[int(key) - 1])
        elif key == "l" and (label := _typed_label(work.labels)) is not None:
            work.record(item, label)
        else:
            say(f"  {_KEYS}")
            continue
        return True


def _typed_label(labels: tuple[str, ...]) -> str | None:
    """A label by its name or the beginning that only it has; None when there is none."""
    say("  label, then Enter:")
    typed = sys.stdin.readline().strip()
    matches = [label for label in labels if label == typed] or [x for x in labels if typed and x.startswith(typed)]
    if len(matches) == 1:
        return matches[0]
    known = matches or labels
    more = " …" if len(known) > 10 else ""
    say(f"  no single label begins so; known: {', '.join(map(excerpt, known[:10]))}{more}")
    return None


def show_findings(found: Mapping[str, Any]) -> str:
    """How many labels are wrong, how well people agree, and what to do with the answers."""
    lines = [f"{found['answered']:,} rows answered, in {found['file']}"]
    random, suspicious = found["random"], found["suspicious"]
    if random["n"]:
        lines.append(
            f"  wrong labels in the data: {100 * random['share']:.1f} % "
            f"[{100 * random['low']:.1f}, {100 * random['high']:.1f}] ({random['wrong']} of {random['n']} random rows)"
        )
    if suspicious["n"]:
        lines.append(f"  of the suspicious rows: {suspicious['wrong']} of {suspicious['n']} wrong")
    for pair in found["agreement"]:
        one, other = map(excerpt, pair["annotators"])
        lines.append(f"  agreement of {one} and {other}: kappa {pair['kappa']:.2f} on {pair['n']} rows")
    if found["disputed"]:
        lines.append(f"  {found['disputed']} rows without a majority are left as they are")
    if "output" in found:
        recipe = f"data: {{clean: {{relabel: {found['output']}}}}}"
        lines.append(f"  {found['written']} corrections written; train with them: `{recipe}`")
    elif found["corrections"]:
        lines.append(f"  {found['corrections']} corrections; write them with --apply")
    return "\n".join(lines)
