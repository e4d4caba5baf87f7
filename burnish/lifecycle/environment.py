"""What the numbers of a run depend on, recorded with it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import psutil

LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "safetensors", "numpy", "scikit-learn", "scipy")


def describe_environment() -> dict[str, Any]:
    """Versions and machine; nothing that identifies a person."""
    from burnish import __version__

    return {
        "burnish": __version__,
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
    """Largest resident size of this process so far; the current one where the system does not keep the peak."""
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
