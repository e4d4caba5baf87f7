"""What the numbers of a run depend on, recorded with it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from burnish.storage.fingerprint import canonical_sha256, file_sha256

LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "safetensors", "numpy", "scikit-learn", "scipy")


def describe_environment() -> dict[str, Any]:
    """Versions and machine; nothing that identifies a person."""
    from burnish import __version__

    return {
        "burnish": __version__,
        "code": code_sha256(),
        "python": platform.python_version(),
        **_versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "physical_cores": psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        "memory_bytes": psutil.virtual_memory().total,
    }


@lru_cache
def _versions() -> dict[str, str]:
    """Versions of the libraries that are installed; a process reads their files once."""
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@lru_cache
def code_sha256() -> str:
    """sha256 over the source files of the installed burnish: two versions that call themselves the same may differ."""
    package = Path(__file__).parents[1]
    files = sorted(path for path in package.rglob("*.py"))
    return canonical_sha256([[path.relative_to(package).as_posix(), file_sha256(path)] for path in files])


def describe_torch() -> dict[str, Any]:
    """Switches of torch that decide which kernels compute, and in which order they add."""
    import torch

    return {
        "cpu_kernels": torch.backends.cpu.get_cpu_capability(),
        "onednn": bool(torch.backends.mkldnn.enabled),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul_precision": torch.get_float32_matmul_precision(),
    }


def environment_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """{"what", "before", "now"} of everything recorded of two runs' environments that is not the same.

    The memory of the machine is left out: it decides whether a run fits, not what it computes.
    """
    names = [name for name in {**before, **now} if name != "memory_bytes"]
    return [
        {"what": name, "before": before.get(name), "now": now.get(name)}
        for name in names
        if before.get(name) != now.get(name)
    ]


def differing_environment(before: Mapping[str, Any]) -> list[str]:
    """What decides the last bits of a run's numbers and is not as it was when the run began, one sentence each."""
    now = describe_environment()
    names = ("python", "torch", "transformers", "peft", "cpu")
    return [
        f"{name} is {now.get(name)} and was {before[name]}"
        for name in names
        if name in before and before[name] != now.get(name)
    ]


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far; the current one where the system does not keep the peak.

    Linux counts in ru_maxrss what the process was before it became this program, a copy of its parent: /proc does not.
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as stream:  # noqa: PTH123  # a kernel file, not a path of ours
            return next(int(line.split()[1]) * 1024 for line in stream if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().rss)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def default_threads() -> int:
    """One thread per physical core that this process may use."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:  # noqa: PTH123  # a kernel file, not a path of ours
            return next((line.split(":", 1)[1].strip() for line in stream if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
