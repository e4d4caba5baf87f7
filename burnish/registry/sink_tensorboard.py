"""A run in TensorBoard's event files (Apache-2.0), which TensorBoard shows beside others of the same folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.registry.tracking import State, as_text
from burnish.storage.run_folder import RunFolder

LIMIT = 1_000  # characters of a setting


class TensorBoard:
    """Scalars of every logged line, the recipe and the results as hyperparameters.

    Args:
        folder: of the event files; a folder inside for each run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, str] = {}
        self._writer: Any = None

    def begin(self, folder: RunFolder, settings: Mapping[str, Any], state: State) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.settings = {name: as_text(value, LIMIT) for name, value in settings.items()}
        self._writer = SummaryWriter(log_dir=str(self.folder / folder.id))
        state["folder"] = str(self.folder / folder.id)

    def line(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, folder: RunFolder, results: Mapping[str, float]) -> None:
        if results:
            self._writer.add_hparams(self.settings, dict(results), run_name=".")
        self._writer.close()
