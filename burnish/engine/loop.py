"""The training loop: read `_step` top to bottom.

State of a run = weights that learn, their average, AdamW's moments, early stopping, faults, and one number: the step.
Order of rows, dropout and learning rate are functions of seed and step, so a run resumed from any checkpoint on the
same set-up ends with the same bits as one that was never interrupted.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from burnish.engine import checkpoint as checkpoints
from burnish.engine import saving
from burnish.engine.bf16_weights import bf16_weights
from burnish.engine.budget import Budget
from burnish.engine.choice import Limit, Scored, candidates, chosen, mixed
from burnish.engine.distributed import Ranks
from burnish.engine.dropout import replace_dropout
from burnish.engine.faults import IN_A_ROW, Faults, count_skipped, diverged, halve_micro_batch
from burnish.engine.frozen_states import frozen_states
from burnish.engine.fused_lora import FusedLora, fused_lora
from burnish.engine.journal import Figures, Journal
from burnish.engine.keep_ability import Pull, build_pulls
from burnish.engine.layout import LayoutChoice
from burnish.engine.lean import held_lean
from burnish.engine.learned import Learned
from burnish.engine.memory import is_out_of_memory
from burnish.engine.optimizer import build_optimizer, learning_rate_factor
from burnish.engine.options import CheckpointOptions, TrainingOptions
from burnish.engine.passes import Passes, Sums
from burnish.engine.precision import Precision
from burnish.engine.recompute import Recompute
from burnish.engine.replay import Replay, replay_of_step
from burnish.engine.sampler import epoch_batches, tokens_at_once
from burnish.engine.stopping import EarlyStopping, StopSignal, listening
from burnish.errors import InterruptedRunError, StoppedRunError
from burnish.storage.durable import TEMPORARY
from burnish.storage.run_folder import RunFolder
from burnish.types import Comparing, Encoded, Method, Progress, Task

Validate = Callable[[nn.Module], Mapping[str, float]]  # -> {"loss": nats per unit, "accuracy": 0..1, ...}
REQUESTS = {"pause": 100, "cancel": 101}  # beyond the numbers of signals: the largest of all ranks decides


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training ended; the model holds the weights that were chosen, the best ones by default."""

    steps: int
    epochs: float
    best_step: int
    best_value: float
    stopped: str  # "finished" or why it stopped early
    seconds: float
    rows: int
    tokens: int  # of the rows of all steps
    trainable_parameters: int
    total_parameters: int
    skipped_steps: int
    rolled_back: bool
    memory_retries: int
    chosen: str  # "best", "last"...: which weights
    compared: tuple[Scored, ...]  # with which others, on validation; empty when nothing was compared


class Training:
    """One training of one model in one run folder.

    Args:
        task, method: what is learned, which weights learn.
        model: on its device, with the method already attached.
        rows: encoded training rows; their index keys their dropout.
        validate: judges the model on validation rows; called with the averaged weights in place.
        metric: name in validate's result that decides early stopping and the best checkpoint.
        layout, precision: chosen on the first rows.
        ranks: the processes that share the work; all of them call `run`.
        kept_rows: encoded rows of what must not be forgotten, for replay and for the Fisher information.
        limit: how much the weights that are chosen at the end may forget.
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
        ranks: Ranks | None = None,
        kept_rows: Sequence[Encoded] = (),
        limit: Limit | None = None,
    ) -> None:
        self.model = model
        self.validate, self.metric = validate, metric
        self.options, self.keep, self.folder = options, checkpoint, folder
        self.ranks = ranks or Ranks()
        self.limit, self.higher_is_better = limit, higher_is_better
        self.passes = Passes(task, model, rows, kept_rows, layout, precision, device, options.seed)
        assert options.epochs is not None
        self.steps_per_epoch = math.ceil(len(rows) / options.global_batch_size)
        self.total_steps = min(options.epochs * self.steps_per_epoch, options.max_steps or 10**12)
        self.evaluate_every = options.evaluate_every_steps or self.steps_per_epoch
        self.save_every = checkpoint.every_steps or self.evaluate_every
        self.row_lengths = self.passes.lengths[: len(rows)]
        self.trainable = dict(method.trainable(model))
        self.names = {id(weight): name for name, weight in self.trainable.items()}
        mixes = checkpoint.choose not in ("best", "last")
        self.start = {name: w.detach().clone() for name, w in self.trainable.items()} if mixes else {}
        self.pulls: list[Pull] = []
        self.optimizer = build_optimizer(model, self.trainable, options)
        self.stopping = EarlyStopping(patience=options.patience, higher_is_better=higher_is_better)
        learned = sum(weight.numel() for weight in self.trainable.values())
        self.at_first = tokens_at_once(
            options.micro_batch_tokens, device, compared=isinstance(task, Comparing), learned=learned
        )
        self.faults = Faults(self.at_first)
        self.recompute = Recompute(model, device)
        self.journal = Journal(
            folder,
            progress,
            every=options.log_every_steps,
            total_steps=self.total_steps,
            writes=self.ranks.leads,
        )
        replace_dropout(model, seed=options.seed, probability=options.dropout)
        self.passes.count_shared()
        self.learned = Learned(model, self.trainable, options.average_decay)
        tokens = self.faults.micro_batch_tokens
        in_groups = {self.names[id(w)]: w for group in self.optimizer.param_groups for w in group["params"]}
        self.copies, self.copies_reason = bf16_weights(model, in_groups, self.passes, max_tokens=tokens)
        if self.copies is not None:
            self.optimizer.hold(self.copies.masters, self.copies.values, self.copies.gradients)
            self.learned.hold(self.copies.masters, self.copies.values)
        self.lora: FusedLora | None = None
        self.step = 0
        self.epoch_loss, self.epoch_weight = 0.0, 0.0  # of the steps since the last evaluation
        self.batches: Sequence[list[int]] = []
        self.batches_of_epoch = -1
        self.choosing = False  # the steps are done, candidates are judged
        self.started = time.monotonic()
        self.budget = Budget(options)
        self.first_step = 0  # of this part, when the training goes on

    @property
    def epoch(self) -> float:
        """Passes over the rows so far."""
        return self.step / self.steps_per_epoch

    def run(self) -> Trained:
        """Trains to the end, resuming from the newest complete checkpoint when there is one.

        Raises:
            DivergedError: [engine/diverged] when going back with half the learning rate did not help.
            OutOfMemoryError: [engine/out-of-memory] when not even single rows fit.
            InterruptedRunError: [engine/interrupted] after SIGINT or SIGTERM; a checkpoint was saved.
            StoppedRunError: [engine/paused], [engine/cancelled] when another process asked for it; the same.
            LostRankError: [engine/rank-lost] when another process of the training died.
        """
        self._fix_pulls()
        if self.copies_reason:
            self.journal.event("weights", copies=self.copies is not None, reason=self.copies_reason)
        saving.resume(self)
        stopped = self.stopping.reason()
        compared: list[Scored] = []
        name: str = self.keep.choose
        with listening() as stop, self._fused(), self._frozen_states(), contextlib.ExitStack() as after:
            after.callback(self.recompute.end)
            while self.step < self.total_steps and stopped is None:
                stopped = self._advance(stop)
            self.recompute.end()
            if self.ranks.leads:  # a signal in the middle of a read would end as an error of the library that reads
                name, compared = self._choose()
        return Trained(
            steps=self.step,
            epochs=round(self.epoch, 3),
            best_step=self.stopping.best_step,
            best_value=float(self.stopping.best_value or 0.0),
            stopped=stopped or "finished",
            seconds=round(time.monotonic() - self.started, 3),
            rows=len(self.passes.rows),
            tokens=self._tokens_seen(),
            trainable_parameters=sum(w.numel() for w in self.trainable.values()),
            total_parameters=sum(w.numel() for w in self.model.parameters()),
            skipped_steps=self.faults.skipped_steps,
            rolled_back=self.faults.rolled_back,
            memory_retries=self.faults.memory_retries,
            chosen=name,
            compared=tuple(compared),
        )

    def rehearsing(self) -> contextlib.AbstractContextManager[None]:
        """Inside the block a step takes the memory that it takes in `run`, where it takes far more otherwise."""
        return contextlib.nullcontext() if self.passes.device.type == "cpu" else self._fused(told=False)

    @contextlib.contextmanager
    def _fused(self, *, told: bool = True) -> Iterator[None]:
        """Inside the block LoRA layers are computed together; a row shows first which of them read the same states."""
        tokens = self.faults.micro_batch_tokens
        with (
            fused_lora(self.model, self.passes.precision) as self.lora,
            held_lean(self.model, self.passes, max_tokens=tokens) as lean,
        ):
            if lean and told:
                self.journal.event("lean", what=lean)
                self.journal.note(lean)
            if self.lora.sentence:
                self.passes.try_out()
            if self.lora.sentence and told:
                self.journal.note(self.lora.sentence)
            if self.options.frozen_products == "auto":
                yield
                return
            with self.lora.in_eight_bits(partial(self._loss_with_gradients, tokens)) as eight:
                if told:
                    self.journal.event("frozen-products", what=eight)
                    self.journal.note(eight)
                yield

    @contextlib.contextmanager
    def _frozen_states(self) -> Iterator[None]:
        """Inside the block steps begin above the frozen layers, where that was asked for and changes nothing."""
        if not self.options.keep_frozen_states:
            yield
            return
        repeats = self.total_steps / self.steps_per_epoch if self.ranks.world == 1 else 0.0
        path, progress = self.folder.path / f"{TEMPORARY}frozen-states", self.journal.progress
        with frozen_states(self.passes, path, repeats=repeats, progress=progress) as said:
            self.journal.event("frozen-states", what=said)
            self.journal.note(said)
            yield

    def _loss_with_gradients(self, max_tokens: int) -> float:
        """Loss of some rows per unit, behind a backward pass whose gradients are thrown away."""
        try:
            return self.passes.probed_loss(max_tokens, backward=True, whole=True)
        finally:
            self.optimizer.zero_grad()

    def _advance(self, stop: StopSignal) -> str | None:
        """One optimizer step and what is due after it; gives the reason to stop, if any."""
        row_ids = self._rows_of_step()
        figures = self._step(row_ids)
        self.step += 1
        if self.faults.in_a_row == IN_A_ROW:
            self._roll_back(f"loss or gradient was not finite in {IN_A_ROW} steps in a row", row_ids)
            return None
        self.journal.step(self.step, self.epoch, figures, skipped_steps=self.faults.skipped_steps)
        self._tell_pace()
        reason, improved = None, False
        spent = self._spent()
        if self.step % self.evaluate_every == 0 or self.step == self.total_steps or spent:
            values = self._validation_values()
            if not math.isfinite(values["loss"]):
                self._roll_back(f"the validation loss is {values['loss']}", [])
                return None
            improved = self._see(values)
            reason = self.stopping.reason() or spent
        finished = reason is not None or self.step == self.total_steps
        wanted = self._wanted(stop)
        due = self.step % self.save_every == 0 and not self.faults.in_a_row  # a streak must not push good ones out
        if improved or finished or wanted or due:
            saving.save(self)
        if wanted and not finished:
            self._stop(wanted)
        return reason

    def _tokens_seen(self) -> int:
        """Tokens of the rows of all steps so far, also of those before the run was gone on with."""
        epochs, steps = divmod(self.step, self.steps_per_epoch)
        size, seed = self.options.global_batch_size, self.options.seed
        begun = epoch_batches(self.row_lengths, batch_size=size, seed=seed, epoch=epochs)[:steps] if steps else []
        return epochs * int(self.row_lengths.sum()) + sum(self.passes.tokens_of(batch) for batch in begun)

    def _rows_of_step(self) -> list[int]:
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self.batches_of_epoch != epoch:
            self.batches = epoch_batches(
                self.row_lengths, batch_size=self.options.global_batch_size, seed=self.options.seed, epoch=epoch
            )
            self.batches_of_epoch = epoch
        return self.batches[place]

    def _step(self, row_ids: list[int]) -> Figures | None:
        """Forward and backward over all micro-batches, one division, clipping, one update; None when skipped."""
        started = time.monotonic()
        self.model.train()
        factor = learning_rate_factor(self.step, total_steps=self.total_steps, options=self.options)
        factor *= self.faults.rate_scale
        replay = self._replay_of_step(row_ids)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        sums = self.accumulate([*row_ids, *replay.rows], factor=replay.factor)
        units = sums.weight / (1.0 - self.options.keep_ability.replay)  # the loss is (1 - replay) new + replay old
        penalties = [pull.add_gradient(units) for pull in self.pulls]
        norm = self.optimizer.mean_norm(units)
        loss = sums.total / sums.weight
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._skip(f"loss {loss}, gradient norm {norm}", row_ids)
            return None
        self.optimizer.step(min(1.0, self.options.max_grad_norm / (norm + 1e-6)) / units)
        self.optimizer.zero_grad()
        if self.learned.average is not None:
            self.learned.average.update(self.trainable, self.step + 1)
        self.faults.in_a_row = 0
        self.epoch_loss += sums.total
        self.epoch_weight += sums.weight
        return {
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": (self.options.learning_rate or 0.0) * factor,
            "rows": float(len(row_ids)),
            "tokens": float(self.passes.tokens_of(row_ids)),
            "seconds": time.monotonic() - started,
            **({"replay_loss": sums.replayed / replay.units} if replay.rows else {}),
            **({"penalty": float(torch.stack(penalties).sum())} if penalties else {}),
            **{name: total / max(1, len(self.ranks.share(row_ids))) for name, total in sums.extras.items()},
        }

    def _replay_of_step(self, row_ids: list[int]) -> Replay:
        passes = self.passes
        counts = {"rows": len(passes.rows), "kept_rows": len(passes.kept_rows)}
        return replay_of_step(self.step, row_ids, units_of=passes.units_of, options=self.options, **counts)

    def accumulate(self, row_ids: Sequence[int], *, factor: float = 0.0) -> Sums:
        """What the rows of a step sum to on all ranks; gradients are added up, undivided.

        When memory ends on any rank, all of them begin the step again with half the micro-batch: the same rows, the
        same draws, the same division.

        Args:
            factor: what the loss of kept rows is multiplied by.
        """
        while True:
            random_state = torch.get_rng_state()
            sums, full, tokens = Sums(), "", self.faults.micro_batch_tokens
            try:
                place: dict[str, Any] = {"step": self.step, "max_tokens": tokens, "ranks": self.ranks}
                with self.copies.inside() if self.copies else contextlib.nullcontext():
                    self.passes.add_up(row_ids, sums, factor=factor, **place)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                full = str(error) or type(error).__name__  # the error itself would keep the step's tensors alive
            total, weight, replayed, failed = self.ranks.sums(sums.total, sums.weight, sums.replayed, float(bool(full)))
            if not failed:
                self.ranks.sum_gradients(self.trainable.values())
                return Sums(total, weight, replayed, sums.extras)
            self.optimizer.zero_grad()
            if self.lora is not None:
                self.lora.forget()
            torch.set_rng_state(random_state)
            more: dict[str, Any] = {"recompute": self.recompute, "at_first": self.at_first}
            more |= {"step": self.step + 1, "rows_per_step": self.options.global_batch_size}
            halve_micro_batch(self.faults, self.passes, row_ids, self.journal, **more)

    def _skip(self, what: str, row_ids: list[int]) -> None:
        """Leaves a step out whose numbers cannot be used; weights, moments and average stay as they are."""
        self.optimizer.zero_grad()
        count_skipped(self.faults, what, row_ids, self.journal, step=self.step + 1)

    def _roll_back(self, why: str, row_ids: list[int]) -> None:
        """Once: back to the last good checkpoint with half the learning rate. The second time: the end.

        Raises:
            DivergedError: [engine/diverged].
        """
        failed_at, faults = self.step, self.faults
        if faults.rolled_back:
            rate = (self.options.learning_rate or 1e-4) / 4
            diverged(why, row_ids, self.journal, step=failed_at, lower_rate=rate)
        saving.restore(self, saving.newest(self, up_to=self.step - max(faults.in_a_row, 1)))
        self.faults = faults.rolled_back_once()
        self.journal.event("rolled-back", step=failed_at, to=self.step, rate_scale=self.faults.rate_scale, reason=why)
        where = f"back to step {self.step}" if self.step < failed_at else "no checkpoint to go back to; it goes on here"
        self.journal.warn(f"step {failed_at}: {why}; {where} with half the learning rate")

    def _validation_values(self) -> dict[str, float]:
        """What rank 0 finds with the averaged weights on the validation rows."""
        values: dict[str, float] = {}
        if self.ranks.leads:
            self.model.eval()
            with self.learned.averaged():
                values = dict(self.validate(self.model))
        told: dict[str, float] = self.ranks.tell(values)
        return told

    def _see(self, values: dict[str, float]) -> bool:
        """Takes an evaluation; True when it is the best so far."""
        train_loss = self.epoch_loss / self.epoch_weight if self.epoch_weight else None  # None: all steps skipped
        self.epoch_loss = self.epoch_weight = 0.0
        best = self.stopping.see(self.step, values[self.metric], train_loss=train_loss, validation_loss=values["loss"])
        self.journal.evaluation(self.step, self.epoch, values, train_loss=train_loss, metric=self.metric, best=best)
        return best

    def _wanted(self, stop: StopSignal) -> int:
        """Number of the signal or request that ends this training now, the same on all ranks; 0: none."""
        asked = REQUESTS.get(self.folder.asked() or "", 0) if self.ranks.leads else 0
        return int(self.ranks.largest(max(asked, stop.number or 0)))

    def _spent(self) -> str | None:
        """Why the training ends here, when its time or money is spent; the same on all ranks."""
        if self.budget.limit is None or not self.ranks.largest(float(self.budget.is_spent)):
            return None
        return self.budget.reason()

    def _tell_pace(self) -> None:
        said = self.budget.pace(self.step - self.first_step, self.total_steps - self.step)
        if said is not None:
            self.journal.note(said)

    def _stop(self, wanted: int) -> NoReturn:
        """Ends the training after a step whose checkpoint was just saved."""
        at = f"after step {self.step} of {self.total_steps}; a checkpoint was saved"
        hint = f"go on with: burnish resume {self.folder.path}"
        if wanted == REQUESTS["pause"]:
            raise StoppedRunError("engine/paused", f"paused {at}", hint=hint)
        if wanted == REQUESTS["cancel"]:
            raise StoppedRunError("engine/cancelled", f"cancelled {at}")
        raise InterruptedRunError("engine/interrupted", f"stopped by a signal {at}", signal_number=wanted, hint=hint)

    def _fix_pulls(self) -> None:
        """Measures, on the weights as they start, what pulls them back; the same on all ranks."""
        passes = self.passes
        self.pulls, strengths = build_pulls(
            self.model,
            self.trainable,
            self.options.keep_ability,
            task=passes.task,
            rows=passes.kept_rows,
            layout=passes.layout,
            precision=passes.precision,
            device=passes.device,
        )
        self.ranks.share_weights(strengths)

    def _choose(self) -> tuple[str, list[Scored]]:
        """Leaves the weights that the recipe asks for in the model; gives their name, and what was compared."""
        self.choosing = True
        best = self.stopping.best_step
        newest = checkpoints.newest_steps(self.folder.checkpoints, up_to=self.step, count=self.keep.keep)
        ways = candidates(self.keep.choose, best=best, newest=newest)
        scored: list[Scored] = []
        for way in ways if len(ways) > 1 else ():
            self.learned.take(mixed(way, self.start, self._weights_of))
            values = self.validate(self.model)
            rise = None if self.limit is None else self.limit.rise_of(self.model)
            scored.append(Scored(way, values[self.metric], values["loss"], rise))
        winner = ways[0]
        if scored:
            tolerance = None if self.limit is None else self.limit.tolerance
            winner = chosen(scored, higher_is_better=self.higher_is_better, tolerance=tolerance).candidate
            self.journal.note(f"{len(scored)} ways to end compared on validation: {winner.name}")
        self.learned.take(mixed(winner, self.start, self._weights_of))
        return winner.name, scored

    def take(self, step: int) -> None:
        """Leaves the weights of a checkpoint in the model, as they were validated."""
        self.learned.take(self._weights_of(step))

    def _weights_of(self, step: int) -> dict[str, Tensor]:
        return self.learned.as_validated(self.folder.checkpoints / f"step-{step}")
