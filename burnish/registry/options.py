"""Options of the section `tracking`: other programs that a run is shown in."""

from __future__ import annotations

from pydantic import Field

from burnish.settings import Options


class TrackingOptions(Options):
    """Where a run's figures go besides its folder. Nothing is sent anywhere that is not named here."""

    tensorboard: bool | str = Field(
        default=False,
        description="event files for TensorBoard: true for `tensorboard` in the run's folder, or a folder",
    )
    wandb: str | None = Field(
        default=None,
        description="project of Weights & Biases; kept offline in the run's folder unless WANDB_MODE says else",
    )
    mlflow: str | None = Field(
        default=None, description="address of an MLflow store, e.g. sqlite:////home/me/mlflow.db or http://host:5000"
    )
