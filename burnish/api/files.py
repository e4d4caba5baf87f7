"""/v1/files: what a project has sent, and what its jobs have written."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Query
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from burnish.api.multipart import Form, read_form
from burnish.api.routing import READ, WRITE, At, By, allow, router
from burnish.errors import ServiceError
from burnish.registry.files import SENT, StoredFile, delete_file, file_path, find_file, list_files, receive_file

ROUTER = router()
SHORTEST_SECONDS, LONGEST_SECONDS = 3600, 2_592_000  # that a file may be kept when its sender says how long
BASE64_BYTES = 3 * 65_536  # encoded at once; a multiple of three
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(SENT)},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": SHORTEST_SECONDS,
                            "maximum": LONGEST_SECONDS,
                        },
                    },
                }
            }
        },
    }
}


@ROUTER.post("/v1/files", openapi_extra=FORM)
@allow(WRITE, seconds=None, own_limits=True)
async def create(request: Request, caller: By, service: At) -> dict[str, Any]:
    async with contextmanager_in_threadpool(receive_file(service.registry, caller.project)) as receiving:
        form = await read_form(request, "file", receiving.write)
        purpose, expires = _purpose(form), _expires(form)
        stored = await run_in_threadpool(
            receiving.store, filename=form.filename or "", purpose=purpose, expires=expires
        )
    request.state.object = stored.id
    return as_object(stored)


@ROUTER.get("/v1/files")
@allow(READ)
def list_(
    caller: By,
    service: At,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> dict[str, Any]:
    found, more = list_files(
        service.registry, caller.project, after=after, limit=limit, newest_first=order == "desc", purpose=purpose
    )
    return page([as_object(each) for each in found], more)


@ROUTER.get("/v1/files/{file_id}")
@allow(READ)
def retrieve(file_id: str, caller: By, service: At) -> dict[str, Any]:
    return as_object(find_file(service.registry, caller.project, file_id))


@ROUTER.delete("/v1/files/{file_id}")
@allow(WRITE)
def delete(file_id: str, caller: By, service: At) -> dict[str, Any]:
    find_file(service.registry, caller.project, file_id)
    delete_file(service.registry, caller.project, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


@ROUTER.get("/v1/files/{file_id}/content", response_class=Response)
@allow(READ, seconds=None)
def content(
    file_id: str, caller: By, service: At, encoding: Annotated[Literal["base64"] | None, Query()] = None
) -> Response:
    """The bytes as they came; as base64 for scripts that expect results of jobs so."""
    stored = find_file(service.registry, caller.project, file_id)
    path = file_path(service.registry, stored)
    if encoding == "base64":
        return StreamingResponse(_as_base64(path), media_type="text/plain")
    headers = {"content-disposition": f'attachment; filename="{file_id}"'}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


def as_object(stored: StoredFile) -> dict[str, Any]:
    """The protocol's object of a file."""
    shown: dict[str, Any] = {
        "id": stored.id,
        "object": "file",
        "bytes": stored.size_bytes,
        "created_at": int(stored.created),
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed",
        "status_details": None,
    }
    return shown if stored.expires is None else {**shown, "expires_at": int(stored.expires)}


def page(objects: list[dict[str, Any]], more: bool) -> dict[str, Any]:
    """The protocol's list."""
    first, last = (objects[0]["id"], objects[-1]["id"]) if objects else (None, None)
    return {"object": "list", "data": objects, "has_more": more, "first_id": first, "last_id": last}


def lifetime(anchor: str | None, seconds: int | str | None) -> float | None:
    """When a file expires, as its sender says; None: never.

    Raises:
        ServiceError: [files/bad-expiry].
    """
    if anchor is None and seconds is None:
        return None
    text = str(seconds)
    fits = text.isascii() and text.isdecimal() and len(text) < 10 and SHORTEST_SECONDS <= int(text) <= LONGEST_SECONDS
    if anchor != "created_at" or not fits:
        raise ServiceError(
            "files/bad-expiry",
            f"a file expires {SHORTEST_SECONDS} to {LONGEST_SECONDS} seconds after created_at",
            status=400,
            param="expires_after",
            kind="invalid_value",
        )
    return time.time() + int(text)


def require_purpose(purpose: str | None) -> str:
    """Raises ServiceError [files/bad-purpose] for a purpose that a client may not name."""
    if purpose not in SENT:
        raise ServiceError(
            "files/bad-purpose",
            "a purpose is needed" if purpose is None else "this is no purpose of a file",
            status=400,
            param="purpose",
            kind="missing_required_parameter" if purpose is None else "invalid_value",
            known=SENT,
        )
    return purpose


def _purpose(form: Form) -> str:
    return require_purpose(form.fields.get("purpose"))


def _expires(form: Form) -> float | None:
    return lifetime(form.fields.get("expires_after[anchor]"), form.fields.get("expires_after[seconds]"))


def _as_base64(path: Path) -> AsyncIterator[bytes]:
    def pieces() -> Any:
        with path.open("rb") as stream:
            while piece := stream.read(BASE64_BYTES):
                yield base64.b64encode(piece)

    return iterate_in_threadpool(pieces())
