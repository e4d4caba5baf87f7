"""What the scripts about GPUs share: shapes, rows, the matrix rate, arms that take turns until the time is spent.

Bases have the shape of a published model and random weights, drawn on the device: nothing is downloaded. Rows come in
three kinds: conversations of chat-like lengths (conversations.py), and documents that fill 4,096 or 8,192 tokens. Every
arm takes the same rows in the same order, the same number per optimizer step; real tokens are counted, never padding.

Every arm is a process of its own. Rounds go on until all pairs are done or the next arm would not end in time; what was
measured is written after each arm, so that a script that is stopped has not measured in vain. An arm that runs out of
memory takes half as many tokens at once from then on; one that fails is named, and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import paths  # noqa: F401
from conversations import (
    LONGEST,
    ROLES,
    SPECIAL,
    TINY,
    conversations,
    documents,
    preferences,
    write_rows,
    write_tokenizer,
)
from measuring import (
    RESULTS,
    Arm,
    ArmError,
    Figures,
    Measured,
    Place,
    answer,
    median_of,
    parsed,
    parser,
    quotients,
    report,
    run_arm,
    table,
    with_range,
)

GIB = 2**30
SECONDS = 540.0  # of a script, all its arms together
AT_ONCE = 16_384  # tokens that peers compute at once, halved until they fit
SHAPES: dict[str, dict[str, Any]] = {
    "8b": {  # Llama 3.1 8B
        "hidden_size": 4_096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14_336,
        "max_position_embeddings": 8_192,
        "vocab_size": 128_256,
        "tie_word_embeddings": False,
    },
    "7b": {  # Llama 2 7B
        "hidden_size": 4_096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11_008,
        "max_position_embeddings": 4_096,
        "vocab_size": 32_000,
        "tie_word_embeddings": False,
    },
    "tiny": {**TINY, "hidden_size": 96, "vocab_size": 2_048, "tie_word_embeddings": False},
}


@dataclass(frozen=True, slots=True)
class Case:
    """Rows of one kind.

    Attributes:
        tokens: of the longest row.
        batch: rows per optimizer step.
        steps: of them, one pass over all rows.
    """

    tokens: int
    batch: int
    steps: int


CASES = {"chat": Case(LONGEST, 128, 8), "4k": Case(4_096, 8, 6), "8k": Case(8_192, 4, 6)}
SMALL = {"chat": Case(LONGEST, 4, 3), "4k": Case(96, 2, 3), "8k": Case(192, 2, 3)}


def base_arm(place: Place, *, folder: str, shape: str) -> Figures:
    """Writes a base: drawn on the device, in bf16."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    about = SHAPES[shape]
    write_tokenizer(Path(folder), about["vocab_size"])
    torch.manual_seed(13)
    config = LlamaConfig(**about, bos_token_id=0, eos_token_id=2, pad_token_id=0, dtype="bfloat16")
    with torch.device(device_name()):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return {"parameters": sum(weight.numel() for weight in model.parameters())}


def rate_arm(place: Place, *, size: int, seconds: float) -> Figures:
    """Operations per second of square bf16 products on random numbers: what shares are shares of."""
    import torch

    device = torch.device(device_name())
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = one @ other
    finish(device)
    count, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        for _ in range(10):
            torch.mm(one, other, out=product)
        finish(device)
        count += 10
    return {"operations_per_second": 2 * size**3 * count / (time.monotonic() - begun), "device": named(device)}


COMMON: dict[str, Arm] = {"base": base_arm, "matrix-rate": rate_arm}


def device_name() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def named(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def finish(device: Any) -> None:
    """Waits until the device has done what it was told."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peaks() -> dict[str, int]:
    """Bytes on the device at most: in tensors, and taken from it; on a CPU of the process."""
    import torch

    from burnish.lifecycle.environment import peak_memory_bytes

    if not torch.cuda.is_available():
        return dict.fromkeys(("peak_allocated", "peak_reserved"), peak_memory_bytes())
    return {"peak_allocated": torch.cuda.max_memory_allocated(), "peak_reserved": torch.cuda.max_memory_reserved()}


def operations_per_token(shape: str, row_lengths: Sequence[int], read: int, *, full: bool) -> float:
    """Multiplications and additions of a training without recomputing, for each token of the rows, on average.

    Products with a frozen weight count twice, forward and for the gradient of its input; with one that learns three
    times. Attention looks back only; its gradient costs two and a half times as much as itself.

    Args:
        read: tokens whose logits are computed.
    """
    about = SHAPES[shape]
    width, layers, inner = about["hidden_size"], about["num_hidden_layers"], about["intermediate_size"]
    kept = about["num_key_value_heads"] / about["num_attention_heads"]
    passes, tokens = 3 if full else 2, sum(row_lengths)
    body = layers * (2 * width**2 * (1 + kept) + 3 * width * inner)
    head = width * about["vocab_size"] * read / tokens
    seen = sum(length**2 for length in row_lengths) / tokens / 2
    return 2 * passes * (body + head) + 3.5 * 4 * layers * width * seen


def parameters(shape: str) -> int:
    """Weights of a shape, but for its norms."""
    about = SHAPES[shape]
    width, kept = about["hidden_size"], about["num_key_value_heads"] / about["num_attention_heads"]
    layer = 2 * width**2 * (1 + kept) + 3 * width * about["intermediate_size"]
    return int(about["num_hidden_layers"] * layer + 2 * width * about["vocab_size"])


@contextlib.contextmanager
def room(size_bytes: int) -> Iterator[Path]:
    """A folder with room for so much: in memory where there is half as much again, else on the disk."""
    shared = Path("/dev/shm")
    in_memory = shared.is_dir() and shutil.disk_usage(shared).free > 1.5 * size_bytes
    with tempfile.TemporaryDirectory(dir=shared if in_memory and size_bytes > GIB else None) as folder:
        yield Path(folder)


def rows_of(kind: str, case: Case, *, seed: int, words: int, pairs: bool) -> dict[str, list[dict[str, Any]]]:
    """Training rows of a kind, and a few short ones that nothing is learned from."""
    count = case.batch * case.steps
    short = conversations(64, seed=seed + 1, words=words)
    if pairs:
        training, short = preferences(count, seed=seed, words=words), preferences(64, seed=seed + 1, words=words)
    elif kind == "chat":
        training = conversations(count, seed=seed, words=words)
    else:
        training = documents(count, tokens=case.tokens, seed=seed, words=words)
    short.sort(key=lambda row: len(json.dumps(row)))
    return {"train": training, "validation": short[:4], "test": short[4:8]}


def gpu_parser(about: str, *, cases: Sequence[str] = tuple(CASES)) -> argparse.ArgumentParser:
    """The arguments that all scripts about GPUs have."""
    found = parser(about, pairs=5)
    found.add_argument("--rows", nargs="+", choices=list(cases), default=list(cases), help="kinds of rows")
    found.add_argument("--arms", nargs="+", help="which, beside burnish (all that are installed)")
    found.add_argument("--seconds", type=float, default=SECONDS, help=f"of the whole script ({SECONDS:.0f})")
    found.add_argument("--tiny", action="store_true", help="a small shape, once: shows that the script runs anywhere")
    found.add_argument("--results", type=Path, help="folder the figures are written to (benchmarks/results)")
    return found


def compare(
    script: str,
    described: argparse.ArgumentParser,
    arms: Mapping[str, Arm],
    needs: Mapping[str, str],
    *,
    shape: str,
    pairs: bool = False,
    full: bool = False,
    show: Callable[[dict[str, Measured], Mapping[str, Any]], str],
) -> None:
    """Measures all arms over all kinds of rows, in turns; prints the tables and writes results/gpu-<script>.json.

    Args:
        needs: the package each peer needs; those that are not installed are skipped by name.
        show: the tables of what was measured, by kind.
    """
    begun = time.monotonic()
    options = parsed(described)
    if answer({**COMMON, **arms}, options):
        return
    name = Path(script).stem
    chosen, skipped = [], {}
    for arm in arms:
        missing = arm in needs and importlib.util.find_spec(needs[arm]) is None
        if missing:
            skipped[arm] = f"{needs[arm]} is not installed"
        elif arm == "burnish" or options.arms is None or arm in options.arms:
            chosen.append(arm)
    for arm, why in skipped.items():
        print(f"{arm}: skipped, {why}", file=sys.stderr)
    shape = "tiny" if options.tiny else shape
    options.quick, options.pairs = options.tiny, 1 if options.tiny else options.pairs
    cases = {kind: (SMALL if options.tiny else CASES)[kind] for kind in options.rows}
    one = partial(run_arm, script, threads=options.threads)
    told: dict[str, Any] = {"shape": shape, "full": full, "cases": {k: vars_of(c) for k, c in cases.items()}}
    told |= {"skipped": skipped, "failed": {}}
    with room(2 * parameters(shape)) as folder:
        place = {"folder": str(folder / "base"), "shape": shape}
        told |= one("base", place) | one("matrix-rate", {"size": 256, "seconds": 0.1} if options.tiny else RATE)
        words = SHAPES[shape]["vocab_size"] - len(SPECIAL) - len(ROLES)
        given = {}
        for kind, case in cases.items():
            rows = rows_of(kind, case, seed=options.seed, words=words, pairs=pairs)
            files = {part: write_rows(folder / f"{kind}-{part}.jsonl", some) for part, some in rows.items()}
            given[kind] = {"base": place["folder"], "files": files, **vars_of(case)}
        measured: dict[str, Measured] = {kind: {} for kind in cases}
        for kind, arm in order(list(cases), chosen, options.pairs):
            left = options.seconds - (time.monotonic() - begun)
            longest = max((f["took"] for found in measured.values() for f in found.get(arm, [])), default=0.0)
            if left < longest or left <= 0:
                print(f"{kind}: {arm}: not enough time is left", file=sys.stderr)
                continue
            if arm in told["failed"].get(kind, {}):
                continue
            take(one, kind, arm, given[kind], measured, told, left)
            write(name, options, show(measured, told), {**told, "measured": measured})
        print(show(measured, told))


RATE = {"size": 8_192, "seconds": 3.0}


def vars_of(case: Case) -> dict[str, int]:
    return {"tokens": case.tokens, "batch": case.batch, "steps": case.steps}


def order(kinds: Sequence[str], arms: Sequence[str], pairs: int) -> list[tuple[str, str]]:
    """Every round all kinds, all arms; every other round goes backwards."""
    forwards = [(kind, arm) for kind in kinds for arm in arms]
    return [each for pair in range(pairs) for each in (forwards if pair % 2 == 0 else forwards[::-1])]


def take(
    one: Callable[..., Figures],
    kind: str,
    arm: str,
    given: dict[str, Any],
    measured: dict[str, Measured],
    told: dict[str, Any],
    seconds: float,
) -> None:
    """Runs an arm once; with ever fewer tokens at once while they do not fit into memory."""
    sizes: dict[str, int] = told.setdefault("at_once", {})
    while True:
        begun, size = time.monotonic(), sizes.get(f"{kind} {arm}", AT_ONCE)
        print(f"{kind}: {arm}", file=sys.stderr, flush=True)
        try:
            figures = one(arm, {**given, "at_once": size}, seconds=max(1.0, seconds))
        except ArmError as error:
            told["failed"].setdefault(kind, {})[arm] = str(error)[-1_500:]
            print(f"{kind}: {arm} failed: {error}", file=sys.stderr)
            return
        took = time.monotonic() - begun
        seconds -= took
        if not figures.get("out_of_memory"):
            measured[kind].setdefault(arm, []).append({**figures, "took": took})
            return
        sizes[f"{kind} {arm}"] = size // 2
        if "said" in figures:  # burnish has tried fewer itself
            told["failed"].setdefault(kind, {})[arm] = figures["said"]
            return
        if size // 2 < given["tokens"] or seconds <= 0:
            told["failed"].setdefault(kind, {})[arm] = "out of memory"
            return


def write(name: str, options: argparse.Namespace, shown: str, result: dict[str, Any]) -> None:
    """The results so far."""
    if options.tiny and options.results is None:
        return
    with contextlib.redirect_stdout(io.StringIO()):
        report(f"gpu-{name}", options, shown, result, folder=options.results or RESULTS)


def with_shares(found: Measured, told: Mapping[str, Any]) -> None:
    """Adds to figures of tokens per second which share of the matrix rate they are."""
    every = [each for runs in found.values() for each in runs]
    known = next((figures for figures in every if "lengths" in figures), None)
    if known is None:
        return
    work = operations_per_token(told["shape"], known["lengths"], known["read"], full=told["full"])
    for figures in every:  # rows that were packed with others are the same tokens
        figures["share"] = figures["tokens_per_second"] * work / told["operations_per_second"]


def tables(
    measured: dict[str, Measured], told: Mapping[str, Any], field: str = "tokens_per_second", unit: str = "tokens/s"
) -> str:
    """For each kind of rows: rate, share of the matrix rate, memory, loss, and burnish's ratio to each peer."""
    head = ["arm", unit, "of the matrix rate", "peak GiB", "in steps GiB", "first loss", "runs", "burnish is faster by"]
    shown = [f"{told['device']}: {told['operations_per_second'] / 1e12:.1f} TFLOP/s in bf16, shape {told['shape']}"]
    for kind, found in measured.items():
        if field == "tokens_per_second":
            with_shares(found, told)
        lines = []
        for arm, runs in found.items():
            rate, peak, steps = (median_of(found, arm, f) for f in (field, "peak_allocated", "steps_allocated"))
            share = f"{median_of(found, arm, 'share'):.1%}" if "share" in runs[0] else ""
            first = f"{runs[0]['losses'][0]:.4f}" if runs[0]["losses"] else ""
            cells = [arm, f"{rate:,.1f}", share, f"{peak / GIB:.1f}", f"{steps / GIB:.1f}", first]
            lines.append([*cells, len(runs), "" if arm == "burnish" else against(found, arm, field)])
        failed = [f"{arm}: {why.splitlines()[-1]}" for arm, why in told["failed"].get(kind, {}).items()]
        shown += ["", f"**{kind}**", "", table(head, lines), *failed]
    return "\n".join(shown)


def against(found: Measured, arm: str, field: str) -> str:
    """burnish's ratio to a peer, over the rounds in which both ran."""
    rounds = min(len(found.get("burnish", [])), len(found[arm]))
    both = {name: found[name][:rounds] for name in ("burnish", arm) if name in found}
    return with_range(quotients(both, "burnish", arm, field)) if rounds else ""
