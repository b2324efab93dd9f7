"""Uploads over the REST API: what will come is said first, then it comes in pieces that can be resumed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from console import answers
from console import api_models as m
from console.api_door import Number, ScannerStaff, problems
from console.orders import order_for
from pipeline import uploads
from pipeline.bureau import Bureau
from pipeline.intake import DeliveredFile
from pipeline.ledger.lookups import UploadLook
from pipeline.model import Sha256

PIECE_BYTES = 1 << 20  # written at once
SILENT_S = 60.0  # without a byte, the sender is taken for gone, or its file could not be sent by anybody else
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
_PIECE = {
    "requestBody": {
        "description": "Bytes of the file from `offset` on: all that are left, or some.",
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

UploadId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
FileNumber = Annotated[int, Path(ge=1, le=1_000_000, description="As the upload lists it, from 1.")]
Offset = Annotated[int, Query(ge=0, le=m.MOST_BYTES, description="Where the piece begins: what is here already.")]


def add_uploads(router: APIRouter, bureau: Bureau) -> None:
    """Add the resources of uploads."""

    @router.post(
        "/orders/{number}/uploads",
        status_code=201,
        response_model=m.UploadAnswer,
        responses=problems(404, 409, 413, 507),
    )
    def begin_upload(number: Number, who: ScannerStaff, said: m.NewUpload) -> Any:
        """Say which files a batch will have. Then send each, and complete the upload."""
        order = order_for(bureau, who, number).order
        files = [DeliveredFile(name=file.name, size=file.bytes, digest=Sha256(file.sha256)) for file in said.files]
        upload = uploads.begin_upload(bureau, order, said.name, files, who=who.user.name)
        return answers.upload_answer(upload, uploads.arrived(bureau, upload))

    @router.get("/uploads/{upload_id}", response_model=m.UploadAnswer, responses=problems(404))
    def show_upload(upload_id: UploadId, _who: ScannerStaff) -> Any:
        """How much of every file is here; after it was completed, what became of the batch."""
        if (look := bureau.ledger.upload_look(upload_id)) is not None:
            return _completed(bureau, upload_id, look)
        upload = uploads.upload_with_id(bureau, upload_id)
        return answers.upload_answer(upload, uploads.arrived(bureau, upload))

    @router.put(
        "/uploads/{upload_id}/files/{number}",
        response_model=m.ArrivedFile,
        responses=problems(404, 409, 413, 507),
        openapi_extra=_PIECE,
    )
    async def send_piece(
        request: Request, upload_id: UploadId, number: FileNumber, _who: ScannerStaff, offset: Offset = 0
    ) -> Any:
        """Send a file, or go on with it where it stands. Whole, it is checked against the digest that was said.

        With another offset than what is here the answer is 409, and its header Upload-Offset says where to go on.
        """
        length = request.headers.get("content-length", "")
        piece = await run_in_threadpool(
            _receiver, bureau, upload_id, number, offset, int(length) if _LENGTH.fullmatch(length) else None
        )
        try:
            async for data in _pieces(request):
                await run_in_threadpool(piece.write, data)
            arrived = await run_in_threadpool(piece.finish)
        finally:
            piece.close()
        return {"received": arrived.received, "verified": arrived.verified}

    @router.post("/uploads/{upload_id}/complete", response_model=m.UploadAnswer, responses=problems(404, 409))
    def complete_upload(upload_id: UploadId, who: ScannerStaff) -> Any:
        """Hand the batch over to intake, once every file is whole. Asked twice, it is handed over once."""
        return _completed(bureau, upload_id, uploads.complete_upload(bureau, upload_id, who=who.user.name))

    @router.delete("/uploads/{upload_id}", status_code=204, response_class=Response, responses=problems(404, 409))
    def abandon_upload(upload_id: UploadId, _who: ScannerStaff) -> None:
        """Throw away what came of an upload that was not completed."""
        uploads.abandon_upload(bureau, upload_id)


def _completed(bureau: Bureau, upload_id: str, look: UploadLook) -> dict[str, Any]:
    digest = None
    with suppress(uploads.NoSuchUpload):  # it was swept: then the batch tells, if it became one
        digest = uploads.upload_with_id(bureau, upload_id).digest
    return answers.completed_upload_answer(upload_id, look, digest)


def _receiver(bureau: Bureau, upload_id: str, number: int, offset: int, size_bytes: int | None) -> uploads.Receiver:
    upload = uploads.upload_with_id(bureau, upload_id)
    return uploads.receive_piece(bureau, upload, number, offset=offset, size_bytes=size_bytes)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces worth writing, up to where the sender was lost: it asks later how much has come."""
    held = bytearray()
    stream = aiter(request.stream())
    try:
        while True:
            with anyio.fail_after(SILENT_S):
                held += await anext(stream)
            if len(held) >= PIECE_BYTES:
                yield bytes(held)
                held.clear()
    except (StopAsyncIteration, ClientDisconnect, TimeoutError):
        yield bytes(held)
