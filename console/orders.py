"""The screens of work orders: found, shown with everything under them, opened, closed and reopened."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from console.signing_in import (
    SEES_FLOOR,
    SEES_HELD,
    Doorkeeper,
    Text,
    check_form,
    customer_of,
    nothing_here,
    show,
    templates,
)
from console.words import (
    EXCLUSIONS,
    LOT_STATES,
    PAGE_STATES,
    against_expected,
    detail_of,
    outcome_of,
    shown,
    standing_of,
    who_of,
)
from pipeline.billing import BadRateCard, charges_so_far
from pipeline.bureau import Bureau
from pipeline.intake import ticket_for
from pipeline.ledger import OrderNotOpen, Session
from pipeline.ledger.lookups import (
    BATCHES_A_SCREEN,
    DOCUMENTS_A_SCREEN,
    ORDERS_A_SCREEN,
    ROLLS_A_SCREEN,
    OrderLook,
)
from pipeline.ledger.lots import LOTS_A_SCREEN
from pipeline.model import OrderId, OrderStatus, Priority, Role, Service
from pipeline.orders import BadOrder, is_name, open_order
from pipeline.packaging import write_sheet_pdf
from pipeline.quality_control import awaited, delays

EVERYBODY = frozenset(Role)
SUPERVISORS = frozenset({Role.SUPERVISOR})
SEES_PACKAGES = frozenset({Role.SUPERVISOR, Role.AUDITOR, Role.AGENCY})
PRINTS_TICKETS = frozenset({Role.OPERATOR, Role.SUPERVISOR})
LONGEST_WHY = 500
EVENTS_OF_ORDER = 20  # the newest; the others are on a screen of their own
LONGEST_SEARCH = 100
_MOST_ID_DIGITS = 18  # the ledger's numbers have 63 bits


class NotThere(Exception):
    """There is no such thing, or none for whoever asks: which of the two is not told."""


def add_orders(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the screens of orders, and the page for what is not there."""
    router = APIRouter()
    templates.env.globals.update(page_states=PAGE_STATES, exclusions=EXCLUSIONS, who_of=who_of)

    @router.get("/orders")
    def orders(request: Request, search: str = "", status: str = "", before: str = "") -> Response:
        session = door.one_of(request, EVERYBODY)
        words = "".join(sign for sign in search[:LONGEST_SEARCH] if sign.isprintable())
        chosen = OrderStatus(status) if status in tuple(OrderStatus) else None
        found = bureau.ledger.orders_found(
            customer=customer_of(session),
            words=words,
            status=chosen,
            before=OrderId(number_in(before)) if before else None,
        )
        backlogs = {one.number: one for one in bureau.ledger.floor().orders}
        now = datetime.now(UTC)
        return show(
            request, bureau, "orders.html",
            session=session, here="orders", search=words, chosen=chosen, statuses=tuple(OrderStatus),
            lines=[(one, *standing_of(one, backlogs.get(one.order.number), now)) for one in found[:ORDERS_A_SCREEN]],
            older=found[ORDERS_A_SCREEN - 1].order.id if len(found) > ORDERS_A_SCREEN else None,
            is_first=not before, may_open=session.user.role in SUPERVISORS,
        )  # fmt: skip

    @router.get("/new-order")
    def new_order_form(request: Request) -> Response:
        return _new_order_form(request, bureau, door.one_of(request, SUPERVISORS), {})

    @router.post("/new-order")
    def new_order(
        request: Request,
        form_token: Text,
        customer: Text,
        profile: Text,
        why: Text = "",
        number: Text = "",
        title: Text = "",
        series: Text = "",
        priority: Text = Priority.NORMAL,
        service: Annotated[list[str] | None, Form(max_length=len(Service))] = None,
        due: Text = "",
        expect_pages: Text = "",
        boxes: Annotated[str, Form(max_length=100_000)] = "",
    ) -> Response:
        session = door.one_of(request, SUPERVISORS)
        check_form(session, form_token)
        try:
            order = open_order(
                bureau,
                customer=customer.strip(),
                profile=profile,
                services=_services(service or []),
                priority=_priority(priority),
                who=session.user.name,
                number=number.strip() or None,
                title=one_line("title", title),
                series=one_line("series", series),
                due=_day(due),
                expect_pages=_expected(expect_pages),
                boxes=tuple(one_line("boxes", box) for box in boxes.splitlines() if box.strip()),
                why=reason_in(why),
            )
        except (BadOrder, OrderNotOpen) as error:
            given = {
                "customer": customer, "profile": profile, "why": why, "number": number, "title": title,
                "series": series, "priority": priority, "service": service or [], "due": due,
                "expect_pages": expect_pages, "boxes": boxes,
            }  # fmt: skip
            return _new_order_form(request, bureau, session, given, said=str(error))
        return RedirectResponse(f"/orders/{order.number}", 303)

    @router.get("/orders/{number}")
    def order_page(
        request: Request, number: str, batches: str = "", documents: str = "", rolls: str = "", charges: str = ""
    ) -> Response:
        session = door.one_of(request, EVERYBODY)
        look = order_for(bureau, session, number)
        after = {"batches": batches, "documents": documents, "rolls": rolls}
        return _order_page(request, bureau, session, look, after, works_out_charges=charges == "now")

    @router.post("/orders/{number}/{change}")
    def change_order(request: Request, number: str, change: str, form_token: Text, why: Text = "") -> Response:
        session = door.one_of(request, SUPERVISORS)
        check_form(session, form_token)
        verbs = {"close": bureau.ledger.close_order, "reopen": bureau.ledger.reopen_order}
        if change not in verbs:
            raise NotThere
        look = order_for(bureau, session, number)
        try:
            verbs[change](number, who=session.user.name, why=reason_in(why))
        except (BadOrder, OrderNotOpen) as error:
            return _order_page(request, bureau, session, look, {}, said=str(error), status=409)
        return RedirectResponse(f"/orders/{number}", 303)

    @router.get("/orders/{number}/ticket.pdf")
    def ticket(request: Request, number: str, box: str = "") -> Response:
        session = door.one_of(request, PRINTS_TICKETS)
        look = order_for(bureau, session, number)
        if box and box not in look.order.boxes:
            raise NotThere
        with bureau.scratch() as folder:
            pdf = folder / "ticket.pdf"
            try:
                write_sheet_pdf(pdf, ticket_for(look.order, box or None, bureau.settings.bureau_name), 1, look.order)
            except ValueError as error:  # a number or box of old that no code can hold
                return _order_page(request, bureau, session, look, {}, said=f"{error}.", status=409)
            name = f"ticket-{number}.pdf" if is_name(number) else "ticket.pdf"
            return Response(
                pdf.read_bytes(),
                media_type="application/pdf",
                headers={"content-disposition": f'attachment; filename="{name}"'},
            )

    async def not_there(request: Request, _error: Exception) -> Response:
        return await nothing_here(request, bureau, door)

    app.add_exception_handler(NotThere, not_there)
    app.include_router(router)


def order_for(bureau: Bureau, session: Session, number: str) -> OrderLook:
    """The order, if whoever asks may see it.

    Raises:
        NotThere: there is none with this number for them.
    """
    look = bureau.ledger.order_look(number) if number.isprintable() else None
    if look is None or not may_see(session, look.order.customer):
        raise NotThere
    return look


def may_see(session: Session, customer: str) -> bool:
    """Whether what belongs to this customer is for whoever asks: an agency sees its own alone."""
    return session.user.role is not Role.AGENCY or session.user.customer == customer


def number_in(text: str) -> int:
    """A number from an address.

    Raises:
        NotThere: it is none that the ledger gives.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_ID_DIGITS):
        raise NotThere
    return int(text)


def reason_in(why: str) -> str:
    """The reason for a change.

    Raises:
        BadOrder: none was given.
    """
    if not why.strip():
        raise BadOrder("Say why; whoever reads the records later has only this.")
    if len(why) > LONGEST_WHY:
        raise BadOrder(f"The reason has at most {LONGEST_WHY} characters.")
    return " ".join(why.split())


def one_line(what: str, text: str) -> str:
    """A field as it is kept: it stands on tickets, in tables and on film.

    Raises:
        BadOrder: it has signs that cannot be printed.
    """
    if not text.strip().isprintable():
        raise BadOrder(f"{what}: it has signs that cannot be printed")
    return text.strip()


def _order_page(
    request: Request,
    bureau: Bureau,
    session: Session,
    look: OrderLook,
    after: Mapping[str, str],
    *,
    works_out_charges: bool = False,
    said: str = "",
    status: int = 200,
) -> Response:
    ledger, order = bureau.ledger, look.order

    def place(name: str) -> int:
        return number_in(after.get(name) or "0")

    batches = ledger.batches_from(order.id, after=place("batches"))
    documents = ledger.documents_from(order.id, after=place("documents"))
    # who of the house did what is the house's own
    sees_history = session.user.role in SEES_FLOOR
    history = ledger.history_of_order(order.id, before=None)[:EVENTS_OF_ORDER] if sees_history else []
    rolls = ledger.rolls_from(order.id, after=place("rolls"))
    lots = ledger.lots_of(order.number, limit=LOTS_A_SCREEN + 1)
    charged = ledger.charges(order.id)
    not_charged, fault = None, ""
    if works_out_charges:
        try:
            not_charged = charges_so_far(bureau, order, ledger.usage(order.id), charged)
        except BadRateCard as refusal:
            fault = refusal.sentence
    backlogs = {one.number: one for one in ledger.floor().orders}
    return show(
        request, bureau, "order.html", status=status,
        session=session, here="orders", said=said, look=look, order=order,
        standing=standing_of(look, backlogs.get(order.number), datetime.now(UTC)),
        expected=against_expected(look),
        batches=batches[:BATCHES_A_SCREEN],
        more_batches=batches[BATCHES_A_SCREEN - 1].id if len(batches) > BATCHES_A_SCREEN else None,
        documents=documents[:DOCUMENTS_A_SCREEN],
        more_documents=documents[DOCUMENTS_A_SCREEN - 1].id if len(documents) > DOCUMENTS_A_SCREEN else None,
        lots=[(lot, LOT_STATES[lot.state], awaited(lot)) for lot in lots[:LOTS_A_SCREEN]],
        more_lots=len(lots) > LOTS_A_SCREEN, awaits_quality=any(delays(lot) for lot in lots),
        sees_lots=session.user.role in SEES_HELD,
        rolls=rolls[:ROLLS_A_SCREEN],
        more_rolls=rolls[ROLLS_A_SCREEN - 1].id if len(rolls) > ROLLS_A_SCREEN else None,
        charged=charged, not_charged=not_charged, fault=fault,
        sees_history=sees_history, sees_packages=session.user.role in SEES_PACKAGES,
        history=[(event, detail_of(event), outcome_of(event)) for event in history],
        may_change=session.user.role in SUPERVISORS, may_print=session.user.role in PRINTS_TICKETS,
        longest_why=LONGEST_WHY,
    )  # fmt: skip


def _new_order_form(
    request: Request, bureau: Bureau, session: Session, given: Mapping[str, Any], *, said: str = ""
) -> Response:
    # line by line: a line break is no sign to show
    given_boxes = Markup("\n").join(shown(line) for line in given.get("boxes", "").splitlines())
    return show(
        request, bureau, "order_new.html", status=409 if said else 200,
        session=session, here="orders", said=said, given=given, given_boxes=given_boxes,
        profiles=sorted(bureau.profiles), services=tuple(Service), priorities=tuple(Priority),
        longest_why=LONGEST_WHY,
    )  # fmt: skip


def _services(names: list[str]) -> list[Service]:
    try:
        return [Service(name) for name in names]
    except ValueError as error:
        raise BadOrder(f"service: there are {', '.join(Service)}") from error


def _priority(name: str) -> Priority:
    try:
        return Priority(name)
    except ValueError as error:
        raise BadOrder(f"priority: there are {', '.join(Priority)}") from error


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError as error:
        raise BadOrder(f"due: write the day as 2026-12-31, is {text!r}") from error


def _expected(text: str) -> int | None:
    text = text.strip()
    if text and not (text.isascii() and text.isdecimal() and len(text) <= _MOST_ID_DIGITS):
        raise BadOrder(f"expected pages: write a whole number, is {text!r}")
    return int(text) if text else None
