"""Scan-quality alarms: what the readings of pages say about the scanner they came from.

An alarm stops nothing. It tells whoever stands at the scanner what to do while the sheets still lie there; the ledger
makes one alarm of all pages of a scanner that show the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipeline.model import AlarmKind, Page, PageAlarm, PageId, Readings
from pipeline.profile import AlarmRules, DocumentRules
from stages.errors import (
    CutEdge,
    Illegible,
    QualityTooLow,
    Refusal,
    ResolutionTooLow,
    SizeDoubtful,
    SkewTooLarge,
    UnreadableImage,
)
from stages.same_sheet import is_same_sheet

SAME_WITHIN_PAGES = 8  # sheets fed again after a jam lie that near
FEW_WORDS = 10  # a stamp and a date say nothing about the scanner
_HELD_AS: Mapping[str, AlarmKind] = {
    SkewTooLarge.code: AlarmKind.SKEW,
    CutEdge.code: AlarmKind.CUT_EDGE,
    ResolutionTooLow.code: AlarmKind.SIZE,
    SizeDoubtful.code: AlarmKind.SIZE,
    Illegible.code: AlarmKind.HARD_TO_READ,
    QualityTooLow.code: AlarmKind.HARD_TO_READ,
    UnreadableImage.code: AlarmKind.UNREADABLE,
}


def scanner_of(readings: Readings) -> str:
    """The device that made a page; empty when its file does not tell."""
    return str(readings.get("read.scanner") or "")


def prepared_alarms(readings: Readings, rules: AlarmRules) -> list[PageAlarm]:
    """What is the matter with a page that has been prepared."""
    alarms = []
    angle_deg, cut = readings.get("deskew.angle_deg"), readings.get("quality.cut_edge")
    streaks, dpi = readings.get("quality.streaks_mm"), readings.get("quality.likely_dpi")
    if isinstance(angle_deg, float) and _above(abs(angle_deg), rules.max_skew_deg):
        alarms.append(PageAlarm(kind=AlarmKind.SKEW, what=f"turned by {abs(angle_deg):.1f}°"))
    if rules.cut_edge and isinstance(cut, list) and cut:
        alarms.append(PageAlarm(kind=AlarmKind.CUT_EDGE, what=f"text is cut off at {', '.join(map(str, cut))}"))
    paper, black = readings.get("quality.paper"), readings.get("quality.black_fraction")
    contrast, blur_mm = readings.get("quality.contrast"), readings.get("quality.blur_mm")
    if _below(paper, rules.min_paper):
        alarms.append(PageAlarm(kind=AlarmKind.TOO_DARK, what=f"the paper's level is {paper:.0%} of white"))
    elif _above(black, rules.max_black_fraction):
        alarms.append(PageAlarm(kind=AlarmKind.TOO_DARK, what=f"{black:.0%} of it are black"))
    elif _below(contrast, rules.min_contrast):
        alarms.append(PageAlarm(kind=AlarmKind.TOO_LIGHT, what=f"the print's contrast is {contrast:.0%}"))
    if _above(blur_mm, rules.max_blur_mm):
        alarms.append(PageAlarm(kind=AlarmKind.BLUR, what=f"the letters' edges are {blur_mm:.2f} mm wide"))
    if rules.doubtful_size and isinstance(dpi, float):
        stated = readings.get("read.dpi_x")
        alarms.append(
            PageAlarm(kind=AlarmKind.SIZE, what=f"{stated:.0f} dpi makes no usual sheet, {dpi:.0f} dpi would")
        )
    if rules.streaks and isinstance(streaks, list) and streaks:
        places = ", ".join(f"{float(place):.0f} mm" for place in streaks)
        alarms.append(PageAlarm(kind=AlarmKind.STREAK, what=f"a line along the sheet, {places} from the left"))
    return alarms


def recognized_alarms(readings: Readings, rules: AlarmRules) -> list[PageAlarm]:
    """What is the matter with a page that has been read."""
    words, confidence = readings.get("ocr.words"), readings.get("ocr.mean_confidence")
    if not isinstance(words, int) or words < FEW_WORDS or not _below(confidence, rules.min_confidence):
        return []
    return [PageAlarm(kind=AlarmKind.HARD_TO_READ, what=f"read with {confidence:.0%} confidence")]


def held_alarms(refusal: Refusal) -> list[PageAlarm]:
    """What is the matter with a page that is held: the sheet is still at the scanner."""
    kind = _HELD_AS.get(refusal.code)
    return [] if kind is None else [PageAlarm(kind=kind, what="held")]


def batch_alarms(
    pages: Sequence[Page],
    rules: AlarmRules,
    documents: DocumentRules,
    *,
    is_same: Callable[[Page, Page], bool],
) -> dict[PageId, list[PageAlarm]]:
    """What is the matter with the pages of a batch side by side, given in their order.

    `is_same` looks closely at two pages whose maps of ink agree.
    """
    seen = [page for page in pages if page.excluded is None and page.prepared is not None]
    alarms = _blank_runs(seen, rules.most_blank_in_a_row, duplex=documents.duplex)
    if rules.same_twice:
        for page, what in _twice(seen, is_same):
            alarms.setdefault(page.id, []).append(PageAlarm(kind=AlarmKind.SAME_TWICE, what=what))
    return alarms


def _blank_runs(pages: Sequence[Page], most: int, *, duplex: bool) -> dict[PageId, list[PageAlarm]]:
    """Runs of sure blanks that are longer than `most`; a sheet scanned on both sides is blank when both are."""
    runs: list[list[Page]] = [[]]
    step = 2 if duplex else 1
    for at in range(0, len(pages), step):
        sheet = pages[at : at + step]
        if all(page.readings.get("blank.verdict") == "blank" for page in sheet):
            runs[-1] += sheet
        else:
            runs.append([])
    return {
        page.id: [PageAlarm(kind=AlarmKind.BLANK_RUN, what=f"one of {len(run)} blank sides in a row")]
        for run in runs
        if len(run) > most
        for page in run
    }


def _twice(pages: Sequence[Page], is_same: Callable[[Page, Page], bool]) -> list[tuple[Page, str]]:
    """Each page that is the same file as one before it, or shows the same sheet as one shortly before it, and which."""
    files: dict[tuple[str, int], Page] = {}
    twice = []
    telling = [page for page in pages if not _looks_like_others(page)]
    for at, page in enumerate(telling):
        same_file = files.setdefault((page.source, page.index_in_file), page)
        if same_file is not page:
            twice.append((page, f"the same file as page {same_file.sequence}"))
            continue
        for earlier in telling[max(0, at - SAME_WITHIN_PAGES) : at]:
            maps = (one.readings.get("blank.ink_map") for one in (page, earlier))
            if is_same_sheet(*maps) and is_same(page, earlier):
                twice.append((page, f"looks the same as page {earlier.sequence}"))
                break
    return twice


def _looks_like_others(page: Page) -> bool:
    """Whether it is a sheet that the bureau puts between papers, or a blank one: these look alike."""
    names = ("separators.separator", "separators.ticket")
    return any(page.readings.get(name) for name in names) or page.readings.get("blank.verdict") != "content"


def _below(value: object, limit: float) -> bool:
    return isinstance(value, float) and value < limit


def _above(value: object, limit: float) -> bool:
    return isinstance(value, float) and value > limit
