"""The REST API at `/api/v1`: the answers of `platen --json` over HTTP, for programs that bear a user's token.

An application of its own below the console, so that nothing in it answers with a page or takes a cookie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import FileResponse

from console import answers
from console import api_models as m
from console.api_door import Asks, Borne, Everybody, FloorStaff, Number, Supervisor, add_problems, problems
from console.api_uploads import add_uploads
from console.held_pages import MAY_DECIDE, MOST_ID
from console.histories import SEES_HISTORY
from console.orders import NotThere, one_line, order_for, reason_in
from console.pages import page_for, text_of
from console.signing_in import SEES_HELD, NotAllowed, customer_of
from console.words import typed
from pipeline.billing import charges_so_far
from pipeline.bureau import Bureau
from pipeline.ledger import HeldNoLonger, Session
from pipeline.ledger.lookups import (
    BATCHES_A_SCREEN,
    DOCUMENTS_A_SCREEN,
    ORDERS_A_SCREEN,
    PAGES_A_SCREEN,
    ROLLS_A_SCREEN,
)
from pipeline.ledger.lots import LOTS_A_SCREEN
from pipeline.model import OrderId, OrderStatus, Role, WorkOrder
from pipeline.orders import BadOrder, open_order
from pipeline.package_files import package_file, package_files
from pipeline.review import CannotDecide, decide, decisions, hold_with_id

PLACE = "/api/v1"
MOST_CURSOR = (1 << 53) - 1  # the largest whole number that every reader of JSON keeps (RFC 8259, 6)
HOLDS_AT_ONCE = 100
HISTORY_AT_ONCE = 1_000
FILES_AT_ONCE = 1_000
CHARGED_AT_ONCE = 100  # deliveries, each with a line a fee
_TYPES = {
    ".pdf": "application/pdf", ".csv": "text/csv", ".txt": "text/plain", ".json": "application/json",
    ".xml": "application/xml", ".tif": "image/tiff", ".tiff": "image/tiff", ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg", ".png": "image/png", ".jp2": "image/jp2",
}  # fmt: skip
_ANY_TYPE = "application/octet-stream"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PLAIN = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file; its ETag is its SHA-256.",
        "content": {kind: _BINARY for kind in (*dict.fromkeys(_TYPES.values()), _ANY_TYPE)},
    },
    206: {"description": "The range that was asked for.", "content": {"*/*": _BINARY}},
    304: {"description": "Whoever asks has it already (If-None-Match)."},
    400: {"description": "The range cannot be understood.", **_PLAIN},
    416: {"description": "The range lies outside the file.", **_PLAIN},
}
_DESCRIPTION = """\
Orders, batches, pages, what is held, packages and the state of the floor, for programs.

Send a token with every request: `Authorization: Bearer platen_...`. It has the rights of its user, and what is changed
is recorded under the user's name. The answers are those of `platen ... --json`; quantities and money are decimal
strings, times are ISO 8601 in UTC. Lists come in pieces: ask again with `next` as `cursor` until it is null. Whatever
is not done is answered with a `code` for programs and a `sentence` for people.
"""

Id = Annotated[int, Path(ge=1, le=MOST_ID)]
Cursor = Annotated[int, Query(ge=0, le=MOST_CURSOR, description="`next` of the answer before; 0 for the beginning.")]
Reader = Annotated[Session, Depends(Asks(SEES_HELD))]
Historian = Annotated[Session, Depends(Asks(SEES_HISTORY))]


def create_api(bureau: Bureau) -> FastAPI:
    """The API over an opened bureau; it is mounted at `PLACE`."""
    app = FastAPI(
        title="Platen",
        version="1",
        summary="The production floor of a document-conversion bureau",
        description=_DESCRIPTION,
        docs_url=None,  # they need scripts from elsewhere, which no page of the console may load
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.bureau = bureau
    router = APIRouter()
    _add_floor(router, bureau)
    _add_orders(router, bureau)
    _add_pages(router, bureau)
    _add_held(router, bureau)
    _add_packages(router, bureau)
    add_uploads(router, bureau)
    app.include_router(router)
    add_problems(app)
    return app


def _add_floor(router: APIRouter, bureau: Bureau) -> None:
    @router.get("/me", response_model=m.WhoAmI, responses=problems())
    def who_am_i(token: Borne) -> Any:
        """Whose token this is, and until when it is good."""
        line = answers.token_line(token)
        return {name: line[name] for name in m.WhoAmI.model_fields}

    @router.get("/status", response_model=m.Status, responses=problems())
    def status(_who: FloorStaff) -> Any:
        """How the floor stands: tasks by kind, pages a minute, and the expected finish of every order."""
        return answers.floor_answer(bureau.ledger.floor())


def _add_orders(router: APIRouter, bureau: Bureau) -> None:
    @router.get("/orders", response_model=m.Listed[m.OrderLine], responses=problems())
    def list_orders(
        who: Everybody,
        search: Annotated[str, Query(max_length=100, description="Words in number, customer or title.")] = "",
        status: OrderStatus | None = None,
        cursor: Cursor = 0,
    ) -> Any:
        """Orders, newest first; an agency gets its own."""
        found = bureau.ledger.orders_found(
            customer=customer_of(who),
            words=typed(search),
            status=status,
            before=OrderId(cursor) if cursor else None,
        )
        some = [(look.order.id, answers.order_line(look.order)) for look in found]
        return _listed(some, ORDERS_A_SCREEN)

    @router.post("/orders", status_code=201, response_model=m.OrderLine, responses=problems(409, 413))
    def open_new_order(who: Supervisor, new: m.NewOrder) -> Any:
        """Open a work order."""
        order = open_order(
            bureau,
            customer=new.customer,
            profile=new.profile,
            services=new.services,
            priority=new.priority,
            who=who.user.name,
            number=new.number,
            title=one_line("title", new.title),
            series=one_line("series", new.series),
            due=_day(new.due),
            expect_pages=new.expect_pages,
            boxes=tuple(one_line("boxes", box) for box in new.boxes if box.strip()),
            why=reason_in(typed(new.why)),
        )
        return answers.order_line(order)

    @router.get("/orders/{number}", response_model=m.OrderAnswer, responses=problems(404, 409))
    def show_order(number: Number, who: Everybody) -> Any:
        """An order with its pages, and the first of its batches, documents, rolls and charges."""
        look = order_for(bureau, who, number)
        order, ledger = look.order, bureau.ledger
        lists = {name: some(bureau, who, order, 0) for name, some in _LISTS.items()}
        not_charged = charges_so_far(bureau, order, ledger.usage(order.id), ledger.charges(order.id))
        return {
            **answers.order_head(order, look.pages),
            **{name: some["items"] for name, some in lists.items()},
            "charges_so_far": [answers.charge_line(line) for line in not_charged],
            "next": {name: some["next"] for name, some in lists.items()},
        }

    @router.post("/orders/{number}/close", response_model=m.OrderLine, responses=problems(404, 409, 413))
    def close_order(number: Number, who: Supervisor, reason: m.Reason) -> Any:
        """Take no more batches; what is left is finished, filmed and packaged. Asked twice, it is closed once."""
        order_for(bureau, who, number)
        why = reason_in(typed(reason.why))
        return answers.order_line(bureau.ledger.close_order(number, who=who.user.name, why=why))

    @router.post("/orders/{number}/reopen", response_model=m.OrderLine, responses=problems(404, 409, 413))
    def reopen_order(number: Number, who: Supervisor, reason: m.Reason) -> Any:
        """Take batches again; what was delivered stays delivered."""
        order_for(bureau, who, number)
        why = reason_in(typed(reason.why))
        return answers.order_line(bureau.ledger.reopen_order(number, who=who.user.name, why=why))

    @router.get("/orders/{number}/history", response_model=m.Listed[m.HistoryAnswerLine], responses=problems(404))
    def show_history(number: Number, who: Historian, cursor: Cursor = 0) -> Any:
        """Everything that was done for an order, and by whom, oldest first."""
        order = order_for(bureau, who, number).order
        lines = bureau.ledger.history(order.id, after=cursor, limit=HISTORY_AT_ONCE + 1)
        return _listed([(line.id, answers.history_line(line)) for line in lines], HISTORY_AT_ONCE)


def _add_pages(router: APIRouter, bureau: Bureau) -> None:
    @router.get("/orders/{number}/batches", response_model=m.Listed[m.BatchLine], responses=problems(404))
    def list_batches(number: Number, who: Everybody, cursor: Cursor = 0) -> Any:
        """Batches of an order as they came."""
        return _batches(bureau, who, order_for(bureau, who, number).order, cursor)

    @router.get("/orders/{number}/documents", response_model=m.Listed[m.DocumentOfOrder], responses=problems(404))
    def list_documents(number: Number, who: Everybody, cursor: Cursor = 0) -> Any:
        """Documents of an order as they were parted."""
        return _documents(bureau, who, order_for(bureau, who, number).order, cursor)

    @router.get("/orders/{number}/quality", response_model=m.Listed[m.LotLine], responses=problems(404))
    def list_quality(number: Number, who: Everybody, cursor: Cursor = 0) -> Any:
        """Batches of an order that are or were under quality control; for agencies none."""
        return _quality(bureau, who, order_for(bureau, who, number).order, cursor)

    @router.get("/orders/{number}/rolls", response_model=m.Listed[m.RollOfOrder], responses=problems(404))
    def list_rolls(number: Number, who: Everybody, cursor: Cursor = 0) -> Any:
        """Rolls of an order as they were planned."""
        return _rolls(bureau, who, order_for(bureau, who, number).order, cursor)

    @router.get("/orders/{number}/charges", response_model=m.Listed[m.ChargeLine], responses=problems(404))
    def list_charges(number: Number, who: Everybody, cursor: Cursor = 0) -> Any:
        """What was charged for an order, delivery by delivery."""
        return _charges(bureau, who, order_for(bureau, who, number).order, cursor)

    @router.get("/orders/{number}/batches/{batch_id}", response_model=m.BatchLine, responses=problems(404))
    def show_batch(number: Number, batch_id: Id, who: Everybody) -> Any:
        """One batch with its pages counted."""
        look = bureau.ledger.batch_look(order_for(bureau, who, number).order.id, batch_id)
        if look is None:
            raise NotThere
        return answers.batch_line(look, look.pages)

    @router.get(
        "/orders/{number}/batches/{batch_id}/pages", response_model=m.Listed[m.PageLine], responses=problems(404)
    )
    def list_pages(number: Number, batch_id: Id, who: Everybody, cursor: Cursor = 0) -> Any:
        """Pages of a batch in their order; one that was scanned again stands before the scan that replaced it."""
        look = bureau.ledger.batch_look(order_for(bureau, who, number).order.id, batch_id)
        if look is None:
            raise NotThere
        # a cursor is a place: all scans of one place come together
        last = cursor + PAGES_A_SCREEN
        return {
            "items": [
                {"id": page.id, "page_number": page.sequence, "revision": page.revision, "state": page.state}
                for page in bureau.ledger.page_squares(look.id, after=cursor)
            ],
            "next": last if last < look.sheets else None,
        }

    @router.get("/pages/{page_id}", response_model=m.PageAnswer, responses=problems(404, 409))
    def show_page(page_id: Id, who: Everybody) -> Any:
        """One page with all that was measured on it, and the text that was read."""
        look = page_for(bureau, who, str(page_id))
        text, _ = text_of(bureau, look.page)
        answer = answers.page_answer(bureau, look.page)
        if who.user.role is Role.AGENCY:
            answer |= {"scan": None, "delivered": None}
        return {
            "id": look.page.id,
            "page_number": look.page.sequence,
            "revision": look.revision,
            "state": look.state,
            "order": look.order.number,
            "batch": look.batch_name,
            "document": look.document,
            "held_as": look.held_as,
            "sentence": look.sentence,
            "before": look.before,
            "after": look.after,
            **answer,
            "text": None if text is None else text.plain_text,
        }


def _add_held(router: APIRouter, bureau: Bureau) -> None:
    @router.get("/held", response_model=m.Listed[m.HoldLine], responses=problems())
    def list_held(
        _who: Reader,
        code: Annotated[str, Query(max_length=40, description="Only what is held for this reason.")] = "",
        order: Annotated[str, Query(max_length=60, description="Only what is held of this order.")] = "",
        cursor: Cursor = 0,
    ) -> Any:
        """What waits for a person."""
        holds = bureau.ledger.some_holds(
            typed(code) or None, order=typed(order) or None, after=cursor, limit=HOLDS_AT_ONCE + 1
        )
        return _listed([(hold.id, answers.hold_line(hold)) for hold in holds], HOLDS_AT_ONCE)

    @router.get(
        "/held/{hold_id}",
        response_model=m.HoldAnswer,
        response_model_exclude_unset=True,
        responses=problems(404, 409),
    )
    def show_held(hold_id: Id, who: Reader) -> Any:
        """One held thing with what was measured on it."""
        try:
            hold = hold_with_id(bureau, hold_id)
        except CannotDecide as error:
            raise NotThere from error
        may = decisions(hold) & MAY_DECIDE[who.user.role]
        return {**answers.hold_answer(bureau, hold), "decisions": sorted(may)}

    @router.post("/held/{hold_id}/decision", response_model=m.Decided, responses=problems(409, 413))
    def decide_held(hold_id: Id, who: Reader, new: m.NewDecision) -> Any:
        """Decide about a held thing, as it was looked at."""
        if new.decision not in MAY_DECIDE[who.user.role]:
            raise NotAllowed(f"To {new.decision} is not for a token of {who.user.role}.")
        hold = hold_with_id(bureau, hold_id)
        if hold.code != new.code:  # held anew for another reason: nobody has looked at that yet
            raise HeldNoLonger
        why = reason_in(typed(new.why))
        return {"id": hold_id, "outcome": decide(bureau, hold, new.decision, who=who.user.name, why=why)}


def _add_packages(router: APIRouter, bureau: Bureau) -> None:
    @router.get("/orders/{number}/packages/{delivery}", response_model=m.PackageAnswer, responses=problems(404, 500))
    def show_package(number: Number, delivery: Id, who: Everybody, cursor: Cursor = 0) -> Any:
        """The files of a package that has gone out, with sizes and digests; its transmittal is data/transmittal.pdf."""
        order = order_for(bureau, who, number).order
        files = package_files(bureau, order, delivery, after=cursor, limit=FILES_AT_ONCE + 1)
        return {
            "order": order.number,
            "delivery": delivery,
            "items": [
                {"name": file.name, "bytes": file.size_bytes, "sha256": file.digest} for file in files[:FILES_AT_ONCE]
            ],
            "next": cursor + FILES_AT_ONCE if len(files) > FILES_AT_ONCE else None,
        }

    @router.get(
        "/orders/{number}/packages/{delivery}/files/{name:path}",
        response_class=Response,
        responses={**problems(404, 500), **_FILE_ANSWERS},
    )
    def package_content(request: Request, number: Number, delivery: Id, name: str, who: Everybody) -> Response:
        """One file of a package by its path inside it, whole or a range; it is checked against its digest first."""
        order = order_for(bureau, who, number).order
        file = package_file(bureau, order, delivery, name)
        headers = {"etag": f'"{file.digest}"', "accept-ranges": "bytes"}
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        place = PurePosixPath(file.name)
        media_type = _TYPES.get(place.suffix.lower(), _ANY_TYPE)
        return FileResponse(file.path, media_type=media_type, filename=place.name, headers=headers)


def _batches(bureau: Bureau, _who: Session, order: WorkOrder, after: int) -> dict[str, Any]:
    batches = bureau.ledger.batches_from(order.id, after=after)
    return _listed([(batch.id, answers.batch_line(batch, batch.pages)) for batch in batches], BATCHES_A_SCREEN)


def _documents(bureau: Bureau, who: Session, order: WorkOrder, after: int) -> dict[str, Any]:
    documents = bureau.ledger.documents_from(order.id, after=after)
    lines = [(document.id, answers.document_line(bureau, order, document)) for document in documents]
    if who.user.role is Role.AGENCY and not order.package:  # where the house keeps files is its own
        lines = [(number, {**line, "pdf": None}) for number, line in lines]
    return _listed(lines, DOCUMENTS_A_SCREEN)


def _quality(bureau: Bureau, who: Session, order: WorkOrder, after: int) -> dict[str, Any]:
    # who scanned and looked is the house's own
    lots = [] if who.user.role is Role.AGENCY else bureau.ledger.lots_from(order.number, after=after)
    return _listed([(lot.id, answers.lot_line(lot)) for lot in lots], LOTS_A_SCREEN)


def _rolls(bureau: Bureau, _who: Session, order: WorkOrder, after: int) -> dict[str, Any]:
    rolls = bureau.ledger.rolls_from(order.id, after=after)
    return _listed([(roll.id, answers.roll_line(roll)) for roll in rolls], ROLLS_A_SCREEN)


def _charges(bureau: Bureau, _who: Session, order: WorkOrder, after: int) -> dict[str, Any]:
    # a cursor is the number of a delivery: all its lines come together
    last = after + CHARGED_AT_ONCE
    lines = [line for line in bureau.ledger.charges(order.id) if after < line.delivery <= last]
    return {
        "items": [answers.charge_line(line) for line in lines],
        "next": last if last < order.deliveries else None,
    }


# what is listed under an order, by the names of the answer
_LISTS: Mapping[str, Callable[[Bureau, Session, WorkOrder, int], dict[str, Any]]] = {
    "batches": _batches, "documents": _documents, "quality": _quality, "rolls": _rolls, "charges": _charges,
}  # fmt: skip


def _listed(lines: Sequence[tuple[int, dict[str, Any]]], at_once: int) -> dict[str, Any]:
    """What was found, one more than is given, with the id of each: the last one's is where to go on."""
    some = lines[:at_once]
    return {"items": [line for _, line in some], "next": some[-1][0] if len(lines) > len(some) else None}


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise BadOrder(f"due: there is no day {text}") from error
