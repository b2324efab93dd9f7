"""Scan-quality alarms: what the readings of pages say about the scanner they came from.

An alarm stops nothing. It tells whoever stands at the scanner what to do while the sheets still lie there; the ledger
makes one alarm of all pages of a scanner that show the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from pipeline.model import AlarmKind, Page, PageAlarm, Readings
from pipeline.profile import AlarmRules
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

SAME_WITHIN_SIDES = 8  # sheets fed again after a jam lie that near
MOST_LOOKS = 3  # at pages beside one, a tenth of a second each: a box of one form has thousands alike
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


def reach_of(rules: AlarmRules) -> int:
    """How many sides before and after a page tell something of it."""
    return max(rules.most_blank_in_a_row, SAME_WITHIN_SIDES if rules.same_twice else 0)


def alarms_beside(
    page: Page,
    beside: Sequence[Page],
    copies: Sequence[Page],
    rules: AlarmRules,
    *,
    is_same: Callable[[Page, Page], bool],
) -> list[tuple[Page, PageAlarm]]:
    """What is the matter with a page and those beside it, each given with its page, once the page has been prepared.

    `beside` are the prepared pages of its batch at most `reach_of(rules)` sides before and after it, and `copies` such
    as were made from the same page of the same file; neither holds the page itself. Pages are prepared in any order:
    whichever of a run or a pair is the last one finds the others there. `is_same` looks closely at two pages whose
    maps of ink agree.
    """
    if page.readings.get("blank.verdict") == "blank":
        return _blank_run(page, beside, rules.most_blank_in_a_row)
    if not rules.same_twice or _looks_like_others(page):
        return []
    if copies:
        return [_twice(page, copy, "the same file as") for copy in copies]
    near = sorted(beside, key=lambda other: abs(other.sequence - page.sequence))
    maps_agree = (
        other
        for other in near
        if abs(other.sequence - page.sequence) <= SAME_WITHIN_SIDES
        and not _looks_like_others(other)
        and is_same_sheet(page.readings.get("blank.ink_map"), other.readings.get("blank.ink_map"))
    )
    looked_at = itertools.islice(maps_agree, MOST_LOOKS)
    return [_twice(page, other, "looks the same as") for other in looked_at if is_same(page, other)][:1]


def _blank_run(page: Page, beside: Sequence[Page], most: int) -> list[tuple[Page, PageAlarm]]:
    """The run of sure blanks that a blank page is in, where it is longer than `most`."""
    blanks = {one.sequence: one for one in (*beside, page) if one.readings.get("blank.verdict") == "blank"}
    first = last = page.sequence
    while first - 1 in blanks:
        first -= 1
    while last + 1 in blanks:
        last += 1
    run = [blanks[sequence] for sequence in range(first, last + 1)]
    what = f"one of {most + 1} blank sides in a row, or more"
    return [(side, PageAlarm(kind=AlarmKind.BLANK_RUN, what=what)) for side in run] if len(run) > most else []


def _twice(page: Page, other: Page, how: str) -> tuple[Page, PageAlarm]:
    first, again = sorted((page, other), key=lambda one: one.sequence)
    return again, PageAlarm(kind=AlarmKind.SAME_TWICE, what=f"{how} page {first.sequence}")


def _looks_like_others(page: Page) -> bool:
    """Whether it is a sheet that the bureau puts between papers, or a blank one: these look alike."""
    names = ("separators.separator", "separators.ticket")
    return any(page.readings.get(name) for name in names) or page.readings.get("blank.verdict") != "content"


def _below(value: object, limit: float) -> bool:
    return isinstance(value, float) and value < limit


def _above(value: object, limit: float) -> bool:
    return isinstance(value, float) and value > limit
