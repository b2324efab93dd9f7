"""What an alarm tells people: what to do first, and then why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pipeline.ledger.alarms import Alarm
from pipeline.model import AlarmKind

_BATCHES_TOLD = 2  # the newest; all that are known stand beside the alarm


@dataclass(frozen=True, slots=True)
class AlarmWords:
    """What to do (`{at}` is the scanner), and what one page and what many have."""

    to_do: str
    one: str
    many: str


WORDS: Mapping[AlarmKind, AlarmWords] = {
    AlarmKind.SKEW: AlarmWords("Straighten the paper guides of {at}", "lies askew", "lie askew"),
    AlarmKind.CUT_EDGE: AlarmWords(
        "Lay the sheets fully into {at}, or set a larger scan area",
        "has text cut off at an edge",
        "have text cut off at an edge",
    ),
    AlarmKind.TOO_DARK: AlarmWords("Set {at} lighter", "is too dark", "are too dark"),
    AlarmKind.TOO_LIGHT: AlarmWords("Set {at} darker", "is too light", "are too light"),
    AlarmKind.BLUR: AlarmWords(
        "Lay the sheets flat into {at}, and clean its lens and glass", "is blurred", "are blurred"
    ),
    AlarmKind.HARD_TO_READ: AlarmWords(
        "Look at the pages from {at}, and scan them better if that can be done",
        "can hardly be read",
        "can hardly be read",
    ),
    AlarmKind.SIZE: AlarmWords(
        "Check the resolution set at {at}",
        "has a size that is no usual sheet's",
        "have sizes that are no usual sheet's",
    ),
    AlarmKind.STREAK: AlarmWords(
        "Clean the glass of {at}", "has a line along the sheet", "have a line along the sheet"
    ),
    AlarmKind.BLANK_RUN: AlarmWords(
        "See whether sheets lie the wrong way round in {at}",
        "is blank among many blank ones",
        "are blank, many in a row",
    ),
    AlarmKind.SAME_TWICE: AlarmWords(
        "See which sheets went through {at} twice", "shows a sheet that came before", "show sheets that came before"
    ),
    AlarmKind.UNREADABLE: AlarmWords(
        "Scan again at {at}, and restart its program if it happens again",
        "came in a file that cannot be read",
        "came in files that cannot be read",
    ),
}


def alarm_sentence(alarm: Alarm) -> str:
    """What to do, and why: `Clean the glass of fi-7160: 37 pages since 2026-11-23 09:14 UTC have ...`."""
    if alarm.kind is AlarmKind.COUNT_OFF:
        return f"Count the sheets of {alarm.order} again: {alarm.what}."
    words = WORDS[alarm.kind]
    told = words.one if alarm.pages == 1 else words.many
    pages = "1 page" if alarm.pages == 1 else f"{alarm.pages:,} pages"
    # where the files tell no scanner, or only its model: whoever scanned these batches knows which it was
    newest = () if alarm.batch else alarm.newest
    batches = list(dict.fromkeys(f"“{page.batch}” of {page.order}" for page in newest))
    where = f", the last in {' and '.join(batches[:_BATCHES_TOLD])}" if batches else ""
    return f"{words.to_do.format(at=alarm_place(alarm))}: {pages} since {_since(alarm.first_at)} {told}{where}."


def alarm_place(alarm: Alarm) -> str:
    """Where to go: the scanner, or that of the batch or order where the files do not name one."""
    if alarm.scanner:
        return alarm.scanner
    return f"the scanner of batch “{alarm.batch}” of {alarm.order}" if alarm.batch else f"the scanner of {alarm.order}"


def _since(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
