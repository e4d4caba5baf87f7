"""What does tuning a small image model bring, beside a probe on its frozen features and beside pixels alone?

    python benchmarks/images.py [--sets bccd_cells fashion_mnist_900 pneumoniamnist] [--epochs N]

The base is mobilenetv1-025-96-vww (219,085 weights, trained to tell whether a person is in the picture), the sets are
those of ../shared/data: blood cells under a microscope, clothes, and X-rays of the chest with nine sick children for
each healthy one, which are also learned with class weights. Test sets are the publishers' own. Prints a table, one line
per run, with 95 % intervals, and writes benchmarks/results/images.json. One seed: sizes, not ranks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, ROOT, table
from PIL import Image

import burnish
from burnish.lifecycle.environment import describe_environment

SHARED = ROOT.parent / "shared"
BASE = SHARED / "models" / "mobilenetv1-025-96-vww"
ZIPS = ("bccd_cells", "fashion_mnist_900")
XRAYS = "pneumoniamnist"


def unpacked(name: str, folder: Path) -> Path:
    """The images of a set as a folder with a folder per part and class."""
    if name in ZIPS:
        with zipfile.ZipFile(SHARED / "data" / name / f"{name}.zip") as archive:
            archive.extractall(folder / name)
        return folder / name
    arrays = np.load(SHARED / "data" / name / f"{name}.npz", allow_pickle=False)
    for part in ("train", "val", "test"):
        pairs = zip(arrays[f"{part}_images"], arrays[f"{part}_labels"].ravel(), strict=True)
        for index, (image, label) in enumerate(pairs):
            path = folder / name / part / ("pneumonia" if label else "normal") / f"{index:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return folder / name


def measured(data: Path, output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The figures of one run: every arm, the verdict, recall of the rarest class, seconds."""
    overrides = [f"model.base={BASE}", "training.threads=1", *(f"{name}={value}" for name, value in settings.items())]
    run = burnish.train(data, overrides=overrides, output=output)
    evaluation, manifest = run.evaluation, run.folder.manifest()
    counts = manifest["data"]["labels"]["train"]
    rarest = min(counts, key=lambda label: (counts[label], label))
    return {
        "set": data.name,
        "settings": settings,
        "rows": manifest["data"]["splits"],
        "models": evaluation["models"],
        "verdict": evaluation["verdict"],
        "rarest": {"label": rarest, **evaluation["classes"][rarest]["recall"]},
        "epochs": manifest["training"]["epochs"],
        "training_seconds": manifest["training"]["training_seconds"],
        "seconds": manifest["training"]["seconds"],
    }


def line(found: dict[str, Any]) -> list[str]:
    """One run as a row of the table; shares in %."""
    metric = found["verdict"]["metric"]

    def share(entry: dict[str, Any]) -> str:
        return f"{100 * entry['value']:.1f} [{100 * entry['low']:.1f}, {100 * entry['high']:.1f}]"

    models, rarest = found["models"], found["rarest"]
    arms = [share(models[arm][metric]) for arm in ("tuned", "base-probe", "pixels")]
    settings = ", ".join(str(value) for value in found["settings"].values())
    what = f"{found['verdict']['answer']} than {found['verdict']['against']}"
    recall = f"{rarest['label']} {share(rarest)}"
    return [found["set"], settings, metric, *arms, recall, what, f"{found['training_seconds'] / 60:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=[*ZIPS, XRAYS], choices=[*ZIPS, XRAYS])
    parser.add_argument("--epochs", type=int, help="passes over the images; default: burnish's own")
    options = parser.parse_args()
    passes = {"training.epochs": options.epochs} if options.epochs else {}
    path = RESULTS / "images.json"
    results = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
    with tempfile.TemporaryDirectory() as work:
        for name in options.sets:
            results = [found for found in results if found["set"] != name]
            data = unpacked(name, Path(work))
            ways: list[dict[str, Any]] = [{"method": "full", **passes}]
            if name == XRAYS:
                ways.append({"method": "full", **passes, "data.balance": "weights"})
            for number, settings in enumerate(ways):
                results.append(measured(data, Path(work) / f"{name}-{number}", settings))
                about = {"environment": describe_environment(), "base": BASE.name, "seed": 13}
                path.write_text(json.dumps({**about, "runs": results}, indent=1) + "\n", encoding="utf-8")
    heads = ["set", "settings", "metric", "tuned", "base-probe", "pixels", "recall of the rarest", "verdict", "minutes"]
    print(table(heads, [line(found) for found in results]))


if __name__ == "__main__":
    main()
