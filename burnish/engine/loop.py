"""The training loop: read `_step` top to bottom.

State of a run = weights that learn, their average, AdamW's moments, early stopping, faults, and one number: the step.
Order of rows, dropout and learning rate are functions of seed and step, so a run resumed from any checkpoint on the
same set-up ends with the same bits as one that was never interrupted.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from burnish.engine import checkpoint as checkpoints
from burnish.engine.budget import Budget
from burnish.engine.choice import Limit, Scored, candidates, chosen, mixed
from burnish.engine.distributed import Ranks
from burnish.engine.dropout import replace_dropout, row_draws
from burnish.engine.faults import IN_A_ROW, Faults, is_out_of_memory
from burnish.engine.gradient_cache import compare_in_pieces
from burnish.engine.journal import Figures, Journal
from burnish.engine.keep_ability import Pull, build_pulls, replayed_rows
from burnish.engine.layout import LayoutChoice, RowBatch
from burnish.engine.memory import free_bytes, kept_for_backward
from burnish.engine.optimizer import WeightAverage, build_optimizer, learning_rate_factor, mean_and_clip
from burnish.engine.options import CheckpointOptions, TrainingOptions
from burnish.engine.precision import Precision
from burnish.engine.rows import lengths_of
from burnish.engine.sampler import epoch_batches, micro_batches, tokens_at_once
from burnish.engine.stopping import EarlyStopping, StopSignal, listening
from burnish.errors import DivergedError, InterruptedRunError, OutOfMemoryError, StoppedRunError
from burnish.storage.durable import require_undamaged
from burnish.storage.run_folder import RunFolder
from burnish.types import Comparing, Encoded, LossTerm, Method, Progress, Task

Validate = Callable[[nn.Module], Mapping[str, float]]  # -> {"loss": nats per unit, "accuracy": 0..1, ...}
AVERAGE, BUFFER = "average.", "buffer."
MARGIN = 4  # times what is known to be kept: gradients on their way, and what other programs may take
WITH_EACH_WEIGHT = 4  # its gradient, two moments and its average
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
        self.task, self.model, self.rows = task, model, rows
        self.validate, self.metric = validate, metric
        self.options, self.keep, self.folder = options, checkpoint, folder
        self.layout, self.precision, self.device = layout, precision, device
        self.ranks = ranks or Ranks()
        self.kept_rows, self.limit, self.higher_is_better = kept_rows, limit, higher_is_better
        assert options.epochs is not None
        self.steps_per_epoch = math.ceil(len(rows) / options.global_batch_size)
        self.total_steps = min(options.epochs * self.steps_per_epoch, options.max_steps or 10**12)
        self.evaluate_every = options.evaluate_every_steps or self.steps_per_epoch
        self.save_every = checkpoint.every_steps or self.evaluate_every
        self.row_lengths = lengths_of(rows)
        self.lengths = [*self.row_lengths, *lengths_of(kept_rows)]  # kept rows are numbered behind the others
        self.trainable = dict(method.trainable(model))
        self.names = {id(weight): name for name, weight in self.trainable.items()}
        mixes = checkpoint.choose not in ("best", "last")
        self.start = {name: w.detach().clone() for name, w in self.trainable.items()} if mixes else {}
        self.pulls: list[Pull] = []
        self.replay_factor, self.replayed_loss = 0.0, 0.0  # of a step
        self.optimizer = build_optimizer(model, self.trainable, options)
        self.average = WeightAverage(self.trainable, options.average_decay) if options.average_decay else None
        self.stopping = EarlyStopping(patience=options.patience, higher_is_better=higher_is_better)
        self.faults = Faults(tokens_at_once(options.micro_batch_tokens, device, compared=isinstance(task, Comparing)))
        self.journal = Journal(
            folder,
            progress,
            every=options.log_every_steps,
            total_steps=self.total_steps,
            writes=self.ranks.leads,
        )
        replace_dropout(model, seed=options.seed, probability=options.dropout)
        stored = model.state_dict().keys()
        self.buffers = {name: buffer for name, buffer in model.named_buffers() if name in stored}
        self.first_buffers = {name: buffer.clone() for name, buffer in self.buffers.items()}
        self.step = 0
        self.epoch_loss, self.epoch_weight = 0.0, 0.0  # of the steps since the last evaluation
        self.extras: dict[str, float] = {}  # what the task logs beside the loss, summed over this rank's rows of a step
        self.batches: list[list[int]] = []
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
        self._resume()
        stopped = self.stopping.reason()
        compared: list[Scored] = []
        name: str = self.keep.choose
        with listening() as stop:
            while self.step < self.total_steps and stopped is None:
                stopped = self._advance(stop)
            if self.ranks.leads:  # a signal in the middle of a read would end as an error of the library that reads
                name, compared = self._choose()
        return Trained(
            steps=self.step,
            epochs=round(self.epoch, 3),
            best_step=self.stopping.best_step,
            best_value=float(self.stopping.best_value or 0.0),
            stopped=stopped or "finished",
            seconds=round(time.monotonic() - self.started, 3),
            rows=len(self.rows),
            trainable_parameters=sum(w.numel() for w in self.trainable.values()),
            total_parameters=sum(w.numel() for w in self.model.parameters()),
            skipped_steps=self.faults.skipped_steps,
            rolled_back=self.faults.rolled_back,
            memory_retries=self.faults.memory_retries,
            chosen=name,
            compared=tuple(compared),
        )

    def surely_fits(self) -> bool:
        """Whether the largest micro-batch takes so little of the free memory that it need not be rehearsed.

        Known from the longest of its rows: what that one keeps for its gradient, times the rows. Only where all
        memory is the machine's and a row can be computed alone. Changes nothing.
        """
        coupled = any(isinstance(part, nn.BatchNorm2d) for part in self.model.modules())  # wants more rows than one
        if self.device.type != "cpu" or self.ranks.world > 1 or coupled or not self.task.decomposable:
            return False
        largest = self._largest_piece()
        row = self._kept_by(max(largest, key=lambda row: self.lengths[row]))
        learned = sum(weight.numel() * weight.element_size() for weight in self.trainable.values())
        return row is not None and MARGIN * (len(largest) * row + WITH_EACH_WEIGHT * learned) <= free_bytes()

    def _kept_by(self, row: int) -> int | None:
        """Bytes that a row keeps for its gradient; None when not even that much is there."""
        random_state = torch.get_rng_state()
        self.model.train()
        try:
            with self.precision.compute(self.device):
                return kept_for_backward(self.model, lambda: self.task.loss(self.model, self._laid_out([row])))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            torch.set_rng_state(random_state)
            self._restore_buffers({})

    def _largest_piece(self) -> list[int]:
        """The micro-batch of the first pass with the most places, those of padding included."""
        pieces = [
            piece
            for batch in epoch_batches(
                self.row_lengths, batch_size=self.options.global_batch_size, seed=self.options.seed, epoch=0
            )
            for piece in self._pieces(batch)
        ]
        return max(pieces, key=lambda piece: len(piece) * max(self.lengths[i] for i in piece))

    def rehearse(self) -> None:
        """Computes the largest micro-batch of the first pass and throws it away.

        Memory that does not suffice shows, and is dealt with, before the first step and not hours later. Playing that
        batch first instead would cost nothing, but a first step on the longest rows alone seemed to train worse.
        Changes nothing but the size of the micro-batch; all ranks call it.

        Raises:
            OutOfMemoryError: [engine/out-of-memory] when not even single rows fit.
        """
        largest = self._largest_piece()
        random_state = torch.get_rng_state()
        self.model.train()
        self._accumulate(largest)
        self.optimizer.zero_grad()
        torch.set_rng_state(random_state)
        self._restore_buffers({})

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
            self._save()
        if wanted and not finished:
            self._stop(wanted)
        return reason

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
        replayed = self._replayed_rows(row_ids)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        total, weight = self._accumulate([*row_ids, *replayed])
        units = weight / (1.0 - self.options.keep_ability.replay)  # the loss is (1 - replay) new + replay old
        penalties = [pull.add_gradient(units) for pull in self.pulls]
        norm = mean_and_clip(self.trainable.values(), units, self.options.max_grad_norm)
        loss = total / weight
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._skip(f"loss {loss}, gradient norm {norm}", row_ids)
            return None
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(self.trainable, self.step + 1)
        self.faults.in_a_row = 0
        self.epoch_loss += total
        self.epoch_weight += weight
        return {
            "loss": loss,
            "gradient_norm": norm,
            "learning_rate": (self.options.learning_rate or 0.0) * factor,
            "rows": float(len(row_ids)),
            "tokens": float(sum(self.lengths[i] for i in row_ids)),
            "seconds": time.monotonic() - started,
            **({"replay_loss": self.replayed_loss / self._units_of(replayed)} if replayed else {}),
            **({"penalty": float(torch.stack(penalties).sum())} if penalties else {}),
            **{name: total / max(1, len(self.ranks.share(row_ids))) for name, total in self.extras.items()},
        }

    def _pieces(self, rows: list[int]) -> list[list[int]]:
        """Micro-batches of some rows; all at once for a task that can only compare whole batches."""
        if not can_be_cut(self.task):
            return [rows] if rows else []
        return micro_batches(rows, self.lengths, max_tokens=self.faults.micro_batch_tokens)

    def _accumulate(self, row_ids: list[int]) -> tuple[float, float]:
        """Loss and weight summed over the rows of a step on all ranks; gradients are added up, undivided.

        When memory ends on any rank, all of them begin the step again with half the micro-batch: the same rows, the
        same draws, the same division.
        """
        while True:
            random_state = torch.get_rng_state()
            mine, total, weight, full = self.ranks.share(row_ids), 0.0, 0.0, ""
            self.extras, self.replayed_loss = {}, 0.0
            try:
                for term in self._terms(mine, len(row_ids)):
                    total += term[0]
                    weight += term[1]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                full = str(error) or type(error).__name__  # the error itself would keep the step's tensors alive
            total, weight, self.replayed_loss, failed = self.ranks.sums(
                total, weight, self.replayed_loss, float(bool(full))
            )
            if not failed:
                self.ranks.sum_gradients(self.trainable.values())
                return total, weight
            self.optimizer.zero_grad()
            torch.set_rng_state(random_state)
            self._halve_micro_batch(row_ids)

    def _terms(self, mine: list[int], rows: int) -> Iterator[tuple[float, float]]:
        """Forward and backward over this rank's rows of a step: sums of losses and their weights, one per micro-batch.

        Where rows are compared there is one sum for the rows of all ranks, which the first rank counts.
        """
        pieces = self._pieces([i for i in mine if i < len(self.rows)])
        if not isinstance(self.task, Comparing):
            yield from map(self._forward_backward, pieces)
            for piece in self._pieces([i for i in mine if i >= len(self.rows)]):
                self._replay(piece)
            return
        place: dict[str, Any] = {"precision": self.precision, "device": self.device, "ranks": self.ranks}
        term = compare_in_pieces(self.task, self.model, [self._laid_out(p) for p in pieces], rows=rows, **place)
        if self.ranks.leads:
            yield self._counted(term)

    def _forward_backward(self, piece: list[int]) -> tuple[float, float]:
        """Sum of the losses of a micro-batch and its weight."""
        batch = self._laid_out(piece)
        with self.precision.compute(self.device):
            term = self.task.loss(self.model, batch)
        term.total.backward()  # type: ignore[no-untyped-call]
        return self._counted(term)

    def _replay(self, piece: list[int]) -> None:
        """Forward and backward over a micro-batch of kept rows; their loss is counted apart from that of new ones."""
        batch = self._laid_out(piece)
        with self.precision.compute(self.device):
            term = self.task.loss(self.model, batch)
        (term.total * self.replay_factor).backward()  # type: ignore[no-untyped-call]
        self.replayed_loss += float(term.total.detach())

    def _replayed_rows(self, row_ids: list[int]) -> list[int]:
        """The kept rows of this step, about `replay` of all its rows; sets what a unit of their loss counts.

        With w = replay, W and K the units of new and kept rows, and every sum divided by W / (1 - w) in the end, a
        factor of w / (1 - w) * W / K makes the loss (1 - w) * mean(new) + w * mean(kept).
        """
        share = self.options.keep_ability.replay
        if not share:
            return []
        odds = share / (1.0 - share)
        kept = replayed_rows(
            self.step,
            count=max(1, round(odds * self.options.global_batch_size)),
            rows=len(self.kept_rows),
            seed=self.options.seed,
        )
        replayed = [len(self.rows) + index for index in kept]
        self.replay_factor = odds * self._units_of(row_ids) / self._units_of(replayed)
        return replayed

    def _units_of(self, row_ids: Sequence[int]) -> float:
        return sum(self._row(i).weight for i in row_ids)

    def _row(self, index: int) -> Encoded:
        """A training row, or behind them a kept row."""
        new = len(self.rows)
        return self.rows[index] if index < new else self.kept_rows[index - new]

    def _laid_out(self, piece: list[int]) -> RowBatch:
        return self.layout.lay_out(
            [self._row(i) for i in piece],
            piece,
            device=self.device,
            draws=row_draws(piece, seed=self.options.seed, step=self.step),
        )

    def _counted(self, term: LossTerm) -> tuple[float, float]:
        for name, value in term.extras.items():
            self.extras[name] = self.extras.get(name, 0.0) + value
        return float(term.total.detach()), term.weight

    def _halve_micro_batch(self, row_ids: list[int]) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        pieces = self._pieces(row_ids)
        before = max(sum(self.lengths[i] for i in piece) for piece in pieces)
        if all(len(piece) == 1 for piece in pieces) or not can_be_cut(self.task):
            hint = "use method: lora or head, or a smaller base"
            if not can_be_cut(self.task):
                hint = f"{self.task.name} compares the rows of a step: lower training.global_batch_size, or {hint}"
            raise OutOfMemoryError(
                "engine/out-of-memory",
                f"step {self.step + 1} does not fit into memory, {before} tokens at once",
                where=str(self.folder.path),
                hint=hint,
            )
        self.faults.micro_batch_tokens = before // 2
        self.faults.memory_retries += 1
        after = self.faults.micro_batch_tokens
        self.journal.event("micro-batch-halved", step=self.step + 1, tokens_before=before, tokens=after)
        self.journal.warn(
            f"step {self.step + 1} did not fit into memory with {before} tokens at once; it is repeated with {after}."
            f" The batch of {self.options.global_batch_size} rows per step stays the same"
        )

    def _skip(self, what: str, row_ids: list[int]) -> None:
        """Leaves a step out whose numbers cannot be used; weights, moments and average stay as they are."""
        self.optimizer.zero_grad()
        self.faults.skipped_steps += 1
        self.faults.in_a_row += 1
        self.journal.event("step-skipped", step=self.step + 1, rows=row_ids, reason=what)
        self.journal.warn(f"step {self.step + 1} was skipped: {what} ({_named(row_ids)})")

    def _roll_back(self, why: str, row_ids: list[int]) -> None:
        """Once: back to the last good checkpoint with half the learning rate. The second time: the end.

        Raises:
            DivergedError: [engine/diverged].
        """
        failed_at = self.step
        if self.faults.rolled_back:
            self.journal.event("diverged", step=failed_at, rows=row_ids)
            rate = (self.options.learning_rate or 1e-4) / 4
            raise DivergedError(
                "engine/diverged",
                f"step {failed_at}: {why}, also with half the learning rate",
                where=f"{self.folder.path}{f' ({_named(row_ids)})' if row_ids else ''}",
                hint=f"look at these rows, or lower the learning rate: --set training.learning_rate={rate:g}",
            )
        good = self.step - max(self.faults.in_a_row, 1)
        faults = self.faults
        self._restore(self._newest_checkpoint(up_to=good))
        self.faults = Faults(
            micro_batch_tokens=faults.micro_batch_tokens,
            skipped_steps=faults.skipped_steps,
            rolled_back=True,
            memory_retries=faults.memory_retries,
        )
        self.journal.event("rolled-back", step=failed_at, to=self.step, rate_scale=self.faults.rate_scale, reason=why)
        where = f"back to step {self.step}" if self.step < failed_at else "no checkpoint to go back to; it goes on here"
        self.journal.warn(f"step {failed_at}: {why}; {where} with half the learning rate")

    def _validation_values(self) -> dict[str, float]:
        """What rank 0 finds with the averaged weights on the validation rows."""
        values: dict[str, float] = {}
        if self.ranks.leads:
            self.model.eval()
            with self._averaged():
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

    def _averaged(self) -> _Swapped:
        return _Swapped(self.trainable, self.average.weights if self.average else {})

    def _save(self) -> None:
        if self.ranks.leads:
            self._publish()
        self.ranks.tell()  # nobody goes on, or leaves, before it is on the disk

    def _publish(self) -> None:
        weights: dict[str, Tensor] = dict(self.trainable)
        if self.average is not None:
            weights |= {AVERAGE + name: weight for name, weight in self.average.weights.items()}
        changed = {name: b for name, b in self.buffers.items() if not torch.equal(b, self.first_buffers[name])}
        weights |= {BUFFER + name: buffer for name, buffer in changed.items()}
        state: dict[str, Any] = {
            "total_steps": self.total_steps,
            "stopping": self.stopping.state(),
            "faults": self.faults.state(),
            "epoch_loss": self.epoch_loss,
            "epoch_weight": self.epoch_weight,
            "recent": self.journal.recent,
            "metrics_bytes": self.journal.size(),
            "seconds": self.budget.spent,
            "threads": torch.get_num_threads(),
            "processes": self.ranks.world,
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
        self.journal.event("checkpoint", step=self.step)
        self.journal.note(f"saved checkpoint {path.name}: step {self.step}")

    def _newest_checkpoint(self, *, up_to: int | None = None) -> checkpoints.Checkpoint | None:
        """The newest complete checkpoint, the same one on all ranks."""
        found = None
        if self.ranks.leads:
            found = checkpoints.newest_checkpoint(self.folder.checkpoints, warn=self.journal.warn, up_to=up_to)
        name = self.ranks.tell(found and found.folder.name)
        return found or (checkpoints.read_checkpoint(self.folder.checkpoints / name) if name else None)

    def _resume(self) -> None:
        found = self._newest_checkpoint()
        if found is None:
            self.journal.cut_back(0)
        self._restore(found)
        self.first_step = self.step
        if found is not None:
            self.budget.earlier = float(found.state.get("seconds", 0.0))
            self.journal.event("resumed", step=self.step)
            self.journal.note(f"resumed from {found.folder.name}: step {self.step}")
        self.ranks.share_weights(self.trainable.values())
        if found is None and self.average is not None:
            self.average.start_from(self.trainable)

    def _fix_pulls(self) -> None:
        """Measures, on the weights as they start, what pulls them back; the same on all ranks."""
        self.pulls, strengths = build_pulls(
            self.model,
            self.trainable,
            self.options.keep_ability,
            task=self.task,
            rows=self.kept_rows,
            layout=self.layout,
            precision=self.precision,
            device=self.device,
        )
        self.ranks.share_weights(strengths)

    def _restore(self, found: checkpoints.Checkpoint | None) -> None:
        """Puts the state of a checkpoint in place; without one everything stays as it is."""
        if found is None:
            return
        with torch.no_grad():
            for name, weight in self.trainable.items():
                weight.copy_(found.weights[name])
                if self.average is not None:
                    self.average.weights[name].copy_(found.weights.get(AVERAGE + name, weight))
            self._restore_buffers(found.weights)
        checkpoints.restore_optimizer(self.optimizer, found.optimizer, self.names)
        checkpoints.restore_random_state(found)
        self.stopping = EarlyStopping.restored(found.state["stopping"])
        self.faults = Faults(**found.state["faults"])
        self.epoch_loss, self.epoch_weight = found.state["epoch_loss"], found.state["epoch_weight"]
        self.journal.recent = found.state["recent"]
        self.step = found.step
        self.journal.cut_back(int(found.state["metrics_bytes"]))

    def _restore_buffers(self, stored: Mapping[str, Tensor]) -> None:
        """Running means and the like, which learn without a gradient; those that never changed are not stored."""
        for name, buffer in self.buffers.items():
            buffer.copy_(stored.get(BUFFER + name, self.first_buffers[name]))

    def _choose(self) -> tuple[str, list[Scored]]:
        """Leaves the weights that the recipe asks for in the model; gives their name, and what was compared."""
        self.choosing = True
        best = self.stopping.best_step
        newest = checkpoints.newest_steps(self.folder.checkpoints, up_to=self.step, count=self.keep.keep)
        ways = candidates(self.keep.choose, best=best, newest=newest)
        scored: list[Scored] = []
        for way in ways if len(ways) > 1 else ():
            self._load(mixed(way, self.start, self._weights_of))
            values = self.validate(self.model)
            rise = None if self.limit is None else self.limit.rise_of(self.model)
            scored.append(Scored(way, values[self.metric], values["loss"], rise))
        winner = ways[0]
        if scored:
            tolerance = None if self.limit is None else self.limit.tolerance
            winner = chosen(scored, higher_is_better=self.higher_is_better, tolerance=tolerance).candidate
            self.journal.note(f"{len(scored)} ways to end compared on validation: {winner.name}")
        self._load(mixed(winner, self.start, self._weights_of))
        return winner.name, scored

    def take(self, step: int) -> None:
        """Leaves the weights of a checkpoint in the model, as they were validated."""
        self._load(self._weights_of(step))

    def _weights_of(self, step: int) -> dict[str, Tensor]:
        """What a checkpoint holds, its weights as they are validated: averaged ones where an average is kept."""
        folder = self.folder.checkpoints / f"step-{step}"
        require_undamaged(folder)
        found = checkpoints.read_weights(folder)
        if self.average is None:
            return found
        averaged = {name: found.pop(AVERAGE + name) for name in self.trainable}
        return found | averaged

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.trainable.items():
                weight.copy_(weights[name])
            self._restore_buffers(weights)
        self.model.eval()


def can_be_cut(task: Task) -> bool:
    """Whether a step may be computed in pieces: rows do not see each other, or are compared by their vectors alone."""
    return task.decomposable or isinstance(task, Comparing)


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


def _named(row_ids: Sequence[int]) -> str:
    """Numbers of training rows, for people: the first eight of them."""
    return f"training rows {', '.join(map(str, row_ids[:8]))}{'…' if len(row_ids) > 8 else ''}"
