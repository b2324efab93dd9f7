"""The history of an order on screen and as files, and whether its chain is unbroken."""

from __future__ import annotations

from datetime import UTC, datetime

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from console.history_file import history_csv
from console.orders import number_in, order_for
from console.premis_file import premis_xml
from console.signing_in import SEES_FLOOR, Doorkeeper, show
from console.words import detail_of, outcome_of
from pipeline.bureau import Bureau
from pipeline.ledger.lookups import EVENTS_A_SCREEN

SEES_HISTORY = SEES_FLOOR  # who of the house did what is the house's own

CHECKED_UNASKED = 5_000  # lines: 0.05 s to 0.2 s of hashing; a chain of 100,000 takes seconds
CHECKS_AT_ONCE = 1  # of long chains


def add_histories(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the screen of an order's history, and its files."""
    router = APIRouter()
    checks = CapacityLimiter(CHECKS_AT_ONCE)

    @router.get("/orders/{number}/history")
    async def history(request: Request, number: str, before: str = "", check: str = "") -> Response:
        asked = check == "now"
        # seconds for a long chain: one after the other, in threads of their own
        return await to_thread.run_sync(page, request, number, before, asked, limiter=checks if asked else None)

    def page(request: Request, number: str, before: str, asked: bool) -> Response:
        session = door.one_of(request, SEES_HISTORY)
        order = order_for(bureau, session, number).order
        lines = bureau.ledger.history_of_order(order.id, before=number_in(before) if before else None)
        # never remembered, for what was sound yesterday may have been changed since; and to turn pages is not to check
        checked = not before and (asked or not bureau.ledger.is_history_longer(order.id, CHECKED_UNASKED))
        return show(
            request, bureau, "history.html",
            session=session, here="orders", order=order, is_first=not before,
            check=bureau.ledger.check_chain(order.id) if checked else None,
            checked_at=datetime.now(UTC), checked_unasked=CHECKED_UNASKED,
            history=[(event, detail_of(event), outcome_of(event)) for event in lines[:EVENTS_A_SCREEN]],
            older=lines[EVENTS_A_SCREEN - 1].id if len(lines) > EVENTS_A_SCREEN else None,
        )  # fmt: skip

    @router.get("/orders/{number}/history.csv")
    def history_table(request: Request, number: str) -> Response:
        order = order_for(bureau, door.one_of(request, SEES_HISTORY), number).order
        headers = {"content-disposition": f'attachment; filename="history-{order.id}.csv"'}
        return StreamingResponse(history_csv(bureau.ledger, order.id), media_type="text/csv", headers=headers)

    @router.get("/orders/{number}/premis.xml")
    def premis(request: Request, number: str) -> Response:
        order = order_for(bureau, door.one_of(request, SEES_HISTORY), number).order
        headers = {"content-disposition": f'attachment; filename="premis-{order.id}.xml"'}
        return StreamingResponse(premis_xml(bureau.ledger, order), media_type="application/xml", headers=headers)

    app.include_router(router)
