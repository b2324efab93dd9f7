"""The screens of packages that have gone out: for the agency that gets them, and for supervisors and auditors."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from console.orders import LONGEST_SEARCH, SEES_PACKAGES, NotThere, number_in, one_line, order_for, reason_in
from console.package_answers import file_answer, zip_answer
from console.signing_in import (
    Doorkeeper,
    Text,
    base_address,
    check_form,
    customer_of,
    nothing_here,
    refusal,
    show,
    templates,
)
from console.throttle import TooManyAtOnce
from pipeline.bureau import Bureau
from pipeline.ledger import NoSuchLink, Session
from pipeline.ledger.lookups import DOCUMENTS_A_SCREEN, ORDERS_A_SCREEN, DocumentLook
from pipeline.model import OrderId, Role, Sha256, WorkOrder
from pipeline.orders import BadOrder
from pipeline.package_files import NotInPackage, PackageDamaged, package_digests, package_file
from pipeline.package_links import MOST_DAYS, USUAL_DAYS, BadLink, link_address, make_link
from pipeline.packaging import document_file_name

log = logging.getLogger(__name__)

MAKES_LINKS = frozenset({Role.SUPERVISOR, Role.AGENCY})
FILES_A_SCREEN = 100
SEARCHES_AT_ONCE = 2  # each reads the titles of all documents that went out
_OXUM = re.compile(r"(?P<octets>[0-9]+)\.(?P<files>[0-9]+)", re.ASCII)  # RFC 8493, 2.2.2
_MOST_FACTS_BYTES = 1 << 20  # bag-info.txt has a dozen lines


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFile:
    """A document of a package, with its file and the digest that the package promises."""

    look: DocumentLook
    file: str
    digest: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageLook:
    """A screenful of a package."""

    order: WorkOrder
    delivery: int
    made_on: str
    size_bytes: int | None
    files: int
    documents: list[DocumentFile]
    more_documents: int | None  # after which one the next screen begins
    others: list[tuple[str, Sha256]]
    first_other: int
    more_others: int | None
    transmittal: str | None


def add_packages(app: FastAPI, bureau: Bureau, door: Doorkeeper) -> None:
    """Add the screens of packages, and the pages for those that cannot be given."""
    router = APIRouter()
    searches = CapacityLimiter(SEARCHES_AT_ONCE)
    templates.env.filters["size"] = size_of

    @router.get("/packages")
    async def packages(request: Request, search: str = "", before: str = "") -> Response:
        # those who look for titles wait for one another, and nobody else for them
        limiter = searches if search else None
        return await to_thread.run_sync(found, request, search, before, limiter=limiter)

    def found(request: Request, search: str, before: str) -> Response:
        session = door.one_of(request, SEES_PACKAGES)
        words = words_in(search)
        orders = bureau.ledger.orders_found(
            customer=customer_of(session),
            words=words,
            before=OrderId(number_in(before)) if before else None,
            went_out=True,
        )
        seeks = bool(words) and not before
        documents = bureau.ledger.documents_delivered(customer=customer_of(session), words=words) if seeks else []
        return show(
            request, bureau, "packages.html",
            session=session, here="packages", search=words, is_first=not before,
            orders=[look.order for look in orders[:ORDERS_A_SCREEN]],
            older=orders[ORDERS_A_SCREEN - 1].order.id if len(orders) > ORDERS_A_SCREEN else None,
            documents=documents[:DOCUMENTS_A_SCREEN], more_documents=len(documents) > DOCUMENTS_A_SCREEN,
        )  # fmt: skip

    @router.get("/packages/{number}/{delivery}")
    def package(
        request: Request, number: str, delivery: str, search: str = "", documents: str = "", files: str = ""
    ) -> Response:
        session = door.one_of(request, SEES_PACKAGES)
        order, which = _package_for(bureau, session, number, delivery)
        after = {"documents": documents, "files": files}
        return _package_page(request, bureau, session, order, which, words=words_in(search), after=after)

    @router.get("/packages/{number}/{delivery}/package.zip")
    def whole(request: Request, number: str, delivery: str) -> Response:
        session = door.one_of(request, SEES_PACKAGES)
        order, which = _package_for(bureau, session, number, delivery)
        return zip_answer(bureau, order, which, whose=f"user {session.user.name}")

    @router.get("/packages/{number}/{delivery}/files/{name:path}")
    def file(request: Request, number: str, delivery: str, name: str) -> Response:
        order, which = _package_for(bureau, door.one_of(request, SEES_PACKAGES), number, delivery)
        return file_answer(bureau, order, which, name)

    @router.post("/packages/{number}/{delivery}/links")
    def new_link(
        request: Request, number: str, delivery: str, form_token: Text, days: Text, why: Text = "", file: Text = ""
    ) -> Response:
        session = door.one_of(request, MAKES_LINKS)
        check_form(session, form_token)
        order, which = _package_for(bureau, session, number, delivery)
        try:
            made, token = make_link(
                bureau, order, which,
                file=one_line("file", file) or None,
                days=number_in(days.strip()), who=session.user.name, why=reason_in(why),
            )  # fmt: skip
        except (BadOrder, BadLink) as error:
            return _package_page(request, bureau, session, order, which, said=str(error), status=409)
        address = link_address(base_address(request, bureau), token)
        return _package_page(request, bureau, session, order, which, address=address, until=made.until)

    @router.post("/packages/{number}/{delivery}/links/{link_id}/revoke")
    def revoke(
        request: Request, number: str, delivery: str, link_id: str, form_token: Text, why: Text = ""
    ) -> Response:
        session = door.one_of(request, MAKES_LINKS)
        check_form(session, form_token)
        order, which = _package_for(bureau, session, number, delivery)
        try:
            bureau.ledger.revoke_link(number_in(link_id), order_id=order.id, who=session.user.name, why=reason_in(why))
        except (BadOrder, NoSuchLink) as error:
            return _package_page(request, bureau, session, order, which, said=str(error), status=409)
        return RedirectResponse(f"/packages/{order.number}/{which}#links", 303)

    async def not_in_package(request: Request, _error: Exception) -> Response:
        return await nothing_here(request, bureau, door)

    async def damaged(request: Request, error: Exception) -> Response:
        log.error("a package cannot be handed out: %s", error)
        return show(request, bureau, "package_damaged.html", status=503)

    async def too_many_at_once(request: Request, _error: Exception) -> Response:
        said = "Two packages are being sent to you already. Take this one when one of them has come."
        return await refusal(request, bureau, door, status=429, title="One after the other", said=said)

    app.add_exception_handler(TooManyAtOnce, too_many_at_once)
    app.add_exception_handler(NotInPackage, not_in_package)
    app.add_exception_handler(PackageDamaged, damaged)
    app.include_router(router)


def package_look(
    bureau: Bureau, order: WorkOrder, delivery: int, *, words: str = "", after: Mapping[str, str]
) -> PackageLook:
    """A screenful of a package: the documents after one of them, the other files after the first few.

    Raises:
        NotInPackage: there is no such package.
        PackageDamaged: it is not in the outbox any more.
    """
    digests = package_digests(bureau, order, delivery)
    facts = _facts_of(bureau, order, delivery)
    oxum = _OXUM.fullmatch(facts.get("Payload-Oxum", ""))
    found = bureau.ledger.documents_from(order.id, after=number_in(after.get("documents") or "0"), words=words)
    screen = found[:DOCUMENTS_A_SCREEN]
    named = [(look, f"data/{document_file_name(look)}") for look in screen]
    first = number_in(after.get("files") or "0")
    others = [(name, digest) for name, digest in digests.items() if not name.startswith("data/pdf/")]
    return PackageLook(
        order=order,
        delivery=delivery,
        made_on=facts.get("Bagging-Date", ""),
        size_bytes=None if oxum is None else int(oxum["octets"]),
        files=len(digests),
        # what was finished after this delivery is in a later one
        documents=[DocumentFile(look=look, file=name, digest=digests[name]) for look, name in named if name in digests],
        more_documents=screen[-1].id if len(found) > len(screen) else None,
        others=list(islice(others, first, first + FILES_A_SCREEN)),
        first_other=first,
        more_others=first + FILES_A_SCREEN if len(others) > first + FILES_A_SCREEN else None,
        transmittal="data/transmittal.pdf" if "data/transmittal.pdf" in digests else None,
    )


def size_of(size_bytes: int) -> str:
    """A size as people read it."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.1f}".removesuffix(".0") + " GiB"


def words_in(search: str) -> str:
    """What is looked for, without signs that cannot be typed."""
    return "".join(sign for sign in search[:LONGEST_SEARCH] if sign.isprintable())


def _package_for(bureau: Bureau, session: Session, number: str, delivery: str) -> tuple[WorkOrder, int]:
    """The order and number of a package, if whoever asks may see it.

    Raises:
        NotThere: there is none for them.
    """
    order = order_for(bureau, session, number).order
    which = number_in(delivery)
    if not 1 <= which <= order.deliveries:
        raise NotThere
    return order, which


def _package_page(
    request: Request,
    bureau: Bureau,
    session: Session,
    order: WorkOrder,
    delivery: int,
    *,
    words: str = "",
    after: Mapping[str, str] | None = None,
    said: str = "",
    status: int = 200,
    **made: object,
) -> Response:
    links = [link for link in bureau.ledger.links_of(order.id) if link.delivery == delivery]
    return show(
        request, bureau, "package.html", status=status,
        session=session, here="packages", said=said, search=words,
        package=package_look(bureau, order, delivery, words=words, after=after or {}),
        base=f"/packages/{order.number}/{delivery}",
        links=links, may_link=session.user.role in MAKES_LINKS, days=USUAL_DAYS, most_days=MOST_DAYS,
        # who of the house did what is the house's own
        sees_who=session.user.role is not Role.AGENCY, **made,
    )  # fmt: skip


def _facts_of(bureau: Bureau, order: WorkOrder, delivery: int) -> dict[str, str]:
    """What the package says of itself (RFC 8493, 2.2.2)."""
    with package_file(bureau, order, delivery, "bag-info.txt").path.open(encoding="utf-8") as file:
        lines = file.read(_MOST_FACTS_BYTES).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
