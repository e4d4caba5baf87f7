"""Does each form answer as the trained model does, how large is it, and how long does a row take?

    python benchmarks/export.py                     # or: --only texts

Small runs on real rows, one for each task that has a form: see export_cases.py. Every form that exists for each is
exported on at most 100 test rows, 2,000 where weights go into eight bits. Prints a table and writes
benchmarks/results/export.json; a case that is measured alone takes the place of its own lines there. Needs the extras
demo, onnx and gguf, and the public data sets in ../shared.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from export_cases import CASES
from measuring import RESULTS, table

import burnish
from burnish.lifecycle.environment import describe_environment
from burnish.serving.table_package import use

SEED, THREADS = 13, 1


def measured(name: str) -> list[dict[str, Any]]:
    """Every form of a case; one that is refused says why."""
    found = []
    with tempfile.TemporaryDirectory() as work:
        data, overrides, forms = CASES[name](Path(work))
        quick = [f"training.threads={THREADS}", "evaluation.resamples=1000", "evaluation.max_prompts=40"]
        run = burnish.train(data, overrides=[*overrides, *quick], seed=SEED, output=Path(work) / "run")
        if name == "tables":  # there the trees answer; what is measured is the transformer beside them
            use(run.folder.final, "transformer")
        for form, bits in forms:
            line: dict[str, Any] = {"case": name, "form": form, "quantize": bits}
            try:
                made = burnish.export(run.path, to=form, quantize=bits)
                kept = ("answer", "runtime", "agreement", "metric", "bytes", "seconds_per_row", "not_run")
                line |= {key: made[key] for key in kept}
            except burnish.BurnishError as error:
                line |= {"answer": "refused", "error": {"code": error.code, "message": error.message}}
            found.append(line)
    return found


def shown(line: dict[str, Any]) -> list[object]:
    name = line["form"] if line["quantize"] is None else f"{line['form']} {line['quantize']}"
    if line["answer"] == "refused":
        return [line["case"], name, "refused", line["error"]["message"], "", "", ""]
    agreed, metric, seconds = line["agreement"], line["metric"], line["seconds_per_row"]
    before_after = (
        "" if metric is None else f"{metric['name']} {_span(metric['before'])} → {metric['after']['value']:.3f}"
    )
    return [
        *(line["case"], name, line["answer"]),
        f"{agreed['largest_difference']:.1e} {agreed['unit']}, {agreed['equal_answers']} of {agreed['rows']} the same",
        *(
            before_after,
            f"{line['bytes'] / 1e6:.1f} MB",
            f"{seconds['trained'] * 1e3:.1f} → {seconds['exported'] * 1e3:.1f} ms",
        ),
    ]


def _span(value: dict[str, Any]) -> str:
    span = "" if value["low"] is None else f" ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value['value']:.3f}{span}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(CASES), action="append")
    chosen = parser.parse_args().only or list(CASES)
    path = RESULTS / "export.json"
    for name in chosen:
        lines = measured(name)
        known = json.loads(path.read_text(encoding="utf-8"))["lines"] if path.is_file() else []
        known = [line for line in known if line["case"] != name] + lines
        ordered = sorted(known, key=lambda line: list(CASES).index(line["case"]))
        load = os.getloadavg()[0]
        content = {"environment": {**describe_environment(), "load": load}, "seed": SEED, "threads": THREADS}
        path.write_text(json.dumps({**content, "lines": ordered}, indent=1) + "\n", encoding="utf-8")
    head = ("case", "form", "answer", "largest difference", "metric before → after", "size", "a row before → after")
    print(table(head, [shown(line) for line in ordered]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
