"""How long the floor and each screen take with a million tasks and a thousand orders in the ledger, on both engines."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from sqlalchemy import text

from bench import servers
from bench.tables import print_table
from pipeline import people
from pipeline.bureau import Bureau
from pipeline.ledger import Ledger
from pipeline.model import Role
from pipeline.settings import Settings
from tests.console.served import served
from tests.console.test_signing_in import sign_in

ORDERS = 1_000
PAGES_AN_ORDER = 600  # 400 of them read and billed, 50 held: with the tasks of both kinds a million tasks
READ, HELD = 400, 50
HOUR_MS = 3_600_000
FINISHED_WITHIN_MS = 14 * 24 * HOUR_MS  # two weeks of work behind it
TIMES = 15
NAME, PASSWORD = "bench", "a long pass phrase for nobody"
SCREENS = (
    "/", "/orders", "/orders?search=WO-77&status=open", "/orders/WO-1", "/orders/WO-1/batches/1", "/pages/1", "/held",
    "/held?code=unreadable", "/held?code=unreadable&order=WO-7",
)  # fmt: skip

NUMBERS = "WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < {most}) "
IS_HELD = f"sequence > {PAGES_AN_ORDER - HELD}"
FINISHED = f":now - id * 1777 % {FINISHED_WITHIN_MS}"
FILL = (
    "INSERT INTO profiles (digest, name, document) VALUES ('sha256:0', 'records-bitonal', '{}')",
    f"""{NUMBERS.format(most=ORDERS)}
    INSERT INTO orders (id, number, customer, profile_digest, services, priority, weight, status, opened_ms)
    SELECT n, 'WO-' || n, 'C', 'sha256:0', 'imaging', CASE n % 10 WHEN 0 THEN 'rush' WHEN 1 THEN 'overnight' ELSE
    'normal' END, CASE n % 10 WHEN 0 THEN 30 WHEN 1 THEN 0.2 ELSE 1 END, 'open', 0 FROM i""",
    f"""{NUMBERS.format(most=ORDERS)}
    INSERT INTO deliveries (id, source, name, moves, finished, seen_ms)
    SELECT n, '/inbox/' || n, 'box', true, true, 0 FROM i""",
    """INSERT INTO batches (id, order_id, delivery_id, name, digest, received_ms, pages_left)
    SELECT id, id, id, 'box', 'sha256:' || id, 0, 0 FROM orders""",
    f"""{NUMBERS.format(most=PAGES_AN_ORDER)}
    INSERT INTO pages (id, order_id, batch_id, sequence, file, index_in_file, pages_in_file, source)
    SELECT (o.id - 1) * {PAGES_AN_ORDER} + n, o.id, o.id, n, 'x.tif', 0, 1, 'x' FROM orders o, i""",
    f"""INSERT INTO tasks (order_id, kind, subject_id, rank, state, changed_ms, started_ms, finished_ms, code)
    SELECT order_id, 'PREPARE_PAGE', id, 1, CASE WHEN {IS_HELD} THEN 'held' ELSE 'done' END, :now, :now,
    CASE WHEN {IS_HELD} THEN NULL ELSE {FINISHED} END, CASE WHEN {IS_HELD} THEN 'unreadable' END FROM pages""",
    f"""INSERT INTO tasks (order_id, kind, subject_id, rank, state, changed_ms, started_ms, finished_ms)
    SELECT order_id, 'RECOGNIZE_PAGE', id, 4, CASE WHEN sequence > {READ} THEN 'due' ELSE 'done' END, :now - id, :now,
    CASE WHEN sequence > {READ} THEN NULL ELSE {FINISHED} END FROM pages WHERE NOT {IS_HELD}""",
    f"""INSERT INTO billables (page_id, order_id, batch_id, file, index_in_file, source, at_ms, sequence)
    SELECT id, order_id, batch_id, file, 0, 'x', {FINISHED}, sequence FROM pages WHERE sequence <= {READ}""",
)


def run() -> None:
    """Fill a ledger on each engine, look, print how long it took."""
    rows, screens = [], []
    for engine in ("SQLite", "PostgreSQL"):
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch, servers.database(engine) as server:
            url = server.empty_database() if server else ""
            with closing(Bureau.init(Settings(home=Path(scratch) / "home", database_url=url))) as bureau:
                rows += _measured(engine, bureau.ledger)
                screens += _screens(engine, bureau)
    print_table(("engine", "question", "ms, median", "ms, worst"), rows)
    print_table(("engine", "screen", "ms, median", "ms, worst"), screens)


def _measured(engine: str, ledger: Ledger) -> list[tuple[str, str, str, str]]:
    with ledger.write() as connection:
        now = int(time.time() * 1000)
        for statement in FILL:
            connection.execute(text(statement), {"now": now} if ":now" in statement else {})
    if not ledger.is_sqlite:  # PostgreSQL counts its tables by itself after a while, SQLite never
        with ledger.write() as connection:
            connection.execute(text("ANALYZE"))
    rows = [_line(engine, "fold the tallies once, after the filling", ledger.fold_tallies, times=1)]
    while _tally_rows(ledger) > ORDERS * 10:
        ledger.fold_tallies()
    report = ledger.floor()
    assert (report.pages.received, len(report.orders)) == (ORDERS * PAGES_AN_ORDER, ORDERS)
    rows.append(_line(engine, "the whole floor (platen status, /metrics)", ledger.floor))
    rows.append(_line(engine, "pages done of all (progress bar)", ledger.pages_done))
    rows.append(_line(engine, "tasks unfinished (run --until-idle)", ledger.unfinished))
    rows.append(_line(engine, "fold with nothing to fold", ledger.fold_tallies))
    rows.append(_line(engine, "count everything again (platen verify)", ledger.tally_faults, times=1))
    return rows


def _screens(engine: str, bureau: Bureau) -> list[tuple[str, str, str, str]]:
    """Each screen as a supervisor's browser gets it, after one look that does not count."""
    people.add_user(bureau, NAME, PASSWORD, Role.SUPERVISOR, who="bench")
    rows = []
    with served(bureau) as client:
        sign_in(client, NAME, PASSWORD)

        def look(path: str) -> None:
            answer = client.get(path, timeout=60)
            assert answer.status_code == 200, f"{path}: {answer.status_code}"

        for path in SCREENS:
            look(path)
            rows.append(_line(engine, path, partial(look, path)))
    return rows


def _tally_rows(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM tallies")).scalar_one())


def _line(engine: str, question: str, ask: Callable[[], object], times: int = TIMES) -> tuple[str, str, str, str]:
    took_ms = []
    for _ in range(times):
        begin = time.perf_counter()
        ask()
        took_ms.append(1000 * (time.perf_counter() - begin))
    return engine, question, f"{statistics.median(took_ms):.1f}", f"{max(took_ms):.1f}"
