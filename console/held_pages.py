"""What waits for a person, on screen: seen by code and order, looked at, and decided, one or many at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Query, Request, Response
from pydantic import Field

from console.hold_words import HoldWords, hold_words
from console.signing_in import SEES_HELD, Doorkeeper, NotAllowed, Text, check_form, show
from console.words import typed
from pipeline.bureau import Bureau
from pipeline.ledger import AWAITING_RESCAN, HeldNoLonger
from pipeline.ledger.reports import HeldGroup
from pipeline.model import Hold, Role, TaskId
from pipeline.rescan_sheets import write_rescan_sheets
from pipeline.review import CannotDecide, Decision, decide, decisions, hold_with_id

MAY_DECIDE: Mapping[Role, frozenset[Decision]] = {
    Role.OPERATOR: frozenset({Decision.RETRY, Decision.RESCAN}),
    Role.SUPERVISOR: frozenset(Decision),
    Role.AUDITOR: frozenset(),
}
MEANS = {
    Decision.RELEASE: "goes on as it is",
    Decision.RETRY: "is done again",
    Decision.WAIVE: "is done without, and not billed",
    Decision.RESCAN: "waits for a new scan",
}
HOLDS_A_SCREEN = 20  # with their pictures, about 3 MB
MOST_ID = (1 << 63) - 1
_TOO_LATE = "Somebody has decided about this meanwhile. You changed nothing."

Code = Annotated[str, Query(max_length=40)]
OrderNumber = Annotated[str, Query(max_length=60)]
After = Annotated[int, Query(ge=0, le=MOST_ID)]
Chosen = Annotated[Decision, Form()]
PrintIds = Annotated[
    list[Annotated[int, Field(ge=1, le=MOST_ID)]], Query(max_length=HOLDS_A_SCREEN, default_factory=list)
]
Ids = Annotated[list[int], Form(max_length=HOLDS_A_SCREEN, default_factory=list)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeGroup:
    """Everything held for one reason, ready to be shown."""

    code: str
    words: HoldWords
    held: int
    orders: Sequence[HeldGroup]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a decision about one thing."""

    id: int
    sentence: str
    done: bool


def add_held(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the pages of what is held."""
    router = APIRouter()
    words = hold_words()
    printing = threading.Semaphore(1)  # the floor's work goes before somebody's paper

    @router.get("/held")
    def held(request: Request, code: Code = "", order: OrderNumber = "", after: After = 0) -> Response:
        session = door.one_of(request, SEES_HELD)
        if not code:
            groups = _by_code(bureau.ledger.held_groups(), words)
            return show(request, bureau, "held.html", session=session, here="held", groups=groups)
        holds = bureau.ledger.some_holds(code, order=order or None, after=after, limit=HOLDS_A_SCREEN + 1)
        those = holds[:HOLDS_A_SCREEN]
        return show(
            request,
            bureau,
            "held_code.html",
            session=session,
            here="held",
            code=code,
            order=order,
            words=words.get(code, HoldWords()),
            holds=those,
            more_after=those[-1].id if len(holds) > len(those) else None,
            choices=_choices(those, session.user.role),
            may_print=code == AWAITING_RESCAN and Decision.RESCAN in MAY_DECIDE[session.user.role],
            means=MEANS,
        )

    @router.get("/held/rescan-sheet")
    def rescan_sheets(request: Request, ids: PrintIds) -> Response:
        session = door.one_of(request, SEES_HELD)
        if Decision.RESCAN not in MAY_DECIDE[session.user.role]:
            raise NotAllowed(f"To print rescan sheets is not for you; you are signed in as {session.user.role}.")
        title = "There is nothing to print"
        if not ids:
            said = "Name the pages whose sheets are to be printed."
            return show(request, bureau, "refused.html", status=422, session=session, title=title, said=said)
        try:
            holds = [hold_with_id(bureau, one) for one in dict.fromkeys(ids)]
            with bureau.scratch() as folder, printing:
                pdf = folder / "sheets.pdf"
                write_rescan_sheets(bureau, holds, pdf)
                data = pdf.read_bytes()
        except CannotDecide as error:
            return show(request, bureau, "refused.html", status=409, session=session, title=title, said=str(error))
        headers = {"content-disposition": 'inline; filename="rescan-sheets.pdf"'}
        return Response(data, media_type="application/pdf", headers=headers)

    @router.post("/held")
    def decided(request: Request, form_token: Text, code: Text, decision: Chosen, ids: Ids, why: Text = "") -> Response:
        session = door.one_of(request, SEES_HELD)
        check_form(session, form_token)
        if decision not in MAY_DECIDE[session.user.role]:
            raise NotAllowed(f"To {decision} is not for you to decide; you are signed in as {session.user.role}.")
        reason = typed(why)
        said = ""
        if not reason:
            said = "Say why; whoever reads the records later has only this. Nothing was decided."
        elif not ids:
            said = "Mark what you decide about. Nothing was decided."
        outcomes = [] if said else [_outcome(bureau, one, code, decision, session.user.name, reason) for one in ids]
        return show(
            request,
            bureau,
            "held_decided.html",
            status=422 if said else 200,
            session=session,
            here="held",
            code=code,
            decision=decision,
            said=said,
            outcomes=outcomes,
            to_print=[one.id for one in outcomes if one.done and decision is Decision.RESCAN],
        )

    app.include_router(router)


def _outcome(bureau: Bureau, hold_id: int, code: str, decision: Decision, who: str, why: str) -> Outcome:
    hold = bureau.ledger.hold_of(TaskId(hold_id)) if 0 < hold_id <= MOST_ID else None
    try:
        if hold is None or hold.code != code:  # held anew for another reason: nobody has looked at that yet
            raise HeldNoLonger
        return Outcome(id=hold_id, sentence=decide(bureau, hold, decision, who=who, why=why), done=True)
    except HeldNoLonger:
        return Outcome(id=hold_id, sentence=_TOO_LATE, done=False)
    except CannotDecide as error:
        return Outcome(id=hold_id, sentence=str(error), done=False)


def _by_code(groups: Sequence[HeldGroup], words: Mapping[str, HoldWords]) -> list[CodeGroup]:
    codes = dict.fromkeys(group.code for group in groups)
    by_code = {code: [group for group in groups if group.code == code] for code in codes}
    return [
        CodeGroup(
            code=code, words=words.get(code, HoldWords()), held=sum(group.held for group in orders), orders=orders
        )
        for code, orders in by_code.items()
    ]


def _choices(holds: Sequence[Hold], role: Role) -> list[Decision]:
    """What this reader may decide about some of these, in the order of the words."""
    fits = frozenset[Decision]().union(*(decisions(hold) for hold in holds))
    return [decision for decision in Decision if decision in fits & MAY_DECIDE[role]]
