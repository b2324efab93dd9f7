"""Punched holes found and filled on drawn and real pages, and round things that are none on thousands of pages.

Drawn letters, forms, tables and typescripts are punched in the ways of Europe and America, laid askew, and scanned on
lids of all shades, in grey, colour and black and white. Hole-free pages of every kind carry what might be taken for a
hole: bullets, radio buttons, big letters O, musical notes, stamps and seals, coffee rings, dots of a dice, and
blots, also in pairs as far apart as holes are. A hole is found when one is reported within 1 mm of its middle.
"False" are spots reported where no hole is; "false fills" are those painted over. unpaper, which takes black areas away
with whatever they are, gets some of the same pages: a hole counts as gone when its middle came out as paper.
BENCH_PAGES sets the number of hole-free pages (2000 unless told); a tenth as many are punched.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from bench import REAL_SCANS, peers
from bench.borders import real_pages, unpapered
from bench.tables import percent, print_table
from fixtures import pages
from fixtures.pages import DrawnPage
from fixtures.scanner import Hole, Lid, ScannedPage, bitonal, scanned
from stages.analysis import analysis_of
from stages.holes import Settings, holes
from stages.ink_ledger import ink_moved
from stages.page_image import MM_PER_INCH, PageImage
from stages.sheets import A4_MM, LETTER_MM

Grey = npt.NDArray[np.uint8]

PAGES = 2000
PUNCHED_SHARE = 0.1
DRAWN_SHEETS = 24  # hole-free pages are these, each with other marks on it every time
DPI = 200.0
HOLE_DPIS = (300.0, 200.0, 150.0)
FOUND_WITHIN_MM = 1.0
UNPAPER_PAGES = 12
PAPER_SHARE = 0.7  # what is brighter than so much of the paper has been covered

# Real scans with holes and how many there are, counted by eye; all other real pages have none.
REAL_HOLES = {
    "ocr-truth/en/EHRI-BF-19380509b_EN_01.jpg": 2,
    "ocr-truth/en/EHRI-BF-19380509b_EN_02.jpg": 2,
    "ocr-truth/en/EHRI-BF-19380509b_EN_03.jpg": 2,
    "ocr-truth/en/EHRI-BF-19380509b_EN_04.jpg": 2,
    "ocr-truth/da/EHRI-DR-19440419-DK_01.jpg": 2,
    "skew/real-EHRI-BF-19380509b_EN_01_+0.3.jpg": 2,
    "skew/real-EHRI-BF-19380509b_EN_03_-13.jpg": 2,
    "skew/real-EHRI-BF-19380509b_EN_04_-3.8.jpg": 2,
}


@dataclass(slots=True, kw_only=True)
class Score:
    """What was found on the pages of one kind."""

    n: int = 0
    holes: int = 0
    found: int = 0
    filled: int = 0
    false: int = 0
    false_fills: int = 0
    pages_missed: int = 0
    letters_lost: int = 0
    cpu_s: float = 0.0

    def row(self, name: str) -> tuple[object, ...]:
        """The score as a line of the table."""
        return (
            name,
            self.n,
            self.holes,
            percent(self.found / self.holes) if self.holes else "-",
            percent(self.filled / self.holes) if self.holes else "-",
            self.pages_missed,
            self.false,
            self.false_fills,
            self.letters_lost,
            f"{1000 * self.cpu_s / max(1, self.n):.1f}",
        )


COLUMNS = (
    "n", "holes", "found", "filled", "pages with a miss", "false", "false fills", "letters lost", "CPU ms",
)  # fmt: skip


def run() -> None:
    """Look for holes on punched pages, on pages without, and on the real scans."""
    count = int(os.environ.get("BENCH_PAGES", PAGES))
    scores: dict[str, Score] = {}
    for number in range(max(1, round(count * PUNCHED_SHARE))):
        for kind, page, places_mm in punched(number):
            tally(scores.setdefault(kind, Score()), page, places_mm)
    print_table(("punched pages", *COLUMNS), [score.row(kind) for kind, score in scores.items()])
    print_unpaper()
    scores = {}
    for kind, page in hole_free(count):
        tally(scores.setdefault(kind, Score()), page, [])
    print_table(("pages without holes", *COLUMNS), [score.row(kind) for kind, score in scores.items()])
    if REAL_SCANS.is_dir():
        print_real()
    else:
        print(f"Real scans left out: they are not beside the project ({REAL_SCANS}).")


def tally(score: Score, page: PageImage, places_mm: list[tuple[float, float]]) -> None:
    """Add one page whose holes are known."""
    analysis_of(page)  # shared by all stages, so no cost of this one
    began = time.process_time()
    after = holes(page, Settings())
    score.cpu_s += time.process_time() - began
    found = _places(after)
    matched = [place for place in places_mm if any(_near(place, other) for other in found)]
    score.n += 1
    score.holes += len(places_mm)
    score.found += len(matched)
    score.filled += sum(_is_covered(page, after, place) for place in places_mm)
    score.pages_missed += len(matched) < len(places_mm)
    strange = [place for place in found if not any(_near(place, other) for other in places_mm)]
    score.false += len(strange)
    score.false_fills += sum(_is_covered(page, after, place) for place in strange)
    if after.pixels is not page.pixels:
        score.letters_lost += ink_moved(page, after).letters_lost


def punched(number: int) -> Iterator[tuple[str, PageImage, list[tuple[float, float]]]]:
    """One punched sheet, scanned in grey or colour and again in black and white."""
    random = np.random.default_rng(number)
    draw = (pages.letter, pages.typescript, pages.form, pages.ruled_table, pages.two_columns)[number % 5]
    dpi = HOLE_DPIS[number % 3]
    size_mm = LETTER_MM if number % 2 else A4_MM
    lid: Lid = ("black", "dark", "none", "white")[number % 4]
    tint: int | tuple[int, int, int] = int(random.integers(190, 256))
    if lid == "white":
        tint = int(random.integers(180, 222))  # on white paper a white lid shows nothing but a thin shadow
    if number % 7 == 0 and isinstance(tint, int):
        tint = (tint, round(tint * 0.96), round(tint * 0.85))
    where = _holes(random, size_mm, number)
    scan = scanned(
        draw(seed=number % 40, dpi=dpi, size_mm=size_mm),
        skew_deg=float(random.uniform(-3, 3)),
        lid=lid,
        border_mm=float(random.uniform(0, 8)) if lid != "none" else 0.0,
        holes=where,
        tint=tint,
        contrast=float(random.uniform(0.6, 1.0)),
        shading=float(random.uniform(0, 0.15)),
        blur_mm=float(random.uniform(0, 0.09)),
        noise_levels=float(random.uniform(1, 6)),
        speckle_fraction=float(random.choice((0, 0.0002, 0.0008))),
        seed=number,
    )
    places = [(hole.x_px * MM_PER_INCH / dpi, hole.y_px * MM_PER_INCH / dpi) for hole in scan.holes]
    yield ("colour, " if scan.pixels.ndim == 3 else "grey, ") + f"{lid} lid", scan.image(), places
    if lid != "white":
        yield f"bitonal, {lid} lid", _bitonal(scan), places


def hole_free(count: int) -> Iterator[tuple[str, PageImage]]:
    """Pages without any hole, but with round things on most of them."""
    sheets = [_sheet(number) for number in range(DRAWN_SHEETS)]
    for number in range(count):
        random = np.random.default_rng((number, 3))
        pixels = sheets[number % DRAWN_SHEETS].copy()
        kind = tuple(MARKS)[number % len(MARKS)]
        for x_mm, y_mm, size_mm in _marked_places(random, pixels.shape):
            MARKS[kind](pixels, x_mm * DPI / MM_PER_INCH, y_mm * DPI / MM_PER_INCH, size_mm * DPI / MM_PER_INCH, random)
        light = cv2.GaussianBlur(pixels, (0, 0), float(random.uniform(0.3, 0.8))).astype(np.float32)
        light = light * np.float32(random.uniform(0.75, 0.99))
        light += random.standard_normal(light.shape, dtype=np.float32) * np.float32(2.5)
        grey = np.clip(light, 0, 255).astype(np.uint8)
        is_bitonal = number % 3 == 2
        yield kind, PageImage(pixels=bitonal(grey) if is_bitonal else grey, dpi=DPI)


def print_unpaper() -> None:
    """Holes that unpaper's filters for black areas take away, beside ours, on some of the punched pages."""
    if not peers.has_unpaper():
        return
    gone, total, n = {"Platen": 0, "unpaper": 0}, 0, 0
    for number in range(0, UNPAPER_PAGES * 4, 4):  # black lids, which unpaper knows best
        for _, page, places_mm in punched(number):
            n, total = n + 1, total + len(places_mm)
            for name, after in (("Platen", holes(page, Settings())), ("unpaper", unpapered(page))):
                gone[name] += sum(_is_covered(page, after, place) for place in places_mm)
    print_table(
        ("black lids", "n", "holes", "gone"), [(name, n, total, percent(count / total)) for name, count in gone.items()]
    )


def print_real() -> None:
    """Every page of the real scans: holes found where there are some, alarms where there are none."""
    rows: list[tuple[object, ...]] = []
    pages_seen = alarms = false_fills = holes_there = holes_found = 0
    for name, page in real_pages():
        after = holes(page, Settings())
        found, filled = len(_places(after)), int(str(after.readings["holes.filled"]))
        there = REAL_HOLES.get(name, 0)
        pages_seen += 1
        holes_there += there
        holes_found += min(found, there)
        alarms += max(0, found - there)
        false_fills += max(0, filled - there)
        if found or there:
            rows.append((name, there, found, filled, "dpi guessed: only reported" if page.is_dpi_guessed else ""))
    print_table(("real scan", "holes by eye", "found", "filled", "note"), rows)
    print_table(
        ("real pages", "holes", "found", "false", "false fills"),
        [(pages_seen, holes_there, holes_found, alarms, false_fills)],
    )


# ---- holes


def _holes(random: np.random.Generator, size_mm: tuple[float, float], number: int) -> tuple[Hole, ...]:
    """Two, three or four holes along one side, or the two at the top of a file."""
    width, height = size_mm
    from_edge = float(random.uniform(8, 14))
    diameter = float(random.uniform(5.0, 7.2))
    offsets = ((-40.0, 40.0), (-107.95, 0.0, 107.95), (-120.0, -40.0, 40.0, 120.0), (-35.0, 35.0))[number // 4 % 4]
    side = random.choice(("left", "left", "right", "top", "bottom"))
    if side in ("top", "bottom"):
        offsets = (-40.0, 40.0) if len(offsets) > 2 else offsets
        y = from_edge if side == "top" else height - from_edge
        return tuple(Hole(x_mm=width / 2 + offset, y_mm=y, diameter_mm=diameter) for offset in offsets)
    x = from_edge if side == "left" else width - from_edge
    return tuple(Hole(x_mm=x, y_mm=height / 2 + offset, diameter_mm=diameter) for offset in offsets)


def _bitonal(scan: ScannedPage) -> PageImage:
    return PageImage(pixels=bitonal(scan.pixels), dpi=scan.dpi)


def _places(page: PageImage) -> list[tuple[float, float]]:
    values = page.readings["holes.places_mm"]
    assert isinstance(values, list)
    return [(float(x), float(y)) for x, y in np.reshape(np.array(values, np.float64), (-1, 2))]


def _near(place: tuple[float, float], other: tuple[float, float]) -> bool:
    return float(np.hypot(place[0] - other[0], place[1] - other[1])) <= FOUND_WITHIN_MM


def _is_covered(before: PageImage, after: PageImage, place_mm: tuple[float, float]) -> bool:
    """Whether the middle of a spot came out otherwise than it went in."""
    x, y = (round(before.px(value)) for value in place_mm)
    reach = max(1, round(before.px(1.0)))
    place = np.s_[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
    was, now = before.grey()[place].astype(np.int16), after.grey()[place]
    return bool(np.mean(np.abs(was - now) > 12) > 0.9)


# ---- what is no hole


def _sheet(number: int) -> Grey:
    draws: tuple[Callable[..., DrawnPage], ...] = (
        pages.letter, pages.typescript, pages.form, pages.ruled_table, pages.drawing, pages.two_columns,
        lambda **how: pages.photo_page(colour=False, **how), lambda **how: pages.blank(dpi=how["dpi"]),
    )  # fmt: skip
    return np.array(draws[number % len(draws)](seed=number, dpi=DPI).pixels, dtype=np.uint8)


def _marked_places(random: np.random.Generator, shape: tuple[int, ...]) -> list[tuple[float, float, float]]:
    """Places and sizes in mm, as treacherous as can be: in a line along an edge, as far apart as holes are."""
    width, height = shape[1] * MM_PER_INCH / DPI, shape[0] * MM_PER_INCH / DPI
    size = float(random.uniform(4.2, 8.5))
    from_edge = float(random.uniform(7, 24))
    apart = float(random.choice((17.0, 30.0, 70.0, 80.0, 108.0)))
    count = int(random.integers(1, 5))
    start = float(random.uniform(15, 60))
    if random.random() < 0.3:
        return [(start + i * apart, from_edge, size) for i in range(count) if start + i * apart < width - 10]
    x = from_edge if random.random() < 0.7 else width - from_edge
    return [(x, start + i * apart, size) for i in range(count) if start + i * apart < height - 10]


def _big_o(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A large letter O, heavy or light."""
    axes = (round(size / 2), round(size * random.uniform(0.45, 0.55)))
    cv2.ellipse(pixels, (round(x), round(y)), axes, 0, 0, 360, (0,), max(2, round(size * random.uniform(0.1, 0.3))))


def _radio_button(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A circle to tick, ticked or not."""
    cv2.circle(pixels, (round(x), round(y)), round(size / 2), (0,), max(1, round(size * 0.06)), cv2.LINE_AA)
    if random.random() < 0.6:
        cv2.circle(pixels, (round(x), round(y)), round(size * random.uniform(0.2, 0.33)), (0,), -1, cv2.LINE_AA)


def _seal(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A round seal: a disc with writing or a star left out of it."""
    level = int(random.integers(0, 90))
    cv2.circle(pixels, (round(x), round(y)), round(size / 2), (level,), -1, cv2.LINE_AA)
    for angle in np.arange(0, 360, 30):
        at = np.radians(angle + random.uniform(-6, 6))
        spot = (round(x + size * 0.3 * np.cos(at)), round(y + size * 0.3 * np.sin(at)))
        cv2.circle(pixels, spot, max(1, round(size * 0.05)), (255,), -1, cv2.LINE_AA)


def _coffee_ring(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A faint brown ring, darker at its rim."""
    cv2.circle(pixels, (round(x), round(y)), round(size * 0.6), (215,), -1, cv2.LINE_AA)
    cv2.circle(pixels, (round(x), round(y)), round(size * 0.6), (int(random.integers(120, 180)),), 3, cv2.LINE_AA)


def _note(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A musical note on its staff."""
    for line in range(-2, 3):
        row = round(y + line * size * 0.6)
        pixels[max(0, row) : max(0, row) + 2, max(0, round(x - 40)) : round(x + 300)] = 0
    cv2.ellipse(pixels, (round(x), round(y)), (round(size * 0.6), round(size * 0.45)), -20, 0, 360, (0,), -1)
    cv2.line(pixels, (round(x + size * 0.55), round(y)), (round(x + size * 0.55), round(y - 3 * size)), (0,), 3)


def _blot(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A blot of ink, round but not quite."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radii = np.full(48, size / 2)
    for wave in (2, 3, 5, 7):
        radii += size * random.uniform(0.02, 0.09) * np.sin(wave * angles + random.uniform(0, 6))
    outline = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    cv2.fillPoly(pixels, [np.rint(outline).astype(np.int32)], (int(random.integers(0, 70)),), cv2.LINE_AA)


def _stamp(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A round stamp, a ring with the date across."""
    cv2.circle(pixels, (round(x), round(y)), round(size * 0.55), (60,), max(2, round(size * 0.08)), cv2.LINE_AA)
    cv2.putText(pixels, "1938", (round(x - size / 3), round(y + size / 8)), cv2.FONT_HERSHEY_PLAIN, size / 40, (60,), 2)


def _target(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A disc in a ring: a bullet of a list, a dot of a scale, with its number beside it."""
    cv2.circle(pixels, (round(x), round(y)), round(size / 2), (0,), -1, cv2.LINE_AA)
    cv2.putText(pixels, "7", (round(x - size / 4), round(y + size / 4)), cv2.FONT_HERSHEY_SIMPLEX, size / 40, (255,), 2)


def _polygon(pixels: Grey, x: float, y: float, size: float, random: np.random.Generator) -> None:
    """A square, a hexagon or an octagon in black, as lists and maps have them."""
    corners = int(random.choice((4, 6)))
    angles = np.arange(corners) * 2 * np.pi / corners + random.uniform(0, 1)
    outline = np.stack([x + size / 2 * np.cos(angles), y + size / 2 * np.sin(angles)], axis=1)
    cv2.fillPoly(pixels, [np.rint(outline).astype(np.int32)], (0,), cv2.LINE_AA)


MARKS: dict[str, Callable[[Grey, float, float, float, np.random.Generator], None]] = {
    "letters O": _big_o,
    "radio buttons": _radio_button,
    "seals": _seal,
    "coffee rings": _coffee_ring,
    "music": _note,
    "blots": _blot,
    "stamps": _stamp,
    "numbered bullets": _target,
    "squares, hexagons": _polygon,
}
