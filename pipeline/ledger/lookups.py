"""What people look up in the console: a screenful at a time, from indexes and tallies.

The pages of the batches on one screen are the most that is ever counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, case, exists, func, or_, select

from pipeline.ledger import tables as t
from pipeline.ledger.reports import events_of, moment, order_from, page_from, public_id
from pipeline.ledger.standing import Standing
from pipeline.ledger.tallies import PAGE
from pipeline.ledger.work import receiving
from pipeline.model import (
    PAGE_TASKS,
    BatchId,
    DeliveryId,
    DocumentId,
    Event,
    Exclusion,
    OrderId,
    OrderStatus,
    Page,
    PageCounts,
    PageId,
    RollId,
    Sha256,
    TaskId,
    TaskState,
    WorkOrder,
    picture_name,
)

ORDERS_A_SCREEN = 50
BATCHES_A_SCREEN = 20  # their pages are counted: 100,000 of them in 20 of the largest batches
DOCUMENTS_A_SCREEN = 50
ROLLS_A_SCREEN = 100
EVENTS_A_SCREEN = 50
EVENTS_OF_PAGE = 200
PAGES_A_SCREEN = 5_000  # places, with the scan and the rescan of each; a box holds fewer sheets
BILLABLE, HELD, OPEN = "billable", "held", "open"
_EXCLUSIONS = tuple(reason.value for reason in Exclusion)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLook:
    """An order in a list, with its pages by the tallies."""

    order: WorkOrder
    pages: PageCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLook:
    """A batch, with its pages counted."""

    id: BatchId
    name: str
    digest: str
    received_at: datetime
    assembled: bool
    seal: str | None
    sheets: int  # the place of its last page
    pages: PageCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLook:
    """A document in a list."""

    id: DocumentId
    public_id: str
    order: str  # its number
    deliveries: int  # of the order
    title: str
    pages: int
    first_page: PageId | None
    pdf: Sha256 | None
    pdf_bytes: int | None
    finished: bool
    flavour: str | None
    conforms: bool | None
    mean_confidence: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollLook:
    """A roll in a list, without its plan."""

    id: RollId
    number: str
    frames: int
    written: bool
    folder: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSquare:
    """A page among others; `state` is billable, held, open, or why it was left out."""

    id: PageId
    sequence: int
    revision: int
    state: str
    picture: str  # digest and image of what its picture is made from: another one, another picture


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLook:
    """One page with where it stands."""

    page: Page
    order: WorkOrder
    batch_name: str
    revision: int
    state: str
    document: str | None  # its public id
    held_as: TaskId | None
    sentence: str  # why it is held; empty when it is not
    before: PageId | None
    after: PageId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLook:
    """What became of an upload that was announced; `outcome` is empty until it is decided."""

    delivery: DeliveryId
    order: str
    name: str
    outcome: str
    batch: BatchId | None
    batch_digest: str | None
    held_as: TaskId | None
    sentence: str  # why it is held; empty when it is not


class Lookups(Standing):
    """The part of the ledger that the console's screens ask."""

    def orders_found(
        self,
        *,
        customer: str | None,
        words: str,
        status: OrderStatus | None = None,
        before: OrderId | None,
        went_out: bool = False,
    ) -> list[OrderLook]:
        """Orders whose number, customer or title has these words in it, newest first; one more than a screen holds.

        With `went_out` those alone of which there is a package.
        """
        where = [t.orders.c.deliveries > 0] if went_out else []
        if customer is not None:
            where.append(t.orders.c.customer == customer)
        if status is not None:
            where.append(t.orders.c.status == status)
        if before is not None:
            where.append(t.orders.c.id < before)
        for word in words.lower().split():
            fields = (t.orders.c.number, t.orders.c.customer, t.orders.c.title)
            where.append(or_(*(func.lower(field).contains(word, autoescape=True) for field in fields)))
        with self.read() as c:
            ids = c.scalars(
                select(t.orders.c.id).where(*where).order_by(t.orders.c.id.desc()).limit(ORDERS_A_SCREEN + 1)
            ).all()
            pages = _tallied_pages(c, ids)
            return [OrderLook(order=order_from(c, order_id), pages=pages[order_id]) for order_id in ids]

    def order_look(self, number: str) -> OrderLook | None:
        """One order with its pages by the tallies."""
        with self.read() as c:
            order_id = c.scalar(select(t.orders.c.id).where(t.orders.c.number == number))
            if order_id is None:
                return None
            return OrderLook(order=order_from(c, order_id), pages=_tallied_pages(c, [order_id])[order_id])

    def batches_from(self, order_id: OrderId, *, after: int = 0) -> list[BatchLook]:
        """Batches of an order as they came, one more than a screen holds."""
        with self.read() as c:
            rows = c.execute(
                select(t.batches)
                .where(t.batches.c.order_id == order_id, t.batches.c.id > after)
                .order_by(t.batches.c.id)
                .limit(BATCHES_A_SCREEN + 1)
            ).all()
            return _batch_looks(c, rows)

    def batch_look(self, order_id: OrderId, batch_id: int) -> BatchLook | None:
        """A batch of this order."""
        with self.read() as c:
            rows = c.execute(
                select(t.batches).where(t.batches.c.id == batch_id, t.batches.c.order_id == order_id)
            ).all()
            return next(iter(_batch_looks(c, rows)), None)

    def upload_look(self, upload: str) -> UploadLook | None:
        """What became of the upload with this id; None when it has not been announced."""
        with self.read() as c:
            row = c.execute(
                select(t.deliveries, t.batches.c.id.label("batch_id"), t.batches.c.digest)
                .add_columns(*(receiving(t.tasks.c[one]).label(f"task_{one}") for one in ("id", "state", "sentence")))
                .join(t.batches, t.batches.c.delivery_id == t.deliveries.c.id, isouter=True)
                .where(t.deliveries.c.upload == upload)
            ).first()
            if row is None:
                return None
            is_held = row.task_state == TaskState.HELD
            return UploadLook(
                delivery=DeliveryId(row.id),
                order=row.order_number,
                name=row.name,
                outcome=row.outcome,
                batch=None if row.batch_id is None else BatchId(row.batch_id),
                batch_digest=row.digest,
                held_as=TaskId(row.task_id) if is_held else None,
                sentence=(row.task_sentence or "") if is_held else "",
            )

    def documents_from(self, order_id: OrderId, *, after: int = 0, words: str = "") -> list[DocumentLook]:
        """Documents of an order as they were parted, one more than a screen holds; with `words` those titled so."""
        with self.read() as c:
            where = (t.documents.c.order_id == order_id, t.documents.c.id > after, *_titled(words))
            return _document_looks(c, where)

    def documents_delivered(self, *, customer: str | None, words: str) -> list[DocumentLook]:
        """Documents with these words in their titles, of orders that went out, one more than a screen holds."""
        where = [t.orders.c.deliveries > 0, t.documents.c.pdf.is_not(None), *_titled(words)]
        if customer is not None:
            where.append(t.orders.c.customer == customer)
        with self.read() as c:
            return _document_looks(c, where)

    def rolls_from(self, order_id: OrderId, *, after: int = 0) -> list[RollLook]:
        """Rolls of an order as they were planned, one more than a screen holds."""
        with self.read() as c:
            rows = c.execute(
                select(t.rolls.c.id, t.rolls.c.number, t.rolls.c.frames, t.rolls.c.written, t.rolls.c.folder)
                .where(t.rolls.c.order_id == order_id, t.rolls.c.id > after)
                .order_by(t.rolls.c.id)
                .limit(ROLLS_A_SCREEN + 1)
            )
            return [
                RollLook(
                    id=RollId(row.id), number=row.number, frames=row.frames, written=row.written, folder=row.folder
                )
                for row in rows
            ]

    def history_of_order(self, order_id: OrderId, *, before: int | None) -> list[Event]:
        """The history of an order, newest first, one line more than a screen holds.

        Pages, batches and documents are named as people know them, not by their ids.
        """
        where = [t.events.c.order_id == order_id]
        if before is not None:
            where.append(t.events.c.id < before)
        with self.read() as c:
            rows = c.execute(
                select(t.events).where(*where).order_by(t.events.c.id.desc()).limit(EVENTS_A_SCREEN + 1)
            ).all()
            return events_of(rows, _names_of(c, {row.subject for row in rows}))

    def history_of_page(self, page_id: PageId) -> list[Event]:
        """What was done to a page, oldest first."""
        with self.read() as c:
            rows = c.execute(
                select(t.events)
                .where(t.events.c.subject == f"page {page_id}")
                .order_by(t.events.c.id)
                .limit(EVENTS_OF_PAGE)
            ).all()
            return events_of(rows, _names_of(c, {row.subject for row in rows}))

    def page_squares(self, batch_id: BatchId, *, after: int = 0) -> list[PageSquare]:
        """Pages of a batch in their order: all of the places of one screen, which come after the place `after`."""
        with self.read() as c:
            rows = c.execute(
                select(
                    t.pages.c.id,
                    t.pages.c.sequence,
                    t.pages.c.revision,
                    t.pages.c.index_in_file,
                    t.pages.c.prepared,
                    t.pages.c.source,
                    _state().label("state"),
                )
                .join_from(t.pages, t.billables, t.billables.c.page_id == t.pages.c.id, isouter=True)
                .where(
                    t.pages.c.batch_id == batch_id,
                    t.pages.c.sequence > after,
                    t.pages.c.sequence <= after + PAGES_A_SCREEN,
                )
                .order_by(t.pages.c.sequence, t.pages.c.revision)
            )
            return [
                PageSquare(
                    id=PageId(row.id),
                    sequence=row.sequence,
                    revision=row.revision,
                    state=row.state,
                    picture=picture_name(row.prepared, row.source, row.index_in_file),
                )
                for row in rows
            ]

    def page_look(self, page_id: int) -> PageLook | None:
        """One page with where it stands; None when there is none with this id."""
        with self.read() as c:
            row = c.execute(
                select(t.pages, t.batches.c.name.label("batch_name"), _state().label("state"))
                .join(t.batches, t.batches.c.id == t.pages.c.batch_id)
                .join(t.billables, t.billables.c.page_id == t.pages.c.id, isouter=True)
                .where(t.pages.c.id == page_id)
            ).first()
            if row is None:
                return None
            order = order_from(c, row.order_id)
            document = c.execute(select(t.documents).where(t.documents.c.id == row.document_id)).first()
            hold = c.execute(select(t.tasks.c.id, t.tasks.c.sentence).where(_held_task(row.id))).first()
            return PageLook(
                page=page_from(row),
                order=order,
                batch_name=row.batch_name,
                revision=row.revision,
                state=row.state,
                document=None if document is None else public_id(order.number, document.batch_id, document.sequence),
                held_as=None if hold is None else TaskId(hold.id),
                sentence="" if hold is None else hold.sentence or "",
                before=_neighbour(c, row, forwards=False),
                after=_neighbour(c, row, forwards=True),
            )

    def page_and_customer(self, page_id: int) -> tuple[Page, str] | None:
        """One page and whose it is; None when there is none with this id. Asked for each picture of a batch."""
        with self.read() as c:
            row = c.execute(
                select(t.pages, t.orders.c.customer)
                .join(t.orders, t.orders.c.id == t.pages.c.order_id)
                .where(t.pages.c.id == page_id)
            ).first()
            return None if row is None else (page_from(row), row.customer)


def _titled(words: str) -> list[Any]:
    return [func.lower(t.documents.c.title).contains(word, autoescape=True) for word in words.lower().split()]


def _document_looks(c: Connection, where: Sequence[Any]) -> list[DocumentLook]:
    of_document = and_(t.pages.c.document_id == t.documents.c.id, t.pages.c.excluded.is_(None))
    rows = c.execute(
        select(
            t.documents,
            t.orders.c.number,
            t.orders.c.deliveries,
            select(func.count()).where(of_document).scalar_subquery().label("pages"),
            select(func.avg(t.pages.c.mean_confidence)).where(of_document).scalar_subquery().label("confidence"),
            select(t.pages.c.id)
            .where(of_document)
            .order_by(t.pages.c.page_in_document)
            .limit(1)
            .scalar_subquery()
            .label("first_page"),
        )
        .join(t.orders, t.orders.c.id == t.documents.c.order_id)
        .where(*where)
        .order_by(t.documents.c.id)
        .limit(DOCUMENTS_A_SCREEN + 1)
    )
    return [
        DocumentLook(
            id=DocumentId(row.id),
            public_id=public_id(row.number, row.batch_id, row.sequence),
            order=row.number,
            deliveries=row.deliveries,
            title=row.title,
            pages=row.pages,
            first_page=row.first_page,
            pdf=None if row.pdf is None else Sha256(row.pdf),
            pdf_bytes=row.pdf_bytes,
            finished=row.finished,
            flavour=row.flavour,
            conforms=row.conforms,
            mean_confidence=None if row.confidence is None else round(float(row.confidence), 4),
        )
        for row in rows
    ]


def _tallied_pages(c: Connection, order_ids: Sequence[int]) -> dict[int, PageCounts]:
    found: dict[int, dict[str, int]] = {order_id: {} for order_id in order_ids}
    is_page, is_held = t.tallies.c.name == PAGE, t.tallies.c.label == HELD
    label = case((is_page, t.tallies.c.label), else_=HELD).label("label")
    of_pages = or_(is_page, and_(t.tallies.c.name.in_(tuple(PAGE_TASKS)), is_held))
    tallied = (
        select(t.tallies.c.order_id, label, t.tallies.c.n)
        .where(t.tallies.c.order_id.in_(order_ids), of_pages)
        .subquery()
    )
    thing = (tallied.c.order_id, tallied.c.label)
    for row in c.execute(select(*thing, func.sum(tallied.c.n).label("n")).group_by(*thing)):
        found[row.order_id][row.label] = int(row.n)
    return {order_id: _with_the_rest_open(counts) for order_id, counts in found.items()}


def _with_the_rest_open(counts: Mapping[str, int]) -> PageCounts:
    """What is neither billable nor left out nor held is open: nothing can be missing from the sum."""
    received, billable, held = (counts.get(label, 0) for label in ("received", BILLABLE, HELD))
    excluded = {reason: counts.get(reason.value, 0) for reason in Exclusion}
    return PageCounts(
        received=received,
        billable=billable,
        excluded=excluded,
        held=held,
        open=received - billable - sum(excluded.values()) - held,
    )


def _held_task(page_id: Any) -> Any:
    return and_(
        t.tasks.c.subject_id == page_id, t.tasks.c.kind.in_(tuple(PAGE_TASKS)), t.tasks.c.state == TaskState.HELD
    )


def _state() -> Any:
    """How a page stands, as a column; the question joins `billables`."""
    return case(
        (t.billables.c.page_id.is_not(None), BILLABLE),
        (t.pages.c.excluded.is_not(None), t.pages.c.excluded),
        (exists().where(_held_task(t.pages.c.id)), HELD),
        else_=OPEN,
    )


def _batch_looks(c: Connection, rows: Sequence[Row[Any]]) -> list[BatchLook]:
    counts: dict[int, dict[str, int]] = {row.id: {} for row in rows}
    sheets = dict.fromkeys(counts, 0)
    standing = (
        select(t.pages.c.batch_id, t.pages.c.sequence, _state().label("state"))
        .join_from(t.pages, t.billables, t.billables.c.page_id == t.pages.c.id, isouter=True)
        .where(t.pages.c.batch_id.in_(list(counts)))
        .subquery()
    )
    thing = (standing.c.batch_id, standing.c.state)
    last = func.max(standing.c.sequence).label("last")
    for row in c.execute(select(*thing, func.count().label("n"), last).group_by(*thing)):
        counts[row.batch_id][row.state] = row.n
        sheets[row.batch_id] = max(sheets[row.batch_id], row.last)
    return [
        BatchLook(
            id=BatchId(row.id),
            name=row.name,
            digest=row.digest,
            received_at=moment(row.received_ms),
            assembled=row.assembled,
            seal=row.seal,
            sheets=sheets[row.id],
            pages=_with_the_rest_open({**counts[row.id], "received": sum(counts[row.id].values())}),
        )
        for row in rows
    ]


def _neighbour(c: Connection, row: Row[Any], *, forwards: bool) -> PageId | None:
    """The next page of the batch, or the one before; a rescan stands behind the scan that it replaces."""
    sequence, revision = t.pages.c.sequence, t.pages.c.revision
    if forwards:
        beyond = or_(sequence > row.sequence, and_(sequence == row.sequence, revision > row.revision))
    else:
        beyond = or_(sequence < row.sequence, and_(sequence == row.sequence, revision < row.revision))
    nearest = [place.asc() if forwards else place.desc() for place in (sequence, revision)]
    found = c.scalar(select(t.pages.c.id).where(t.pages.c.batch_id == row.batch_id, beyond).order_by(*nearest).limit(1))
    return None if found is None else PageId(found)


def _names_of(c: Connection, subjects: set[str]) -> dict[str, str]:
    """What people call the things that stand in the history by their ids."""

    def ids(kind: str) -> list[int]:
        parted = (subject.rpartition(" ") for subject in subjects)
        return [int(number) for name, _, number in parted if name == kind and number.isdecimal()]

    pages = c.execute(
        select(t.pages.c.id, t.pages.c.sequence, t.batches.c.name)
        .join(t.batches, t.batches.c.id == t.pages.c.batch_id)
        .where(t.pages.c.id.in_(ids("page")))
    )
    batches = c.execute(select(t.batches.c.id, t.batches.c.name).where(t.batches.c.id.in_(ids("batch"))))
    documents = c.execute(
        select(t.documents.c.id, t.documents.c.batch_id, t.documents.c.sequence, t.orders.c.number)
        .join(t.orders, t.orders.c.id == t.documents.c.order_id)
        .where(t.documents.c.id.in_(ids("document")))
    )
    rolls = c.execute(select(t.rolls.c.id, t.rolls.c.number).where(t.rolls.c.id.in_(ids("roll"))))
    orders = c.execute(select(t.orders.c.id, t.orders.c.number).where(t.orders.c.id.in_(ids("order"))))
    return {
        **{f"page {one.id}": f"page {one.sequence} of batch {one.name}" for one in pages},
        **{f"batch {one.id}": f"batch {one.name}" for one in batches},
        **{f"document {one.id}": f"document {public_id(one.number, one.batch_id, one.sequence)}" for one in documents},
        **{f"roll {one.id}": f"roll {one.number}" for one in rolls},
        **{f"order {one.id}": f"order {one.number}" for one in orders},
    }
