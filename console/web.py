"""The web application: what supervisors see in a browser, and what machines ask for (`/healthz`, `/metrics`)."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.alarms_page import SEES_ALARMS, add_alarms
from console.api import PLACE as API_PLACE
from console.api import create_api
from console.api_door import http_problem
from console.body_limit import BodyLimit
from console.drop_page import add_drop
from console.floor_page import FloorLook
from console.held_pages import add_held
from console.histories import add_histories
from console.links import add_links
from console.metrics import Recount, metrics_text
from console.orders import add_orders
from console.packages import add_packages
from console.pages import add_pages
from console.quality_pages import add_quality
from console.signing_in import (
    SEES_FLOOR,
    Doorkeeper,
    NotAllowed,
    Text,
    add_signing_in,
    check_form,
    nothing_here,
    refusal,
    show,
    templates,
)
from console.tokens_page import add_tokens
from pipeline.bureau import Bureau
from pipeline.ledger import Session
from pipeline.ledger.settling import Asked, NotSettling
from pipeline.model import Role

log = logging.getLogger(__name__)

# everything a page needs comes from here; nothing may frame it, guess its type, or learn where its reader came from
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
LOCAL = frozenset({"127.0.0.1", "::1"})
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip")
STATIC = Path(__file__).parent / "static"
MAY_START = frozenset({Role.OPERATOR, Role.SUPERVISOR})
MOST_FORM_BYTES = 1 << 20  # the largest form is an order with 100,000 signs of barcodes
_FAULTS_TOLD = 3
LIVE_S = 2.0  # between two looks at the floor that a browser is sent
STOP_LOOK_S = 0.25
STOP_S = 5  # for answers under way when the server stops


def create_app(bureau: Bureau) -> FastAPI:
    """The application over an opened bureau, which stays the caller's to close."""
    recount = Recount(bureau)

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        recount.start()
        yield
        recount.stop()

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(BodyLimit, most_bytes=MOST_FORM_BYTES, unless=_looks_for_itself)
    app.add_middleware(_SecurityHeaders)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.state.stopping = threading.Event()
    door = Doorkeeper(bureau)
    add_signing_in(app, bureau, door)
    _add_floor(app, bureau, door)
    add_alarms(app, bureau, door)
    add_held(app, bureau, door)
    add_drop(app, bureau, door)  # before the orders, which take every other form below an order for a change of it
    add_orders(app, bureau, door)
    add_histories(app, bureau, door)
    add_tokens(app, bureau, door)
    add_pages(app, bureau, door)
    add_quality(app, bureau, door)
    app.mount(API_PLACE, create_api(bureau))
    add_packages(app, bureau, door)
    add_links(app, bureau)

    _add_refusals(app, bureau, door)

    @app.get("/healthz")
    def health() -> Response:
        try:
            bureau.ledger.check_version()
        except Exception:
            log.exception("the ledger cannot be reached")
            return _plain("The ledger cannot be reached.", 503)
        return _plain("ok")

    @app.get("/metrics")
    def metrics(request: Request) -> Response:
        if not _may_scrape(request, bureau.settings.metrics_token.get_secret_value()):
            return _plain("Only for this machine, or with the bearer token that PLATEN_METRICS_TOKEN names.", 403)
        return Response(metrics_text(bureau, recount), media_type=CONTENT_TYPE_LATEST)

    return app


def _looks_for_itself(scope: Scope) -> bool:
    """Whether how much may come is another's to say: the API's, or that of the form that takes scans."""
    path: str = scope["path"]
    return path.startswith(f"{API_PLACE}/") or (path.startswith("/orders/") and path.endswith("/drop"))


def _add_refusals(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Answer with a page where the framework would answer with its own words, which are for programs."""

    async def not_done(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        # an address with a line break in it does not even reach the API
        if request.url.path.startswith(f"{API_PLACE}/"):
            return await http_problem(request, error)
        if error.status_code == 404:
            return await nothing_here(request, bureau, door)
        said = f"Nothing is done with {request.method} here." if error.status_code == 405 else str(error.detail)
        return await refusal(request, bureau, door, status=error.status_code, title="That cannot be done", said=said)

    async def bad_form(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # by name alone: what was typed may be a password
        faults = [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()[:_FAULTS_TOLD]]
        said = f"{'. '.join(faults)}. Nothing was changed."
        return await refusal(request, bureau, door, status=422, title="That cannot be taken", said=said)

    async def failed(request: Request, _error: Exception) -> Response:
        # it is in the log; perhaps it is the ledger that fails, so it is not asked who that is
        answer = show(
            request, bureau, "refused.html", status=500, title="Something is wrong here",
            said="It is in the log of the bureau. Try again in a while, and if it stays so, tell whoever keeps it.",
        )  # fmt: skip
        answer.headers.update(SECURITY_HEADERS)  # it goes out past the middleware that adds them
        return answer

    app.add_exception_handler(HTTPException, not_done)
    app.add_exception_handler(RequestValidationError, bad_form)
    app.add_exception_handler(Exception, failed)


def _add_floor(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    look = FloorLook(bureau)

    @app.get("/")
    def floor(request: Request) -> Response:
        session = door.one_of(request, SEES_FLOOR)
        return show(request, bureau, "floor.html", here="floor", floor=look.page(), **_of(session))

    @app.post("/settling")
    def settling(request: Request, form_token: Text, key: Text, asked: Annotated[Asked, Form()]) -> Response:
        session = door.one_of(request, SEES_FLOOR)
        check_form(session, form_token)
        if session.user.role not in MAY_START:
            raise NotAllowed(f"Operators and supervisors say when; you are signed in as {session.user.role}.")
        try:
            bureau.ledger.ask_settling(key, asked, who=session.user.name)
        except NotSettling as error:
            return show(
                request, bureau, "refused.html", status=409, session=session, title="That is over", said=str(error)
            )
        look.forget()
        return RedirectResponse("/", 303)

    @app.get("/floor/events")
    def floor_events(request: Request) -> Response:
        door.one_of(request, SEES_FLOOR)

        def fragment() -> str | None:
            """The part of the page that changes; None when who asked is signed in no more."""
            session = door.session(request)
            if session is None:
                return None
            return templates.get_template("_floor.html").render(floor=look.page(), **_of(session))

        async def events() -> AsyncIterator[str]:
            while not app.state.stopping.is_set():
                shown = await run_in_threadpool(fragment)
                if shown is None:
                    yield "event: over\ndata:\n\n"
                    return
                yield f"event: floor\ndata: {json.dumps(shown)}\n\n"
                for _ in range(round(LIVE_S / STOP_LOOK_S)):
                    if app.state.stopping.is_set():
                        return
                    await asyncio.sleep(STOP_LOOK_S)

        return StreamingResponse(events(), media_type="text/event-stream")


def _of(session: Session) -> dict[str, Any]:
    """What the floor shows of whoever looks at it."""
    role = session.user.role
    return {"session": session, "may_start": role in MAY_START, "sees_alarms": role in SEES_ALARMS}


@contextmanager
def serving(bureau: Bureau, *, host: str, port: int) -> Iterator[uvicorn.Server]:
    """The application, served from a thread while the block runs.

    Raises:
        OSError: the address is taken, or not of this machine.
    """
    app = create_app(bureau)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            server_header=False,
            proxy_headers=False,  # who is local must not be told by the one who asks
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=STOP_S,
        )
    )
    with _listening(host, port) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            app.state.stopping.set()
            server.should_exit = True
            thread.join()


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # connections inherit it: a body sent behind its header would else wait 40 ms for the other side's word
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _may_scrape(request: Request, token: str) -> bool:
    """Whether these figures are for whoever asks: with a token, who bears it; without one, this machine alone."""
    if token:
        said = request.headers.get("authorization", "")
        return hmac.compare_digest(said.encode(), f"Bearer {token}".encode())
    # a proxy on this machine asks for somebody else
    passed_on = any(name in request.headers for name in PROXY_HEADERS)
    return request.client is not None and request.client.host in LOCAL and not passed_on


def _plain(text: str, status: int = 200) -> Response:
    return Response(f"{text}\n", status, media_type="text/plain")


class _SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
