"""What the ledger costs: a page's share of it, and handing out work with 1,000,000 tasks in it, on both engines.

Twenty orders, one of them with nine tenths of all pages. BENCH_TASKS is how many tasks wait (1,000,000 unless given).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench import servers
from bench.tables import print_table
from pipeline.ledger import Ledger
from pipeline.model import Priority, ReceivedPage, TaskKind, WorkOrder
from tests.pipeline.by_hand import open_order, run_hint, sha

TASKS = 1_000_000
ORDERS = 20
BIG_SHARE = 0.9
BATCH = 50_000
WINDOW = 16  # eight workers
TIMES = 100
PAGES = 500  # done to their end


def run() -> None:
    """Fill a ledger on each engine, hand out, finish pages, and print what each took."""
    tasks = int(os.environ.get("BENCH_TASKS", TASKS))
    rows = []
    for engine in ("SQLite", "PostgreSQL"):
        with _ledger(engine) as ledger:
            loaded_s = _seconds(lambda ledger=ledger: _fill(ledger, tasks))  # type: ignore[misc]
            ledger.register_worker("w", threads=WINDOW, queues=("pages",))
            handed = [_seconds(lambda: ledger.dispatch("w", WINDOW)) for _ in range(TIMES)]
            idle = [_seconds(lambda: ledger.reap("w")) for _ in range(TIMES)]
            ledger.give_back("w")
            page_ms = _page_ms(ledger)
            ledger.fold_tallies()  # as feeders do all the time
            rows.append(
                (
                    engine, f"{tasks:,}", f"{loaded_s:.0f}", f"{1000 * median(handed):.1f}",
                    f"{1000 * sorted(handed)[int(0.95 * TIMES)]:.1f}", f"{1000 * median(idle):.1f}", f"{page_ms:.1f}",
                    *(f"{1000 * _seconds(question):.0f}" for question in (ledger.floor, ledger.held)),
                )
            )  # fmt: skip
    print_table(
        (
            "ledger", "tasks", "loaded in s", f"{WINDOW} handed out, ms, median", "95 %", "reap ms",
            "preparing and reading a page, ms of ledger", "floor ms", "held ms",
        ),
        rows,
    )  # fmt: skip


@contextmanager
def _ledger(engine: str) -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as folder, servers.database(engine) as server:
        ledger = Ledger(server.empty_database() if server else f"sqlite:///{Path(folder) / 'ledger.db'}")
        ledger.migrate()
        yield ledger
        ledger.close()


def _fill(ledger: Ledger, tasks: int) -> None:
    """Orders with pages to prepare, the first with most of them."""
    others = int(tasks * (1 - BIG_SHARE)) // (ORDERS - 1)
    for number in range(ORDERS):
        order = open_order(ledger, priority=Priority.RUSH if number == ORDERS - 1 else Priority.NORMAL)
        left = tasks - (ORDERS - 1) * others if number == 0 else others
        while left > 0:
            _receive(ledger, order, min(left, BATCH), f"{number}-{left}")
            left -= BATCH


def _receive(ledger: Ledger, order: WorkOrder, pages: int, name: str) -> None:
    delivery_id, task_id = ledger.announce_delivery(
        source=name, name=name, order_number=order.number, moves=False, who="bench"
    )
    task = ledger.claim_at_once(task_id, "bench")
    assert task is not None
    received = [ReceivedPage(file=f"{n}.tif", index_in_file=0, pages_in_file=1, source=sha(n)) for n in range(pages)]
    ledger.record_received(task, order.id, ledger.delivery(delivery_id), name, received, who="bench")
    ledger.finish_delivery(delivery_id, "received")


def _page_ms(ledger: Ledger) -> float:
    """What the ledger does for a page from received to billed: handed out, claimed and ended, twice."""
    order = open_order(ledger, priority=Priority.RUSH)
    _receive(ledger, order, PAGES, "rush")
    took_s: dict[TaskKind, list[float]] = {TaskKind.PREPARE_PAGE: [], TaskKind.RECOGNIZE_PAGE: []}
    while len(took_s[TaskKind.RECOGNIZE_PAGE]) < PAGES:
        begin = time.perf_counter()
        handed = ledger.dispatch("w", WINDOW)
        share_s = (time.perf_counter() - begin) / len(handed)
        for kind, task_id, attempt in handed:
            ended_s = _seconds(lambda: run_hint(ledger, task_id, attempt))  # noqa: B023 - called at once
            if kind in took_s:
                took_s[kind].append(share_s + ended_s)
    return 1000 * sum(sum(times) / len(times) for times in took_s.values())


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
