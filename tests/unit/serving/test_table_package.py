"""The folder of a table's model: both models come back, and one of them answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from burnish.data.options import TableOptions
from burnish.data.table_columns import fit_table
from burnish.errors import DamagedStoreError, DataProblemError, ModelError
from burnish.method.trees import choose_trees
from burnish.model.tabular import TabularTransformer
from burnish.serving.table_package import load_table_model, save_table_model, use
from burnish.serving.table_predict import TablePredictor
from burnish.storage.durable import MANIFEST, published_folder, write_json
from burnish.task.tabular import Tabular

ROWS = [{"features": {"x": str(i % 10), "plan": "ab"[i % 2]}} for i in range(60)]
LABELS = ("no", "yes")


@pytest.fixture
def final(tmp_path: Path) -> Path:
    """A transformer of random weights and a few trees, the transformer in use."""
    torch.manual_seed(0)
    table = fit_table([row["features"] for row in ROWS], TableOptions())
    task = Tabular(table, LABELS)
    features = [row["features"] for row in ROWS]
    inputs = np.concatenate([table.number_cells(features), table.category_ids(features)], axis=1)
    targets = np.array([i % 10 > 4 for i in range(60)], dtype=int)
    options: dict[str, Any] = {"classes": 2, "categorical": [1], "seed": 1, "threads": 1}
    fitted = choose_trees(inputs, targets, inputs, 1 - targets, lambda _: 0.0, **options)
    save_table_model(
        tmp_path / "final",
        task,
        TabularTransformer(task.shape()),
        fitted.trees,
        settings=fitted.settings,
        uses="transformer",
    )
    return tmp_path / "final"


def test_both_models_come_back(final: Path) -> None:
    first, again = load_table_model(final), load_table_model(final)
    assert first.uses == "transformer"
    assert first.task.table == again.task.table
    assert first.task.labels == LABELS
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name])
    assert "Without burnish" in (final / "USE.md").read_text(encoding="utf-8")


def test_the_other_model_can_be_put_to_use(final: Path) -> None:
    transformer = TablePredictor(final).predict([row["features"] for row in ROWS])
    use(final, "trees")
    predictor = TablePredictor(final)
    trees = predictor.predict([row["features"] for row in ROWS])
    assert predictor.uses == "trees"
    assert trees != transformer
    assert [tuple(row["probabilities"].values()) for row in trees] == predictor.answers(ROWS, "trees")
    use(final, "trees")  # again changes nothing
    assert load_table_model(final).uses == "trees"


def test_the_script_of_use_md_runs(
    final: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (final / "USE.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(final.parent)
    exec(script, {})
    assert "['no', 'yes']" in capsys.readouterr().out


def test_changed_bytes_are_found_before_anything_is_read(final: Path) -> None:
    weights = final / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(DamagedStoreError) as caught:
        load_table_model(final)
    assert caught.value.code == "storage/damaged"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"shape": {"vocabulary": 10**12, "numbers": 1, "outputs": 2}}, "model.json"),
        ({"shape": {"vocabulary": 7, "numbers": 1, "outputs": 2, "width": 10**6}}, "model.json"),
        ({"shape": {"vocabulary": 7, "numbers": 1, "outputs": 2, "width": 32}}, "model.safetensors"),
        ({"table": {}}, "model.json"),
        ({"labels": ["no", "maybe", "yes"]}, "model.json"),
        ({"shape": {"depth": 3}}, "model.json"),
        ({"centre": "far"}, "model.json"),
        ({"labels": 3}, "model.json"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(final: Path, change: dict[str, Any], where: str) -> None:
    description = json.loads((final / "model.json").read_text(encoding="utf-8")) | change
    files = {path.name: path.read_bytes() for path in final.iterdir() if path.name != MANIFEST}
    with published_folder(final) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        write_json(folder / "model.json", description)
    with pytest.raises(ModelError) as caught:
        load_table_model(final)
    assert caught.value.code == "model/bad-file"
    assert str(caught.value.where).endswith(where)


def test_rows_are_rows(final: Path) -> None:
    predictor = TablePredictor(final)
    assert predictor.predict([]) == []
    with pytest.raises(DataProblemError) as caught:
        predictor.predict([{"x": 1, "plan": "a"}, "a"])
    assert (caught.value.code, caught.value.where) == ("predict/bad-row", "item 2")
    assert '"a" is not a row of a table' in caught.value.message
    with pytest.raises(DataProblemError) as caught:
        predictor.predict([{"x": 1}])
    assert caught.value.code == "predict/unknown-column"
    assert caught.value.known == ("x",)
    assert caught.value.hint == "the model reads: x, plan"
    assert len(predictor.predict([{"x": 1}, {"plan": "a"}])) == 2  # each lacks a cell, none a column
