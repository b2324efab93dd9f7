"""`make demo`: draw a morning's scans, run them to packages, film and a bill, and show what came out.

Everything is real: the batches are dropped into the inbox, the floor is the embedded one, and what it holds is decided
as a supervisor would. Ends with 0 only if every page is accounted for and every PDF passed its check.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fixtures.batches import write_single_pages
from fixtures.demo import DemoOrder, write_demo_orders
from fixtures.pages import letter
from fixtures.scanner import scanned
from pipeline import review
from pipeline.bureau import Bureau
from pipeline.film_check import check_film_folder
from pipeline.ledger.reports import OrderReport
from pipeline.model import Exclusion, OrderStatus
from pipeline.settings import Settings
from workers.floor import run_floor

MARKER = "DEMO-HOME"
WHO = "demo supervisor"

# a pipe or a file has no width of its own; 80 columns would break the table
screen = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)


def main() -> int:
    """Run the demonstration in the folder that is named."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-home").absolute()
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL)
    _fresh(home)
    os.environ["PLATEN_HOME"] = str(home)
    settings = Settings(settle_seconds=1.0, scan_seconds=0.5)
    bureau = Bureau.init(settings)
    begin = time.monotonic()
    try:
        orders = _draw(settings)
        for order in orders:
            _open(bureau, order)
        for order in orders:
            _drop(settings, order)
        _work(bureau, "Working off what was dropped")
        _decide(bureau, home)
        for order in orders:
            bureau.ledger.close_order(order.number, who=WHO)
        _work(bureau, "Reading what was decided, filming, packaging")
        reports = [bureau.ledger.order_report(order.number) for order in orders]
        faults = _show(bureau, orders, [report for report in reports if report is not None])
    finally:
        bureau.close()
    screen.print(f"\nDone in {time.monotonic() - begin:.0f} s. Look around in {home}")
    for fault in faults:
        screen.print(f"FAULT: {fault}", style="bold red", markup=False)
    return 1 if faults else 0


def _fresh(home: Path) -> None:
    if home.exists():
        if not (home / MARKER).exists():
            sys.exit(f"{home} is there and is not a demonstration's home; name another folder")
        shutil.rmtree(home)
    home.mkdir(parents=True)
    (home / MARKER).touch()


def _draw(settings: Settings) -> list[DemoOrder]:
    with _spinner("Drawing what the scanners would deliver"):
        return write_demo_orders(settings.home / "scanners")


def _open(bureau: Bureau, order: DemoOrder) -> None:
    bureau.ledger.open_order(
        customer=order.customer,
        profile=bureau.profiles[order.profile],
        services=frozenset(order.services),
        priority=order.priority,
        year=2026,
        who=WHO,
        number=order.number,
        title=f"Demonstration for {order.customer}",
        expect_pages=order.expected.received,
    )


def _drop(settings: Settings, order: DemoOrder) -> None:
    """Move the batches from the scanners' folder to the same place in the inbox, as an operator does."""
    for batch in order.batches:
        target = settings.folder("inbox") / batch.path.relative_to(settings.home / "scanners")
        target.parent.mkdir(parents=True, exist_ok=True)
        batch.path.rename(target)


def _work(bureau: Bureau, what: str) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen) as progress:
        bar = progress.add_task(what, total=None)

        def show() -> None:
            done, pages = bureau.ledger.pages_done()
            progress.update(bar, completed=done, total=pages)

        run_floor(bureau, workers=bureau.settings.workers, until_idle=True, on_tick=show)
        show()


def _decide(bureau: Bureau, home: Path) -> None:
    """What a supervisor does with what is held: the unreadable file is scanned again, the crooked page released."""
    for hold in bureau.ledger.holds():
        screen.print(f"\nHeld: {hold.order}, batch {hold.batch}, {hold.file}, page {hold.page_number}", markup=False)
        screen.print(f"  {hold.sentence}", markup=False)
        if hold.code == "skew-too-large":
            review.release(bureau, hold, who=WHO, why="lay crooked on purpose: a fold-out map")
            screen.print("  Decided: released as it is.")
        elif hold.code == "unreadable":
            write_single_pages(home / "rescans", [scanned(letter(seed=11), seed=11)], kind="tiff-g4")
            [scan] = (home / "rescans").iterdir()
            review.rescan(bureau, hold, scan, who=WHO, why="file damaged on its way")
            screen.print("  Decided: scanned again.")
        elif hold.page_id is not None:
            review.waive(bureau, hold, who=WHO, why="cannot be decided by a demonstration")
            screen.print("  Decided: left out.")
    screen.print()


def _show(bureau: Bureau, orders: list[DemoOrder], reports: list[OrderReport]) -> list[str]:
    faults: list[str] = []
    table = Table(title="\nWhat came out", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("order", "priority", "received", "billable", "separators", "blank", "rescan"):
        table.add_column(column, justify="left" if column in ("order", "priority") else "right")
    for column in ("documents", "PDF/A", "frames", "charges"):
        table.add_column(column, justify="right")
    for order, report in zip(orders, reports, strict=True):
        pages, excluded = report.pages, report.pages.excluded
        conforming = sum(document.conforms is True for document in report.documents)
        table.add_row(
            order.number,
            order.priority.value,
            str(pages.received),
            str(pages.billable),
            str(excluded[Exclusion.SEPARATOR]),
            str(excluded[Exclusion.BLANK]),
            str(excluded[Exclusion.RESCAN]),
            str(len(report.documents)),
            f"{conforming} pass",
            str(report.usage.film_frames or ""),
            f"{sum(charge.amount for charge in report.charges):.2f}",
        )
        faults += _faults(order, report)
    screen.print(table)
    screen.print()
    for report in reports:
        screen.print(f"{report.order.number}  package  {report.order.package}", markup=False)
        for roll in report.rolls:
            screen.print(f"{report.order.number}  film     {roll.folder} ({roll.frames} frames)", markup=False)
    for folder in sorted(bureau.settings.folder("film").iterdir()):
        faults += [f"{folder.name}: {problem}" for problem in check_film_folder(folder).problems]
    return faults


def _faults(order: DemoOrder, report: OrderReport) -> list[str]:
    faults = []
    pages, number = report.pages, order.number
    if pages.received != pages.billable + sum(pages.excluded.values()) + pages.held + pages.open:
        faults.append(f"{number}: the counts do not add up: {pages.as_json()}")
    if pages.held or pages.open:
        faults.append(f"{number}: {pages.held} pages held, {pages.open} open")
    expected = order.expected
    found = (pages.excluded[Exclusion.SEPARATOR], pages.excluded[Exclusion.BLANK], pages.billable)
    drawn = (expected.separator, expected.blank, expected.billable + expected.unreadable + expected.too_skewed)
    if found != drawn:
        faults.append(f"{number}: separators, blanks, billable are {found}, drawn were {drawn}")
    if report.order.status is not OrderStatus.DELIVERED:
        faults.append(f"{number}: not delivered")
    faults += [f"{number}: {d.title} is not conforming" for d in report.documents if d.conforms is not True]
    return faults


def _spinner(what: str) -> Progress:
    progress = Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=screen)
    progress.add_task(what, total=None)
    return progress


if __name__ == "__main__":
    raise SystemExit(main())
