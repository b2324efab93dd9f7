"""What whoever bears a link to a package sees, without signing in."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request, Response

from console.package_answers import file_answer, zip_answer
from console.packages import package_look
from console.signing_in import address_of, show
from console.throttle import Throttle
from pipeline import people
from pipeline.bureau import Bureau
from pipeline.ledger import PackageLink
from pipeline.model import WorkOrder
from pipeline.package_files import package_file

# a token has 256 bits and is not guessed: this only tells those who try that they are seen
MOST_WRONG, WITHIN_S = 30, 60.0


class LinkRefused(Exception):
    """There is no such link, it is over, or it was revoked: which of these is not told."""


class TooManyWrong(Exception):
    """Too many wrong links came from there."""


def add_links(app: FastAPI, bureau: Bureau) -> None:
    """Add the pages behind links."""
    router = APIRouter()
    wrong = Throttle(most=MOST_WRONG, within_s=WITHIN_S)

    def opened(request: Request, token: str) -> tuple[PackageLink, WorkOrder]:
        """The link of a token, with its order.

        Raises:
            LinkRefused: it opens nothing.
            TooManyWrong: nor did many others from there.
        """
        address = address_of(request, bureau)
        link = bureau.ledger.open_link(people.token_digest(token))
        order = None if link is None else bureau.ledger.order(link.order)
        if link is None or order is None:
            # a good one opens however many wrong ones came from behind the same address
            if wrong.is_over(address):
                raise TooManyWrong
            wrong.count(address)
            raise LinkRefused
        if link.used_at is None:
            bureau.ledger.note_link_used(link, address=address)
        return link, order

    @router.get("/links/{token}")
    def package(request: Request, token: str, documents: str = "", files: str = "") -> Response:
        link, order = opened(request, token)
        package = digest = None
        if link.file is None:
            after = {"documents": documents, "files": files}
            package = package_look(bureau, order, link.delivery, after=after)
        else:
            digest = package_file(bureau, order, link.delivery, link.file).digest
        return show(
            request, bureau, "link.html",
            link=link, order=order, base=f"/links/{token}", search="", package=package, digest=digest,
        )  # fmt: skip

    @router.get("/links/{token}/package.zip")
    def whole(request: Request, token: str) -> Response:
        link, order = opened(request, token)
        if link.file is not None:
            raise LinkRefused
        return zip_answer(bureau, order, link.delivery, whose=f"link {link.id}")

    @router.get("/links/{token}/files/{name:path}")
    def file(request: Request, token: str, name: str) -> Response:
        link, order = opened(request, token)
        if link.file not in (None, name):
            raise LinkRefused
        return file_answer(bureau, order, link.delivery, name)

    async def refused(request: Request, _error: Exception) -> Response:
        return show(request, bureau, "link_over.html", status=404)

    async def too_many(request: Request, _error: Exception) -> Response:
        return show(request, bureau, "link_over.html", status=429, too_many=True)

    app.add_exception_handler(LinkRefused, refused)
    app.add_exception_handler(TooManyWrong, too_many)
    app.include_router(router)
