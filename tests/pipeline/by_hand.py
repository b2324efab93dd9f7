"""Work on a ledger without pixels: orders, batches, and tasks done with made-up results."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from alembic.command import downgrade
from alembic.config import Config

from pipeline.ledger import Ledger, OrderNotOpen
from pipeline.model import (
    BatchId,
    Charge,
    DeliveryId,
    Exclusion,
    Inspection,
    PageCounts,
    PlannedDocument,
    Priority,
    ProfileVersion,
    ReceivedPage,
    Service,
    Sha256,
    Task,
    TaskKind,
    WorkOrder,
)
from pipeline.sampling import SamplingPlan, drawn
from tests.conftest import ROOT

CHARGE = Charge(
    fee_code="PAGE", title="Pages", quantity=Decimal(1), unit_price=Decimal("0.085"), amount=Decimal("0.09"), delivery=1
)


class _MadeUpProfile(NamedTuple):
    digest: str
    document_json: str
    name: str = "records-bitonal"


_sources = itertools.count(1)


def open_order(
    ledger: Ledger,
    *,
    priority: Priority = Priority.NORMAL,
    film: bool = False,
    inspection: Inspection = Inspection.NONE,
    customer: str = "DPHHS",
    profile: ProfileVersion | None = None,
    **more: object,
) -> WorkOrder:
    services = {Service.IMAGING} | ({Service.FILM} if film else set())
    return ledger.open_order(
        customer=customer,
        profile=profile or _MadeUpProfile(digest=f"sha256:{inspection}", document_json=json.dumps(inspection)),
        services=frozenset(services),
        priority=priority,
        year=2026,
        who="test",
        **more,  # type: ignore[arg-type]
    )


def sha(number: int) -> Sha256:
    return Sha256(f"{number:064x}")


def arrival(
    ledger: Ledger,
    order: WorkOrder,
    pages: int,
    name: str = "box-1",
    *,
    digest: str | None = None,
    operator: str = "",
) -> Callable[[], BatchId | None]:
    """A delivery that has been claimed; the call takes it in. Each is of its own digest unless `digest` says so."""
    number = next(_sources)
    _, task_id = ledger.announce_delivery(
        source=json.dumps([number, pages, digest or f"digest {number}"]),  # what there is to find in its place
        name=name,
        order_number=order.number,
        moves=True,
        who="test",
        operator=operator,
    )
    task = ledger.claim_at_once(task_id, "w")
    assert task is not None
    return lambda: take_in(ledger, task)


def take_in(ledger: Ledger, task: Task) -> BatchId | None:
    """Do the task of a delivery: None, and held, when it came before and nobody has accepted the repeat.

    Raises:
        OrderNotOpen: and the delivery is refused.
    """
    delivery = ledger.delivery(DeliveryId(task.subject_id))
    assert delivery.order_number is not None
    order = ledger.order(delivery.order_number)
    assert order is not None
    _, pages, digest = json.loads(delivery.source)
    received = [ReceivedPage(file=f"{i:04}.tif", index_in_file=0, pages_in_file=1, source=sha(i)) for i in range(pages)]
    try:
        batch_id = ledger.record_received(task, order.id, delivery, digest, received, who="test")
    except OrderNotOpen as error:
        ledger.record_refused_delivery(task, delivery.id, str(error), who="test")
        ledger.finish_delivery(delivery.id, str(error))
        raise
    if batch_id is None:
        ledger.hold(task, "same-delivery-twice", "It came before.", who="test")
    else:
        ledger.finish_delivery(delivery.id, "received")
    return batch_id


def receive(ledger: Ledger, order: WorkOrder, pages: int, name: str = "box-1", *, operator: str = "") -> BatchId | None:
    """A delivery of so many pages, taken in."""
    return arrival(ledger, order, pages, name, operator=operator)()


def run_hint(ledger: Ledger, task_id: int, attempt: int, owner: str = "w") -> Task | None:
    """Do a task as a verb would, with made-up results."""
    task = ledger.claim(task_id, attempt, owner)  # type: ignore[arg-type]
    if task is not None:
        finish(ledger, task)
    return task


def finish(ledger: Ledger, task: Task, *, late: Exclusion | None = None) -> None:
    """End a claimed task as its verb would."""
    match task.kind:
        case TaskKind.RECEIVE_BATCH:
            with contextlib.suppress(OrderNotOpen):
                take_in(ledger, task)
        case TaskKind.PREPARE_PAGE:
            ledger.record_prepared(task, sha(9), {"a.b": 1.0}, who="w", late_exclusion=late, reads_text=True)
        case TaskKind.ASSEMBLE_BATCH:
            pages = [p for p in ledger.pages_of_batch(task.subject_id) if not p.excluded]  # type: ignore[arg-type]
            ledger.record_assembled(
                task,
                [PlannedDocument(title="all", pages=tuple(p.id for p in pages))] if pages else [],
                {},
                seen={p.id: p.prepared for p in pages},
                who="w",
                reads_text=True,
                inspection=_inspection_of(ledger, task),
            )
        case TaskKind.INSPECT_BATCH:
            ids = [page.id for page in ledger.pages_to_inspect(BatchId(task.subject_id))]
            ledger.record_drawn(
                task,
                SamplingPlan(sample=min(2, len(ids)), accept=0),
                plan_words="two pages",
                seed="s",
                lot=ids,
                sample=drawn(ids, 2, "s"),
                scanner="",
                who="w",
            )
        case TaskKind.RECOGNIZE_PAGE:
            ledger.record_recognized(task, sha(8), None, 0.9, {"ocr.words": 3}, who="w")
        case TaskKind.PACKAGE_DOCUMENT:
            ledger.record_packaged(task, sha(7), 100, "2u", sha(6), who="w")
        case TaskKind.PLAN_ROLLS:
            first = ledger.reserve_roll_numbers(1)
            ledger.record_planned(task, [(f"R{first:06}", 10, 5, "{}")], who="w")
        case TaskKind.WRITE_ROLL:
            ledger.record_roll_written(task, "film/x", who="w")
        case TaskKind.DELIVER_ORDER:
            ledger.record_delivered(task, "outbox/x", {}, [replace(CHARGE, delivery=task.round)], who="w")


def _inspection_of(ledger: Ledger, task: Task) -> Inspection:
    """What the order's made-up profile asks for, which says nothing else; those of the house ask for none."""
    assert task.order_id is not None
    profile = json.loads(ledger.profile_document(ledger.order_by_id(task.order_id).profile_digest))
    return Inspection(profile) if isinstance(profile, str) else Inspection.NONE


def work_off(ledger: Ledger) -> list[Task]:
    done = []
    while handed := ledger.dispatch("w", 5):
        done += [task for _, task_id, attempt in handed if (task := run_hint(ledger, task_id, attempt))]
    return done


def work_off_together(ledger: Ledger, beside: Callable[[], object]) -> None:
    """Four workers do all there is while two threads do something else over and over; no thread may fail or hang."""
    all_done = threading.Event()
    faults: list[BaseException] = []

    def work(owner: str) -> None:
        while ledger.unfinished():
            for _, task_id, attempt in ledger.dispatch(owner, 2):
                run_hint(ledger, task_id, attempt, owner)

    def repeat() -> None:
        while not all_done.is_set():
            beside()

    def safely(do: Callable[..., None], *arguments: str) -> None:
        try:
            do(*arguments)
        except BaseException as error:
            faults.append(error)

    workers = [threading.Thread(target=safely, args=(work, owner)) for owner in "abcd"]
    others = [threading.Thread(target=safely, args=(repeat,)) for _ in range(2)]
    for thread in (*workers, *others):
        thread.start()
    for thread in workers:
        thread.join(120)
    all_done.set()
    for thread in others:
        thread.join(60)
    assert not any(thread.is_alive() for thread in (*workers, *others))
    assert faults == []


def downgrade_to(ledger: Ledger, revision: str) -> None:
    """Bring the ledger back to a version before."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "pipeline" / "ledger" / "migrations"))
    config.set_main_option("path_separator", "os")
    with ledger.write() as connection:
        config.attributes["connection"] = connection
        downgrade(config, revision)


def adds_up(counts: PageCounts) -> bool:
    return counts.received == counts.billable + sum(counts.excluded.values()) + counts.held + counts.open
