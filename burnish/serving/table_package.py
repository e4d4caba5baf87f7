"""A tuned model of a table as a folder: the transformer, the trees it was compared with, and which of them answers.

model.json              how the columns are read, labels, shape of the transformer, and "uses": what answers
model.safetensors       the transformer
trees.txt               the trees, in LightGBM's own format
USE.md                  how to open the trees without burnish
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from burnish.data.table import Table
from burnish.errors import ModelError
from burnish.model.tabular import TabularShape, TabularTransformer
from burnish.model.trees import Trees, load_trees
from burnish.serving.package import DESCRIPTION
from burnish.storage.durable import MANIFEST, copy_file, published_folder, require_undamaged, write_json, write_text
from burnish.storage.tensors import load_tensors, save_tensors
from burnish.task.tabular import Tabular

Uses = Literal["transformer", "trees"]
TREES, WEIGHTS = "trees.txt", "model.safetensors"
MAX_WIDTH, MAX_LAYERS, MAX_VOCABULARY = 4_096, 128, 2**24  # no description asks for more memory than its weights need

_USE = """# Without burnish

`trees.txt` opens in plain LightGBM. Its inputs are, in this order, the numbers of `table.numbers` in model.json, and
for each of `table.categories` the place of the value in `values` plus 2, 1 where it is missing, 0 where it is none of
them.

```python
import json, pathlib
import lightgbm
about = json.loads(pathlib.Path("final/model.json").read_text("utf-8"))
trees = lightgbm.Booster(model_file="final/trees.txt")
inputs = [len(about["table"][kind]) for kind in ("numbers", "categories")]
print(trees.predict([[0.0] * sum(inputs)]), about["labels"])
```
"""


@dataclass(slots=True)
class PackagedTableModel:
    """A model of a table as loaded from its folder."""

    task: Tabular
    model: TabularTransformer
    trees: Trees
    description: Mapping[str, Any]

    @property
    def uses(self) -> Uses:
        """Which of the two answers."""
        return "trees" if self.description["uses"] == "trees" else "transformer"


def save_table_model(
    target: Path,
    task: Tabular,
    model: TabularTransformer,
    trees: Trees,
    *,
    settings: Mapping[str, Any],
    uses: Uses,
    calibration: Mapping[str, Any] | None = None,
) -> None:
    """Publishes both models as `target`, complete with a manifest of its files.

    Args:
        settings: of the trees, as they were chosen.
        calibration: the temperature of each of the two, where they give probabilities.
    """
    description = {
        "format": 1,
        "task": task.name,
        "labels": list(task.labels),
        "uses": uses,
        "table": task.table.as_dict(),
        "centre": task.centre,
        "spread": task.spread,
        "shape": asdict(model.shape),
        "trees": dict(settings),
        **({"calibration": dict(calibration)} if calibration else {}),
    }
    with published_folder(target) as folder:
        save_tensors(folder / WEIGHTS, model.state_dict())
        write_text(folder / TREES, trees.text)
        write_json(folder / DESCRIPTION, description)
        write_text(folder / "USE.md", _USE)


def use(target: Path, uses: Uses) -> None:
    """Lets the other model of a published folder answer."""
    description = json.loads((target / DESCRIPTION).read_text(encoding="utf-8"))
    if description["uses"] == uses:
        return
    with published_folder(target) as folder:
        for path in sorted(target.iterdir()):
            if path.name not in (DESCRIPTION, MANIFEST):
                copy_file(path, folder / path.name)
        write_json(folder / DESCRIPTION, description | {"uses": uses})


def load_table_model(folder: Path) -> PackagedTableModel:
    """Opens a model of a table; every byte is checked against its manifest first.

    Raises:
        DamagedStoreError: [storage/damaged].
        ModelError: [model/bad-file] when a file is not what burnish writes there.
        UsageError: [model/not-installed] without LightGBM.
    """
    require_undamaged(folder)
    where = str(folder / DESCRIPTION)
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    try:
        task = _task(description, where)
        model = TabularTransformer(_shape(description["shape"], task))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("model/bad-file", f"not what burnish writes here: {error!r}", where=where) from error
    try:
        model.load_state_dict(load_tensors(folder / WEIGHTS))
    except RuntimeError as error:
        raise ModelError(
            "model/bad-file", "the weights are not of the shape that model.json says", where=str(folder / WEIGHTS)
        ) from error
    inputs = len(task.table.numbers) + len(task.table.categories)
    trees = load_trees(folder / TREES, inputs=inputs, outputs=len(task.labels) if len(task.labels) > 2 else 1)
    return PackagedTableModel(task, model.eval(), trees, description)


def _task(description: Mapping[str, Any], where: str) -> Tabular:
    return Tabular(
        Table.from_dict(description["table"], where),
        [str(label) for label in description["labels"]],
        centre=float(description["centre"]),
        spread=float(description["spread"]),
    )


def _shape(content: Mapping[str, Any], task: Tabular) -> TabularShape:
    """The shape a description names.

    Raises:
        ValueError: when it is not one of this task, or larger than anybody needs.
    """
    shape = TabularShape(**content)
    own = task.shape()
    fits = (shape.vocabulary, shape.numbers, shape.outputs) == (own.vocabulary, own.numbers, own.outputs)
    if not fits or shape.width > MAX_WIDTH or shape.layers > MAX_LAYERS or shape.vocabulary > MAX_VOCABULARY:
        raise ValueError("the shape of the transformer does not fit its table")
    return shape


def named(labels: Sequence[str], probabilities: Sequence[float]) -> dict[str, float]:
    """The probability of each label by its name."""
    return {label: float(share) for label, share in zip(labels, probabilities, strict=True)}
