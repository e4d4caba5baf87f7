"""How much memory a pass takes, how much is free where that can be known, and the errors that say it has ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

GROUP = Path("/sys/fs/cgroup")  # limits of a container, version 2


def kept_for_backward(model: nn.Module, forward: Callable[[], object]) -> int:
    """Bytes that a forward pass keeps until its gradient is computed, beside the weights; each storage counts once."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()  # what it keeps must live until all of it is counted
    del result
    return sum(kept.values())


def free_bytes() -> int:
    """Memory of the machine, or of the container, that is free now; 0 where a limit of the process hides it."""
    with contextlib.suppress(ImportError):  # Windows knows no such limits
        import resource

        if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            return 0
    free = int(psutil.virtual_memory().available)
    limit, used = (_number(GROUP / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, max(0, limit - used))


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when a device or the machine has no memory left (the CPU's has no class)."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _number(path: Path) -> int | None:
    """The number in a file of the kernel; None for "max", or where there is no such file."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
