"""What a recipe's `evaluation` section says: the metric that decides, the goals, and what counts as worth having."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from burnish.settings import Options


class ForgettingOptions(Options):
    """What a tuned language model must still be able to do, and how much of it may be lost."""

    probes: str | tuple[str, ...] | None = Field(
        default=None,
        description="JSONL files of probes, `shipped` for ours, `none` for no gate; null: ours for a chat, else none",
    )
    tolerance: float = Field(
        default=0.2,
        gt=0,
        description="relative rise of the loss on all probes, or fall of the share of right choices, that is let "
        "through; 0.2: twenty percent. A single kind of probes may rise three times as much",
    )

    @property
    def places(self) -> tuple[str, ...]:
        """What `probes` names."""
        if self.probes is None:
            return ()
        return (self.probes,) if isinstance(self.probes, str) else self.probes


class EvaluationOptions(Options):
    """How the tuned model is judged.

    The confidence of every interval is fixed at 95 %: a verdict that may choose its own confidence is no verdict.
    """

    confidence: ClassVar[float] = 0.95

    metric: str | None = Field(
        default=None,
        description="the metric that decides; None: accuracy, or macro-f1 when the largest class of the training rows "
        "is over three times the smallest",
    )
    goals: tuple[str, ...] = Field(
        default=(), description='what must be reached, e.g. "macro-f1 >= 0.90", "recall[refund] >= 0.95"'
    )
    minimum_effect: float = Field(
        default=0.01, gt=0, description="smallest difference of the metric worth having, in the metric's own unit"
    )
    forgetting: ForgettingOptions = ForgettingOptions()
    resamples: int = Field(default=2000, ge=100, le=100_000, description="bootstrap resamples per interval")
    max_prompts: int = Field(
        default=200, ge=8, description="prompts of validation and of test that language models answer for the verdict"
    )
    groups: tuple[str, ...] = Field(
        default=(),
        description="columns of the file whose groups are compared on the test rows, whether the model reads them or "
        "not; numbers with many values are cut into quarters",
    )
    min_accuracy: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of right answers wanted of a classifier that may say it is unsure; validation chooses how "
        "sure it then has to be",
    )
    robustness_rows: int = Field(
        default=125,
        ge=0,
        description="test rows that are also answered with typing errors, in capitals, in small letters and with other "
        "spaces and signs; 0: none",
    )
    memorisation_rows: int = Field(
        default=0,
        ge=0,
        description="training answers, and as many of the test rows, whose first half the tuned language model goes on "
        "with: are they learned by heart? 0: none",
    )
    canaries: str | None = Field(
        default=None,
        description="file of rows with a planted secret that were trained with, "
        '{"text": "the code of Ann is 4921", "secret": "4921"}: is the secret given away?',
    )
    moderator: str | None = Field(
        default=None,
        description="run of a classifier, or address of an endpoint for moderation, that judges the answers to the "
        "test prompts; they are sent there",
    )
    moderator_labels: tuple[str, ...] = Field(
        default=(), description="labels of the moderator's run that count, e.g. refusal or toxic"
    )
    max_gap: float | None = Field(
        default=None,
        gt=0,
        description="largest gap of the metric between two groups, in its own unit; the gate `groups` stops a model "
        "whose gap is above it for certain. null: no gate",
    )
