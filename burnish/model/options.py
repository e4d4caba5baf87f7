"""Options of the base model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from burnish.settings import Options


class ModelOptions(Options):
    """Which pretrained model the run starts from."""

    base: str = Field(
        default="minilm",
        min_length=1,
        description="alias, hub id (owner/name), local folder, or an earlier run",
    )
    revision: str | None = Field(default=None, description="commit or tag of a hub model; None: its main branch")
    use: Literal["commercial", "research", "redistribution"] | None = Field(
        default=None,
        description="what the tuned model is for; a base whose license forbids it is refused. null: nothing is checked",
    )
    license: str | None = Field(
        default=None,
        description="of a base that names none, as you read it, e.g. apache-2.0; agreement: terms of your own with its "
        "owner. null: what is found",
    )
    max_length: int | None = Field(
        default=None, ge=8, description="tokens of a row that are read; longer ones are cut and counted. None: base's"
    )
    max_target_length: int | None = Field(
        default=None,
        ge=4,
        description="tokens of a text that is written, for encoders with a decoder; rows with longer ones are left out "
        "and listed. None: as many as are read",
    )
    initialization: Literal["pretrained", "random"] = Field(
        default="pretrained",
        description="random, for seq2seq and text-classification: weights are drawn with the run's seed, in the shape "
        "that config.json says",
    )
    chat_template: Literal["plain", "chatml"] | None = Field(
        default=None,
        description="how a conversation becomes a text, for a base without a template of its own. None: the base's",
    )
