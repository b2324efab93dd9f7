"""`platen verify` finds every kind of fault, and names it; what is in order is not suspected."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from pipeline.bureau import Bureau
from pipeline.film_check import check_film_folder
from pipeline.ledger import Ledger
from pipeline.model import Priority, Service
from pipeline.orphans import DAY_S, orphans, sweep
from pipeline.settings import Settings
from pipeline.tasks import do_task, run_task
from pipeline.verification import Verified, verify
from tests.pipeline.by_hand import arrival, open_order, run_hint, sha, work_off
from tests.whole.home import Home, drop_small_pages

pytestmark = pytest.mark.tool

ORDER = "WO-1"
OWNER = "f" * 32


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a bureau that has delivered an order of two pages, with film; each test damages a copy."""
    home = Home(tmp_path_factory.mktemp("delivered") / "home")
    home.platen("init")
    home.platen("order", "open", "--customer", "C", "--profile", "records-bitonal", "--number", ORDER,
                "--service", "imaging", "--service", "film")  # fmt: skip
    drop_small_pages(home.folder / "inbox" / ORDER / "box", 2)
    home.platen("run", "--until-idle")
    home.platen("order", "close", ORDER)
    home.platen("run", "--until-idle")
    return home.folder


@pytest.fixture
def home(delivered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(delivered, tmp_path / "home"))


def verified(home: Path) -> Verified:
    bureau = Bureau.open(Settings(home=home))
    try:
        return verify(bureau)
    finally:
        bureau.close()


def change(home: Path, *statements: str) -> None:
    """Change the ledger as no program of ours would: its triggers would refuse."""
    with closing(sqlite3.connect(home / "ledger.db")) as database, database:
        refusing = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%RAISE%'"
        for (name,) in database.execute(refusing).fetchall():
            database.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            database.execute(statement)


def flip(path: Path) -> None:
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def age(path: Path) -> None:
    os.utime(path, (time.time() - 2 * DAY_S, time.time() - 2 * DAY_S))


def digest_of(home: Path, column: str) -> str:
    with closing(sqlite3.connect(home / "ledger.db")) as database:
        return str(database.execute(f"SELECT {column} FROM pages WHERE sequence = 2").fetchone()[0])


def in_store(home: Path, digest: str) -> Path:
    return home / "store" / digest[:2] / digest[2:]


def test_nothing_is_found_where_nothing_is_wrong(home: Path) -> None:
    found = verified(home)
    assert (found.faults, found.told) == ((), ())
    assert (found.orders, found.pages, found.packages) == (1, 2, 1)
    assert found.files == 2 * 4 + 2  # a page: scan, prepared, text, ALTO; the document: PDF, report


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE batches SET pages_left = 1", "WO-1, batch box, pages to be looked at: 1 are kept, 0 are counted."),
        (
            "UPDATE documents SET pages_left = 2",
            "WO-1, document WO-1-B00001-D0001, pages to be finished: 2 are kept, 0 are counted.",
        ),
        ("UPDATE orders SET items_left = 1", "WO-1, batches and documents to be finished: 1 are kept, 0 are counted."),
        ("UPDATE orders SET rolls_left = -1", "WO-1, rolls to be written: -1 are kept, 0 are counted."),
        ("UPDATE batches SET seal = NULL", "WO-1, batch box: it was delivered without a seal."),
        (
            "UPDATE pages SET file = 'other.tif' WHERE sequence = 1",
            "WO-1: billed although left out, or as another page: batch box, page 1.",
        ),
        (
            "UPDATE billables SET source = 'x' WHERE page_id = 2",
            "WO-1: billed although left out, or as another page: batch box, page 2.",
        ),
        (
            "INSERT INTO tasks (order_id, kind, subject_id, rank, state, changed_ms) "
            "VALUES (1, 'RECOGNIZE_PAGE', 99, 4, 'due', 0)",
            "WO-1 was delivered, but not everything of it is finished: 1 RECOGNIZE_PAGE due.",
        ),
        ("UPDATE charges SET amount_e4 = 99 WHERE fee_code = 'IMG'", "WO-1: the charge IMG of delivery 1 is 0.01;"),
        (
            "UPDATE charges SET quantity = '3', amount_e4 = 3 * unit_price_e4 WHERE fee_code = 'IMG'",
            "WO-1: 3 IMG are charged, 2 were done.",
        ),
        (
            "UPDATE events SET who = 'nobody' WHERE id = (SELECT min(id) FROM events WHERE order_id = 1)",
            "WO-1: line 1 of its history (event 1, order 1) is not as it was written.",
        ),
        ("INSERT INTO tallies (order_id, name, label, n) VALUES (1, 'PAGE', 'open', 2)", "WO-1: 2 of PAGE are tallied"),
        ("DELETE FROM charges WHERE fee_code = 'IMG'", "WO-1: 0 IMG are charged, 2 were done."),
        ("DELETE FROM billables WHERE page_id = 2", "WO-1 was delivered, but 0 pages are held and 1 are open."),
    ],
)
def test_records_that_contradict_each_other_are_told(home: Path, statement: str, sentence: str) -> None:
    change(home, statement)
    found = verified(home).faults
    assert any(fault.startswith(sentence) for fault in found), found
    if "pages SET" not in statement and "DELETE FROM billables" not in statement:  # these break the seal too, and more
        assert len(found) == 1


def test_a_document_without_its_file_is_told(home: Path) -> None:
    change(home, "UPDATE documents SET pdf = NULL")
    found = verified(home).faults
    assert "WO-1: document WO-1-B00001-D0001 is recorded as finished and has no file." in found
    assert any("is not the file that the ledger knows" in fault for fault in found)


def test_a_page_changed_after_delivery_breaks_the_seal(home: Path) -> None:
    change(home, "UPDATE pages SET source = prepared WHERE sequence = 1")
    assert any("its seal no longer fits its pages" in fault for fault in verified(home).faults)


def test_tasks_that_nobody_does_though_workers_live_are_told(home: Path) -> None:
    with closing(Ledger(f"sqlite:///{home / 'ledger.db'}")) as ledger:
        ledger.register_worker(OWNER)
    task = ("INSERT INTO tasks (kind, subject_id, rank, state, owner, started_ms, changed_ms) "
            "VALUES ('RECEIVE_BATCH', 99, 0, 'running', '{}', 0, 0)")  # fmt: skip
    change(home, task.format(OWNER))
    assert verified(home).faults == ()
    change(home, "UPDATE tasks SET owner = 'dead' WHERE owner IS NOT NULL")
    [fault] = verified(home).faults
    assert fault.startswith("1 tasks have been with no living worker for more than 10 minutes")
    change(home, "DELETE FROM workers")  # no floor runs: whoever starts one takes them up
    found = verified(home)
    assert found.faults == ()
    assert found.told == ("Deliveries that are not taken in yet: 1 RECEIVE_BATCH running.",)


def test_a_missing_and_a_damaged_file_of_the_store_are_told_with_the_page(home: Path) -> None:
    in_store(home, digest_of(home, "source")).unlink()
    flip(in_store(home, digest_of(home, "text")))
    assert verified(home).faults == (
        f"WO-1, batch box, page 2: its file {digest_of(home, 'source')} is missing from the store.",
        f"WO-1, batch box, page 2: its file {digest_of(home, 'text')} in the store is damaged.",
    )


def test_a_store_that_is_not_there_is_told_as_such_and_not_file_by_file(home: Path) -> None:
    (home / "store").rename(home / "unmounted")
    with pytest.raises(OSError, match="There is no store at"):
        verified(home)


def test_what_nobody_refers_to_is_told_when_it_is_a_day_old_and_swept(home: Path) -> None:
    bureau = Bureau.open(Settings(home=home))
    try:
        orphan, young = bureau.store.put_bytes(b"an orphan"), bureau.store.put_bytes(b"on its way")
        left = bureau.store.scratch / "4711-left"
        left.write_bytes(b"half")
        (home / "store" / "notes.txt").write_text("by hand")
        for path in (in_store(home, orphan), left, *(home / "store").glob("??/*")):
            if path != in_store(home, young):
                age(path)
        assert list(verify(bureau).faults) == [
            f"store/{orphan[:2]}/{orphan[2:]} (9 bytes): no record refers to this file. "
            "platen sweep removes such files.",
            "store/notes.txt (7 bytes) is no file of the store. Somebody has put it there: take it out.",
            "store/incoming/4711-left (4 bytes): left behind by a writer that was killed. platen sweep removes it.",
        ]
        swept = sweep(bureau, older_than_s=DAY_S)
        assert (swept.files, swept.size_bytes) == (2, 13)
        assert bureau.store.has(young)
        assert (home / "store" / "notes.txt").exists()
        (home / "store" / "notes.txt").unlink()
        assert verify(bureau).faults == ()
    finally:
        bureau.close()


def test_a_writer_that_keeps_an_old_orphan_anew_saves_it_from_a_sweep(home: Path) -> None:
    bureau = Bureau.open(Settings(home=home))
    try:
        orphan = bureau.store.put_bytes(b"an orphan")
        age(in_store(home, orphan))
        listed = orphans(bureau, older_than_s=DAY_S)
        assert next(listed).digest == orphan  # a sweep has made up its mind
        assert bureau.store.put_bytes(b"an orphan") == orphan
        assert not bureau.store.remove(orphan, older_than_s=DAY_S)
        assert bureau.store.intact(orphan)
    finally:
        bureau.close()


def test_a_missing_package_is_told(home: Path) -> None:
    shutil.rmtree(home / "outbox" / "C" / ORDER / "delivery-1")
    assert verified(home).faults == (f"WO-1: the package outbox/C/{ORDER}/delivery-1 is not in the outbox.",)


@pytest.mark.parametrize("name", ["data/index.csv", "bagit.txt", "manifest-sha256.txt"])
def test_a_damaged_package_is_told(home: Path, name: str) -> None:
    (home / "outbox" / "C" / ORDER / "delivery-1" / name).write_bytes(b"\xff\xfe")
    [fault] = verified(home).faults
    assert fault.startswith(f"WO-1: the package outbox/C/{ORDER}/delivery-1 is not sound")


def the_film(home: Path) -> Path:
    [folder] = (home / "film").iterdir()
    return folder


def test_a_missing_roll_is_told(home: Path) -> None:
    shutil.rmtree(the_film(home))
    assert verified(home).faults == ("WO-1: roll R000001 is not in the film folder.",)


def test_a_damaged_frame_is_told(home: Path) -> None:
    frame = sorted(the_film(home).glob("ROLL_*/*.tif"))[-3]
    with Image.open(frame) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(frame, compression="group4")
    assert not check_film_folder(the_film(home)).good
    [fault] = verified(home).faults
    assert fault.startswith(f"WO-1: the film film/{the_film(home).name} is not sound: ROLL_R000001/{frame.name}")


def test_a_film_with_other_frames_than_recorded_is_told(home: Path) -> None:
    change(home, "UPDATE rolls SET frames = frames + 1")
    [fault] = verified(home).faults
    assert fault.endswith("are recorded.")


def test_what_is_not_finished_yet_is_told_and_is_no_fault(home: Path) -> None:
    bureau = Bureau.open(Settings(home=home))
    try:
        order = bureau.ledger.open_order(
            customer="C", profile=bureau.profiles["records-bitonal"], services=frozenset({Service.IMAGING}),
            priority=Priority.NORMAL, year=2026, who="test", number="WO-2",
        )  # fmt: skip
        drop_small_pages(home / "_box", 2, first=50)
        _, task_id = bureau.ledger.announce_delivery(
            source=str(home / "_box"), name="box", order_number=order.number, moves=False, who="test"
        )
        task = bureau.ledger.claim_at_once(task_id, "w")
        assert task is not None
        do_task(bureau, task, owner="w")
        found = verify(bureau)
        assert found.faults == ()
        assert found.told == ("WO-2 is open; not finished: 2 PREPARE_PAGE due.",)
    finally:
        bureau.close()


def test_work_on_a_damaged_file_is_held_at_once_and_goes_on_when_the_file_is_mended(home: Path) -> None:
    bureau = Bureau.open(Settings(home=home))
    try:
        order = bureau.ledger.reopen_order(ORDER, who="test")
        drop_small_pages(home / "_more", 1, first=70)
        _, task_id = bureau.ledger.announce_delivery(
            source=str(home / "_more"), name="more", order_number=order.number, moves=False, who="test"
        )
        task = bureau.ledger.claim_at_once(task_id, "w")
        assert task is not None
        do_task(bureau, task, owner="w")
        with closing(sqlite3.connect(home / "ledger.db")) as database:
            (source,) = database.execute("SELECT source FROM pages ORDER BY id DESC LIMIT 1").fetchone()
        flip(in_store(home, source))
        [(_, page_task, attempt)] = bureau.ledger.dispatch("w", 1)
        run_task(bureau, page_task, attempt, owner="w")
        [hold] = bureau.ledger.holds()
        assert hold.code == "store-file-damaged"
        assert source[2:] in hold.sentence
        bureau.store.put_file(home / "_more" / "0070.tif")
        bureau.ledger.decide_retry(hold, who="test", why="put back")
        [(_, page_task, attempt)] = bureau.ledger.dispatch("w", 1)
        run_task(bureau, page_task, attempt, owner="w")
        assert bureau.ledger.holds() == []
    finally:
        bureau.close()


def test_a_film_that_was_not_handed_over_when_the_ledger_was_copied_is_written_again(home: Path) -> None:
    change(
        home,
        "UPDATE orders SET status = 'closed', deliveries = 0, package = NULL",
        "UPDATE tasks SET state = 'due', attempt = attempt + 1 WHERE kind = 'DELIVER_ORDER'",
        "UPDATE batches SET seal = NULL",
        "DELETE FROM charges",
    )
    for name in ("film", "outbox"):  # a backup holds only what had been handed over
        shutil.rmtree(home / name)
        (home / name).mkdir()
    bureau = Bureau.open(Settings(home=home))
    try:
        [(_, task_id, attempt)] = bureau.ledger.dispatch("w", 1)
        run_task(bureau, task_id, attempt, owner="w")
        assert bureau.ledger.holds() == []
        found = verify(bureau)
        assert (found.faults, found.packages) == ((), 1)
    finally:
        bureau.close()
    assert check_film_folder(the_film(home)).good


# --- the questions that verify asks, on both engines ----------------------------------------------------------------


def test_counters_agree_at_every_step_of_an_order(ledger: Ledger) -> None:
    order = open_order(ledger, film=True)
    arrival(ledger, order, 3)()
    ledger.close_order(order.number, who="test")
    steps = 0
    while handed := ledger.dispatch("w", 1):
        [(_, task_id, attempt)] = handed
        run_hint(ledger, task_id, attempt)
        recount = ledger.recount(order.number)
        assert recount is not None
        assert list(recount.miscounts) == list(recount.unwritten) == list(recount.misbilled) == []
        steps += 1
    assert steps == 3 + 1 + 3 + 1 + 1 + 1 + 1  # prepare, assemble, recognize, package, plan, write, deliver
    assert recount.tasks == {}
    assert recount.delivered_on is not None


def test_every_file_that_a_row_names_is_referred_to(ledger: Ledger) -> None:
    order = open_order(ledger)
    arrival(ledger, order, 3)()
    work_off(ledger)
    made_up = {sha(number) for number in (0, 1, 2, 6, 7, 8, 9)}  # scans, report, PDF, text, prepared page
    assert set(ledger.files_referred_to()) == made_up


def test_abandoned_tasks_are_counted_only_beside_living_workers(ledger: Ledger) -> None:
    order = open_order(ledger)
    arrival(ledger, order, 2)()
    ledger.dispatch("dead", 2)
    assert ledger.abandoned_tasks(older_than_ms=-60_000) == 0
    ledger.register_worker("living")
    assert ledger.abandoned_tasks(older_than_ms=-60_000) == 2
    assert ledger.abandoned_tasks(older_than_ms=600_000) == 0
