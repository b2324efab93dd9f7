"""Lids, bands and blotches at the rim of the scan: how near the sheet's edges are found, what is left, and what is cut.

Drawn pages lie askew by up to 5 degrees on black, dark and mid-grey lids, some with a torn corner or a note that sticks
out, in grey and in black and white. Others have what book scans and photocopies bring with them: bands, gutters, and
shaded paper that a threshold has turned into blotches. Where the print lies is known to the pixel. "Ink cut" counts
pixels of print that came out as paper; "letters lost" are the books of `stages.ink_ledger`. unpaper gets the same
images with its filters for black areas and borders; what would move the page is off, or nothing could be compared.
BENCH_PAGES sets how many scans are drawn for each row (6 unless told); each is looked at in grey and bitonal.
"""

from __future__ import annotations

import csv
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from bench import REAL_SCANS, peers
from bench.tables import percent, print_table
from fixtures.pages import DrawnPage, drawing, form, letter, photo_page, ruled_table, two_columns, typescript
from fixtures.scanner import bitonal
from stages.analysis import analysis_of
from stages.crop import Settings, crop
from stages.ink_ledger import NOTHING_MOVED, InkMoved, ink_moved
from stages.page_image import MM_PER_INCH, PageImage
from stages.read import Settings as ReadSettings
from stages.read import is_supported, page_count, read_page

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Cleaner = Callable[[PageImage], PageImage]

PAGES = 6
MOST_SKEW_DEG = 5.0
LIDS = {"black lid": 12, "dark lid": 70, "mid-grey lid": 115}
DPIS = (300.0, 200.0)
INK_LEVEL = 100  # of the drawn print: what is lighter is the soft rim of a stroke
PAPER_RISE_LEVELS = 60  # ink that came out so much lighter has been painted over
NEAR_EDGE_MM = 0.6  # lid so near the sheet's edge is not counted as left, nor what is scanned of it
SHORT_SIDE_PX = 300
FOLDERS = ("borders-holes", "ocr-truth/*", "binarise", "skew", "barcodes", "pdf", "formats")
MOST_PAGES_A_FILE = 4

DRAWN: tuple[Callable[..., DrawnPage], ...] = (
    letter, typescript, two_columns, form, ruled_table, drawing, lambda **how: photo_page(colour=False, **how),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A drawn scan: `ink` is where print lies, `dirt` what should go; `corners_px` the sheet's, clockwise."""

    image: PageImage
    ink: Mask
    dirt: Mask
    corners_px: npt.NDArray[np.float64] | None = None


@dataclass(slots=True, kw_only=True)
class Score:
    """What became of the scans of one kind."""

    n: int = 0
    declined: int = 0
    edge_errors_mm: list[float] = field(default_factory=list)
    corner_errors_mm: list[float] = field(default_factory=list)
    pages_cut: int = 0
    ink_cut_px: int = 0
    worst_cut_px: int = 0
    letters_lost: int = 0
    dirt_left: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def row(self, *name: str) -> tuple[object, ...]:
        """The score as a line of the table."""
        edges, corners = self.edge_errors_mm, self.corner_errors_mm
        return (
            *name,
            self.n,
            self.declined,
            _spread(edges),
            _spread(corners),
            self.pages_cut,
            self.ink_cut_px,
            self.worst_cut_px,
            self.letters_lost,
            percent(float(np.mean(self.dirt_left))) if self.dirt_left else "-",
            percent(max(self.dirt_left)) if self.dirt_left else "-",
            f"{1000 * self.cpu_s / max(self.n, 1):.0f}",
        )


COLUMNS = (
    "n", "declined", "edge mm: median, 95 %, worst", "corner mm: median, 95 %, worst", "pages cut", "ink cut px",
    "worst page px", "letters lost", "lid and dirt left", "worst", "CPU ms",
)  # fmt: skip


def run() -> None:
    """Draw the scans, clean each in both ways, then look at every real scan."""
    count = int(os.environ.get("BENCH_PAGES", PAGES))
    cleaners = ways()
    for kind in ("grey", "bitonal"):
        scores: dict[tuple[str, str], Score] = {}
        for what, scan in drawn_scans(count):
            shown = scan if kind == "grey" else as_bitonal(scan)
            for name, clean in cleaners.items():
                tally(scores.setdefault((what, name), Score()), shown, clean)
        ours = [score for (_, name), score in scores.items() if name == "Platen"]
        rows = [score.row(*key) for key, score in scores.items()]
        print_table((f"{kind} scans", "program", *COLUMNS), [*rows, total(ours).row("all drawn", "Platen")])
    if REAL_SCANS.is_dir():
        print_real(cleaners)
    else:
        print(f"Real scans left out: they are not beside the project ({REAL_SCANS}).")


def ways() -> dict[str, Cleaner]:
    """Platen as it delivers and as it reads and, where it is installed, unpaper."""
    chosen: dict[str, Cleaner] = {
        "Platen": lambda page: crop(page, Settings()),
        "Platen, copy to read": lambda page: crop(page, Settings(blotches=True)),
    }
    if peers.has_unpaper():
        chosen["unpaper"] = unpapered
    return chosen


def unpapered(page: PageImage) -> PageImage:
    """The page after unpaper's filters for black areas and borders; colour is handed over as grey."""
    off = ("deskew", "mask-center", "border-align", "noisefilter", "blurfilter", "grayfilter")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        kind = "pbm" if page.is_bitonal else "pgm"
        before, after = Path(scratch) / f"before.{kind}", Path(scratch) / f"after.{kind}"
        Image.fromarray(page.pixels if page.is_bitonal else page.grey()).save(before)
        options = ["--quiet", "--dpi", f"{page.dpi:.0f}", *(f"--no-{what}" for what in off)]
        subprocess.run([peers.unpaper(), *options, before, after], check=True, capture_output=True)
        with Image.open(after) as image:
            grey = np.asarray(image.convert("L"))
    pixels = grey > 127 if page.is_bitonal else grey
    return page.with_pixels(pixels)


def tally(score: Score, scan: Scan, clean: Cleaner) -> None:
    """Add one scan as one program leaves it."""
    analysis_of(scan.image)  # shared by all stages, so no cost of this one
    began = _cpu_s()
    after = clean(scan.image)
    score.cpu_s += _cpu_s() - began
    score.n += 1
    score.declined += after.readings.get("crop.declined") is not None
    was, now = scan.image.grey(), after.grey()
    cut = int((scan.ink & (now >= np.minimum(was, 255 - PAPER_RISE_LEVELS) + PAPER_RISE_LEVELS)).sum())
    score.pages_cut += cut > 0
    score.ink_cut_px += cut
    score.worst_cut_px = max(score.worst_cut_px, cut)
    score.letters_lost += _moved(scan.image, after).letters_lost
    if scan.dirt.any():
        unchanged = cv2.absdiff(was, now) < PAPER_RISE_LEVELS
        score.dirt_left.append(float((scan.dirt & unchanged).sum() / scan.dirt.sum()))
    corners = after.readings.get("crop.corners_mm")
    if scan.corners_px is not None and isinstance(corners, list) and corners:
        _tally_corners(score, scan, np.reshape(np.array(corners, np.float64), (4, 2)))


def total(scores: Iterable[Score]) -> Score:
    """All scores as one."""
    whole = Score()
    for score in scores:
        whole.n += score.n
        whole.declined += score.declined
        whole.edge_errors_mm += score.edge_errors_mm
        whole.corner_errors_mm += score.corner_errors_mm
        whole.pages_cut += score.pages_cut
        whole.ink_cut_px += score.ink_cut_px
        whole.worst_cut_px = max(whole.worst_cut_px, score.worst_cut_px)
        whole.letters_lost += score.letters_lost
        whole.dirt_left += score.dirt_left
        whole.cpu_s += score.cpu_s
    return whole


def drawn_scans(count: int) -> Iterator[tuple[str, Scan]]:
    """Scans of every kind, `count` of each."""
    for kind, lid in LIDS.items():
        for number in range(count):
            yield kind, on_lid(number, lid=lid)
    for number in range(count):
        yield "torn corner", on_lid(number, lid=tuple(LIDS.values())[number % 3], torn=True)
    for number in range(count):
        yield "note sticking out", on_lid(number, lid=tuple(LIDS.values())[number % 3], note=True)
    for number in range(count):
        yield "bands", with_bands(number)
    for number in range(count):
        yield "book, blotched", blotched(number)


def page_of(number: int, dpi: float) -> Grey:
    """Print on white, another page for every number."""
    return np.asarray(DRAWN[number % len(DRAWN)](seed=number, dpi=dpi).pixels, dtype=np.uint8)


def on_lid(number: int, *, lid: int, torn: bool = False, note: bool = False) -> Scan:
    """A sheet on the lid, turned; with a corner torn off, or a note that sticks out beyond its edge."""
    random = np.random.default_rng((number, lid, torn, note))
    dpi = DPIS[number % len(DPIS)]
    mm = dpi / MM_PER_INCH
    ink = 255 - page_of(number, dpi)
    rows, cols = ink.shape
    paper = int(random.integers(205, 251))
    left, top, right, bottom = (int(random.uniform(5, 22) * mm) for _ in range(4))
    frame = (cols + left + right, rows + top + bottom)
    skew_deg = float(random.uniform(-MOST_SKEW_DEG, MOST_SKEW_DEG))
    matrix = cv2.getRotationMatrix2D(((frame[0] - 1) / 2, (frame[1] - 1) / 2), skew_deg, 1.0)
    matrix = matrix @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])
    there = np.full((rows, cols), 255, np.uint8)
    if torn:
        reach = [int(random.uniform(8, 25) * mm) for _ in range(2)]
        cv2.fillPoly(there, [np.array([[0, 0], [reach[0], 0], [0, reach[1]]])], (0,))
        ink[there == 0] = 0
    there, ink = (
        np.asarray(cv2.warpAffine(part, matrix, frame, flags=cv2.INTER_LINEAR), dtype=np.uint8) for part in (there, ink)
    )
    if note:
        _add_note(there, ink, matrix, mm=mm, rows=rows, number=number)
    share = there.astype(np.float32) / 255
    light = share * paper + (1 - share) * lid - ink.astype(np.float32) / 255 * (paper - 30)
    corners = np.array([[-0.5, -0.5], [cols - 0.5, -0.5], [cols - 0.5, rows - 0.5], [-0.5, rows - 0.5]])
    near = cv2.dilate(there, np.ones((2 * round(NEAR_EDGE_MM * mm) + 1,) * 2, np.uint8))
    return Scan(
        image=PageImage(pixels=_sensed(light, random, blur_px=0.04 * mm), dpi=dpi),
        ink=ink > INK_LEVEL,
        dirt=near == 0,
        corners_px=corners @ matrix[:, :2].T + matrix[:, 2] + 0.5,
    )


def with_bands(number: int) -> Scan:
    """A photocopy: black bands and a gutter along some sides, ragged along their length; sometimes print joins them."""
    random = np.random.default_rng((number, 1))
    dpi = DPIS[number % len(DPIS)]
    mm = dpi / MM_PER_INCH
    light = page_of(number, dpi).astype(np.float32) * 0.93
    ink = light < 255 - INK_LEVEL
    rows, cols = light.shape
    dirt = np.zeros((rows, cols), np.bool_)
    for side in random.choice(4, size=int(random.integers(1, 4)), replace=False):
        turned = np.rot90(dirt, side)
        length = turned.shape[0]
        begin, end = sorted(random.integers(0, length, 2)) if random.random() < 0.5 else (0, length)
        depth = random.uniform(1.5, 9) * mm + _ragged(length, random, reach_px=0.5 * mm)
        depth += np.linspace(0, random.uniform(-3, 3) * mm, length)
        columns = np.arange(turned.shape[1])[None]
        along = np.arange(length)[:, None]
        turned |= (
            (columns < np.clip(depth, 0, 12 * mm)[:, None]) & (along >= begin) & (along <= max(end, begin + 15 * mm))
        )
    light[dirt] = random.integers(5, 60)
    return Scan(
        image=PageImage(pixels=_sensed(light, random, blur_px=0.05 * mm), dpi=dpi),
        ink=ink & ~_grown(dirt, NEAR_EDGE_MM * mm),
        dirt=dirt & ~_grown(ink, NEAR_EDGE_MM * mm),
    )


def blotched(number: int) -> Scan:
    """A page of an old book that is browned towards its edges and corners, in clouds and down to the grain."""
    random = np.random.default_rng((number, 2))
    dpi = DPIS[number % len(DPIS)]
    mm = dpi / MM_PER_INCH
    drawn = page_of(number, dpi)
    rows, cols = drawn.shape
    brown = _clouds(rows, cols, random, mm=mm)
    y, x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    inward = np.minimum(np.minimum(x, cols - x), np.minimum(y, rows - y)) / mm
    corner = np.hypot(np.minimum(x, cols - x), np.minimum(y, rows - y)) / mm
    reach = random.uniform(4, 14)
    shade = np.exp(-inward / reach) * random.uniform(0.2, 0.6) + np.exp(-corner / 30) * random.uniform(0.1, 0.5)
    paper = 205 * (1 - np.clip(shade * (0.6 + 0.8 * brown) + 0.12 * brown - 0.04, 0, 0.85))
    ink = drawn < 255 - INK_LEVEL
    light = np.minimum(paper, 40 + drawn.astype(np.float32) * (205 - 40) / 255)
    dirt = (paper < 0.62 * 205) & ~_grown(ink, NEAR_EDGE_MM * mm)
    clear = ink & (paper >= 0.62 * 205)  # what the brown has swallowed cannot be lost any more
    return Scan(image=PageImage(pixels=_sensed(light, random, blur_px=0.05 * mm), dpi=dpi), ink=clear, dirt=dirt)


def as_bitonal(scan: Scan) -> Scan:
    """The scan in black and white; only what came out black can be cut or left."""
    cut = bitonal(np.asarray(scan.image.pixels, dtype=np.uint8))
    image = PageImage(pixels=cut, dpi=scan.image.dpi)
    return Scan(image=image, ink=scan.ink & ~cut, dirt=scan.dirt & ~cut, corners_px=scan.corners_px)


def print_real(cleaners: dict[str, Cleaner]) -> None:
    """Every real scan: whether a labelled border was found, and the letters each program took."""
    with (REAL_SCANS / "borders-holes" / "labels.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["file"]: row["black_border"] for row in csv.DictReader(file)}
    rows: list[tuple[object, ...]] = []
    sums: dict[str, list[float]] = {}
    for name, page in real_pages():
        label = labels.get(name, "")
        done = {}
        for program, clean in cleaners.items():
            after = clean(page)
            changed = float((cv2.absdiff(page.grey(), after.grey()) >= PAPER_RISE_LEVELS).mean())
            done[program] = (after, changed, _moved(page, after))
        readings = done["Platen"][0].readings
        for program, (_, changed, moved) in done.items():
            sums.setdefault(program, []).append(moved.letters_lost)
            if label not in ("", "0") or (program == "Platen" and (changed or moved.letters_lost)):
                said = f"{readings['crop.edges_mm']} {readings['crop.declined'] or ''}" if program == "Platen" else ""
                rows.append((name, label, program, percent(changed), moved.letters_lost, said))
    print_table(("real scan", "border by label", "program", "changed", "letters lost", "edges mm, declined"), rows)
    print_table(
        ("program", "real pages", "pages that lost letters", "letters lost", "worst page"),
        [(name, len(lost), sum(n > 0 for n in lost), int(sum(lost)), int(max(lost))) for name, lost in sums.items()],
    )


def real_pages() -> Iterator[tuple[str, PageImage]]:
    """Every page of the real scans that is large enough to be one, by the name the labels use."""
    for folder in FOLDERS:
        for path in sorted(REAL_SCANS.glob(f"{folder}/*")):
            if not path.is_file() or not is_supported(path):
                continue
            for index in range(min(page_count(path), MOST_PAGES_A_FILE)):
                page = read_page(path, index, ReadSettings())
                if min(page.width_px, page.height_px) >= SHORT_SIDE_PX:
                    name = str(path.relative_to(REAL_SCANS))
                    yield (name if index == 0 else f"{name}, page {index + 1}"), page


def _cpu_s() -> float:
    """CPU seconds of this process and of the programs it has run so far."""
    return sum(os.times()[:4])


def _tally_corners(score: Score, scan: Scan, found_mm: npt.NDArray[np.float64]) -> None:
    assert scan.corners_px is not None
    true_mm = scan.corners_px * MM_PER_INCH / scan.image.dpi
    score.corner_errors_mm.append(float(np.hypot(*(found_mm - true_mm).T).max()))
    for index in range(4):
        start, end = true_mm[index], true_mm[(index + 1) % 4]
        middle = (found_mm[index] + found_mm[(index + 1) % 4]) / 2
        along = (end - start) / math.hypot(*(end - start))
        off = middle - start
        score.edge_errors_mm.append(abs(float(along[0] * off[1] - along[1] * off[0])))


def _moved(before: PageImage, after: PageImage) -> InkMoved:
    if np.array_equal(before.pixels, after.pixels):
        return NOTHING_MOVED
    return ink_moved(before, after)


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.median(values):.3f}, {np.percentile(values, 95):.3f}, {max(values):.2f}"


def _sensed(light: npt.NDArray[np.floating], random: np.random.Generator, *, blur_px: float) -> Grey:
    """The light as a scanner with soft optics and a noisy sensor gives it."""
    soft = cv2.GaussianBlur(light.astype(np.float32), (0, 0), max(blur_px, 0.3))
    noise = random.standard_normal(soft.shape, dtype=np.float32) * np.float32(3.0)
    return np.asarray(np.clip(np.rint(soft + noise), 0, 255), dtype=np.uint8)


def _add_note(there: Grey, ink: Grey, matrix: npt.NDArray[np.float64], *, mm: float, rows: int, number: int) -> None:
    """A slip of paper that is stuck to the sheet and sticks out at its left, with a few words on it."""
    words = page_of(0, MM_PER_INCH * mm)[round(60 * mm) : round(80 * mm), round(26 * mm) : round(56 * mm)]
    middle = matrix[:, :2] @ np.array([0, rows * (0.3 + 0.05 * (number % 8))]) + matrix[:, 2]
    left, top = max(0, round(float(middle[0]) - 12 * mm)), round(float(middle[1]) - 10 * mm)
    place = np.s_[top : top + words.shape[0], left : left + words.shape[1]]
    there[place], ink[place] = 255, 255 - words


def _ragged(length: int, random: np.random.Generator, *, reach_px: float) -> npt.NDArray[np.float64]:
    coarse = random.normal(0, reach_px, length // 8 + 2)
    return np.interp(np.arange(length), np.arange(len(coarse)) * 8, coarse)


def _clouds(rows: int, cols: int, random: np.random.Generator, *, mm: float) -> npt.NDArray[np.float32]:
    """Clouds of all sizes from 40 mm down to the grain, mostly 0 to 1."""
    sum_of = np.zeros((rows, cols), np.float32)
    for size_mm, weight in ((40, 1.0), (15, 0.7), (5, 0.5), (1.5, 0.35), (0.4, 0.25)):
        cells = random.normal(0, weight, (int(rows / (size_mm * mm)) + 2, int(cols / (size_mm * mm)) + 2))
        sum_of += cv2.resize(cells.astype(np.float32), (cols, rows), interpolation=cv2.INTER_CUBIC)
    return np.asarray(0.5 + sum_of / 4, dtype=np.float32)


def _grown(mask: Mask, reach_px: float) -> Mask:
    size = 2 * max(1, round(reach_px)) + 1
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0)
