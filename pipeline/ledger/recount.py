"""The ledger counted again from its rows, as of one moment: counters, bills and tasks against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, case, exists, func, literal_column, or_, select

from pipeline.ledger import tables as t
from pipeline.ledger.inspections import said_of
from pipeline.ledger.reports import OrderReport, Reports, order_from, order_report, seal_lines, seal_of
from pipeline.ledger.work import DEAD_AFTER_MS, IS_OUT
from pipeline.model import BatchId, Exclusion, LotState, OrderId, Service, Sha256, TaskKind, TaskState, WorkOrder
from pipeline.sampling import drawn, page_ids_in

_ROWS_AT_ONCE = 10_000
# asked one by one and written out, as the partial indexes are: an order's done tasks are not walked through
_NOT_ENDED = ("tasks.state = 'due'", "tasks.state IN ('sent', 'running')", "tasks.state = 'held'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Miscount:
    """A counter that is not what is counted: `where` it stands and of what."""

    where: str
    kept: int
    counted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecount:
    """The pages of a batch, one by one: how many there are, are billed, are left out; and the seal taken anew."""

    received: int
    billed: int
    excluded: Mapping[Exclusion, int]
    seal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecount:
    """An order with what was counted again, all as of one moment."""

    report: OrderReport
    batches: Mapping[BatchId, BatchRecount]
    miscounts: Sequence[Miscount]
    unwritten: Sequence[str]  # documents that are finished and have pages, and no file
    misbilled: Sequence[str]  # pages that are billed although they are left out, or as another page than they are
    misdrawn: Sequence[str]  # batches whose sample for quality control is not what its seed draws
    misjudged: Sequence[str]  # pages that passed quality control unseen, or with a verdict that nobody gave
    tasks: Mapping[tuple[TaskKind, TaskState], int]  # those that have not ended
    delivered_on: date | None  # the last time (UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """What stood in outbox and film at one moment: the orders with their deliveries, and the folders of their films."""

    orders: Sequence[WorkOrder]
    films: Sequence[str]


class Recounts(Reports):
    """Questions of whoever checks the ledger itself, or copies it."""

    def copy_to(self, folder: Path) -> tuple[Path, HandedOver]:
        """Write the ledger as of one moment into a folder; gives the file, and what was handed over at that moment.

        Raises:
            LedgerUnusable: it cannot be copied.
        """
        with self.snapshot(folder) as (copy, c):
            orders = [order_from(c, order_id) for order_id in c.scalars(select(t.orders.c.id).order_by(t.orders.c.id))]
            rolls = c.scalars(
                select(t.rolls.c.folder)
                .join(t.orders, t.orders.c.id == t.rolls.c.order_id)
                .where(t.rolls.c.round <= t.orders.c.deliveries, t.rolls.c.folder.is_not(None))
            )
            films = sorted({folder.rpartition("/")[0] for folder in rolls})
            return copy, HandedOver(orders=orders, films=films)

    def recount(self, number: str) -> OrderRecount | None:
        """The order with this number, counted again."""
        with self.read() as c:
            report = order_report(c, number)
            if report is None:
                return None
            order_id = report.order.id
            return OrderRecount(
                report=report,
                batches={batch.id: _batch_recount(c, batch.id) for batch, _ in report.batches},
                miscounts=[
                    *_batch_miscounts(c, order_id),
                    *_document_miscounts(c, report),
                    *_lot_miscounts(c, order_id),
                    *_order_miscounts(c, order_id),
                ],
                unwritten=_unwritten(c, report),
                misbilled=_misbilled(c, order_id),
                misdrawn=_misdrawn(c, order_id),
                misjudged=_misjudged(c, order_id),
                tasks=_not_ended(c, t.tasks.c.order_id == order_id),
                delivered_on=_delivered_on(c, order_id),
            )

    def tasks_without_order(self) -> Mapping[tuple[TaskKind, TaskState], int]:
        """Tasks that have not ended and belong to no order (yet), counted."""
        with self.read() as c:
            return _not_ended(c, t.tasks.c.order_id.is_(None))

    def abandoned_tasks(self, *, older_than_ms: int) -> int:
        """How many tasks no living worker has, though they have been out for so long and workers live that look."""
        with self.read() as c:
            living = select(t.workers.c.id).where(t.workers.c.seen_ms + DEAD_AFTER_MS > t.now_ms())
            if not c.scalar(select(exists(living))):
                return 0
            last_ms = case((t.tasks.c.state == TaskState.RUNNING, t.tasks.c.started_ms), else_=t.tasks.c.lease_until_ms)
            return int(
                c.execute(
                    select(func.count()).where(
                        IS_OUT,
                        or_(t.tasks.c.owner.is_(None), t.tasks.c.owner.not_in(living)),
                        last_ms < t.now_ms() - older_than_ms,
                    )
                ).scalar_one()
            )

    def files_of_batch(self, batch_id: BatchId) -> list[tuple[int, tuple[Sha256, ...]]]:
        """The files of the store that each page of a batch refers to, with the page's place in the batch."""
        with self.read() as c:
            rows = c.execute(
                select(t.pages.c.sequence, t.pages.c.source, t.pages.c.prepared, t.pages.c.text, t.pages.c.alto)
                .where(t.pages.c.batch_id == batch_id)
                .order_by(t.pages.c.sequence, t.pages.c.revision)
            )
            return [(row[0], tuple(Sha256(digest) for digest in row[1:] if digest is not None)) for row in rows]

    def files_referred_to(self) -> Iterator[Sha256]:
        """Every file of the store that any row refers to, as often as one does."""
        questions = (
            select(t.pages.c.source, t.pages.c.prepared, t.pages.c.text, t.pages.c.alto),
            select(t.documents.c.pdf, t.documents.c.report),
        )
        with self.read() as c:
            for question in questions:
                for row in c.execute(question.execution_options(yield_per=_ROWS_AT_ONCE)):
                    yield from (Sha256(digest) for digest in row if digest is not None)


def _batch_recount(c: Connection, batch_id: BatchId) -> BatchRecount:
    lines = seal_lines(c, batch_id)
    excluded = Counter(c.scalars(select(t.pages.c.excluded).where(t.pages.c.batch_id == batch_id)))
    return BatchRecount(
        received=len(lines),
        billed=sum(line.endswith("\tbillable") for line in lines),
        excluded={reason: excluded[reason.value] for reason in Exclusion},
        seal=seal_of(lines),
    )


def _batch_miscounts(c: Connection, order_id: OrderId) -> Iterator[Miscount]:
    unsettled = (
        select(func.count()).where(t.pages.c.batch_id == t.batches.c.id, t.pages.c.settled.is_(False)).scalar_subquery()
    )
    rows = c.execute(
        select(t.batches.c.name, t.batches.c.pages_left, unsettled.label("counted")).where(
            t.batches.c.order_id == order_id, t.batches.c.pages_left != unsettled
        )
    )
    for row in rows:
        yield Miscount(where=f"batch {row.name}, pages to be looked at", kept=row.pages_left, counted=row.counted)


def _document_miscounts(c: Connection, report: OrderReport) -> Iterator[Miscount]:
    unfinished = (
        select(func.count())
        .select_from(t.pages)
        .join(t.billables, t.billables.c.page_id == t.pages.c.id, isouter=True)
        .where(t.pages.c.document_id == t.documents.c.id, t.pages.c.excluded.is_(None), t.billables.c.page_id.is_(None))
        .scalar_subquery()
    )
    rows = c.execute(
        select(t.documents.c.id, t.documents.c.pages_left, unfinished.label("counted")).where(
            t.documents.c.order_id == report.order.id, t.documents.c.pages_left != unfinished
        )
    )
    names = {document.id: document.public_id for document in report.documents}
    for row in rows:
        yield Miscount(
            where=f"document {names[row.id]}, pages to be finished", kept=row.pages_left, counted=row.counted
        )


def _lot_miscounts(c: Connection, order_id: OrderId) -> Iterator[Miscount]:
    in_work = exists().where(
        t.tasks.c.subject_id == t.pages.c.id,
        t.tasks.c.kind.in_((TaskKind.PREPARE_PAGE, TaskKind.RECOGNIZE_PAGE)),
        t.tasks.c.state.not_in((TaskState.DONE, TaskState.DROPPED)),
    )
    unread = (
        select(func.count())
        .where(
            t.pages.c.batch_id == t.lots.c.batch_id,
            t.pages.c.document_id.is_not(None),
            t.pages.c.excluded.is_(None),
            in_work,
        )
        .scalar_subquery()
    )
    rows = c.execute(
        select(t.batches.c.name, t.lots.c.pages_left, unread.label("counted"))
        .join(t.batches, t.batches.c.id == t.lots.c.batch_id)
        .where(t.lots.c.order_id == order_id, t.lots.c.pages_left != unread)
    )
    for row in rows:
        where = f"batch {row.name}, pages to be read before they are looked at"
        yield Miscount(where=where, kept=row.pages_left, counted=row.counted)

    lots = c.execute(
        select(t.lots, t.batches.c.name)
        .join(t.batches)
        .where(t.lots.c.order_id == order_id)
        .order_by(t.lots.c.batch_id)
    ).all()
    for lot in lots:
        for name, counted in c.execute(said_of(lot.batch_id)).one()._mapping.items():
            if counted != lot._mapping[name]:
                where = f"batch {lot.name}, pages {name.replace('_', ' ')} in quality control"
                yield Miscount(where=where, kept=lot._mapping[name], counted=counted)


def _misjudged(c: Connection, order_id: OrderId) -> list[str]:
    """Pages that passed unseen or undecided, and those whose verdict is not the newest that somebody gave."""
    newest = (
        select(t.verdicts.c.verdict)
        .where(t.verdicts.c.page_id == t.lot_pages.c.page_id)
        .order_by(t.verdicts.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    unseen = and_(
        t.lots.c.state == LotState.PASSED,
        t.pages.c.excluded.is_(None),
        or_(t.lot_pages.c.verdict.is_(None), t.lot_pages.c.settled.is_(False)),
    )
    rows = c.execute(
        select(t.batches.c.name, t.pages.c.sequence)
        .join_from(t.lot_pages, t.pages, t.pages.c.id == t.lot_pages.c.page_id)
        .join(t.lots, t.lots.c.batch_id == t.lot_pages.c.batch_id)
        .join(t.batches, t.batches.c.id == t.lots.c.batch_id)
        .where(t.lots.c.order_id == order_id, or_(unseen, t.lot_pages.c.verdict != func.coalesce(newest, "")))
        .order_by(t.pages.c.id)
    )
    return [f"batch {row.name}, page {row.sequence}" for row in rows]


def _misdrawn(c: Connection, order_id: OrderId) -> list[str]:
    lots = c.execute(
        select(t.lots, t.batches.c.name)
        .join(t.batches, t.batches.c.id == t.lots.c.batch_id)
        .where(t.lots.c.order_id == order_id, t.lots.c.state != LotState.GATHERING)
        .order_by(t.lots.c.batch_id)
    ).all()
    found = []
    for lot in lots:
        sample = set(drawn(page_ids_in(lot.population), lot.sample, lot.seed))
        kept = set(
            c.scalars(
                select(t.lot_pages.c.page_id).where(
                    t.lot_pages.c.batch_id == lot.batch_id, t.lot_pages.c.instead_of.is_(None)
                )
            )
        )
        if not sample <= kept or (kept != sample and not lot.rejected):
            found.append(lot.name)
    return found


def _order_miscounts(c: Connection, order_id: OrderId) -> Iterator[Miscount]:
    kept = c.execute(select(t.orders.c.items_left, t.orders.c.rolls_left).where(t.orders.c.id == order_id)).one()
    items = _count(c, t.batches.c.order_id == order_id, t.batches.c.assembled.is_(False)) + _count(
        c, t.documents.c.order_id == order_id, t.documents.c.finished.is_(False)
    )
    if kept.items_left != items:
        yield Miscount(where="batches and documents to be finished", kept=kept.items_left, counted=items)
    rolls = _count(c, t.rolls.c.order_id == order_id, t.rolls.c.written.is_(False))
    if kept.rolls_left != rolls:
        yield Miscount(where="rolls to be written", kept=kept.rolls_left, counted=rolls)


def _unwritten(c: Connection, report: OrderReport) -> list[str]:
    if Service.IMAGING not in order_from(c, report.order.id).services:
        return []
    has_pages = exists().where(t.pages.c.document_id == t.documents.c.id, t.pages.c.excluded.is_(None))
    packaged = exists().where(
        t.tasks.c.kind == TaskKind.PACKAGE_DOCUMENT,
        t.tasks.c.subject_id == t.documents.c.id,
        t.tasks.c.state == TaskState.DONE,
    )
    found = set(
        c.scalars(
            select(t.documents.c.id).where(
                t.documents.c.order_id == report.order.id,
                t.documents.c.pdf.is_(None),
                or_(t.documents.c.finished, packaged),
                has_pages,
            )
        )
    )
    return [document.public_id for document in report.documents if document.id in found]


def _misbilled(c: Connection, order_id: OrderId) -> list[str]:
    same = ("order_id", "batch_id", "sequence", "file", "index_in_file", "source")
    rows = c.execute(
        select(t.batches.c.name, t.pages.c.sequence)
        .join_from(t.pages, t.billables, t.billables.c.page_id == t.pages.c.id)
        .join(t.batches, t.batches.c.id == t.pages.c.batch_id)
        .where(
            t.pages.c.order_id == order_id,
            or_(
                t.pages.c.excluded.is_not(None),
                *(t.pages.c[name] != t.billables.c[name] for name in same),
            ),
        )
        .order_by(t.pages.c.id)
    )
    return [f"batch {row.name}, page {row.sequence}" for row in rows]


def _delivered_on(c: Connection, order_id: OrderId) -> date | None:
    ended_ms = c.scalar(
        select(func.max(t.tasks.c.finished_ms)).where(
            t.tasks.c.kind == TaskKind.DELIVER_ORDER, t.tasks.c.subject_id == order_id
        )
    )
    return None if ended_ms is None else datetime.fromtimestamp(ended_ms / 1000, tz=UTC).date()


def _not_ended(c: Connection, of: Any) -> dict[tuple[TaskKind, TaskState], int]:
    found: Counter[tuple[TaskKind, TaskState]] = Counter()
    for states in _NOT_ENDED:  # counted here: to group them, SQLite would walk through all tasks in the order of kinds
        rows = c.execute(select(t.tasks.c.kind, t.tasks.c.state).where(literal_column(states), of))
        found.update((TaskKind(row.kind), TaskState(row.state)) for row in rows)
    return dict(sorted(found.items()))


def _count(c: Connection, *where: Any) -> int:
    return int(c.execute(select(func.count()).where(*where)).scalar_one())
