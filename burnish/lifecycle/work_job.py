"""What a worker does with the job that it holds: files checked, trained, watched, published step by step, ended."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Case, Connection, case, delete, insert, select

from burnish.errors import RegistryError, ServiceError, TrainerDiedError
from burnish.lifecycle import attempt
from burnish.lifecycle.job_end import end_job
from burnish.lifecycle.job_recipe import JobRequest, base_of, recipe_with_files
from burnish.lifecycle.jobs import model_name
from burnish.lifecycle.service import Service
from burnish.lifecycle.trainer_process import TrainerProcess
from burnish.registry import queue
from burnish.registry.database import clock, reading
from burnish.registry.files import file_path, find_file
from burnish.registry.queue import Claim, holding, lay_down, set_job, tell
from burnish.registry.service_tables import JOB_CHECKPOINTS, JOBS
from burnish.storage.durable import make_folder, remove_folder, write_json

if TYPE_CHECKING:
    from burnish.lifecycle.work import Heartbeat, Stopping, WorkerOptions

LISTEN_SECONDS = 0.05  # between looks at the run's folder
LEAVE_SECONDS = 3.0  # for a trainer to end a job that is somebody else's, before it is killed
MOST_SAID = 1_000  # characters of a message
KEPT = 3  # newest checkpoints that stay published, beside the best
ERRORS = {  # why a training failed -> the code that the job says
    "data": "invalid_training_file",
    "diverged": "training_diverged",
    "memory": "out_of_memory",
    "request": "invalid_request",
    "machine": "server_error",
    "bug": "internal_error",
}


class Working:
    """One claim at work."""

    def __init__(
        self,
        service: Service,
        claim: Claim,
        trainer: TrainerProcess,
        beat: Heartbeat,
        stopping: Stopping,
        options: WorkerOptions,
    ) -> None:
        self.service, self.claim, self.trainer = service, claim, trainer
        self.beat, self.stopping, self.options = beat, stopping, options
        self.engine = service.registry.engine
        self.folder = attempt.job_folder(service.folder, claim.job)
        self.attempt = attempt.attempt_folder(service.folder, claim.job, claim.token)
        self.figures = attempt.Figures(self.attempt)
        self.asked = JobRequest(**json.loads(claim.row["asked"]))
        self.chosen: dict[str, Any] = json.loads(claim.row["chosen"])
        self.name = model_name(self.chosen["root"], claim.row["project"], self.asked.suffix, claim.job)
        self.published: dict[int, str] = {}  # step -> folder below the job's
        self.told: dict[int, dict[str, Any]] = {}  # step -> figures
        self.training = False
        self.asked_to_stop: float | None = None  # when the trainer was

    def run(self) -> str:
        """Works on the job until it ends or is somebody else's; gives in a word what became of it.

        Raises:
            LeaseLostError: [queue/lease-lost]: whatever was not published is not there.
            TrainerDiedError: [worker/trainer-died].
        """
        make_folder(self.folder)
        self.folder.chmod(0o700)
        try:
            files = self._files()
        except ServiceError as error:  # one is gone, and will not come back
            return self.failed("data", {"code": error.code, "message": error.message, "hint": error.hint})
        try:
            base = base_of(self.service, self.claim.row["project"], self.chosen["base"])
        except (ServiceError, RegistryError) as error:
            return self.failed("request", {"code": error.code, "message": error.message, "hint": error.hint})
        if "recipe" not in self.chosen:
            refusal = self._prepare(files, base)
            if refusal is not None:
                return refusal
        return self._train(files, base)

    def leave(self) -> None:
        """The job is somebody else's: the trainer stops, its folder stays behind unread."""
        if self.trainer.busy and not self._stopped_in_time():
            self.trainer.kill()
        if self._ended():
            remove_folder(self.folder)

    def _stopped_in_time(self) -> bool:
        """Asks the trainer to give up after its step, so that it stays warm; whether it did so soon enough."""
        if self.attempt.manifest_file.is_file():
            self.attempt.ask("cancel")
        until = time.monotonic() + LEAVE_SECONDS
        try:
            while self.trainer.busy and time.monotonic() < until:
                self.trainer.answer(LISTEN_SECONDS)
        except TrainerDiedError:
            return True
        return not self.trainer.busy

    def failed(self, kind: str, error: Mapping[str, Any]) -> str:
        """Ends the job, or lets it try again where the machine was to blame; gives in a word which of them."""
        message = self._cleaned("; ".join([str(error["message"]), *map(str, error.get("details", ())[:20])]))
        attempts = self._attempts() + 1
        with holding(self.engine, self.claim) as connection:
            if kind == "machine" and attempts <= self.options.retries:
                seconds = self.options.backoff_seconds * 2 ** (attempts - 1)
                waits = {"attempts": attempts, "not_before": clock(connection) + seconds}
                status = queue.QUEUED if "recipe" in self.chosen else queue.VALIDATING
                lay_down(connection, self.claim, status=status, **waits)
                said = f"The machine failed: {message}. The job goes on in {seconds:g} seconds"
                self._tell(connection, f"retry {self.claim.token}", said, level="warn")
                return "waits to try again"
            kind = "memory" if error["code"] == "model/does-not-fit" else kind
            code = "invalid_training_file" if str(error["code"]).startswith("data/") else ERRORS[kind]
            if kind == "bug":
                message = "an error of this server, which its log explains"
            elif error.get("hint"):
                message = f"{message[:MOST_SAID]} (hint: {self._cleaned(str(error['hint']))})"
            param = "training_file" if code == "invalid_training_file" else None
            queue.fail(connection, self.claim, {"code": code, "message": message[: 2 * MOST_SAID], "param": param})
        for rest in (self.folder / "data", self.folder / "published", self.attempt.checkpoints):
            remove_folder(rest)  # what explains the failure stays
        return "failed"

    def _files(self) -> dict[str, str]:
        """The files of the job under names of ours; param -> path."""
        held = {}
        for param in ("training_file", "validation_file"):
            file_id = self.claim.row[param]
            if file_id is not None:
                registry, project = self.service.registry, self.claim.row["project"]
                file = find_file(registry, project, file_id, param=param, also_expired=True)
                place = attempt.held_file(self.folder, file)
                held[param] = str(place or attempt.hold_file(self.folder, file, file_path(registry, file)))
        return held

    def _prepare(self, files: Mapping[str, str], base: str) -> str | None:
        """Has the files read to their ends and the recipe settled; how the job ended, if it did."""
        self.trainer.order(
            "prepare",
            asked=self.asked.as_dict(),
            files=files,
            base=base,
            seed=self.claim.row["seed"],
            filename=self.chosen["filename"],
            minimum_rows=self.service.minimum_rows,
        )
        answer = self.answer()
        if answer is None:
            return self._release()
        if answer["outcome"] == "failed":
            return self.failed(answer["kind"], answer["error"])
        if "refused" in answer:
            with holding(self.engine, self.claim) as connection:
                queue.fail(connection, self.claim, answer["refused"])
            return "failed"
        self.chosen |= {"recipe": answer["tree"], **answer["numbers"]}
        with holding(self.engine, self.claim) as connection:
            set_job(connection, self.claim, status=_unless_pausing(queue.QUEUED), chosen=json.dumps(self.chosen))
            self._tell(connection, "validated", "Files validated, moving job to queued state")
        return None

    def _train(self, files: Mapping[str, str], base: str) -> str:
        if self.beat.wanted == "pause":
            return self._paused()
        begun = self._begin()
        with holding(self.engine, self.claim) as connection:
            row: dict[str, Any] = {
                "status": _unless_pausing(queue.RUNNING),
                "run": str(self.attempt.path.relative_to(self.service.home)),
            }
            if self.claim.row["started"] is None:
                row["started"] = time.time()
            set_job(connection, self.claim, **row)
            self._tell(connection, "started", "Fine-tuning job started")
            if begun:
                self._tell(connection, f"resumed-at {self.claim.token}", f"The job goes on from step {begun}")
        recipe = self.folder / f"{self.attempt.path.name}.yaml"  # JSON is YAML
        write_json(recipe, recipe_with_files(self.chosen["recipe"], base, files))
        self.training = True
        self.trainer.order("train", recipe=str(recipe), folder=str(self.attempt.path))
        answer = self.answer()
        self.publish(last=answer is not None and answer["outcome"] == "done")
        if answer is None or answer["outcome"] == "interrupted":
            return self._release()
        if answer["outcome"] == "failed":
            return self.failed(answer["kind"], answer["error"])
        if answer["status"] == "paused":
            return self._paused() if self.beat.wanted == "pause" else self._release()
        return end_job(self)

    def _begin(self) -> int | None:
        """Fills the folder of this attempt with the newest published checkpoint, if any; gives its step."""
        with reading(self.engine) as connection:
            mine = select(JOB_CHECKPOINTS).where(JOB_CHECKPOINTS.c.job == self.claim.job)
            rows = connection.execute(mine.order_by(JOB_CHECKPOINTS.c.step.desc())).mappings().all()
        self.published = {row["step"]: row["folder"] for row in rows}
        for row in rows:
            if attempt.begin_from(self.folder / row["folder"], self.attempt):
                return int(row["step"])
        return None

    def answer(self) -> dict[str, Any] | None:
        """How the trainer's order ended; None when it did not, because this worker is to end."""
        while True:
            said = self.trainer.answer(LISTEN_SECONDS)
            if said is not None and "outcome" in said:
                return said
            if said is not None and "warning" in said:
                self.warn(said["warning"])
            self.beat.require()
            self.publish(last=False)
            if self._out_of_patience():
                self.trainer.kill()
                return None

    def _out_of_patience(self) -> bool:
        """Asks the trainer to stop when that is wanted; whether it has been given long enough to do so."""
        stop = self.stopping.asked
        if not stop and self.beat.wanted != "pause":
            return False
        if self.attempt.path.is_dir() and self.attempt.manifest() and self.attempt.asked() is None:
            self.attempt.ask("pause")
        if not stop:
            return False
        if not self.training:  # nothing is lost
            return True
        self.asked_to_stop = self.asked_to_stop or time.monotonic()
        return self.stopping.now or time.monotonic() - self.asked_to_stop > self.options.grace_seconds

    def publish(self, *, last: bool) -> None:
        """Tells what is new in the run's folder: figures, and checkpoints that another attempt may go on from."""
        saved = [each for each in attempt.saved_checkpoints(self.attempt) if each.step not in self.published]
        news = list(self.figures.news(saved=max((each.step for each in saved), default=0), last=last))
        ready = [(each, f"published/{self.claim.token}-{each.step}") for each in saved]
        ready = [(each, place) for each, place in ready if attempt.publish(self.attempt, each, self.folder / place)]
        if not news and not ready:
            return
        total = int(self.attempt.manifest().get("total_steps", 0))
        with holding(self.engine, self.claim) as connection:
            for figures in news:
                data = {**figures, "total_steps": total}
                said = attempt.told(figures, total)
                self._tell(connection, f"step {figures['step']}", said, kind="metrics", data=data)
                self.told[figures["step"]] = figures
            for each, place in ready:
                self._add_checkpoint(connection, each.step, place)
            kept = {*sorted([*self.published, *(each.step for each, _ in ready)])[-KEPT:]}
            kept |= {each.best for each, _ in ready[-1:]}
            old = [step for step in self.published if ready and step not in kept]
            mine = JOB_CHECKPOINTS.c.job == self.claim.job
            connection.execute(delete(JOB_CHECKPOINTS).where(mine, JOB_CHECKPOINTS.c.step.in_(old)))
        self.published |= {each.step: place for each, place in ready}
        for step in old:
            attempt.forget(self.folder / self.published.pop(step))

    def _add_checkpoint(self, connection: Connection, step: int, place: str) -> None:
        """The row that makes a published folder count. A new checkpoint is progress: earlier failures are forgiven."""
        known = JOB_CHECKPOINTS.c.job == self.claim.job, JOB_CHECKPOINTS.c.step == step
        if connection.scalar(select(JOB_CHECKPOINTS.c.id).where(*known)) is not None:
            return
        metrics = {"step": step, **self.told.get(step, {})}
        row = {"id": queue.new_id("ftckpt_"), "job": self.claim.job, "step": step, "token": self.claim.token}
        row |= {"created": time.time(), "metrics": json.dumps(metrics), "folder": place}
        connection.execute(insert(JOB_CHECKPOINTS).values(**row, model=f"{self.name}:ckpt-step-{step}"))
        set_job(connection, self.claim, attempts=0)
        self._tell(connection, f"checkpoint {step}", f"Checkpoint created at step {step}", data={"step": step})

    def _paused(self) -> str:
        with holding(self.engine, self.claim) as connection:
            lay_down(connection, self.claim, status=queue.PAUSED, wanted=None)
            self._tell(connection, f"paused {self.claim.token}", "The job is paused")
        return "paused"

    def _release(self) -> str:
        """Gives the job back to the line, where another worker takes it at once."""
        with holding(self.engine, self.claim) as connection:
            if connection.scalar(select(JOBS.c.wanted).where(self.claim.held)) == "pause":
                lay_down(connection, self.claim, status=queue.PAUSED, wanted=None)
                self._tell(connection, f"paused {self.claim.token}", "The job is paused")
                return "paused"
            status = queue.QUEUED if "recipe" in self.chosen else queue.VALIDATING
            lay_down(connection, self.claim, status=status)
        return "given back"

    def _tell(self, connection: Connection, once: str, message: str, **more: Any) -> None:
        tell(connection, self.claim.job, once, message, **more)

    def warn(self, text: str) -> None:
        said = self._cleaned(text)[:MOST_SAID]
        once = f"warning {hashlib.sha256(said.encode()).hexdigest()[:32]}"
        with holding(self.engine, self.claim) as connection:
            self._tell(connection, once, said, level="warn")

    def _cleaned(self, text: str) -> str:
        """A message without the folders of this machine."""
        for place in (self.attempt.path, self.folder / "data", self.folder, self.service.home):
            text = text.replace(f"{place}/", "").replace(str(place), "the job")
        return text

    def _attempts(self) -> int:
        with reading(self.engine) as connection:
            return int(queue.row_of(connection, self.claim.row["project"], self.claim.job)["attempts"])

    def _ended(self) -> bool:
        with reading(self.engine) as connection:
            row = queue.row_of(connection, self.claim.row["project"], self.claim.job)
        return row["status"] not in queue.LIVE


def _unless_pausing(status: str) -> Case[Any]:
    """A status, which a job that shall pause does not get."""
    return case((JOBS.c.wanted.is_(None), status), else_=JOBS.c.status)
