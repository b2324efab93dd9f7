"""Everybody's own tokens: seen, made and revoked in the browser."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Request, Response
from fastapi.responses import RedirectResponse

from console.api import PLACE
from console.orders import EVERYBODY, NotThere, number_in
from console.signing_in import Doorkeeper, Text, check_form, show
from pipeline import tokens
from pipeline.bureau import Bureau
from pipeline.ledger import NoSuchToken, Session

Days = Annotated[int, Form()]


def add_tokens(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the page and its forms."""
    router = APIRouter()

    def page(request: Request, session: Session, *, said: str = "", secret: str = "") -> Response:
        most_days = tokens.most_days(bureau, session.user.name)
        return show(
            request, bureau, "tokens.html", status=409 if said else 200, session=session, here="tokens",
            tokens=bureau.ledger.tokens(session.user.name), said=said, secret=secret, place=PLACE,
            days=min(tokens.DEFAULT_DAYS, most_days), most_days=most_days, longest_title=tokens.LONGEST_TITLE,
        )  # fmt: skip

    @router.get("/tokens")
    def own_tokens(request: Request) -> Response:
        return page(request, door.one_of(request, EVERYBODY))

    @router.post("/tokens")
    def make_token(request: Request, form_token: Text, title: Text, days: Days) -> Response:
        session = door.one_of(request, EVERYBODY)
        check_form(session, form_token)
        name = session.user.name
        try:
            _, secret = tokens.give_token(bureau, name, title=title, days=days, who=name)
        except ValueError as error:
            return page(request, session, said=f"{error}.")
        return page(request, session, secret=secret)

    @router.post("/tokens/{token_id}/revoke")
    def revoke_token(request: Request, token_id: str, form_token: Text) -> Response:
        session = door.one_of(request, EVERYBODY)
        check_form(session, form_token)
        name = session.user.name
        try:
            bureau.ledger.revoke_token(number_in(token_id), who=name, of_user=name)
        except NoSuchToken as error:
            raise NotThere from error
        return RedirectResponse("/tokens", 303)

    app.include_router(router)
