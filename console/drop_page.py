"""Sending a batch from the browser: one form with several files, written to the disk as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from console.orders import PRINTS_TICKETS, order_for
from console.signing_in import Doorkeeper, NotAllowed, check_form, show
from pipeline import uploads
from pipeline.bureau import Bureau
from pipeline.ledger import OrderNotOpen, Session
from pipeline.model import WorkOrder

FILES, NAME, FORM_TOKEN = "files", "name", "form_token"
_LONGEST_FIELD = 1_000
_MOST_FIELDS = 10


class BadForm(ValueError):
    """What was sent is not the form of this page."""


def add_drop(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the page and its form."""
    router = APIRouter()

    def page(request: Request, session: Session, order: WorkOrder, *, said: str = "", status: int = 200) -> Response:
        return show(
            request, bureau, "drop.html", status=status, session=session, here="orders", order=order,
            said=said, most_files=bureau.settings.upload_files, most_mb=bureau.settings.upload_mb,
        )  # fmt: skip

    @router.get("/orders/{number}/drop")
    def drop_form(request: Request, number: str) -> Response:
        session = door.one_of(request, PRINTS_TICKETS)
        return page(request, session, order_for(bureau, session, number).order)

    @router.post("/orders/{number}/drop")
    async def drop(request: Request, number: str) -> Response:
        session = await run_in_threadpool(door.one_of, request, PRINTS_TICKETS)
        order = (await run_in_threadpool(order_for, bureau, session, number)).order
        pieces = request.stream()
        try:
            boundary = boundary_in(request.headers.get("content-type", ""))
            batch = await run_in_threadpool(uploads.Drop, bureau, order)
        except (BadForm, uploads.UploadRefused, OrderNotOpen) as error:
            await _read_out(pieces)
            return page(request, session, order, said=str(error), status=_status(error))
        try:
            form = DropForm(boundary, session, batch)
            async for data in pieces:
                await run_in_threadpool(form.write, data)
            await run_in_threadpool(form.complete)
        except (uploads.UploadRefused, OrderNotOpen, BadForm, FormParserError) as error:
            await _read_out(pieces)
            return page(request, session, order, said=f"{error} Nothing was taken.", status=_status(error))
        except NotAllowed:
            await _read_out(pieces)
            raise
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        finally:
            await run_in_threadpool(batch.give_up)
        return RedirectResponse(f"/orders/{order.number}", 303)

    app.include_router(router)


def boundary_in(content_type: str) -> bytes:
    """What stands between the parts of a form with files.

    Raises:
        BadForm: it is none.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise BadForm("This is no form with files.")
    return options[b"boundary"]


def _status(error: Exception) -> int:
    return 422 if isinstance(error, (BadForm, FormParserError)) else 409


class DropForm:
    """Takes a `multipart/form-data` body piece by piece (RFC 7578) and writes its files where they belong.

    The fields stand before the files, so nothing is written for a form that this console did not give.
    """

    def __init__(self, boundary: bytes, session: Session, batch: uploads.Drop) -> None:
        self._session, self._batch = session, batch
        self._fields: dict[str, bytearray] = {}
        self._is_over = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._header_name_piece,
                "on_header_value": self._header_value_piece,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            BadForm: it is not the form of this page.
            NotAllowed: the form was not given to this session.
            UploadRefused: a file cannot be kept.
        """
        self._parser.write(data)

    def complete(self) -> None:
        """Make a delivery of it.

        Raises:
            BadForm: it is not whole.
            UploadRefused: there is nothing in it, or it cannot be kept.
            OrderNotOpen: the order was closed meanwhile.
        """
        if not self._is_over:
            raise BadForm("The form broke off.")
        self._check_given()
        name = self._fields.get(NAME, bytearray()).decode("utf-8", "replace").strip()
        self._batch.complete(name, who=self._session.user.name)

    def _begin_part(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._header_name, self._header_value = b"", b""
        self._field: bytearray | None = None
        self._in_file = False

    def _header_name_piece(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_piece(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name, self._header_value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            self._check_given()
            name = options[b"filename"].decode("utf-8", "replace")
            if name:  # none was chosen
                self._batch.begin_file(name)
                self._in_file = True
        elif len(self._fields) < _MOST_FIELDS:
            self._field = self._fields.setdefault(field, bytearray())

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._batch.write(data[start:end])
        elif self._field is not None:
            self._field += data[start:end]
            if len(self._field) > _LONGEST_FIELD:
                raise BadForm("A field of the form is too long.")

    def _end_part(self) -> None:
        if self._in_file:
            self._batch.end_file()

    def _end(self) -> None:
        self._is_over = True

    def _check_given(self) -> None:
        check_form(self._session, self._fields.get(FORM_TOKEN, bytearray()).decode("utf-8", "replace"))


async def _read_out(pieces: AsyncIterator[bytes]) -> None:
    """Take what is still being sent, and keep nothing of it: a browser shows no answer before it has sent all."""
    async for _ in pieces:
        pass
