"""Small whole trainings, each `burnish train` in a process of its own, to be killed, starved and compared.

A random BERT of two layers learns sentences with one telling word in about 50 steps. Processes are forked from a
server that has the libraries imported already, so a training takes a second or two and hundreds are affordable.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# Read by the libraries when they are first imported, in the server of the processes.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
# A killed process cannot give back its semaphores; that is what is wanted here.
os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker:UserWarning"

from burnish.lifecycle.environment import describe_environment
from burnish.storage.durable import TEMPORARY, damage_of

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
METHODS = ("full", "lora")
WALL_CLOCK = ("rows_per_second", "tokens_per_second")
KEEP = 2  # newest checkpoints that burnish keeps beside the best one
PATIENCE_SECONDS = 120.0
PRELOADED = ["burnish.cli.commands", "burnish.lifecycle.judge", "burnish.lifecycle.workbench", "peft"]

TELLING = {"card": ("card", "cash"), "late": ("late", "transfer"), "refund": ("refund", "money")}
FILLERS = ("my", "the", "where", "lost", "is", "it", "on", "a")
SETTINGS = {
    "checkpoint.every_steps": 5,
    "checkpoint.keep": KEEP,
    "evaluation.resamples": 200,
    "training.average_decay": 0.9,
    "training.epochs": 6,
    "training.global_batch_size": 16,
    "training.log_every_steps": 1,
    "training.patience": 20,
    "training.threads": 1,
}
LEARNING_RATE = {"full": 2e-2, "lora": 1e-2}

Fault = Callable[[], None]  # set up in the child before its command begins


class Attempt:
    """One process of burnish on a run, and what it printed."""

    def __init__(self, process: BaseProcess, log: Path) -> None:
        self.process, self.log, self.started = process, log, time.monotonic()

    def alive(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """The exit code: negative for the signal that killed it."""
        self.process.join(PATIENCE_SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"no end after {PATIENCE_SECONDS:g} s: {self.log}")
        return self.process.exitcode

    def wait_for(self, happened: Callable[[], object]) -> bool:
        """True as soon as it happened; False when the process ended before."""
        while not happened():
            if not self.alive():
                return False
            if time.monotonic() - self.started > PATIENCE_SECONDS:
                self.kill()
                raise TimeoutError(f"waited for {PATIENCE_SECONDS:g} s: {self.log}")
            time.sleep(0.0005)
        return True

    def wait_seconds(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        return self.wait_for(lambda: time.monotonic() >= until)

    def printed(self) -> str:
        return self.log.read_text("utf-8")

    def orphans(self) -> list[int]:
        """Processes of its session that outlived it."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if self._started(entry)]

    def _started(self, entry: Path) -> bool:
        try:
            return entry.name.isdigit() and os.getsid(int(entry.name)) == self.process.pid
        except ProcessLookupError:
            return False


class Toys:
    """A base, rows it can learn, the processes that train on them, and runs that nobody disturbed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.base, self.data = folder / "base", folder / "toy.csv"
        self.seconds: dict[str, float] = {}  # of an undisturbed training, by method
        self.runs = 0
        self._server: ForkServerContext = multiprocessing.get_context("forkserver")
        self._server.set_forkserver_preload(PRELOADED)
        _write_rows(self.data, seed)
        making = self._server.Process(target=make_base, args=(self.base,))
        making.start()
        making.join()

    def new_run(self) -> Path:
        self.runs += 1
        return self.folder / f"run-{self.runs}"

    def arguments(self, method: str, run: Path) -> list[str]:
        settings = {"model.base": self.base, "method": method, "training.learning_rate": LEARNING_RATE[method]}
        changes = [word for name, value in {**SETTINGS, **settings}.items() for word in ("--set", f"{name}={value}")]
        return ["train", str(self.data), "--output", str(run), "--resume", *changes]

    def start(self, method: str, run: Path, fault: Fault | None = None) -> Attempt:
        """Begins a run, or goes on with it."""
        log = self.folder / f"{run.name}.log"
        process = self._server.Process(target=_command, args=(self.arguments(method, run), log, fault))
        process.start()
        return Attempt(process, log)

    def whole(self, method: str) -> Path:
        """The run that was never disturbed, made once per method."""
        run = self.folder / f"whole-{method}"
        if method not in self.seconds:
            self.start(method, run).wait()  # what the disk and the processor still have to load
            shutil.rmtree(run)
            attempt = self.start(method, run)
            if attempt.wait() != 0:
                raise RuntimeError(attempt.printed())
            self.seconds[method] = time.monotonic() - attempt.started
        return run


@contextmanager
def toys(work: Path | None = None, *, seed: int = 0) -> Iterator[Toys]:
    """Everything in a folder below `work`, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="torture-", dir=work) as folder:
        yield Toys(Path(folder), seed)


def _command(arguments: list[str], log: Path, fault: Fault | None) -> None:
    """`burnish ARGUMENTS` in a session of its own, printing into `log`."""
    from burnish.cli.main import entry

    os.setsid()
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    if fault is not None:
        fault()
    sys.argv = ["burnish", *arguments]
    entry()


def _write_rows(path: Path, seed: int) -> None:
    """180 different sentences in three equal classes, each with one word that gives its label away."""
    chance = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < 180:
        label = sorted(TELLING)[len(rows) % 3]
        before, after = (chance.choices(FILLERS, k=chance.randint(1, 4)) for _ in range(2))
        rows.setdefault(" ".join([*before, chance.choice(TELLING[label]), *after]), label)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("body", "intent"), *rows.items()])


def make_base(folder: Path) -> None:
    """A random BERT of two layers whose words are those of the rows."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    ids = {word: i for i, word in enumerate((*special, *FILLERS, *(w for words in TELLING.values() for w in words)))}
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(ids), max_position_embeddings=64, initializer_range=0.3, **shape)
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(special))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), "utf-8")


def steps(run: Path) -> set[int]:
    """The published checkpoints."""
    return {int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*")}


def lost_checkpoints(run: Path, before: Collection[int]) -> list[str]:
    """Those of `before` that are gone though pruning keeps them, those that are damaged, and a best that is gone."""
    now = steps(run)
    lost = [f"step-{step} is gone" for step in sorted({*before, *now})[-KEEP:] if step not in now]
    for step in sorted(now):
        folder = run / "checkpoints" / f"step-{step}"
        damage = damage_of(folder)
        if damage:
            lost.append(f"step-{step}: {damage}")
        elif step == max(now) and (best := _best_step(folder)) and best not in now:
            lost.append(f"step-{best}, the best one, is gone")
    return lost


def _best_step(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "state.json").read_text("utf-8"))["stopping"]["best_step"])


def manifest_of(run: Path) -> dict[str, Any]:
    return dict(json.loads(_bytes(run / "manifest.json") or "{}"))


def last_logged_step(run: Path) -> int:
    lines = _lines(run / "metrics.jsonl")
    return int(lines[-1]["step"]) if lines else 0


def differences(run: Path, whole: Path) -> list[str]:
    """What of a finished run is not what the undisturbed run has."""
    names = sorted(path.name for path in whole.glob("final/*.safetensors"))
    best = manifest_of(whole)["training"]["best_step"]
    files = [*(f"final/{name}" for name in names), f"checkpoints/step-{best}/weights.safetensors", "predictions.jsonl"]
    different = [name for name in files if _bytes(run / name) != _bytes(whole / name)]
    if _lines(run / "metrics.jsonl") != _lines(whole / "metrics.jsonl"):
        different.append("metrics.jsonl")
    if manifest_of(run).get("status") != "finished":
        different.append("status")
    return different


def temporaries(run: Path) -> set[Path]:
    """What is being written now, or was when its writer died."""
    return {path for folder in (run, run / "checkpoints") for path in folder.glob(f"{TEMPORARY}*")}


def leftovers(run: Path) -> list[str]:
    return [str(path.relative_to(run)) for path in run.rglob(f"{TEMPORARY}*")]


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a log, without what depends on the clock."""
    lines = _bytes(path).decode().split("\n")[:-1]
    return [{name: value for name, value in json.loads(line).items() if name not in WALL_CLOCK} for line in lines]


class Outcome:
    """What a torture counted: figures to know, and faults by kind, of which there must be none."""

    def __init__(self, *kinds: str) -> None:
        self.figures: dict[str, Any] = {}
        self.faults: dict[str, list[str]] = {kind: [] for kind in kinds}

    def count(self, figure: str, by: float = 1) -> None:
        self.figures[figure] = self.figures.get(figure, 0) + by

    def fault(self, kind: str, *places: str) -> None:
        self.faults[kind].extend(places)

    def flawless(self) -> bool:
        return not any(self.faults.values())

    def table(self) -> str:
        rows = {**self.figures, **{kind: len(places) for kind, places in self.faults.items()}}
        width = max(map(len, rows))
        lines = [f"  {name:<{width}}  {value}" for name, value in rows.items()]
        return "\n".join([*lines, *(f"! {kind}: {place}" for kind, places in self.faults.items() for place in places)])


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The arguments all tortures share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of every random choice (default: 1)")
    parser.add_argument("--work", type=Path, help="folder on the disk to be used (default: the system's temporary one)")
    return parser


def report(name: str, outcome: Outcome, *, seed: int, n: int, started: float) -> int:
    """Prints the table and writes benchmarks/results/torture-<name>.json; the exit code: 0 without faults."""
    outcome.figures["seconds"] = round(time.monotonic() - started, 1)
    print(f"{name} (n = {n}, seed {seed})\n{outcome.table()}\n")
    RESULTS.mkdir(parents=True, exist_ok=True)
    about = {"environment": describe_environment(), "seed": seed, "n": n}
    result = {**about, "figures": outcome.figures, "faults": outcome.faults}
    (RESULTS / f"torture-{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if outcome.flawless() else 1
