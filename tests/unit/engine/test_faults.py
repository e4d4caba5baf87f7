"""Numbers that are not finite and memory that ends: skipped, undone or repeated, never kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from burnish.engine.loop import Training
from burnish.engine.sampler import tokens_at_once
from burnish.engine.saving import newest
from burnish.errors import DivergedError, OutOfMemoryError
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

Make = Callable[..., Training]
WALL_CLOCK = {"rows_per_second", "tokens_per_second"}


class Harmful:
    """Cross-entropy that gives something else in some of its training calls, counted from 1 (one a micro-batch)."""

    def __init__(self, calls: Iterable[int], harm: Callable[[Tensor], Tensor]) -> None:
        self.count, self.calls, self.harm = 0, set(calls), harm

    def __call__(self, logits_BC: Tensor, targets_B: Tensor) -> Tensor:
        losses_B = F.cross_entropy(logits_BC, targets_B, reduction="none")
        if torch.is_inference_mode_enabled():
            return losses_B
        self.count += 1
        return self.harm(losses_B) if self.count in self.calls else losses_B


def nan_loss(losses_B: Tensor) -> Tensor:
    return losses_B * float("nan")


def infinite_gradient(losses_B: Tensor) -> Tensor:
    """A finite value whose gradient is not: the square root at 0."""
    return losses_B + torch.sqrt(losses_B - losses_B)


def no_memory(_: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


class Watch(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in WALL_CLOCK} for row in rows]


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    return [event for event in RunFolder(folder).rows(folder / "events.jsonl") if event["event"] == name]


def weights(training: Training) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in training.model.state_dict().items()}


def assert_same_bits(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("harm", [nan_loss, infinite_gradient])
def test_a_step_that_is_not_finite_is_skipped_and_counted(
    make_training: Make, tmp_path: Path, harm: Callable[[Tensor], Tensor]
) -> None:
    watch = Watch()
    training = make_training(tmp_path, loss=Harmful([9], harm), max_steps=9, progress=watch)
    before: dict[str, Tensor] = {}
    step = training._step

    def stepped(row_ids: list[int]) -> Any:
        if training.step == 8:
            before.update(weights(training))
        return step(row_ids)

    training._step = stepped  # type: ignore[method-assign]
    trained = training.run()
    assert (trained.steps, trained.skipped_steps, trained.rolled_back) == (9, 1, False)
    event = events(tmp_path, "step-skipped")[0]
    assert event["step"] == 9
    assert 0 < len(event["rows"]) <= 8
    assert len(watch.warnings) == 1
    assert watch.warnings[0].startswith("step 9 was skipped: loss ")
    assert str(event["rows"][0]) in watch.warnings[0]
    last = next(line for line in reversed(metrics(tmp_path)) if "validation" not in line)
    assert last == {"step": 9, "epoch": 1.5, "skipped_steps": 1}
    found = newest(training)
    assert found is not None
    assert_same_bits(found.weights, {name: before[name] for name in training.trainable})


def test_three_in_a_row_go_back_to_the_last_good_checkpoint_with_half_the_rate(
    make_training: Make, tmp_path: Path
) -> None:
    watch = Watch()
    training = make_training(
        tmp_path, loss=Harmful([9, 10, 11], nan_loss), checkpoint={"every_steps": 1}, progress=watch
    )
    trained = training.run()
    assert (trained.steps, trained.skipped_steps, trained.rolled_back) == (18, 3, True)
    event = events(tmp_path, "rolled-back")[0]
    assert (event["step"], event["to"], event["rate_scale"]) == (11, 8, 0.5)
    assert "back to step 8 with half the learning rate" in watch.warnings[-1]
    undisturbed = make_training(tmp_path / "undisturbed")
    undisturbed.run()
    rates = {line["step"]: line["learning_rate"] for line in metrics(tmp_path) if "loss" in line}
    whole = {line["step"]: line["learning_rate"] for line in metrics(tmp_path / "undisturbed") if "loss" in line}
    assert list(rates) == list(range(1, 19))  # each step once: those after the checkpoint were cut off
    assert rates[8] == whole[8]
    assert rates[9] == whole[9] / 2


def test_the_fourth_streak_is_the_end(make_training: Make, tmp_path: Path) -> None:
    training = make_training(tmp_path, loss=Harmful(range(9, 99), nan_loss), checkpoint={"every_steps": 4})
    with pytest.raises(DivergedError) as caught:
        training.run()
    error = caught.value
    assert (error.code, error.exit_code) == ("engine/diverged", 3)
    assert error.message.startswith("step 11: loss or gradient was not finite in 3 steps in a row")
    assert str(tmp_path) in str(error.where)
    assert "training rows " in str(error.where)
    assert "--set training.learning_rate=0.00075" in str(error.hint)
    assert events(tmp_path, "diverged")[0]["step"] == 11
    found = newest(training)
    assert found is not None
    assert all(torch.isfinite(weight).all() for weight in found.weights.values())


def test_without_a_checkpoint_the_rate_is_halved_on_the_spot(make_training: Make, tmp_path: Path) -> None:
    watch = Watch()
    trained = make_training(tmp_path, loss=Harmful([1, 2, 3], nan_loss), progress=watch).run()
    assert (trained.steps, trained.skipped_steps) == (18, 3)
    assert "no checkpoint to go back to" in watch.warnings[-1]


def test_killed_between_going_back_and_the_next_checkpoint(make_training: Make, tmp_path: Path) -> None:
    """The streak comes again, and so does the way back: the end is the same."""

    class Killed(BaseException):
        pass

    class KillsAfterwards(Silent):
        def warn(self, text: str) -> None:
            if "half the learning rate" in text:
                raise Killed

    class BadRow:
        """Not finite in steps 9 to 11 of the first pass, whichever process takes them."""

        def __init__(self) -> None:
            self.training: Training | None = None

        def __call__(self, logits_BC: Tensor, targets_B: Tensor) -> Tensor:
            losses_B = F.cross_entropy(logits_BC, targets_B, reduction="none")
            training = self.training
            bad = training is not None and training.faults.rate_scale == 1.0 and training.step in (8, 9, 10)
            return losses_B * float("nan") if bad and not torch.is_inference_mode_enabled() else losses_B

    def made(folder: Path, progress: Silent) -> Training:
        loss = BadRow()
        training = make_training(folder, loss=loss, checkpoint={"every_steps": 2}, progress=progress)
        loss.training = training
        return training

    straight = made(tmp_path / "straight", Silent())
    straight.run()
    with pytest.raises(Killed):
        made(tmp_path / "killed", KillsAfterwards()).run()
    again = made(tmp_path / "killed", Silent())
    again.run()
    assert_same_bits(weights(again), weights(straight))
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "straight")


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_validation_loss_that_is_not_finite_is_never_the_best(
    make_training: Make, tmp_path: Path, loss: float
) -> None:
    values = iter([(0.5, 1.0), (0.9, loss), (0.6, 0.9), (0.9, loss)])

    def validate(_: object) -> dict[str, float]:
        accuracy, value = next(values)
        return {"loss": value, "accuracy": accuracy}

    with pytest.raises(DivergedError) as caught:
        make_training(tmp_path, validate=validate).run()
    assert "the validation loss is" in caught.value.message
    assert events(tmp_path, "rolled-back")[0]["to"] == 6
    assert [line["step"] for line in metrics(tmp_path) if line.get("best")] == [6, 12]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_step_that_never_fits(make_training: Make, tmp_path: Path, error: BaseException) -> None:
    def full(_: Tensor) -> Tensor:
        raise error

    with pytest.raises(OutOfMemoryError) as caught:
        make_training(tmp_path, loss=Harmful(range(3, 999), full)).run()
    assert (caught.value.code, caught.value.exit_code) == ("engine/out-of-memory", 4)
    assert caught.value.message.startswith("step 3 does not fit")
    assert caught.value.where == str(tmp_path)
    assert "method: lora" in str(caught.value.hint)
    halvings = events(tmp_path, "micro-batch-halved")
    assert [event["step"] for event in halvings] == [3] * len(halvings)
    assert halvings[0]["tokens"] == halvings[0]["tokens_before"] // 2


def test_out_of_memory_is_a_switch_of_the_micro_batch_and_nothing_else(make_training: Make, tmp_path: Path) -> None:
    """The same bits as a run that is told to switch at that step; the loss curve of one that was not disturbed."""
    watch = Watch()
    disturbed = make_training(tmp_path / "a", loss=Harmful([7], no_memory), dropout=0.3, progress=watch)
    trained = disturbed.run()
    tokens = events(tmp_path / "a", "micro-batch-halved")[0]["tokens"]
    assert trained.memory_retries == 1
    assert f"is repeated with {tokens}" in watch.warnings[0]
    told = make_training(tmp_path / "b", loss=Harmful([], no_memory), dropout=0.3)
    step = told._step

    def switching(row_ids: list[int]) -> Any:
        if told.step == 6:
            told.faults.micro_batch_tokens = tokens
        return step(row_ids)

    told._step = switching  # type: ignore[method-assign]
    told.run()
    assert_same_bits(weights(disturbed), weights(told))
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    make_training(tmp_path / "c", loss=Harmful([], no_memory), dropout=0.3).run()
    curves = [[line["loss"] for line in metrics(tmp_path / name) if "loss" in line] for name in ("a", "c")]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)  # sums of float32 in another order, over 18 steps


def test_a_halved_micro_batch_stays_halved_after_a_resume(make_training: Make, tmp_path: Path) -> None:
    first = make_training(tmp_path, loss=Harmful([2], no_memory), max_steps=6)
    first.run()
    again = make_training(tmp_path)
    again.run()
    assert again.faults.micro_batch_tokens == first.faults.micro_batch_tokens
    assert first.faults.micro_batch_tokens < tokens_at_once(None, torch.device("cpu"))
