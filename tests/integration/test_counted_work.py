"""How much is computed and loaded, counted and never timed: these numbers may fall and must not grow.

A number that falls is written down here, so that it does not come back. Shapes as in `burnish.engine.layout`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode

from burnish.data import remembered
from burnish.engine import layout_choice
from burnish.engine.layout import LaidOut, LayoutChoice
from burnish.engine.layout_choice import choose_layout
from burnish.engine.precision import Precision
from burnish.engine.predict import predict_rows
from burnish.engine.sampler import epoch_batches
from burnish.lifecycle import workbench
from burnish.lifecycle.train import train
from burnish.model.bert import Bert
from burnish.model.pooled import LinearHead, PooledEncoder
from burnish.types import Encoded, Silent

CPU = torch.device("cpu")
PADDED = LayoutChoice(True, 0, "")
ROWS, BATCH = 1_024, 32

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def rows(make_rows: Make) -> list[Encoded]:
    """Rows as long as short messages are: many short ones, few long ones; mean 15 tokens, at most 64."""
    lengths = np.random.default_rng(0).lognormal(mean=2.6, sigma=0.6, size=ROWS).astype(int).clip(3, 64)
    found: list[Encoded] = make_rows(lengths.tolist())
    return found


class Work(TorchFunctionMode):
    """Counts (query, key) pairs that attention computes for one head, and tokens and rows through parts of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = 0
        self.entered: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            query, key = args[0], args[1]
            self.pairs += query.shape[0] * query.shape[2] * key.shape[2]
        return func(*args, **(kwargs or {}))


@contextmanager
def counted(model: Any) -> Iterator[Work]:
    """Inside the block, the vectors that enter the feed-forward part of each layer, and the head, are counted."""
    work = Work()
    parts = {f"layer {i}": layer.intermediate for i, layer in enumerate(model.encoder.encoder.layer)}
    parts["head"] = model.head

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            work.entered[name] += inputs[0].numel() // inputs[0].shape[-1]

        return hook

    hooks = [part.register_forward_pre_hook(note(name)) for name, part in parts.items()]
    try:
        with work:
            yield work
    finally:
        for hook in hooks:
            hook.remove()


def learned_once(model: Any, rows: Sequence[Encoded], layout: LayoutChoice) -> Work:
    """The work of one forward pass over all rows in the batches of an epoch."""
    lengths = [row.length for row in rows]
    with counted(model) as work, torch.no_grad():
        for ids in epoch_batches(lengths, batch_size=BATCH, seed=0, epoch=0):
            model(LaidOut([rows[i] for i in ids], ids, padded=layout.padded, device=CPU))
    return work


def predicted(task: Any, model: Any, rows: Sequence[Encoded], layout: LayoutChoice) -> Work:
    with counted(model) as work:
        predict_rows(task, model, rows, layout=layout, precision=Precision("fp32", ""), device=CPU)
    return work


def tokens_of(rows: Sequence[Encoded]) -> int:
    return sum(row.length for row in rows)


def pairs_of(rows: Sequence[Encoded], layers: int) -> int:
    """(query, key) pairs that attention needs: each token with those of its own segment."""
    return layers * sum(row.length**2 for row in rows)


def test_concatenated_rows_have_no_padding(make_classifier: Make, rows: list[Encoded]) -> None:
    task, model = make_classifier()
    layout = choose_layout(model.encoder, rows, device=CPU)
    assert not layout.padded
    for work in (learned_once(model, rows, layout), predicted(task, model, rows, layout)):
        assert work.entered["layer 0"] == tokens_of(rows)
        assert work.entered["layer 1"] == tokens_of(rows)


def test_the_last_layer_sees_one_token_of_a_row_where_the_head_reads_one(
    make_base: Make, make_classifier: Make, rows: list[Encoded]
) -> None:
    task, model = make_classifier(make_base(pooling="first"))
    layout = choose_layout(model.encoder, rows, device=CPU)
    for work in (learned_once(model, rows, layout), predicted(task, model, rows, layout)):
        assert work.entered["layer 0"] == tokens_of(rows)
        assert work.entered["layer 1"] == len(rows)


def test_attention_computes_at_most_a_quarter_more_than_concatenated_rows_need(
    make_classifier: Make, rows: list[Encoded]
) -> None:
    task, model = make_classifier()
    layout = choose_layout(model.encoder, rows, device=CPU)
    needed = pairs_of(rows, layers=2)
    assert 1 <= learned_once(model, rows, layout).pairs / needed <= 1.24
    assert 1 <= predicted(task, model, rows, layout).pairs / needed <= 1.13


def test_padding_of_models_that_need_it_is_bounded(make_classifier: Make, rows: list[Encoded]) -> None:
    task, model = make_classifier()
    assert 0 <= learned_once(model, rows, PADDED).entered["layer 0"] / tokens_of(rows) - 1 <= 0.31
    assert 0 <= predicted(task, model, rows, PADDED).entered["layer 0"] / tokens_of(rows) - 1 <= 0.40


@pytest.mark.parametrize("padded", [False, True])
def test_the_head_sees_rows_and_not_tokens(make_classifier: Make, rows: list[Encoded], padded: bool) -> None:
    task, model = make_classifier()
    layout = PADDED if padded else choose_layout(model.encoder, rows, device=CPU)
    assert learned_once(model, rows, layout).entered["head"] == len(rows)
    assert predicted(task, model, rows, layout).entered["head"] == len(rows)


class Phases(Silent):
    """Counts the rows that go through base and head while a run trains, and around it."""

    def __init__(self) -> None:
        self.phase = "around"
        self.rows: Counter[str] = Counter()
        self.passes: Counter[str] = Counter()  # of the encoder, in evaluations
        self.evaluations = 0

    def stage(self, name: str) -> None:
        self.phase = "training" if name.startswith("training") else "around"

    def note(self, text: str) -> None:
        self.evaluations += "validation loss" in text

    def see(self, module: nn.Module, _: Any, output: Any) -> None:
        """A forward hook of all modules."""
        if isinstance(module, Bert):
            self.passes[self.phase] += torch.is_inference_mode_enabled()
        if isinstance(module, (PooledEncoder, LinearHead)):
            part = "head" if isinstance(module, LinearHead) else "base"
            how = "learned" if module.training else "tested" if torch.is_grad_enabled() else "predicted"
            self.rows[f"{self.phase}: {how} by the {part}"] += len(output)


@pytest.fixture(scope="module")
def phases(toy: Path, quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Phases:
    """A whole run on 126 training, 27 validation and 27 test rows: 3 epochs, each with an evaluation."""
    found = Phases()
    hook = register_module_forward_hook(found.see)
    try:
        train(
            toy, output=tmp_path_factory.mktemp("run") / "run", overrides=[*quick, "training.epochs=3"], progress=found
        )
    finally:
        hook.remove()
    assert found.evaluations == 3
    return found


EPOCHS, TRAIN, VALIDATION, TEST = 3, 126, 27, 27
VALIDATIONS = EPOCHS * VALIDATION
SELF_TEST = 5 * 4  # four rows in five arrangements
SPELLINGS = 4
REHEARSED = 16  # one micro-batch, for its memory
PACKED = 2 * 4  # four rows before and behind the packing of weights, once for a model that only predicts


def test_each_row_is_learned_once_per_epoch_and_each_validation_row_is_seen(phases: Phases) -> None:
    for part in ("base", "head"):
        assert phases.rows[f"training: learned by the {part}"] - EPOCHS * TRAIN in range(1, REHEARSED + 1)
        assert phases.rows[f"training: predicted by the {part}"] >= VALIDATIONS


@pytest.mark.parametrize(
    ("what", "at_most"),
    [
        ("training: tested by the base", SELF_TEST),
        ("training: predicted by the base", 2 * VALIDATIONS),  # for metric and loss; the encoder runs once, see below
        ("training: predicted by the head", 2 * VALIDATIONS),
        # The frozen base gives vectors of all rows, twice of those the head starts from; the tuned one is judged on the
        # test rows, which are spelt in four other ways too, and tells of validation.
        (
            "around: predicted by the base",
            (2 * TRAIN + VALIDATION + TEST) + (TEST + VALIDATION) + SPELLINGS * TEST + PACKED,
        ),
        ("around: predicted by the head", TEST + VALIDATION + SPELLINGS * TEST + PACKED),
        ("around: learned by the base", 0),
        ("around: tested by the base", 0),
    ],
)
def test_rows_of_a_run_that_go_through_the_model(phases: Phases, what: str, at_most: int) -> None:
    assert phases.rows[what] <= at_most


def test_an_evaluation_is_one_pass_of_the_encoder(phases: Phases) -> None:
    """All validation rows fit into one batch; metric and loss read the same hidden states."""
    assert phases.passes["training"] == EPOCHS


IMPORTED = """
import json, sys
before = set(sys.modules)
from burnish.cli.main import main
try:
    main({arguments!r})
except SystemExit:
    pass
print("\\n" + json.dumps(sorted(set(sys.modules) - before)))
"""
WATCHED = {"accelerate", "numpy", "pandas", "peft", "psutil", "pydantic", "pydantic_settings", "ruamel", "scipy"}
WATCHED |= {"safetensors", "sklearn", "tokenizers", "torch", "transformers"}
RECIPE_READING = {"pydantic", "pydantic_settings", "ruamel"}
NUMBERS = {"numpy", "psutil"}


@pytest.mark.parametrize(
    ("arguments", "heavy", "others"),
    [
        (["--help"], set(), 35),
        (["train", "--help"], set(), 35),
        (["runs"], RECIPE_READING, 290),
        (["check", "DATA"], RECIPE_READING | NUMBERS, 1_400),
        (["init", "DATA", "--output", "recipe.yaml"], RECIPE_READING | NUMBERS, 1_400),
    ],
)
def test_modules_that_a_command_imports(
    toy: Path, tmp_path: Path, arguments: list[str], heavy: set[str], others: int
) -> None:
    """`others` are not burnish's own: counted with Python 3.11 and constraints.txt, a few more allowed."""
    script = IMPORTED.format(arguments=[str(toy) if part == "DATA" else part for part in arguments])
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout.splitlines()[-1])
    libraries = [name.split(".")[0] for name in modules]
    assert set(libraries) & WATCHED <= heavy
    assert sum(library != "burnish" for library in libraries) <= others


LEARNING = """
import json, pathlib, sys
before = set(sys.modules)
from burnish.lifecycle.train import train
from burnish.types import Silent

class Steps(Silent):
    def advance(self, done, total, figures):
        if "loss" in figures:
            assert not list(pathlib.Path("run").glob("samples*")), "the base under an adapter is asked later"
            print("\\n" + json.dumps(sorted(set(sys.modules) - before)))

overrides = ["model.base={base}", "method={method}", "training.max_steps=1"]
train({data!r}, overrides=overrides, output="run", progress=Steps())
"""


def imported_by_a_step(data: Path, base: Path, method: str, work: Path) -> list[str]:
    script = LEARNING.format(base=base, data=str(data), method=method)
    done = subprocess.run([sys.executable, "-c", script], cwd=work, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[")))
    return found


def test_modules_that_the_first_step_of_lora_needs(chats: Path, language_base: Path, tmp_path: Path) -> None:
    """transformers and peft, and not what they import because it is there: torch's backend for compiled kernels,
    bitsandbytes, a client of a cloud."""
    modules = imported_by_a_step(chats, language_base, "lora", tmp_path)
    unasked = {"bitsandbytes.nn", "boto3.session", "botocore", "networkx", "sklearn"}
    assert not (unasked | {"torch._inductor.compile_fx"}).intersection(modules)
    assert sum(not name.startswith("burnish") for name in modules) <= 3_300


def test_modules_that_the_first_step_needs(toy: Path, sentence_base: Path, tmp_path: Path) -> None:
    """No transformers, whose import is longer than torch's, not torch's compiler, and nothing of the verdict.

    They would lie beside the weights, and are seconds before the first step.
    """
    modules = imported_by_a_step(toy, sentence_base, "full", tmp_path)
    libraries = [name.split(".")[0] for name in modules]
    needed = {"numpy", "psutil", "pydantic", "pydantic_settings", "ruamel", "safetensors", "tokenizers", "torch"}
    assert set(libraries) & (WATCHED | {"pyarrow", "sympy"}) == needed
    assert not {"torch._dynamo", "torch._inductor", "torch.distributed.tensor"} & set(modules)
    assert sum(library != "burnish" for library in libraries) <= 1_480


def test_rows_are_prepared_and_layouts_compared_once_for_the_jobs_of_a_process(
    toy: Path, quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: list[str] = []

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, **named: work.append(name) or real(*given, **named))

    counted(remembered, "prepare")
    counted(remembered, "inspect_source")
    counted(layout_choice, "_compared")
    counted(workbench, "check_invariants")
    monkeypatch.setattr(remembered, "_known", OrderedDict())
    monkeypatch.setattr(layout_choice, "_COMPARED", {})
    monkeypatch.setattr(workbench, "_PROVEN", {})
    data = tmp_path / "rows.csv"
    data.write_bytes(toy.read_bytes())
    for job in range(2):
        train(data, output=tmp_path / f"run-{job}", overrides=[*quick, "training.max_steps=1"])
        if job == 0:
            first = sorted(work)
            work.clear()
    assert first == ["_compared", "_compared", "check_invariants", "inspect_source", "prepare"]
    assert work == ["_compared"]  # of the tuned model, whose weights are new


MANY_SIZES = """
import burnish.model, torch, psutil
torch.set_num_threads(1)
weight, states = torch.randn(1536, 384, dtype=torch.bfloat16), torch.randn(420, 384, dtype=torch.bfloat16)
def products(sizes):
    for size in sizes:
        torch.mm(states[:size], weight.t())
    return psutil.Process().memory_info().rss
print(-products(range(1, 100)) + products(range(100, 420)))
"""


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("avx512_bf16"), reason="this CPU has no bf16")
def test_products_of_many_sizes_keep_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", MANY_SIZES], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 80 * 2**20  # 220 MB where each size is kept
