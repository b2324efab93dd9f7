"""A small rush order dropped behind a big one: when its pages begin, and what begins before them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from pipeline.ledger import Ledger
from pipeline.model import ReceivedPage
from pipeline.store import FolderStore
from tests.servers import Server
from tests.whole.chaos import Processes
from tests.whole.home import Home, drop_small_pages, wait_until

THREADS = 2
RUSH_PAGES = 20
WARM = 10  # pages of the big order that are done before the rush order comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rush:
    """From the moment the rush pages were due: seconds till the first and the last of them began.

    `page_s` is how long a page of the big order took; `before_first` and `before_last` say how many of these began
    meanwhile.
    """

    page_s: float
    first_s: float
    last_s: float
    before_first: int
    before_last: int


def rush(folder: Path, *, due: int, database_url: str = "", broker: Server | None = None) -> Rush:
    """Have `due` pages of one order wait, let the workers begin, drop a rush order, and see when it is begun."""
    home = Home(folder / "home")
    home.environment |= {
        "PLATEN_DATABASE_URL": database_url,
        "PLATEN_BROKER_URL": broker.url if broker else "embedded",
        "PLATEN_WORKERS": str(THREADS),
        "OMP_THREAD_LIMIT": "1",
    }
    home.platen("init")
    for number, priority in (("BIG", "normal"), ("RUSH", "rush")):
        home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", number,
                    "--priority", priority)  # fmt: skip
    ledger = Ledger(database_url or f"sqlite:///{home.folder / 'ledger.db'}")
    _wait_in_line(ledger, home, folder, due)
    processes = Processes(home, workers=1, with_feeder=broker is not None)
    try:
        processes.tend()
        wait_until(lambda: _begun(ledger, "BIG") >= WARM)
        drop_small_pages(home.folder / "inbox" / "RUSH" / "urgent", RUSH_PAGES)
        wait_until(lambda: _begun(ledger, "RUSH") == RUSH_PAGES)
    finally:
        processes.stop()
    found = _found(ledger)
    ledger.close()
    return found


def _wait_in_line(ledger: Ledger, home: Home, folder: Path, due: int) -> None:
    """Take in a batch of so many pages, all of the same scan."""
    drop_small_pages(folder / "scan", 1)
    source = FolderStore(home.folder / "store").put_file(next((folder / "scan").iterdir()))
    order = ledger.order("BIG")
    assert order is not None
    delivery_id, task_id = ledger.announce_delivery(
        source=str(folder / "scan"), name="big", order_number="BIG", moves=False, who="test"
    )
    task = ledger.claim_at_once(task_id, "test")
    assert task is not None
    pages = [ReceivedPage(file=f"{n}.tif", index_in_file=0, pages_in_file=1, source=source) for n in range(due)]
    ledger.record_received(task, order.id, ledger.delivery(delivery_id), "digest", pages, who="test")
    ledger.finish_delivery(delivery_id, "received")


_STARTED = """
    SELECT t.started_ms, t.finished_ms FROM tasks t JOIN orders o ON o.id = t.order_id
    WHERE o.number = :number AND t.kind = 'PREPARE_PAGE' AND t.started_ms IS NOT NULL ORDER BY t.started_ms
"""


def _begun(ledger: Ledger, number: str) -> int:
    with ledger.read() as c:
        return len(c.execute(text(_STARTED), {"number": number}).all())


def _found(ledger: Ledger) -> Rush:
    with ledger.read() as c:
        big = c.execute(text(_STARTED), {"number": "BIG"}).all()
        urgent = [row.started_ms for row in c.execute(text(_STARTED), {"number": "RUSH"})]
        due_ms = c.execute(text("SELECT max(received_ms) FROM batches")).scalar_one()
    took = [row.finished_ms - row.started_ms for row in big if row.finished_ms]
    return Rush(
        page_s=sum(took) / len(took) / 1000,
        first_s=(urgent[0] - due_ms) / 1000,
        last_s=(urgent[-1] - due_ms) / 1000,
        before_first=sum(due_ms < row.started_ms < urgent[0] for row in big),
        before_last=sum(due_ms < row.started_ms < urgent[-1] for row in big),
    )
