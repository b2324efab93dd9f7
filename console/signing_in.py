"""Signing in to the console and out of it: the forms, the cookies, and who may see what."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from console.single_sign_on import SingleSignOn, SingleSignOnFailed
from console.throttle import Throttle
from console.words import shown_in_templates, time_of
from pipeline import people
from pipeline.bureau import Bureau
from pipeline.ledger import Session, UserExists
from pipeline.model import Role

TEMPLATES = Path(__file__).parent / "templates"
SESSION_COOKIE = "platen_session"
FORM_COOKIE = "platen_form"  # for the one form that is given before anybody is signed in
AWAY_COOKIE = "platen_away"  # while somebody is away to be signed in by another house
AWAY_S = 600
MOST_FAILED, FAILED_WITHIN_S = 30, 60.0
BACK = "/sign-in/back"  # what the other house has to know as our redirect address
SEES_FLOOR = frozenset({Role.OPERATOR, Role.SUPERVISOR, Role.BILLING, Role.AUDITOR})
SEES_HELD = SEES_FLOOR - {Role.BILLING}  # and quality control: pages themselves

templates = Jinja2Templates(TEMPLATES)
templates.env.finalize = shown_in_templates
templates.env.filters["time"] = time_of
Text = Annotated[str, Form(max_length=1000)]


class NotSignedIn(Exception):
    """The page is for those who have signed in."""


class PasswordToChange(Exception):
    """The password that was used works once: nothing is shown before it has been changed."""


class NotAllowed(Exception):
    """The page or form is not for whoever asks; the sentence says why."""


class Doorkeeper:
    """Knows from a request who asks."""

    def __init__(self, bureau: Bureau) -> None:
        self._bureau = bureau

    def session(self, request: Request) -> Session | None:
        """Who is signed in, if anybody."""
        token = request.cookies.get(SESSION_COOKIE)
        return None if token is None else self._bureau.ledger.session(people.token_digest(token))

    def somebody(self, request: Request) -> Session:
        """Who is signed in.

        Raises:
            NotSignedIn: nobody.
        """
        session = self.session(request)
        if session is None:
            raise NotSignedIn
        return session

    def one_of(self, request: Request, roles: frozenset[Role]) -> Session:
        """Who is signed in, if it is one of these.

        Raises:
            NotSignedIn: nobody is.
            PasswordToChange: the password has to be changed first.
            NotAllowed: somebody else is.
        """
        session = self.somebody(request)
        if session.user.must_change:
            raise PasswordToChange
        if session.user.role not in roles:
            raise NotAllowed(f"It is shown to {', '.join(sorted(roles))}; you are signed in as {session.user.role}.")
        return session


def show(
    request: Request,
    bureau: Bureau,
    name: str,
    /,
    *,
    status: int = 200,
    session: Session | None = None,
    **values: object,
) -> Response:
    """A page by its template."""
    context = {"bureau_name": bureau.settings.bureau_name, "session": session, **values}
    return templates.TemplateResponse(request, name, context, status_code=status)


async def refusal(
    request: Request, bureau: Bureau, door: Doorkeeper, *, status: int, title: str, said: str
) -> Response:
    """A page that says why not, with the way back to what whoever asks may see."""
    session = await run_in_threadpool(door.session, request)
    return show(request, bureau, "refused.html", status=status, session=session, title=title, said=said)


async def nothing_here(request: Request, bureau: Bureau, door: Doorkeeper) -> Response:
    """The page for what is not there, or not for whoever asks: which of the two is not told."""
    said = "It does not exist, or it is not yours to see."
    return await refusal(request, bureau, door, status=404, title="There is nothing here", said=said)


def add_signing_in(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the forms, and what becomes of those who may not."""
    router = APIRouter()
    house = SingleSignOn(bureau.settings) if bureau.settings.oidc_issuer else None
    failed = Throttle(most=MOST_FAILED, within_s=FAILED_WITHIN_S)  # each failure has asked the other house

    @router.get("/sign-in")
    def sign_in_form(request: Request) -> Response:
        if (session := door.session(request)) is not None:
            return RedirectResponse(_first_page(session), 303)
        return _sign_in_form(request, bureau, house)

    @router.post("/sign-in")
    def sign_in(request: Request, form_token: Text, name: Text, password: Text) -> Response:
        if not _same(form_token, request.cookies.get(FORM_COOKIE, "")):
            return _sign_in_form(request, bureau, house, said="That form was too old. Please try again.", status=403)
        try:
            token = people.sign_in(bureau, name, password, address=address_of(request, bureau))
        except people.SignInRefused as error:
            return _sign_in_form(request, bureau, house, said=str(error), name=name, status=403)
        answer = RedirectResponse(_first_page(bureau.ledger.session(people.token_digest(token))), 303)
        _set_cookie(request, answer, SESSION_COOKIE, token)
        answer.delete_cookie(FORM_COOKIE)
        return answer

    @router.get("/sign-in/away")
    def away(request: Request) -> Response:
        if house is None:
            return RedirectResponse("/sign-in", 303)
        try:
            begun = house.begin(base_address(request, bureau) + BACK)
        except SingleSignOnFailed as error:
            return _sign_in_form(request, bureau, house, said=str(error), status=503)
        answer = RedirectResponse(begun.address, 303)
        # lax: it has to come along when the other house sends the browser back
        answer.set_cookie(
            AWAY_COOKIE, begun.cookie,
            max_age=AWAY_S, httponly=True, samesite="lax", secure=_is_over_tls(request), path=BACK,
        )  # fmt: skip
        return answer

    @router.get(BACK)
    def back(request: Request) -> Response:
        if house is None:
            return RedirectResponse("/sign-in", 303)
        try:
            if failed.is_over(address_of(request, bureau)):
                raise SingleSignOnFailed("Too many sign-ins have failed. Wait a minute, then begin again.")
            cookie = request.cookies.get(AWAY_COOKIE, "")
            person = house.finish(request.query_params, cookie, base_address(request, bureau) + BACK)
            token = people.sign_in_from(
                bureau, bureau.settings.oidc_issuer, person.subject,
                name=person.name, role=person.role, customer=person.customer, address=address_of(request, bureau),
            )  # fmt: skip
        except (SingleSignOnFailed, people.SignInRefused, UserExists) as error:
            failed.count(address_of(request, bureau))
            answer = _sign_in_form(request, bureau, house, said=str(error), status=403)
        else:
            # a page that moves on, and no redirect: one that began at another site would not bring a strict cookie
            first = _first_page(bureau.ledger.session(people.token_digest(token)))
            answer = show(request, bureau, "moving_on.html", place=first, signed_in=True)
            _set_cookie(request, answer, SESSION_COOKIE, token)
        answer.delete_cookie(AWAY_COOKIE, path=BACK)
        return answer

    @router.post("/sign-out")
    def sign_out(request: Request, form_token: Text) -> Response:
        session = door.somebody(request)
        check_form(session, form_token)
        bureau.ledger.close_session(people.token_digest(request.cookies[SESSION_COOKIE]))
        farewell = None
        if house is not None and session.user.issuer == bureau.settings.oidc_issuer:
            farewell = house.farewell(base_address(request, bureau) + "/sign-in")
        if farewell is None:
            answer: Response = RedirectResponse("/sign-in", 303)
        else:  # a page again: after a form a browser follows redirects only to ourselves (form-action)
            answer = show(request, bureau, "moving_on.html", place=farewell, house=house, signed_in=False)
        answer.delete_cookie(SESSION_COOKIE)
        return answer

    @router.get("/password")
    def password_form(request: Request) -> Response:
        return _password_form(request, bureau, _with_password(door.somebody(request)))

    @router.post("/password")
    def password(request: Request, form_token: Text, old: Text, new: Text) -> Response:
        session = _with_password(door.somebody(request))
        check_form(session, form_token)
        try:
            people.change_password(bureau, session.user, old, new, address=address_of(request, bureau))
        except (people.SignInRefused, people.PasswordTooWeak) as error:
            return _password_form(request, bureau, session, said=str(error), status=403)
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(SESSION_COOKIE)
        return answer

    async def to_sign_in(_request: Request, _error: Exception) -> Response:
        return RedirectResponse("/sign-in", 303)

    async def to_password(_request: Request, _error: Exception) -> Response:
        return RedirectResponse("/password", 303)

    async def refuse(request: Request, error: Exception) -> Response:
        return await refusal(request, bureau, door, status=403, title="This is not for you", said=str(error))

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        NotSignedIn: to_sign_in,
        PasswordToChange: to_password,
        NotAllowed: refuse,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.include_router(router)


def customer_of(session: Session) -> str | None:
    """The one customer whose things are for whoever asks; None: those of all.

    Raises:
        NotAllowed: an agency's user without an agency, to whom nothing may be shown.
    """
    if session.user.role is Role.AGENCY and session.user.customer is None:
        raise NotAllowed("Your account names no agency. Ask the bureau.")
    return session.user.customer


def _with_password(session: Session) -> Session:
    if session.user.issuer is not None:
        raise NotAllowed("You are signed in by single sign-on, and have no password here.")
    return session


def address_of(request: Request, bureau: Bureau) -> str:
    """Where a request comes from: what a proxy says that the settings name, else who has sent it.

    Proxies add whom they were asked by at the end of the list; what stands before, anybody may have written.
    """
    address = request.client.host if request.client is not None else ""
    passed_on = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    while address in bureau.settings.proxy_addresses and passed_on:
        try:
            address = str(ipaddress.ip_address(passed_on.pop().partition("%")[0].strip()))
        except ValueError:
            break
    return address


def _first_page(session: Session | None) -> str:
    return "/packages" if session is not None and session.user.role is Role.AGENCY else "/"


def _sign_in_form(
    request: Request, bureau: Bureau, house: SingleSignOn | None, *, said: str = "", name: str = "", status: int = 200
) -> Response:
    form_token = secrets.token_urlsafe(people.TOKEN_BYTES)
    answer = show(
        request, bureau, "sign_in.html", status=status, said=said, name=name, form_token=form_token, house=house
    )
    _set_cookie(request, answer, FORM_COOKIE, form_token)
    return answer


def _password_form(
    request: Request, bureau: Bureau, session: Session, *, said: str = "", status: int = 200
) -> Response:
    return show(
        request,
        bureau,
        "password.html",
        status=status,
        session=session,
        here="password",
        said=said,
        shortest=people.SHORTEST_PASSWORD,
    )


def base_address(request: Request, bureau: Bureau) -> str:
    """Where people reach this console: as the settings say, else as whoever asks has reached it."""
    scheme = "https" if _is_over_tls(request) else "http"
    return bureau.settings.public_url.rstrip("/") or f"{scheme}://{request.url.netloc}"


def _is_over_tls(request: Request) -> bool:
    # a proxy with TLS says so; who lies about it only keeps his own cookie from travelling in the clear
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"


def _set_cookie(request: Request, answer: Response, name: str, value: str) -> None:
    answer.set_cookie(name, value, httponly=True, samesite="strict", secure=_is_over_tls(request), path="/")


def check_form(session: Session, form_token: str) -> None:
    """Make sure that a form was given by this console to this session.

    Raises:
        NotAllowed: it was not.
    """
    if not _same(form_token, session.form_token):
        raise NotAllowed("That form was not given to you by this console. Go back and try again.")


def _same(said: str, known: str) -> bool:
    return bool(known) and hmac.compare_digest(said.encode(), known.encode())
