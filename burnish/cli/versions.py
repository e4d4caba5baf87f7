"""The actions of `burnish models` on stored versions: keep, promote, roll back, delete, list."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

VERSION_ACTIONS = ("list", "keep", "promote", "rollback", "delete")
Adder = Callable[..., argparse.ArgumentParser]
VERSION = "RUN, NAME:NUMBER, NAME:ALIAS or the beginning of a version's id"


def version_actions(add: Adder) -> list[argparse.ArgumentParser]:
    """The parsers of the actions."""
    listed = add("list", help="stored versions of models, newest first")
    listed.add_argument("--name", metavar="N", help="only those of this name")
    listed.add_argument("--task", metavar="T", help="only those of this task")
    listed.add_argument("--alias", metavar="A", help="only what this alias means, e.g. champion")
    listed.add_argument("--limit", metavar="N", type=int, default=50, help="this many at most (50)")
    keep = add("keep", help="store a run's model or checkpoint as a version, which never changes")
    promote = add("promote", help="let NAME:champion, or another alias, mean a model, if every gate agrees")
    promote.add_argument("--to", metavar="ALIAS", default="champion", help="champion, candidate or your own (champion)")
    keep.add_argument("run", metavar="RUN[@step-N]", help="a run, or one of its checkpoints")
    promote.add_argument("run", metavar="RUN|VERSION", help=VERSION)
    for parser in (keep, promote):
        parser.add_argument("--name", metavar="N", help="of the model (default: the name of its data)")
    back = add("rollback", help="let an alias mean what it meant before")
    back.add_argument("name", metavar="NAME[:ALIAS]", help="of the model; its champion when no alias is named")
    delete = add("delete", help="delete a version that no alias means and nothing came from")
    delete.add_argument("name", metavar="VERSION", help=VERSION)
    delete.add_argument("--yes", action="store_true", help="do it; otherwise only say what would go")
    return [listed, keep, promote, back, delete]


def run_version_action(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """What an action found or did, for --json and in words."""
    from burnish.cli import show_versions
    from burnish.lifecycle import promote as lifecycle

    if options.action == "list":
        rows = lifecycle.list_models(name=options.name, task=options.task, alias=options.alias, limit=options.limit)
        return {"versions": rows}, show_versions.show_list(rows)
    if options.action == "keep":
        kept = lifecycle.keep_model(options.run, name=options.name).as_dict()
        return {"version": kept}, f"{kept['label']}  {kept['id']}"
    if options.action == "promote":
        moved = lifecycle.promote(options.run, to=options.to, name=options.name)
        return moved, show_versions.show_move(moved)
    if options.action == "rollback":
        moved = lifecycle.go_back(options.name)
        return moved, show_versions.show_move(moved)
    gone = lifecycle.delete_version(options.name, yes=options.yes)
    return gone, show_versions.show_deleted(gone)
