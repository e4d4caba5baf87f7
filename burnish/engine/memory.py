"""How much memory a pass takes, how much is free where that can be known, and the errors that say it has ended.

And what becomes of memory that is free again. glibc gives blocks of more than 32 MB back to the system at once, and the
end of its heap whenever it is free. A step makes and drops the same large tensors as the one before; it would pay for
every page of them anew.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

GROUP = Path("/sys/fs/cgroup")  # limits of a container, version 2
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # names of glibc's settings, see mallopt(3)
KEPT_BYTES, BLOCK_BYTES = 2**31 - 1, 2**30  # the most that mallopt takes; blocks beyond the second go back as before


def keep_freed_memory() -> None:
    """Lets this process use again what it frees, instead of giving it back to the system; see `release_memory`.

    Holds until the process ends. Where the C library is another one than glibc, nothing changes.
    """
    library = _c_library()
    if library is not None:
        library.mallopt(TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(MMAP_THRESHOLD, BLOCK_BYTES)


def release_memory() -> None:
    """Gives what is free in this process back to the system, and to the GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


def _c_library() -> ctypes.CDLL | None:
    """glibc, if it is what this process runs on."""
    with contextlib.suppress(OSError, TypeError):  # no such library; a system where the process has no name
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version") and hasattr(library, "malloc_trim"):
            return library
    return None


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
