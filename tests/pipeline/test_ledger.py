"""What the ledger promises: nothing lost, nothing done twice, counts that always add up."""

from __future__ import annotations

import threading
from datetime import date

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from pipeline.ledger import Fenced, Ledger, OrderNotOpen
from pipeline.ledger.tables import metadata
from pipeline.model import (
    Delivery,
    DeliveryId,
    Exclusion,
    OrderStatus,
    PageId,
    PlannedDocument,
    Priority,
    ReceivedPage,
    Task,
    TaskKind,
)
from tests.pipeline.by_hand import adds_up, open_order, receive, run_hint, sha, work_off


def test_migrations_make_the_tables_that_the_code_expects(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_an_order_goes_from_received_to_delivered_and_every_page_is_billed_once(ledger: Ledger) -> None:
    order = open_order(ledger, film=True)
    receive(ledger, order, 3)
    receive(ledger, order, 2, "box-2")
    ledger.close_order(order.number, who="test")
    kinds = [task.kind for task in work_off(ledger)]
    assert kinds.count(TaskKind.PREPARE_PAGE) == kinds.count(TaskKind.RECOGNIZE_PAGE) == 5
    assert kinds.count(TaskKind.PACKAGE_DOCUMENT) == 2
    assert kinds[-3:] == [TaskKind.PLAN_ROLLS, TaskKind.WRITE_ROLL, TaskKind.DELIVER_ORDER]
    report = ledger.order_report(order.number)
    assert report is not None
    assert report.order.status is OrderStatus.DELIVERED
    assert (report.pages.received, report.pages.billable, report.pages.open) == (5, 5, 0)
    assert ledger.unfinished() == 0


def test_an_open_order_is_not_delivered_until_it_is_closed(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    assert TaskKind.DELIVER_ORDER not in [task.kind for task in work_off(ledger)]
    ledger.close_order(order.number, who="test")
    assert [task.kind for task in work_off(ledger)] == [TaskKind.DELIVER_ORDER]


def test_a_reopened_order_makes_a_second_package(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    ledger.close_order(order.number, who="test")
    work_off(ledger)
    ledger.reopen_order(order.number, who="test")
    receive(ledger, order, 1, "late")
    ledger.close_order(order.number, who="test")
    work_off(ledger)
    assert ledger.order_by_id(order.id).deliveries == 2


def test_a_doubled_hint_is_worked_on_once(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    [(_, task_id, attempt)] = ledger.dispatch("w", 5)
    assert run_hint(ledger, task_id, attempt) is not None
    assert run_hint(ledger, task_id, attempt) is None


def test_a_worker_that_comes_back_late_cannot_finish_what_was_taken_away(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    [(_, task_id, attempt)] = ledger.dispatch("sleepy", 5)
    task = ledger.claim(task_id, attempt, "sleepy")
    assert task is not None
    assert ledger.reap() == 1  # nobody has heard of "sleepy"
    with pytest.raises(Fenced):
        ledger.record_prepared(task, sha(1), {}, who="sleepy", late_exclusion=None, reads_text=True)
    work_off(ledger)
    report = ledger.order_report(order.number)
    assert report is not None
    assert report.pages.billable == 1


def test_a_held_page_stops_its_document_and_nothing_else(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 2, "bad")
    receive(ledger, order, 2, "good")
    handed = ledger.dispatch("w", 1)
    task = ledger.claim(*handed[0][1:], "w")
    assert task is not None
    ledger.hold(task, "unreadable", "It cannot be read.", who="w")
    done = [task.kind for task in work_off(ledger)]
    assert done.count(TaskKind.PACKAGE_DOCUMENT) == 1
    report = ledger.order_report(order.number)
    assert report is not None
    assert (report.pages.held, report.pages.billable) == (1, 3)
    assert adds_up(report.pages)
    hold = ledger.holds()[0]
    assert (hold.code, hold.batch, hold.file, hold.page_number) == ("unreadable", "bad", "0000.tif", 1)


@pytest.mark.parametrize("decision", ["retry", "waive", "replace"])
def test_a_held_page_goes_on_as_decided(ledger: Ledger, decision: str) -> None:
    order = open_order(ledger)
    receive(ledger, order, 2)
    task = ledger.claim(*ledger.dispatch("w", 1)[0][1:], "w")
    assert task is not None
    ledger.hold(task, "unreadable", "It cannot be read.", who="w")
    work_off(ledger)
    ledger.close_order(order.number, who="test")
    [hold] = ledger.holds()
    assert hold.page_id is not None
    if decision == "retry":
        ledger.decide_retry(hold, who="anna", why="again")
    elif decision == "waive":
        ledger.decide_exclude(hold, Exclusion.WAIVED, who="anna", why="torn")
    else:
        ledger.replace_page(hold.page_id, "again.tif", sha(77), who="anna", why="rescanned")
    work_off(ledger)
    report = ledger.order_report(order.number)
    assert report is not None
    assert report.order.status is OrderStatus.DELIVERED
    counts = report.pages
    assert adds_up(counts)
    assert counts.billable == (1 if decision == "waive" else 2)
    assert counts.excluded[Exclusion.RESCAN] == (1 if decision == "replace" else 0)


def test_a_page_waived_while_its_batch_was_being_assembled_does_not_block_the_document(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 2)
    task = ledger.claim(*ledger.dispatch("w", 1)[0][1:], "w")
    assert task is not None
    ledger.hold(task, "unreadable", "It cannot be read.", who="w")
    run_hint(ledger, *ledger.dispatch("w", 1)[0][1:])
    assembly = ledger.claim(*ledger.dispatch("w", 1)[0][1:], "w")
    assert assembly is not None and assembly.kind is TaskKind.ASSEMBLE_BATCH
    before = ledger.pages_of_batch(assembly.subject_id)  # type: ignore[arg-type]
    ledger.decide_exclude(ledger.holds()[0], Exclusion.WAIVED, who="anna", why="torn")
    with pytest.raises(RuntimeError, match="changed"):
        ledger.record_assembled(
            assembly,
            [PlannedDocument(title="all", pages=tuple(p.id for p in before))],
            {},
            seen={p.id: p.prepared for p in before},
            who="w",
            reads_text=True,
        )


def test_a_task_that_fails_again_and_again_is_held_in_the_end(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    for _ in range(4):
        with ledger.write() as c:
            c.execute(text("UPDATE tasks SET not_before_ms = 0"))
        task = ledger.claim(*ledger.dispatch("w", 1)[0][1:], "w")
        assert task is not None
        ledger.put_off(task, "disk full", who="w")
    [hold] = ledger.holds()
    assert hold.code == "failed-repeatedly"
    assert "disk full" in hold.sentence


def test_a_rush_order_is_not_stuck_behind_a_big_one(ledger: Ledger) -> None:
    big, rush = open_order(ledger), open_order(ledger, priority=Priority.RUSH)
    receive(ledger, big, 300)
    for _ in range(20):
        for _, task_id, attempt in ledger.dispatch("w", 4):
            run_hint(ledger, task_id, attempt)
    receive(ledger, rush, 8)
    handed = [ledger.claim(*hint[1:], "w") for hint in ledger.dispatch("w", 12)]
    assert sum(task is not None and task.order_id == rush.id for task in handed) == 8


def test_billing_rows_and_history_cannot_be_changed(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    work_off(ledger)
    for sql in ("UPDATE billables SET file = 'x'", "DELETE FROM billables", "DELETE FROM events"):
        with pytest.raises(DatabaseError, match="append-only"), ledger.write() as c:
            c.execute(text(sql))


def test_four_workers_finishing_last_pages_together_trigger_each_document_once(ledger: Ledger) -> None:
    order = open_order(ledger)
    for number in range(20):
        receive(ledger, order, 2, f"b{number}")
    while any(t.kind in (TaskKind.PREPARE_PAGE, TaskKind.ASSEMBLE_BATCH) for t in _prepare_only(ledger)):
        pass
    hints = ledger.dispatch("w", 100)
    threads = [
        threading.Thread(target=lambda part: [run_hint(ledger, *hint[1:]) for hint in part], args=(hints[i::4],))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [task.kind for task in work_off(ledger)]
    assert done.count(TaskKind.PACKAGE_DOCUMENT) == 20


def _prepare_only(ledger: Ledger) -> list[Task]:
    with ledger.read() as c:
        kinds = set(c.execute(text("SELECT kind FROM tasks WHERE state = 'due'")).scalars())
    if not kinds & {"PREPARE_PAGE", "ASSEMBLE_BATCH"}:
        return []
    return [task for hint in ledger.dispatch("w", 1) if (task := run_hint(ledger, *hint[1:]))]


def test_a_delivery_that_came_before_waits_for_a_decision(ledger: Ledger) -> None:
    order = open_order(ledger)
    page = ReceivedPage(file="a.tif", index_in_file=0, pages_in_file=1, source=sha(1))
    results = []
    for name in ("first", "second"):
        delivery_id, task_id = ledger.announce_delivery(
            source=f"/in/{name}", name=name, order_number=order.number, moves=True, who="t"
        )
        task = ledger.claim_at_once(task_id, "w")
        assert task is not None
        delivery = Delivery(id=DeliveryId(delivery_id), source="x", name=name, order_number=order.number, moves=True)
        results.append(ledger.record_received(task, order.id, delivery, "same", [page], who="t"))
    assert results[0] is not None
    assert results[1] is None


def test_a_closed_order_takes_nothing(ledger: Ledger) -> None:
    order = open_order(ledger)
    with pytest.raises(OrderNotOpen, match="Nothing has been received"):
        ledger.close_order(order.number, who="t")
    receive(ledger, order, 1)
    ledger.close_order(order.number, who="t")
    with pytest.raises(OrderNotOpen):
        receive(ledger, order, 1, "late")


def test_order_numbers_count_up_and_a_taken_number_is_refused(ledger: Ledger) -> None:
    assert [open_order(ledger).number for _ in range(2)] == ["WO-2026-0001", "WO-2026-0002"]
    assert open_order(ledger, number="MY-1", due=date(2026, 12, 1)).due == date(2026, 12, 1)
    with pytest.raises(OrderNotOpen, match="already"):
        open_order(ledger, number="MY-1")


def test_page_ids_are_their_own_type() -> None:
    assert PageId(3) == 3
