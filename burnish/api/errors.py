"""Every failure as the protocol's error body: a message, its type, the field and a code, whatever went wrong where."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from burnish.errors import (
    BurnishError,
    DamagedStoreError,
    DiskFullError,
    OutOfMemoryError,
    RegistryError,
    ServiceError,
    UsageError,
    excerpt,
    nearest,
)

LOGGER = logging.getLogger("burnish.api")
TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
CODES: Mapping[int, str] = {404: "not_found", 405: "method_not_allowed", 503: "service_unavailable"}
TEXTS: Mapping[int, str] = {
    404: "There is nothing here.",
    405: "This method is not allowed here.",
    500: "The server made a mistake. Its log says more, under the id of this request.",
}


class ErrorBody(JSONResponse):
    """{"error": {"message", "type", "param", "code"}} with the headers that tell a client whether to try again."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        kind = TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
        error = {"message": message, "type": kind, "param": param, "code": code, **(more or {})}
        sent = dict(headers or {})
        if retry_after_seconds is not None:
            sent["retry-after"] = str(max(1, math.ceil(retry_after_seconds)))
        if status in (409, 500, 507):  # the same request again would end the same way
            sent["x-should-retry"] = "false"
        super().__init__({"error": error}, status, sent)


def answer_for(error: Exception, known: Sequence[str] = ()) -> ErrorBody:
    """What a client is told of an exception; a bug of ours tells nothing of itself.

    Args:
        known: fields of the body that was expected.
    """
    if isinstance(error, ServiceError):
        return ErrorBody(
            error.status,
            _message(error),
            code=error.kind,
            param=error.param,
            retry_after_seconds=error.retry_after_seconds,
            more=_more(error),
        )
    if isinstance(error, HTTPException):
        status = error.status_code
        text = TEXTS.get(status, str(error.detail))
        return ErrorBody(status, text, code=CODES.get(status), headers=error.headers)
    if isinstance(error, RequestValidationError):
        return _of_validation(error, known)
    if isinstance(error, BurnishError):
        return _of_burnish(error)
    return ErrorBody(500, TEXTS[500], code="internal_error")


def log_failure(error: Exception, status: int, request_id: str | None) -> None:
    """Notes a request that failed; a refusal of the service is a line, anything else tells where it happened."""
    if isinstance(error, ServiceError):
        if status >= 500:
            more = {"request_id": request_id, "status": status, "code": error.code}
            LOGGER.warning("refused", extra={**more, "error": excerpt(error.message, 200)})
    elif status >= 500:
        LOGGER.error("failed", exc_info=error, extra={"request_id": request_id})


def protocol_error(request: Request, error: Exception) -> Response:
    """For FastAPI, which asks for a handler for each kind."""
    route = request.scope.get("route")
    field = getattr(route, "body_field", None)
    known = getattr(field.field_info.annotation, "model_fields", {}) if field is not None else {}
    return answer_for(error, list(known))


def _of_burnish(error: BurnishError) -> ErrorBody:
    if isinstance(error, DiskFullError):
        return ErrorBody(507, "The server's disk is full.", code="disk_full")
    if isinstance(error, DamagedStoreError):
        return ErrorBody(500, "What was stored is damaged; the server's log says more.", code="storage_damaged")
    if isinstance(error, OutOfMemoryError):
        return ErrorBody(503, "The server is out of memory.", code="out_of_memory", retry_after_seconds=30)
    if isinstance(error, RegistryError) and error.code == "registry/unreachable":
        return ErrorBody(503, "The server's database does not answer.", code=error.code, retry_after_seconds=5)
    if isinstance(error, RegistryError) and error.code.endswith("/not-found"):
        return ErrorBody(404, _message(error), code=error.code, more=_more(error))
    if error.exit_code in (1, 2) or isinstance(error, UsageError):
        return ErrorBody(400, _message(error), code=error.code, more=_more(error))
    return ErrorBody(500, TEXTS[500], code="internal_error")


def _message(error: BurnishError) -> str:
    lines = [error.message, *error.details]
    if error.known:
        lines.append(f"known: {', '.join(error.known)}")
    if error.hint:
        lines.append(f"hint: {error.hint}")
    return "\n".join(lines)


def _more(error: BurnishError) -> dict[str, Any]:
    return {"burnish": {"code": error.code, "hint": error.hint, "details": list(error.details)}}


def _of_validation(error: RequestValidationError, fields: Sequence[str]) -> ErrorBody:
    """The first thing that is wrong with a request, with its field as the protocol writes it."""
    found = error.errors()
    if not found:
        return ErrorBody(400, "The request cannot be read.", code="invalid_request")
    first = found[0]
    place = [str(part) for part in first["loc"]][1:]
    if first["type"] == "json_invalid":
        return ErrorBody(400, "The body is not valid JSON.", code="invalid_json")
    param = ".".join(place) or None
    what = excerpt(str(first["msg"]), 200)
    if first["type"] == "missing" and not place:
        return ErrorBody(400, "The body is missing; it must be a JSON object.", code="invalid_request")
    if first["type"] == "extra_forbidden" and len(place) == 1:
        close = nearest(place[0], fields)
        what = f'unknown key; did you mean "{close}"?' if close else f"unknown key; known are {', '.join(fields)}"
    param = param and excerpt(param, 100)
    message = f"{param}: {what[:1].lower()}{what[1:]}" if param else what
    known = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}
    return ErrorBody(400, message, code=known.get(str(first["type"]), "invalid_value"), param=param)
