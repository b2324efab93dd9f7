"""Rescan sheets: printed for held pages and scanned in front of their papers, which take the places of the pages."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fixtures import pages as drawn
from fixtures.scanner import scanned
from pipeline import review
from pipeline.assemble import parting_doubts, planned_documents
from pipeline.bureau import Bureau
from pipeline.ledger import AWAITING_RESCAN, HeldNoLonger
from pipeline.model import Exclusion, Hold, Priority, ReceivedPage, Service, TaskKind, WorkOrder
from pipeline.profile import DocumentRules
from pipeline.rescan_sheets import write_rescan_sheets
from pipeline.tasks import do_task
from stages.page_image import PageImage
from stages.read import Settings as ReadSettings
from stages.read import read_page
from stages.separators import Settings as SeparatorSettings
from stages.separators import separators
from tests.pipeline.by_hand import adds_up, sha, work_off
from tests.pipeline.test_alarms import page
from workers.watcher import Watcher

ORDER = "WO-7"
SCAN_DPI = 150.0


@pytest.fixture
def bureau(bureau: Bureau) -> Iterator[Bureau]:
    for number in (ORDER, "WO-8"):
        bureau.ledger.open_order(
            customer="DPHHS",
            profile=bureau.profiles["records-bitonal"],
            services=frozenset({Service.IMAGING}),
            priority=Priority.NORMAL,
            year=2026,
            who="test",
            number=number,
        )
    yield bureau


def held(bureau: Bureau, count: int, *, asked: bool = True) -> list[Hold]:
    """So many pages of one batch, all cut off at an edge and held."""
    scan = scanned(drawn.letter(seed=2, dpi=SCAN_DPI)).image()
    source = bureau.store.put_bytes(tiff([scan]))
    order = order_of(bureau)
    delivery_id, task_id = bureau.ledger.announce_delivery(
        source="/nowhere", name="box-1", order_number=ORDER, moves=False, who="test"
    )
    task = bureau.ledger.claim_at_once(task_id, "w")
    assert task is not None
    received = [
        ReceivedPage(file=f"{number:04}.tif", index_in_file=0, pages_in_file=1, source=source)
        for number in range(1, count + 1)
    ]
    bureau.ledger.record_received(task, order.id, bureau.ledger.delivery(delivery_id), "digest", received, who="test")
    for _, page_task, attempt in bureau.ledger.dispatch("w", count):
        claimed = bureau.ledger.claim(page_task, attempt, "w")
        assert claimed is not None
        bureau.ledger.hold(claimed, "cut-edge", "Text runs off the left edge.", who="w")
    holds = bureau.ledger.holds()
    if asked:
        for hold in holds:
            review.ask_for_rescan(bureau, hold, who="Ada", why="cut off")
    return [review.hold_with_id(bureau, hold.id) for hold in holds]


def order_of(bureau: Bureau) -> WorkOrder:
    order = bureau.ledger.order(ORDER)
    assert order is not None
    return order


def printed(bureau: Bureau, holds: Sequence[Hold]) -> list[PageImage]:
    """The sheets of these holds, printed and scanned again: a little askew, and with grain."""
    out = bureau.settings.home / "sheets.pdf"
    write_rescan_sheets(bureau, holds, out)
    sheets = [read_page(out, index, ReadSettings()).grey() for index in range(len(holds))]
    blank = drawn.blank(dpi=300.0)
    return [
        scanned(replace(blank, pixels=sheet), skew_deg=1.5, noise_levels=6.0, blur_mm=0.08, seed=number).image()
        for number, sheet in enumerate(sheets)
    ]


def paper(seed: int = 40) -> PageImage:
    return scanned(drawn.letter(seed=seed, dpi=SCAN_DPI), noise_levels=3.0, seed=seed).image()


def back() -> PageImage:
    return scanned(drawn.blank(dpi=SCAN_DPI), noise_levels=2.0).image()


def tiff(scans: Sequence[PageImage]) -> bytes:
    file = io.BytesIO()
    images = [Image.fromarray(np.asarray(scan.pixels)) for scan in scans]
    for image, scan in zip(images, scans, strict=True):
        image.encoderinfo = {"dpi": (scan.dpi, scan.dpi), "compression": "tiff_lzw"}
    images[0].save(file, "TIFF", save_all=True, append_images=images[1:], dpi=(scans[0].dpi,) * 2)
    return file.getvalue()


def drop(bureau: Bureau, scans: Sequence[PageImage], *, place: str = f"{ORDER}/again.tif") -> None:
    """Drop a file of these scans, and do all tasks of deliveries."""
    target = bureau.settings.folder("inbox") / place
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(tiff(scans))
    watcher = Watcher(bureau)
    watcher.look()
    watcher.look()
    for _, task_id, attempt in bureau.ledger.dispatch("w", 5, {TaskKind.RECEIVE_BATCH}):
        task = bureau.ledger.claim(task_id, attempt, "w")
        assert task is not None
        do_task(bureau, task, owner="w")


def reason(bureau: Bureau) -> str:
    [why] = bureau.settings.folder("error").rglob("WHY.txt")
    return why.read_text()


@pytest.mark.parametrize("place", [f"{ORDER}/again.tif", "from-the-scanner.tif"])
def test_papers_behind_their_sheets_take_the_places_of_held_pages(bureau: Bureau, place: str) -> None:
    holds = held(bureau, 3)
    first, second, _ = holds
    sheets = printed(bureau, [second, first])
    drop(bureau, [sheets[0], paper(41), sheets[1], paper(42)], place=place)
    assert [hold.id for hold in bureau.ledger.holds()] == [holds[2].id]
    [batch] = bureau.ledger.batches_of(order_of(bureau).id)
    pages = bureau.ledger.pages_of_batch(batch.id)
    assert [(one.sequence, one.excluded, one.index_in_file) for one in pages] == [
        (1, Exclusion.RESCAN, 0),
        (1, None, 3),
        (2, Exclusion.RESCAN, 0),
        (2, None, 1),
        (3, None, 0),
    ]
    counts = bureau.ledger.order_counts(order_of(bureau).id)
    assert (counts.received, counts.excluded[Exclusion.RESCAN], counts.held, counts.open) == (5, 2, 1, 2)
    assert adds_up(counts)
    assert (bureau.settings.folder("done") / ORDER / Path(place).name).is_file()
    taken = [event for event in bureau.ledger.events(order_of(bureau).id) if event.kind == "rescans taken"]
    assert [event.detail["pages"] for event in taken] == [2]
    work_off(bureau.ledger)
    counts = bureau.ledger.order_counts(order_of(bureau).id)
    assert (counts.received, counts.billable, counts.excluded[Exclusion.RESCAN], counts.held) == (5, 2, 2, 1)
    assert bureau.ledger.tally_faults() == [], "no sheet is billed twice, and nobody's is lost"


def test_a_new_scan_that_shows_nothing_is_not_left_out_without_a_word(bureau: Bureau) -> None:
    [hold] = held(bureau, 1)
    page_id = hold.page_id
    assert page_id is not None
    empty = bureau.store.put_bytes(tiff([back()]))
    new = bureau.ledger.replace_page(page_id, "again.tif", empty, who="Ada", why="cut off")

    def prepare() -> None:
        for _, task_id, attempt in bureau.ledger.dispatch("w", 5):
            task = bureau.ledger.claim(task_id, attempt, "w")
            assert task is not None
            do_task(bureau, task, owner="w")

    prepare()
    [asked] = bureau.ledger.holds()
    assert (asked.page_id, asked.code) == (new, "rescan-doubtful") and "an empty side" in asked.sentence
    counts = bureau.ledger.order_counts(order_of(bureau).id)
    assert (counts.held, counts.excluded[Exclusion.BLANK]) == (1, 0)
    review.release(bureau, asked, who="Eve", why="the back of the form is empty")
    prepare()
    counts = bureau.ledger.order_counts(order_of(bureau).id)
    assert (counts.held, counts.excluded[Exclusion.BLANK], counts.billable) == (0, 1, 0)
    assert adds_up(counts)


def test_who_scanned_again_is_kept_as_who_scanned_first_is(bureau: Bureau) -> None:
    """Or somebody could judge a page in quality control that is their own scan."""
    holds = held(bureau, 1)
    folder = bureau.settings.folder("inbox") / ORDER / "again"
    folder.mkdir(parents=True)
    (folder / ".operator").write_text("Carl\n")
    drop(bureau, [*printed(bureau, holds), paper()], place=f"{ORDER}/again/scans.tif")
    received = [event.detail for event in bureau.ledger.events(order_of(bureau).id) if event.kind == "received"]
    assert [detail["scanned_by"] for detail in received if "instead_of" in detail] == ["Carl"]


def test_a_request_for_a_rescan_that_was_withdrawn_is_not_served_when_the_page_is_held_anew(bureau: Bureau) -> None:
    [hold] = held(bureau, 1)
    review.retry(bureau, hold, who="Bob", why="it is good after all")
    [(_, task_id, attempt)] = bureau.ledger.dispatch("w", 1)
    prepare = bureau.ledger.claim(task_id, attempt, "w")
    assert prepare is not None
    bureau.ledger.hold(prepare, "cut-edge", "Text runs off the left edge.", who="w")
    delivery_id, receive_id = bureau.ledger.announce_delivery(
        source="/again", name="again.tif", order_number=ORDER, moves=False, who="test"
    )
    task, delivery = bureau.ledger.claim_at_once(receive_id, "w"), bureau.ledger.delivery(delivery_id)
    assert task is not None
    scan = ReceivedPage(file="again.tif", index_in_file=0, pages_in_file=1, source=sha(1))
    with pytest.raises(HeldNoLonger):
        bureau.ledger.record_rescans(task, [(hold, scan)], delivery, ORDER, who="w")


def test_a_closed_order_takes_the_rescans_of_its_held_pages(bureau: Bureau) -> None:
    holds = held(bureau, 1)
    sheets = printed(bureau, holds)
    bureau.ledger.close_order(ORDER, who="Ada")
    drop(bureau, [*sheets, paper()])
    assert bureau.ledger.holds() == []


def test_blank_sides_of_sheets_scanned_from_both_are_left_out_and_told(bureau: Bureau) -> None:
    holds = held(bureau, 1)
    [sheet] = printed(bureau, holds)
    drop(bureau, [sheet, back(), paper(), back()])
    assert bureau.ledger.holds() == []
    [taken] = [event for event in bureau.ledger.events(order_of(bureau).id) if event.kind == "rescans taken"]
    assert taken.detail["left_out"] == ["again.tif, 2", "again.tif, 4"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("no paper", "lies no paper"),
        ("two papers", "lie several papers"),
        ("the same sheet twice", "came twice"),
        ("one that waits no longer", "No page of WO-7 waits for a rescan"),
    ],
)
def test_rescans_that_are_not_clear_are_refused_whole_and_nothing_is_replaced(
    bureau: Bureau, wrong: str, told: str
) -> None:
    holds = held(bureau, 2)
    first, second = printed(bureau, holds)
    scans = {
        "no paper": [first, paper(), second],
        "two papers": [first, paper(41), paper(42), second, paper(43)],
        "the same sheet twice": [first, paper(41), first, paper(42)],
        "one that waits no longer": [first, paper(41), second, paper(42)],
    }[wrong]
    if wrong == "one that waits no longer":
        review.retry(bureau, holds[1], who="Bob", why="it is good after all")
    before = bureau.ledger.holds()
    drop(bureau, scans)
    assert told in reason(bureau)
    assert bureau.ledger.holds() == before
    assert bureau.ledger.order_counts(order_of(bureau).id).received == 2


def test_a_sheet_in_the_folder_of_another_order_is_refused(bureau: Bureau) -> None:
    holds = held(bureau, 1)
    drop(bureau, [*printed(bureau, holds), paper()], place="WO-8/again.tif")
    assert "is of WO-7, and this lies in the folder of WO-8" in reason(bureau)
    assert bureau.ledger.holds() == holds


def test_only_a_page_that_waits_for_a_rescan_gets_a_sheet(bureau: Bureau, tmp_path: Path) -> None:
    holds = held(bureau, 1, asked=False)
    with pytest.raises(review.CannotDecide, match="waits for no new scan"):
        write_rescan_sheets(bureau, holds, tmp_path / "sheets.pdf")
    assert not (tmp_path / "sheets.pdf").exists()


def test_a_printed_sheet_names_its_hold_however_it_is_fed(bureau: Bureau) -> None:
    holds = held(bureau, 1)
    assert holds[0].code == AWAITING_RESCAN
    [sheet] = printed(bureau, holds)
    for turn in range(4):
        turned = np.ascontiguousarray(np.rot90(np.asarray(sheet.pixels), turn))
        for pixels in (turned, turned > 127):
            fed = separators(replace(sheet, pixels=pixels), SeparatorSettings()).readings
            assert (fed["separators.rescan_hold"], fed["separators.rescan_order"]) == (holds[0].id, ORDER)
            assert (fed["separators.separator"], fed["separators.ticket"], fed["separators.doubt"]) == (False, "", "")


def test_a_sheet_for_a_scan_that_cannot_be_read_is_printed_without_its_picture(bureau: Bureau, tmp_path: Path) -> None:
    [hold] = held(bureau, 1)
    assert hold.page_id is not None
    lost = bureau.ledger.page(hold.page_id).source
    Path(bureau.store.place(lost)).unlink()
    write_rescan_sheets(bureau, [hold], tmp_path / "sheets.pdf")
    sheet = separators(read_page(tmp_path / "sheets.pdf", 0, ReadSettings()), SeparatorSettings())
    assert sheet.readings["separators.rescan_hold"] == hold.id


def test_a_sheet_among_other_papers_holds_their_batch_and_is_never_a_page() -> None:
    pages = [page(1), page(2, **{"separators.rescan_hold": 12}), page(3)]
    [doubt] = parting_doubts(pages, DocumentRules())
    assert "a rescan sheet (of hold 12) among other papers" in doubt
    documents, exclusions = planned_documents(pages, DocumentRules(separators=False), batch_name="box")
    assert exclusions == {2: Exclusion.SEPARATOR}
    assert [number for document in documents for number in document.pages] == [1, 3]
