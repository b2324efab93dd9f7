"""Whole turns: real and drawn pages in all four, beside Tesseract's orientation detection at OCRmyPDF's gate.

A page counts as wrong when it was turned and does not stand upright afterwards; declined is left as it is. Excerpts are
squares that hold some dozens of letters of a page: thousands of short pages, where the evidence is thin. Of the real
ones some show a stamp that stands sideways on its page, which counts as wrong here though it is read rightly.
Scripts the net was not trained on, music and all of `bench.textless` must be declined; only their turns are counted.

BENCH_PAGES is the number of drawn pages (120; twelve excerpts of each are looked at as well). Tesseract is asked for
each real page in one of the turns, and for all four with BENCH_ALL_TURNS=1.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from bench import REAL_SCANS, peers
from bench.real_pages import RealPage, text_pages
from bench.skew import DRAWINGS
from bench.tables import percent, print_table
from bench.textless import KINDS, textless_page
from fixtures.scanner import bitonal, scanned
from stages.analysis import InkParts, analysis_of
from stages.orient import Settings, letters_of, orient
from stages.page_image import PageImage

Grey = npt.NDArray[np.uint8]

SEED = 22
NET_ONLY = Settings(use_osd=False)
OSD_GATE = 14.0  # OCRmyPDF's --rotate-pages-threshold
EXCERPTS_A_PAGE = 12
EXCERPT_LETTERS = (40, 90)
DRAWN_DPI = 200.0
TEXTLESS_A_KIND = 6
# In the installed fonts; those marked so are among the sheets the net was trained on.
SCRIPT_FONTS = ("FreeSerif.ttf", "FreeSans.ttf", "DejaVuSans.ttf")
SCRIPTS = {
    "Buginese": (0x1A00, 0x1A16),
    "Canadian syllabics": (0x1401, 0x1676),
    "Glagolitic": (0x2C00, 0x2C5E),
    "Gothic": (0x10330, 0x1034A),
    "Hanunoo": (0x1720, 0x1731),
    "Kana": (0x3041, 0x30FA),
    "Lao": (0xE81, 0xEB0),
    "Nko": (0x7CA, 0x7EA),
    "Runic": (0x16A0, 0x16EA),
    "Syriac": (0x710, 0x72F),
    "Tifinagh": (0x2D30, 0x2D65),
    "Vai": (0xA500, 0xA60B),
    "Arabic (trained)": (0xFE80, 0xFEF4),
    "Bengali": (0x985, 0x9B9),
    "Devanagari (trained)": (0x905, 0x939),
    "Ethiopic": (0x1200, 0x1357),
    "Gujarati": (0xA85, 0xAB9),
    "Hebrew (trained)": (0x5D0, 0x5EA),
    "Tamil (trained)": (0xB85, 0xBB9),
    "Thai (trained)": (0xE01, 0xE2E),
}
FONT_FOLDER = Path("/usr/share/fonts")


@dataclass(slots=True, kw_only=True)
class Tally:
    """How many pages of a kind were turned rightly, turned wrongly or declined."""

    pages: int = 0
    wrong: int = 0
    declined: int = 0
    cpu_s: float = 0.0
    worst: str = ""

    def note(self, turn_deg: int | None, needed_deg: int, name: str) -> None:
        """Count one page; None is a page that was declined."""
        self.pages += 1
        self.declined += turn_deg is None
        if turn_deg is not None and turn_deg != needed_deg:
            self.wrong += 1
            self.worst = name

    def row(self, kind: str, program: str) -> tuple[object, ...]:
        """One row of the table."""
        share = percent(self.declined / self.pages) if self.pages else "-"
        mean_ms = f"{1000 * self.cpu_s / self.pages:.0f}" if self.cpu_s else "-"
        return kind, program, self.pages, self.wrong, share, mean_ms, self.worst


def run() -> None:
    """Print the table of pages with text and the table of those that have none to go by."""
    rows: list[tuple[object, ...]] = []
    if REAL_SCANS.is_dir():
        pages = list(text_pages())
        rows += real_rows(pages)
        rows.append(excerpts_of_all(((page.name, page.image) for page in pages), seed=SEED).row("real excerpts", "net"))
    else:
        print(f"Left out: the real scans are not beside the project ({REAL_SCANS}).")
    rows += drawn_rows(int(os.environ.get("BENCH_PAGES", "120")))
    columns = ("pages", "program", "n", "wrong", "declined", "CPU ms after the analysis", "last wrong")
    print_table(columns, rows)
    print_table(("nothing to go by", "n", "turned wrongly", "left upright", "declined"), [*scripts(), *textless()])


def real_rows(pages: list[RealPage]) -> Iterator[tuple[object, ...]]:
    """Every real page in four turns: the net alone, the stage as it is, and the peer."""
    for name, settings in (("net alone", NET_ONLY), ("Platen", Settings())):
        tally = Tally()
        for page in pages:
            for turns in range(4):
                ask(tally, turned(page.image, turns), turns, page.name, settings)
        yield tally.row("real", name)
    if not peers.tesseract_languages():
        return
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for number, page in enumerate(pages):
            for turns in range(4) if os.environ.get("BENCH_ALL_TURNS") else [number % 4]:
                tally.note(osd_turn(turned(page.image, turns), Path(scratch)), -90 * turns % 360, page.name)
    yield tally.row("real", f"Tesseract, gate {OSD_GATE:g}")


def drawn_rows(count: int) -> Iterator[tuple[object, ...]]:
    """Drawn pages with a scanner's faults, each in one turn, and excerpts of them."""
    whole, parts = Tally(), Tally()
    for number, image in enumerate(drawn_pages(count)):
        turns = number % 4
        ask(whole, turned(image, turns), turns, f"drawn {number}", NET_ONLY)
        some = excerpts_of_all([(f"drawn {number}", image)], seed=number)
        parts.pages, parts.wrong = parts.pages + some.pages, parts.wrong + some.wrong
        parts.declined, parts.worst = parts.declined + some.declined, some.worst or parts.worst
    yield whole.row("drawn", "net")
    yield parts.row("drawn excerpts", "net")


def drawn_pages(count: int) -> Iterator[PageImage]:
    """Pages of all kinds, skewed a little, a third of them bitonal."""
    choose = random.Random(SEED)
    for number in range(count):
        page = DRAWINGS[number % len(DRAWINGS)](1000 + number)
        scan = scanned(
            page,
            skew_deg=choose.gauss(0.0, 2.0),
            tint=choose.randint(190, 255),
            contrast=choose.uniform(0.5, 1.0),
            blur_mm=choose.uniform(0.02, 0.12),
            noise_levels=choose.uniform(0.0, 10.0),
            speckle_fraction=choose.choice((0.0, 0.0005)),
            seed=number,
        )
        pixels: Grey = np.asarray(scan.pixels, dtype=np.uint8)
        if number % 2:
            size = tuple(round(side * DRAWN_DPI / scan.dpi) for side in pixels.shape[1::-1])
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        dpi = DRAWN_DPI if number % 2 else scan.dpi
        if number % 3 == 0:
            yield PageImage(pixels=bitonal(pixels), dpi=dpi)
        else:
            yield PageImage(pixels=pixels, dpi=dpi)


def excerpts_of_all(pages: Iterator[tuple[str, PageImage]] | list[tuple[str, PageImage]], *, seed: int) -> Tally:
    """The net's word on small squares of the pages, turned in turn."""
    choose, tally = np.random.default_rng(seed), Tally()
    for name, page in pages:
        view = analysis_of(page)
        letters = letters_of(InkParts(view.ink, view.labels, view.stats), view.dpi)
        if len(letters.centres) < EXCERPT_LETTERS[1]:
            continue
        for turns in range(EXCERPTS_A_PAGE):
            middle = letters.centres[choose.integers(len(letters.centres))]
            reach = np.abs(letters.centres - middle).max(axis=1)
            side = np.sort(reach)[choose.integers(*EXCERPT_LETTERS)] + letters.size_px
            box = np.clip(np.concatenate([middle - side, middle + side]) * view.scale, 0, None).astype(int)
            part = PageImage(pixels=page.pixels[box[1] : box[3], box[0] : box[2]], dpi=page.dpi)
            ask(tally, turned(part, turns), turns, name, NET_ONLY)
    return tally


def ask(tally: Tally, page: PageImage, turns: int, name: str, settings: Settings) -> None:
    """Let the stage decide and count what it did."""
    analysis_of(page)
    begin_s = time.process_time()
    readings = orient(page, settings.model_copy(update={"turn": False})).readings
    tally.cpu_s += time.process_time() - begin_s
    turn_deg = readings["orient.turn_deg"]
    assert isinstance(turn_deg, int)
    tally.note(None if readings["orient.decided_by"] == "none" else turn_deg, -90 * turns % 360, name)


def turned(page: PageImage, turns: int) -> PageImage:
    """The page turned clockwise by quarters, so that it needs `-90 * turns` degrees clockwise to stand."""
    pixels = page.pixels
    for _ in range(turns):
        pixels = pixels[::-1].swapaxes(0, 1)
    return PageImage(pixels=pixels.copy(), dpi=page.dpi)


def osd_turn(page: PageImage, folder: Path) -> int | None:
    """Degrees clockwise that OCRmyPDF would turn the page by; None below its gate or where Tesseract gives up."""
    file = folder / "page.png"
    Image.fromarray(page.grey()).save(file, dpi=(page.dpi, page.dpi), compress_level=1)
    command = ["tesseract", "-l", "osd", "--psm", "0", str(file), "stdout"]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    turn, sure = re.search(r"Rotate: (\d+)", told), re.search(r"Orientation confidence: (\S+)", told)
    if turn is None or sure is None or float(sure[1]) < OSD_GATE:
        return None
    return int(turn[1])


def scripts() -> Iterator[tuple[object, ...]]:
    """Sheets in other scripts, in four turns and all fonts that have the script."""
    fonts = [path for name in SCRIPT_FONTS for path in sorted(FONT_FOLDER.rglob(name))]
    for script, (first, last) in SCRIPTS.items():
        tally = Tally()
        for path in fonts:
            sheet = script_sheet(path, first, last)
            if sheet is not None:
                for turns in range(4):
                    ask(tally, turned(sheet, turns), turns, script, NET_ONLY)
        if tally.pages:
            upright = tally.pages - tally.wrong - tally.declined
            yield script, tally.pages, tally.wrong, upright, percent(tally.declined / tally.pages)


def script_sheet(path: Path, first: int, last: int) -> PageImage | None:
    """Words of random letters of a script; None where the font has few of them."""
    font = ImageFont.truetype(str(path), 30, layout_engine=ImageFont.Layout.BASIC)
    missing = bytes(font.getmask("\uffff"))
    letters = [letter for letter in map(chr, range(first, last + 1)) if bytes(font.getmask(letter)) != missing]
    if len(letters) < (last - first) // 2:
        return None
    choose, image = random.Random(SEED), Image.new("L", (1200, 900), 255)
    draw = ImageDraw.Draw(image)
    for y in range(40, 840, 52):
        x = 40.0
        while x < 1100:
            word = "".join(choose.choices(letters, k=choose.randint(2, 8)))
            draw.text((x, y), word, font=font, fill=0)
            x += font.getlength(word) + 14
    return PageImage(pixels=np.asarray(image), dpi=150.0)


def textless() -> Iterator[tuple[object, ...]]:
    """Pages without text and music: whatever turn is made is wrong."""
    makers: dict[str, Callable[[int], PageImage]] = {
        kind: lambda seed, kind=kind: textless_page(kind, seed, bitonal=seed % 2 == 1).image  # type: ignore[misc]
        for kind in KINDS
    }
    for kind, make in {**makers, "music": music_sheet}.items():
        tally = Tally()
        for seed in range(TEXTLESS_A_KIND):
            ask(tally, turned(make(seed), seed % 4), seed % 4, kind, NET_ONLY)
        yield (
            kind,
            tally.pages,
            tally.wrong,
            tally.pages - tally.wrong - tally.declined,
            percent(tally.declined / tally.pages),
        )


def music_sheet(seed: int) -> PageImage:
    """Staves with notes: heads of letter size on stems that go up and down."""
    choose = random.Random(seed)
    sheet = np.full((1650, 1275), 245, np.uint8)
    for top in range(150, 1500, 130):
        for line in range(5):
            cv2.line(sheet, (100, top + 12 * line), (1175, top + 12 * line), (70,), 1)
        for x in range(140, 1160, 34):
            y, is_up = top + 6 * choose.randint(-1, 9), choose.random() < 0.5
            cv2.ellipse(sheet, (x, y), (8, 6), -20, 0, 360, (20,), choose.choice((-1, -1, 2)), cv2.LINE_AA)
            cv2.line(
                sheet, (x + (7 if is_up else -7), y), (x + (7 if is_up else -7), y + (-42 if is_up else 42)), (20,), 2
            )
    return PageImage(pixels=sheet, dpi=150.0)
