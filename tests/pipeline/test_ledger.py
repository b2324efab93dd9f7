"""What the ledger promises: nothing lost, nothing done twice, counts that always add up."""

from __future__ import annotations

import threading
from datetime import date

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from pipeline.ledger import Fenced, Ledger, LedgerUnusable, OrderNotOpen, work
from pipeline.ledger.database import REVISION
from pipeline.ledger.tables import metadata
from pipeline.model import (
    QUEUES,
    Delivery,
    DeliveryId,
    Exclusion,
    OrderStatus,
    PageId,
    PlannedDocument,
    Priority,
    ReceivedPage,
    TaskKind,
)
from tests.conftest import ROOT
from tests.pipeline.by_hand import adds_up, downgrade_to, finish, open_order, receive, run_hint, sha, work_off
from tests.whole.home import wait_until


def test_migrations_make_the_tables_that_the_code_expects(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_version_that_is_asked_for_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "pipeline" / "ledger" / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_what_the_first_released_ledger_holds_is_still_there_after_the_newest_migration(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 3)
    ledger.register_worker("w", threads=2, queues=("pages",))

    def rows() -> list[dict[str, object]]:
        with ledger.read() as connection:
            return [
                dict(row)
                for name in ("orders", "batches", "pages", "tasks", "deliveries", "events")
                for row in connection.execute(text(f"SELECT * FROM {name} ORDER BY 1")).mappings()
            ]

    before = rows()
    downgrade_to(ledger, "0001")
    with pytest.raises(LedgerUnusable, match=f"version 0001.*needs {REVISION}"):
        ledger.check_version()
    # columns that came later are not in the first one
    assert all(first.items() <= now.items() for first, now in zip(rows(), before, strict=True))
    ledger.migrate()
    ledger.check_version()
    assert rows() == before
    with ledger.read() as connection:
        assert connection.execute(text("SELECT id, threads, queues FROM workers")).all() == [("w", 0, "")]
    assert len(ledger.dispatch("w", 3)) == 3


def test_orders_are_charged_the_seconds_that_their_tasks_took(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "CHARGE_DELAY_MS", 0)
    slow, quick = open_order(ledger), open_order(ledger)
    for order in (slow, quick):
        receive(ledger, order, 8)
    ledger.charge_measured()
    with ledger.write() as connection:
        connection.execute(text("UPDATE orders SET virtual_ms = 1000"))
        connection.execute(
            text(
                "UPDATE tasks SET state = 'done', started_ms = 1, finished_ms = (SELECT value + 5 FROM counters WHERE "
                "name = 'charged-until') WHERE order_id = :slow AND kind = 'PREPARE_PAGE'"
            ),
            {"slow": slow.id},
        )
        connection.execute(text("UPDATE tasks SET started_ms = finished_ms - 60300 WHERE finished_ms IS NOT NULL"))
    wait_until(lambda: ledger.charge_measured() or _virtual_ms(ledger, slow.id) > 1000, seconds=5)
    assert _virtual_ms(ledger, slow.id) == 1000 + 8 * 60_000
    assert _virtual_ms(ledger, quick.id) == 1000
    ledger.charge_measured()
    assert _virtual_ms(ledger, slow.id) == 1000 + 8 * 60_000, "once"


def _virtual_ms(ledger: Ledger, order_id: int) -> int:
    with ledger.read() as connection:
        return int(
            connection.execute(text("SELECT virtual_ms FROM orders WHERE id = :id"), {"id": order_id}).scalar_one()
        )


def test_another_queues_tasks_stay_where_they_are(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 3)
    assert ledger.dispatch("feeder", 10, QUEUES["documents"]) == []
    ledger.register_worker("w", threads=2, queues=("pages",))
    assert ledger.room("documents", hints_per_thread=2) == 0
    assert ledger.room("pages", hints_per_thread=2) == 4
    assert len(ledger.dispatch("feeder", 2, QUEUES["pages"])) == 2
    assert ledger.room("pages", hints_per_thread=2) == 2


def test_a_ledger_of_another_version_is_not_opened(ledger: Ledger) -> None:
    ledger.check_version()
    with ledger.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(LedgerUnusable, match=rf"version 0000.*needs {REVISION}"):
        ledger.check_version()
    with ledger.write() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(LedgerUnusable, match="no ledger here yet"):
        ledger.check_version()


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
    ledger.close_order(order.number, who="test")
    work_off(ledger)
    attempts = ["UPDATE billables SET file = 'x'", "DELETE FROM billables", "UPDATE charges SET title = ''"]
    attempts += ["DELETE FROM charges", "UPDATE events SET who = 'x'", "DELETE FROM events"]
    if ledger.url.startswith("postgresql"):
        attempts += [f"TRUNCATE {name} CASCADE" for name in ("billables", "charges", "events", "pages")]
    for sql in attempts:
        with pytest.raises(DatabaseError, match="append-only"), ledger.write() as c:
            c.execute(text(sql))


def test_four_workers_finishing_last_pages_together_trigger_each_document_once(ledger: Ledger) -> None:
    documents = 60 if ledger.is_sqlite else 400  # SQLite lets one writer in at a time anyhow
    receive(ledger, open_order(ledger), 4 * documents)
    while (handed := ledger.dispatch("w", 100)) and handed[0][0] is TaskKind.PREPARE_PAGE:
        for hint in handed:
            run_hint(ledger, *hint[1:])
    assembly = ledger.claim(*handed[0][1:], "w")
    assert assembly is not None
    pages = [page.id for page in ledger.pages_of_batch(assembly.subject_id)]  # type: ignore[arg-type]
    ledger.record_assembled(
        assembly,
        [PlannedDocument(title=f"{at}", pages=tuple(pages[at : at + 4])) for at in range(0, len(pages), 4)],
        {},
        seen=dict.fromkeys(pages, sha(9)),
        who="w",
        reads_text=True,
    )
    hints = ledger.dispatch("w", len(pages))  # page by page: every fourth is of the next document
    together = threading.Barrier(4)

    def work(writer: int) -> None:
        for _, task_id, attempt in hints[writer::4]:
            task = ledger.claim(task_id, attempt, "w")
            assert task is not None
            together.wait(60)
            finish(ledger, task)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [task.kind for task in work_off(ledger)]
    assert done.count(TaskKind.PACKAGE_DOCUMENT) == documents


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


def test_an_order_number_given_by_hand_is_passed_over(ledger: Ledger) -> None:
    open_order(ledger, number="WO-2026-0002")
    assert [open_order(ledger).number for _ in range(2)] == ["WO-2026-0001", "WO-2026-0003"]


def test_a_new_order_does_not_starve_one_that_paused_for_a_moment(ledger: Ledger) -> None:
    old, new = open_order(ledger), open_order(ledger)
    receive(ledger, old, 40)
    work_off(ledger)  # it has had a long day, and rests
    receive(ledger, new, 40)
    for hint in ledger.dispatch("w", 4):
        run_hint(ledger, *hint[1:])
    receive(ledger, old, 40)
    handed = [run_hint(ledger, *hint[1:]) for _ in range(6) for hint in ledger.dispatch("w", 4)]
    assert sum(task is not None and task.order_id == old.id for task in handed) >= 8


def test_deliveries_without_an_order_get_half_of_the_floor_while_orders_wait(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 20)
    for number in range(20):
        ledger.announce_delivery(source=f"/in/{number}", name="x", order_number=None, moves=True, who="w")
    handed = ledger.dispatch("w", 4)
    for _ in range(4):  # one ends, one is handed out, as on a floor
        kind, task_id, attempt = handed.pop(0)
        task = ledger.claim(task_id, attempt, "w")
        assert task is not None
        if kind is TaskKind.RECEIVE_BATCH:
            ledger.hold(task, "unknown", "Whose is it?", who="w")
        else:
            ledger.record_prepared(task, sha(1), {}, who="w", late_exclusion=None, reads_text=True)
        handed += ledger.dispatch("w", 1)
        assert [kind for kind, _, _ in handed].count(TaskKind.RECEIVE_BATCH) == 2
    assert len(ledger.dispatch("alone", 50)) == 32  # and nothing waits in vain


def test_a_worker_that_was_silent_for_long_is_known_again_and_keeps_its_work(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 1)
    ledger.register_worker("sleepy")
    with ledger.write() as c:
        c.execute(text("UPDATE workers SET seen_ms = 0"))
    ledger.reap()  # buries it
    ledger.heartbeat("sleepy")
    [(_, task_id, attempt)] = ledger.dispatch("sleepy", 1)
    assert ledger.claim(task_id, attempt, "sleepy") is not None
    assert ledger.reap() == 0


def test_a_task_whose_outcome_could_not_be_recorded_is_done_again(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 2)
    ledger.register_worker("w")
    lost, kept = ledger.dispatch("w", 2)
    for _, task_id, attempt in (lost, kept):
        assert ledger.claim(task_id, attempt, "w") is not None
    # the ledger was away when the first ended; its worker lives and works on the second
    assert ledger.reap("w", at_work={kept[1]}) == 1
    assert [task_id for _, task_id, _ in ledger.dispatch("w", 2)] == [lost[1]]


def test_what_waited_goes_on_when_the_clock_is_set_back(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 2)
    ledger.register_worker("dead")
    ledger.claim(*ledger.dispatch("dead", 1)[0][1:], "dead")
    an_hour_on = "(SELECT max(at_ms) + 3600000 FROM events)"
    with ledger.write() as c:
        c.execute(text(f"UPDATE tasks SET not_before_ms = {an_hour_on} WHERE state = 'due'"))
        c.execute(text(f"UPDATE workers SET seen_ms = {an_hour_on}"))
    assert ledger.reap() == 1
    assert len(ledger.dispatch("w", 2)) == 2


def test_a_sentence_with_signs_that_no_database_takes_is_kept(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 2)
    one, two = (ledger.claim(*hint[1:], "w") for hint in ledger.dispatch("w", 2))
    assert one is not None and two is not None
    ledger.hold(one, "odd", "nul \0 and \udce9", who="w")
    ledger.put_off(two, "nul \0 and \udce9", who="w")
    assert ledger.holds()[0].sentence == "nul \\0 and \\udce9"


@pytest.mark.parametrize("film", [False, True], ids=["imaging", "film"])
@pytest.mark.parametrize("moment", ["before assembly", "after assembly", "while it is read"])
def test_an_order_whose_every_page_is_left_out_is_delivered_and_bills_nothing(
    ledger: Ledger, film: bool, moment: str
) -> None:
    order = open_order(ledger, film=film)
    receive(ledger, order, 2)
    held_kind = TaskKind.RECOGNIZE_PAGE if moment == "while it is read" else TaskKind.PREPARE_PAGE
    held = 0
    while held < 2:
        kind, task_id, attempt = ledger.dispatch("w", 1)[0]
        if kind is not held_kind:
            run_hint(ledger, task_id, attempt)
            continue
        task = ledger.claim(task_id, attempt, "w")
        assert task is not None
        ledger.hold(task, "unreadable", "No.", who="w")
        held += 1
    ledger.close_order(order.number, who="t")
    if moment == "after assembly":
        work_off(ledger)
    for hold in ledger.holds():
        ledger.decide_exclude(hold, Exclusion.WAIVED, who="t", why="torn")
    work_off(ledger)
    report = ledger.order_report(order.number)
    assert report is not None
    assert report.order.status is OrderStatus.DELIVERED
    assert (report.pages.billable, report.pages.excluded[Exclusion.WAIVED]) == (0, 2)
    assert ledger.unfinished() == 0


def test_two_feeders_at_once_never_hand_out_one_task_twice(ledger: Ledger) -> None:
    for _ in range(3):
        receive(ledger, open_order(ledger), 40)
    handed: list[tuple[int, int]] = []

    def feed(owner: str) -> None:
        empty = 0
        while empty < 20:  # the other one may hold the rows for a moment
            hints = ledger.dispatch(owner, 5)
            empty = 0 if hints else empty + 1
            handed.extend((task_id, attempt) for _, task_id, attempt in hints)

    threads = [threading.Thread(target=feed, args=(owner,)) for owner in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handed) == len(set(handed)) == 120


def test_an_order_whose_film_cannot_be_planned_can_be_delivered_without_it(ledger: Ledger) -> None:
    order = open_order(ledger, film=True)
    receive(ledger, order, 1)
    work_off(ledger)
    ledger.close_order(order.number, who="test")
    task = ledger.claim(*ledger.dispatch("w", 1)[0][1:], "w")
    assert task is not None and task.kind is TaskKind.PLAN_ROLLS
    ledger.hold(task, "film-does-not-fit", "Too wide.", who="w")
    ledger.deliver_unfilmed(ledger.holds()[0], who="anna", why="one wide map")
    assert [task.kind for task in work_off(ledger)] == [TaskKind.DELIVER_ORDER]
    assert ledger.order_by_id(order.id).status is OrderStatus.DELIVERED


def test_a_document_without_a_billable_page_is_not_charged_as_one(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    task = ledger.claim(*ledger.dispatch("w", 1)[0][1:], "w")
    assert task is not None
    ledger.hold(task, "unreadable", "It cannot be read.", who="w")
    work_off(ledger)
    ledger.decide_exclude(ledger.holds()[0], Exclusion.WAIVED, who="anna", why="torn")
    [(_, task_id, attempt)] = ledger.dispatch("w", 5)
    task = ledger.claim(task_id, attempt, "w")
    assert task is not None and task.kind is TaskKind.PACKAGE_DOCUMENT
    ledger.record_empty_document(task, who="w")
    assert ledger.usage(order.id).documents == 0
