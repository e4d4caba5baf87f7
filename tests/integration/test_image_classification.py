"""Images from a folder to the verdict: every method, going on after a pause, prediction, report, and refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import BurnishError
from burnish.lifecycle.init import write_recipe
from burnish.lifecycle.judge import evaluate_run
from burnish.lifecycle.run import Run
from burnish.lifecycle.train import train
from burnish.recipe.read import read_recipe
from burnish.settings import settings
from burnish.types import Silent

MakeBase = Callable[..., Path]
EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = (
    "training.epochs=4",
    "training.threads=1",
    "training.learning_rate=0.01",
    "training.layer_decay=1",
    "training.average_decay=0",
    "training.global_batch_size=16",
    "training.log_every_steps=1",
    "evaluation.resamples=200",
)


@pytest.fixture(scope="module")
def trained(image_base: Path, image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    made: dict[str, Run] = {}

    def make(method: str) -> Run:
        if method not in made:
            quick = QUICK if method != "head" else (QUICK[1], QUICK[-1])
            overrides = [*quick, f"model.base={image_base}", f"method={method}"]
            made[method] = train(image_folder, overrides=overrides, output=tmp_path_factory.mktemp("runs") / "run")
        return made[method]

    return make


@pytest.mark.parametrize("method", ["head", "lora", "freeze", "full"])
def test_a_run_learns_what_the_images_show(trained: Callable[[str], Run], method: str) -> None:
    run = trained(method)
    evaluation = run.evaluation
    assert (run.status, evaluation["task"], evaluation["metric"]) == ("finished", "image-classification", "accuracy")
    assert set(evaluation["models"]) == {"tuned", "majority", "pixels", "base-centroid", "base-probe"}
    assert evaluation["models"]["tuned"]["accuracy"]["value"] > 0.8, "one colour is brighter: easy"
    rows = run.folder.rows(run.folder.predictions)
    assert {"image", "label", "prediction", "probability", "arms"} <= rows[0].keys()
    assert "pixels" not in rows[0]


def test_predictions_are_those_of_the_verdict(trained: Callable[[str], Run]) -> None:
    run = trained("full")
    rows = run.folder.rows(run.folder.predictions)
    said = run.predict([row["image"] for row in rows])
    assert [row["label"] for row in said] == [row["prediction"] for row in rows]
    assert said[0]["image"] == rows[0]["image"]


def test_the_report_shows_pictures_of_every_class(trained: Callable[[str], Run]) -> None:
    run = trained("full")
    pictures = json.loads((run.path / "pictures.json").read_text(encoding="utf-8"))
    assert list(pictures["classes"]) == ["blue", "green", "red"]
    page = run.report.read_text(encoding="utf-8")
    assert page.count("<img ") >= 24
    assert "your-image.jpg" in (run.path / "card.md").read_text(encoding="utf-8")


def test_it_is_judged_again_and_on_other_images(
    trained: Callable[[str], Run], write_images: Callable[..., Path]
) -> None:
    run = trained("head")
    first = run.evaluation
    again = evaluate_run(run.folder, data=None, runs=settings().runs, progress=Silent())
    assert again["models"]["tuned"] == first["models"]["tuned"]
    other = write_images(30, seed=5)
    judged = evaluate_run(run.folder, data=str(other), runs=settings().runs, progress=Silent())
    assert (judged["n"], judged["split"]) == (30, str(other))


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_a_run_that_was_cut_goes_on_with_the_same_bits(
    family: str,
    make_image_base: MakeBase,
    image_folder: Path,
    tmp_path: Path,
    metrics_of: Callable[[Path], list[dict[str, Any]]],
    weights_of: Callable[[Path], dict[str, bytes]],
) -> None:
    """The batch norms of a resnet take the statistics of the training images again, and the same ones."""
    overrides = [*QUICK, f"model.base={make_image_base(family)}", "method=full", "checkpoint.every_steps=2"]
    straight = train(image_folder, overrides=overrides, output=tmp_path / "straight")

    class StopsAt(Silent):
        def advance(self, done: int, total: int, figures: Any) -> None:
            if figures and done == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(image_folder, overrides=overrides, output=tmp_path / "cut", progress=StopsAt())
    resumed = train(image_folder, overrides=overrides, output=tmp_path / "cut", resume=True)
    assert metrics_of(resumed.path) == metrics_of(straight.path)
    assert weights_of(resumed.path) == weights_of(straight.path)


def test_a_list_of_paths_and_labels_in_other_columns(
    image_base: Path, image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(image_folder, tmp_path / "pics")
    lines = [f"pics/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(image_folder.glob("*/*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["photo,colour", *lines]) + "\n", encoding="utf-8")
    columns = '{"image": "photo", "label": "colour"}'
    overrides = [f"model.base={image_base}", "method=head", "training.threads=1", f"data.columns={columns}"]
    run = train(tmp_path / "list.csv", overrides=overrides, output=tmp_path / "run")
    assert run.evaluation["n"] == 18
    capsys.readouterr()
    assert main(["predict", str(run.path), "--data", str(tmp_path / "list.csv"), "--json"]) == 0
    predictions = json.loads(capsys.readouterr().out)["predictions"]
    assert len(predictions) == 120
    assert predictions[0].keys() == {"image", "label", "probability", "margin"}
    one = tmp_path / "pics" / "red" / sorted(path.name for path in (image_folder / "red").iterdir())[0]
    assert main(["predict", str(run.path), "--data", str(one)]) == 0
    assert capsys.readouterr().out.split("\t")[2].strip() == str(one)


def test_class_weights_reach_the_loss(image_base: Path, write_images: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_images(90)
    for path in sorted((folder / "red").iterdir())[6:]:
        path.unlink()
    plain, weighted = (
        train(
            folder,
            overrides=[
                *QUICK,
                f"model.base={image_base}",
                "method=full",
                "training.max_steps=1",
                f"data.balance={kind}",
            ],
            output=tmp_path / kind,
        )
        for kind in ("none", "weights")
    )
    first = [run.folder.rows(run.folder.metrics)[0]["loss"] for run in (plain, weighted)]
    assert first[0] != first[1]
    assert any("balance: weights" in note for note in weighted.folder.manifest()["data"]["notes"])


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        (("augmentation.flip=horizontal", "task=text-classification"), "recipe/invalid"),
        (("data.noisy_copies=1",), "recipe/invalid"),
        (("method=qlora",), "recipe/method-not-offered"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_training(
    image_base: Path, image_folder: Path, tmp_path: Path, overrides: tuple[str, ...], code: str
) -> None:
    with pytest.raises(BurnishError) as caught:
        train(image_folder, overrides=[f"model.base={image_base}", *overrides], output=tmp_path / "run")
    assert caught.value.code == code


def test_a_base_that_reads_no_images_is_refused(sentence_base: Path, image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BurnishError) as caught:
        train(image_folder, overrides=[f"model.base={sentence_base}"], output=tmp_path / "run")
    error = caught.value
    assert (error.code, error.where) == ("model/no-images", "model.base")
    assert "vit" in error.known
    assert "--set model.base=" in str(error.hint)


def test_a_convolutional_base_learns_whole(make_image_base: MakeBase, image_folder: Path, tmp_path: Path) -> None:
    base = make_image_base("mobilenet_v1")
    run = train(image_folder, overrides=[*QUICK, f"model.base={base}", "training.epochs=1"], output=tmp_path / "run")
    assert run.folder.manifest()["method"] == "full"
    with pytest.raises(BurnishError) as caught:
        train(image_folder, overrides=[*QUICK, f"model.base={base}", "method=lora"], output=tmp_path / "lora")
    assert caught.value.code == "method/no-target"


def test_check_looks_at_every_image(write_images: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_images(40)
    first = sorted((folder / "red").iterdir())[0]
    shutil.copy(first, folder / "red" / "again.png")
    (folder / "blue" / "broken.png").write_bytes(b"no image")
    main(["check", str(folder), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["task"], found["lengths"]) == ("image-classification", {})
    assert {"data/bad-image", "data/duplicate"} <= {finding["code"] for finding in found["findings"]}
    assert main(["check", str(folder), "--deep"]) == 2
    assert "leave them out" in capsys.readouterr().err


def test_the_example_trains(image_base: Path, tmp_path: Path) -> None:
    """The recipe of the example over a tiny base instead of one from the hub."""
    recipe = EXAMPLES / "image_classification" / "recipe.yaml"
    overrides = [f"model.base={image_base}", "training.epochs=1", "training.threads=1", "evaluation.resamples=200"]
    run = train(recipe, overrides=overrides, output=tmp_path / "run")
    assert run.folder.manifest()["data"]["splits"] == {"train": 84, "validation": 18, "test": 18}
    assert run.evaluation["labels"] == ["circle", "square", "triangle"]


def test_the_recipe_of_init_is_one(image_base: Path, image_folder: Path, tmp_path: Path) -> None:
    found = write_recipe(image_folder, tmp_path / "recipe.yaml")
    assert found["labels"] == ["blue", "green", "red"]
    text = (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    assert "task: image-classification" in text
    assert "base: microsoft/resnet-18" in text
    assert read_recipe(tmp_path / "recipe.yaml").task == "image-classification"
