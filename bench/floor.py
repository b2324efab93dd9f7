"""The floor: pages a minute with one and two worker processes, a rush order behind 50,000 pages, 40,000 files dropped.

BENCH_PAGES is how many drawn pages each throughput run has (60 unless it is given).
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from bench import servers
from bench.drawn import scan_of
from bench.tables import print_table
from fixtures.batches import write_single_pages
from fixtures.pages import letter
from pipeline.bureau import Bureau
from pipeline.settings import Settings
from tests.whole.chaos import Processes
from tests.whole.home import Home, wait_until
from tests.whole.rush import THREADS, rush
from workers.watcher import Watcher

PAGES = 60
DISTINCT = 12
CORES = 2
DUE = 50_000
FILES = 40_000
TIME_LIMIT_S = 3600.0


def run() -> None:
    """Print the three tables."""
    _throughput(int(os.environ.get("BENCH_PAGES", PAGES)))
    _rushes()
    _large_drop()


def _throughput(pages: int) -> None:
    """Grey letter pages from the inbox to billed, with their documents packaged."""
    scans = [scan_of(letter(seed=seed), "grey", skew_deg=0.3 * seed) for seed in range(DISTINCT)]
    rows = []
    for workers in (1, 2):
        with tempfile.TemporaryDirectory(prefix="bench-floor-") as scratch:
            home = Home(Path(scratch) / "home")
            home.environment |= {"PLATEN_WORKERS": "1", "OMP_THREAD_LIMIT": "1"}
            home.platen("init")
            home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-1")
            processes = Processes(home, workers=workers, with_feeder=False)
            before_s = _children_cpu_s()
            begin = time.monotonic()
            try:
                processes.tend()
                for batch in range(pages // DISTINCT):
                    folder = home.folder / "inbox" / "WO-1" / f"box-{batch}"
                    # in another order each time, since the same files again are no new batch
                    shuffled = scans[batch:] + scans[:batch]
                    write_single_pages(folder.with_name(f"_{folder.name}"), shuffled, kind="jpeg")
                    folder.with_name(f"_{folder.name}").rename(folder)
                with closing(Bureau.open(Settings(home=home.folder))) as bureau:
                    wait_until(partial(_all_billed, bureau, pages), seconds=TIME_LIMIT_S)
                wall_s = time.monotonic() - begin
            finally:
                processes.stop()
            cpu_s = (_children_cpu_s() - before_s) / pages
            bound = 60 * CORES / cpu_s
            rows.append((workers, pages, f"{60 * pages / wall_s:.1f}", f"{cpu_s:.2f}", f"{bound:.1f}"))
    print_table(
        ("worker processes", "pages", "pages a minute", "CPU s a page, all processes", "bound of the cores"), rows
    )


def _rushes() -> None:
    rows = []
    for database, broker in (
        ("SQLite", "embedded"), ("PostgreSQL", "embedded"), ("PostgreSQL", "Redis"), ("PostgreSQL", "RabbitMQ"),
    ):  # fmt: skip
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-rush-")))
            server = stack.enter_context(servers.database(database))
            shared = stack.enter_context(servers.broker(broker))
            url = server.ledger_database() if server else ""
            found = rush(folder, due=DUE, database_url=url, broker=shared)
        rows.append(
            (
                f"{broker}, {database}", f"{DUE:,}", f"{found.page_s:.2f}", f"{found.first_s:.2f}",
                f"{found.first_s / found.page_s:.1f}", f"{found.last_s:.1f}", found.before_first, found.before_last,
            )
        )  # fmt: skip
    print_table(
        (
            "set-up", "pages before it", f"s a page, {THREADS} at a time", "first rush page begun after s",
            "in page times", "last of 20 after s", "others begun before the first", "before the last",
        ),
        rows,
    )  # fmt: skip


def _large_drop() -> None:
    """One folder of 40,000 small files in the inbox, looked at until it has settled."""
    with tempfile.TemporaryDirectory(prefix="bench-drop-") as scratch:
        bureau = Bureau.init(Settings(home=Path(scratch) / "home", settle_seconds=0.0))
        folder = bureau.settings.folder("inbox") / "large"
        folder.mkdir(parents=True)
        for number in range(FILES):
            (folder / f"{number:05d}.tif").write_bytes(b"II*\0")
        before_mib = _peak_mib()
        watcher = Watcher(bureau)
        looks = []
        for _ in range(2):
            begin = time.perf_counter()
            watcher.look()
            looks.append(time.perf_counter() - begin)
        rows = [(f"{FILES:,}", *(f"{look:.2f}" for look in looks), f"{_peak_mib() - before_mib:.0f}")]
        bureau.close()
    print_table(("files in one batch", "first look s", "second look s", "more memory MiB"), rows)


def _all_billed(bureau: Bureau, pages: int) -> bool:
    report = bureau.ledger.order_report("WO-1")
    assert report is not None
    return report.pages.billable == pages and all(document.conforms for document in report.documents)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
