"""Questions to the ledger: read-only, each answered as of one moment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, literal_column, or_, select, true

from pipeline.ledger import tables as t
from pipeline.ledger.standing import Standing
from pipeline.ledger.work import IS_UNFINISHED, receiving
from pipeline.model import (
    PAGE_TASKS,
    Batch,
    BatchId,
    Charge,
    Delivery,
    DeliveryId,
    Document,
    DocumentId,
    Event,
    Exclusion,
    Hold,
    OrderId,
    OrderStatus,
    Page,
    PageCounts,
    PageId,
    Priority,
    Roll,
    RollId,
    Service,
    Sha256,
    TaskId,
    TaskKind,
    TaskState,
    Usage,
    WorkOrder,
)

MOST_HELD_COUNTED = 10_000  # for a screen: more than that is one fault of the machine, not ten thousand decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """An order with everything under it, as of one moment."""

    order: WorkOrder
    profile_name: str
    pages: PageCounts
    batches: Sequence[tuple[Batch, PageCounts]]
    documents: Sequence[Document]
    rolls: Sequence[Roll]
    charges: Sequence[Charge]
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGroup:
    """How much of an order is held for one reason, and since when; without an order, of deliveries not taken in."""

    code: str
    order: str | None
    held: int
    since: datetime


class Reports(Standing):
    """The reading half of the ledger."""

    def order(self, number: str) -> WorkOrder | None:
        """The order with this number."""
        with self.read() as c:
            order_id = c.scalar(select(t.orders.c.id).where(t.orders.c.number == number))
            return None if order_id is None else order_from(c, order_id)

    def order_by_id(self, order_id: OrderId) -> WorkOrder:
        """The order with this id."""
        with self.read() as c:
            return order_from(c, order_id)

    def orders(self) -> list[WorkOrder]:
        """All orders, newest first."""
        with self.read() as c:
            return [order_from(c, row) for row in c.scalars(select(t.orders.c.id).order_by(t.orders.c.id.desc()))]

    def order_report(self, number: str) -> OrderReport | None:
        """The order with this number and everything under it."""
        with self.read() as c:
            return order_report(c, number)

    def order_counts(self, order_id: OrderId) -> PageCounts:
        """How the pages of an order stand."""
        with self.read() as c:
            return _counts(c, t.pages.c.order_id == order_id)

    def usage(self, order_id: OrderId) -> Usage:
        """What has been done for an order that can be charged for."""
        with self.read() as c:
            return _usage(c, order_id)

    def profile_document(self, digest: str) -> str:
        """The profile's own JSON as it was when an order was opened with it."""
        with self.read() as c:
            return str(c.execute(select(t.profiles.c.document).where(t.profiles.c.digest == digest)).scalar_one())

    def delivery(self, delivery_id: DeliveryId) -> Delivery:
        """A delivery by id."""
        with self.read() as c:
            row = c.execute(select(t.deliveries).where(t.deliveries.c.id == delivery_id)).one()
            return Delivery(
                id=DeliveryId(row.id),
                source=row.source,
                name=row.name,
                order_number=row.order_number,
                moves=row.moves,
                accept_repeat=row.accept_repeat,
                operator=row.operator,
            )

    def open_delivery_sources(self) -> dict[str, DeliveryId]:
        """Places that are claimed and not yet finished."""
        with self.read() as c:
            rows = c.execute(select(t.deliveries.c.source, t.deliveries.c.id).where(IS_UNFINISHED))
            return {row.source: DeliveryId(row.id) for row in rows}

    def decided_deliveries(self) -> list[tuple[DeliveryId, str, bool]]:
        """Deliveries that were decided but not yet moved to their last place: id, outcome, whether to done/."""
        with self.read() as c:
            state = receiving(t.tasks.c.state)
            rows = c.execute(
                select(t.deliveries.c.id, t.deliveries.c.outcome, state.label("state"))
                .add_columns(t.batches.c.id.label("batch_id"))
                .join(t.batches, t.batches.c.delivery_id == t.deliveries.c.id, isouter=True)
                .where(IS_UNFINISHED, state.in_((TaskState.DONE, TaskState.DROPPED)))
            )
            return [
                (DeliveryId(row.id), row.outcome, row.batch_id is not None or row.state == TaskState.DROPPED)
                for row in rows
            ]

    def batch(self, batch_id: BatchId) -> Batch:
        """A batch by id."""
        with self.read() as c:
            return _batch(c.execute(select(t.batches).where(t.batches.c.id == batch_id)).one())

    def batches_of(self, order_id: OrderId) -> list[Batch]:
        """All batches of an order."""
        with self.read() as c:
            rows = c.execute(select(t.batches).where(t.batches.c.order_id == order_id).order_by(t.batches.c.id))
            return [_batch(row) for row in rows]

    def page(self, page_id: PageId) -> Page:
        """A page by id."""
        with self.read() as c:
            return page_from(c.execute(select(t.pages).where(t.pages.c.id == page_id)).one())

    def pages_of_batch(self, batch_id: BatchId) -> list[Page]:
        """The pages of a batch in their order, pages that were left out included."""
        return self._pages(t.pages.c.batch_id == batch_id)

    def pages_of_document(self, document_id: DocumentId) -> list[Page]:
        """The pages of a document in their order, without those that were left out."""
        return self._pages((t.pages.c.document_id == document_id) & t.pages.c.excluded.is_(None))

    def _pages(self, where: Any, *, limit: int | None = None) -> list[Page]:
        with self.read() as c:
            rows = c.execute(
                select(t.pages)
                .where(where)
                .order_by(t.pages.c.batch_id, t.pages.c.sequence, t.pages.c.revision)
                .limit(limit)
            )
            return [page_from(row) for row in rows]

    def document(self, document_id: DocumentId) -> Document:
        """A document by id."""
        with self.read() as c:
            return _documents(c, t.documents.c.id == document_id)[0]

    def documents_of(self, order_id: OrderId) -> list[Document]:
        """All documents of an order, in the order of their batches."""
        with self.read() as c:
            return _documents(c, t.documents.c.order_id == order_id)

    def roll(self, roll_id: RollId) -> Roll:
        """A roll by id."""
        with self.read() as c:
            return _rolls(c, t.rolls.c.id == roll_id)[0]

    def rolls_of(self, order_id: OrderId) -> list[Roll]:
        """All rolls of an order."""
        with self.read() as c:
            return _rolls(c, t.rolls.c.order_id == order_id)

    def waived(self, kind: TaskKind, subject_id: int) -> frozenset[str]:
        """Codes of refusals that a person has waived for this thing."""
        with self.read() as c:
            return frozenset(
                c.scalars(
                    select(t.waivers.c.code).where(t.waivers.c.kind == kind, t.waivers.c.subject_id == subject_id)
                )
            )

    def holds(self) -> list[Hold]:
        """Everything that waits for a person, oldest first."""
        with self.read() as c:
            return _holds(c, literal_column("tasks.state = 'held'"), t.tasks.c.changed_ms, t.tasks.c.id)

    def held_groups(self) -> list[HeldGroup]:
        """What waits for a person, counted by code and order, the longest wait first.

        Of more than `MOST_HELD_COUNTED` the oldest are counted.
        """
        oldest = (
            select(t.tasks.c.order_id, t.tasks.c.code, t.tasks.c.changed_ms)
            .where(literal_column("tasks.state = 'held'"))
            .order_by(t.tasks.c.changed_ms)
            .limit(MOST_HELD_COUNTED)
            .subquery()
        )
        since_ms = func.min(oldest.c.changed_ms).label("since_ms")
        with self.read() as c:
            rows = c.execute(
                select(oldest.c.code, t.orders.c.number, func.count().label("held"), since_ms)
                .join(t.orders, t.orders.c.id == oldest.c.order_id, isouter=True)
                .group_by(oldest.c.code, t.orders.c.number)
                .order_by(since_ms)
            )
            return [
                HeldGroup(code=row.code or "", order=row.number, held=int(row.held), since=moment(row.since_ms))
                for row in rows
            ]

    def some_holds(
        self, code: str | None = None, *, order: str | None = None, after: int = 0, limit: int
    ) -> list[Hold]:
        """What is held (for one reason, of one order), from the first after a number on."""
        of_order = true() if order is None else t.orders.c.number == order
        of_code = true() if code is None else t.tasks.c.code == code
        where = and_(literal_column("tasks.state = 'held'"), of_code, t.tasks.c.id > after, of_order)
        with self.read() as c:
            return _holds(c, where, t.tasks.c.id, limit=limit)

    def hold_of(self, task_id: TaskId) -> Hold | None:
        """One hold by the id of its task; None when it is held no longer."""
        with self.read() as c:
            found = _holds(c, and_(t.tasks.c.id == task_id, t.tasks.c.state == TaskState.HELD), t.tasks.c.id)
            return found[0] if found else None

    def delivery_outcome(self, delivery_id: DeliveryId) -> str:
        """What became of a delivery, in words; empty while it is not decided."""
        with self.read() as c:
            return str(c.execute(select(t.deliveries.c.outcome).where(t.deliveries.c.id == delivery_id)).scalar_one())

    def events(self, order_id: OrderId) -> list[Event]:
        """The history of an order, oldest first."""
        with self.read() as c:
            return events_of(c.execute(select(t.events).where(t.events.c.order_id == order_id).order_by(t.events.c.id)))


def events_of(rows: Iterable[Row[Any]], names: Mapping[str, str] = MappingProxyType({})) -> list[Event]:
    """Rows of the history; `names` says what people call some subjects."""
    return [
        Event(
            id=row.id,
            at=moment(row.at_ms),
            order_id=None if row.order_id is None else OrderId(row.order_id),
            subject=names.get(row.subject, row.subject),
            kind=row.kind,
            who=row.who,
            outcome=row.outcome,
            detail=json.loads(row.detail),
        )
        for row in rows
    ]


def order_report(c: Connection, number: str) -> OrderReport | None:
    """An order with everything under it within a transaction."""
    order_id = c.scalar(select(t.orders.c.id).where(t.orders.c.number == number))
    if order_id is None:
        return None
    order = order_from(c, order_id)
    batches = [
        (_batch(row), _counts(c, t.pages.c.batch_id == row.id))
        for row in c.execute(select(t.batches).where(t.batches.c.order_id == order_id).order_by(t.batches.c.id)).all()
    ]
    return OrderReport(
        order=order,
        profile_name=order.profile_name,
        pages=_counts(c, t.pages.c.order_id == order_id),
        batches=batches,
        documents=_documents(c, t.documents.c.order_id == order_id),
        rolls=_rolls(c, t.rolls.c.order_id == order_id),
        charges=charges_of(c, order_id),
        usage=_usage(c, order_id),
    )


def order_from(c: Connection, order_id: int) -> WorkOrder:
    """An order within a transaction."""
    row = c.execute(
        select(t.orders, t.profiles.c.name.label("profile_name"))
        .join(t.profiles, t.profiles.c.digest == t.orders.c.profile_digest)
        .where(t.orders.c.id == order_id)
    ).one()
    return WorkOrder(
        id=OrderId(row.id),
        number=row.number,
        customer=row.customer,
        profile_name=row.profile_name,
        profile_digest=row.profile_digest,
        services=frozenset(Service(name) for name in row.services.split(",") if name),
        priority=Priority(row.priority),
        status=OrderStatus(row.status),
        title=row.title,
        series=row.series,
        due=None if row.due is None else date.fromisoformat(row.due),
        expect_pages=row.expect_pages,
        boxes=tuple(json.loads(row.boxes)),
        opened_at=moment(row.opened_ms),
        deliveries=row.deliveries,
        package=row.package,
        items_left=row.items_left,
    )


def charges_of(c: Connection, order_id: int) -> list[Charge]:
    """The charges of an order within a transaction."""
    rows = c.execute(select(t.charges).where(t.charges.c.order_id == order_id).order_by(t.charges.c.id))
    return [
        Charge(
            fee_code=row.fee_code,
            title=row.title,
            quantity=Decimal(row.quantity),
            unit_price=Decimal(row.unit_price_e4) / 10_000,
            amount=Decimal(row.amount_e4) / 10_000,
            delivery=row.delivery,
        )
        for row in rows
    ]


def seal_lines(c: Connection, batch_id: int) -> list[str]:
    """One line a page of a batch, in order: place, file, image, digest, what became of it."""
    rows = c.execute(
        select(t.pages, t.billables.c.page_id.label("billed"))
        .join_from(t.pages, t.billables, t.billables.c.page_id == t.pages.c.id, isouter=True)
        .where(t.pages.c.batch_id == batch_id)
        .order_by(t.pages.c.sequence, t.pages.c.revision)
    )
    return [
        "\t".join(
            (
                str(row.sequence),
                str(row.revision),
                row.file,
                str(row.index_in_file),
                row.source,
                "billable" if row.billed is not None else f"excluded:{row.excluded}" if row.excluded else "open",
            )
        )
        for row in rows
    ]


def seal_of(lines: Sequence[str]) -> str:
    """SHA-256 over the lines of a batch's pages: it proves the count that the batch was billed by."""
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _counts(c: Connection, where: Any) -> PageCounts:
    held = (
        select(t.tasks.c.id)
        .where(
            t.tasks.c.subject_id == t.pages.c.id,
            t.tasks.c.kind.in_(tuple(PAGE_TASKS)),
            t.tasks.c.state == TaskState.HELD,
        )
        .exists()
    )
    state = case(
        (t.billables.c.page_id.is_not(None), "billable"),
        (t.pages.c.excluded.is_not(None), t.pages.c.excluded),
        (held, "held"),
        else_="open",
    ).label("state")
    standing = (
        select(state)
        .join_from(t.pages, t.billables, t.billables.c.page_id == t.pages.c.id, isouter=True)
        .where(where)
        .subquery()
    )
    found = {
        row.state: row.n
        for row in c.execute(select(standing.c.state, func.count().label("n")).group_by(standing.c.state))
    }
    return PageCounts(
        received=sum(found.values()),
        billable=found.get("billable", 0),
        excluded={reason: found.get(reason.value, 0) for reason in Exclusion},
        held=found.get("held", 0),
        open=found.get("open", 0),
    )


def _usage(c: Connection, order_id: int) -> Usage:
    def count(question: Any) -> int:
        return int(c.execute(question).scalar_one() or 0)

    return Usage(
        billable_pages=count(select(func.count()).where(t.billables.c.order_id == order_id)),
        documents=count(
            select(func.count(t.pages.c.document_id.distinct()))
            .join_from(t.pages, t.billables, t.billables.c.page_id == t.pages.c.id)
            .join(t.documents, t.documents.c.id == t.pages.c.document_id)
            .where(t.documents.c.order_id == order_id, t.documents.c.finished.is_(True))
        ),
        film_frames=count(
            select(func.sum(t.rolls.c.page_frames)).where(t.rolls.c.order_id == order_id, t.rolls.c.written.is_(True))
        ),
        rolls=count(select(func.count()).where(t.rolls.c.order_id == order_id, t.rolls.c.written.is_(True))),
    )


def public_id(order_number: str, batch_id: int, sequence: int) -> str:
    """What people and file names call a document."""
    return f"{order_number}-B{batch_id:05d}-D{sequence:04d}"


def _documents(c: Connection, where: Any) -> list[Document]:
    pages = (
        select(
            t.pages.c.document_id,
            func.count().label("n"),
            func.avg(t.pages.c.mean_confidence).label("confidence"),
        )
        .where(t.pages.c.document_id.is_not(None), t.pages.c.excluded.is_(None))
        .group_by(t.pages.c.document_id)
        .subquery()
    )
    rows = c.execute(
        select(t.documents, t.orders.c.number, pages.c.n, pages.c.confidence)
        .join(t.orders, t.orders.c.id == t.documents.c.order_id)
        .join(pages, pages.c.document_id == t.documents.c.id, isouter=True)
        .where(where)
        .order_by(t.documents.c.batch_id, t.documents.c.sequence)
    )
    return [
        Document(
            id=DocumentId(row.id),
            public_id=public_id(row.number, row.batch_id, row.sequence),
            order_id=OrderId(row.order_id),
            batch_id=BatchId(row.batch_id),
            sequence=row.sequence,
            title=row.title,
            pages=row.n or 0,
            pdf=None if row.pdf is None else Sha256(row.pdf),
            pdf_bytes=row.pdf_bytes,
            flavour=row.flavour,
            conforms=row.conforms,
            report=None if row.report is None else Sha256(row.report),
            mean_confidence=None if row.confidence is None else round(float(row.confidence), 4),
        )
        for row in rows
    ]


def _rolls(c: Connection, where: Any) -> list[Roll]:
    return [
        Roll(
            id=RollId(row.id),
            number=row.number,
            order_id=OrderId(row.order_id),
            round=row.round,
            frames=row.frames,
            page_frames=row.page_frames,
            plan=row.plan,
            written=row.written,
            folder=row.folder,
        )
        for row in c.execute(select(t.rolls).where(where).order_by(t.rolls.c.id))
    ]


def _holds(c: Connection, where: Any, *by: Any, limit: int | None = None) -> list[Hold]:
    page = and_(t.pages.c.id == t.tasks.c.subject_id, t.tasks.c.kind.in_(tuple(PAGE_TASKS)))
    document = and_(t.documents.c.id == t.tasks.c.subject_id, t.tasks.c.kind == TaskKind.PACKAGE_DOCUMENT)
    delivery = and_(t.deliveries.c.id == t.tasks.c.subject_id, t.tasks.c.kind == TaskKind.RECEIVE_BATCH)
    batch = or_(
        t.batches.c.id == t.pages.c.batch_id,
        t.batches.c.id == t.documents.c.batch_id,
        and_(
            t.batches.c.id == t.tasks.c.subject_id,
            t.tasks.c.kind.in_((TaskKind.ASSEMBLE_BATCH, TaskKind.INSPECT_BATCH)),
        ),
    )
    rows = c.execute(
        select(
            t.tasks,
            t.orders.c.number.label("number"),
            t.batches.c.name.label("batch_name"),
            t.deliveries.c.name.label("delivery_name"),
            t.pages.c.id.label("page_id"),
            t.pages.c.file,
            t.pages.c.index_in_file,
            t.pages.c.sequence,
        )
        .join(t.orders, t.orders.c.id == t.tasks.c.order_id, isouter=True)
        .join(t.pages, page, isouter=True)
        .join(t.documents, document, isouter=True)
        .join(t.deliveries, delivery, isouter=True)
        .join(t.batches, batch, isouter=True)
        .where(where)
        .order_by(*by)
        .limit(limit)
    )
    return [
        Hold(
            id=TaskId(row.id),
            kind=TaskKind(row.kind),
            order=row.number,
            batch=row.batch_name or row.delivery_name,
            file=row.file,
            page_number=row.sequence,
            code=row.code or "",
            sentence=row.sentence or "",
            since=moment(row.changed_ms),
            page_id=None if row.page_id is None else PageId(row.page_id),
        )
        for row in rows
    ]


def _batch(row: Row[Any]) -> Batch:
    return Batch(
        id=BatchId(row.id),
        order_id=OrderId(row.order_id),
        name=row.name,
        digest=row.digest,
        received_at=moment(row.received_ms),
        assembled=row.assembled,
        seal=row.seal,
        operator=row.operator,
    )


def page_from(row: Row[Any]) -> Page:
    """A page from a row that has all columns of its table."""
    return Page(
        id=PageId(row.id),
        order_id=OrderId(row.order_id),
        batch_id=BatchId(row.batch_id),
        sequence=row.sequence,
        file=row.file,
        index_in_file=row.index_in_file,
        pages_in_file=row.pages_in_file,
        source=Sha256(row.source),
        revision=row.revision,
        prepared=None if row.prepared is None else Sha256(row.prepared),
        readings=json.loads(row.readings),
        excluded=None if row.excluded is None else Exclusion(row.excluded),
        document_id=None if row.document_id is None else DocumentId(row.document_id),
        page_in_document=row.page_in_document,
        text=None if row.text is None else Sha256(row.text),
        alto=None if row.alto is None else Sha256(row.alto),
        mean_confidence=row.mean_confidence,
    )


def moment(milliseconds: int) -> datetime:
    """A time of the ledger as everybody else keeps it."""
    return datetime.fromtimestamp(milliseconds / 1000.0, tz=UTC)
