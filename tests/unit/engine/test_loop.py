"""The training loop: it learns, it accumulates exactly, and it stops when told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.checkpoint import read_checkpoint
from burnish.engine.layout_choice import choose_layout
from burnish.engine.learned import AVERAGE
from burnish.engine.loop import Training
from burnish.engine.optimizer import learning_rate_factor
from burnish.method.lora import Lora
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

Make = Callable[..., Training]
CPU = torch.device("cpu")


def lines(folder: Path) -> list[dict[str, Any]]:
    run = RunFolder(folder)
    return run.rows(run.metrics)


def learning_lines(folder: Path) -> list[dict[str, Any]]:
    return [line for line in lines(folder) if "loss" in line]


def saved_steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").iterdir())


def copies(training: Training) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in training.model.state_dict().items()}


class Watch(Silent):
    """Keeps what the engine tells."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.steps: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def advance(self, done: int, total: int, figures: Any) -> None:
        self.steps.append(done)


def test_a_training_learns(make_training: Make, tmp_path: Path) -> None:
    """Loss falls, the held-out metric beats the start, and the model is left with its best weights."""
    training = make_training(tmp_path, epochs=8, average_decay=0.0)
    start = training.validate(training.model.eval())
    trained = training.run()
    losses = [line["loss"] for line in learning_lines(tmp_path)]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])
    assert trained.best_value > max(start["accuracy"], 0.8)
    assert training.validate(training.model)["accuracy"] == trained.best_value
    assert not training.model.training


def test_what_is_told_about_a_training(make_training: Make, tmp_path: Path) -> None:
    training = make_training(tmp_path, method=Lora(rank=2), patience=3)
    trained = training.run()
    assert (trained.steps, trained.epochs, trained.stopped, trained.rows) == (18, 3.0, "finished", 44)
    assert trained.best_step in (6, 12, 18)
    assert trained.trainable_parameters == sum(w.numel() for w in training.trainable.values())
    assert trained.total_parameters == sum(w.numel() for w in training.model.parameters())
    assert trained.trainable_parameters < trained.total_parameters


def test_every_logged_step(make_training: Make, tmp_path: Path) -> None:
    """One line a step, one line an evaluation, rates as scheduled."""
    training = make_training(tmp_path)
    training.run()
    learnt = learning_lines(tmp_path)
    assert [line["step"] for line in learnt] == list(range(1, 19))
    assert learnt[5]["epoch"] == 1.0
    factors = [learning_rate_factor(step, total_steps=18, options=training.options) for step in range(18)]
    assert [line["learning_rate"] for line in learnt] == pytest.approx([3e-3 * factor for factor in factors])
    assert all(line["gradient_norm"] > 0 and line["rows_per_second"] > 0 for line in learnt)
    judged = [line for line in lines(tmp_path) if "validation" in line]
    assert [(line["step"], set(line["validation"])) for line in judged] == [
        (step, {"loss", "accuracy"}) for step in (6, 12, 18)
    ]
    assert judged[0]["best"] is True


def test_lines_between_logged_steps_are_means(make_training: Make, tmp_path: Path) -> None:
    make_training(tmp_path / "every", epochs=1).run()
    make_training(tmp_path / "fourth", epochs=1, log_every_steps=4).run()
    every, fourth = learning_lines(tmp_path / "every"), learning_lines(tmp_path / "fourth")
    assert [line["step"] for line in fourth] == [4, 6]  # and the last step, whatever the number
    for line, of in zip(fourth, (every[:4], every[4:]), strict=True):
        assert line["loss"] == pytest.approx(sum(f["loss"] for f in of) / len(of))
        assert line["gradient_norm"] == pytest.approx(sum(f["gradient_norm"] for f in of) / len(of))


@pytest.mark.parametrize(("steps", "evaluated"), [(4, [4]), (7, [3, 6, 7])])
def test_max_steps_end_a_training_with_an_evaluation(
    make_training: Make, tmp_path: Path, steps: int, evaluated: list[int]
) -> None:
    trained = make_training(tmp_path, max_steps=steps, evaluate_every_steps=3 if steps > 4 else None).run()
    assert trained.steps == steps
    assert [line["step"] for line in lines(tmp_path) if "validation" in line] == evaluated


def test_gradients_are_clipped_to_their_limit(make_training: Make, tmp_path: Path) -> None:
    """With a rate of zero decay and one step, the moments hold a tenth of the clipped gradient."""
    training = make_training(tmp_path, max_steps=1, max_grad_norm=1e-3)
    training.run()
    moments = [state["exp_avg"] for state in training.optimizer.state.values()]
    norm = torch.linalg.vector_norm(torch.stack([m.norm() for m in moments]))
    assert float(norm) == pytest.approx(0.1 * 1e-3, rel=1e-3)


ROWS_AT_ONCE = {"1 x 8": 128, "4 x 2": 32, "8 x 1": 16}  # rows of 16 tokens, 8 a step


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_micro_batch_does_not_change_the_model(make_training: Make, tmp_path: Path, dropout: float) -> None:
    """A whole training with 1, 4 and 8 micro-batches a step; dropout, clipping and the running average are on."""
    ended = {}
    for name, tokens in ROWS_AT_ONCE.items():
        folder = tmp_path / name
        training = make_training(folder, lengths=[16] * 40, micro_batch_tokens=tokens, dropout=dropout)
        training.run()
        ended[name] = copies(training), [line["loss"] for line in learning_lines(folder)]
    weights, losses = ended["1 x 8"]
    assert len(losses) == 15
    for name in ("4 x 2", "8 x 1"):
        assert ended[name][1] == pytest.approx(losses, abs=1e-4), name
        for key, value in ended[name][0].items():
            if key.endswith("attention.self.key.bias"):
                continue  # softmax does not see it: its gradient is rounding alone, which AdamW scales up
            # float32 sums in another order, over 15 steps of at most 3e-3 each
            assert torch.allclose(value, weights[key], atol=1e-4), (name, key)


def test_the_layout_does_not_change_the_model(make_training: Make, tmp_path: Path) -> None:
    """The same training concatenated and padded, with dropout on and rows of every length."""

    def concatenated(encoder: nn.Module, rows: Any) -> Any:
        choice = choose_layout(encoder, rows, device=CPU)
        assert not choice.padded
        return choice

    padded, other = make_training(tmp_path / "a"), make_training(tmp_path / "b", layout=concatenated)
    padded.run()
    other.run()
    for key, value in copies(other).items():
        if not key.endswith("attention.self.key.bias"):
            assert torch.allclose(value, copies(padded)[key], atol=1e-4), key


def test_two_trainings_are_the_same_bits_and_two_seeds_are_not(make_training: Make, tmp_path: Path) -> None:
    ended = []
    for name, seed in (("a", 13), ("b", 13), ("c", 14)):
        training = make_training(tmp_path / name, seed=seed)
        training.run()
        ended.append(copies(training))
    assert all(torch.equal(ended[0][key], ended[1][key]) for key in ended[0])
    assert not all(torch.equal(ended[0][key], ended[2][key]) for key in ended[0])


class Scripted:
    """A validation with given values; keeps the weights it was shown."""

    def __init__(self, *values: tuple[float, float]) -> None:
        self.values = iter(values)
        self.shown: list[dict[str, Tensor]] = []

    def __call__(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        self.shown.append({name: w.detach().clone() for name, w in model.named_parameters() if w.requires_grad})
        accuracy, loss = next(self.values)
        return {"accuracy": accuracy, "loss": loss}


def test_training_stops_early_and_keeps_the_best(make_training: Make, tmp_path: Path) -> None:
    judge = Scripted((0.5, 1.0), (0.8, 0.9), (0.7, 0.9), (0.7, 0.8))
    training = make_training(tmp_path, epochs=50, patience=2, validate=judge, average_decay=0.0)
    trained = training.run()
    assert (trained.steps, trained.best_step, trained.best_value) == (24, 12, 0.8)
    assert trained.stopped == "no better evaluation in 2"
    for name, weight in training.trainable.items():
        assert torch.equal(weight, judge.shown[1][name])


def test_the_average_is_judged_and_kept_and_the_weights_go_on(make_training: Make, tmp_path: Path) -> None:
    """Validation sees the running average; training continues from the raw weights, bit for bit as if unseen."""
    judge = Scripted((0.9, 1.0), (0.8, 1.0), (0.7, 1.0))
    training = make_training(tmp_path / "a", validate=judge, average_decay=0.9, patience=5)
    training.run()
    seldom = make_training(tmp_path / "b", validate=Scripted((0.9, 1.0)), average_decay=0.9, evaluate_every_steps=18)
    seldom.run()
    last = [read_checkpoint(tmp_path / name / "checkpoints" / "step-18").weights for name in ("a", "b")]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    best = read_checkpoint(tmp_path / "a" / "checkpoints" / "step-6").weights
    for name, weight in training.trainable.items():
        assert torch.equal(weight, best[AVERAGE + name])
        assert torch.equal(weight, judge.shown[0][name])
    assert not all(torch.equal(best[name], best[AVERAGE + name]) for name in training.trainable)


def test_the_newest_and_the_best_checkpoint_stay(make_training: Make, tmp_path: Path) -> None:
    judge = Scripted((0.9, 1.0), *[(0.5, 1.0)] * 5)
    training = make_training(tmp_path, epochs=6, patience=9, validate=judge, checkpoint={"keep": 2, "every_steps": 4})
    training.run()
    assert saved_steps(tmp_path) == [6, 32, 36]


def test_a_checkpoint_holds_only_what_learns(make_training: Make, tmp_path: Path) -> None:
    training = make_training(tmp_path, method=Lora(rank=2), max_steps=2)
    training.run()
    names = set(read_checkpoint(tmp_path / "checkpoints" / "step-2").weights)
    assert names == set(training.trainable) | {AVERAGE + name for name in training.trainable}
    assert all("lora" in name or "head." in name for name in names)


def test_progress_is_told_each_step_and_each_checkpoint(make_training: Make, tmp_path: Path) -> None:
    watch = Watch()
    make_training(tmp_path, max_steps=3, evaluate_every_steps=2, progress=watch).run()
    assert watch.steps == [1, 2, 3]
    saved = [note for note in watch.notes if note.startswith("saved checkpoint")]
    assert saved == ["saved checkpoint step-2: step 2", "saved checkpoint step-3: step 3"]
    assert watch.warnings == []
    events = RunFolder(tmp_path).rows(tmp_path / "events.jsonl")
    assert [event["event"] for event in events] == ["checkpoint", "checkpoint"]
