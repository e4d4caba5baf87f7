"""A run in Weights & Biases (MIT), offline unless its user has set WANDB_MODE: `wandb sync` uploads it later."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

from burnish.registry.tracking import State, tags_of
from burnish.storage.run_folder import RunFolder


class Wandb:
    """The recipe as config, every logged line, the results as summary; no code, no console, no machine statistics.

    Args:
        project: of Weights & Biases.
    """

    def __init__(self, project: str) -> None:
        self.project = project
        self._run: Any = None

    def begin(self, folder: RunFolder, settings: Mapping[str, Any], state: State) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is imported
        import wandb

        state.setdefault("id", secrets.token_hex(4))
        quiet = {
            "silent": True,
            "console": "off",
            "disable_git": True,
            "save_code": False,
            "disable_job_creation": True,
            "x_disable_meta": True,
            "x_disable_stats": True,
        }
        self._run = wandb.init(
            project=self.project,
            id=state["id"],
            name=folder.id,
            dir=str(folder.path),
            mode=None if "WANDB_MODE" in os.environ else "offline",
            resume="allow",
            config={**settings, **tags_of(folder.manifest())},
            settings=wandb.Settings(**quiet),
        )

    def line(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def end(self, folder: RunFolder, results: Mapping[str, float]) -> None:
        self._run.summary.update({**results, **tags_of(folder.manifest())})
        self._run.finish()
