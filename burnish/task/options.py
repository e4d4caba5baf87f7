"""What a recipe's sections of single tasks say: `preference` and `embedding`."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from burnish.settings import Options

PreferenceLoss = Literal["dpo", "orpo", "kto", "simpo"]
PREFERENCE_LOSSES: tuple[str, ...] = get_args(PreferenceLoss)
BETA = {"dpo": 0.1, "kto": 0.1, "orpo": 0.1, "simpo": 2.0}  # as the papers recommend
ONLY = {  # options that one loss alone reads
    "label_smoothing": "dpo",
    "margin": "simpo",
    "desirable_weight": "kto",
    "undesirable_weight": "kto",
}


class PreferenceOptions(Options):
    """The loss of the task `preference`."""

    loss: PreferenceLoss = Field(
        default="dpo",
        description="dpo (Rafailov et al. 2023, arXiv:2305.18290), orpo (Hong et al. 2024, arXiv:2403.07691), kto for "
        "single answers called good or bad (Ethayarajh et al. 2024, arXiv:2402.01306), simpo (Meng et al. 2024, "
        "arXiv:2405.14734)",
    )
    beta: float | None = Field(
        default=None,
        gt=0,
        description="dpo, kto: how closely the model stays to the base, higher is closer; simpo: scale of the reward; "
        "orpo: weight of the odds ratio beside the likelihood of the better answer; null: 0.1, simpo 2.0",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=0.5, description="dpo: share of the pairs that are expected to be the wrong way round"
    )
    margin: float = Field(default=1.0, ge=0, description="simpo: how much better the better answer has to be")
    desirable_weight: float = Field(default=1.0, gt=0, description="kto: what a good answer counts")
    undesirable_weight: float = Field(default=1.0, gt=0, description="kto: what a bad answer counts")

    @property
    def scale(self) -> float:
        """Beta, or the default of the loss."""
        return BETA[self.loss] if self.beta is None else self.beta

    @property
    def has_reference(self) -> bool:
        """Whether the loss compares with the base."""
        return self.loss in ("dpo", "kto")


class EmbeddingOptions(Options):
    """The loss of the task `embedding`."""

    scale: float = Field(
        default=20.0, gt=0, description="what cosines are multiplied by in the loss; one over the temperature"
    )
    symmetric: bool = Field(
        default=False, description="rows of texts that belong together: also find the anchor of each positive"
    )
    dimensions: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(),
        description="lengths to which vectors may be cut later, e.g. [64, 128]: they are trained beside the whole "
        "length (Kusupati et al. 2022, arXiv:2205.13147)",
    )
