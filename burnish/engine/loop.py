"""The training loop: read `_step` top to bottom.

State of a run = weights that learn, their average, AdamW's moments, early stopping, and one number: the step. Order
of rows, dropout and learning rate are functions of seed and step, so a run resumed from any checkpoint on the same
set-up ends with the same bits as one that was never interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from burnish.engine import checkpoint as checkpoints
from burnish.engine.dropout import draw_starts, replace_dropout
from burnish.engine.layout import LaidOut, LayoutChoice
from burnish.engine.optimizer import WeightAverage, build_optimizer, learning_rate_factor
from burnish.engine.options import CheckpointOptions, TrainingOptions
from burnish.engine.precision import Precision
from burnish.engine.sampler import epoch_batches, micro_batches
from burnish.engine.stopping import EarlyStopping, StopSignal, listening
from burnish.errors import DivergedError, InterruptedRunError, OutOfMemoryError
from burnish.storage.durable import append_lines, fsync_file, require_undamaged, truncate
from burnish.storage.run_folder import RunFolder
from burnish.types import Encoded, Method, Progress, Task

Validate = Callable[[nn.Module], Mapping[str, float]]  # -> {"loss": nats per unit, "accuracy": 0..1, ...}
AVERAGE = "average."


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training ended; the model holds the best weights."""

    steps: int
    epochs: float
    best_step: int
    best_value: float
    stopped: str  # "finished" or why it stopped early
    seconds: float
    rows: int
    trainable_parameters: int
    total_parameters: int


class Training:
    """One training of one model in one run folder.

    Args:
        task, method: what is learned, which weights learn.
        model: on its device, with the method already attached.
        rows: encoded training rows; their index keys their dropout.
        validate: judges the model on validation rows; called with the averaged weights in place.
        metric: name in validate's result that decides early stopping and the best checkpoint.
        layout, precision: chosen on the first rows.
    """

    def __init__(
        self,
        *,
        task: Task,
        method: Method,
        model: nn.Module,
        rows: Sequence[Encoded],
        validate: Validate,
        metric: str,
        higher_is_better: bool,
        options: TrainingOptions,
        checkpoint: CheckpointOptions,
        folder: RunFolder,
        layout: LayoutChoice,
        precision: Precision,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self.task, self.model, self.rows = task, model, rows
        self.validate, self.metric = validate, metric
        self.options, self.keep, self.folder = options, checkpoint, folder
        self.layout, self.precision, self.device, self.progress = layout, precision, device, progress
        assert options.epochs is not None
        self.steps_per_epoch = math.ceil(len(rows) / options.global_batch_size)
        self.total_steps = min(options.epochs * self.steps_per_epoch, options.max_steps or 10**12)
        self.evaluate_every = options.evaluate_every_steps or self.steps_per_epoch
        self.save_every = checkpoint.every_steps or self.evaluate_every
        self.lengths = [row.length for row in rows]
        self.trainable = dict(method.trainable(model))
        self.names = {id(weight): name for name, weight in self.trainable.items()}
        self.optimizer = build_optimizer(model, self.trainable, options)
        self.average = WeightAverage(self.trainable, options.average_decay) if options.average_decay else None
        self.stopping = EarlyStopping(patience=options.patience, higher_is_better=higher_is_better)
        replace_dropout(model, seed=options.seed, probability=options.dropout)
        self.step = 0
        self.epoch_loss, self.epoch_weight = 0.0, 0.0  # of the steps since the last evaluation
        self.recent: list[dict[str, float]] = []  # figures of the steps since the last logged one
        self.batches: list[list[int]] = []
        self.batches_of_epoch = -1
        self.started = time.monotonic()

    def run(self) -> Trained:
        """Trains to the end, resuming from the newest complete checkpoint when there is one.

        Raises:
            DivergedError: [engine/diverged] when loss or gradient is not finite.
            OutOfMemoryError: [engine/out-of-memory].
            InterruptedRunError: [engine/interrupted] after SIGINT or SIGTERM; a checkpoint was saved.
        """
        self._resume()
        stopped = self.stopping.reason()
        with listening() as stop:
            while self.step < self.total_steps and stopped is None:
                stopped = self._advance(stop)
        best_step = self.stopping.best_step
        self._load_best(best_step)
        return Trained(
            steps=self.step,
            epochs=round(self.step / self.steps_per_epoch, 3),
            best_step=best_step,
            best_value=float(self.stopping.best_value or 0.0),
            stopped=stopped or "finished",
            seconds=round(time.monotonic() - self.started, 3),
            rows=len(self.rows),
            trainable_parameters=sum(w.numel() for w in self.trainable.values()),
            total_parameters=sum(w.numel() for w in self.model.parameters()),
        )

    def _advance(self, stop: StopSignal) -> str | None:
        """One optimizer step and what is due after it; gives the reason to stop, if any."""
        figures = self._step(self._rows_of_step())
        self.step += 1
        self._log(figures)
        reason, improved = None, False
        if self.step % self.evaluate_every == 0 or self.step == self.total_steps:
            improved = self._evaluate()
            reason = self.stopping.reason()
        finished = reason is not None or self.step == self.total_steps
        if improved or finished or stop.number is not None or self.step % self.save_every == 0:
            self._save()
        if stop.number is not None and not finished:
            raise InterruptedRunError(
                "engine/interrupted",
                f"stopped by a signal after step {self.step} of {self.total_steps}; a checkpoint was saved",
                signal_number=stop.number,
                hint=f"go on with: burnish resume {self.folder.path}",
            )
        return reason

    def _rows_of_step(self) -> list[int]:
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self.batches_of_epoch != epoch:
            self.batches = epoch_batches(
                self.lengths, batch_size=self.options.global_batch_size, seed=self.options.seed, epoch=epoch
            )
            self.batches_of_epoch = epoch
        return self.batches[place]

    def _step(self, row_ids: list[int]) -> dict[str, float]:
        """Forward and backward over all micro-batches, one division, clipping, one update."""
        started = time.monotonic()
        self.model.train()
        factor = learning_rate_factor(self.step, total_steps=self.total_steps, options=self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        total, weight = 0.0, 0.0
        for piece in micro_batches(row_ids, self.lengths, max_tokens=self.options.micro_batch_tokens):
            term = self._forward_backward(piece)
            total += term[0]
            weight += term[1]
        gradients = [w.grad for w in self.trainable.values() if w.grad is not None]
        torch._foreach_div_(gradients, weight)
        norm = float(torch.nn.utils.clip_grad_norm_(self.trainable.values(), self.options.max_grad_norm))
        loss = total / weight
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._diverged(self.step + 1, f"loss {loss}, gradient norm {norm}; the step was not taken", row_ids)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.trainable, self.step + 1)
        self.epoch_loss += total
        self.epoch_weight += weight
        return {
            "loss": loss,
            "gradient_norm": norm,
            "factor": factor,
            "rows": float(len(row_ids)),
            "tokens": float(sum(self.lengths[i] for i in row_ids)),
            "seconds": time.monotonic() - started,
        }

    def _forward_backward(self, piece: list[int]) -> tuple[float, float]:
        """Sum of the losses of a micro-batch and its weight; gradients are added up, undivided."""
        draw = draw_starts(piece, seed=self.options.seed, step=self.step)
        try:
            batch = LaidOut(
                [self.rows[i] for i in piece],
                piece,
                padded=self.layout.padded,
                device=self.device,
                draw=draw,
                position_offset=self.layout.position_offset,
            )
            with self.precision.compute(self.device):
                term = self.task.loss(self.model, batch)
            term.total.backward()  # type: ignore[no-untyped-call]
            return float(term.total.detach()), term.weight
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemoryError(
                "engine/out-of-memory",
                f"step {self.step + 1} does not fit into memory ({sum(self.lengths[i] for i in piece)} tokens at once)",
                where="training.micro_batch_tokens",
                hint=f"halve it: --set training.micro_batch_tokens={self.options.micro_batch_tokens // 2}"
                " (the result stays the same), or use method: lora",
            ) from error

    def _log(self, figures: dict[str, float]) -> None:
        """One line of metrics.jsonl every `log_every_steps`, with means over the steps since the last one."""
        self.recent.append(figures)
        seconds = sum(f["seconds"] for f in self.recent)
        rate = sum(f["rows"] for f in self.recent) / max(seconds, 1e-9)
        shown = {"loss": figures["loss"], "rows_per_second": rate}
        self.progress.advance(self.step, self.total_steps, shown)
        if self.step % self.options.log_every_steps and self.step != self.total_steps:
            return
        append_lines(
            self.folder.metrics,
            [
                {
                    "step": self.step,
                    "epoch": round(self.step / self.steps_per_epoch, 4),
                    "loss": float(np.mean([f["loss"] for f in self.recent])),
                    "learning_rate": (self.options.learning_rate or 0.0) * figures["factor"],
                    "gradient_norm": float(np.mean([f["gradient_norm"] for f in self.recent])),
                    "rows_per_second": round(rate, 2),
                    "tokens_per_second": round(sum(f["tokens"] for f in self.recent) / max(seconds, 1e-9), 1),
                }
            ],
        )
        self.recent = []

    def _evaluate(self) -> bool:
        """Judges the averaged weights on the validation rows; True when they are the best so far."""
        self.model.eval()
        with self._averaged():
            values = dict(self.validate(self.model))
        if not math.isfinite(values["loss"]):
            self._diverged(self.step, f"validation loss {values['loss']}", [])
        train_loss = self.epoch_loss / max(self.epoch_weight, 1e-9)
        self.epoch_loss = self.epoch_weight = 0.0
        best = self.stopping.see(self.step, values[self.metric], train_loss=train_loss, validation_loss=values["loss"])
        epoch = round(self.step / self.steps_per_epoch, 4)
        append_lines(self.folder.metrics, [{"step": self.step, "epoch": epoch, "validation": values, "best": best}])
        mark = "  best so far" if best else ""
        self.progress.note(
            f"step {self.step}/{self.total_steps}  epoch {epoch:g}  training loss {train_loss:.4f}  "
            f"validation loss {values['loss']:.4f}  {self.metric} {values[self.metric]:.4f}{mark}"
        )
        return best

    def _averaged(self) -> _Swapped:
        return _Swapped(self.trainable, self.average.weights if self.average else {})

    def _save(self) -> None:
        weights: dict[str, Tensor] = dict(self.trainable)
        if self.average is not None:
            weights |= {AVERAGE + name: weight for name, weight in self.average.weights.items()}
        if self.folder.metrics.exists():
            fsync_file(self.folder.metrics)  # the checkpoint says how long it is
        state: dict[str, Any] = {
            "total_steps": self.total_steps,
            "stopping": self.stopping.state(),
            "epoch_loss": self.epoch_loss,
            "epoch_weight": self.epoch_weight,
            "recent": self.recent,
            "metrics_bytes": self.folder.metrics.stat().st_size if self.folder.metrics.exists() else 0,
            "threads": torch.get_num_threads(),
        }
        path = checkpoints.save_checkpoint(
            self.folder.checkpoints,
            self.step,
            weights=weights,
            optimizer=checkpoints.optimizer_tensors(self.optimizer, self.names),
            state=state,
        )
        checkpoints.prune_checkpoints(
            self.folder.checkpoints, step=self.step, keep=self.keep.keep, best_step=self.stopping.best_step
        )
        self.folder.event("checkpoint", step=self.step)
        self.progress.note(f"saved checkpoint {path.name}: step {self.step}")

    def _resume(self) -> None:
        found = checkpoints.newest_checkpoint(self.folder.checkpoints, warn=self.progress.warn)
        if found is None:
            truncate(self.folder.metrics, 0)
            return
        with torch.no_grad():
            for name, weight in self.trainable.items():
                weight.copy_(found.weights[name])
                if self.average is not None:
                    self.average.weights[name].copy_(found.weights[AVERAGE + name])
        checkpoints.restore_optimizer(self.optimizer, found.optimizer, self.names)
        checkpoints.restore_random_state(found)
        self.stopping = EarlyStopping.restored(found.state["stopping"])
        self.epoch_loss, self.epoch_weight = found.state["epoch_loss"], found.state["epoch_weight"]
        self.recent = found.state["recent"]
        self.step = found.step
        truncate(self.folder.metrics, int(found.state["metrics_bytes"]))
        self.folder.event("resumed", step=self.step)
        self.progress.note(f"resumed from {found.folder.name}: step {self.step}")

    def _load_best(self, step: int) -> None:
        """Leaves the best weights in the model: the averaged ones of the best checkpoint."""
        folder = self.folder.checkpoints / f"step-{step}"
        require_undamaged(folder)
        best = checkpoints.read_checkpoint(folder)
        with torch.no_grad():
            for name, weight in self.trainable.items():
                weight.copy_(best.weights[AVERAGE + name if self.average else name])
        self.model.eval()

    def _diverged(self, step: int, what: str, row_ids: list[int]) -> NoReturn:
        self.folder.event("diverged", step=step, rows=row_ids)
        rows = f" (rows {', '.join(map(str, row_ids[:8]))}{'…' if len(row_ids) > 8 else ''})" if row_ids else ""
        raise DivergedError(
            "engine/diverged",
            f"step {step}: {what}",
            where=f"{self.folder.path}{rows}",
            hint=f"lower the learning rate: --set training.learning_rate={(self.options.learning_rate or 1e-4) / 4:g}",
        )


class _Swapped:
    """Puts other values into weights for the length of a block, and the old ones back."""

    def __init__(self, weights: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        self.pairs = [(weights[name], value) for name, value in values.items()]

    def _swap(self) -> None:
        for weight, value in self.pairs:
            weight.data, value.data = value.data, weight.data

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()
