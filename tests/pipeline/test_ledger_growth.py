"""What is asked every few seconds costs the same after years of work as on the first day."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from pipeline.defects import Verdict
from pipeline.ledger import Ledger
from pipeline.ledger.settling import Settling
from pipeline.ledger.work import ALL_KINDS
from pipeline.model import QUEUES, AlarmKind, Inspection, PageAlarm, WorkOrder
from tests.pipeline.by_hand import open_order, receive, work_off
from tests.servers import PostgreSQL

STEP = 50  # of SQLite's machine, between two calls
FEW, MANY = 300, 3_000  # of everything that is over and done
ALLOWED = 1.25  # an index over ten times as many rows is one level deeper
# Rows of what is over, copied so many times: all that a bureau keeps for ever. Their ids lie below those of what is
# new. Orders stay as many as they are: some questions go through them, who are thousands where pages are millions.
ORDERS = 30
ORDER = f"-1 - abs(new) % {ORDERS}"
COPIED = {
    "deliveries": {"source": "'/old/' || new", "upload": "NULL"},
    "batches": {"name": "'old ' || new", "repeat": "new", "delivery_id": "new", "order_id": ORDER},
    "documents": {"sequence": "new", "batch_id": "new", "order_id": ORDER},
    "pages": {"sequence": "new", "batch_id": "new", "document_id": "new", "order_id": ORDER},
    "billables": {"at_ms": "0", "batch_id": "new", "order_id": ORDER},
    "tasks": {"subject_id": "new", "finished_ms": "1", "started_ms": "0", "order_id": ORDER},
    "events": {"subject": "'page ' || new", "order_id": ORDER},
    "lots": {"order_id": ORDER},
    "lot_pages": {"batch_id": "new"},
    "alarms": {"seen_ms": "new"},
    "alarm_pages": {"page_id": "new", "alarm_id": "new"},
}
KEYS = {"billables": "page_id", "lots": "batch_id", "lot_pages": "page_id"}
OVER = {"lots": "state = 'passed'", "tasks": "state = 'done' AND kind = '{kind}'", "alarms": "seen_ms IS NOT NULL"}
KINDS = ("RECEIVE_BATCH", "PREPARE_PAGE", "RECOGNIZE_PAGE", "PACKAGE_DOCUMENT", "INSPECT_BATCH")


@pytest.fixture(params=[False, True], ids=["", "analyzed"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """A bureau's first day; SQLite answers the same question in another way once it has counted its tables."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    order = open_order(ledger, inspection=Inspection.BEFORE)
    receive(ledger, order, 2)
    _with_an_alarm(ledger)
    work_off(ledger)
    [lot] = ledger.lots_under_way()
    for page in ledger.lot_pages(lot.id):
        ledger.record_verdict(lot.id, page.id, Verdict.GOOD, None, seen=None, sentence="", note="", who="test")
    work_off(ledger)
    ledger.close_order(order.number, who="test")
    work_off(ledger)
    with closing(sqlite3.connect(_place(ledger))) as plain, plain:
        _copy(plain, "orders", {"number": "'old ' || new"}, "1", ORDERS)
    _grow(ledger, FEW)
    if request.param:
        with ledger.write() as c:
            c.execute(text("ANALYZE"))
    yield ledger
    ledger.close()


def _with_an_alarm(ledger: Ledger) -> None:
    """One that was seen long ago, of a page that was held and is done now."""
    [(_, task_id, attempt)] = ledger.dispatch("w", 1)
    task = ledger.claim(task_id, attempt, "w")
    assert task is not None
    alarm = PageAlarm(kind=AlarmKind.CUT_EDGE, what="text is cut off at left")
    ledger.hold(task, "cut-edge", "It is cut off.", who="w", scanner="fi-7160", alarms=[alarm])
    ledger.decide_retry(ledger.holds()[0], who="test", why="")
    ledger.fold_alarms()
    ledger.note_seen(ledger.open_alarms()[0].id, who="test", said="cleaned")


def _grow(ledger: Ledger, times: int) -> None:
    """Add what years of work leave behind."""
    with closing(sqlite3.connect(_place(ledger))) as plain, plain:  # no foreign keys are checked
        for table, changed in COPIED.items():
            for kind in KINDS if table == "tasks" else ("",):
                _copy(plain, table, changed, OVER.get(table, "1").format(kind=kind), times)
    while ledger.link_events():
        pass
    ledger.fold_tallies()


def _place(ledger: Ledger) -> str:
    return ledger.url.removeprefix("sqlite:///")


def _copy(plain: sqlite3.Connection, table: str, changed: dict[str, str], over: str, times: int) -> None:
    key = KEYS.get(table, "id")
    columns = [row[1] for row in plain.execute(f"PRAGMA table_info({table})")]
    [first] = plain.execute(f"SELECT min({key}, 0) FROM {table} ORDER BY {key}").fetchone()
    changed = {key: "new", **changed}
    ids = f"SELECT {first - 1} AS new UNION ALL SELECT new - 1 FROM ids WHERE new > {first - times}"
    values = ", ".join(changed.get(name, name) for name in columns)
    plain.execute(
        f"WITH RECURSIVE ids AS ({ids}) INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT {values} FROM ids, (SELECT * FROM {table} WHERE {over} LIMIT 1)"
    )


def _asked(ledger: Ledger, order: WorkOrder) -> dict[str, Callable[[], object]]:
    """What feeder, watcher, workers and the live floor ask all day, and the screens that people keep open."""
    settling = Settling(key="k", name="box", order_number=None, files=1, size_bytes=1)
    return {
        "floor": ledger.floor,
        "reap": lambda: ledger.reap("w", at_work=(1,)),
        "room": lambda: ledger.room("pages", hints_per_thread=2),
        "dispatch": lambda: ledger.dispatch("w", 4),
        "give back": lambda: ledger.give_back("w"),
        "unfinished": ledger.unfinished,
        "held": ledger.held,
        "held groups": ledger.held_groups,
        "pages done": ledger.pages_done,
        "charge": ledger.charge_measured,
        "fold tallies": ledger.fold_tallies,
        "fold alarms": ledger.fold_alarms,
        "link": ledger.link_events,
        "sources": ledger.open_delivery_sources,
        "decided": ledger.decided_deliveries,
        "asked": ledger.asked_of,
        "note settling": lambda: ledger.note_settling([settling], before=()),
        "settling": lambda: ledger.settling(limit=5),
        "count settling": ledger.count_settling,
        "take in": lambda: receive(ledger, order, 2),  # announced, claimed, received, its order counted
        "open alarms": lambda: ledger.open_alarms(limit=5),
        "lots under way": ledger.lots_under_way,
        "lots passed": ledger.lots_passed,
        "upload": lambda: ledger.upload_look("none"),
    }


def _steps(ledger: Ledger, order: WorkOrder) -> Counter[str]:
    """What SQLite's machine does for each statement of each question."""
    steps: Counter[str] = Counter()

    def watch(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        def count() -> None:
            steps[f"{asked}: {statement}"] += STEP

        connection.connection.driver_connection.set_progress_handler(count, STEP)

    _with_work(ledger, order)
    event.listen(Engine, "before_cursor_execute", watch)
    try:
        for asked, question in _asked(ledger, order).items():  # noqa: B007 - `watch` tells by it
            question()
    finally:
        event.remove(Engine, "before_cursor_execute", watch)
    return steps


def _with_work(ledger: Ledger, order: WorkOrder) -> None:
    """Something of everything: pages held, due and at work, a lot under way, an alarm that nobody has seen."""
    receive(ledger, order, 2)
    work_off(ledger)
    receive(ledger, order, 4)
    for number, (_, task_id, attempt) in enumerate(ledger.dispatch("w", 2)):
        task = ledger.claim(task_id, attempt, "w")
        assert task is not None
        if number:
            alarm = PageAlarm(kind=AlarmKind.SKEW, what="turned by 9.5°")
            ledger.hold(task, "skew-too-large", "It is turned.", who="w", scanner="fi-7160", alarms=[alarm])


def test_what_is_asked_all_day_never_walks_through_what_is_over(ledger: Ledger) -> None:
    """On SQLite, which tells how far it walks; on PostgreSQL the questions are the same."""
    first = _steps(ledger, open_order(ledger, inspection=Inspection.BEFORE, expect_pages=9))
    _grow(ledger, MANY)
    later = _steps(ledger, open_order(ledger, inspection=Inspection.BEFORE, expect_pages=9))
    grown = {asked: (first[asked], steps) for asked, steps in later.items() if steps > ALLOWED * first[asked] + MANY}
    assert grown == {}


def test_handing_out_never_walks_through_the_tasks_whatever_postgresql_believes_of_them(postgresql: PostgreSQL) -> None:
    """It counts a table now and then, and believes between two counts that the orders are those of the last one."""
    ledger = Ledger(postgresql.ledger_database())
    with ledger.write() as c:
        c.execute(text("ALTER TABLE tasks SET (autovacuum_enabled = false)"))
    receive(ledger, open_order(ledger), MANY)
    with ledger.write() as c:
        c.execute(text("ANALYZE"))
    receive(ledger, open_order(ledger), FEW)
    asked: list[tuple[str, Any]] = []

    def listen(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        for kinds in (ALL_KINDS, *QUEUES.values()):
            ledger.dispatch("w", 4, kinds)
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    with ledger.read() as c:
        plans = ["\n".join(c.exec_driver_sql(f"EXPLAIN {statement}", values).scalars()) for statement, values in asked]
    ledger.close()
    assert any("ix_tasks_due" in plan for plan in plans)
    assert [plan for plan in plans if "Seq Scan on tasks" in plan] == []
