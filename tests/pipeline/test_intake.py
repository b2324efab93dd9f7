"""What intake promises: every delivery is taken in whole and once, or lies in error/ with the reason."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from fixtures.batches import write_single_pages
from fixtures.pages import letter
from fixtures.scanner import scanned
from fixtures.separators import batch_ticket
from pipeline import intake, review
from pipeline.bureau import Bureau
from pipeline.intake import natural_key, receive_delivery, scan_files
from pipeline.ledger import AWAITING_RESCAN, HeldNoLonger
from pipeline.model import Exclusion, Hold, OrderStatus, Page, Priority, Service, TaskKind, WorkOrder
from pipeline.review import CannotDecide
from pipeline.settings import Settings
from pipeline.tasks import do_task
from workers.watcher import Watcher

ORDER = "WO-1"


@pytest.fixture
def bureau(bureau: Bureau) -> Iterator[Bureau]:
    """A bureau with one open order."""
    _open(bureau, ORDER)
    yield bureau


def _open(bureau: Bureau, number: str) -> WorkOrder:
    order = bureau.ledger.open_order(
        customer="DPHHS",
        profile=bureau.profiles["records-bitonal"],
        services=frozenset({Service.IMAGING}),
        priority=Priority.NORMAL,
        year=2026,
        who="test",
        number=number,
    )
    (bureau.settings.folder("inbox") / number).mkdir()
    return order


def _image(grey: int = 200, *, pages: int = 1) -> bytes:
    """A small TIFF whose content follows from `grey`."""
    frames = [Image.new("L", (40, 50), (grey + n) % 256) for n in range(pages)]
    written = io.BytesIO()
    frames[0].save(written, "TIFF", save_all=True, append_images=frames[1:], dpi=(100, 100))
    return written.getvalue()


def _drop(bureau: Bureau, place: str, *names: str, grey: int = 200) -> Path:
    """Drop files into the inbox, each with its own content."""
    folder = bureau.settings.folder("inbox") / place
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_image(grey + number))
    return folder


def _look(bureau: Bureau, watcher: Watcher | None = None) -> None:
    """Let the watcher see twice that nothing changes."""
    watcher = watcher or Watcher(bureau)
    watcher.look()
    watcher.look()


def _receive(bureau: Bureau) -> int:
    """Do every delivery that is due; gives how many."""
    handed = [hint for hint in bureau.ledger.dispatch("w", 100) if hint[0] is TaskKind.RECEIVE_BATCH]
    for _, task_id, attempt in handed:
        task = bureau.ledger.claim(task_id, attempt, "w")
        assert task is not None
        do_task(bureau, task, owner="w")
    bureau.ledger.give_back("w")  # what is to be done to pages is not of interest here
    return len(handed)


def _take_in(bureau: Bureau) -> None:
    _look(bureau)
    _receive(bureau)


def _batches(bureau: Bureau, number: str = ORDER) -> dict[str, list[str]]:
    """Batches of the order with the files of their pages in order."""
    order = bureau.ledger.order(number)
    assert order is not None
    return {
        batch.name: [page.file for page in bureau.ledger.pages_of_batch(batch.id)]
        for batch in bureau.ledger.batches_of(order.id)
    }


def _lies(bureau: Bureau, folder: str) -> set[str]:
    root = bureau.settings.folder(folder)
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def _why(bureau: Bureau, name: str) -> str:
    return (bureau.settings.folder("error") / name / "WHY.txt").read_text(encoding="utf-8")


def test_a_folder_is_a_batch_with_its_files_in_the_order_people_count(bureau: Bureau) -> None:
    _drop(bureau, f"{ORDER}/box-1", "page 10.tif", "page 2.tif", "Page 1.tif", "b/1.tif")
    _take_in(bureau)
    assert _batches(bureau) == {"box-1": ["b/1.tif", "Page 1.tif", "page 2.tif", "page 10.tif"]}
    assert _lies(bureau, "done") == {
        f"{ORDER}/box-1/{n}" for n in ("page 10.tif", "page 2.tif", "Page 1.tif", "b/1.tif")
    }
    assert _lies(bureau, "inbox") == set()


def test_a_file_in_an_orders_folder_is_a_batch_of_its_own(bureau: Bureau) -> None:
    (bureau.settings.folder("inbox") / ORDER / "deed.tif").write_bytes(_image(pages=3))
    _take_in(bureau)
    assert _batches(bureau) == {"deed.tif": ["deed.tif"] * 3}
    assert _lies(bureau, "done") == {f"{ORDER}/deed.tif"}


def test_what_systems_leave_behind_is_no_page(bureau: Bureau) -> None:
    junk = ("Thumbs.db", "desktop.ini", ".DS_Store", "__MACOSX/1.tif", "~1.tif", "2.tif.part", "3.tmp", "@eaDir/1.tif")
    _drop(bureau, f"{ORDER}/box-1", "1.tif", *junk)
    _take_in(bureau)
    assert _batches(bureau) == {"box-1": ["1.tif"]}


def test_links_are_not_followed(bureau: Bureau, tmp_path: Path) -> None:
    secret = tmp_path / "secret.tif"
    secret.write_bytes(_image(7))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.tif").write_bytes(_image(8))
    folder = _drop(bureau, f"{ORDER}/box-1", "1.tif")
    (folder / "2.tif").symlink_to(secret)
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    inbox = bureau.settings.folder("inbox")
    (inbox / ORDER / "whole.tif").symlink_to(secret)
    (inbox / ORDER / "folder").symlink_to(tmp_path / "elsewhere")
    _take_in(bureau)
    assert _batches(bureau) == {"box-1": ["1.tif"]}
    assert secret.exists()


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "10", "11", "100"],
        ["a1b2", "a1b10", "a2b1"],
        ["box 1/2", "box 1/10", "box 2/1", "box 10/1"],
        ["IMG_0009.tif", "img_0010.tif", "IMG_0011.tif"],
        ["a/z", "a b/a"],
        ["Ä1", "ä2", "Ä10"],
        ["x" + "0" * 200 + "1", "x2"],
    ],
)
def test_names_sort_as_people_count(names: list[str]) -> None:
    assert sorted(reversed(names), key=natural_key) == names


def test_names_that_count_the_same_have_one_order(tmp_path: Path) -> None:
    for name in ("001.tif", "1.tif", "01.tif"):
        (tmp_path / name).touch()
    assert scan_files(tmp_path) == ["001.tif", "01.tif", "1.tif"]


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "Übergröße 文書",
        "two\nlines",
        "-rf",
        "--order=x",
        "tab\there",
        "'; drop table pages",
        "50% [b]",
        "v1.2",
    ],
)
def test_strange_names_are_taken_in_like_any_other(bureau: Bureau, name: str) -> None:
    _drop(bureau, f"{ORDER}/{name}", f"{name} 1.tif", f"{name}/2.tif")
    _take_in(bureau)
    [(batch, files)] = _batches(bureau).items()
    assert len(files) == 2
    assert "\n" not in batch + "".join(files)
    assert _lies(bureau, "done") == {f"{ORDER}/{name}/{name} 1.tif", f"{ORDER}/{name}/{name}/2.tif"}


def test_a_name_that_is_no_utf8_stops_nobody(bureau: Bureau) -> None:
    bad = os.fsdecode(b"bo\xe9te")
    _drop(bureau, f"{ORDER}/a-{bad}", f"{bad}.tif")
    _drop(bureau, f"{ORDER}/z-good", "1.tif", grey=100)
    watcher = Watcher(bureau)
    _look(bureau, watcher)
    _look(bureau, watcher)
    _receive(bureau)
    batches = _batches(bureau)
    assert len(batches) == 2
    assert batches["z-good"] == ["1.tif"]
    for name, files in batches.items():
        (name + "".join(files)).encode()


@pytest.mark.parametrize(("drop", "name"), [("WO-TYPO", "WO-TYPO"), ("stray.v1", "stray.v1")])
def test_what_names_no_order_goes_to_error_with_the_reason(bureau: Bureau, drop: str, name: str) -> None:
    _drop(bureau, drop, "1.tif", "2.tif")
    _take_in(bureau)
    assert _lies(bureau, "error") == {f"{name}/1.tif", f"{name}/2.tif", f"{name}/WHY.txt"}
    assert f"There is no work order {name}" in _why(bureau, name)
    assert "inbox/<order number>/" in _why(bureau, name)
    assert bureau.ledger.pages_done() == (0, 0)


def test_a_refused_file_lies_in_a_folder_with_its_reason(bureau: Bureau) -> None:
    (bureau.settings.folder("inbox") / "stray.tif").write_bytes(_image())
    _take_in(bureau)
    assert _lies(bureau, "error") == {"stray/stray.tif", "stray/WHY.txt"}


def test_a_store_that_may_not_be_written_is_no_fault_of_the_delivery(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_stream: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(bureau.store.scratch / "scratch"))

    monkeypatch.setattr("pipeline.store._flush", denied)
    _drop(bureau, f"{ORDER}/box", "1.tif")
    _take_in(bureau)
    assert _lies(bureau, "error") == set()
    assert len(bureau.ledger.open_delivery_sources()) == 1  # it is tried again


def test_two_refused_deliveries_of_one_name_both_stay(bureau: Bureau) -> None:
    for grey in (10, 20):
        _drop(bureau, "stray", "1.tif", grey=grey)
        _take_in(bureau)
    assert _lies(bureau, "error") == {f"{n}/{f}" for n in ("stray", "stray (2)") for f in ("1.tif", "WHY.txt")}


def test_a_closed_order_takes_nothing_more(bureau: Bureau) -> None:
    _drop(bureau, f"{ORDER}/box-1", "1.tif")
    _take_in(bureau)
    bureau.ledger.close_order(ORDER, who="test")
    _drop(bureau, f"{ORDER}/late", "1.tif", grey=5)
    _take_in(bureau)
    assert list(_batches(bureau)) == ["box-1"]
    assert f"Work order {ORDER} is closed" in _why(bureau, "late")
    assert f"platen order reopen {ORDER}" in _why(bureau, "late")
    assert bureau.ledger.unfinished() == 1  # preparing the page of box-1


def test_an_order_closed_while_its_delivery_is_read_refuses_it_whole(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    _drop(bureau, f"{ORDER}/first", "1.tif")
    _take_in(bureau)
    _drop(bureau, f"{ORDER}/late", "1.tif", grey=5)
    counted = intake._pages

    def close_then_count(*args: object) -> object:
        bureau.ledger.close_order(ORDER, who="test")
        return counted(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "_pages", close_then_count)
    _take_in(bureau)
    assert list(_batches(bureau)) == ["first"]
    assert "Reopen it" in _why(bureau, "late")


def test_an_empty_folder_waits_for_its_files(bureau: Bureau) -> None:
    folder = bureau.settings.folder("inbox") / ORDER / "box-1"
    folder.mkdir()
    watcher = Watcher(bureau)
    _look(bureau, watcher)
    assert _receive(bureau) == 0
    assert folder.is_dir()
    (folder / "1.tif").write_bytes(_image())
    _look(bureau, watcher)
    _receive(bureau)
    assert _batches(bureau) == {"box-1": ["1.tif"]}


def test_a_file_that_is_no_image_is_a_page_all_the_same(bureau: Bureau) -> None:
    folder = _drop(bureau, f"{ORDER}/box-1", "1.tif")
    (folder / "2.tif").write_bytes(b"no image at all")
    (folder / "3.tif").touch()
    _take_in(bureau)
    assert _batches(bureau) == {"box-1": ["1.tif", "2.tif", "3.tif"]}


def test_a_ticket_on_the_first_sheet_names_the_order(bureau: Bureau) -> None:
    folder = bureau.settings.folder("inbox") / "morning"
    write_single_pages(folder, [scanned(batch_ticket(ORDER, dpi=100)), scanned(letter(dpi=60))])
    _take_in(bureau)
    assert _batches(bureau) == {"morning": ["0001.tif", "0002.tif"]}
    assert _lies(bureau, "done") == {f"{ORDER}/morning/0001.tif", f"{ORDER}/morning/0002.tif"}


def test_a_ticket_of_no_order_is_refused(bureau: Bureau) -> None:
    folder = bureau.settings.folder("inbox") / "morning"
    write_single_pages(folder, [scanned(batch_ticket("WO-404", dpi=100))])
    _take_in(bureau)
    assert "There is no work order WO-404" in _why(bureau, "morning")


def _deliver_twice(bureau: Bureau) -> Hold:
    for name in ("box-1", "again"):
        _drop(bureau, f"{ORDER}/{name}", "1.tif", "2.tif")
        _take_in(bureau)
    [hold] = bureau.ledger.holds()
    assert (hold.code, hold.batch, hold.order) == ("same-delivery-twice", "again", ORDER)
    assert list(_batches(bureau)) == ["box-1"]
    return hold


def test_the_same_delivery_twice_is_billed_only_if_a_person_says_so(bureau: Bureau) -> None:
    review.release(bureau, _deliver_twice(bureau), who="anna", why="two copies were ordered")
    _receive(bureau)
    assert _batches(bureau) == {"box-1": ["1.tif", "2.tif"], "again": ["1.tif", "2.tif"]}
    assert f"{ORDER}/again/1.tif" in _lies(bureau, "done")
    assert bureau.ledger.holds() == []


def test_a_repeated_delivery_that_is_waived_is_set_aside_uncounted(bureau: Bureau) -> None:
    review.waive(bureau, _deliver_twice(bureau), who="anna", why="dropped by mistake")
    assert list(_batches(bureau)) == ["box-1"]
    assert f"{ORDER}/again/1.tif" in _lies(bureau, "done")
    assert _lies(bureau, "inbox") == set()
    assert bureau.ledger.holds() == []
    assert bureau.ledger.open_delivery_sources() == {}


def test_waiving_a_repeat_leaves_other_deliveries_where_they_belong(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = _deliver_twice(bureau)
    _drop(bureau, "stray", "1.tif", grey=77)
    _look(bureau)
    with monkeypatch.context() as patch:
        patch.setattr(intake, "clear_away", lambda *_, **__: None)  # it has been refused and not yet moved
        _receive(bureau)
    review.waive(bureau, hold, who="anna", why="dropped by mistake")
    assert "stray/WHY.txt" in _lies(bureau, "error")


def test_the_same_files_under_other_names_or_for_another_order_are_no_repeat(bureau: Bureau) -> None:
    _open(bureau, "WO-2")
    _drop(bureau, f"{ORDER}/box-1", "1.tif")
    _drop(bureau, f"{ORDER}/box-2", "other.tif")
    _drop(bureau, "WO-2/box-1", "1.tif")
    _take_in(bureau)
    assert list(_batches(bureau)) == ["box-1", "box-2"]
    assert list(_batches(bureau, "WO-2")) == ["box-1"]


def test_two_batches_of_one_name_are_told_apart(bureau: Bureau) -> None:
    for grey in (10, 20):
        _drop(bureau, f"{ORDER}/box-1", "1.tif", grey=grey)
        _take_in(bureau)
    assert _batches(bureau) == {"box-1": ["1.tif"], "box-1 (2)": ["1.tif"]}
    assert _lies(bureau, "done") == {f"{ORDER}/box-1/1.tif", f"{ORDER}/box-1 (2)/1.tif"}


class PowerCut(BaseException):
    """The process ends here; nothing after it runs."""


def _stop(*_: object, **__: object) -> None:
    raise PowerCut


@pytest.mark.parametrize("place", ["_claimed_place", "_pages", "clear_away", "fsync_path"])
@pytest.mark.parametrize("taken", [True, False])
def test_a_power_cut_anywhere_loses_nothing_and_counts_nothing_twice(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch, place: str, taken: bool
) -> None:
    folder = f"{ORDER}/box-1" if taken else "stray"
    _drop(bureau, folder, "1.tif", "2.tif")
    _look(bureau)
    with monkeypatch.context() as patch:
        patch.setattr(intake, place, _stop)
        try:
            _receive(bureau)
        except PowerCut:
            pass
        else:
            assert (place, taken) == ("_pages", False)  # it is refused before its pages are counted
    bureau.ledger.reap()  # nobody knows a worker "w", so what it held is due again
    _take_in(bureau)
    moved = {f"{folder.removeprefix(ORDER + '/')}/{n}" for n in ("1.tif", "2.tif")}
    if taken:
        assert _batches(bureau) == {"box-1": ["1.tif", "2.tif"]}
        assert _lies(bureau, "done") == {f"{ORDER}/{name}" for name in moved}
    else:
        assert _lies(bureau, "error") == {*moved, "stray/WHY.txt"}
    assert not any((bureau.settings.folder("inbox") / intake.WORK_FOLDER).iterdir())
    assert bureau.ledger.open_delivery_sources() == {}


def test_a_delivery_moved_by_two_at_once_is_moved_once(bureau: Bureau) -> None:
    _drop(bureau, f"{ORDER}/box-1", "1.tif")
    _look(bureau)
    [(delivery_id)] = bureau.ledger.open_delivery_sources().values()
    _, task_id, attempt = bureau.ledger.dispatch("w", 1)[0]
    task = bureau.ledger.claim(task_id, attempt, "w")
    assert task is not None
    receive_delivery(bureau, task, who="w")
    (bureau.settings.folder("inbox") / intake.WORK_FOLDER / str(delivery_id)).mkdir()
    begin = threading.Barrier(4)
    failed: list[BaseException] = []

    def clear() -> None:
        begin.wait()
        try:
            intake.clear_away(bureau, delivery_id, "received", done=True)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=clear) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert _lies(bureau, "done") == {f"{ORDER}/box-1/1.tif"}


def test_a_folder_still_being_written_is_not_taken(bureau: Bureau) -> None:
    folder = _drop(bureau, f"{ORDER}/box-1", "1.tif")
    watcher = Watcher(bureau)
    for number in range(2, 6):
        watcher.look()
        assert watcher.settling == 1
        (folder / f"{number}.tif").write_bytes(_image(number))
    watcher.look()
    with (folder / "5.tif").open("ab") as stream:
        stream.write(b"more")
    watcher.look()
    assert bureau.ledger.open_delivery_sources() == {}
    watcher.look()
    assert len(bureau.ledger.open_delivery_sources()) == 1
    assert watcher.settling == 0
    _receive(bureau)
    assert len(_batches(bureau)["box-1"]) == 5


def test_a_folder_is_left_alone_for_as_long_as_the_installation_says(tmp_path: Path) -> None:
    patient = Bureau.init(Settings(home=tmp_path / "home", settle_seconds=3600.0))
    try:
        _open(patient, ORDER)
        folder = _drop(patient, f"{ORDER}/box-1", "1.tif")
        watcher = Watcher(patient)
        for _ in range(3):
            watcher.look()
        assert patient.ledger.open_delivery_sources() == {}
        (folder / ".ready").touch()  # unless its owner says that it is whole
        watcher.look()
        assert len(patient.ledger.open_delivery_sources()) == 1
    finally:
        patient.close()


def test_a_folder_whose_name_begins_with_an_underscore_is_still_its_owners(bureau: Bureau) -> None:
    folder = _drop(bureau, f"{ORDER}/_box-1", "1.tif")
    _take_in(bureau)
    assert _batches(bureau) == {}
    folder.rename(folder.with_name("box-1"))
    _take_in(bureau)
    assert list(_batches(bureau)) == ["box-1"]


def test_what_is_taken_in_by_hand_stays_where_it_is(bureau: Bureau, tmp_path: Path) -> None:
    folder = tmp_path / "by hand"
    folder.mkdir()
    (folder / "1.tif").write_bytes(_image())
    _, task_id = bureau.ledger.announce_delivery(
        source=str(folder), name=folder.name, order_number=ORDER, moves=False, who="anna"
    )
    task = bureau.ledger.claim_at_once(task_id, "anna")
    assert task is not None
    receive_delivery(bureau, task, who="anna")
    assert _batches(bureau) == {"by hand": ["1.tif"]}
    assert (folder / "1.tif").exists()
    assert _lies(bureau, "done") == set()
    assert bureau.ledger.open_delivery_sources() == {}


# --- rescans -----------------------------------------------------------------------------------------------------


def _held_page(bureau: Bureau) -> tuple[Hold, Page]:
    """A page that cannot be read, held; the other page of its batch is not touched."""
    folder = _drop(bureau, f"{ORDER}/box-1", "1.tif")
    (folder / "2.tif").write_bytes(b"damaged on its way")
    _take_in(bureau)
    for _, task_id, attempt in bureau.ledger.dispatch("w", 2):
        task = bureau.ledger.claim(task_id, attempt, "w")
        assert task is not None
        page = bureau.ledger.page(task.subject_id)  # type: ignore[arg-type]
        if page.file == "2.tif":
            bureau.ledger.hold(task, "unreadable", "It cannot be read.", who="w")
    bureau.ledger.give_back("w")
    [hold] = bureau.ledger.holds()
    assert hold.page_id is not None
    return hold, bureau.ledger.page(hold.page_id)


def _ask(bureau: Bureau, hold: Hold) -> Hold:
    review.ask_for_rescan(bureau, hold, who="anna", why="damaged")
    return review.hold_with_id(bureau, hold.id)


def _rescan_name(hold: Hold, ending: str = "tif") -> str:
    return f"{ORDER}/RESCAN-{hold.id}.{ending}"


def test_a_page_that_waits_for_a_rescan_says_where_to_drop_it(bureau: Bureau) -> None:
    hold, _ = _held_page(bureau)
    waiting = _ask(bureau, hold)
    assert waiting.code == AWAITING_RESCAN
    assert f"inbox/{_rescan_name(hold)}" in waiting.sentence
    assert "It cannot be read." in waiting.sentence
    assert _ask(bureau, waiting) == waiting
    order = bureau.ledger.order(ORDER)
    assert order is not None
    asked = [event for event in bureau.ledger.events(order.id) if event.kind == "rescan asked for"]
    assert [(event.who, event.detail["why"]) for event in asked] == [("anna", "damaged")]
    assert bureau.ledger.order_counts(order.id).held == 1


@pytest.mark.parametrize("status", [OrderStatus.OPEN, OrderStatus.CLOSED])
def test_a_dropped_rescan_takes_the_place_of_the_page(bureau: Bureau, status: OrderStatus) -> None:
    hold, page = _held_page(bureau)
    _ask(bureau, hold)
    if status is OrderStatus.CLOSED:
        bureau.ledger.close_order(ORDER, who="anna")
    (bureau.settings.folder("inbox") / _rescan_name(hold)).write_bytes(_image(33))
    _take_in(bureau)
    assert bureau.ledger.holds() == []
    pages = bureau.ledger.pages_of_batch(page.batch_id)
    assert [(p.sequence, p.file, p.excluded) for p in pages] == [
        (1, "1.tif", None),
        (2, "2.tif", Exclusion.RESCAN),
        (2, f"RESCAN-{hold.id}.tif", None),
    ]
    assert _lies(bureau, "inbox") == set()
    assert f"{ORDER}/RESCAN-{hold.id}.tif" in _lies(bureau, "done")
    counts = bureau.ledger.order_counts(page.order_id)
    assert (counts.received, counts.excluded[Exclusion.RESCAN], counts.held, counts.open) == (3, 1, 0, 2)
    assert list(_batches(bureau)) == ["box-1"]


def test_a_power_cut_after_a_rescan_was_taken_still_moves_it_to_done(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, _ = _held_page(bureau)
    _ask(bureau, hold)
    (bureau.settings.folder("inbox") / _rescan_name(hold)).write_bytes(_image(33))
    _look(bureau)
    with monkeypatch.context() as patch:
        patch.setattr(intake, "clear_away", _stop)
        with pytest.raises(PowerCut):
            _receive(bureau)
    _take_in(bureau)
    assert f"{ORDER}/RESCAN-{hold.id}.tif" in _lies(bureau, "done")
    assert _lies(bureau, "error") == set()


def test_a_rescan_for_which_nobody_asked_is_refused(bureau: Bureau) -> None:
    hold, page = _held_page(bureau)
    (bureau.settings.folder("inbox") / _rescan_name(hold)).write_bytes(_image(33))
    _take_in(bureau)
    assert f"platen held rescan {hold.id}" in _why(bureau, f"RESCAN-{hold.id}")
    assert bureau.ledger.page(page.id).excluded is None


def test_a_rescan_of_several_pages_is_refused_whole(bureau: Bureau, tmp_path: Path) -> None:
    hold, page = _held_page(bureau)
    waiting = _ask(bureau, hold)
    (bureau.settings.folder("inbox") / _rescan_name(hold)).write_bytes(_image(33, pages=2))
    _take_in(bureau)
    assert "It has 2 pages" in _why(bureau, f"RESCAN-{hold.id}")
    two = tmp_path / "two.tif"
    two.write_bytes(_image(33, pages=2))
    with pytest.raises(CannotDecide, match="2 pages"):
        review.rescan(bureau, waiting, two, who="anna", why="better")
    assert bureau.ledger.page(page.id).excluded is None


def test_a_page_decided_meanwhile_is_not_replaced(bureau: Bureau, tmp_path: Path) -> None:
    hold, page = _held_page(bureau)
    scan = tmp_path / "new.tif"
    scan.write_bytes(_image(33))
    review.retry(bureau, hold, who="bert", why="looks fine to me")
    with pytest.raises(HeldNoLonger):
        review.rescan(bureau, hold, scan, who="anna", why="better")
    assert len(bureau.ledger.pages_of_batch(page.batch_id)) == 2


def test_a_folder_named_like_a_rescan_is_a_batch(bureau: Bureau) -> None:
    _drop(bureau, f"{ORDER}/RESCAN-1.x", "1.tif")
    _take_in(bureau)
    assert _batches(bureau) == {"RESCAN-1.x": ["1.tif"]}


@pytest.mark.parametrize(
    ("decide", "told"),
    [(review.release, "cannot be released"), (review.retry, None), (review.waive, None)],
)
def test_a_person_may_decide_what_makes_sense(bureau: Bureau, decide: Callable[..., None], told: str | None) -> None:
    hold, page = _held_page(bureau)
    if told is not None:
        with pytest.raises(CannotDecide, match=told):
            decide(bureau, hold, who="anna", why="x")
        return
    decide(bureau, hold, who="anna", why="x")
    assert bureau.ledger.holds() == []
    excluded = bureau.ledger.page(page.id).excluded
    assert excluded is (Exclusion.WAIVED if decide is review.waive else None)


def test_what_is_held_no_longer_cannot_be_decided_again(bureau: Bureau) -> None:
    hold, _ = _held_page(bureau)
    review.retry(bureau, hold, who="anna", why="x")
    with pytest.raises(CannotDecide, match=f"Nothing with number {hold.id} is held"):
        review.hold_with_id(bureau, hold.id)


def test_a_delivery_cannot_be_rescanned(bureau: Bureau, tmp_path: Path) -> None:
    hold = _deliver_twice(bureau)
    with pytest.raises(CannotDecide, match="Only a page"):
        review.ask_for_rescan(bureau, hold, who="anna", why="x")
