"""Settings that are not the recipe's: BURNISH_* variables, and the base of every options model."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from burnish.errors import UsageError, excerpt


class Options(BaseModel):
    """A closed, frozen set of options: an unknown key is an error, nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Settings(BaseSettings):
    """Where burnish keeps things and how much it may use; read from BURNISH_* and from `$BURNISH_HOME/settings.env`."""

    model_config = SettingsConfigDict(env_prefix="BURNISH_", frozen=True, extra="ignore")

    home: Path = Field(default=Path("~/.burnish"), description="keys, database, uploads, caches")
    runs: Path = Field(default=Path("runs"), description="folder of the runs unless --output says otherwise")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of a run; None: one per physical core")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto",
        description="numbers that models compute in where a recipe says auto; fp32 answers the same on machines with "
        "and without native bf16",
    )

    database_url: SecretStr | None = Field(
        default=None, description="database of the registry, e.g. postgresql://...; None: SQLite in the home"
    )
    storage_url: str | None = Field(
        default=None, description="where versions are stored, e.g. s3://bucket/burnish; None: in the home"
    )
    max_upload_bytes: int = Field(
        default=512 * 1024**2, ge=1, description="size of one file that is sent to the service"
    )
    max_project_bytes: int | None = Field(
        default=None, ge=1, description="of all files of one project of the service; None: no limit"
    )
    offline: bool = Field(
        default=False, description="use no network, even when a recipe names data there or a command an endpoint"
    )

    serve_memory_bytes: int | None = Field(
        default=None, ge=1, description="memory that served models may take; None: half of the machine's"
    )
    serve_queue: int = Field(default=64, ge=1, description="requests that may wait for one served model")
    serve_seconds: float = Field(default=300.0, gt=0, description="after which a request to a served model is given up")

    def expanded_home(self) -> Path:
        return expanded(self.home)


def expanded(name: str | Path) -> Path:
    """A path with ~ as the home folder; a file that only looks so (~$rows.csv) keeps its name."""
    return Path(os.path.expanduser(name))  # noqa: PTH111  # Path.expanduser raises where there is no such user


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        UsageError: [settings/invalid] naming the variable.
    """
    try:
        home = Settings().expanded_home()
        return Settings(_env_file=home / "settings.env")
    except ValidationError as error:
        first = error.errors()[0]
        name = f"BURNISH_{first['loc'][0]}".upper()
        raise UsageError(
            "settings/invalid",
            f"{first['msg'][0].lower()}{first['msg'][1:]} (found {excerpt(repr(first['input']))})",
            where=name,
            hint=f"mend or unset {name}, in the environment and in $BURNISH_HOME/settings.env",
        ) from None
