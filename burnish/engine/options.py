"""Options of training and of checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from burnish.settings import Options

CPU_TOKENS, GPU_TOKENS = 1_024, 16_384  # computed at once, where nothing else is asked for
MANY = 8_000_000  # numbers that learn, from which on a CPU computes twice as many tokens at once
Choose = Literal["best", "last", "average", "interpolation", "auto"]


class KeepAbilityOptions(Options):
    """How a training is kept from forgetting what its base can do. Without it, nothing is done about that."""

    rows: str | None = Field(
        default=None, description="file of rows of what must not be forgotten, in any form a chat is learned from"
    )
    replay: float = Field(
        default=0.0, ge=0, lt=1, description="share of `rows` in each step: in its loss, and about in its rows"
    )
    ewc: float = Field(
        default=0.0,
        ge=0,
        description="elastic weight consolidation: pull of each weight to its start, times what it matters for `rows`; "
        "1 weighs their tokens like those that are learned",
    )
    l2_to_start: float = Field(
        default=0.0, ge=0, description="the same pull for every weight (L2-SP); with LoRA of its layers' updates"
    )

    @property
    def pulls(self) -> bool:
        """Whether weights are pulled towards their start."""
        return bool(self.ewc or self.l2_to_start)


class TrainingOptions(Options):
    """How the weights are changed. A field left at null is filled in from base, method and data, and written down."""

    epochs: int | None = Field(default=None, ge=1, le=1000, description="passes over the training rows")
    max_steps: int | None = Field(default=None, ge=1, description="optimizer steps at most; null: epochs decide")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="peak, after warm-up")
    global_batch_size: int = Field(default=32, ge=1, description="rows per optimizer step")
    micro_batch_tokens: int | None = Field(
        default=None,
        ge=16,
        description="tokens computed at once; changes memory, not the result. null: 1,024 on a CPU, 2,048 where 8 "
        "million numbers or more learn, 16,384 on a GPU; four times that where the rows of a step are compared",
    )
    seed: int = Field(default=13, ge=0, lt=2**31, description="of every random choice of the run")
    optimizer: Literal["adamw", "adamw-8bit"] = Field(
        default="adamw", description="adamw-8bit: moments of 2 bytes a weight instead of 8, but those of embeddings"
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(default="cosine", description="after warm-up")
    warmup_ratio: float = Field(default=0.06, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(default=0.01, ge=0, description="of matrices; biases, norms and embeddings get none")
    layer_decay: float = Field(
        default=0.9, gt=0, le=1, description="learning rate of each layer against the one above it"
    )
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this length")
    average_decay: float = Field(
        default=0.998, ge=0, lt=1, description="of the running average of the weights, which is what is kept; 0: none"
    )
    dropout: float | None = Field(default=None, ge=0, lt=1, description="of hidden states; null: the base's own")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="probability spread over the other labels")
    keep_ability: KeepAbilityOptions = KeepAbilityOptions()
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="of the computation; weights stay fp32. auto: bf16 where the hardware has it"
    )
    keep_frozen_states: bool = Field(
        default=False,
        description="what the layers below the lowest one that learns give is computed once and kept in a file while "
        "the run lasts, 2 bytes x width a token in bf16; for language models with method.layers and several epochs",
    )
    frozen_products: Literal["auto", "fp8"] = Field(
        default="auto",
        description="of the weights beside method: lora. auto: as precision says; fp8: in 8 bits, on GPUs that "
        "multiply them, given up where the loss of some rows changes by more than 0.5 %",
    )
    patience: int = Field(default=3, ge=1, description="evaluations without a better one before training stops")
    evaluate_every_steps: int | None = Field(default=None, ge=1, description="null: after each epoch")
    log_every_steps: int = Field(default=10, ge=1)
    processes: int | None = Field(
        default=None, ge=1, le=64, description="that share each step on this machine; null: one per GPU, else 1"
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of a process; part of the result's last bits"
    )
    max_seconds: float | None = Field(
        default=None, gt=0, description="of training, over all its parts; then the best checkpoint is judged. null: any"
    )
    price_per_hour: float | None = Field(
        default=None, gt=0, description="of this machine, in any currency; for what a run costs. null: not counted"
    )
    max_cost: float | None = Field(
        default=None, gt=0, description="of training, in the currency of price_per_hour; ends it like max_seconds"
    )


class AugmentationOptions(Options):
    """How training images are changed by chance; validation and test images are shown as they are."""

    flip: Literal["none", "horizontal", "both"] = Field(
        default="none",
        description="mirror half of the images left to right, or upside down too, where that means the same",
    )
    shift: float = Field(default=0.1, ge=0, le=0.5, description="share of the side that images are moved by at most")
    light: float = Field(
        default=0.1, ge=0, lt=1, description="share by which brightness and contrast are changed at most"
    )


class CheckpointOptions(Options):
    """When the state is saved, and how many states are kept beside the best one."""

    every_steps: int | None = Field(default=100, ge=1, description="null: after each evaluation only")
    keep: int = Field(default=2, ge=1, description="newest checkpoints kept, beside the best one")
    choose: Choose = Field(
        default="best",
        description="which weights the training ends with, by validation: of the best evaluation, the last ones, the "
        "average of the newest `keep`, a mixture with the base's, or the best of all these (auto)",
    )
