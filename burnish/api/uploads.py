"""/v1/uploads: large files in parts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi.concurrency import contextmanager_in_threadpool
from pydantic import Field, StringConstraints
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from burnish.api.files import LONGEST_SECONDS, SHORTEST_SECONDS, as_object, require_purpose
from burnish.api.multipart import read_form
from burnish.api.routing import WRITE, At, By, allow, router
from burnish.registry.files import StoredFile
from burnish.registry.uploads import (
    MAX_PARTS,
    Upload,
    cancel_upload,
    complete_upload,
    create_upload,
    receive_part,
)
from burnish.settings import Options

ROUTER = router()
PART_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {"data": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


class Expiry(Options):
    """When the file is deleted."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)


class NewUpload(Options):
    """What a file will be."""

    bytes: int = Field(ge=1, le=2**62)
    filename: str = Field(min_length=1, max_length=256)
    mime_type: str = Field(max_length=128)
    purpose: str = Field(max_length=64)
    expires_after: Expiry | None = None


class Parts(Options):
    """The parts of a file, in their order."""

    part_ids: list[Annotated[str, StringConstraints(max_length=64)]] = Field(min_length=1, max_length=MAX_PARTS)
    md5: str | None = Field(default=None, max_length=32)


@ROUTER.post("/v1/uploads")
@allow(WRITE)
def create(asked: NewUpload, request: Request, caller: By, service: At) -> dict[str, Any]:
    made = create_upload(
        service.registry,
        caller.project,
        filename=asked.filename,
        purpose=require_purpose(asked.purpose),
        mime_type=asked.mime_type,
        size_bytes=asked.bytes,
        keep_seconds=asked.expires_after.seconds if asked.expires_after else None,
    )
    request.state.object = made.id
    return _shown(made)


@ROUTER.post("/v1/uploads/{upload_id}/parts", openapi_extra=PART_FORM)
@allow(WRITE, seconds=None, own_limits=True)
async def add_part(upload_id: str, request: Request, caller: By, service: At) -> dict[str, Any]:
    async with contextmanager_in_threadpool(receive_part(service.registry, caller.project, upload_id)) as receiving:
        await read_form(request, "data", receiving.write)
        part = await run_in_threadpool(receiving.store)
    return {"id": part.id, "object": "upload.part", "created_at": int(part.created), "upload_id": upload_id}


@ROUTER.post("/v1/uploads/{upload_id}/complete")
@allow(WRITE, seconds=600)
def complete(upload_id: str, asked: Parts, caller: By, service: At) -> dict[str, Any]:
    upload, file = complete_upload(service.registry, caller.project, upload_id, asked.part_ids, asked.md5)
    return _shown(upload, file)


@ROUTER.post("/v1/uploads/{upload_id}/cancel")
@allow(WRITE)
def cancel(upload_id: str, caller: By, service: At) -> dict[str, Any]:
    return _shown(cancel_upload(service.registry, caller.project, upload_id))


def _shown(upload: Upload, file: StoredFile | None = None) -> dict[str, Any]:
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.size_bytes,
        "created_at": int(upload.created),
        "expires_at": int(upload.expires),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "file": None if file is None else as_object(file),
    }
