"""Several processes as one training: each computes its share of a step's rows, sums are taken over all of them.

`torchrun --nproc-per-node N -m burnish train RECIPE` starts the processes. Rank 0 reads, writes and judges; the others
follow it (lifecycle/follow.py). Every rank holds the whole model; models that must be sharded would be wrapped here.
What is exchanged is tensors and JSON, never pickled objects.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from burnish.errors import LostRankError

BUCKET = 16 * 1024 * 1024  # numbers summed over the ranks at once
PATIENCE = datetime.timedelta(hours=24)  # rank 0 judges alone; a rank that dies is noticed by its closed connection


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of one training; alone by default."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, rows: Sequence[int]) -> list[int]:
        """This rank's rows of a step. Rows of a step lie by length, so every world-th one gives equal work."""
        return list(rows[self.rank :: self.world])

    def sums(self, *values: float) -> list[float]:
        """Each value summed over the ranks, the same bits on all of them."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def largest(self, value: float) -> float:
        return self._reduced((value,), dist.ReduceOp.MAX)[0]

    def _reduced(self, values: Sequence[float], operation: Any) -> list[float]:
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        with _noticing():
            dist.all_reduce(tensor, op=operation)
        return [float(value) for value in tensor]

    def sum_gradients(self, weights: Iterable[Tensor]) -> None:
        """Adds up the gradients of all ranks; a weight without a gradient counts as zeros."""
        if self.world == 1:
            return
        for bucket in _buckets(weights):
            gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in bucket]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            with _noticing():
                dist.all_reduce(flat)
            for weight, total in zip(bucket, torch.split(flat, [w.numel() for w in bucket]), strict=True):
                weight.grad = total.view_as(weight)

    def joined(self, pieces: Sequence[Tensor], rows: int, device: torch.device) -> Tensor:
        """The rows that the ranks `share`, together again in their order, (rows, ...); without a gradient.

        Args:
            pieces: this rank's rows; rank 0 has some.
        """
        if self.world == 1:
            return torch.cat(list(pieces))
        form = self.tell([list(pieces[0].shape[1:]), str(pieces[0].dtype)] if self.leads else None)
        whole = torch.zeros((rows, *form[0]), dtype=getattr(torch, form[1].removeprefix("torch.")), device=device)
        if pieces:
            whole[self.rank :: self.world] = torch.cat(list(pieces))
        with _noticing():
            dist.all_reduce(whole)
        return whole

    def share_weights(self, weights: Iterable[Tensor]) -> None:
        """Gives every rank the weights of rank 0."""
        if self.world > 1:
            with torch.no_grad(), _noticing():
                for weight in weights:
                    dist.broadcast(weight, src=0)

    def tell(self, value: Any = None) -> Any:
        """The JSON value of rank 0, on every rank."""
        if self.world == 1:
            return value
        data = torch.tensor(list(json.dumps(value).encode()) if self.leads else [], dtype=torch.uint8)
        size = torch.tensor([len(data)])
        with _noticing():
            dist.broadcast(size, src=0)
            data = data if self.leads else torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(data, src=0)
        return json.loads(bytes(data.tolist()))


def join_ranks() -> Ranks:
    """Meets the other processes when torchrun started several; alone otherwise."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Ranks()
    if not dist.is_initialized():
        with_gpus = torch.cuda.is_available()
        if with_gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        with _noticing():
            dist.init_process_group("cpu:gloo,cuda:nccl" if with_gpus else "gloo", timeout=PATIENCE)
    return Ranks(dist.get_rank(), world)


def leave_ranks() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _buckets(weights: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Weights of one type in groups of about BUCKET numbers."""
    bucket: list[Tensor] = []
    for weight in weights:
        if bucket and (sum(w.numel() for w in bucket) + weight.numel() > BUCKET or weight.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(weight)
    if bucket:
        yield bucket


@contextlib.contextmanager
def _noticing() -> Iterator[None]:
    """Turns a broken exchange into one clear error."""
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL raise nothing more special
        raise LostRankError(
            "engine/rank-lost",
            f"another process of this training is gone: {str(error).splitlines()[0][:200]}",
            hint="start the same command again with `resume`; the newest checkpoint is complete",
        ) from error
