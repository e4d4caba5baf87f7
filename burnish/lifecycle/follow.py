"""Several processes, one training: rank 0 runs the stages of `train`, the others wait for the training and join in.

Rank 0 tells the others {"folder", "stage"}: "training" when recipe and data are settled, "end" when all is done. They
read everything else from the run folder and the data, as rank 0 did.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from burnish.errors import StoppedRunError
from burnish.lifecycle.own import Own
from burnish.recipe.read import read_recipe
from burnish.recipe.schema import Recipe
from burnish.settings import settings
from burnish.storage.run_folder import RunFolder
from burnish.types import Silent

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torchrun's


def several_processes() -> bool:
    """Whether this process is one of several that train together."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def follows() -> bool:
    """Whether another process leads this one."""
    return several_processes() and os.environ.get("RANK", "0") != "0"


def follow(own: Own) -> RunFolder:
    """What every rank but the first does; gives the run's folder when it is done."""
    from burnish.engine.distributed import join_ranks, leave_ranks
    from burnish.lifecycle.benches import open_bench
    from burnish.lifecycle.train import read_rows, refuse_changed_data
    from burnish.model.find import find_base

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # waiting for rank 0 must not outlive it
    ranks = join_ranks()
    while True:
        told = ranks.tell()
        folder = RunFolder(Path(told["folder"]))
        if told["stage"] == "end":
            leave_ranks()
            return folder
        recipe = read_recipe(folder.recipe)
        recipe, chosen, data = read_rows(recipe, own)
        refuse_changed_data(folder, data)
        base = find_base(recipe.model, recipe_folder=Path(), runs=settings().runs)
        workbench = open_bench(recipe, base, data, chosen, own, folder, Silent())
        with contextlib.suppress(StoppedRunError):  # rank 0 says so
            workbench.train_along()


@contextlib.contextmanager
def led(folder: RunFolder, recipe: Recipe, own: Own) -> Iterator[None]:
    """Around the stages of rank 0: starts the other processes where the recipe wants some, and lets them go."""
    if several_processes():
        with _releasing(folder):
            yield
        return
    count = 1 if own.names() else recipe.training.processes or max(1, visible_gpus())
    if count == 1:
        yield
        return
    common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    common["MASTER_PORT"] = str(_free_port())
    command = [sys.executable, "-m", "burnish", "resume", str(folder.path)]
    followers = [
        subprocess.Popen(  # noqa: S603  # ourselves, with a folder of ours
            command,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        for rank in range(1, count)
    ]
    os.environ.update(common | {"RANK": "0", "LOCAL_RANK": "0"})
    try:
        with _releasing(folder):
            yield
        for follower in followers:
            follower.wait()
    finally:
        for follower in followers:
            follower.kill()
            follower.wait()
        for name in VARIABLES:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _releasing(folder: RunFolder) -> Iterator[None]:
    """Releases the others at a good end and at a pause; after an error they notice that rank 0 is gone."""
    try:
        yield
    except StoppedRunError:
        release_followers(folder)
        raise
    release_followers(folder)


def release_followers(folder: RunFolder) -> None:
    """Tells the other processes, if there are any, that all is done."""
    if not several_processes():
        return
    from burnish.engine.distributed import join_ranks, leave_ranks

    join_ranks().tell({"folder": str(folder.path.resolve()), "stage": "end"})
    leave_ranks()


def visible_gpus() -> int:
    """NVIDIA devices this process may use, counted without loading torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([name for name in chosen.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
