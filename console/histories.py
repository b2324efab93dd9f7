"""The history of an order on screen and as files, and whether its chain is unbroken."""

from __future__ import annotations

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

CHECKS_AT_ONCE = 1  # of chains


def add_histories(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the screen of an order's history, and its files."""
    router = APIRouter()
    checks = CapacityLimiter(CHECKS_AT_ONCE)

    @router.get("/orders/{number}/history")
    async def history(request: Request, number: str, before: str = "") -> Response:
        # seconds for a long chain: one after the other, in threads of their own
        return await to_thread.run_sync(page, request, number, before, limiter=None if before else checks)

    def page(request: Request, number: str, before: str) -> Response:
        session = door.one_of(request, SEES_HISTORY)
        order = order_for(bureau, session, number).order
        lines = bureau.ledger.history_of_order(order.id, before=number_in(before) if before else None)
        return show(
            request, bureau, "history.html",
            session=session, here="orders", order=order, is_first=not before,
            # once for each look at a history: to turn its pages is not to check it again
            check=None if before else bureau.ledger.check_chain(order.id),
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
