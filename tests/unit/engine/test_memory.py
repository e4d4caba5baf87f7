"""What a pass keeps, by hand; and free memory, whoever limits it."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from burnish.engine import memory
from burnish.engine.memory import free_bytes, is_out_of_memory, kept_for_backward


def test_what_a_layer_keeps_is_its_input_and_not_its_weights() -> None:
    layer = nn.Linear(100, 50)
    given = torch.ones(8, 100)
    assert kept_for_backward(layer, lambda: layer(given)) == 8 * 100 * 4
    assert kept_for_backward(layer, lambda: layer(given) + layer(given)) == 8 * 100 * 4  # the same input, once
    assert kept_for_backward(layer, lambda: layer(given).relu()) == 8 * 100 * 4 + 8 * 50 * 4


def test_free_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    machine = psutil.virtual_memory().available
    assert free_bytes() == pytest.approx(machine, rel=0.5)
    (tmp_path / "memory.max").write_text("3000000\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("1000000\n", encoding="ascii")
    assert free_bytes() == 2_000_000
    (tmp_path / "memory.current").write_text("4000000\n", encoding="ascii")
    assert free_bytes() == 0
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert free_bytes() == pytest.approx(machine, rel=0.5)


def test_where_the_process_is_limited_nothing_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**9, 10**9))
    assert free_bytes() == 0


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: ..."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, known: bool) -> None:
    assert is_out_of_memory(error) is known


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives large blocks back at once")
def test_what_is_freed_is_used_again_until_it_is_released() -> None:
    """In a process of its own: the setting holds for all of it."""
    told = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True).stdout.split()
    before, kept, released = map(int, told)
    assert before < 5_000_000  # given back at once, as it comes
    assert kept > 60_000_000
    assert released < 5_000_000


KEPT = """
import psutil
import torch
from burnish.engine.memory import keep_freed_memory, release_memory

process, start = psutil.Process(), 0

def held():
    return process.memory_info().rss - start

torch.ones(16_000_000)  # what is loaded with the first tensor
start = held()
torch.ones(16_000_000)
told = [held()]
keep_freed_memory()
torch.ones(16_000_000)
told.append(held())
release_memory()
print(*told, held())
"""
