"""Is everything on the disk before its name is? The order of the system calls of whole trainings.

    python tests/torture/write_order.py
    python tests/torture/write_order.py --peer

Runs small trainings under strace and replays their writes, fsyncs and renames. A file system may keep what was not
synced in any order, so a rename that publishes something in a run's folder is a violation when

    content   bytes of it, or names in it, were not synced before,
    log       lines of metrics.jsonl that the published checkpoint counts were not,
    place     the name of a folder it lies in was not,
    name      the name it got was not synced before the next such rename, or the end.

Names in a `.tmp-` folder publish nothing. --peer also traces transformers' Trainer saving as often. Exit code 0 when
burnish has no violation. Source of the rules: Pillai et al., OSDI 2014.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from toy_runs import LEARNING_RATE, METHODS, SETTINGS, Outcome, Toys, parser_of, report, toys

from burnish.storage.durable import TEMPORARY

OPENS = ("open", "openat", "creat")
WRITES = ("write", "writev", "pwrite64", "pwritev", "ftruncate", "fallocate", "sendfile", "copy_file_range")
SYNCS = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat", "renameat2")
MAKES = ("mkdir", "mkdirat")
REMOVES = ("unlink", "unlinkat", "rmdir")
KINDS = ("content", "log", "place", "name")
CALL = re.compile(r"(\w+)\((.*)\) += (?!-1|\?)(.*)")
DESCRIPTOR = re.compile(r"\d+<(/[^>]*)>")
NAME = re.compile(r'(?:(?:\d+|AT_FDCWD)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


@dataclass
class Order:
    """What below `root` is not on the disk yet, as the calls go by, and what was wrong."""

    root: Path
    outcome: Outcome
    present: set[Path] = field(default_factory=set)
    unsynced: set[Path] = field(default_factory=set)  # files with bytes that only the cache has
    unnamed: set[Path] = field(default_factory=set)  # names, new or changed, that only the cache has
    published: list[Path] = field(default_factory=list)  # by a rename, and still unnamed

    def make(self, path: Path) -> None:
        if path not in self.present:
            self.present.add(path)
            self.unnamed.add(path)

    def sync(self, path: Path) -> None:
        if path.is_relative_to(self.root) or path == self.root.parent:
            self.outcome.count("fsyncs")
        self.unsynced.discard(path)
        self.unnamed = {name for name in self.unnamed if name.parent != path}
        self.published = [name for name in self.published if name.parent != path]

    def remove(self, path: Path) -> None:
        for paths in (self.present, self.unsynced, self.unnamed):
            paths.discard(path)

    def rename(self, old: Path, new: Path) -> None:
        if not any(part.startswith(TEMPORARY) for part in new.parts):
            self._publish(old, new)
        self.present = _moved(self.present, old, new)
        self.unsynced = _moved(self.unsynced, old, new)
        self.unnamed = _moved(self.unnamed, old, new) | {new}

    def _publish(self, old: Path, new: Path) -> None:
        self.outcome.count("renames")
        pending = self.unsynced | self.unnamed
        log = self.root / "metrics.jsonl"
        self._violated("content", new, any(path.is_relative_to(old) for path in self.unsynced | self.unnamed - {old}))
        self._violated("log", new, new.parent.name == "checkpoints" and log in pending)
        self._violated("place", new, not self.unnamed.isdisjoint(new.parents))
        self.end()
        self.published.append(new)

    def end(self) -> None:
        for path in self.published:
            self._violated("name", path, True)
        self.published = []

    def _violated(self, kind: str, path: Path, wrong: bool) -> None:
        if wrong:
            self.outcome.fault(kind, str(path.relative_to(self.root)))


def _moved(paths: set[Path], old: Path, new: Path) -> set[Path]:
    kept = {path for path in paths if not path.is_relative_to(new)}  # what lay under the new name is gone
    return {new / path.relative_to(old) if path.is_relative_to(old) else path for path in kept}


def replay(trace: Path, root: Path) -> Outcome:
    """Violations by kind in the output of `strace -f -y`."""
    outcome = Outcome(*KINDS)
    outcome.figures |= {"renames": 0, "fsyncs": 0}
    order = Order(root, outcome)
    for call, arguments, result in _calls(trace):
        names = [Path(folder or "/") / name for folder, name in NAME.findall(arguments)]
        open_files = [Path(path) for path in DESCRIPTOR.findall(result if call in OPENS else arguments)]
        if call in SYNCS:
            order.sync(open_files[0])
        elif not all(path.is_relative_to(root) for path in names or open_files[-1:]):
            continue
        elif call in OPENS and ("O_CREAT" in arguments or call == "creat"):
            order.make(open_files[0])
        elif call in WRITES:
            order.unsynced.update(open_files[-1:])
        elif call in MAKES:
            order.make(names[0])
        elif call in REMOVES:
            order.remove(names[0])
        elif call in RENAMES:
            order.rename(*names)
    order.end()
    kept = sorted(str(path.relative_to(root)) for path in order.unsynced)
    outcome.figures |= {"files written and never synced": len(kept), "of them": ", ".join(kept[:4])}
    return outcome


def _calls(trace: Path) -> Iterator[tuple[str, str, str]]:
    """(name, arguments, result) of each call that succeeded, in the order they returned."""
    begun: dict[str, str] = {}
    with trace.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            thread, _, call = line.strip().partition(" ")
            call = call.strip()
            if call.endswith("<unfinished ...>"):
                begun[thread] = call.removesuffix("<unfinished ...>")
                continue
            if call.startswith("<..."):
                call = begun.pop(thread) + call.partition(" resumed>")[2]
            if match := CALL.fullmatch(call):
                yield match[1], match[2], match[3]


def traced(toys: Toys, command: list[str], root: Path) -> Outcome:
    trace = toys.folder / "trace"
    calls = ",".join((*OPENS, *WRITES, *SYNCS, *RENAMES, *MAKES, *REMOVES))
    strace = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={calls}", "-o", str(trace)]
    subprocess.run([*strace, sys.executable, *command], check=True, capture_output=True)
    return replay(trace, root)


def torture(toys: Toys, method: str) -> Outcome:
    run = toys.new_run()
    return traced(toys, ["-m", "burnish", *toys.arguments(method, run)], run)


def trace_peer(toys: Toys) -> Outcome:
    output = toys.new_run()
    return traced(toys, [__file__, "--train-peer", str(toys.base), str(toys.data), str(output)], output)


def train_peer(base: str, data: str, output: str) -> None:
    """transformers' Trainer on the same rows, with a checkpoint as often and as many kept."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    with Path(data).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = sorted({row["intent"] for row in rows})
    tokenizer = AutoTokenizer.from_pretrained(base)
    arguments = TrainingArguments(
        output_dir=output,
        max_steps=48,
        save_steps=int(SETTINGS["checkpoint.every_steps"]),
        save_total_limit=int(SETTINGS["checkpoint.keep"]),
        learning_rate=LEARNING_RATE["full"],
        per_device_train_batch_size=16,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels)),
        args=arguments,
        train_dataset=[{**tokenizer(row["body"]), "labels": labels.index(row["intent"])} for row in rows],
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(f"{output}/final")


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--peer", action="store_true", help="trace transformers' Trainer too")
    parser.add_argument("--train-peer", nargs=3, metavar=("BASE", "DATA", "OUTPUT"), help="what --peer traces")
    options = parser.parse_args()
    if options.train_peer:
        train_peer(*options.train_peer)
        return 0
    code = 0
    with toys(options.work) as lab:
        for method in METHODS:
            started = time.monotonic()
            code |= report(f"write_order-{method}", torture(lab, method), seed=options.seed, n=1, started=started)
        if options.peer:
            started = time.monotonic()
            report("write_order-peer", trace_peer(lab), seed=options.seed, n=1, started=started)
    return code


if __name__ == "__main__":
    sys.exit(main())
