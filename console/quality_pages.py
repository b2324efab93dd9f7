"""Quality control on screen: the lots, the pages one after the other with a verdict each, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from console.orders import NotThere, number_in
from console.signing_in import SEES_HELD, Doorkeeper, NotAllowed, Text, check_form, show
from console.words import LOT_STATES, typed
from pipeline.bureau import Bureau
from pipeline.defects import DEFECTS, Defect, Verdict
from pipeline.ledger import NotToBeLookedAt, Session
from pipeline.ledger.lots import LOT_PAGES_A_SCREEN, LOTS_A_SCREEN, Lot, LotPage
from pipeline.model import Inspection, LotState, Role
from pipeline.quality_control import LONGEST_NOTE, CannotLook, awaited, may_look, say_defect, say_good

MAY_LOOK = frozenset({Role.OPERATOR, Role.SUPERVISOR})
SPANS_DAYS = (30, 90, 365)
BAR_WIDTH_PX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The defects of one class, with the key that leads to them."""

    key: str
    verdict: Verdict
    defects: Sequence[tuple[Defect, str]]


GROUPS = tuple(
    Group(
        key=str(key), verdict=verdict, defects=[(code, words) for code, (of, words) in DEFECTS.items() if of is verdict]
    )
    for key, verdict in enumerate((Verdict.CRITICAL, Verdict.MAJOR, Verdict.MINOR), start=1)
)


def add_quality(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the screens of quality control."""
    router = APIRouter()

    @router.get("/qc")
    def lots(request: Request, after: str = "") -> Response:
        session = door.one_of(request, SEES_HELD)
        under_way = bureau.ledger.lots_under_way(after=number_in(after or "0"))
        shown = under_way[:LOTS_A_SCREEN]
        return show(
            request, bureau, "qc.html",
            session=session, here="quality", lots=_told(shown), passed=_told(bureau.ledger.lots_passed()),
            more_after=shown[-1].id if len(under_way) > len(shown) else None,
        )  # fmt: skip

    @router.get("/qc/{number}")
    def lot(request: Request, number: str, after: str = "") -> Response:
        session = door.one_of(request, SEES_HELD)
        one = _lot(bureau, number)
        pages = bureau.ledger.lot_pages(one.id, after=number_in(after or "0"))
        shown = pages[:LOT_PAGES_A_SCREEN]
        return show(
            request, bureau, "qc_lot.html",
            session=session, here="quality", lot=one, state=LOT_STATES[one.state], awaited=awaited(one),
            beside=one.inspection is Inspection.BESIDE, pages=shown, defects=DEFECTS,
            first=bureau.ledger.next_to_look(one.id), may_look=session.user.role in MAY_LOOK,
            more_after=shown[-1].sequence if len(pages) > len(shown) else None,
        )  # fmt: skip

    @router.get("/qc/{number}/next")
    def next_page(request: Request, number: str, after: str = "") -> Response:
        door.one_of(request, SEES_HELD)
        page = bureau.ledger.next_to_look(_lot(bureau, number).id, after=number_in(after or "0"))
        place = f"/qc/{number_in(number)}" if page is None else f"/qc/{number_in(number)}/pages/{page.id}"
        return RedirectResponse(place, 303)

    @router.get("/qc/{number}/pages/{page_id}")
    def page(request: Request, number: str, page_id: str, scan: str = "") -> Response:
        session = door.one_of(request, SEES_HELD)
        return _look(request, bureau, session, _lot(bureau, number), page_id, as_scanned=bool(scan))

    @router.post("/qc/{number}/pages/{page_id}")
    def said(
        request: Request, number: str, page_id: str, form_token: Text, verdict: Text, seen: Text = "", note: Text = ""
    ) -> Response:
        session = door.one_of(request, SEES_HELD)
        check_form(session, form_token)
        if session.user.role not in MAY_LOOK:
            raise NotAllowed(f"Operators and supervisors look at pages; you are signed in as {session.user.role}.")
        one = _lot(bureau, number)
        page = _page(bureau, one, page_id)
        try:
            if seen != (page.verdict or ""):
                raise NotToBeLookedAt("Somebody has looked at this page meanwhile. You changed nothing; look again.")
            if verdict == Verdict.GOOD:
                say_good(bureau, one, page, who=session.user.name)
            elif verdict in tuple(Defect):
                say_defect(bureau, one, page, Defect(verdict), note=typed(note), who=session.user.name)
            else:
                raise CannotLook("There is no such defect.")
        except (CannotLook, NotToBeLookedAt) as error:
            return _look(request, bureau, session, _lot(bureau, number), page_id, said=str(error), note=note)
        return RedirectResponse(f"/qc/{one.id}/next?after={page.sequence}", 303)

    @router.get("/quality")
    def figures(request: Request, days: str = "") -> Response:
        session = door.one_of(request, SEES_HELD)
        chosen = int(days) if days in map(str, SPANS_DAYS) else SPANS_DAYS[1]
        found = bureau.ledger.quality_figures(datetime.now(UTC) - timedelta(days=chosen))
        return show(
            request, bureau, "quality.html",
            session=session, here="quality", days=chosen, spans=SPANS_DAYS, figures=found, words=DEFECTS,
            tables=(("Order", found.orders), ("Scanner", found.scanners), ("Profile", found.profiles)),
            bar_px=BAR_WIDTH_PX,
        )  # fmt: skip

    app.include_router(router)


def _look(
    request: Request,
    bureau: Bureau,
    session: Session,
    lot: Lot,
    page_id: str,
    *,
    as_scanned: bool = False,
    said: str = "",
    note: str = "",
) -> Response:
    """The screen of one page."""
    page = _page(bureau, lot, page_id)
    before, behind = bureau.ledger.lot_neighbours(lot.id, page)
    following = bureau.ledger.next_to_look(lot.id, after=page.sequence)
    is_mine = may_look(page, session.user.name)
    under_way = lot.state in (LotState.SAMPLE, LotState.FULL)
    return show(
        request, bureau, "qc_page.html", status=409 if said else 200,
        session=session, here="quality", lot=lot, page=page, before=before, behind=behind, following=following,
        as_scanned=as_scanned, said=said, note=note, groups=GROUPS, longest_note=LONGEST_NOTE,
        verdicts=bureau.ledger.verdicts_of(page.id), defects=DEFECTS, scan=bureau.ledger.page(page.id),
        is_mine=is_mine,
        may_say=session.user.role in MAY_LOOK and is_mine and under_way and page.can_be_judged,
    )  # fmt: skip


def _told(lots: Sequence[Lot]) -> list[tuple[Lot, tuple[str, str], str]]:
    """Each lot with its state in words and how grave that is, and what it waits for."""
    return [(lot, LOT_STATES[lot.state], awaited(lot)) for lot in lots]


def _lot(bureau: Bureau, number: str) -> Lot:
    found = bureau.ledger.lot(number_in(number))
    if found is None:
        raise NotThere
    return found


def _page(bureau: Bureau, lot: Lot, page_id: str) -> LotPage:
    found = bureau.ledger.lot_page(lot.id, number_in(page_id))
    if found is None:
        raise NotThere
    return found
