"""A backup is of one moment, whatever is written meanwhile, and is a bureau again when it is restored."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.backup import back_up
from pipeline.bureau import Bureau
from pipeline.ledger import Ledger, LedgerUnusable
from pipeline.model import Priority, Service, WorkOrder
from pipeline.settings import Settings
from pipeline.tasks import do_task, run_task
from pipeline.verification import verify
from tests.pipeline.by_hand import arrival, open_order, run_hint, work_off
from tests.servers import PostgreSQL
from tests.whole.home import drop_small_pages

PAGES = 40


@pytest.fixture
def restored_url(ledger: Ledger, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a copy of the ledger is restored to: another database of the same kind."""
    if ledger.is_sqlite:
        return f"sqlite:///{tmp_path / 'restored.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.empty_database()


def _take_in(bureau: Bureau, number: str, name: str, *, first: int) -> Path:
    """Take a delivery of one page into an order; gives the page's file."""
    folder = bureau.settings.home / f"_{name}"
    drop_small_pages(folder, 1, first=first)
    _, task_id = bureau.ledger.announce_delivery(
        source=str(folder), name=name, order_number=number, moves=False, who="test"
    )
    task = bureau.ledger.claim_at_once(task_id, "w")
    assert task is not None
    do_task(bureau, task, owner="w")
    return folder / f"{first:04d}.tif"


def _order(bureau: Bureau) -> WorkOrder:
    return bureau.ledger.open_order(
        customer="C", profile=bureau.profiles["records-bitonal"], services=frozenset({Service.IMAGING}),
        priority=Priority.NORMAL, year=2026, who="test",
    )  # fmt: skip


def _restore(copy: Path, url: str) -> Ledger:
    if copy.suffix == ".db":
        shutil.copyfile(copy, url.removeprefix("sqlite:///"))
    else:
        address = url.replace("+psycopg", "")
        subprocess.run(
            ["pg_restore", "--no-owner", "--exit-on-error", f"--dbname={address}", copy],
            check=True,
            capture_output=True,
        )
    restored = Ledger(url)
    restored.check_version()
    return restored


def test_a_copy_taken_while_others_write_is_of_one_moment_and_goes_on_where_that_was(
    ledger: Ledger, restored_url: str, tmp_path: Path
) -> None:
    order = open_order(ledger, film=True)
    arrival(ledger, order, PAGES)()
    ledger.close_order(order.number, who="test")
    some_done = threading.Event()

    def work() -> None:
        while handed := ledger.dispatch("w", 2):
            for _, task_id, attempt in handed:
                run_hint(ledger, task_id, attempt)
            some_done.set()

    writer = threading.Thread(target=work)
    writer.start()
    assert some_done.wait(30)
    copy, handed_over = ledger.copy_to(tmp_path)
    writer.join()
    assert [one.number for one in handed_over.orders] == [order.number]

    with closing(_restore(copy, restored_url)) as restored:
        before = restored.recount(order.number)
        assert before is not None
        assert list(before.miscounts) == list(before.misbilled) == list(before.unwritten) == []
        restored.give_back("w")
        work_off(restored)
        after, first = restored.recount(order.number), ledger.recount(order.number)
        assert after is not None and first is not None
        assert after.report.pages == first.report.pages
        assert after.report.pages.billable == PAGES
        assert after.report.charges == first.report.charges
        assert after.batches == first.batches


def test_only_what_was_handed_over_at_that_moment_is_named(ledger: Ledger, tmp_path: Path) -> None:
    done, open_ = open_order(ledger, film=True), open_order(ledger, film=True)
    arrival(ledger, done, 1)()
    ledger.close_order(done.number, who="test")
    work_off(ledger)
    arrival(ledger, open_, 1)()
    work_off(ledger)
    _, handed_over = ledger.copy_to(tmp_path)
    assert [(one.number, one.deliveries) for one in handed_over.orders] == [(done.number, 1), (open_.number, 0)]
    assert list(handed_over.films) == ["film"]


def test_a_copy_that_cannot_be_made_is_told_and_the_earlier_one_stays(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    copy, _ = ledger.copy_to(folder)
    before = copy.read_bytes()
    if ledger.is_sqlite:
        folder.rename(tmp_path / "unmounted")
        with pytest.raises(FileNotFoundError):
            ledger.copy_to(folder)
        (tmp_path / "unmounted").rename(folder)
    else:
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(LedgerUnusable, match="pg_dump is not installed"):
            ledger.copy_to(folder)
    assert copy.read_bytes() == before
    assert [path.name for path in folder.iterdir()] == [copy.name]


def test_a_backup_is_a_home_of_its_own_and_gets_what_is_new(bureau: Bureau, tmp_path: Path) -> None:
    order = _order(bureau)
    _take_in(bureau, order.number, "one", first=1)
    first = back_up(bureau, tmp_path / "backup")
    _take_in(bureau, order.number, "two", first=2)
    second = back_up(bureau, tmp_path / "backup")
    assert (first.files, second.files) == (1, 1)
    copy = Bureau.init(Settings(home=tmp_path / "backup"))
    try:
        found = verify(copy)
    finally:
        copy.close()
    assert (found.faults, found.pages, found.files) == ((), 2, 2)
    assert (tmp_path / "backup" / "profiles" / "rates").is_dir()
    assert back_up(bureau, tmp_path / "backup").files == 0


def test_a_backup_goes_on_past_a_damaged_file_and_keeps_the_good_copy_of_an_earlier_one(
    bureau: Bureau, tmp_path: Path
) -> None:
    order = _order(bureau)
    scan = _take_in(bureau, order.number, "one", first=1)
    back_up(bureau, tmp_path / "backup")
    _take_in(bureau, order.number, "two", first=2)
    for path in (bureau.settings.home / "store").glob("??/*"):
        path.chmod(0o644)
        os.truncate(path, 10)
    [fault] = back_up(bureau, tmp_path / "backup").faults  # the first page is in the backup already, as it should be
    assert "no longer has the content" in fault
    [kept] = (tmp_path / "backup" / "store").glob("??/*")
    assert kept.read_bytes() == scan.read_bytes()


def test_a_backup_into_the_home_or_around_it_is_refused(bureau: Bureau, tmp_path: Path) -> None:
    for folder in (bureau.settings.home / "backup", bureau.settings.home, tmp_path):
        with pytest.raises(ValueError, match="is not apart from the home"):
            back_up(bureau, folder)


def test_a_restored_bureau_leaves_the_first_ones_inbox_alone(bureau: Bureau, tmp_path: Path) -> None:
    order = _order(bureau)
    dropped = bureau.settings.folder("inbox") / order.number / "box"
    drop_small_pages(dropped, 1)
    bureau.ledger.announce_delivery(
        source=str(dropped), name="box", order_number=order.number, moves=True, who="watcher"
    )
    back_up(bureau, tmp_path / "backup")
    restored = Bureau.init(Settings(home=tmp_path / "backup"))
    try:
        assert verify(restored).told == (f"{order.number} is open; not finished: 1 RECEIVE_BATCH due.",)
        [(_, task_id, attempt)] = restored.ledger.dispatch("w", 1)
        run_task(restored, task_id, attempt, owner="w")
        [event] = [event for event in restored.ledger.events(order.id) if event.kind == "refused"]
        assert "Drop it again" in str(event.detail["reason"])
    finally:
        restored.close()
    assert (dropped / "0000.tif").is_file()
    [(_, task_id, attempt)] = bureau.ledger.dispatch("w", 1)
    run_task(bureau, task_id, attempt, owner="w")
    assert bureau.ledger.order_counts(order.id).received == 1
