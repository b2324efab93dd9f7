"""The ledger: every public method is one transaction and safe to repeat, named for the business.

Follow-ups are written in the transaction of the result they follow from, by counters that are lowered with
`UPDATE ... RETURNING`; counting what is unfinished instead is wrong on PostgreSQL (QUEUE 2.3).

Rows are locked in one order, or two transactions could wait for each other: task, batch, lot, page, document, order.
Receiving, closing and reopening take the order first; what they lock besides nobody else waits for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.ledger import tables as t
from pipeline.ledger.alarms import Alarms, note_count, note_page_alarms
from pipeline.ledger.history import History
from pipeline.ledger.inspections import Inspections, kept_pages
from pipeline.ledger.lookups import Lookups
from pipeline.ledger.lots import Lots
from pipeline.ledger.package_links import PackageLinks
from pipeline.ledger.recount import Recounts
from pipeline.ledger.reports import charges_of, order_from, seal_lines, seal_of
from pipeline.ledger.settling import SettlingDeliveries
from pipeline.ledger.tokens import Tokens
from pipeline.ledger.work import IS_UNFINISHED, add_event, add_tasks, insert_if_new, receiving, subject_of
from pipeline.model import (
    PAGE_TASKS,
    WEIGHTS,
    BatchId,
    Charge,
    Delivery,
    DeliveryId,
    Exclusion,
    Hold,
    Inspection,
    OrderId,
    OrderStatus,
    PageAlarm,
    PageId,
    PlannedDocument,
    Priority,
    ProfileVersion,
    Readings,
    ReceivedPage,
    Service,
    Sha256,
    Task,
    TaskId,
    TaskKind,
    TaskState,
    WorkOrder,
)

AWAITING_RESCAN = "awaiting-rescan"  # code of a held page for which a person has asked for a new scan
RESCAN_ASKED_FOR = "rescan asked for"  # kind of the event


class UnknownOrder(LookupError):
    """There is no work order with this number."""

    def __init__(self, number: str) -> None:
        super().__init__(f"There is no work order {number}. See: platen order list")


class OrderNotOpen(RuntimeError):
    """The work order takes no more batches, or cannot be closed or reopened as it stands."""


class PlaceClaimed(RuntimeError):
    """What an upload has brought is being taken in already, as another delivery: by hand, where it lies."""


class BatchChanged(RuntimeError):
    """A page of the batch was decided while the batch was being assembled."""


class HeldNoLonger(RuntimeError):
    """Somebody else has decided meanwhile about what was held."""

    def __init__(self) -> None:
        super().__init__("Somebody has decided about this meanwhile. See: platen held list")


class Ledger(Recounts, Alarms, Lookups, Lots, Inspections, Tokens, PackageLinks, SettlingDeliveries, History):
    """Everything the bureau remembers."""

    # --- work orders ---------------------------------------------------------------------------------------------

    def open_order(
        self,
        *,
        customer: str,
        profile: ProfileVersion,
        services: frozenset[Service],
        priority: Priority,
        year: int,
        who: str,
        number: str | None = None,
        title: str = "",
        series: str = "",
        due: date | None = None,
        expect_pages: int | None = None,
        boxes: tuple[str, ...] = (),
        why: str = "",
    ) -> WorkOrder:
        """Open a work order; without a number it gets the next of the year, `WO-2026-0001`.

        Raises:
            OrderNotOpen: there is an order with this number already.
        """
        with self.write() as c:
            kept = insert_if_new(
                c, t.profiles, digest=profile.digest, name=profile.name, document=profile.document_json
            )
            c.execute(kept)
            number = number or _free_number(c, year)
            try:
                order_id = c.execute(
                    insert(t.orders)
                    .values(
                        number=number,
                        customer=customer,
                        profile_digest=profile.digest,
                        services=",".join(sorted(services)),
                        priority=priority,
                        weight=WEIGHTS[priority],
                        status=OrderStatus.OPEN,
                        title=title,
                        series=series,
                        due=None if due is None else due.isoformat(),
                        expect_pages=expect_pages,
                        boxes=json.dumps(list(boxes), ensure_ascii=False),
                        opened_ms=t.now_ms(),
                    )
                    .returning(t.orders.c.id)
                ).scalar_one()
            except IntegrityError as error:
                raise OrderNotOpen(f"There is a work order {number} already.") from error
            add_event(
                c, order_id, f"order {order_id}", "opened", who, "done",
                profile=profile.name, customer=customer, why=why,
            )  # fmt: skip
            return order_from(c, order_id)

    def close_order(self, number: str, *, who: str, why: str = "") -> WorkOrder:
        """Take no more batches; when everything is finished the order is filmed and packaged.

        Closing a closed order again changes nothing.

        Raises:
            UnknownOrder: there is none with this number.
            OrderNotOpen: nothing has been received for it.
        """
        with self.write() as c:
            order = _locked_order(c, _order_id(c, number))
            if order.status is not OrderStatus.OPEN:
                return order
            if not c.scalar(select(exists().where(t.batches.c.order_id == order.id))):
                raise OrderNotOpen(f"Nothing has been received for {number}, so there is nothing to close and deliver.")
            _set_status(c, order.id, OrderStatus.CLOSED)
            note_count(c, order.id, is_final=True)
            add_event(c, order.id, f"order {order.id}", "closed", who, "done", why=why)
            self._when_items_done(c, order.id)
            return order_from(c, order.id)

    def reopen_order(self, number: str, *, who: str, why: str = "") -> WorkOrder:
        """Take batches again. What was delivered stays delivered; closing again makes a further package.

        Raises:
            UnknownOrder: there is none with this number.
            OrderNotOpen: its film or package is being written at this moment.
        """
        with self.write() as c:
            order = _locked_order(c, _order_id(c, number))
            if order.status is OrderStatus.OPEN:
                return order
            finishing = (TaskKind.PLAN_ROLLS, TaskKind.WRITE_ROLL, TaskKind.DELIVER_ORDER)
            if c.scalar(
                select(
                    exists().where(
                        t.tasks.c.order_id == order.id,
                        t.tasks.c.kind.in_(finishing),
                        t.tasks.c.state.not_in((TaskState.DONE, TaskState.DROPPED)),
                    )
                )
            ):
                raise OrderNotOpen(f"{number} is being filmed or packaged at this moment; reopen it when that is done.")
            _set_status(c, order.id, OrderStatus.OPEN)
            note_count(c, order.id, is_final=False)
            add_event(c, order.id, f"order {order.id}", "reopened", who, "done", why=why)
            return order_from(c, order.id)

    # --- deliveries and batches ----------------------------------------------------------------------------------

    def announce_delivery(
        self,
        *,
        source: str,
        name: str,
        order_number: str | None,
        moves: bool,
        who: str,
        operator: str = "",
        upload: str | None = None,
    ) -> tuple[DeliveryId, TaskId]:
        """Claim a place before anything is moved; a place that is claimed already keeps its claim.

        What came by an upload is announced once for ever, wherever it lies by now.

        Raises:
            PlaceClaimed: the upload's place is claimed, and not for the upload.
        """
        claimed = and_(t.deliveries.c.source == source, IS_UNFINISHED)
        with self.write() as c:
            row = c.execute(
                select(t.deliveries.c.id, receiving(t.tasks.c.id).label("task_id")).where(
                    claimed if upload is None else t.deliveries.c.upload == upload
                )
            ).first()
            if row is not None:
                return DeliveryId(row.id), TaskId(row.task_id)
            order_id = None
            if order_number is not None:
                order_id = c.scalar(select(t.orders.c.id).where(t.orders.c.number == order_number))
            delivery_id = c.scalar(
                insert_if_new(
                    c, t.deliveries,
                    source=source, name=name, order_number=order_number, moves=moves, seen_ms=t.now_ms(),
                    operator=operator, upload=upload,
                ).returning(t.deliveries.c.id)
            )  # fmt: skip
            if delivery_id is not None:
                add_tasks(c, TaskKind.RECEIVE_BATCH, order_id, [delivery_id])
                task_id = c.execute(
                    select(t.tasks.c.id).where(
                        t.tasks.c.kind == TaskKind.RECEIVE_BATCH, t.tasks.c.subject_id == delivery_id
                    )
                ).scalar_one()
                add_event(c, order_id, f"delivery {delivery_id}", "seen", who, "done", name=name)
                return DeliveryId(delivery_id), TaskId(task_id)
            others = select(t.deliveries.c.id).where(claimed, t.deliveries.c.upload.is_distinct_from(upload))
            if upload is not None and c.scalar(others) is not None:
                raise PlaceClaimed
        # another watcher was quicker in between: its claim stands
        return self.announce_delivery(
            source=source, name=name, order_number=order_number, moves=moves, who=who, operator=operator, upload=upload
        )

    def record_received(
        self,
        task: Task,
        order_id: OrderId,
        delivery: Delivery,
        digest: str,
        pages: Sequence[ReceivedPage],
        *,
        who: str,
    ) -> BatchId | None:
        """Write the batch, its pages and their tasks: visible whole or not at all.

        None when the same delivery came before for this order and nobody has accepted the repeat.

        Raises:
            OrderNotOpen: the order has been closed meanwhile.
            Fenced: the attempt was taken away.
        """
        with self.write() as c:
            order = _locked_order(c, order_id)  # or it could be closed beside this, and delivered without the batch
            if order.status is not OrderStatus.OPEN:
                raise OrderNotOpen(f"Work order {order.number} is {order.status.value}.")
            repeats = c.scalar(
                select(func.count()).where(t.batches.c.order_id == order_id, t.batches.c.digest == digest)
            )
            if repeats and not delivery.accept_repeat:
                return None
            self._end_attempt(c, task, state=TaskState.DONE)
            batch_id = c.execute(
                insert(t.batches)
                .values(
                    order_id=order_id,
                    delivery_id=delivery.id,
                    name=_free_name(c, order_id, delivery.name),
                    digest=digest,
                    repeat=repeats,
                    received_ms=t.now_ms(),
                    pages_left=len(pages),
                    operator=delivery.operator,
                )
                .returning(t.batches.c.id)
            ).scalar_one()
            page_ids = (
                c.execute(
                    insert(t.pages).returning(t.pages.c.id, sort_by_parameter_order=True),
                    [
                        {
                            "order_id": order_id,
                            "batch_id": batch_id,
                            "sequence": sequence,
                            "file": page.file,
                            "index_in_file": page.index_in_file,
                            "pages_in_file": page.pages_in_file,
                            "source": page.source,
                        }
                        for sequence, page in enumerate(pages, start=1)
                    ],
                )
                .scalars()
                .all()
            )
            note_count(c, order_id, is_final=False)
            add_tasks(c, TaskKind.PREPARE_PAGE, order_id, page_ids)
            _add_items(c, order_id, 1)
            c.execute(update(t.deliveries).where(t.deliveries.c.id == delivery.id).values(order_number=order.number))
            add_event(
                c, order_id, f"batch {batch_id}", "received", who, "done",
                name=delivery.name, digest=digest, pages=len(pages), delivery=delivery.id,
                scanned_by=delivery.operator,
            )  # fmt: skip
            return BatchId(batch_id)

    def batch_of_delivery(self, delivery_id: DeliveryId) -> BatchId | None:
        """The batch that a delivery became, if it did."""
        with self.read() as c:
            batch_id = c.scalar(select(t.batches.c.id).where(t.batches.c.delivery_id == delivery_id))
            return None if batch_id is None else BatchId(batch_id)

    def note_moved(self, delivery_id: DeliveryId, place: str) -> None:
        """A claimed delivery has been moved out of everybody's way; its first place may be used again."""
        with self.write() as c:
            c.execute(update(t.deliveries).where(t.deliveries.c.id == delivery_id).values(source=place))

    def finish_delivery(self, delivery_id: DeliveryId, outcome: str) -> None:
        """The dropped folder has gone to its last place; its old place may be used again."""
        with self.write() as c:
            c.execute(
                update(t.deliveries).where(t.deliveries.c.id == delivery_id).values(finished=True, outcome=outcome)
            )

    def record_refused_delivery(self, task: Task, delivery_id: DeliveryId, reason: str, *, who: str) -> None:
        """The delivery was refused whole; it is moved to error/ next.

        Raises:
            Fenced: the attempt was taken away.
        """
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DONE)
            c.execute(update(t.deliveries).where(t.deliveries.c.id == delivery_id).values(outcome=reason))
            add_event(c, task.order_id, f"delivery {delivery_id}", "refused", who, "refused", reason=reason)

    # --- pages ---------------------------------------------------------------------------------------------------

    def record_prepared(
        self,
        task: Task,
        prepared: Sha256,
        readings: Readings,
        *,
        who: str,
        late_exclusion: Exclusion | None,
        reads_text: bool,
        scanner: str = "",
        alarms: Sequence[PageAlarm] = (),
    ) -> None:
        """A page has been prepared; `alarms` tell what is the matter with it, and so with its `scanner`.

        A page that was held while its batch was assembled goes on by itself; `late_exclusion` then says that it
        turned out to be no page to deliver.

        Raises:
            Fenced: the attempt was taken away.
        """
        page_id = task.subject_id
        with self.write() as c:
            seconds = self._end_attempt(c, task, state=TaskState.DONE)
            # a page that was held and decided finds its batch assembled, or about to be; the batch is locked before
            # the page, as assembly does, or the two could wait for each other
            late = not self._settle(c, page_id) and _lock_batch_of(c, page_id)
            c.execute(
                update(t.pages)
                .where(t.pages.c.id == page_id)
                .values(prepared=prepared, readings=json.dumps(dict(readings), sort_keys=True, ensure_ascii=False))
            )
            add_event(
                c, task.order_id, f"page {page_id}", "prepared", who, "done",
                output=prepared, readings=dict(readings), seconds=round(seconds, 3),
            )  # fmt: skip
            note_page_alarms(c, page_id, scanner, alarms)
            if late:
                self._late_page(c, page_id, task, late_exclusion, reads_text, who=who)

    def _late_page(
        self, c: Connection, page_id: int, task: Task, exclusion: Exclusion | None, reads_text: bool, *, who: str
    ) -> None:
        if exclusion is not None:
            self._exclude(c, page_id, exclusion, who=who)
        elif reads_text:
            add_tasks(c, TaskKind.RECOGNIZE_PAGE, task.order_id, [page_id])
        elif self._page_ready(c, page_id, who=who):
            self._finish_page(c, page_id)

    def record_assembled(
        self,
        task: Task,
        documents: Sequence[PlannedDocument],
        exclusions: Mapping[PageId, Exclusion],
        *,
        proven_blank: Collection[PageId] = (),
        seen: Mapping[PageId, Sha256 | None],
        who: str,
        reads_text: bool,
        inspection: Inspection = Inspection.NONE,
    ) -> None:
        """A batch has become documents; its kept pages are read next.

        `proven_blank` are those whose own readings do not say that they are blank. `seen` are the pages that the plan
        was made from, with what they were prepared to; `inspection` says whether people look at them.

        Raises:
            Fenced: the attempt was taken away.
            BatchChanged: a held page was decided meanwhile; plan again.
        """
        batch_id = task.subject_id
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DONE)
            order_id = c.execute(
                update(t.batches)
                .where(t.batches.c.id == batch_id)
                .values(assembled=True)
                .returning(t.batches.c.order_id)
            ).scalar_one()
            now = c.execute(
                select(t.pages.c.id, t.pages.c.prepared).where(
                    t.pages.c.batch_id == batch_id, t.pages.c.excluded.is_(None)
                )
            )
            if {PageId(row.id): row.prepared for row in now} != dict(seen):
                raise BatchChanged(f"batch {batch_id} changed while it was assembled")
            for page_id, reason in exclusions.items():
                c.execute(update(t.pages).where(t.pages.c.id == page_id).values(excluded=reason))
            for sequence, planned in enumerate(documents, start=1):
                document_id = c.execute(
                    insert(t.documents)
                    .values(
                        order_id=order_id,
                        batch_id=batch_id,
                        sequence=sequence,
                        title=planned.title,
                        pages_left=len(planned.pages),
                    )
                    .returning(t.documents.c.id)
                ).scalar_one()
                for number, page_id in enumerate(planned.pages, start=1):
                    c.execute(
                        update(t.pages)
                        .where(t.pages.c.id == page_id)
                        .values(document_id=document_id, page_in_document=number)
                    )
            self._open_lot(c, batch_id, order_id, inspection, sum(len(planned.pages) for planned in documents))
            _add_items(c, order_id, len(documents))
            add_event(
                c, order_id, f"batch {batch_id}", "assembled", who, "done",
                documents=len(documents), excluded={str(k): v for k, v in exclusions.items()},
                proven_blank=sorted(proven_blank),
            )  # fmt: skip
            kept = (
                c.execute(
                    select(t.pages.c.id)
                    .where(
                        t.pages.c.batch_id == batch_id,
                        t.pages.c.document_id.is_not(None),
                        t.pages.c.excluded.is_(None),
                        t.pages.c.prepared.is_not(None),
                    )
                    .order_by(t.pages.c.sequence)
                )
                .scalars()
                .all()
            )
            if reads_text:
                add_tasks(c, TaskKind.RECOGNIZE_PAGE, order_id, kept)
            else:
                for page_id in kept:
                    if self._page_ready(c, page_id, who=who):
                        self._finish_page(c, page_id)
            self._item_done(c, order_id)

    def record_recognized(
        self, task: Task, text: Sha256 | None, alto: Sha256 | None, mean_confidence: float | None,
        readings: Readings, *, who: str, scanner: str = "", alarms: Sequence[PageAlarm] = (),
    ) -> None:  # fmt: skip
        """A page has been read: it is billable, and its document may be complete. Alarms as of `record_prepared`.

        Raises:
            Fenced: the attempt was taken away.
        """
        page_id = task.subject_id
        with self.write() as c:
            seconds = self._end_attempt(c, task, state=TaskState.DONE)
            is_billed = self._page_ready(c, page_id, who=who)
            kept = json.loads(c.execute(select(t.pages.c.readings).where(t.pages.c.id == page_id)).scalar_one())
            c.execute(
                update(t.pages)
                .where(t.pages.c.id == page_id)
                .values(
                    text=text,
                    alto=alto,
                    mean_confidence=mean_confidence,
                    readings=json.dumps({**kept, **readings}, sort_keys=True, ensure_ascii=False),
                )
            )
            add_event(
                c, task.order_id, f"page {page_id}", "recognized", who, "done",
                text=text, readings=dict(readings), seconds=round(seconds, 3),
            )  # fmt: skip
            note_page_alarms(c, page_id, scanner, alarms)
            if is_billed:
                self._finish_page(c, page_id)

    def _settle(self, c: Connection, page_id: int) -> bool:
        """Count the page as looked at, once; False when it had been counted. The last one makes assembly due."""
        batch_id = c.execute(
            update(t.pages)
            .where(t.pages.c.id == page_id, t.pages.c.settled.is_(False))
            .values(settled=True)
            .returning(t.pages.c.batch_id)
        ).scalar()
        if batch_id is None:
            return False
        row = c.execute(
            update(t.batches)
            .where(t.batches.c.id == batch_id)
            .values(pages_left=t.batches.c.pages_left - 1)
            .returning(t.batches.c.pages_left, t.batches.c.order_id)
        ).one()
        if row.pages_left == 0:
            add_tasks(c, TaskKind.ASSEMBLE_BATCH, row.order_id, [batch_id])
        return True

    def _finish_page(self, c: Connection, page_id: int) -> None:
        """The page is done: bill it (the primary key is the second lock) and lower its document's counter."""
        page = c.execute(select(t.pages).where(t.pages.c.id == page_id)).one()
        c.execute(
            insert(t.billables).values(
                page_id=page_id,
                order_id=page.order_id,
                batch_id=page.batch_id,
                sequence=page.sequence,
                file=page.file,
                index_in_file=page.index_in_file,
                source=page.source,
                at_ms=t.now_ms(),
            )
        )
        self._pages_leave_document(c, page.document_id)

    def _when_lot_passed(self, c: Connection, batch_id: int) -> None:
        """Bill the pages of a batch that waited for its quality control, and lower their documents' counters."""
        names = ("order_id", "batch_id", "sequence", "file", "index_in_file", "source")
        waiting = (
            kept_pages(batch_id)
            .with_only_columns(t.pages.c.id, *(t.pages.c[name] for name in names), t.now_ms())
            .where(~exists().where(t.billables.c.page_id == t.pages.c.id))
        )
        c.execute(insert(t.billables).from_select(["page_id", *names, "at_ms"], waiting))
        pages = func.count().label("pages")
        by_document = kept_pages(batch_id).with_only_columns(t.pages.c.document_id, pages)
        for row in c.execute(by_document.group_by(t.pages.c.document_id).order_by(t.pages.c.document_id)).all():
            self._pages_leave_document(c, row.document_id, pages=row.pages)

    def _exclude(self, c: Connection, page_id: int, reason: Exclusion, *, who: str, was_ready: bool = False) -> None:
        """Leave a page out; `was_ready` if it could be looked at already, so that its lot does not wait for it."""
        _lock_batch_of(c, page_id)
        self._lock_lot_of(c, page_id)
        page = c.execute(
            update(t.pages).where(t.pages.c.id == page_id).values(excluded=reason).returning(t.pages.c.document_id)
        ).one()
        if page.document_id is not None:
            self._pages_leave_document(c, page.document_id)
        if was_ready:
            self._page_decided(c, page_id, who=who, settled=True)
        else:
            self._fewer_left(c, page_id, who=who)

    def _pages_leave_document(self, c: Connection, document_id: int, *, pages: int = 1) -> None:
        row = c.execute(
            update(t.documents)
            .where(t.documents.c.id == document_id)
            .values(pages_left=t.documents.c.pages_left - pages)
            .returning(t.documents.c.pages_left, t.documents.c.order_id)
        ).one()
        if row.pages_left == 0:
            services = c.execute(select(t.orders.c.services).where(t.orders.c.id == row.order_id)).scalar_one()
            if Service.IMAGING in services.split(","):
                add_tasks(c, TaskKind.PACKAGE_DOCUMENT, row.order_id, [document_id])
            else:
                self._document_finished(c, document_id, row.order_id)

    # --- documents, film, packages ----------------------------------------------------------------------------------

    def record_packaged(
        self, task: Task, pdf: Sha256, pdf_bytes: int, flavour: str, report: Sha256, *, who: str
    ) -> None:
        """A document's file has been written and conforms.

        Raises:
            Fenced: the attempt was taken away.
        """
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DONE)
            order_id = c.execute(
                update(t.documents)
                .where(t.documents.c.id == task.subject_id)
                .values(pdf=pdf, pdf_bytes=pdf_bytes, flavour=flavour, conforms=True, report=report)
                .returning(t.documents.c.order_id)
            ).scalar_one()
            add_event(c, order_id, subject_of(task), "packaged", who, "done", pdf=pdf, flavour=flavour, report=report)
            self._document_finished(c, task.subject_id, order_id)

    def record_empty_document(self, task: Task, *, who: str) -> None:
        """Every page of the document was excluded: there is nothing to write.

        Raises:
            Fenced: the attempt was taken away.
        """
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DONE)
            add_event(c, task.order_id, subject_of(task), "packaged", who, "empty")
            order_id = c.execute(select(t.documents.c.order_id).where(t.documents.c.id == task.subject_id)).scalar_one()
            self._document_finished(c, task.subject_id, order_id)

    def _document_finished(self, c: Connection, document_id: int, order_id: int) -> None:
        c.execute(update(t.documents).where(t.documents.c.id == document_id).values(finished=True))
        self._item_done(c, order_id)

    def _item_done(self, c: Connection, order_id: int) -> None:
        _add_items(c, order_id, -1)
        self._when_items_done(c, order_id)

    def _when_items_done(self, c: Connection, order_id: int) -> None:
        """A closed order with nothing left is filmed, or delivered.

        Both roads here (the last document, the closing) hold the order's row, so they cannot both miss it.
        """
        order = order_from(c, order_id)
        if order.status is not OrderStatus.CLOSED or order.items_left:
            return
        kind = TaskKind.PLAN_ROLLS if Service.FILM in order.services else TaskKind.DELIVER_ORDER
        add_tasks(c, kind, order_id, [order_id], round_=order.deliveries + 1)

    def record_planned(self, task: Task, plans: Sequence[tuple[str, int, int, str]], *, who: str) -> None:
        """Rolls have been planned (number, frames, frames of pages, plan as JSON); they are written next.

        Raises:
            Fenced: the attempt was taken away.
        """
        order_id = OrderId(task.subject_id)
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DONE)
            roll_ids = [
                c.execute(
                    insert(t.rolls)
                    .values(
                        number=number,
                        order_id=order_id,
                        round=task.round,
                        frames=frames,
                        page_frames=page_frames,
                        plan=plan,
                    )
                    .returning(t.rolls.c.id)
                ).scalar_one()
                for number, frames, page_frames, plan in plans
            ]
            c.execute(update(t.orders).where(t.orders.c.id == order_id).values(rolls_left=len(roll_ids)))
            add_event(c, order_id, subject_of(task), "rolls planned", who, "done", rolls=[plan[0] for plan in plans])
            if roll_ids:
                add_tasks(c, TaskKind.WRITE_ROLL, order_id, roll_ids)
            else:
                add_tasks(c, TaskKind.DELIVER_ORDER, order_id, [order_id], round_=task.round)

    def reserve_roll_numbers(self, count: int) -> int:
        """Take `count` roll numbers for ever; gives the first. A number once taken is never used again."""
        with self.write() as c:
            return _next_value(c, "roll", count)

    def record_roll_written(self, task: Task, folder: str, *, who: str) -> None:
        """A roll's folder is complete.

        Raises:
            Fenced: the attempt was taken away.
        """
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DONE)
            roll = c.execute(
                update(t.rolls)
                .where(t.rolls.c.id == task.subject_id)
                .values(written=True, folder=folder)
                .returning(t.rolls.c.order_id, t.rolls.c.round)
            ).one()
            add_event(c, roll.order_id, subject_of(task), "roll written", who, "done", folder=folder)
            left = c.execute(
                update(t.orders)
                .where(t.orders.c.id == roll.order_id)
                .values(rolls_left=t.orders.c.rolls_left - 1)
                .returning(t.orders.c.rolls_left)
            ).scalar_one()
            if left == 0:
                add_tasks(c, TaskKind.DELIVER_ORDER, roll.order_id, [roll.order_id], round_=roll.round)

    def record_delivered(
        self, task: Task, package: str, seals: Mapping[BatchId, str], charges: Sequence[Charge], *, who: str
    ) -> None:
        """The order's package stands in the outbox; its charges are written.

        Raises:
            Fenced: the attempt was taken away.
        """
        order_id = OrderId(task.subject_id)
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DONE)
            c.execute(
                update(t.orders)
                .where(t.orders.c.id == order_id)
                .values(status=OrderStatus.DELIVERED, deliveries=task.round, package=package)
            )
            for batch_id, seal in seals.items():
                c.execute(
                    update(t.batches).where(t.batches.c.id == batch_id, t.batches.c.seal.is_(None)).values(seal=seal)
                )
            for charge in charges:
                c.execute(
                    insert(t.charges).values(
                        order_id=order_id,
                        fee_code=charge.fee_code,
                        subject=f"delivery {charge.delivery}",
                        delivery=charge.delivery,
                        title=charge.title,
                        quantity=str(charge.quantity),
                        unit_price_e4=int(charge.unit_price * 10_000),
                        amount_e4=int(charge.amount * 10_000),
                        at_ms=t.now_ms(),
                    )
                )
            add_event(
                c, order_id, subject_of(task), "delivered", who, "done",
                package=package, charges=[asdict(charge) for charge in charges],
            )  # fmt: skip

    def seal(self, batch_id: BatchId) -> str:
        """SHA-256 over what became of every page of a batch, one line a page, in order."""
        with self.read() as c:
            return seal_of(seal_lines(c, batch_id))

    def charges(self, order_id: OrderId) -> list[Charge]:
        """All charges written for an order."""
        with self.read() as c:
            return charges_of(c, order_id)

    # --- what a person decides -----------------------------------------------------------------------------------

    def decide_retry(self, hold: Hold, *, who: str, why: str) -> bool:
        """Try the held task again from the start; False, here and below, when it is not held so any more.

        A page with a defect is looked at again.
        """
        with self.write() as c:
            if not _unhold(c, hold, _decided_state(hold, TaskState.DROPPED)):
                return False
            if hold.kind is TaskKind.INSPECT_PAGE:
                self._page_decided(c, _page_of(hold), who=who, settled=False)
            _decided(c, hold, "retried", who, why)
            return True

    def decide_release(self, hold: Hold, *, who: str, why: str) -> bool:
        """Go on in spite of this refusal, for this thing only; the waiver is kept with who and why."""
        with self.write() as c:
            if not _unhold(c, hold, _decided_state(hold, TaskState.DONE)):
                return False
            subject_id = c.execute(select(t.tasks.c.subject_id).where(t.tasks.c.id == hold.id)).scalar_one()
            c.execute(
                insert_if_new(
                    c, t.waivers, kind=hold.kind.value, subject_id=subject_id, code=hold.code, who=who, why=why
                )
            )
            if hold.kind is TaskKind.RECEIVE_BATCH:
                c.execute(update(t.deliveries).where(t.deliveries.c.id == subject_id).values(accept_repeat=True))
            if hold.kind is TaskKind.INSPECT_PAGE:
                self._page_decided(c, _page_of(hold), who=who, settled=True)
            _decided(c, hold, "released", who, why)
            return True

    def decide_exclude(self, hold: Hold, reason: Exclusion, *, who: str, why: str) -> bool:
        """Do without the held page: it stays in the records, is not delivered and not billed."""
        page_id = _page_of(hold)
        with self.write() as c:
            if not _unhold(c, hold, TaskState.DROPPED):
                return False
            self._exclude(c, page_id, reason, who=who, was_ready=hold.kind is TaskKind.INSPECT_PAGE)
            _decided(c, hold, reason.value, who, why)
            return True

    def deliver_unfilmed(self, hold: Hold, *, who: str, why: str) -> bool:
        """Deliver an order whose film cannot be planned without filming what is left of it."""
        with self.write() as c:
            if not _unhold(c, hold, TaskState.DROPPED):
                return False
            task = c.execute(select(t.tasks).where(t.tasks.c.id == hold.id)).one()
            add_tasks(c, TaskKind.DELIVER_ORDER, task.order_id, [task.subject_id], round_=task.round)
            _decided(c, hold, "not filmed", who, why)
            return True

    def drop_delivery(self, hold: Hold, *, who: str, why: str) -> bool:
        """Do not take a repeated delivery."""
        with self.write() as c:
            if not _unhold(c, hold, TaskState.DROPPED):
                return False
            _decided(c, hold, "waived", who, why)
            return True

    def await_rescan(self, hold: Hold, sentence: str, *, who: str, why: str) -> bool:
        """A person wants a new scan of a held page: it stays held, as `awaiting-rescan`, until one comes."""
        with self.write() as c:
            changed = c.execute(
                update(t.tasks).where(_is_held_so(hold)).values(code=AWAITING_RESCAN, sentence=sentence)
            ).rowcount
            if changed:
                _decided(c, hold, RESCAN_ASKED_FOR, who, why)
            return changed == 1

    def record_rescans(
        self,
        task: Task,
        replacements: Sequence[tuple[Hold, ReceivedPage]],
        delivery: Delivery,
        order_number: str,
        *,
        who: str,
        left_out: Sequence[str] = (),
    ) -> None:
        """A delivery was the new scans that held pages of an order wait for: they take their places, all or none.

        `left_out` are the blank sides that came along.

        Raises:
            HeldNoLonger: one of the pages waits for no scan any more.
            Fenced: the attempt was taken away.
        """
        with self.write() as c:
            self._end_attempt(c, task, state=TaskState.DONE)
            c.execute(update(t.deliveries).where(t.deliveries.c.id == delivery.id).values(order_number=order_number))
            found = [
                (_no_longer_held(c, _is_held_so(hold)), page)
                for hold, page in sorted(replacements, key=lambda one: one[0].id)
            ]
            # all tasks, then all batches, then what lies below, or somebody who decides about one of these pages and
            # this would wait for each other
            _lock_batches_of(c, [held.subject_id for held, _ in found])
            for held, page in found:
                self._replace(c, held, page, who=who, why="the rescan that was asked for", operator=delivery.operator)
            add_event(
                c, _order_id(c, order_number), f"delivery {delivery.id}", "rescans taken", who, "done",
                name=delivery.name, pages=len(replacements), left_out=list(left_out),
            )  # fmt: skip

    def replace_page(self, page_id: PageId, file: str, source: Sha256, *, who: str, why: str) -> PageId:
        """Put a rescan in the place of a held page; the old one stays in the records as `rescan`.

        Raises:
            HeldNoLonger: the page is held no longer; it is being worked on, or another scan was quicker.
        """
        with self.write() as c:
            page = ReceivedPage(file=file, index_in_file=0, pages_in_file=1, source=source)
            is_held = and_(
                t.tasks.c.subject_id == page_id,
                t.tasks.c.kind.in_(tuple(PAGE_TASKS)),
                t.tasks.c.state == TaskState.HELD,
            )
            held = _no_longer_held(c, is_held)
            _lock_batches_of(c, [page_id])
            return self._replace(c, held, page, who=who, why=why, operator=who)

    def _replace(
        self, c: Connection, held: Row[Any], page: ReceivedPage, *, who: str, why: str, operator: str
    ) -> PageId:
        """Put a new scan in the place of a page that was `held`; `operator` made it, as far as anybody knows."""
        page_id = held.subject_id
        old = c.execute(select(t.pages).where(t.pages.c.id == page_id)).one()
        new_id = c.execute(
            insert(t.pages)
            .values(
                order_id=old.order_id,
                batch_id=old.batch_id,
                sequence=old.sequence,
                revision=old.revision + 1,
                file=page.file,
                index_in_file=page.index_in_file,
                pages_in_file=page.pages_in_file,
                source=page.source,
                settled=True,
                document_id=old.document_id,
                page_in_document=old.page_in_document,
            )
            .returning(t.pages.c.id)
        ).scalar_one()
        self._lock_lot_of(c, page_id)
        c.execute(
            update(t.pages)
            .where(t.pages.c.id == page_id)
            .values(excluded=Exclusion.RESCAN, document_id=null(), page_in_document=null())
        )
        self._page_replaced(c, page_id, new_id, was_ready=held.kind == TaskKind.INSPECT_PAGE, operator=operator)
        reason = _reason_of_rescan(c, page_id, held.code)
        c.execute(insert(t.rescans).values(page_id=page_id, order_id=old.order_id, reason=reason, at_ms=t.now_ms()))
        add_tasks(c, TaskKind.PREPARE_PAGE, old.order_id, [new_id])
        add_event(c, old.order_id, f"page {page_id}", "replaced", who, "done", by=new_id, why=why, reason=reason)
        add_event(
            c, old.order_id, f"page {new_id}", "received", who, "done",
            instead_of=page_id, source=page.source, scanned_by=operator,
        )  # fmt: skip
        return PageId(new_id)

    def _when_held(self, c: Connection, task: Task, scanner: str = "", alarms: Sequence[PageAlarm] = ()) -> None:
        if task.kind in PAGE_TASKS:
            note_page_alarms(c, task.subject_id, scanner, alarms)
        if task.kind is TaskKind.PREPARE_PAGE:
            self._settle(c, task.subject_id)


def _order_id(c: Connection, number: str) -> OrderId:
    order_id = c.scalar(select(t.orders.c.id).where(t.orders.c.number == number))
    if order_id is None:
        raise UnknownOrder(number)
    return OrderId(order_id)


def _locked_order(c: Connection, order_id: OrderId) -> WorkOrder:
    """The order as it stands until this transaction ends: nobody closes, reopens or finishes it beside."""
    # without the key share whoever writes a row of the order (history, pages) would have to wait too
    c.execute(select(t.orders.c.id).where(t.orders.c.id == order_id).with_for_update(key_share=True))
    return order_from(c, order_id)


def _free_number(c: Connection, year: int) -> str:
    """The next number of the year that no order was given by hand."""
    while True:
        number = f"WO-{year}-{_next_value(c, f'order-{year}'):04d}"
        if not c.scalar(select(exists().where(t.orders.c.number == number))):
            return number


def _reason_of_rescan(c: Connection, page_id: int, code: str) -> str:
    """Why a page was scanned again: the defect that was found on it, or else the code it was held with at first."""
    if defect := c.scalar(select(t.lot_pages.c.defect).where(t.lot_pages.c.page_id == page_id)):
        return str(defect)
    if code != AWAITING_RESCAN:
        return code
    asked = (
        select(t.events.c.outcome)
        .where(t.events.c.subject == f"page {page_id}", t.events.c.kind == RESCAN_ASKED_FOR)
        .order_by(t.events.c.id.desc())
        .limit(1)
    )
    return str(c.execute(asked).scalar_one())


def _page_of(hold: Hold) -> PageId:
    if hold.page_id is None:
        raise ValueError("this can be done to a page only")
    return hold.page_id


def _decided_state(hold: Hold, when_inspected: TaskState) -> TaskState:
    """What becomes of a task that is held no longer: a worker takes it, but for what people do themselves."""
    return when_inspected if hold.kind is TaskKind.INSPECT_PAGE else TaskState.DUE


def _set_status(c: Connection, order_id: int, status: OrderStatus) -> None:
    c.execute(update(t.orders).where(t.orders.c.id == order_id).values(status=status))


def _lock_batch_of(c: Connection, page_id: int) -> bool:
    """Let no assembly of the page's batch run beside this transaction; gives whether it is assembled already."""
    batch_id = select(t.pages.c.batch_id).where(t.pages.c.id == page_id).scalar_subquery()
    return bool(
        c.execute(
            update(t.batches)
            .where(t.batches.c.id == batch_id)
            .values(pages_left=t.batches.c.pages_left)
            .returning(t.batches.c.assembled)
        ).scalar_one()
    )


def _lock_batches_of(c: Connection, page_ids: Sequence[int]) -> None:
    """Let no assembly of these pages' batches run beside this transaction."""
    in_order = select(t.pages.c.id).where(t.pages.c.id.in_(page_ids)).order_by(t.pages.c.batch_id)
    for page_id in c.scalars(in_order).all():
        _lock_batch_of(c, page_id)


def _no_longer_held(c: Connection, is_held: ColumnElement[bool]) -> Row[Any]:
    """Drop the task of a page that is replaced; gives whose it was, its kind and its code.

    Raises:
        HeldNoLonger: it is not held so; replaced all the same, the page would be billed beside its rescan.
    """
    dropped = c.execute(
        update(t.tasks)
        .where(is_held)
        .values(state=TaskState.DROPPED, changed_ms=t.now_ms())
        .returning(t.tasks.c.subject_id, t.tasks.c.kind, t.tasks.c.code)
    ).first()
    if dropped is None:
        raise HeldNoLonger
    return dropped


def _add_items(c: Connection, order_id: int, change: int) -> None:
    if change:
        c.execute(update(t.orders).where(t.orders.c.id == order_id).values(items_left=t.orders.c.items_left + change))


def _next_value(c: Connection, name: str, count: int = 1) -> int:
    """Take `count` numbers of a sequence that starts at 1; gives the first of them."""
    c.execute(insert_if_new(c, t.counters, name=name, value=0))
    last = c.execute(
        update(t.counters)
        .where(t.counters.c.name == name)
        .values(value=t.counters.c.value + count)
        .returning(t.counters.c.value)
    ).scalar_one()
    return int(last) - count + 1


def _free_name(c: Connection, order_id: int, name: str) -> str:
    """The batch's name; a second one of the same name in an order gets ` (2)`, so that people can tell them apart."""
    taken = set(c.execute(select(t.batches.c.name).where(t.batches.c.order_id == order_id)).scalars())
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name} ({number})"
    return candidate


def _is_held_so(hold: Hold) -> ColumnElement[bool]:
    """Whether the task is still held for the reason that a person has seen."""
    return and_(t.tasks.c.id == hold.id, t.tasks.c.state == TaskState.HELD, t.tasks.c.code == hold.code)


def _unhold(c: Connection, hold: Hold, state: TaskState) -> bool:
    """Take a task out of its hold; False when it is not held so any more (somebody was quicker)."""
    return (
        c.execute(
            update(t.tasks)
            .where(_is_held_so(hold))
            .values(
                state=state, failures=0, crashes=0, not_before_ms=0, code=null(), sentence=null(), changed_ms=t.now_ms()
            )
        ).rowcount
        == 1
    )


def _decided(c: Connection, hold: Hold, decision: str, who: str, why: str) -> None:
    row = c.execute(select(t.tasks.c.order_id, t.tasks.c.subject_id).where(t.tasks.c.id == hold.id)).one()
    subject = f"page {hold.page_id}" if hold.page_id is not None else f"{hold.kind.value.lower()} {row.subject_id}"
    add_event(c, row.order_id, subject, decision, who, hold.code, why=why, task=hold.id)
