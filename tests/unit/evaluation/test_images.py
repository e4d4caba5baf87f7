"""The arm that sees pixels alone, and the pictures of a report."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from burnish.evaluation.image_arms import SIDE, pixels, small_pixels
from burnish.evaluation.metrics import create_metric
from burnish.evaluation.pictures import small_picture
from burnish.evaluation.report import render_report
from burnish.evaluation.report_images import picture


def test_small_pixels_are_means_of_blocks() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(1, 4, 6, 3)
    found = small_pixels(image, side=2).reshape(2, 2, 3)
    for row in range(2):
        for column in range(2):
            block = image[0, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
            assert found[row, column].tolist() == pytest.approx((block.mean((0, 1)) / 255).tolist(), abs=1e-6)


def test_an_image_smaller_than_the_copy_keeps_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 3, SIDE + 5, 3), dtype=np.uint8)
    assert small_pixels(image).shape == (1, 3 * SIDE * 3)


def test_the_arm_tells_bright_from_dark() -> None:
    random = np.random.default_rng(0)
    labels = ["left" if index % 2 else "right" for index in range(60)]
    shown = random.integers(0, 100, (60, 20, 20, 3), dtype=np.uint8)
    for image, label in zip(shown, labels, strict=True):
        image[:, :10] += np.uint8(80 if label == "left" else 0)
    metric = create_metric("accuracy", ["left", "right"])
    arm = pixels(shown[:30], labels[:30], shown[30:45], labels[30:45], shown[45:], metric)
    assert arm.name == "pixels"
    assert list(arm.test_predictions) == labels[45:]
    assert "16 x 16 means" in arm.settings["features"]


def test_a_small_picture_is_a_jpeg_of_at_most_96_pixels() -> None:
    source = small_picture(np.full((50, 300, 3), 200, np.uint8))
    kind, _, content = source.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (96, 16)
    assert 'alt="a &lt;b&gt;"' in picture(source, "a <b>")


@pytest.mark.parametrize(
    "source", ["https://x/a.png", "data:text/html;base64,AA", 'data:image/png;base64,A"><b>', None, 3]
)
def test_nothing_else_gets_into_the_page(source: object) -> None:
    assert picture(source, "x") == ""


def test_a_report_shows_classes_and_errors(build_run: Callable[..., Path]) -> None:
    run = build_run()
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    for index, row in enumerate(rows):
        row["image"] = f"/pictures/{row['label']}/{index}.png"
        del row["text"]
    (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shown = small_picture(np.zeros((4, 4, 3), np.uint8))
    kept = {"classes": {"a <b>": [shown, shown]}, "errors": {row["image"]: shown for row in rows}}
    (run / "pictures.json").write_text(json.dumps(kept), encoding="utf-8")
    page = render_report(run)
    wrong = sum(row["label"] != row["prediction"] for row in rows)
    assert page.count("<img ") == 2 + min(wrong, 25)
    assert "What the classes look like" in page
    assert "a &lt;b&gt;" in page
    assert "Look at them" in page
    assert "--data your-image.jpg" in page
