"""/v1/embeddings: vectors of texts, of tuned sentence encoders and of bases."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from burnish.api.asked import Body, Models, bad
from burnish.api.routing import INFER, By, allow, router
from burnish.api.streams import unless_gone

ROUTER = router()
MOST_TEXTS = 2_048
Token = Annotated[int, Field(ge=0)]


class EmbeddingRequest(Body):
    """The body."""

    model: str = Field(min_length=1, max_length=512)
    input: str | list[str] | list[Token] | list[list[Token]]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = None

    @property
    def inputs(self) -> list[str | Sequence[int]]:
        """One or several.

        Raises:
            ServiceError: [service/bad-value].
        """
        given: Any = self.input
        one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        found: list[str | Sequence[int]] = [given] if one else list(given)
        if not 0 < len(found) <= MOST_TEXTS:
            raise bad("input", f"1 to {MOST_TEXTS:,} texts")
        if not all(found):
            raise bad("input", "a text is empty")
        return found


@ROUTER.post("/v1/embeddings")
@allow(INFER, seconds=None, changes=False)
async def create(body: EmbeddingRequest, request: Request, caller: By, inference: Models) -> Any:
    request.state.object = body.model[:120]

    def spend(tokens: int) -> None:
        request.app.state.meter.spend(caller, tokens)

    vectors, tokens = await unless_gone(request, inference.embed(caller.project, body.model, body.inputs, spend))
    if body.dimensions is not None:
        vectors = [_shortened(vector, body.dimensions) for vector in vectors]
    as_asked = _base64 if body.encoding_format == "base64" else _numbers
    data = [
        {"object": "embedding", "index": index, "embedding": as_asked(vector)} for index, vector in enumerate(vectors)
    ]
    spent = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": body.model, "usage": spent})


def _shortened(vector: np.ndarray, dimensions: int) -> np.ndarray:
    """Its first numbers, of length 1 again.

    Raises:
        ServiceError: [service/bad-value].
    """
    if dimensions > len(vector):
        raise bad("dimensions", f"this model has {len(vector):,}")
    kept = vector[:dimensions]
    return kept / max(float(np.linalg.norm(kept)), 1e-12)


def _numbers(vector: np.ndarray) -> list[float]:
    numbers: list[float] = vector.tolist()
    return numbers


def _base64(vector: np.ndarray) -> str:
    """Little-endian float32, as the protocol's clients read it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
