"""/v1/burnish/predict: models that neither talk nor make vectors: labels, tags, numbers, spans, tables, images."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from burnish.api.asked import Body, Models
from burnish.api.routing import INFER, By, allow, router
from burnish.api.streams import unless_gone

ROUTER = router()
MOST_ROWS = 2_048


class PredictRequest(Body):
    """The body: texts, or rows with the columns of the task."""

    model: str = Field(min_length=1, max_length=512)
    input: list[str | dict[str, Any]] = Field(min_length=1, max_length=MOST_ROWS)


@ROUTER.post("/v1/burnish/predict")
@allow(INFER, seconds=None, changes=False)
async def create(body: PredictRequest, request: Request, caller: By, inference: Models) -> Any:
    request.state.object = body.model[:120]

    def spend(tokens: int) -> None:
        request.app.state.meter.spend(caller, tokens)

    found, tokens, task = await unless_gone(request, inference.predict(caller.project, body.model, body.input, spend))
    spent = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "model": body.model, "task": task, "data": found, "usage": spent})
