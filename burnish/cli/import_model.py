"""`burnish import`: a model from elsewhere becomes a version."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

SHOWN = 5  # files that were left behind


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    parser = command(
        "import",
        "keep a model from elsewhere as a version to train on from",
        "burnish import ./their-model --name base",
    )
    parser.add_argument(
        "source", metavar="FOLDER|HUB_ID", help="of transformers or peft; inspected before it is opened"
    )
    parser.add_argument("--name", metavar="N", help="of the model (default: the last part of its place)")
    parser.add_argument("--task", metavar="T", help="what it is for, to find it by")
    parser.add_argument("--license", metavar="L", help="its license, where its files name none; recorded as your word")


def run(options: argparse.Namespace) -> int:
    from burnish.lifecycle.import_model import import_model

    found = import_model(options.source, name=options.name, task=options.task, license_=options.license)
    print(json.dumps(found, ensure_ascii=False) if options.json else show_imported(found))
    return 0


def show_imported(found: Mapping[str, Any]) -> str:
    """What it is called, what it is, and what to write to train on from it."""
    from burnish.cli.models import said_count

    version = found["version"]
    lines = [f"{version['label']}  {version['id'][:12]}, {found['kind']} of {said_count(found['parameters'])} weights"]
    lines.append(f"license  {found['license'] or 'none is known: ask for it before sharing what is made of it'}")
    if found["own_license"]:
        lines.append(f"         of the adapter itself: {found['own_license']}")
    if found["never_opened"]:
        lines.append(f"left behind, never opened: {', '.join(found['never_opened'][:SHOWN])}")
    return "\n".join([*lines, f"train on from it: burnish train DATA --set model.base={version['label']}"])
