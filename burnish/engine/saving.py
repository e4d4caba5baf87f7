"""A training's state on the disk: saved between two steps, found again, put back. All ranks call these together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from burnish.engine import checkpoint as checkpoints
from burnish.engine.faults import Faults
from burnish.engine.stopping import EarlyStopping

if TYPE_CHECKING:
    from burnish.engine.loop import Training


def save(training: Training) -> None:
    """Publishes a checkpoint."""
    if training.ranks.leads:
        _publish(training)
    training.ranks.tell()  # nobody goes on, or leaves, before it is on the disk


def newest(training: Training, *, up_to: int | None = None) -> checkpoints.Checkpoint | None:
    """The newest complete checkpoint, the same one on all ranks."""
    found = None
    if training.ranks.leads:
        found = checkpoints.newest_checkpoint(training.folder.checkpoints, warn=training.journal.warn, up_to=up_to)
    name = training.ranks.tell(found and found.folder.name)
    return found or (checkpoints.read_checkpoint(training.folder.checkpoints / name) if name else None)


def resume(training: Training) -> None:
    """Goes on from the newest complete checkpoint, or begins: then all ranks start from the first one's weights."""
    found = newest(training)
    if found is None:
        training.journal.cut_back(0)
    restore(training, found)
    training.first_step = training.step
    if found is not None:
        training.budget.earlier = float(found.state.get("seconds", 0.0))
        training.journal.event("resumed", step=training.step)
        training.journal.note(f"resumed from {found.folder.name}: step {training.step}")
    training.ranks.share_weights(training.trainable.values())
    if found is None and training.learned.average is not None:
        training.learned.average.start_from(training.trainable)


def restore(training: Training, found: checkpoints.Checkpoint | None) -> None:
    """Puts the state of a checkpoint in place; without one everything stays as it is."""
    if found is None:
        return
    training.learned.restore(found.weights)
    checkpoints.restore_optimizer(training.optimizer, found.optimizer, training.names)
    checkpoints.restore_random_state(found)
    training.stopping = EarlyStopping.restored(found.state["stopping"])
    training.faults = Faults(**found.state["faults"])
    training.epoch_loss, training.epoch_weight = found.state["epoch_loss"], found.state["epoch_weight"]
    training.journal.recent = found.state["recent"]
    training.step = found.step
    training.journal.cut_back(int(found.state["metrics_bytes"]))


def _publish(training: Training) -> None:
    state: dict[str, Any] = {
        "total_steps": training.total_steps,
        "stopping": training.stopping.state(),
        "faults": training.faults.state(),
        "epoch_loss": training.epoch_loss,
        "epoch_weight": training.epoch_weight,
        "recent": training.journal.recent,
        "metrics_bytes": training.journal.size(),
        "seconds": training.budget.spent,
        "threads": torch.get_num_threads(),
        "processes": training.ranks.world,
    }
    path = checkpoints.save_checkpoint(
        training.folder.checkpoints,
        training.step,
        weights=training.learned.as_saved(),
        optimizer=checkpoints.optimizer_tensors(training.optimizer, training.names),
        state=state,
    )
    checkpoints.prune_checkpoints(
        training.folder.checkpoints, step=training.step, keep=training.keep.keep, best_step=training.stopping.best_step
    )
    training.journal.event("checkpoint", step=training.step)
    training.journal.note(f"saved checkpoint {path.name}: step {training.step}")
