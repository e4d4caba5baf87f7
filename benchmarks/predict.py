"""How fast does a tuned classifier label texts, and does it give the same labels, against what else can run it?

    python benchmarks/predict.py --pairs 5

MiniLM tuned by burnish for one pass over rows of banking77, then all 3,080 test texts: texts in, labels out,
tokenising included, after a warm-up on 64 of them. All arms run the same weights. Peers:

    pipeline           transformers' pipeline as it comes, one text at once
    pipeline-32        the same with batch_size=32
    plain-sorted       transformers' model in fp32, 32 texts at once, sorted by length
    onnx               ONNX Runtime, fp32, 32 texts at once in order of arrival
    onnx-sorted        the same, sorted by length

Labels are compared with those of the fp32 model on each text alone. They may differ only where the two best classes
are closer than the rounding of the arithmetic; the others are counted as wrong. Where the hardware has no bf16,
burnish's figures are of fp32, and the table says so. Prints a table and writes benchmarks/results/predict.json. Needs
the extras demo, dev and benchmarks.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from measuring import (
    Arm,
    Figures,
    Measured,
    Place,
    answer,
    median_of,
    parsed,
    parser,
    quotients,
    read_rows,
    report,
    rows_of,
    run_arm,
    sample_rows,
    table,
    take_turns,
    with_range,
    write_rows,
)

BATCH, WARM_UP = 32, 64  # texts at once; texts before the clock starts
MARGIN_FP32 = 1e-3  # logits: float32 sums in another order, as the tests of prediction tolerate
ROUNDING_BF16 = 2**-8  # of a number with 8 significant bits; the margin is a difference of two logits

Predict = Callable[[Sequence[str]], list[str]]


def prepare(place: Place, *, folder: str) -> Figures:
    """Tunes a model, exports it, and keeps the labels and margins of the fp32 model on each text alone."""
    import torch

    import burnish

    torch.set_num_threads(place.threads)
    settings = ["method=full", "training.epochs=1", "evaluation.resamples=100"]
    final = burnish.train(Path(folder) / "train.csv", output=Path(folder) / "run", overrides=settings).path / "final"
    from plain_final import open_plain

    model, tokenizer = open_plain(final)
    labels, margins, largest = [], [], 0.0
    with torch.inference_mode():
        for row in rows_of(Path(folder) / "test.csv"):
            logits = model(**tokenizer(row.text, truncation=True, return_tensors="pt")).logits[0]
            first, second = logits.topk(2).values.tolist()
            labels.append(model.config.id2label[int(logits.argmax())])
            margins.append(first - second)
            largest = max(largest, float(logits.abs().max()))
    _export(final, Path(folder) / "model.onnx")
    reference = {"labels": labels, "margins": margins, "largest_logit": largest}
    (Path(folder) / "reference.json").write_text(json.dumps(reference), encoding="utf-8")
    return {}


def _export(final: Path, target: Path) -> None:
    """The whole classifier as ONNX: ids and mask in, logits out, any number of rows and tokens."""
    import torch
    from plain_final import open_plain

    model, tokenizer = open_plain(final, attention="eager")  # one graph of plain products, which ONNX Runtime fuses
    batch = tokenizer(["a text", "another text, and longer"], padding=True, return_tensors="pt")
    names = ("input_ids", "attention_mask")
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids, attention_mask).logits

    torch.onnx.export(
        Logits().eval(),
        tuple(batch[name] for name in names),
        target,
        input_names=names,
        output_names=["logits"],
        dynamic_shapes=(free, free),
        dynamo=True,
        external_data=False,
    )


def burnish_arm(place: Place, *, folder: str) -> Figures:
    import burnish
    from burnish.engine.precision import choose_device, choose_precision

    run = burnish.load(Path(folder) / "run")
    precision = choose_precision("auto", choose_device()).name

    def predict(some: Sequence[str]) -> list[str]:
        return [str(row["label"]) for row in run.predict(some)]

    return _figures(place, predict, folder, precision)


def pipeline_arm(place: Place, *, folder: str, batch_size: int) -> Figures:
    from plain_final import open_plain
    from transformers import pipeline

    model, tokenizer = open_plain(Path(folder) / "run" / "final")
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, batch_size=batch_size)

    def predict(some: Sequence[str]) -> list[str]:
        return [found["label"] for found in classify(list(some), truncation=True)]

    return _figures(place, predict, folder)


def plain_arm(place: Place, *, folder: str) -> Figures:
    import torch
    from plain_final import open_plain

    model, tokenizer = open_plain(Path(folder) / "run" / "final")

    def logits_of(some: list[str]) -> Any:
        with torch.inference_mode():
            return model(**tokenizer(some, padding=True, truncation=True, return_tensors="pt")).logits

    predict = partial(_in_batches, logits_of, list(model.config.id2label.values()), sort=True)
    return _figures(place, predict, folder)


def onnx_arm(place: Place, *, folder: str, sort: bool) -> Figures:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = place.threads
    final = Path(folder) / "run" / "final"
    session = onnxruntime.InferenceSession(Path(folder) / "model.onnx", options, providers=["CPUExecutionProvider"])
    about = json.loads((final / "model.json").read_text("utf-8"))
    tokenizer = Tokenizer.from_file(str(final / "tokenizer.json"))
    tokenizer.enable_truncation(about["max_length"])
    tokenizer.enable_padding()

    def logits_of(some: list[str]) -> Any:
        encoded = tokenizer.encode_batch(some)
        ids = np.array([one.ids for one in encoded])
        mask = np.array([one.attention_mask for one in encoded])
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    return _figures(place, partial(_in_batches, logits_of, about["labels"], sort=sort), folder)


ARMS: dict[str, Arm] = {
    "burnish": burnish_arm,
    "pipeline": partial(pipeline_arm, batch_size=1),
    "pipeline-32": partial(pipeline_arm, batch_size=BATCH),
    "plain-sorted": plain_arm,
    "onnx": partial(onnx_arm, sort=False),
    "onnx-sorted": partial(onnx_arm, sort=True),
}


def _in_batches(
    logits_of: Callable[[list[str]], Any], labels: Sequence[str], texts: Sequence[str], *, sort: bool
) -> list[str]:
    """The label of each text, in order; computed shortest texts first when they are sorted."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i])) if sort else list(range(len(texts)))
    found = [""] * len(texts)
    for start in range(0, len(texts), BATCH):
        piece = order[start : start + BATCH]
        for index, best in zip(piece, logits_of([texts[i] for i in piece]).argmax(-1).tolist(), strict=True):
            found[index] = labels[best]
    return found


def _figures(place: Place, predict: Predict, folder: str, precision: str = "fp32") -> Figures:
    """Rate and memory of a prediction, and how its labels compare with the fp32 model's and the true ones."""
    import sys

    from burnish.lifecycle.environment import peak_memory_bytes

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(place.threads)
    test = rows_of(Path(folder) / "test.csv")
    texts = [row.text for row in test]
    predict(texts[:WARM_UP])
    started = time.perf_counter()
    found = predict(texts)
    seconds = time.perf_counter() - started
    peak = peak_memory_bytes()
    reference = json.loads((Path(folder) / "reference.json").read_text("utf-8"))
    tolerance = MARGIN_FP32 if precision == "fp32" else 2 * ROUNDING_BF16 * reference["largest_logit"]
    known = zip(found, reference["labels"], reference["margins"], strict=True)
    different = [margin for label, expected, margin in known if label != expected]
    return {
        "rows_per_second": len(texts) / seconds,
        "peak_memory_bytes": peak,
        "precision": precision,
        "labels_equal": 1 - len(different) / len(texts),
        "labels_wrong": sum(margin > tolerance for margin in different),  # not explained by rounding
        "accuracy": sum(label == row.label for label, row in zip(found, test, strict=True)) / len(texts),
    }


def summary(measured: Measured) -> tuple[str, dict[str, Any]]:
    """The table, and burnish's ratios to each peer, round by round."""
    ratios: dict[str, Any] = {}
    lines = []
    for arm, rounds in measured.items():
        first = rounds[0]
        rate, memory = median_of(measured, arm, "rows_per_second"), median_of(measured, arm, "peak_memory_bytes")
        cells = [f"{arm} ({first['precision']})", f"{rate:.0f}", f"{memory / 1e6:,.0f}"]
        wrong = f", {first['labels_wrong']} wrong" if first["labels_wrong"] else ""
        cells += [f"{first['labels_equal']:.2%}{wrong}", f"{first['accuracy']:.2%}", "", ""]
        if arm != "burnish":
            speed = quotients(measured, "burnish", arm, "rows_per_second")
            space = quotients(measured, "burnish", arm, "peak_memory_bytes")
            ratios[arm] = {"speed": speed, "memory": space}
            cells[5:] = [with_range(speed), with_range(space)]
        lines.append(cells)
    head = ["arm", "rows/s", "peak MB", "labels as in fp32", "accuracy", "burnish is faster by", "burnish's memory"]
    return table(head, lines), ratios


def main() -> None:
    found = parser(str(__doc__), pairs=5)
    found.add_argument("--rows", type=int, default=3000, help="training rows of the model (3000)")
    options = parsed(found)
    if answer({**ARMS, "prepare": prepare}, options):
        return
    name, train = read_rows("train")
    _, test = read_rows("test")
    chosen, _ = sample_rows(train, 400 if options.quick else options.rows, options.seed)
    test = test[:256] if options.quick else test
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "train.csv", chosen)
        write_rows(Path(folder) / "test.csv", test)
        given, threads = {"folder": folder}, options.threads
        run_arm(__file__, "prepare", given, threads=threads)
        arms = {arm: partial(run_arm, __file__, arm, given, threads=threads) for arm in ARMS}
        measured = take_turns(arms, options.pairs)
    shown, ratios = summary(measured)
    report(__file__, options, shown, {"data": name, "n": len(test), "measured": measured, "ratios": ratios})


if __name__ == "__main__":
    main()
