"""Two transactions that meet: whatever statement one has come to when the other begins, nothing is lost or doubled."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from pipeline.defects import Verdict
from pipeline.ledger import (
    AWAITING_INSPECTION,
    Fenced,
    HeldNoLonger,
    Ledger,
    NotToBeLookedAt,
    OrderNotOpen,
    database,
)
from pipeline.ledger.ledger import BatchChanged
from pipeline.ledger.lots import LotPage
from pipeline.model import (
    BatchId,
    Exclusion,
    Hold,
    Inspection,
    OrderStatus,
    PlannedDocument,
    ReceivedPage,
    Task,
    TaskKind,
    WorkOrder,
)
from tests.pipeline.by_hand import adds_up, arrival, open_order, receive, run_hint, sha, work_off
from tests.servers import PostgreSQL

Step = Callable[[], object]
# what a caller is told in the words of the house; anything else would be a fault
_SKIPPED = re.compile(r"SELECT (?!.* FOR )|INSERT INTO (events|tasks)", re.DOTALL)
TOLD = (Fenced, HeldNoLonger, OrderNotOpen, BatchChanged, NotToBeLookedAt)


@pytest.fixture
def ledger(postgresql: PostgreSQL) -> Iterator[Ledger]:
    """An empty ledger on PostgreSQL; SQLite has one writer at a time, so nothing can meet there."""
    made = Ledger(postgresql.ledger_database())
    yield made
    made.close()


class _Thread(threading.Thread):
    def __init__(self, step: Step) -> None:
        super().__init__(daemon=True)
        self._step = step
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            self._step()
        except TOLD:
            pass
        except BaseException as error:
            self.fault = error


def _meet(ledger: Ledger, first: Step, second: Step, *, at: int) -> bool:
    """Stop `first` before its statement number `at`, let `second` run as far as it can, then let both end.

    False when `first` has fewer statements.
    """
    one, two = _Thread(first), _Thread(second)
    there, go_on = threading.Event(), threading.Event()
    seen = 0

    def stop(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal seen
        # what only reads, or only tells, may as well have run before
        if threading.current_thread() is one and not _SKIPPED.match(statement):
            seen += 1
            if seen == at:
                there.set()
                go_on.wait(20)

    event.listen(ledger._engine, "before_cursor_execute", stop)
    try:
        one.start()
        while one.is_alive() and not there.wait(0.01):
            pass
        if not there.is_set():
            _raise(one)
            two.run()
            _raise(two)
            return False
        two.start()
        while two.is_alive() and not _waits(ledger):
            time.sleep(0.003)
        go_on.set()
        one.join(30)
        two.join(30)
        assert not one.is_alive() and not two.is_alive(), "they wait for each other"
    finally:
        go_on.set()
        event.remove(ledger._engine, "before_cursor_execute", stop)
    _raise(one)
    _raise(two)
    return True


def _raise(thread: _Thread) -> None:
    if thread.fault is not None:
        raise thread.fault


def _waits(ledger: Ledger) -> bool:
    with ledger._engine.connect() as c:
        return bool(
            c.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
            ).scalar_one()
        )


def _check_to_the_end(ledger: Ledger) -> None:
    """Work everything off; the order is delivered, every page billed once or left out, every document made once."""
    ledger.give_back("w")
    for hold in ledger.holds():
        if hold.kind is TaskKind.RECEIVE_BATCH:
            ledger.drop_delivery(hold, who="test", why="")
        elif hold.code != AWAITING_INSPECTION:
            ledger.decide_retry(hold, who="test", why="")
    work_off(ledger)
    for lot in ledger.lots_under_way():
        while (page := ledger.next_to_look(lot.id)) is not None:
            _look(ledger, page, Verdict.GOOD, lot=lot.id)()
    order = ledger.orders()[0]
    if order.status is OrderStatus.OPEN:
        ledger.close_order(order.number, who="test")
    work_off(ledger)
    assert ledger.unfinished() == 0
    report = ledger.order_report(order.number)
    assert report is not None
    assert report.order.status is OrderStatus.DELIVERED
    assert report.order.items_left == 0
    assert adds_up(report.pages)
    assert (report.pages.open, report.pages.held) == (0, 0)
    assert all(document.conforms for document in report.documents if document.pages)
    told = [(one.kind, one.subject) for one in ledger.events(order.id) if one.kind in ("packaged", "assembled")]
    assert len(told) == len(set(told))


def _claimed(ledger: Ledger, kind: TaskKind) -> Task:
    """Work until a task of this kind is due, and claim that one."""
    while True:
        [(found, task_id, attempt)] = ledger.dispatch("w", 1)
        if found is kind:
            task = ledger.claim(task_id, attempt, "w")
            assert task is not None
            return task
        run_hint(ledger, task_id, attempt)


def _all_claimed(ledger: Ledger, kind: TaskKind, count: int) -> list[Task]:
    return [_claimed(ledger, kind) for _ in range(count)]


def _with_held_page(ledger: Ledger, *, pages: int = 2) -> tuple[WorkOrder, Hold]:
    order = open_order(ledger)
    receive(ledger, order, pages)
    ledger.hold(_claimed(ledger, TaskKind.PREPARE_PAGE), "unreadable", "It cannot be read.", who="w")
    return order, ledger.holds()[0]


def _assembly(ledger: Ledger, task: Task) -> Step:
    pages = [page for page in ledger.pages_of_batch(task.subject_id) if not page.excluded]  # type: ignore[arg-type]
    return lambda: ledger.record_assembled(
        task,
        [PlannedDocument(title="all", pages=tuple(page.id for page in pages))],
        {},
        seen={page.id: page.prepared for page in pages},
        who="w",
        reads_text=True,
    )


def _prepared(ledger: Ledger, task: Task, late: Exclusion | None = None) -> Step:
    return lambda: ledger.record_prepared(task, sha(1), {}, who="w", late_exclusion=late, reads_text=True)


def _recognized(ledger: Ledger, task: Task) -> Step:
    return lambda: ledger.record_recognized(task, sha(2), None, 0.9, {}, who="w")


def _packaged(ledger: Ledger, task: Task) -> Step:
    return lambda: ledger.record_packaged(task, sha(3), 1, "2u", sha(4), who="w")


def a_batch_is_received_and_its_order_is_closed(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)
    work_off(ledger)
    return arrival(ledger, order, 1), lambda: ledger.close_order(order.number, who="test")


def a_batch_is_received_and_its_order_is_reopened(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)
    ledger.close_order(order.number, who="test")
    return arrival(ledger, order, 1), lambda: ledger.reopen_order(order.number, who="test")


def the_same_delivery_is_received_twice(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    return arrival(ledger, order, 1, digest="same"), arrival(ledger, order, 1, digest="same")


def two_batches_of_one_name_are_received(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    return arrival(ledger, order, 1, "box"), arrival(ledger, order, 1, "box")


def an_order_is_closed_twice(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)
    work_off(ledger)
    return lambda: ledger.close_order(order.number, who="a"), lambda: ledger.close_order(order.number, who="b")


def an_order_is_closed_and_its_last_document_packaged(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)
    task = _claimed(ledger, TaskKind.PACKAGE_DOCUMENT)
    return lambda: ledger.close_order(order.number, who="a"), _packaged(ledger, task)


def an_order_is_reopened_and_its_last_document_packaged(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)
    ledger.close_order(order.number, who="test")
    task = _claimed(ledger, TaskKind.PACKAGE_DOCUMENT)
    return lambda: ledger.reopen_order(order.number, who="a"), _packaged(ledger, task)


def an_order_is_reopened_and_delivered(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)
    ledger.close_order(order.number, who="test")
    task = _claimed(ledger, TaskKind.DELIVER_ORDER)
    return (
        lambda: ledger.reopen_order(order.number, who="a"),
        lambda: ledger.record_delivered(task, "outbox/x", {}, [], who="w"),
    )


def the_last_two_documents_are_packaged(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)
    receive(ledger, order, 1)
    ledger.close_order(order.number, who="test")
    one, two = _all_claimed(ledger, TaskKind.PACKAGE_DOCUMENT, 2)
    return _packaged(ledger, one), _packaged(ledger, two)


def the_last_two_pages_are_read(ledger: Ledger) -> tuple[Step, Step]:
    receive(ledger, open_order(ledger), 2)
    one, two = _all_claimed(ledger, TaskKind.RECOGNIZE_PAGE, 2)
    return _recognized(ledger, one), _recognized(ledger, two)


def the_last_two_pages_are_prepared_and_held(ledger: Ledger) -> tuple[Step, Step]:
    receive(ledger, open_order(ledger), 2)
    one, two = _all_claimed(ledger, TaskKind.PREPARE_PAGE, 2)
    return _prepared(ledger, one), lambda: ledger.hold(two, "unreadable", "No.", who="w")


def the_last_two_rolls_are_written(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger, film=True)
    receive(ledger, order, 1)
    ledger.close_order(order.number, who="test")
    plan = _claimed(ledger, TaskKind.PLAN_ROLLS)
    ledger.record_planned(plan, [(f"{order.number}-{i}", 1, 1, "{}") for i in (1, 2)], who="w")
    one, two = _all_claimed(ledger, TaskKind.WRITE_ROLL, 2)
    return (
        lambda: ledger.record_roll_written(one, "film/1", who="w"),
        lambda: ledger.record_roll_written(two, "film/2", who="w"),
    )


def a_late_page_is_prepared_and_its_batch_assembled(ledger: Ledger) -> tuple[Step, Step]:
    _, hold = _with_held_page(ledger)
    assembly = _claimed(ledger, TaskKind.ASSEMBLE_BATCH)
    ledger.decide_retry(hold, who="a", why="")
    late = _claimed(ledger, TaskKind.PREPARE_PAGE)
    return _prepared(ledger, late), _assembly(ledger, assembly)


def a_late_blank_is_prepared_and_its_batch_assembled(ledger: Ledger) -> tuple[Step, Step]:
    _, hold = _with_held_page(ledger)
    assembly = _claimed(ledger, TaskKind.ASSEMBLE_BATCH)
    ledger.decide_retry(hold, who="a", why="")
    late = _claimed(ledger, TaskKind.PREPARE_PAGE)
    return _prepared(ledger, late, Exclusion.BLANK), _assembly(ledger, assembly)


def _decisions(ledger: Ledger, hold: Hold) -> dict[str, Step]:
    assert hold.page_id is not None
    page_id = hold.page_id
    return {
        "retried": lambda: ledger.decide_retry(hold, who="a", why=""),
        "released": lambda: ledger.decide_release(hold, who="a", why=""),
        "waived": lambda: ledger.decide_exclude(hold, Exclusion.WAIVED, who="a", why=""),
        "replaced": lambda: ledger.replace_page(page_id, "again.tif", sha(5), who="a", why=""),
    }


def _decided_while_assembled(decision: str) -> Callable[[Ledger], tuple[Step, Step]]:
    def situation(ledger: Ledger) -> tuple[Step, Step]:
        _, hold = _with_held_page(ledger)
        assembly = _claimed(ledger, TaskKind.ASSEMBLE_BATCH)
        return _decisions(ledger, hold)[decision], _assembly(ledger, assembly)

    situation.__name__ = f"a_page_is_{decision}_and_its_batch_assembled"
    return situation


def _decided_twice(one: str, two: str) -> Callable[[Ledger], tuple[Step, Step]]:
    def situation(ledger: Ledger) -> tuple[Step, Step]:
        _, hold = _with_held_page(ledger)
        run_hint(ledger, *ledger.dispatch("w", 1)[0][1:])
        run_hint(ledger, *ledger.dispatch("w", 1)[0][1:])
        decisions = _decisions(ledger, hold)
        return decisions[one], decisions[two]

    situation.__name__ = f"a_page_is_{one}_and_{two}"
    return situation


def a_page_is_waived_and_the_last_other_read(ledger: Ledger) -> tuple[Step, Step]:
    _, hold = _with_held_page(ledger)
    other = _claimed(ledger, TaskKind.RECOGNIZE_PAGE)
    return _decisions(ledger, hold)["waived"], _recognized(ledger, other)


def the_reaper_comes_while_a_task_ends(ledger: Ledger) -> tuple[Step, Step]:
    receive(ledger, open_order(ledger), 1)
    return ledger.reap, _prepared(ledger, _claimed(ledger, TaskKind.PREPARE_PAGE))


def tasks_are_handed_out_to_two_feeders(ledger: Ledger) -> tuple[Step, Step]:
    for _ in range(2):
        receive(ledger, open_order(ledger), 5)
    return lambda: ledger.dispatch("w", 7), lambda: ledger.dispatch("w", 7)


def two_reapers_come(ledger: Ledger) -> tuple[Step, Step]:
    receive(ledger, open_order(ledger), 3)
    _all_claimed(ledger, TaskKind.PREPARE_PAGE, 2)
    return ledger.reap, ledger.reap


def a_floor_stops_while_its_task_ends(ledger: Ledger) -> tuple[Step, Step]:
    receive(ledger, open_order(ledger), 1)
    task = _claimed(ledger, TaskKind.PREPARE_PAGE)
    return _prepared(ledger, task), lambda: ledger.give_back("w")


def a_document_is_packaged_while_tasks_are_handed_out(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)
    task = _claimed(ledger, TaskKind.PACKAGE_DOCUMENT)
    receive(ledger, order, 3)
    return lambda: ledger.dispatch("w", 2), _packaged(ledger, task)


def one_place_is_announced_twice(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 1)

    def take() -> None:
        delivery_id, task_id = ledger.announce_delivery(
            source=f"/in/{order.number}", name="x", order_number=order.number, moves=True, who="w"
        )
        if task := ledger.claim_at_once(task_id, "w"):
            ledger.record_refused_delivery(task, delivery_id, "no", who="w")

    return take, take


def _look(ledger: Ledger, page: LotPage, verdict: Verdict, *, lot: BatchId) -> Step:
    return lambda: ledger.record_verdict(
        lot, page.id, verdict, None, seen=page.verdict, sentence="Bad.", note="", who="test"
    )


def _two_pages_looked_at(ledger: Ledger, *verdicts: Verdict) -> tuple[BatchId, list[LotPage]]:
    """A lot of two pages, of which the first ones have these verdicts."""
    batch_id = receive(ledger, open_order(ledger, inspection=Inspection.BEFORE), 2)
    assert batch_id is not None
    work_off(ledger)
    for page, verdict in zip(ledger.lot_pages(batch_id), verdicts, strict=False):
        _look(ledger, page, verdict, lot=batch_id)()
    return batch_id, ledger.lot_pages(batch_id)


def _hold_of(ledger: Ledger, page: LotPage) -> Hold:
    return next(hold for hold in ledger.holds() if hold.page_id == page.id)


def the_last_two_pages_are_looked_at(ledger: Ledger) -> tuple[Step, Step]:
    lot, (one, other) = _two_pages_looked_at(ledger)
    return _look(ledger, one, Verdict.GOOD, lot=lot), _look(ledger, other, Verdict.GOOD, lot=lot)


def a_page_is_released_and_the_last_other_looked_at(ledger: Ledger) -> tuple[Step, Step]:
    lot, (bad, other) = _two_pages_looked_at(ledger, Verdict.MAJOR)
    hold = _hold_of(ledger, bad)
    return lambda: ledger.decide_release(hold, who="test", why=""), _look(ledger, other, Verdict.GOOD, lot=lot)


def a_page_is_left_out_and_found_good(ledger: Ledger) -> tuple[Step, Step]:
    lot, (bad, _) = _two_pages_looked_at(ledger, Verdict.MAJOR, Verdict.GOOD)
    hold = _hold_of(ledger, bad)
    return (
        lambda: ledger.decide_exclude(hold, Exclusion.WAIVED, who="test", why=""),
        _look(ledger, bad, Verdict.GOOD, lot=lot),
    )


def a_page_is_replaced_and_found_good(ledger: Ledger) -> tuple[Step, Step]:
    lot, (bad, _) = _two_pages_looked_at(ledger, Verdict.MAJOR, Verdict.GOOD)
    return (
        lambda: ledger.replace_page(bad.id, "again.tif", sha(5), who="test", why=""),
        _look(ledger, bad, Verdict.GOOD, lot=lot),
    )


def a_new_scan_is_read_and_the_last_other_looked_at(ledger: Ledger) -> tuple[Step, Step]:
    lot, (bad, other) = _two_pages_looked_at(ledger, Verdict.MAJOR)
    ledger.replace_page(bad.id, "again.tif", sha(5), who="test", why="")
    task = _claimed(ledger, TaskKind.RECOGNIZE_PAGE)
    return _recognized(ledger, task), _look(ledger, other, Verdict.GOOD, lot=lot)


def rescans_of_two_pages_come_and_one_of_them_is_left_out(ledger: Ledger) -> tuple[Step, Step]:
    order = open_order(ledger)
    receive(ledger, order, 2)
    for _ in range(2):
        ledger.hold(_claimed(ledger, TaskKind.PREPARE_PAGE), "cut-edge", "It is cut off.", who="w")
    for hold in ledger.holds():
        ledger.await_rescan(hold, "Waits.", who="test", why="")
    one, two = ledger.holds()
    source = json.dumps([order.number, 1, "rescans"])
    delivery_id, task_id = ledger.announce_delivery(
        source=source, name="again", order_number=order.number, moves=True, who="test"
    )
    task, delivery = ledger.claim_at_once(task_id, "w"), ledger.delivery(delivery_id)
    assert task is not None
    scans = [
        (hold, ReceivedPage(file=name, index_in_file=0, pages_in_file=1, source=sha(5)))
        for hold, name in ((one, "a"), (two, "b"))
    ]
    return (
        lambda: ledger.record_rescans(task, scans, delivery, order.number, who="w"),
        lambda: ledger.decide_exclude(two, Exclusion.WAIVED, who="test", why=""),
    )


PAIRS = [("waived", "replaced"), ("replaced", "waived"), ("replaced", "replaced"), ("replaced", "retried"),
         ("retried", "replaced"), ("released", "waived"), ("waived", "released")]  # fmt: skip
LIKE_EACH_OTHER = [
    the_same_delivery_is_received_twice,
    two_batches_of_one_name_are_received,
    an_order_is_closed_twice,
    the_last_two_documents_are_packaged,
    the_last_two_pages_are_read,
    the_last_two_rolls_are_written,
    the_last_two_pages_are_looked_at,
    two_reapers_come,
    one_place_is_announced_twice,
    tasks_are_handed_out_to_two_feeders,
    *(_decided_twice(*pair) for pair in PAIRS),
]
UNLIKE = [
    a_batch_is_received_and_its_order_is_closed,
    a_batch_is_received_and_its_order_is_reopened,
    an_order_is_closed_and_its_last_document_packaged,
    an_order_is_reopened_and_its_last_document_packaged,
    an_order_is_reopened_and_delivered,
    the_last_two_pages_are_prepared_and_held,
    a_late_page_is_prepared_and_its_batch_assembled,
    a_late_blank_is_prepared_and_its_batch_assembled,
    *(_decided_while_assembled(decision) for decision in ("retried", "waived", "replaced")),
    a_page_is_waived_and_the_last_other_read,
    the_reaper_comes_while_a_task_ends,
    a_floor_stops_while_its_task_ends,
    a_document_is_packaged_while_tasks_are_handed_out,
    a_page_is_released_and_the_last_other_looked_at,
    a_page_is_left_out_and_found_good,
    a_page_is_replaced_and_found_good,
    rescans_of_two_pages_come_and_one_of_them_is_left_out,
    a_new_scan_is_read_and_the_last_other_looked_at,
]


@pytest.mark.parametrize(
    ("situation", "turned"),
    [
        *(pytest.param(one, False, id=one.__name__) for one in [*LIKE_EACH_OTHER, *UNLIKE]),
        *(pytest.param(one, True, id=f"{one.__name__}_turned") for one in UNLIKE),
    ],
)
def test_whenever_they_meet_nothing_is_lost_or_doubled(
    ledger: Ledger, situation: Callable[[Ledger], tuple[Step, Step]], turned: bool
) -> None:
    at, met = 1, True
    while met:
        first, second = situation(ledger)[:: -1 if turned else 1]  # a new order each time
        met = _meet(ledger, first, second, at=at)
        _check_to_the_end(ledger)
        at += 1


def test_a_process_that_was_stopped_in_mid_transaction_does_not_stop_the_others(
    postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_IDLE_TIMEOUT_S", 0.5)
    made = Ledger(postgresql.ledger_database())
    order = open_order(made)
    receive(made, order, 1)
    with pytest.raises(DBAPIError), made.write() as c:  # it finds its connection cut when it wakes up
        c.execute(text("UPDATE orders SET title = 'x'"))
        closing = _Thread(lambda: made.close_order(order.number, who="test"))
        closing.start()
        closing.join(20)
        assert not closing.is_alive()
        c.execute(text("SELECT 1"))
    assert made.order_by_id(order.id).status is OrderStatus.CLOSED
    assert made.order_by_id(order.id).title == ""
    made.close()
