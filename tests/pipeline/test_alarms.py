"""Alarms: one for all pages of a scanner that show the same, open until somebody has seen it."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from PIL import Image

from fixtures import pages as drawn
from fixtures.pages import DrawnPage
from fixtures.scanner import scanned
from pipeline.alarms import alarms_beside, held_alarms, prepared_alarms, reach_of, recognized_alarms
from pipeline.bureau import Bureau
from pipeline.ledger import Ledger, NoSuchAlarm
from pipeline.model import AlarmKind, BatchId, OrderId, Page, PageAlarm, PageId, Readings, ReceivedPage
from pipeline.profile import AlarmRules
from pipeline.tasks import do_task
from stages.blank import Settings as BlankSettings
from stages.blank import blank
from stages.crop import Settings as CropSettings
from stages.crop import crop
from stages.deskew import Settings as DeskewSettings
from stages.deskew import deskew
from stages.errors import CutEdge, LanguageMissing, UnreadableImage
from tests.pipeline.by_hand import finish, open_order, receive, sha, work_off

RULES = AlarmRules()
GOOD: Readings = {
    "deskew.angle_deg": 0.4,
    "quality.cut_edge": [],
    "quality.paper": 0.92,
    "quality.contrast": 0.7,
    "quality.blur_mm": 0.2,
    "quality.black_fraction": None,
    "quality.likely_dpi": None,
    "quality.streaks_mm": [],
    "blank.verdict": "content",
}
CUT = PageAlarm(kind=AlarmKind.CUT_EDGE, what="text is cut off at left")


def prepare(ledger: Ledger, count: int, *, scanner: str, alarms: tuple[PageAlarm, ...] = (CUT,)) -> None:
    """Prepare so many of the pages that are due, all of one scanner and with the same fault."""
    for _, task_id, attempt in ledger.dispatch("w", count):
        task = ledger.claim(task_id, attempt, "w")
        assert task is not None
        ledger.record_prepared(
            task, sha(9), {}, who="w", late_exclusion=None, reads_text=True, scanner=scanner, alarms=alarms
        )


def page(number: int, **readings: object) -> Page:
    return Page(
        id=PageId(number),
        order_id=OrderId(1),
        batch_id=BatchId(1),
        sequence=number,
        file=f"{number:04}.tif",
        index_in_file=0,
        pages_in_file=1,
        source=sha(number),
        prepared=sha(number),
        readings={**GOOD, **readings},  # type: ignore[dict-item]
    )


# ---- what raises one


@pytest.mark.parametrize(
    ("reading", "value", "kind"),
    [
        ("deskew.angle_deg", -6.2, AlarmKind.SKEW),
        ("quality.cut_edge", ["left"], AlarmKind.CUT_EDGE),
        ("quality.paper", 0.3, AlarmKind.TOO_DARK),
        ("quality.black_fraction", 0.6, AlarmKind.TOO_DARK),
        ("quality.contrast", 0.1, AlarmKind.TOO_LIGHT),
        ("quality.blur_mm", 1.1, AlarmKind.BLUR),
        ("quality.likely_dpi", 300.0, AlarmKind.SIZE),
        ("quality.streaks_mm", [43.2], AlarmKind.STREAK),
    ],
)
def test_a_page_raises_the_alarm_of_its_fault_alone(reading: str, value: object, kind: AlarmKind) -> None:
    readings: Readings = {**GOOD, "read.dpi_x": 600.0, reading: value}  # type: ignore[dict-item]
    assert [alarm.kind for alarm in prepared_alarms(readings, RULES)] == [kind]


def test_a_good_page_and_one_that_was_not_measured_raise_none() -> None:
    assert prepared_alarms(GOOD, RULES) == []
    assert prepared_alarms({}, RULES) == []
    assert recognized_alarms({"ocr.words": 200, "ocr.mean_confidence": 0.9}, RULES) == []


def test_a_profile_can_do_without_each_alarm() -> None:
    off = AlarmRules(
        max_skew_deg=180.0,
        cut_edge=False,
        min_paper=0.0,
        max_black_fraction=1.0,
        min_contrast=0.0,
        max_blur_mm=100.0,
        doubtful_size=False,
        streaks=False,
        most_blank_in_a_row=1000,
        same_twice=False,
    )
    bad: Readings = {
        "deskew.angle_deg": 40.0,
        "quality.cut_edge": ["top"],
        "quality.paper": 0.1,
        "quality.blur_mm": 9.0,
        "quality.likely_dpi": 300.0,
        "quality.streaks_mm": [9.0],
    }
    assert len(prepared_alarms({**bad, "read.dpi_x": 600.0}, RULES)) == 6
    assert prepared_alarms(bad, off) == []
    blanks = [page(number, **{"blank.verdict": "blank"}) for number in range(1, 20)]
    assert side_by_side(blanks, off) == {}


def side_by_side(
    pages: Sequence[Page],
    rules: AlarmRules = RULES,
    *,
    prepared: Sequence[int] | None = None,
    is_same: Callable[[Page, Page], bool] = lambda *_: True,
) -> dict[int, str]:
    """What is told of each page, by its number, when they are prepared in the order given, else in their own."""
    by_number = {page.sequence: page for page in pages}
    seen: list[Page] = []
    told: dict[int, str] = {}
    for number in prepared or by_number:
        one = by_number[number]
        beside = [other for other in seen if abs(other.sequence - number) <= reach_of(rules)]
        copies = [other for other in seen if other.source == one.source]
        for page, alarm in alarms_beside(one, beside, copies, rules, is_same=is_same):
            told.setdefault(page.sequence, alarm.what)
        seen = sorted([*seen, one], key=lambda page: page.sequence)
    return told


def test_text_that_is_hardly_read_raises_an_alarm_and_a_stamp_none() -> None:
    poor = {"ocr.words": 40, "ocr.mean_confidence": 0.3}
    assert [alarm.kind for alarm in recognized_alarms(poor, RULES)] == [AlarmKind.HARD_TO_READ]
    assert recognized_alarms({**poor, "ocr.words": 3}, RULES) == []


def test_what_is_held_for_its_scan_is_an_alarm_too_and_what_is_held_for_else_is_none() -> None:
    assert [alarm.kind for alarm in held_alarms(CutEdge(["left"]))] == [AlarmKind.CUT_EDGE]
    assert [alarm.kind for alarm in held_alarms(UnreadableImage("it is empty"))] == [AlarmKind.UNREADABLE]
    assert held_alarms(LanguageMissing(["deu"])) == []


VERDICTS = ["content", *["blank"] * 4, "content", *["blank"] * 9, "content"]


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_more_blank_sides_in_a_row_than_chance_raise_an_alarm_in_whatever_order_they_come(seed: int | None) -> None:
    pages = [page(number, **{"blank.verdict": verdict}) for number, verdict in enumerate(VERDICTS, start=1)]
    order = list(range(1, len(pages) + 1))
    if seed is not None:
        random.Random(seed).shuffle(order)
    assert sorted(side_by_side(pages, prepared=order)) == list(range(7, 16))


def test_a_run_of_blanks_is_told_when_it_is_too_long_not_when_it_ends() -> None:
    pages = [page(number, **{"blank.verdict": "blank"}) for number in range(1, 6)]
    assert side_by_side(pages[:4]) == {}
    assert sorted(side_by_side(pages)) == [1, 2, 3, 4, 5]


def test_blank_backs_of_written_sheets_raise_none() -> None:
    pages = [page(number, **{"blank.verdict": "content" if number % 2 else "blank"}) for number in range(1, 21)]
    assert side_by_side(pages) == {}


def _files(*seeds: int) -> list[bytes]:
    """A drawn letter as a TIFF for each; 0 is an empty sheet."""
    files = []
    for seed in seeds:
        sheet = drawn.letter(seed=seed, dpi=150.0) if seed else drawn.blank(dpi=150.0)
        held = io.BytesIO()
        Image.fromarray(sheet.pixels).save(held, format="TIFF", dpi=(150, 150))
        files.append(held.getvalue())
    return files


def _prepared(bureau: Bureau, files: Sequence[bytes], order: Sequence[int]) -> Iterator[dict[int, str]]:
    """Prepare the pages of a batch in the order given; gives the alarms told after each, by the page's number."""
    opened = open_order(bureau.ledger, profile=bureau.profiles["records-bitonal"])
    delivery_id, task_id = bureau.ledger.announce_delivery(
        source="/nowhere", name="box", order_number=opened.number, moves=False, who="test"
    )
    task = bureau.ledger.claim_at_once(task_id, "w")
    assert task is not None
    pages = [
        ReceivedPage(file=f"{n:04}.tif", index_in_file=0, pages_in_file=1, source=bureau.store.put_bytes(file))
        for n, file in enumerate(files, start=1)
    ]
    delivery = bureau.ledger.delivery(delivery_id)
    batch_id = bureau.ledger.record_received(task, opened.id, delivery, "digest", pages, who="test")
    assert batch_id is not None
    numbers = {page.id: page.sequence for page in bureau.ledger.pages_of_batch(batch_id)}
    sent = {}
    for _, page_task_id, attempt in bureau.ledger.dispatch("w", len(files)):
        page_task = bureau.ledger.claim(page_task_id, attempt, "w")
        assert page_task is not None
        sent[numbers[PageId(page_task.subject_id)]] = page_task
    for number in order:
        do_task(bureau, sent[number], owner="w")
        bureau.ledger.fold_alarms()
        yield {page.number: page.what for alarm in bureau.ledger.open_alarms() for page in alarm.newest}


def test_a_file_that_is_twice_in_a_batch_is_told_as_soon_as_both_are_prepared(bureau: Bureau) -> None:
    files = _files(1, 2, 1, 0, 0, 3, 1)
    told = list(_prepared(bureau, files, [7, 4, 5, 1, 2, 3, 6]))
    assert told == [
        {}, {}, {},
        {7: "the same file as page 1"},
        {7: "the same file as page 1"},
        *[{7: "the same file as page 1", 3: "the same file as page 1"}] * 2,
    ]  # fmt: skip


def test_a_sheet_fed_twice_is_told_as_soon_as_both_are_prepared(bureau: Bureau) -> None:
    sheets = [drawn.letter(seed=seed, dpi=150.0) for seed in (1, 2, 1, 3)]
    files = []
    for n, sheet in enumerate(sheets):
        scan = scanned(sheet, skew_deg=0.5 * n - 0.8, noise_levels=5.0, seed=n)
        held = io.BytesIO()
        Image.fromarray(scan.image().pixels).save(held, format="TIFF", dpi=(150, 150))
        files.append(held.getvalue())
    told = list(_prepared(bureau, files, [4, 3, 1, 2]))
    assert told == [{}, {}, *[{3: "looks the same as page 1"}] * 2]


def test_a_run_of_empty_sheets_is_told_while_others_of_the_batch_are_not_prepared(bureau: Bureau) -> None:
    told = list(_prepared(bureau, _files(1, 0, 0, 0, 0, 0, 2), [3, 5, 2, 4, 6]))
    assert [sorted(pages) for pages in told] == [[], [], [], [], [2, 3, 4, 5, 6]]


class _Killed(BaseException):
    """As if the process had ended there."""


def test_a_sheet_fed_twice_is_told_though_the_worker_dies_once_the_page_is_recorded(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = bureau.ledger.record_prepared
    told = _prepared(bureau, _files(1, 2, 1), [1, 3, 2])
    assert next(told) == {}

    def then_die(*args: Any, **named: Any) -> None:
        record(*args, **named)
        raise _Killed

    monkeypatch.setattr(bureau.ledger, "record_prepared", then_die)
    with pytest.raises(_Killed):
        next(told)
    bureau.ledger.fold_alarms()
    assert [page.number for alarm in bureau.ledger.open_alarms() for page in alarm.newest] == [3]


def test_of_two_pages_recorded_after_both_have_looked_the_later_one_finds_the_other(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = bureau.ledger.record_prepared
    waiting: list[Callable[[], None]] = []

    def later(*args: Any, **named: Any) -> None:
        if waiting:  # the second has looked: now the first is recorded
            waiting.pop()()
            record(*args, **named)
        else:
            waiting.append(partial(record, *args, **named))

    monkeypatch.setattr(bureau.ledger, "record_prepared", later)
    told = list(_prepared(bureau, _files(1, 1), [1, 2]))
    assert told == [{}, {2: "the same file as page 1"}]


def _map(sheet: DrawnPage, *, skew_deg: float, seed: int) -> str:
    scan = scanned(
        sheet, skew_deg=skew_deg, noise_levels=5.0, speckle_fraction=0.0003, lid="black", border_mm=8.0, seed=seed
    ).image()
    level = deskew(crop(scan, CropSettings()), DeskewSettings(max_angle_deg=20.0))
    return str(blank(level, BlankSettings()).readings["blank.ink_map"])


@pytest.mark.parametrize("kind", ["letter", "form", "ruled_table"])
def test_a_sheet_fed_twice_raises_an_alarm_and_its_like_does_not(kind: str) -> None:
    sheets = [getattr(drawn, kind)(seed=seed, dpi=150.0) for seed in (1, 2, 3)]
    pages = [
        page(number, **{"blank.ink_map": _map(sheet, skew_deg=0.6 * number - 1.5, seed=number)})
        for number, sheet in enumerate([*sheets, sheets[1]], start=1)
    ]
    for order in ([1, 2, 3, 4], [4, 3, 2, 1], [2, 4, 1, 3]):
        assert side_by_side(pages, prepared=order) == {4: "looks the same as page 2"}
    assert side_by_side(pages, is_same=lambda *_: False) == {}, "who looked closely saw that they differ"


# ---- what becomes of it


def test_four_hundred_dirty_pages_are_one_alarm(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 400)
    prepare(ledger, 150, scanner="fi-7160")
    ledger.fold_alarms()
    prepare(ledger, 250, scanner="fi-7160")
    ledger.fold_alarms()
    [alarm] = ledger.open_alarms()
    assert (alarm.kind, alarm.scanner, alarm.pages) == (AlarmKind.CUT_EDGE, "fi-7160", 400)
    assert ledger.floor().alarms == {AlarmKind.CUT_EDGE: 1}
    assert [one.number for one in alarm.newest][:2] == [400, 399]


def test_scanners_and_orders_of_unknown_ones_have_alarms_of_their_own(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 6, "box-1")
    prepare(ledger, 2, scanner="fi-7160")
    prepare(ledger, 2, scanner="DR-C240")
    prepare(ledger, 2, scanner="")
    receive(ledger, open_order(ledger), 2, "box-2")
    prepare(ledger, 10, scanner="")
    work_off(ledger)
    ledger.fold_alarms()
    assert sorted((alarm.scanner, alarm.batch or "", alarm.pages) for alarm in ledger.open_alarms()) == [
        ("", "box-1", 2),
        ("", "box-2", 2),
        ("DR-C240", "", 2),
        ("fi-7160", "", 2),
    ]


@pytest.mark.parametrize("at_once", [False, True])
def test_single_files_of_a_scanner_without_a_name_are_one_alarm_and_of_no_batch(ledger: Ledger, at_once: bool) -> None:
    order = open_order(ledger)
    for number in range(5):
        receive(ledger, order, 1, f"{number:04}")
        prepare(ledger, 1, scanner="")
        work_off(ledger)
        if not at_once:
            ledger.fold_alarms()
    ledger.fold_alarms()
    [alarm] = ledger.open_alarms()
    assert (alarm.pages, alarm.order, alarm.batch) == (5, order.number, None)


def test_pages_from_before_it_was_seen_belong_to_it_and_later_ones_are_a_new_alarm(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 4, "before")
    prepare(ledger, 2, scanner="fi-7160")
    ledger.fold_alarms()
    [alarm] = ledger.open_alarms()
    ledger.note_seen(alarm.id, who="Ada", said="cleaned the glass")
    prepare(ledger, 2, scanner="fi-7160")
    ledger.fold_alarms()
    assert ledger.open_alarms() == []
    [seen] = ledger.seen_alarms()
    assert (seen.pages, seen.seen_by, seen.said) == (4, "Ada", "cleaned the glass")
    work_off(ledger)
    receive(ledger, order, 1, "after")
    prepare(ledger, 1, scanner="fi-7160")
    ledger.fold_alarms()
    [again] = ledger.open_alarms()
    assert (again.id != alarm.id, again.pages) == (True, 1)


def test_an_alarm_is_seen_once_and_the_history_tells_by_whom(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 1)
    prepare(ledger, 1, scanner="fi-7160")
    ledger.fold_alarms()
    [alarm] = ledger.open_alarms()
    ledger.note_seen(alarm.id, who="Ada", said="cleaned")
    with pytest.raises(NoSuchAlarm):
        ledger.note_seen(alarm.id, who="Bob", said="me too")
    with pytest.raises(NoSuchAlarm):
        ledger.note_seen(4711, who="Bob", said="what?")
    raised = [event for event in ledger.events(order.id) if event.kind == "alarm raised"]
    assert [event.subject for event in raised] == [f"alarm {alarm.id}"]


def test_a_held_page_is_counted_once_however_often_it_is_held(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 1)
    for _ in range(2):
        [(_, task_id, attempt)] = ledger.dispatch("w", 1)
        task = ledger.claim(task_id, attempt, "w")
        assert task is not None
        ledger.hold(task, "cut-edge", "It is cut.", who="w", scanner="fi-7160", alarms=[CUT])
        [hold] = ledger.holds()
        assert ledger.decide_retry(hold, who="Ada", why="again")
    ledger.fold_alarms()
    [alarm] = ledger.open_alarms()
    assert alarm.pages == 1


def test_several_feeders_make_one_alarm_and_lose_no_page(ledger: Ledger) -> None:
    receive(ledger, open_order(ledger), 60)
    faults: list[BaseException] = []

    def fold() -> None:
        try:
            for _ in range(20):
                ledger.fold_alarms()
        except BaseException as error:
            faults.append(error)

    feeders = [threading.Thread(target=fold) for _ in range(3)]
    for feeder in feeders:
        feeder.start()
    for _ in range(12):
        prepare(ledger, 5, scanner="fi-7160")
    for feeder in feeders:
        feeder.join(60)
    ledger.fold_alarms()
    assert faults == []
    [alarm] = ledger.open_alarms()
    assert alarm.pages == 60


def test_an_order_closed_with_another_count_than_expected_raises_an_alarm_until_it_is_right(ledger: Ledger) -> None:
    order = open_order(ledger, expect_pages=5)
    receive(ledger, order, 3, "box-1")
    assert ledger.open_alarms() == []
    ledger.close_order(order.number, who="Ada")
    [alarm] = ledger.open_alarms()
    assert (alarm.kind, alarm.order, alarm.what) == (AlarmKind.COUNT_OFF, order.number, "5 pages expected, 3 received")
    ledger.reopen_order(order.number, who="Ada")
    assert ledger.open_alarms() == []
    receive(ledger, order, 2, "box-2")
    ledger.close_order(order.number, who="Ada")
    assert ledger.open_alarms() == []


def test_more_pages_than_expected_raise_an_alarm_at_once(ledger: Ledger) -> None:
    order = open_order(ledger, expect_pages=2)
    receive(ledger, order, 3)
    [alarm] = ledger.open_alarms()
    assert alarm.what == "2 pages expected, 3 received"


def test_an_alarm_stops_no_page(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 3)
    prepare(ledger, 3, scanner="fi-7160")
    while handed := ledger.dispatch("w", 5):
        for _, task_id, attempt in handed:
            task = ledger.claim(task_id, attempt, "w")
            assert task is not None
            finish(ledger, task)
    report = ledger.order_report(order.number)
    assert report is not None
    assert report.pages.billable == 3
