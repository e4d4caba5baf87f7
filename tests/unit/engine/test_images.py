"""Images in a micro-batch: scaled as the base reads them, read where the base pools, changed only by their draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from burnish.engine.augmentation import NO_AUGMENTATION, augmented
from burnish.engine.dropout import row_draws
from burnish.engine.images import image_layout
from burnish.engine.options import AugmentationOptions
from burnish.engine.rows import EncodedRows
from burnish.model.images import Preprocessing
from burnish.types import Batch, Encoded

CPU = torch.device("cpu")
PLAIN = Preprocessing(resize=(2, 2), crop=None, resample=2, scale=0.1, mean=(1.0, 2.0, 3.0), deviation=(1.0, 2.0, 4.0))
EVERYTHING = AugmentationOptions(flip="both", shift=0.25, light=0.3)


def rows(count: int, *, size: int = 2) -> list[Encoded]:
    random = np.random.default_rng(0)
    return [
        Encoded(
            token_ids=np.zeros(0, np.int64),
            segment_lengths=(1,),
            targets=np.array(index),
            pixels=random.integers(0, 256, (size, size, 3), dtype=np.uint8),
        )
        for index in range(count)
    ]


class Tokens(nn.Module):
    """A base of three tokens of width 2 an image, and a vector of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, pixel_values: Tensor) -> Any:
        self.calls += 1
        sums_B = pixel_values.sum((1, 2, 3))
        states = sums_B[:, None, None] + torch.arange(6.0).view(3, 2)
        return SimpleNamespace(last_hidden_state=states, pooler_output=-sums_B[:, None, None, None])


def test_pixels_are_scaled_and_normalised_by_channel() -> None:
    (row,) = rows(1)
    batch = image_layout(PLAIN).lay_out([row], [7], device=CPU)
    assert row.pixels is not None
    wanted = (row.pixels.astype(np.float32) * 0.1 - (1, 2, 3)) / (1, 2, 4)
    assert torch.allclose(batch.pixels[0].permute(1, 2, 0), torch.from_numpy(wanted).float(), atol=1e-5)
    assert (batch.row_ids, batch.row_count, batch.read_counts) == ((7,), 1, (0,))


def test_a_batch_gives_first_token_all_tokens_their_mean_and_the_bases_own_vector() -> None:
    batch: Batch = image_layout(PLAIN).lay_out(rows(4), range(4), device=CPU)
    base = Tokens()
    everything, first, own = (batch.hidden(base, at=at) for at in ("all", "first", "own"))  # type: ignore[arg-type]
    assert (everything.shape, first.shape, own.shape) == ((12, 2), (4, 2), (4, 1))
    assert torch.equal(everything.view(4, 3, 2)[:, 0], first)
    assert torch.allclose(batch.mean(everything), first + 2)
    assert torch.equal(own[:, 0], -first[:, 0])
    assert batch.targets.tolist() == [0, 1, 2, 3]
    assert batch.given is None


def test_without_gradients_the_base_runs_once() -> None:
    batch, base = image_layout(PLAIN).lay_out(rows(2), range(2), device=CPU), Tokens()
    with torch.inference_mode():
        assert batch.hidden(base, at="own") is batch.hidden(base, at="own")
    assert base.calls == 1


def test_rows_with_pixels_lie_in_one_array() -> None:
    given = rows(3)
    kept = EncodedRows.of(given)
    assert kept.arrays["pixels"].shape == (3, 2, 2, 3)
    assert kept.lengths.tolist() == [1, 1, 1]
    for row, again in zip(given, kept, strict=True):
        assert row.pixels is not None
        assert np.array_equal(row.pixels, again.pixels)
        assert (again.length, len(again.token_ids), int(again.targets)) == (1, 0, int(row.targets))


def test_images_change_only_where_a_training_draws() -> None:
    layout = image_layout(PLAIN, EVERYTHING)
    given = rows(3, size=8)
    still, drawn = (
        layout.lay_out(given, range(3), device=CPU, draws=d) for d in (None, row_draws(range(3), seed=0, step=0))
    )
    plain = image_layout(PLAIN).lay_out(given, range(3), device=CPU, draws=row_draws(range(3), seed=0, step=0))
    assert torch.equal(still.pixels, plain.pixels)
    assert not torch.equal(still.pixels, drawn.pixels)


def test_the_change_is_that_of_seed_step_and_row_alone() -> None:
    images = np.stack([row.pixels for row in rows(6, size=8) if row.pixels is not None])
    draws = row_draws(range(6), seed=3, step=5)
    whole = augmented(images, draws, EVERYTHING)
    pieces = [augmented(images[i : i + 2], row_draws(range(i, i + 2), seed=3, step=5), EVERYTHING) for i in (0, 2, 4)]
    assert np.array_equal(whole, np.concatenate(pieces))
    assert not np.array_equal(whole, augmented(images, row_draws(range(6), seed=3, step=6), EVERYTHING))
    assert whole.dtype == np.uint8


def test_no_augmentation_gives_the_same_array() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    assert augmented(images, np.zeros(2, np.uint64), NO_AUGMENTATION) is images


@pytest.mark.parametrize(("flip", "kinds"), [("none", 1), ("horizontal", 2), ("both", 4)])
def test_half_of_the_images_are_mirrored(flip: str, kinds: int) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    options = AugmentationOptions(flip=flip, shift=0, light=0)  # type: ignore[arg-type]
    shown = augmented(np.stack([image] * 400), row_draws(range(400), seed=0, step=0), options)
    found, counts = np.unique(shown.reshape(400, -1), axis=0, return_counts=True)
    assert len(found) == kinds
    assert (abs(counts - 400 / kinds) < 60).all()  # three standard deviations of half of 400 are 30


def test_a_shift_moves_by_its_share_at_most_and_mirrors_the_edge() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    image[5, 5] = 255
    shown = augmented(
        np.stack([image] * 300), row_draws(range(300), seed=0, step=0), AugmentationOptions(shift=0.2, light=0)
    )
    places = np.argwhere(shown[..., 0] == 255)[:, 1:]
    assert (places.min(), places.max()) == (3, 7)
    assert len(places) == 300


def test_light_changes_brightness_and_contrast_within_their_share() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    shown = augmented(
        np.stack([image] * 200), row_draws(range(200), seed=0, step=0), AugmentationOptions(shift=0, light=0.1)
    )
    assert 90 <= shown.min() < 93
    assert 107 < shown.max() <= 110


def test_a_training_on_changed_images_goes_on_with_the_same_bits(
    make_subject: Callable[[str], Any], tmp_path: Path
) -> None:
    """What chance does to an image depends on the step, so a training that was cut repeats it."""
    from dataclasses import replace

    from burnish.method.full import Full
    from burnish.testing.method import _Killed, _KillsAt, _lines

    subject = make_subject("image-classification")
    plain = subject.build

    def build(quantization: str | None = None) -> Any:
        model, layout = plain(quantization)
        return model, replace(layout, augmentation=EVERYTHING)

    changed = replace(subject, build=build)
    wanted = _lines(changed.training(Full(), tmp_path / "straight"))
    with pytest.raises(_Killed):
        changed.training(Full(), tmp_path / "cut", progress=_KillsAt(3), checkpoint_every=1).run()
    assert _lines(changed.training(Full(), tmp_path / "cut")) == wanted
    assert wanted != _lines(subject.training(Full(), tmp_path / "still"))
