"""How a batch of 5,000 pages scrolls in a real browser: time between two drawn frames, all thumbnails lazily loaded.

A batch of drawn pages is worked off; then each of its rows stands in the ledger so often that there are 5,000 places.
Thumbnails of one page are one picture, but each place asks for its own, as in a box of 5,000 sheets. The first way
down draws what is not in the cache, the second finds everything there.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from bench.drawn import scan_of
from bench.tables import print_table
from fixtures.batches import write_single_pages
from fixtures.pages import letter
from pipeline import people
from pipeline.bureau import Bureau
from pipeline.model import Role
from pipeline.settings import Settings
from tests.browser import chromium, sign_in, tab
from tests.console.served import served
from tests.whole.home import Home

DRAWN = 40
PLACES = 5_000
NAME, PASSWORD = "bench", "a long pass phrase for nobody"
PX_A_FRAME = 60  # a quick turn of the wheel: 3,600 pixels a second at 60 frames
LATE_MS = 50.0  # a frame that an eye notices
SCROLL = """
pxAFrame => new Promise(done => {
  const late = []; let last = performance.now();
  const step = now => {
    late.push(now - last); last = now;
    scrollBy(0, pxAFrame);
    if (scrollY + innerHeight >= document.documentElement.scrollHeight - 1) done(late.slice(1));
    else requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})
"""


def run() -> None:
    """Print the frames of both ways down."""
    with tempfile.TemporaryDirectory(prefix="bench-scroll-") as scratch:
        home = Home(Path(scratch) / "home")
        home.platen("init")
        home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", "WO-1")
        scans = [scan_of(letter(seed=seed), "grey", skew_deg=0.05 * seed) for seed in range(DRAWN)]
        write_single_pages(home.folder / "inbox" / "WO-1" / "box", scans, kind="jpeg")
        home.platen("run", "--until-idle", codes=(0, 3))
        with closing(Bureau.open(Settings(home=home.folder))) as bureau:
            _multiply(bureau)
            people.add_user(bureau, NAME, PASSWORD, Role.SUPERVISOR, who="bench")
            rows = _looks(bureau)
    print_table(
        ("way down", "screen ms", "its KiB", "frames", "ms a frame, median", "95 %", "worst", "over 50 ms", "pictures"),
        rows,
    )


def _multiply(bureau: Bureau) -> None:
    with bureau.ledger.write() as connection:
        for again in range(1, PLACES // DRAWN):
            connection.execute(
                text(
                    "INSERT INTO pages (order_id, batch_id, sequence, file, index_in_file, pages_in_file, source, "
                    "settled, prepared, readings) SELECT order_id, batch_id, sequence + :further, file, index_in_file, "
                    "pages_in_file, source, settled, prepared, readings FROM pages WHERE sequence <= :drawn"
                ),
                {"further": again * DRAWN, "drawn": DRAWN},
            )
        connection.execute(  # or the console would find pages that nobody works on
            text(
                "INSERT INTO billables (page_id, order_id, batch_id, file, index_in_file, source, at_ms, sequence) "
                "SELECT id, order_id, batch_id, file, index_in_file, source, 0, sequence FROM pages "
                "WHERE sequence > :drawn"
            ),
            {"drawn": DRAWN},
        )


def _looks(bureau: Bureau) -> list[tuple[object, ...]]:
    rows = []
    with served(bureau) as client, chromium() as browser:
        page = tab(browser, str(client.base_url))
        page.set_default_timeout(600_000)
        sign_in(page, NAME, PASSWORD)
        page.wait_for_url("**/")
        for way in ("first", "second"):
            begin = time.perf_counter()
            answer = page.goto("/orders/WO-1/batches/1", wait_until="commit")
            assert answer is not None and answer.ok
            size = len(answer.body())
            took_ms = 1000 * (time.perf_counter() - begin)
            page.wait_for_load_state("domcontentloaded")
            frames = [float(ms) for ms in page.evaluate(SCROLL, PX_A_FRAME)]
            loaded = page.evaluate("[...document.images].filter(one => one.complete && one.naturalWidth).length")
            late = sum(ms > LATE_MS for ms in frames)
            spread = statistics.quantiles(frames, n=20)[-1]
            told = (f"{ms:.1f}" for ms in (statistics.median(frames), spread, max(frames)))
            rows.append((way, f"{took_ms:.0f}", f"{size / 1024:,.0f}", f"{len(frames):,}", *told, late, f"{loaded:,}"))
    return rows
