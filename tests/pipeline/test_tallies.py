"""Counts that are kept as rows to be added up: exact at every moment, whoever writes beside whom."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text

from pipeline.ledger import Ledger
from pipeline.ledger.standing import finishing_s
from pipeline.ledger.tables import now_ms
from pipeline.model import Exclusion, Priority, TaskKind
from tests.pipeline.by_hand import downgrade_to, finish, open_order, receive, run_hint, work_off, work_off_together


def _rows(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM tallies")).scalar_one())


def _execute(ledger: Ledger, sql: str) -> None:
    with ledger.write() as connection:
        connection.execute(text(sql))


def _with_every_standing(ledger: Ledger) -> None:
    """An order with pages done, held, waived and open, and one delivered."""
    delivered = open_order(ledger)
    receive(ledger, delivered, 2)
    ledger.close_order(delivered.number, who="test")
    work_off(ledger)
    order = open_order(ledger)
    receive(ledger, order, 6)
    for number, (_, task_id, attempt) in enumerate(ledger.dispatch("w", 4)):
        task = ledger.claim(task_id, attempt, "w")
        assert task is not None
        if number < 2:
            ledger.hold(task, "unreadable", "It cannot be read.", who="w")
        else:
            finish(ledger, task)
    ledger.decide_exclude(ledger.holds()[0], Exclusion.WAIVED, who="test", why="")


def test_pages_are_told_by_the_minute_in_which_they_became_billable(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 6)
    with ledger.read() as connection:
        at_ms, pages = connection.scalar(select(now_ms())), connection.scalars(text("SELECT id FROM pages")).all()
    for page, seconds_ago in zip(pages, (10, 50, 130, 250, 3_570, 3_700), strict=True):
        _execute(
            ledger,
            "INSERT INTO billables (page_id, order_id, batch_id, file, index_in_file, source, at_ms, sequence) "
            f"SELECT id, order_id, batch_id, file, 0, source, {at_ms - 1000 * seconds_ago}, sequence "
            f"FROM pages WHERE id = {page}",
        )
    floor = ledger.floor()
    found = list(floor.pages_by_minute)
    assert len(found) == 60
    assert (found[-1], found[-3], found[-5], found[0], sum(found)) == (2, 1, 1, 1, 5)
    assert floor.pages_per_minute == {"1m": 2.0, "5m": 0.8, "60m": 0.08}


def test_the_floor_is_what_the_rows_say_at_every_step_and_folding_changes_nothing(ledger: Ledger) -> None:
    _with_every_standing(ledger)
    assert ledger.tally_faults() == []
    before = ledger.floor()
    assert before.kinds[TaskKind.PREPARE_PAGE] == {"due": 2, "running": 0, "done": 4, "held": 1}
    assert (before.pages.received, before.pages.billable, before.pages.excluded) == (8, 2, 1)
    assert [(order.remaining, order.held) for order in before.orders] == [(4, 1)]
    assert before.held == {(TaskKind.PREPARE_PAGE, "unreadable"): 1}
    assert (ledger.unfinished(), ledger.pages_done(), ledger.held()) == (2, (3, 8), 1)
    grown = _rows(ledger)
    ledger.fold_tallies()
    assert _rows(ledger) < grown / 2
    assert ledger.tally_faults() == []
    after = ledger.floor()
    assert (after.kinds, after.pages, after.held) == (before.kinds, before.pages, before.held)
    folded = _rows(ledger)
    ledger.fold_tallies()
    assert _rows(ledger) == folded
    ledger.decide_retry(ledger.holds()[0], who="test", why="")
    work_off(ledger)
    assert ledger.tally_faults() == []
    assert ledger.pages_done() == (8, 8)


def test_four_writers_and_two_that_fold_count_every_page_once(ledger: Ledger) -> None:
    for _ in range(2):
        receive(ledger, open_order(ledger), 30)

    def fold() -> None:
        ledger.fold_tallies()
        floor = ledger.floor()
        assert floor.pages.received == 60
        assert floor.faults == ()
        assert all(n >= 0 for states in floor.kinds.values() for n in states.values())

    work_off_together(ledger, beside=fold)
    assert ledger.tally_faults() == []
    assert ledger.floor().pages.billable == 60


def test_a_ledger_of_the_version_before_is_counted_when_it_is_migrated(ledger: Ledger) -> None:
    _with_every_standing(ledger)
    before = ledger.floor()
    downgrade_to(ledger, "0002")
    # the version before knows no tallies: it goes on working without them
    [(_, task_id, attempt)] = ledger.dispatch("w", 1)
    run_hint(ledger, task_id, attempt)
    ledger.migrate()
    assert ledger.tally_faults() == []
    after = ledger.floor()
    assert after.pages == before.pages
    assert after.kinds[TaskKind.PREPARE_PAGE] == {"due": 1, "running": 0, "done": 5, "held": 1}
    work_off(ledger)
    assert ledger.tally_faults() == []


def test_a_tally_that_is_wrong_is_told(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 2)
    _execute(ledger, f"INSERT INTO tallies (order_id, name, label, n) VALUES ({order.id}, 'PAGE', 'billable', 3)")
    assert ledger.tally_faults() == [f"{order.number}: 3 of PAGE are tallied as billable, 0 are."]
    assert ledger.floor().faults == (f"{order.number}: 2 pages were received, 3 are done or held.",)


def test_pages_that_are_lost_or_counted_twice_are_told(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 3)
    work_off(ledger)
    assert (ledger.tally_faults(), ledger.floor().faults) == ([], ())
    pages = ledger.pages_of_batch(ledger.batches_of(order.id)[0].id)
    _execute(ledger, f"UPDATE pages SET excluded = 'blank' WHERE id = {pages[0].id}")
    assert ledger.tally_faults() == [f"page {pages[0].id} is billed and left out."]
    assert ledger.floor().faults == (f"{order.number}: 3 pages were received, 4 are done or held.",)
    _execute(ledger, f"UPDATE pages SET excluded = NULL WHERE id = {pages[0].id}")
    _execute(
        ledger,
        "INSERT INTO pages (order_id, batch_id, sequence, file, index_in_file, pages_in_file, source) "
        f"SELECT order_id, batch_id, 99, file, 0, 1, source FROM pages WHERE id = {pages[0].id}",
    )
    [fault] = ledger.tally_faults()
    assert fault.endswith("is open, and there is nothing to be done for it.")
    assert ledger.floor().faults == (f"{order.number}: 1 pages are open, and there is nothing to be done for them.",)


def test_orders_that_share_the_floor_are_finished_in_the_order_of_their_shares() -> None:
    # 10 s each, one with twice the share: it is done when it has had 10 s and the other 5 s; then the other alone
    assert finishing_s([10.0, 10.0], [2.0, 1.0]) == [15.0, 20.0]
    # whatever the shares, the last is done when all work is done
    assert max(finishing_s([3.0, 50.0, 8.0], [30.0, 0.2, 1.0])) == pytest.approx(61.0)
    assert finishing_s([], []) == []


def test_a_rush_order_is_expected_before_a_larger_one_and_none_before_anything_was_finished(ledger: Ledger) -> None:
    rush, normal = open_order(ledger, priority=Priority.RUSH), open_order(ledger)
    receive(ledger, normal, 12)
    receive(ledger, rush, 6)
    assert all((order.earliest, order.latest) == (None, None) for order in ledger.floor().orders)
    for _, task_id, attempt in ledger.dispatch("w", 3):
        run_hint(ledger, task_id, attempt)
    backlogs = {order.number: order for order in ledger.floor().orders}
    first, later = backlogs[rush.number], backlogs[normal.number]
    assert first.latest is not None and later.earliest is not None
    assert datetime.now(UTC).timestamp() < first.latest.timestamp() < later.earliest.timestamp()
    assert (later.remaining, later.held, later.priority) == (12, 0, Priority.NORMAL)


def test_how_long_the_first_task_of_a_class_waits_is_told(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger, priority=Priority.RUSH), 2)
    receive(ledger, open_order(ledger), 2)
    _execute(ledger, "UPDATE tasks SET changed_ms = changed_ms - 60000 WHERE order_id = 1 AND subject_id = 1")
    waiting = ledger.floor().oldest_waiting_s
    assert 60 <= waiting[Priority.RUSH] < 120
    assert waiting[Priority.NORMAL] < 60
    assert waiting[Priority.OVERNIGHT] == 0
    _execute(ledger, "UPDATE tasks SET not_before_ms = changed_ms + 600000 WHERE order_id = 1 AND subject_id = 1")
    assert ledger.floor().oldest_waiting_s[Priority.RUSH] < 60, "it is put off, so it does not wait for a worker"
