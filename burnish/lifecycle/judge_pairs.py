"""Blind choices between the tuned model's answers and an arm's: by people, or by a model behind an endpoint.

Every choice is appended to the run's choices.jsonl with hashes of the prompt and of both answers. Who is asked again
goes on where they stopped, and choices between answers that are not the run's any more count for nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.data.endpoint import Endpoint
from burnish.errors import DataReadError, UsageError, excerpt
from burnish.evaluation.pairwise import Choice, Said, latest
from burnish.evaluation.rubric import RUBRIC, choice_in, question, task_with
from burnish.lifecycle.endpoints import named_endpoint
from burnish.lifecycle.pairs import Pair, choice_of, pairs_of, stored_choices
from burnish.storage.durable import append_lines, fsync_file
from burnish.storage.fingerprint import canonical_sha256
from burnish.storage.run_folder import RunFolder
from burnish.types import Progress

WORKERS = 4  # requests at once
FAILURES = 3  # requests in a row that may fail before the endpoint counts as down
REFUSALS = 20  # answers without one choice among them after which nobody pays for more
LONGEST_RUBRIC = 20_000  # characters


@dataclass(frozen=True, slots=True)
class Judging:
    """One judge at work on a run.

    Attributes:
        against: name of the arm.
        task: what a model was told, None for people.
    """

    folder: RunFolder
    against: str
    judge: str
    task: str | None = None

    def keep(self, judged: Iterable[tuple[Pair, bool, Said]]) -> None:
        """Appends what was said about pairs; it is on the disk when this returns."""
        lines: list[Mapping[str, Any]] = [
            {
                "prompt": pair.prompt,
                "against": self.against,
                "answers": pair.answers,
                "judge": self.judge,
                "person": self.task is None,
                "task": self.task and canonical_sha256(self.task),
                "tuned_first": tuned_first,
                "said": said,
            }
            for pair, tuned_first, said in judged
        ]
        if lines:
            append_lines(self.folder.choices, lines)
            fsync_file(self.folder.choices)

    def kept(self) -> list[Choice]:
        """This judge's last words on the answers as they are now."""
        task = self.task and canonical_sha256(self.task)
        stored = (line for line in stored_choices(self.folder, self.against) if line["task"] == task)
        mine = [choice_of(line) for line in stored]
        return [c for c in latest(mine) if (c.judge, c.person) == (self.judge, self.task is None)]


@dataclass(frozen=True, slots=True)
class Blind:
    """A person's queue: the pairs not answered yet, in an order that is random and the same for everybody."""

    judging: Judging
    waiting: Sequence[Pair]
    answered: int

    @property
    def total(self) -> int:
        """Pairs that a person is asked about, answered ones included."""
        return self.answered + sum(not pair.identical for pair in self.waiting)

    def pairs(self) -> Iterator[tuple[Pair, bool]]:
        """Each pair to ask about, and whether the tuned model's answer is shown first.

        Identical answers on the way become ties, so that somebody who stops early leaves a random part of all prompts.
        """
        for pair in self.waiting:
            if pair.identical:
                self.judging.keep([(pair, True, "identical")])
            else:
                yield pair, shown_first(self.judging.judge, pair.prompt)


def shown_first(judge: str, prompt: str) -> bool:
    """Whether the first model's answer to a prompt is shown first: random, and the same each time for this judge."""
    return int(canonical_sha256([judge, prompt]), 16) % 2 == 0


def open_blind(folder: RunFolder, *, annotator: str, against: str | None = None) -> Blind:
    """The pairs that a person has not answered yet.

    Raises:
        RunError, UsageError: as `pairs_of`.
    """
    arm, pairs = pairs_of(folder, against)
    judging = Judging(folder, arm, annotator)
    kept = {choice.prompt: choice for choice in judging.kept()}
    waiting = [pair for pair in pairs if pair.prompt not in kept]
    return Blind(judging, waiting, sum(choice.said != "identical" for choice in kept.values()))


def ask_endpoint(
    folder: RunFolder,
    *,
    url: str,
    model: str,
    key_variable: str,
    rubric: Path | None = None,
    against: str | None = None,
    progress: Progress,
) -> Judging:
    """Asks a model about every pair in both orders, and keeps its choices.

    What was answered before is not asked again; refusals and failed requests are. A model with a rubric of the user's
    is a judge of its own, named after both.

    Args:
        key_variable: name of the environment variable that holds the key; no key is sent when it is not set.
        rubric: file that says what makes an answer better, in place of ours.

    Raises:
        RunError, UsageError: as `pairs_of`; [judge/unreadable-rubric], [data/bad-endpoint].
        DataReadError: [data/offline]; [data/endpoint-failed]; [judge/no-choice] when answers hold no choices.
    """
    arm, pairs = pairs_of(folder, against)
    own = read_rubric(rubric) if rubric else None
    task = task_with(own or RUBRIC)
    endpoint = named_endpoint(url, model, option="--judge", key_variable=key_variable)
    judging = Judging(folder, arm, f"{model}, rubric {canonical_sha256(own)[:8]}" if own else model, task)
    done = {(c.prompt, c.tuned_first) for c in judging.kept() if c.said != "refused"}
    fresh = [pair for pair in pairs if (pair.prompt, True) not in done or (pair.prompt, False) not in done]
    judging.keep((p, True, "identical") for p in fresh if p.identical and (p.prompt, True) not in done)
    different = [(pair, first) for pair in fresh if not pair.identical for first in (True, False)]
    asked = [(pair, first) for pair, first in different if (pair.prompt, first) not in done]
    progress.stage(f"asking {excerpt(model)}: {len(asked):,} questions about {len(pairs):,} prompts")
    _ask_all(judging, endpoint, task, asked, chosen=len(done), key_variable=key_variable, progress=progress)
    return judging


def _ask_all(
    judging: Judging,
    endpoint: Endpoint,
    task: str,
    asked: Sequence[tuple[Pair, bool]],
    *,
    chosen: int,
    key_variable: str,
    progress: Progress,
) -> None:
    """Keeps each choice as it comes; stops when the endpoint is down or has never chosen.

    Args:
        chosen: how often it has chosen before.
    """

    def ask(pair: Pair, tuned_first: bool) -> str:
        return endpoint.ask(*question(task, pair.conversation, *pair.shown(tuned_first)), temperature=0.0)

    in_a_row = failed = refused = 0
    for number, ((pair, tuned_first), future) in enumerate(_as_they_come(ask, asked), start=1):
        try:
            answer = future.result()
        except (OSError, ValueError) as error:
            in_a_row, failed = in_a_row + 1, failed + 1
            if in_a_row == min(FAILURES, len(asked)):
                raise _down(endpoint.url, error, number - failed, key_variable) from error
            continue
        said = choice_in(answer)
        judging.keep([(pair, tuned_first, said or "refused")])
        in_a_row, chosen, refused = 0, chosen + (said is not None), refused + (said is None)
        if not chosen and refused == min(REFUSALS, len(asked)):
            raise DataReadError(
                "judge/no-choice",
                f'none of {refused} answers of the judge is a choice, the last one is "{excerpt(answer, 200)}"',
                where=endpoint.url,
                hint="name a model that answers in JSON with --judge-model",
            )
        progress.advance(number, len(asked), {})
    if refused:
        progress.warn(f"{refused:,} of {len(asked):,} answers are no choice and count for nothing")
    if failed:
        progress.warn(f"{failed:,} of {len(asked):,} requests failed; the same command asks them again")


def _as_they_come(
    ask: Callable[[Pair, bool], str], asked: Sequence[tuple[Pair, bool]]
) -> Iterator[tuple[tuple[Pair, bool], Future[str]]]:
    """Questions with their answers, a few asked at once; no more are asked than are waited for."""
    todo = iter(asked)
    pending: dict[Future[str], tuple[Pair, bool]] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        while True:
            for one in itertools.islice(todo, WORKERS - len(pending)):
                pending[pool.submit(ask, *one)] = one
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future


def _down(url: str, error: Exception, kept: int, key_variable: str) -> DataReadError:
    return DataReadError(
        "data/endpoint-failed",
        f"the endpoint does not answer: {excerpt(str(error), 200)}",
        where=url,
        hint=f"check address, model and the key in {key_variable}; {kept:,} answers are kept, the same command goes on",
    )


def read_rubric(path: Path) -> str:
    """What a file says makes an answer better.

    Raises:
        UsageError: [judge/unreadable-rubric].
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
        reason = "is empty" if not text else f"is over {LONGEST_RUBRIC:,} characters long"
    except (OSError, UnicodeDecodeError) as error:
        text, reason = "", f"cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}"
    if not text or len(text) > LONGEST_RUBRIC:
        raise UsageError(
            "judge/unreadable-rubric",
            f"the rubric {reason}",
            where=str(path),
            hint="name a text file that says what makes an answer better, or leave --rubric out",
        )
    return text
