"""`burnish worker`: takes jobs from the line and has them trained, one after the other, until it is told to stop.

The worker itself loads no model: it holds the lease, watches its trainer, reads the run's folder and publishes what is
there. The trainer is a process of its own, so that whatever a job does to it touches no other job.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from burnish.errors import BurnishError, DiskFullError, LeaseLostError, RegistryError
from burnish.lifecycle.follow import visible_gpus
from burnish.lifecycle.job_sweep import SWEEP_SECONDS, sweep_jobs
from burnish.lifecycle.leftovers import place_of_worker
from burnish.lifecycle.service import Service
from burnish.lifecycle.trainer_process import TrainerProcess
from burnish.lifecycle.work_job import Working
from burnish.registry import queue
from burnish.registry.queue import Claim

LOGGER = logging.getLogger("burnish.worker")


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        slot: "cpu": jobs for a CPU only; "gpu": also those for an accelerator, and those first.
        once: end when nothing waits any more.
        lease_seconds: without a sign of life for so long, another worker takes the job.
        retries: of a job whose machine failed, since its last checkpoint.
        backoff_seconds: before the first retry; twice as long before each further one.
        poll_seconds: between looks at an empty line.
        grace_seconds: for a trainer to save its state when the worker is to stop.
    """

    slot: str = "cpu"
    once: bool = False
    lease_seconds: float = 30.0
    retries: int = 3
    backoff_seconds: float = 10.0
    poll_seconds: float = 0.5
    grace_seconds: float = 60.0


def own_slot() -> str:
    """The slot of a worker that is told none: "gpu" where there is one. Nothing is loaded to find out."""
    return "gpu" if visible_gpus() or Path("/dev/kfd").exists() else "cpu"


class Stopping:
    """What a signal asks of a worker: once, to finish the step; twice, to end at once."""

    def __init__(self) -> None:
        self.asked = self.now = False
        self.woken: SimpleQueue[None] = SimpleQueue()  # which a signal may fill while its reader waits

    def ask(self) -> None:
        self.now = self.asked
        self.asked = True
        self.woken.put(None)

    def wait(self, seconds: float) -> None:
        """Returns after so long, or when it is asked to."""
        with contextlib.suppress(Empty):
            self.woken.get(timeout=seconds)


class Heartbeat:
    """Keeps the lease of a job while its worker works, in a thread of its own, and hears what is wanted of the job."""

    def __init__(self, service: Service, claim: Claim, lease_seconds: float) -> None:
        self.engine, self.claim, self.lease_seconds = service.registry.engine, claim, lease_seconds
        self.wanted: str | None = claim.row["wanted"]
        self.lost = threading.Event()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def require(self) -> None:
        """Raises LeaseLostError [queue/lease-lost] when the job is another worker's."""
        if self.lost.is_set():
            raise LeaseLostError("queue/lease-lost", "another worker has this job now", where=self.claim.job)

    def _beat(self) -> None:
        try:
            self._keep()
        finally:
            if not self.ended.is_set():
                self.lost.set()

    def _keep(self) -> None:
        """Extends the lease again and again, until the work ends or the job is another worker's."""
        every = min(0.5, self.lease_seconds / 30)
        extended = time.monotonic()
        while not self.ended.wait(every):
            try:
                if time.monotonic() - extended > self.lease_seconds / 3:
                    self.wanted = queue.extend(self.engine, self.claim, self.lease_seconds)
                    extended = time.monotonic()
                else:
                    self.wanted = queue.wanted_of(self.engine, self.claim)
            except LeaseLostError:
                return
            except BurnishError:  # the database does not answer; it has until the lease ends
                if time.monotonic() - extended > self.lease_seconds:
                    return


def work(
    service: Service, options: WorkerOptions, *, stopping: Stopping | None = None, say: Callable[[str], None] = print
) -> int:
    """Works until it is told to stop, or with `once` until nothing waits; gives how many claims it worked on.

    Args:
        say: told a line about each job.
    """
    stopping = stopping or Stopping()
    worker = queue.new_id(f"{socket.gethostname()[:24]}-{os.getpid()}-", 8)
    with place_of_worker(service, worker) as home:
        trainer = TrainerProcess(home, slot=options.slot)
        try:
            return _work_as(worker, service, trainer, options, stopping, say)
        finally:
            trainer.close()


def _work_as(
    worker: str,
    service: Service,
    trainer: TrainerProcess,
    options: WorkerOptions,
    stopping: Stopping,
    say: Callable[[str], None],
) -> int:
    """One claim after the other; gives how many there were."""
    engine = service.registry.engine
    worked, away, swept = 0, False, -math.inf
    trainer.start()
    while not stopping.asked:
        try:
            claim = _claimed(service, worker, options)
            if claim is None and options.once and queue.waiting(engine, queue.SLOTS[options.slot]) == 0:
                break
            if claim is None and time.monotonic() - swept > SWEEP_SECONDS:
                sweep_jobs(service)
                swept = time.monotonic()
            away = False
        except (RegistryError, DiskFullError) as error:
            if not away:
                say(f"{error.message}; the worker waits")
            claim, away = None, True
        if claim is None:
            stopping.wait(options.poll_seconds)
            continue
        _work_on(service, claim, trainer, options, stopping, say)
        worked += 1
        trainer.start()
    return worked


def _claimed(service: Service, worker: str, options: WorkerOptions) -> Claim | None:
    return queue.claim(
        service.registry.engine,
        worker=worker,
        slot=options.slot,
        lease_seconds=options.lease_seconds,
        retries=options.retries,
    )


def _work_on(
    service: Service,
    claim: Claim,
    trainer: TrainerProcess,
    options: WorkerOptions,
    stopping: Stopping,
    say: Callable[[str], None],
) -> None:
    """One claim from its beginning to whatever end it comes to; the worker itself outlives all of them."""
    say(f"job {claim.job} attempt {claim.token}: begun")
    with Heartbeat(service, claim, options.lease_seconds) as beat:
        try:
            outcome = _outcome(service, claim, trainer, beat, stopping, options)
        except LeaseLostError:
            outcome = "taken away"
        except BurnishError as error:  # nothing can be written; whoever finds the job when its lease is over goes on
            outcome = f"left to whoever is next: {error.message}"
        finally:
            if trainer.busy:  # its answer would be taken for that of the next job
                trainer.kill()
    say(f"job {claim.job} attempt {claim.token}: {outcome}")


def _outcome(
    service: Service,
    claim: Claim,
    trainer: TrainerProcess,
    beat: Heartbeat,
    stopping: Stopping,
    options: WorkerOptions,
) -> str:
    working = None
    try:
        working = Working(service, claim, trainer, beat, stopping, options)
        return working.run()
    except LeaseLostError:
        if working is not None:
            working.leave()
        raise
    except (BurnishError, OSError) as error:  # the trainer died; or it is ours: the disk, the store or the database
        if working is None:
            raise
        message = error.message if isinstance(error, BurnishError) else str(error)
        return _after(working, message)
    except Exception:
        LOGGER.exception("job %s attempt %s", claim.job, claim.token)
        said = {"code": "internal_error", "message": "an error of this server, which its log explains", "param": None}
        with queue.holding(service.registry.engine, claim) as connection:
            queue.fail(connection, claim, said)
        return "failed"


def _after(working: Working, message: str) -> str:
    """What becomes of a job whose machine failed; another worker may have it already."""
    try:
        return working.failed("machine", {"code": "worker", "message": message})
    except LeaseLostError:
        working.leave()
        raise
