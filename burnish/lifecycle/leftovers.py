"""What processes that were killed left behind on this machine: found by locks that die with their owners, removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from burnish.errors import RunError
from burnish.lifecycle.service import Service
from burnish.storage.durable import make_folder, remove_folder
from burnish.storage.lock import exclusive, waited

TRAINERS = "trainers"
PATIENCE_SECONDS = 30.0


@contextlib.contextmanager
def place_of_worker(service: Service, worker: str) -> Iterator[Path]:
    """A folder for a worker's trainer, which is there as long as the worker is; those of dead workers are removed."""
    parent = service.folder / TRAINERS
    folder = parent / worker
    with contextlib.ExitStack() as mine:
        make_folder(parent)
        with waited(parent, PATIENCE_SECONDS):  # nobody sees a folder that is not locked yet
            for other in [each for each in parent.iterdir() if each.is_dir()]:
                _remove_if_dead(other)
            make_folder(folder)
            mine.callback(remove_folder, folder)
            mine.enter_context(exclusive(folder))
        yield folder / "home"


def _remove_if_dead(folder: Path) -> None:
    try:
        with exclusive(folder):
            pass
    except (RunError, FileNotFoundError):  # its worker lives, or has just removed it
        return
    remove_folder(folder)
