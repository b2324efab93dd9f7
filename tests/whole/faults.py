"""A batch in which every alarm about scans has its page."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from PIL import Image

from fixtures import pages as drawn
from fixtures.paper import DrawnPixels
from fixtures.scanner import scanned
from pipeline.model import AlarmKind
from tests.whole.home import Home

DPI = 150.0
EMPTY = range(18, 24)
COPY, COPIED, AGAIN, FED_AGAIN = 26, 25, 28, 27
FAULTS = {
    3: AlarmKind.SKEW,
    5: AlarmKind.CUT_EDGE,
    7: AlarmKind.TOO_DARK,
    9: AlarmKind.TOO_LIGHT,
    11: AlarmKind.BLUR,
    13: AlarmKind.SIZE,
    15: AlarmKind.STREAK,
    **dict.fromkeys(EMPTY, AlarmKind.BLANK_RUN),
    COPY: AlarmKind.SAME_TWICE,
    AGAIN: AlarmKind.SAME_TWICE,
    30: AlarmKind.UNREADABLE,
}
HARD_TO_READ = 11  # the blurred one, told once it has been read


def drop_faulty_pages(folder: Path, pages: int) -> None:
    """Write a batch of letters, the numbers of `FAULTS` with their faults, and drop it in one go."""
    scratch = folder.with_name(f"_{folder.name}")
    scratch.mkdir(parents=True)
    for number in range(1, pages + 1):
        path = scratch / f"{number:04}.tif"
        dpi = DPI / 2 if FAULTS.get(number) is AlarmKind.SIZE else DPI
        Image.fromarray(_page(number)).save(path, compression="tiff_lzw", dpi=(dpi, dpi))
        if number == COPY:
            path.write_bytes(path.with_name(f"{COPIED:04}.tif").read_bytes())
        if FAULTS.get(number) is AlarmKind.UNREADABLE:
            path.write_bytes(path.read_bytes()[:2000])
    scratch.rename(folder)


def alarmed_pages(home: Home) -> dict[AlarmKind, set[int]]:
    """The numbers of the pages with an alarm, by its kind."""
    with closing(sqlite3.connect(home.folder / "ledger.db", timeout=30)) as connection:
        rows = connection.execute(
            "SELECT kind, sequence FROM alarm_pages JOIN pages ON pages.id = page_id WHERE alarm_id IS NOT NULL"
        ).fetchall()
    pages: dict[AlarmKind, set[int]] = {}
    for kind, number in rows:
        pages.setdefault(AlarmKind(kind), set()).add(number)
    return pages


def _page(number: int) -> DrawnPixels:
    letter = drawn.letter(seed=FED_AGAIN if number == AGAIN else number, dpi=DPI)
    match FAULTS.get(number):
        case AlarmKind.SKEW:
            return scanned(letter, skew_deg=8.0, seed=number).pixels
        case AlarmKind.CUT_EDGE:
            return letter.pixels[:, letter.pixels.shape[1] // 3 :]
        case AlarmKind.TOO_DARK:
            return scanned(letter, tint=90, seed=number).pixels
        case AlarmKind.TOO_LIGHT:
            return scanned(letter, contrast=0.12, seed=number).pixels
        case AlarmKind.BLUR:
            return scanned(letter, blur_mm=0.5, seed=number).pixels
        case AlarmKind.STREAK:
            streaked = letter.pixels.copy()
            streaked[:, 333] = 60
            return streaked
        case AlarmKind.BLANK_RUN:
            return scanned(drawn.blank(dpi=DPI), noise_levels=3.0, seed=number).pixels
    return scanned(letter, skew_deg=0.3 * (number % 4) - 0.4, noise_levels=4.0, seed=number).pixels
