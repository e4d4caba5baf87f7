"""`burnish export`: the model of a run in the form another program opens."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

MEBIBYTE = 2**20


def arguments(command: Callable[[str, str, str], argparse.ArgumentParser]) -> None:
    export = command(
        "export", "write a model for another program, proven equal to the trained one", "burnish export RUN --to onnx"
    )
    export.add_argument("run", metavar="RUN", help="id, unique beginning of an id, or folder")
    export.add_argument("--to", metavar="FORM", required=True, help="merged, adapter, onnx, gguf, ollama or vllm")
    export.add_argument("--output", metavar="DIR", help="a new folder (default: exports/FORM in the run's)")
    export.add_argument(
        "--quantize",
        metavar="Q",
        help="int8 (onnx) or q8_0 (gguf, ollama): kept only while the metric stays within its interval",
    )
    export.add_argument("--rows", metavar="N", type=int, help="test rows that are compared, at most (default: 100)")
    export.add_argument(
        "--use",
        choices=("commercial", "research", "redistribution"),
        help="what it is for, which the license of the base has to allow (default: the recipe's)",
    )


def run(options: argparse.Namespace) -> int:
    from burnish.cli.progress import TerminalProgress
    from burnish.lifecycle.export import export

    found = export(
        options.run,
        options.to,
        output=options.output,
        quantize=options.quantize,
        rows=options.rows,
        use=options.use,
        progress=TerminalProgress(),
    )
    print(json.dumps(found, ensure_ascii=False) if options.json else show_export(found))
    return 0


def show_export(found: Mapping[str, Any]) -> str:
    """The answer, what it rests on, and where the folder is."""
    from burnish.cli.show import coloured
    from burnish.evaluation import wording

    agreed, metric, seconds = found["agreement"], found["metric"], found["seconds_per_row"]
    name = found["kind"] if found["quantize"] is None else f"{found['kind']} {found['quantize']}"
    lines = [
        f"{coloured(found['answer'].upper(), '32')}  {name}, opened by {found['runtime']}",
        f"  largest difference {agreed['largest_difference']:.2g} {agreed['unit']} over "
        f"{wording.count(agreed['rows'], 'rows')} (rounding: {agreed['tolerance']:.2g}); "
        f"{agreed['equal_answers']:,} answers the same",
    ]
    if whole := found["agreement_of_whole_weights"]:
        lines.append(
            f"  with weights in float32 {whole['equal_answers']:,} of {whole['rows']:,} answers are the same, and the "
            f"largest difference is {whole['largest_difference']:.2g} {whole['unit']}: the rest is rounding"
        )
    if metric is not None:
        before, after = (wording.figure(metric["name"], metric[side]["value"]) for side in ("before", "after"))
        span = wording.interval(metric["name"], metric["before"])
        lines.append(f"  {wording.metric_title(metric['name'])} {before} before ({span}), {after} after")
    lines.append(
        f"  a row takes {seconds['exported'] * 1e3:.2f} ms, the trained model {seconds['trained'] * 1e3:.2f} ms"
    )
    if found["not_run"]:
        lines.append(f"  {found['not_run']}")
    lines += [f"  license: {each}" for each in found["obligations"]]
    lines.append(f"\nfolder  {found['folder']}  {found['bytes'] / MEBIBYTE:.1f} MiB")
    return "\n".join(lines)
