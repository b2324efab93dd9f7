"""The screens of pages: those of a batch as thumbnails, and each before and after, with its text and history."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse

from console.orders import EVERYBODY, NotThere, may_see, number_in, order_for
from console.signing_in import SEES_FLOOR, Doorkeeper, show
from console.words import detail_of, outcome_of
from pipeline.bureau import Bureau
from pipeline.ledger import Session
from pipeline.ledger.lookups import PAGES_A_SCREEN, PageLook
from pipeline.model import Page, Readings, Role, picture_name
from pipeline.pictures import Edge, picture_of_page, picture_of_scan
from stages.errors import Refusal
from stages.page_image import TextLayer

# each takes a child of the sandbox, and the floor works beside
PICTURES_AT_ONCE, PICTURES_OF_AGENCIES_AT_ONCE = 2, 1
DOUBTFUL_BELOW = 0.7  # a word read with less confidence is marked for the eye; nothing is decided by it
MOST_WORDS = 3000  # laid over the picture; a page full of small print has about half as many
MOST_LINES = 500  # of text on a screen; a densely typed sheet has 100
MOST_VALUES = 12  # of a reading that is a list; a page goes through fewer stages
LONGEST_VALUE = 80  # signs
NOT_FOR_PEOPLE = frozenset({"blank.ink_map"})  # a picture of the page in a thousand signs, for programs
# what a picture is made from is in its address, so that a browser may keep it, and show it to who bears the same cookie
# alone: not to who signs in next at the same machine
KEPT = {"cache-control": "private, max-age=31536000, immutable", "vary": "cookie"}
NOT_KEPT = {"cache-control": "no-store"}
NO_PICTURE = Path(__file__).parent / "static" / "no-picture.svg"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedWord:
    """A word where it lies on the delivered page: its corners in pixels, as SVG takes them."""

    corners: str
    text: str
    confidence: float


def add_pages(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the screens of pages, and their pictures."""
    router = APIRouter()
    # agencies wait for one another: whoever asks for a thousand does not hold quality control up
    of_house, of_agencies = CapacityLimiter(PICTURES_AT_ONCE), CapacityLimiter(PICTURES_OF_AGENCIES_AT_ONCE)

    @router.get("/orders/{number}/batches/{batch_id}")
    def batch(request: Request, number: str, batch_id: str, after: str = "") -> Response:
        session = door.one_of(request, EVERYBODY)
        order = order_for(bureau, session, number).order
        look = bureau.ledger.batch_look(order.id, number_in(batch_id))
        if look is None:
            raise NotThere
        first = number_in(after or "0")
        last = first + PAGES_A_SCREEN
        return show(
            request, bureau, "batch.html",
            session=session, here="orders", order=order, batch=look,
            squares=bureau.ledger.page_squares(look.id, after=first),
            first=first, last=last if last < look.sheets else None,
        )  # fmt: skip

    @router.get("/pages/{page_id}")
    def page(request: Request, page_id: str) -> Response:
        session = door.one_of(request, EVERYBODY)
        look = page_for(bureau, session, page_id)
        sees_history = session.user.role in SEES_FLOOR
        history = bureau.ledger.history_of_page(look.page.id) if sees_history else []
        text, fault = text_of(bureau, look.page)
        return show(
            request, bureau, "page.html",
            session=session, here="orders", look=look, page=look.page,
            lines=() if text is None else text.lines[:MOST_LINES], has_text=text is not None,
            lines_left=0 if text is None else max(0, len(text.lines) - MOST_LINES), fault=fault,
            placed=[] if text is None or "page.width_px" not in look.page.readings else _placed(text),
            doubtful_below=DOUBTFUL_BELOW, readings=_readings_shown(look.page.readings),
            sees_history=sees_history, history=[(event, detail_of(event), outcome_of(event)) for event in history],
        )  # fmt: skip

    def picture(session: Session, page_id: str, kind: str, version: str, *, opened: bool) -> Response:
        page = _page_alone(bureau, session, page_id)
        try:
            if kind == "scan":
                made, place = (
                    picture_name(None, page.source, page.index_in_file),
                    picture_of_scan(bureau, page, Edge.VIEW),
                )
            else:
                edge = {"page": Edge.VIEW, "large": Edge.LARGE}.get(kind, Edge.THUMBNAIL)
                made, place = page.picture, picture_of_page(bureau, page, edge)
        except Refusal as refusal:
            if opened:
                return Response(f"{refusal.sentence}\n", 404, media_type="text/plain")
            return FileResponse(NO_PICTURE, 404, NOT_KEPT, media_type="image/svg+xml")
        return _sent(place, is_kept=version == made)

    @router.get("/pages/{page_id}/{kind}.webp")
    async def pictures(request: Request, page_id: str, kind: str, v: str = "") -> Response:
        if kind not in ("thumbnail", "page", "large", "scan"):
            raise NotThere
        session = await to_thread.run_sync(door.one_of, request, EVERYBODY)
        # in threads of their own: pictures that wait for the sandbox hold nobody else's page up
        limiter = of_agencies if session.user.role is Role.AGENCY else of_house
        # opened by itself it can say why there is none; among others a picture has to stand in for it
        opened = "text/html" in request.headers.get("accept", "")
        draw = partial(picture, session, page_id, kind, v, opened=opened)
        return await to_thread.run_sync(draw, limiter=limiter)

    app.include_router(router)


def page_for(bureau: Bureau, session: Session, page_id: str) -> PageLook:
    """The page, if whoever asks may see it.

    Raises:
        NotThere: there is none with this number for them.
    """
    look = bureau.ledger.page_look(number_in(page_id))
    if look is None or not may_see(session, look.order.customer):
        raise NotThere
    return look


def _page_alone(bureau: Bureau, session: Session, page_id: str) -> Page:
    found = bureau.ledger.page_and_customer(number_in(page_id))
    if found is None or not may_see(session, found[1]):
        raise NotThere
    return found[0]


def _sent(place: Path, *, is_kept: bool) -> Response:
    return FileResponse(place, media_type="image/webp", headers=KEPT if is_kept else NOT_KEPT)


def text_of(bureau: Bureau, page: Page) -> tuple[TextLayer | None, str]:
    """What was read on the page, if it was; and why it cannot be shown."""
    if page.text is None:
        return None, ""
    try:
        return TextLayer.from_json(bureau.store.read(page.text)), ""
    except Refusal as refusal:
        return None, refusal.sentence


def _placed(text: TextLayer) -> list[PlacedWord]:
    return [
        PlacedWord(
            corners=" ".join(
                f"{x:.0f},{y:.0f}"
                for x, y in (
                    text.to_page.at(*corner)
                    for corner in (
                        (word.box.left, word.box.top), (word.box.right, word.box.top),
                        (word.box.right, word.box.bottom), (word.box.left, word.box.bottom),
                    )
                )
            ),
            text=word.text,
            confidence=word.confidence,
        )
        for word in islice(text.words(), MOST_WORDS)
    ]  # fmt: skip


def _readings_shown(readings: Readings) -> list[tuple[str, str]]:
    return [(name, _value_shown(value)) for name, value in sorted(readings.items()) if name not in NOT_FOR_PEOPLE]


def _value_shown(value: object) -> str:
    if isinstance(value, list):
        more = f" and {len(value) - MOST_VALUES} more" if len(value) > MOST_VALUES else ""
        return (", ".join(map(str, value[:MOST_VALUES])) or "none") + more
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    return (text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} …") or "–"
