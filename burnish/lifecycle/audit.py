"""`burnish audit`: people look at labels, burnish remembers what they said and works out what it means."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.audit import Answer, Item, Sampled, audit_queue, label_scores, settle
from burnish.data.clean import LABEL
from burnish.data.options import CleanOptions
from burnish.data.prepare import prepare
from burnish.errors import DataReadError, UsageError
from burnish.evaluation.metrics.resampling import wilson_interval
from burnish.lifecycle.recipe_of import recipe_of
from burnish.lifecycle.train import task_class
from burnish.settings import settings
from burnish.storage.durable import append_lines, fsync_file, make_folder, write_text
from burnish.storage.fingerprint import canonical_sha256
from burnish.types import Progress


@dataclass(slots=True)
class Audit:
    """One person at work on the queue of a data set.

    Attributes:
        labels: all labels, sorted.
        waiting: what this person has not answered yet, in order.
        total: length of the whole queue.
        file: where answers are appended to, whoever gives them.
    """

    labels: tuple[str, ...]
    waiting: list[Item]
    total: int
    file: Path
    annotator: str

    def record(self, item: Item, label: str | None, *, unsure: bool = False) -> None:
        """Keeps an answer; it is on the disk when this returns."""
        before = str(item.example.row[LABEL])
        answer = Answer(item.key, self.annotator, item.sampled, before, label, unsure)
        append_lines(self.file, [answer.as_dict()])
        fsync_file(self.file)

    def findings(self) -> dict[str, Any]:
        """What all answers so far say, see `findings_of`."""
        return findings_of(self.file)


def open_audit(
    source: str | Path,
    *,
    annotator: str,
    file: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress,
) -> Audit:
    """The queue of a data file or recipe, less what this person has answered.

    Rows are looked at as they are in the file, before any repair. The queue depends on the rows and the seed of the
    recipe only, so it is the same for everybody and tomorrow.

    Raises:
        BurnishError: whatever reading the data raises.
        DataReadError: [data/bad-answer] when the file of answers holds something else.
    """
    recipe, folder = recipe_of(source, test=None, overrides=overrides, seed=None)
    plain = {"clean": CleanOptions(), "deduplicate": False, "balance": "none", "noisy_copies": 0}
    progress.stage("reading the data")
    options = recipe.data.model_copy(update=plain)
    data = prepare(options, task_class(recipe).columns, base_folder=folder, seed=recipe.training.seed)
    place = {name: index for index, name in enumerate(data.files)}
    examples = [example for part in data.found.values() for example in part]
    examples.sort(key=lambda example: (place[example.origin.file], example.origin.line))
    progress.stage("looking for suspicious labels")
    scores = label_scores(examples, data.labels, recipe.training.seed)
    queue = audit_queue(examples, data.labels, scores, recipe.training.seed)
    answers = answers_file(source, file)
    answered = {answer.key for answer in read_answers(answers) if answer.annotator == annotator}
    make_folder(answers.parent)
    waiting = [item for item in queue if item.key not in answered]
    return Audit(data.labels, waiting, len(queue), answers, annotator)


def answers_file(source: str | Path, file: str | Path | None) -> Path:
    """Where the answers about a source are: the named file, or one of its own under the burnish home."""
    if file is not None:
        return Path(file)
    path = os.path.realpath(source)
    return settings().expanded_home() / "audits" / f"{Path(path).stem}-{canonical_sha256(path)[:8]}.jsonl"


def read_answers(path: Path) -> list[Answer]:
    """The answers in a file, in the order they were given; a last line cut off by a crash is left out.

    Raises:
        DataReadError: [data/bad-answer] naming the line.
    """
    if not path.exists():
        return []
    answers = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
            kind: Sampled = "random" if entry["sampled"] == "random" else "suspicious"
            label = entry["label"]
            if not isinstance(label, str | None):
                raise TypeError
            answers.append(
                Answer(
                    str(entry["row"]), str(entry["annotator"]), kind, str(entry["before"]), label, bool(entry["unsure"])
                )
            )
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise DataReadError(
                "data/bad-answer",
                "this line is no answer of an audit",
                where=f"{path}:{number}",
                hint="name the file that `burnish audit` wrote, or a new one, with --file",
            ) from error
    return answers


def findings_of(file: Path) -> dict[str, Any]:
    """What the answers in a file say together.

    Returns:
        {"file", "answered", "random" and "suspicious": {"n", "wrong", "share", "low", "high"}, "corrections",
        "disputed", "agreement": [{"annotators", "n", "kappa"}]}; the share of wrong labels in the data is that of the
        random rows, with its 95 % interval (Wilson); share and interval are None without rows.
    """
    found = settle(read_answers(file))
    shares: dict[str, Any] = {}
    for kind, (wrong, n) in found.wrong.items():
        low, high = wilson_interval(wrong, n) if n else (None, None)
        shares[kind] = {"n": n, "wrong": wrong, "share": wrong / n if n else None, "low": low, "high": high}
    return {
        "file": str(file),
        "answered": found.answered,
        **shares,
        "corrections": len(found.corrections),
        "disputed": len(found.disputed),
        "agreement": [{"annotators": [one, other], "n": n, "kappa": kappa} for one, other, n, kappa in found.agreement],
    }


def apply_audit(file: Path, output: Path) -> int:
    """Writes what the answers correct to a new file that `data.clean.relabel` reads; gives the number of corrections.

    Raises:
        UsageError: [data/nothing-to-correct], [data/file-exists].
    """
    corrections = settle(read_answers(file)).corrections
    if not corrections:
        raise UsageError(
            "data/nothing-to-correct",
            "no answer changes a label",
            where=str(file),
            hint="answer first: burnish audit DATA",
        )
    if output.exists():
        raise UsageError("data/file-exists", "this file exists already", where=str(output), hint="name a new one")
    lines = (json.dumps({"row": key, "label": corrections[key]}, ensure_ascii=False) for key in sorted(corrections))
    write_text(output, "".join(f"{line}\n" for line in lines))
    return len(corrections)
