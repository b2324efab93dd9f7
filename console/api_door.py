"""Who asks the REST API, and how it refuses: a token and nothing else opens it, and every refusal is a `Problem`."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from console.api_models import Problem
from console.body_limit import BodyLimit
from console.orders import EVERYBODY, SUPERVISORS, NotThere
from console.signing_in import SEES_FLOOR, NotAllowed, address_of
from pipeline import tokens, uploads
from pipeline.bureau import Bureau
from pipeline.ledger import HeldNoLonger, OrderNotOpen, Session, UnknownOrder
from pipeline.model import Role, Token
from pipeline.orders import BadOrder
from pipeline.package_files import NotInPackage, PackageDamaged
from pipeline.review import CannotDecide
from stages.errors import Refusal

log = logging.getLogger(__name__)

WORKS_AT_SCANNER = frozenset({Role.OPERATOR, Role.SUPERVISOR})
MOST_JSON_BYTES = 16 << 20  # what will come of 50,000 files with names of 200 signs
_MOST_FAULTS_TOLD = 3
_BEARER = {"www-authenticate": "Bearer"}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_THERE = "There is no such thing here, or none for you."

# what a refusal is in HTTP, and the word for programs
_STATUS: Mapping[type[Exception], tuple[int, str]] = {
    NotThere: (404, "not-there"),
    NotInPackage: (404, "not-there"),
    UnknownOrder: (404, "not-there"),
    NotAllowed: (403, "not-allowed"),
    tokens.TokenRefused: (401, "token-refused"),
    tokens.TooManyWrongTokens: (429, "too-many-wrong-tokens"),
    BadOrder: (422, "bad-order"),
    OrderNotOpen: (409, "order-not-open"),
    HeldNoLonger: (409, "held-no-longer"),
    CannotDecide: (409, "cannot-decide"),
    PackageDamaged: (500, "package-damaged"),
    uploads.BadUpload: (422, ""),  # by their own codes
    uploads.OtherDigest: (422, ""),
    uploads.NoSuchUpload: (404, ""),
    uploads.LargerThanSaid: (413, ""),
    uploads.TooManyUploads: (429, ""),
    uploads.NoRoom: (507, ""),
    uploads.UploadRefused: (409, ""),
    Refusal: (409, ""),
}
_MEANINGS: Mapping[int, str] = {
    401: "No token, or none that is good.",
    403: "Not for users of this role.",
    404: "Not there, or not for whoever asks: which of the two is not told.",
    409: "It cannot be done as things stand.",
    413: "Larger than it may be, or than was said.",
    422: "What was asked cannot be; the sentence says what to change.",
    429: "Too often; wait.",
    500: "Something is wrong in the bureau.",
    507: "The disk is full.",
}
_ALWAYS = (401, 403, 422, 429)
_security = HTTPBearer(auto_error=False, description="A token from `platen token add`, or from the page /tokens.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_security)]


class Asks:
    """Lets in whose token is good and whose user has one of these roles."""

    def __init__(self, roles: frozenset[Role]) -> None:
        self._roles = roles

    def __call__(self, request: Request, bearer: Bearer) -> Session:
        """Who asks; a session without a form token, so that no form is ever taken from it."""
        user = token_of(request, bearer).user
        if user.role not in self._roles:
            raise NotAllowed(f"It is for {', '.join(sorted(self._roles))}; this is a token of {user.role}.")
        return Session(user=user, form_token="")


def token_of(request: Request, bearer: Bearer) -> Token:
    """The token that came with a request.

    Raises:
        TokenRefused: there is none, or it is not good.
    """
    if bearer is None:
        raise tokens.TokenRefused("Send a token: Authorization: Bearer platen_...")
    bureau: Bureau = request.app.state.bureau
    return tokens.bearer(bureau, bearer.credentials, address=address_of(request, bureau))


Number = Annotated[str, Path(max_length=60, description="The order's number, such as WO-2026-0001.")]
Everybody = Annotated[Session, Depends(Asks(EVERYBODY))]
FloorStaff = Annotated[Session, Depends(Asks(SEES_FLOOR))]
Supervisor = Annotated[Session, Depends(Asks(SUPERVISORS))]
ScannerStaff = Annotated[Session, Depends(Asks(WORKS_AT_SCANNER))]
Borne = Annotated[Token, Depends(token_of)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How refusals with these statuses, and those that any request may meet, stand in the OpenAPI document."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in (*_ALWAYS, *statuses)}


def add_problems(app: FastAPI) -> None:
    """Answer every refusal as a `Problem`, and refuse bodies that are too large to be anything."""

    async def refused(_request: Request, error: Exception) -> Response:
        kind = next(kind for kind in type(error).__mro__ if kind in _STATUS)
        status, code = _STATUS[kind]
        headers = _BEARER if status == 401 else {}
        if isinstance(error, uploads.OtherOffset):
            headers = {"upload-offset": str(error.received)}
        sentence = error.sentence if isinstance(error, Refusal) else str(error)
        if status == 404 and not isinstance(error, uploads.UploadRefused):
            sentence = _NOT_THERE
        if status >= 500:
            log.error("%s", sentence)
        return _problem(status, code or getattr(error, "code", "refused"), sentence, headers)

    async def wrong(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        more = f"; and {len(faults) - _MOST_FAULTS_TOLD} more" if len(faults) > _MOST_FAULTS_TOLD else ""
        return _problem(422, "bad-request", "; ".join(faults[:_MOST_FAULTS_TOLD]) + more)

    async def failed(_request: Request, error: Exception) -> Response:
        if isinstance(error, OSError) and error.errno in _FULL:
            return _problem(507, uploads.NoRoom.code, str(uploads.NoRoom()))
        log.error("the API failed", exc_info=error)
        return _problem(500, "failed", "Something is wrong here. It is in the log of the bureau.")

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        **dict.fromkeys(_STATUS, refused),
        RequestValidationError: wrong,
        HTTPException: http_problem,
        OSError: failed,
        Exception: failed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    # a piece of a file is never held whole, and was said to be how large
    app.add_middleware(BodyLimit, most_bytes=MOST_JSON_BYTES, unless=lambda scope: scope["method"] == "PUT")


async def http_problem(_request: Request, error: Exception) -> Response:
    """What the framework itself refuses, as a `Problem`."""
    assert isinstance(error, HTTPException)
    words = {404: ("not-there", _NOT_THERE), 405: ("no-such-method", "This is not done with this method.")}
    code, sentence = words.get(error.status_code, ("bad-request", str(error.detail)))
    return _problem(error.status_code, code, sentence, error.headers)


def _problem(status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"code": code, "sentence": sentence}, status, headers)
