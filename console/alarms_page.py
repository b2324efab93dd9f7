"""Alarms about scans, on screen: by scanner, with what to do, the pages, and a word of whoever has seen to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Request, Response
from fastapi.responses import RedirectResponse

from console.alarm_words import alarm_place, alarm_sentence
from console.held_pages import MOST_ID
from console.signing_in import Doorkeeper, NotAllowed, Text, check_form, show
from console.words import time_of, typed
from pipeline.bureau import Bureau
from pipeline.ledger import NoSuchAlarm
from pipeline.ledger.alarms import Alarm, AlarmPage
from pipeline.model import Role

SEES_ALARMS = frozenset({Role.OPERATOR, Role.SUPERVISOR, Role.AUDITOR})
MAY_SAY_SEEN = frozenset({Role.OPERATOR, Role.SUPERVISOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPages:
    """Pages of an alarm that are of one batch, in their order, by what was measured on them."""

    order: str
    batch: str
    pages: Sequence[tuple[str, Sequence[AlarmPage]]]


Id = Annotated[int, Path(ge=1, le=MOST_ID)]


def add_alarms(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the page of alarms."""
    router = APIRouter()

    def page(request: Request, *, said: str = "", status: int = 200) -> Response:
        session = door.one_of(request, SEES_ALARMS)
        return show(
            request,
            bureau,
            "alarms.html",
            status=status,
            session=session,
            here="alarms",
            places=_by_place(bureau.ledger.open_alarms()),
            seen=bureau.ledger.seen_alarms(),
            may_say=session.user.role in MAY_SAY_SEEN,
            said=said,
            sentence=alarm_sentence,
            by_batch=_by_batch,
            time_of=time_of,
        )

    @router.get("/alarms")
    def alarms(request: Request) -> Response:
        return page(request)

    @router.post("/alarms/{alarm_id}/seen")
    def seen(request: Request, alarm_id: Id, form_token: Text, said: Text = "") -> Response:
        session = door.one_of(request, SEES_ALARMS)
        check_form(session, form_token)
        if session.user.role not in MAY_SAY_SEEN:
            raise NotAllowed(f"To say so is for who stands at the scanner; you are signed in as {session.user.role}.")
        word = typed(said)
        if not word:
            return page(request, said="Say what you found or did; the next shift has only this.", status=422)
        try:
            bureau.ledger.note_seen(alarm_id, who=session.user.name, said=word)
        except NoSuchAlarm:
            return page(request, said="Somebody has seen to that alarm meanwhile. You changed nothing.", status=409)
        return RedirectResponse("/alarms", 303)

    app.include_router(router)


def _by_place(alarms: Sequence[Alarm]) -> list[tuple[str, list[Alarm]]]:
    ordered = sorted(alarms, key=alarm_place)
    return [(place, list(group)) for place, group in groupby(ordered, key=alarm_place)]


def _by_batch(alarm: Alarm) -> list[BatchPages]:
    def place(page: AlarmPage) -> tuple[str, str, str]:
        return page.order, page.batch, page.what

    pages = sorted(alarm.newest, key=lambda page: (*place(page), page.number))
    return [
        BatchPages(
            order=order,
            batch=batch,
            pages=[(what, list(same)) for what, same in groupby(group, key=lambda one: one.what)],
        )
        for (order, batch), group in groupby(pages, key=lambda one: place(one)[:2])
    ]
