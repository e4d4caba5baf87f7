"""What requests to models have in common: how tokens are chosen, and the parameters that are refused by name."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from burnish.errors import ServiceError
from burnish.lifecycle.inference import Inference, Wish, Writing
from burnish.serving.choosing import Choice, Chosen

MOST_STOPS, MOST_STOP_CHARACTERS = 4, 256
MOST_BIASED = 1_024  # tokens
FINGERPRINT = "fp_burnish"


class Body(BaseModel):
    """The body of a request: of the types it says, and without fields that mean nothing here."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Sampled(Body):
    """Fields of every request that lets a model write."""

    model: str = Field(min_length=1, max_length=512)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    stream: bool | None = False
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class Drawn(Sampled):
    """Further ones of the two older routes."""

    n: int | None = Field(default=1, ge=1, le=128)
    stop: str | list[str] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    presence_penalty: float | None = Field(default=0, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=0, ge=-2, le=2)
    logit_bias: dict[str, float] | None = None
    stream_options: dict[str, Any] | None = None

    @property
    def tells_usage(self) -> bool:
        return bool((self.stream_options or {}).get("include_usage"))

    def wish(self, *, max_new_tokens: int | None, top_logprobs: int | None) -> Wish:
        """How the answer is to be written.

        Raises:
            ServiceError: [service/bad-value] naming the field.
        """
        choice = Choice(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=secrets.randbelow(2**31) if self.seed is None else self.seed,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            bias=_bias(self.logit_bias or {}),
            top_logprobs=top_logprobs,
        )
        return Wish(
            answers=self.n or 1,
            max_new_tokens=max_new_tokens,
            choice=choice,
            stops=_stops(self.stop),
            streams=bool(self.stream),
        )


def _stops(given: str | Sequence[str] | None) -> Sequence[str]:
    stops = [given] if isinstance(given, str) else list(given or [])
    if len(stops) > MOST_STOPS or any(not 0 < len(stop) <= MOST_STOP_CHARACTERS for stop in stops):
        raise bad("stop", f"at most {MOST_STOPS} texts of 1 to {MOST_STOP_CHARACTERS} characters")
    return stops


def _bias(given: Mapping[str, float]) -> dict[int, float]:
    found = {}
    for token, amount in given.items():
        if not (token.isascii() and token.isdigit() and len(token) <= 9 and -100 <= amount <= 100):
            raise bad("logit_bias", "tokens are whole numbers, what is added to them lies in -100..100")
        found[int(token)] = amount
    if len(found) > MOST_BIASED:
        raise bad("logit_bias", f"at most {MOST_BIASED:,} tokens")
    return found


def bad(param: str, message: str) -> ServiceError:
    """The refusal of a value."""
    return ServiceError("service/bad-value", f"{param}: {message}", status=400, param=param, kind="invalid_value")


def unsupported(param: str, message: str) -> ServiceError:
    """The refusal of what this server cannot do; it never answers as if it had not been asked for."""
    return ServiceError(
        "service/unsupported", f"{param}: {message}", status=400, param=param, kind="unsupported_parameter"
    )


def usage(prompt: int, answer: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def told_token(writing: Writing, token: int, logprob: float) -> dict[str, Any]:
    text = writing.token_texts[token]
    spelled = None if "\ufffd" in text else list(text.encode())  # a part of a character has no text of its own
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": spelled}


def told_tokens(writing: Writing, chosen: Sequence[Chosen]) -> list[dict[str, Any]]:
    """Log-probabilities of tokens in the form of the chat route."""
    return [
        {
            **told_token(writing, each.token, each.logprob or 0.0),
            "top_logprobs": [told_token(writing, token, logprob) for token, logprob in each.top],
        }
        for each in chosen
    ]


def now() -> int:
    return int(time.time())


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"


async def inference_of(request: Request) -> Inference:
    inference: Inference = request.app.state.inference
    return inference


Models = Annotated[Inference, Depends(inference_of)]
