"""A finished or unfinished run as Python sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import RunError
from burnish.lifecycle.own import Own
from burnish.storage.run_folder import RunFolder
from burnish.types import Row

if TYPE_CHECKING:
    from burnish.serving.answer import Answerer
    from burnish.serving.predict import Predictor
    from burnish.serving.recommend import Recommender
    from burnish.serving.table_predict import TablePredictor
    from burnish.serving.writer import Writer


@dataclass(slots=True)
class Run:
    """One run folder; everything is read from disk.

    >>> run = burnish.train("tickets.csv")          # doctest: +SKIP
    >>> run.verdict["answer"], run.predict(["where is my card"])[0]["label"]   # doctest: +SKIP
    ('better', 'card_arrival')
    """

    folder: RunFolder
    runs: Path
    own: Own = field(default_factory=Own, repr=False)
    _predictor: Predictor | None = field(default=None, repr=False)
    _answerer: Answerer | None = field(default=None, repr=False)
    _table: TablePredictor | None = field(default=None, repr=False)
    _writer: Writer | None = field(default=None, repr=False)
    _recommender: Recommender | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        return self.folder.id

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def status(self) -> str:
        return str(self.folder.manifest().get("status", "unknown"))

    @property
    def report(self) -> Path:
        """The self-contained HTML page of this run."""
        return self.folder.report

    @property
    def evaluation(self) -> dict[str, Any]:
        """evaluation.json: every arm with its metrics and intervals.

        Raises:
            RunError: [run/not-judged] when the run has not come to its verdict.
        """
        if not self.folder.evaluation.is_file():
            raise RunError(
                "run/not-judged",
                f'this run is "{self.status}" and has no verdict yet',
                where=str(self.path),
                hint=f"go on with: burnish resume {self.path}",
            )
        return self.folder.content(self.folder.evaluation)

    @property
    def verdict(self) -> dict[str, Any]:
        """answer, metric, against, difference, low, high, p_value, advice."""
        verdict: dict[str, Any] = self.evaluation["verdict"]
        return verdict

    @property
    def calibration(self) -> Mapping[str, Any]:
        """temperature, n and reason of a classifier's probabilities, as its package says; empty where it has none."""
        path = self.folder.final / "model.json"
        about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found: Mapping[str, Any] = about.get("calibration") or {}
        if "uses" in about:  # a table's, with one for each of its models
            found = found.get(about["uses"], {})
        return found

    def predict(self, texts: Sequence[str | Row]) -> list[Row]:
        """{"label", "probability", "margin"} for each text, in order; of a run that writes texts {"answer", "tokens",
        "stopped"}.

        Args:
            texts: texts, or rows with the task's columns: {"text": ...}, {"source": ...}, {"messages": [...],
                "tools": [...]}, {"items": [...]} of a recommendation.

        Raises:
            RunError: [run/not-finished]; [run/own-parts] when the model needs a task that was not given.
        """
        from burnish.task.build import WRITING
        from burnish.task.recommendation import Recommendation
        from burnish.task.tabular import Tabular

        self.require_model()
        if self.folder.manifest().get("task") in WRITING and self.own.task is None:
            return self._answers(texts)
        if self.folder.manifest().get("task") == Tabular.name:
            return self._of_table(texts)
        if self.folder.manifest().get("task") == Recommendation.name:
            return self._recommended(texts)
        return self._of_texts().predict(texts)

    def explain(self, texts: Sequence[str | Row]) -> list[dict[str, Any]]:
        """What each word of a text adds to the probability of its label: {"label", "probability", "blank", "words",
        "error"} for each, see docs/guides/trust.md.

        Raises:
            UsageError: [predict/no-explanation] where it is not labels of texts that are predicted;
                [predict/not-installed] without captum.
        """
        from burnish.serving.explain import explain, require_explained

        self.require_model()
        require_explained(str(self.folder.manifest().get("task")))
        return explain(self._reading_texts(precision="fp32"), texts)  # shares of roundings would explain nothing

    def _of_texts(self) -> Predictor:
        if self._predictor is None:
            self._predictor = self._reading_texts()
        return self._predictor

    def _reading_texts(self, precision: str = "auto") -> Predictor:
        from burnish.lifecycle.train import task_class
        from burnish.recipe.read import read_recipe
        from burnish.serving.predict import Predictor

        if self.own.task is None and "task" in self.folder.manifest().get("parts_of_the_caller", {}):
            raise RunError(
                "run/own-parts",
                f"this run was made with your own task, {self.folder.manifest()['parts_of_the_caller']['task']}",
                where=str(self.path),
                hint="give it again: burnish.load(run, task=YourTask)",
            )
        task, final = self.own.task or task_class(read_recipe(self.folder.recipe)), self.folder.final
        return Predictor(final, runs=self.runs, head=self.own.head, task=task, precision=precision)

    def _of_table(self, rows: Sequence[str | Row]) -> list[Row]:
        from burnish.serving.table_predict import TablePredictor

        if self._table is None:
            self._table = TablePredictor(self.folder.final)
        return self._table.predict(rows)

    def _recommended(self, histories: Sequence[str | Row]) -> list[Row]:
        from burnish.serving.recommend import Recommender

        if self._recommender is None:
            self._recommender = Recommender(self.folder.final, runs=self.runs)
        return self._recommender.recommend(histories)

    def _answers(self, texts: Sequence[str | Row]) -> list[Row]:
        from burnish.serving.answer import Answerer, prompt_of
        from burnish.task.seq2seq import Seq2Seq

        if self.folder.manifest().get("task") == Seq2Seq.name:
            return self._written(texts)
        if self._answerer is None:
            self._answerer = Answerer.of_run(self.folder.final, runs=self.runs)
        said = self._answerer.answer([prompt_of(index, text) for index, text in enumerate(texts)])
        return [{"answer": answer.text, "tokens": answer.tokens, "stopped": answer.stopped} for answer in said]

    def _written(self, sources: Sequence[str | Row]) -> list[Row]:
        from burnish.serving.writer import Writer

        if self._writer is None:
            self._writer = Writer.of_run(self.folder.final, runs=self.runs)
        said = self._writer.write(sources)
        return [{"answer": each.text, "tokens": each.tokens, "stopped": each.stopped} for each in said]

    def require_model(self) -> None:
        """Raises RunError [run/not-finished] when the run has not come to its model, [run/imported] for one that
        was made elsewhere: how it is asked is not known."""
        if self.status == "imported":
            raise RunError(
                "run/imported",
                "this model was imported: it is there to train on from",
                where=str(self.path),
                hint=f"burnish train DATA --set model.base={self.id}:NUMBER",
            )
        if not self.folder.final.is_dir():
            raise RunError(
                "run/not-finished",
                f'this run is "{self.status}" and has no model yet',
                where=str(self.path),
                hint=f"go on with: burnish resume {self.path}",
            )
