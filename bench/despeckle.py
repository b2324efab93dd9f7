"""Dots lost and specks removed by despeckle, beside unpaper and a 3 x 3 median on the same bitonal pages.

Every page is scanned twice, with dirt and without, each in another one of the installed faces. What is small on the
scan without dirt is a dot (full stops, i-dots, accents, quotes, decimals, leaders, dotted rules, dot-matrix print,
and pieces of thin strokes); what is on the dirty scan alone and up to 0.42 mm is a speck, drawn as IMAGING 2.5 has it
(1 to 5 pixels at 300 dpi, levels 30 to 170). A quarter of the pages has about as many as IMAGING, 1,500 on a sheet of
letter size, a quarter a quarter of that, a quarter a tenth, and a quarter none. A dot is lost if less than half of it
is left, a speck is removed if nothing of it is. Grains of less than 0.1 mm on the clean scan, one pixel at 300 dpi, are
told as scraps. Specks within 0.35 mm of a letter are part of its outline to every program, and are shown in a column of
their own. It is told apart what is removed where the stage's limits let it act.

`BENCH_PAGES` (40) says how many pages are drawn; 280 have more than 100,000 dots. `BENCH_FIRST` (0) is the number of
the first, for pages on which nobody has looked.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from bench import peers
from bench.tables import percent, print_table
from fixtures.pages import DrawnPage
from fixtures.paper import Paper
from fixtures.prose import Prose
from fixtures.scanner import bitonal, scanned
from fixtures.typefaces import Face
from stages import binarize, despeckle
from stages.page_image import MM_PER_INCH, PageImage
from stages.sheets import POINTS_PER_INCH

Mask = npt.NDArray[np.bool_]

PAGES = 40
SHEET_MM = (150.0, 200.0)
MARGIN_MM = 18.0  # as large a share of the sheet as 25 mm are of letter
DPIS = (300.0, 200.0, 400.0, 150.0, 300.0, 600.0, 240.0)
FONTS = Path("/usr/share/fonts")
SIZES_PT = (7.0, 8.0, 9.0, 10.0, 11.0, 12.0)
BLURS_MM = (0.0, 0.03, 0.05)
DIRT = {"clean": 0.0, "some": 0.00003, "dirty": 0.0001, "speckled": 0.0004}  # share of the scan under specks
DOT_MM = 0.62
SCRAP_MM = 0.1  # what is not so long is no dot of any print, but a grain that the scanner left at a stroke
SPECK_MM = 0.42  # as large as they are drawn; half a pixel more is the grid
TOUCHING_MM, NEAR_MM = 0.35, 1.5
ACCENTED = (
    "Él pidió más café, señor; ¿dónde está la caña? ¡Aquí! ",
    "Über die Brücke führt ein größerer Weg; Bäume blühen, ähnlich früh. ",
    "Où est l'élève français? Noël, naïve, garçon, çà et là: été, forêt, être. ",
    "Žluťoučký kůň úpěl ďábelské ódy; příliš, řeka, čas. ",
    "“Yes,” he said: ‘don't!’ — it's 5.25 %; i.e., J. R. Smith, Esq., 3° 14′ 9″. ",
)
SIGNS = "".join(sorted({"Z", *"".join(ACCENTED)} - {" "}))  # a face without one of these draws boxes


@dataclass(slots=True)
class Score:
    """What one way of cleaning did, summed over pages."""

    pages: int = 0
    dots: int = 0
    dots_lost: int = 0
    scraps: int = 0
    scraps_lost: int = 0
    worst_page: int = 0
    specks: int = 0
    removed: int = 0
    near: int = 0
    near_removed: int = 0
    touching: int = 0
    touching_removed: int = 0
    held_back: int = 0
    cpu_s: float = 0.0

    def __add__(self, other: Score) -> Score:
        added = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        added["worst_page"] = max(self.worst_page, other.worst_page)
        return Score(**added)

    def row(self, *names: str) -> tuple[object, ...]:
        """A line of a table."""
        far, far_removed = self.specks - self.near, self.removed - self.near_removed
        return (
            *names,
            self.pages,
            self.dots,
            self.dots_lost,
            f"{1e4 * self.dots_lost / max(1, self.dots):.1f}",
            self.worst_page,
            f"{self.scraps_lost} of {self.scraps}",
            self.specks,
            percent(self.removed / self.specks) if self.specks else "-",
            percent(self.near_removed / self.near) if self.near else "-",
            percent(far_removed / far) if far else "-",
            percent(self.touching_removed / self.touching) if self.touching else "-",
            self.held_back,
            f"{1000 * self.cpu_s / max(1, self.pages):.0f}",
        )


COLUMNS = (
    "pages", "dots", "lost", "per 10,000", "worst page", "scraps lost", "specks", "removed", "near", "far", "touching",
    "held back", "CPU ms",
)  # fmt: skip


def run() -> None:
    """Draw the pages, clean each in every way, and print what was lost and what removed."""
    count = int(os.environ.get("BENCH_PAGES", PAGES))
    ways = cleaners()
    by_way: dict[str, Score] = {name: Score() for name in ways}
    by_dirt: dict[str, Score] = {name: Score() for name in DIRT}
    by_answer: dict[str, Score] = {}
    by_dpi: dict[float, Score] = {dpi: Score() for dpi in sorted(DPIS)}
    first = int(os.environ.get("BENCH_FIRST", 0))
    for number in range(first, first + count):
        dirty, clean, dirt = drawn_pair(number)
        for name, clean_up in ways.items():
            began = cpu_s()
            cleaned, answer = clean_up(dirty)
            spent_s = cpu_s() - began
            score = scored(dirty, clean, cleaned)
            score.cpu_s, score.held_back = spent_s, int(answer != "cleaned")
            by_way[name] += score
            if name == "Platen":
                by_dirt[dirt] += score
                by_answer[answer] = by_answer.get(answer, Score()) + score
                by_dpi[dirty.dpi] += score
    print(f"{len(faces())} faces installed that have all signs")
    print_table(("method", *COLUMNS), [score.row(name) for name, score in by_way.items()])
    print_table(("Platen, answer", *COLUMNS), [score.row(answer) for answer, score in sorted(by_answer.items())])
    print_table(("Platen, dirt", *COLUMNS), [score.row(name) for name, score in by_dirt.items()])
    print_table(("Platen, dpi", *COLUMNS), [score.row(f"{dpi:.0f}") for dpi, score in by_dpi.items() if score.pages])


def cpu_s() -> float:
    """Seconds that this process and the programs it ran have computed."""
    return sum(os.times()[:4])


def cleaners() -> dict[str, Callable[[PageImage], tuple[Mask, str]]]:
    """Ways of cleaning: ink in what they leave, and whether they cleaned or kept their hands off."""
    ways: dict[str, Callable[[PageImage], tuple[Mask, str]]] = {"Platen": _platen, "median 3 x 3": _median}
    if peers.has_unpaper():
        ways["unpaper, its defaults"] = _unpaper
    return ways


def drawn_pair(number: int) -> tuple[PageImage, PageImage, str]:
    """A dirty bitonal page, the same page without the dirt, and how dirty it is.

    Every second page is cut by our own threshold, the others as by a scanner.
    """
    dpi = DPIS[number % len(DPIS)]
    dirt = tuple(DIRT)[number % len(DIRT)]
    page = page_of_dots(number, dpi=dpi)
    random = np.random.default_rng(number)
    look = {
        "blur_mm": float(random.choice(BLURS_MM)),
        "contrast": float(random.uniform(0.6, 1.0)),
        "skew_deg": float(random.choice((0.0, 0.0, 0.4, -1.1))),
    }
    cut = [
        _cut(scanned(page, speckle_fraction=fraction, seed=number, **look).image(), own=number % 2 == 1)
        for fraction in (DIRT[dirt], 0.0)
    ]
    return cut[0], cut[1], dirt


@cache
def faces() -> tuple[Path, ...]:
    """Every installed face that has the signs to be drawn, in an order that mixes families."""
    found = sorted((*FONTS.rglob("*.ttf"), *FONTS.rglob("*.otf")), key=lambda path: path.name)
    whole = [path for path in found if _has_signs(path)]
    order = np.random.default_rng(0).permutation(len(whole))
    return tuple(whole[place] for place in order)


def _has_signs(path: Path) -> bool:
    face = ImageFont.truetype(path, 40, layout_engine=ImageFont.Layout.BASIC)
    drawn = [bytes(face.getmask(sign)) for sign in ("\ufffe", *SIGNS)]  # the first is in no face
    return all(any(sign) and sign != drawn[0] for sign in drawn[1:])


class _PaperIn(Paper):
    """Paper on which all is set in one face, whichever is asked for."""

    def __init__(self, path: Path, dpi: float, size_mm: tuple[float, float]) -> None:
        super().__init__(dpi, size_mm)
        self._path = path
        self._cut: dict[float, FreeTypeFont] = {}

    def face(self, face: Face, size_pt: float) -> FreeTypeFont:
        if size_pt not in self._cut:
            size_px = size_pt * self.dpi / POINTS_PER_INCH
            self._cut[size_pt] = ImageFont.truetype(self._path, size_px, layout_engine=ImageFont.Layout.BASIC)
        return self._cut[size_pt]


def page_of_dots(number: int, *, dpi: float) -> DrawnPage:
    """A page of what has dots in it, in one face and size."""
    prose, sheet = Prose(number), _PaperIn(faces()[number % len(faces())], dpi, SHEET_MM)
    random = prose.random
    face, size_pt = Face.SERIF, random.choice(SIZES_PT)
    left, width = MARGIN_MM, SHEET_MM[0] - 2 * MARGIN_MM
    y = sheet.paragraph(left, MARGIN_MM, width, prose.paragraph(4), face, size_pt) + 2
    y = sheet.paragraph(left, y, width, "".join(random.sample(ACCENTED, 3)), face, size_pt) + 2
    for _ in range(5):  # a list of contents
        dots = random.choice((".", " .", "  .", "    .")) * 120
        entry = f"{prose.item()} "
        sheet.line(left, y, _fitted(entry + dots, sheet, face, size_pt, width - 12), face, size_pt)
        sheet.line(left + width - 10, y, str(random.randint(2, 400)), face, size_pt)
        y += size_pt * 0.45
    y += 2
    for _ in range(6):  # amounts with their points below each other, some without an amount
        cells = [random.choice((prose.amount(), f".{random.randint(10, 99)}", ".", "-.-", "0.5")) for _ in range(5)]
        sheet.row(left, y, [width / 5] * 5, cells, face, size_pt)
        y += size_pt * 0.5
    y += 3
    rule = _dotted_rule(left, y, width, random.choice((0.8, 1.2, 2.0, 3.0)))
    y += 3
    matrix = _dot_matrix(left, y, f"No. {prose.number()}: {prose.amount()}.")
    y += 12 * MM_PER_INCH / 72
    bottom = SHEET_MM[1] - MARGIN_MM if number % 3 else SHEET_MM[1] / 2  # every third page is not full
    while y < bottom - 2:
        y = sheet.paragraph(left, y + 2, width, prose.paragraph(3), face, size_pt, bottom_mm=bottom)
    pixels = sheet.pixels()
    _with_dots(pixels, rule, random.uniform(0.2, 0.4), dpi)
    _with_dots(pixels, matrix, random.uniform(0.24, 0.32), dpi)
    return DrawnPage(pixels=pixels, dpi=dpi, lines=sheet.lines())


def scored(dirty: PageImage, clean: PageImage, left: Mask) -> Score:
    """Dots lost and specks removed on one page, `left` being the ink that is left."""
    ink, truth = ~dirty.pixels, ~clean.pixels
    count, labels, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8), connectivity=8)
    size = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    dots, scraps = size < dirty.px(DOT_MM), size < dirty.px(SCRAP_MM)
    had = np.bincount(labels[truth & ink], minlength=count)
    has = np.bincount(labels[truth & left], minlength=count)
    dots &= had > stats[:, cv2.CC_STAT_AREA] / 2
    dots[0] = False
    lost = dots & (has < had / 2)
    count, labels, stats, centres = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    touched = np.bincount(labels[truth], minlength=count) > 0
    size = np.maximum(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    specks = ~touched & (size <= dirty.px(SPECK_MM) + 0.5)
    specks[0] = False
    gone = specks & (np.bincount(labels[left], minlength=count) == 0)
    distance = cv2.distanceTransform((~truth).astype(np.uint8), cv2.DIST_L2, 3)
    cols, rows = np.rint(centres).astype(int).T
    touching = specks & (distance[rows, cols] < dirty.px(TOUCHING_MM))
    specks &= ~touching
    near = specks & (distance[rows, cols] < dirty.px(NEAR_MM))
    return Score(
        pages=1,
        dots=int((dots & ~scraps).sum()),
        dots_lost=int((lost & ~scraps).sum()),
        scraps=int((dots & scraps).sum()),
        scraps_lost=int((lost & scraps).sum()),
        worst_page=int((lost & ~scraps).sum()),
        specks=int(specks.sum()),
        removed=int((gone & specks).sum()),
        near=int(near.sum()),
        near_removed=int((gone & near).sum()),
        touching=int(touching.sum()),
        touching_removed=int((gone & touching).sum()),
    )


def _platen(page: PageImage) -> tuple[Mask, str]:
    result = despeckle.despeckle(page, despeckle.Settings())
    readings = result.readings
    declined, cautious = readings["despeckle.declined"] is not None, readings["despeckle.cautious"]
    return ~result.pixels.astype(np.bool_), "declined" if declined else "cautious" if cautious else "cleaned"


def _median(page: PageImage) -> tuple[Mask, str]:
    return cv2.medianBlur((~page.pixels).astype(np.uint8), 3) > 0, "cleaned"


def _unpaper(page: PageImage) -> tuple[Mask, str]:
    """All filters as they are by default; what would move the page is off, or nothing could be compared."""
    still = ("deskew", "mask-scan", "mask-center", "border-scan", "border-align", "wipe", "border")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        before, after = Path(scratch) / "before.pbm", Path(scratch) / "after.pbm"
        Image.fromarray(page.pixels).save(before)
        options = ["--quiet", "--layout", "none", "--dpi", f"{page.dpi:.0f}", *(f"--no-{what}" for what in still)]
        subprocess.run([peers.unpaper(), *options, before, after], check=True, capture_output=True)
        with Image.open(after) as image:
            return np.asarray(image.convert("L")) < 128, "cleaned"


def _cut(page: PageImage, *, own: bool) -> PageImage:
    """The scan in black and white."""
    if own:
        cut = binarize.binarize(page, binarize.Settings())
        if cut.is_bitonal:
            return PageImage(pixels=cut.pixels, dpi=page.dpi)
    return PageImage(pixels=bitonal(np.asarray(page.pixels, np.uint8)), dpi=page.dpi)


def _fitted(text: str, sheet: Paper, face: Face, size_pt: float, width_mm: float) -> str:
    while sheet.face(face, size_pt).getlength(text) > sheet.px(width_mm):
        text = text[:-1]
    return text


def _dotted_rule(left_mm: float, y_mm: float, width_mm: float, pitch_mm: float) -> list[tuple[float, float]]:
    return [(float(x_mm), y_mm) for x_mm in np.arange(left_mm, left_mm + width_mm, pitch_mm)]


def _dot_matrix(left_mm: float, y_mm: float, text: str) -> list[tuple[float, float]]:
    """Text as of a printer whose pins stand 1/72 inch apart."""
    small = Image.new("1", (7 * len(text), 12), 0)
    ImageDraw.Draw(small).text((0, 0), text, font=ImageFont.load_default_imagefont(), fill=1)
    pitch_mm = MM_PER_INCH / 72
    return [(left_mm + col * pitch_mm, y_mm + row * pitch_mm) for row, col in np.argwhere(np.array(small)).tolist()]


def _with_dots(pixels: npt.NDArray[np.uint8], dots: list[tuple[float, float]], size_mm: float, dpi: float) -> None:
    """Draw round dots, placed to a sixteenth of a pixel."""
    unit = dpi / MM_PER_INCH * 16
    for x_mm, y_mm in dots:
        cv2.circle(
            pixels, (round(x_mm * unit) - 8, round(y_mm * unit) - 8), round(size_mm / 2 * unit), 0, -1, cv2.LINE_AA, 4
        )
