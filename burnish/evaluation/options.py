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
        default=0.1,
        gt=0,
        description="relative rise of the loss on probes, or fall of the share of right choices, that is let through; "
        "0.1: ten percent",
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
