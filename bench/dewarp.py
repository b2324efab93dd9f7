"""Bending pages straight: drawn curls of known shape, and pages that lie flat and must be left alone.

Three tables. How level the words of a line stand, and how well Tesseract reads them, as scanned and levelled, bent by
Platen, and bent by Leptonica, which gets the page as Platen has levelled it. Then how many flat pages were bent: drawn
ones at 150 dpi, and the real scans, which are named where they were bent, for some of them are not flat.

BENCH_PAGES sets how many curled pages there are (20; each is read four times), BENCH_FLAT how many flat ones (300).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from bench import REAL_SCANS
from bench.leptonica_dewarp import bent_by_leptonica
from bench.measured import run as run_program
from bench.tables import percent, print_table
from bench.texts import edits, normalised
from fixtures.curl import Curl, curled
from fixtures.pages import DrawnPage, drawing, form, letter, photo_page, receipt, ruled_table, two_columns, typescript
from fixtures.scanner import ScannedPage, bitonal, scanned
from fixtures.typefaces import Face
from stages import deskew, dewarp, orient
from stages.analysis import analysis_of
from stages.errors import Refusal
from stages.page_image import MM_PER_INCH, PageImage, Reading
from stages.places import taken_over
from stages.read import Settings as ReadSettings
from stages.read import is_supported, page_count, read_page

Grey = npt.NDArray[np.uint8]

SEED = 2310
# what a book on the glass does, damp paper, a feeder, a sheet held at two sides: IMAGING 2.10 measured the same
DEPTHS_MM = {Curl.SPINE_LEFT: 6.0, Curl.SPINE_RIGHT: 6.0, Curl.DAMP: 1.5, Curl.SWAY: 1.5, Curl.BOW: 3.0}
TEXT_PAGES: tuple[Callable[[int], DrawnPage], ...] = (
    lambda seed: letter(seed=seed),
    lambda seed: typescript(seed=seed),
    lambda seed: two_columns(seed=seed),
    lambda seed: letter(seed=seed, face=Face.SANS, size_pt=9.0),
    lambda seed: letter(seed=seed, face=Face.MONO, size_pt=10.0),
    lambda seed: typescript(seed=seed, unevenness=2.0),
)
FLAT_PAGES: dict[str, Callable[[int, float], DrawnPage]] = {
    "letter": lambda seed, dpi: letter(seed=seed, dpi=dpi),
    "letter, italic": lambda seed, dpi: letter(seed=seed, dpi=dpi, face=Face.SERIF_ITALIC),
    "typescript": lambda seed, dpi: typescript(seed=seed, dpi=dpi),
    "uneven typescript": lambda seed, dpi: typescript(seed=seed, dpi=dpi, unevenness=3.0),
    "two columns": lambda seed, dpi: two_columns(seed=seed, dpi=dpi),
    "table": lambda seed, dpi: ruled_table(seed=seed, dpi=dpi),
    "form": lambda seed, dpi: form(seed=seed, dpi=dpi),
    "drawing": lambda seed, dpi: drawing(seed=seed, dpi=dpi),
    "photograph": lambda seed, dpi: photo_page(seed=seed, dpi=dpi),
    "receipt": lambda seed, dpi: receipt(seed=seed, dpi=dpi),
}
FLAT_DPI = 150.0
MOST_SKEW_DEG = 2.0
MIDDLE_GREY = 127.5
WORDS_OF_A_LINE = 3  # fewer do not show whether it is level
PHASE_PX = 256  # the images that carry places repeat after so many rows: more than anything is moved by
FIRST_PAGES = 2  # of a file with many
AS_SCANNED, PLATEN, LEPTONICA = "as scanned, level", "Platen", "Leptonica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One curled page in one program's hands: how far words stand off their line, and how many letters were misread."""

    curl: Curl
    program: str
    off_mm: float
    error_rate: float
    declined: bool


def run() -> None:
    """Print the three tables."""
    _curled_pages(int(os.environ.get("BENCH_PAGES", "20")))
    _flat_pages(int(os.environ.get("BENCH_FLAT", "300")))
    _real_scans()


# ---- curled pages


def _curled_pages(count: int) -> None:
    outcomes: list[Outcome] = []
    flat_rates, cpu_s = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        for index in range(count):
            seed, curl = SEED + index, list(Curl)[index % len(Curl)]
            drawn = TEXT_PAGES[index % len(TEXT_PAGES)](seed)
            flat_rates.append(_error_rate(_level(_scanned(drawn, seed).image()).grey(), drawn, scratch))
            scan = _scanned(curled(drawn, curl, depth_mm=DEPTHS_MM[curl], seed=seed).page, seed)
            level = _level(scan.image())
            begin = time.process_time()
            bent = dewarp.dewarp(level, dewarp.Settings(interpolation="linear"))
            cpu_s.append(time.process_time() - begin)
            carriers = [
                _scanned(curled(c, curl, depth_mm=DEPTHS_MM[curl], seed=seed).page, seed) for c in _carriers(drawn)
            ]
            ours, level_carriers = (
                [taken_over(carrier.pixels, page.moved, np.empty_like(page.grey())) for carrier in carriers]
                for page in (bent, level)
            )
            theirs = _bent_by_leptonica(level.grey(), level_carriers, scratch)
            for program, page, (pixels, places) in (
                (AS_SCANNED, level, (level.grey(), level_carriers)),
                (PLATEN, bent, (bent.grey(), ours)),
                (LEPTONICA, level, theirs),
            ):
                outcomes.append(
                    Outcome(
                        curl=curl,
                        program=program,
                        off_mm=_off_line_mm(drawn, scan, page, places),
                        error_rate=_error_rate(pixels, drawn, scratch),
                        declined=program != AS_SCANNED and np.array_equal(pixels, level.grey()),
                    )
                )
    rows = [_row(curl, [o for o in outcomes if o.curl is curl]) for curl in Curl]
    headings = [f"{program}, {figure}" for program in (PLATEN, LEPTONICA) for figure in ("mean", "worst", "declined")]
    print_table(("off the line, mm", "n", AS_SCANNED, *headings), [*rows, _row("all", outcomes)])
    readings = {"the same pages, flat": flat_rates}
    for program in (AS_SCANNED, PLATEN, LEPTONICA):
        readings[program] = [outcome.error_rate for outcome in outcomes if outcome.program == program]
    print_table(
        ("wrong letters", "n", "mean", "worst"),
        [(name, len(rates), percent(mean(rates)), percent(max(rates))) for name, rates in readings.items()],
    )
    print(f"Platen's CPU for a page that was looked at and bent: {1000 * mean(cpu_s):.0f} ms on the mean.\n")


def _row(name: str, outcomes: list[Outcome]) -> tuple[object, ...]:
    def of(program: str) -> list[Outcome]:
        return [outcome for outcome in outcomes if outcome.program == program]

    row: list[object] = [name, len(of(PLATEN)), f"{mean(outcome.off_mm for outcome in of(AS_SCANNED)):.3f}"]
    for program in (PLATEN, LEPTONICA):
        off_mm = [outcome.off_mm for outcome in of(program)]
        row += [f"{mean(off_mm):.3f}", f"{max(off_mm):.3f}", sum(outcome.declined for outcome in of(program))]
    return tuple(row)


def _scanned(page: DrawnPage, seed: int) -> ScannedPage:
    """The page laid askew on a middling scanner; what only carries places gets no faults that would change them."""
    skew_deg = float(np.random.default_rng(seed).uniform(-MOST_SKEW_DEG, MOST_SKEW_DEG))
    if not page.lines:
        return scanned(page, skew_deg=skew_deg)
    return scanned(page, skew_deg=skew_deg, tint=240, contrast=0.9, blur_mm=0.06, noise_levels=3.0, seed=seed)


def _level(scan: PageImage) -> PageImage:
    level = deskew.deskew(scan, deskew.Settings(interpolation="linear"))
    analysis_of(level)  # made for all stages, so no stage is charged for it
    return level


def _carriers(page: DrawnPage) -> list[DrawnPage]:
    """Two images whose shades at a place say, together, on which row of the drawn page it lies."""
    height_px, width_px = page.pixels.shape[:2]
    phase = 2 * np.pi * (np.arange(height_px) + 0.5) / PHASE_PX
    columns = [np.rint(MIDDLE_GREY + MIDDLE_GREY * wave) for wave in (np.cos(phase), np.sin(phase))]
    return [
        DrawnPage(pixels=np.repeat(column.astype(np.uint8)[:, None], width_px, axis=1), dpi=page.dpi)
        for column in columns
    ]


def _off_line_mm(drawn: DrawnPage, scan: ScannedPage, page: PageImage, carriers: list[Grey]) -> float:
    """How far the feet of words stand off the middle height of their line, root mean square."""
    off_px = []
    rows = np.arange(page.height_px) + 0.5
    for line in drawn.lines:
        if len(line.words) < WORDS_OF_A_LINE:
            continue
        foot = line.box.bottom
        heights = []
        for word in line.words:
            x, y = page.moved.back(*scan.placed.at((word.box.left + word.box.right) / 2, foot))
            cos, sin = (carrier[:, round(x)].astype(np.float64) - MIDDLE_GREY for carrier in carriers)
            row_there = np.arctan2(sin, cos) / (2 * np.pi) * PHASE_PX
            drawn_row = rows + (row_there - rows + PHASE_PX / 2) % PHASE_PX - PHASE_PX / 2
            near = slice(max(0, round(y) - PHASE_PX // 2), round(y) + PHASE_PX // 2)
            heights.append(float(np.interp(foot, drawn_row[near], rows[near])))
        off_px += [height - mean(heights) for height in heights]
    return float(np.sqrt(np.mean(np.square(off_px)))) * MM_PER_INCH / page.dpi


def _bent_by_leptonica(page: Grey, carriers: list[Grey], scratch: Path) -> tuple[Grey, list[Grey]]:
    """The page and the images that carry its places as Leptonica leaves them."""
    names = [scratch / f"{number}.png" for number in range(2 * (1 + len(carriers)))]
    sources, results = names[: 1 + len(carriers)], names[1 + len(carriers) :]
    for path, pixels in zip(sources, (page, *carriers), strict=True):
        cv2.imwrite(str(path), pixels)
    if not bent_by_leptonica(sources[0], results[0], dict(zip(sources[1:], results[1:], strict=True))):
        return page, carriers
    bent, *places = (np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), dtype=np.uint8) for path in results)
    return bent, places


def _error_rate(grey: Grey, drawn: DrawnPage, scratch: Path) -> float:
    path = scratch / "read.png"
    Image.fromarray(grey).save(path, dpi=(drawn.dpi, drawn.dpi))
    truth = normalised(drawn.text)
    return edits(truth, normalised(run_program(["tesseract", path, "-", "--psm", "3"]).stdout)) / len(truth)


# ---- flat pages


def _flat_pages(count: int) -> None:
    rms_mm: dict[str, list[float]] = {kind: [] for kind in FLAT_PAGES}
    bent: dict[str, int] = dict.fromkeys(FLAT_PAGES, 0)
    cpu_s = []
    for index in range(count):
        kind = list(FLAT_PAGES)[index % len(FLAT_PAGES)]
        page = _level(_faulty_scan(FLAT_PAGES[kind](SEED + index, FLAT_DPI), SEED + index))
        begin = time.process_time()
        readings = dewarp.dewarp(page, dewarp.Settings()).readings
        cpu_s.append(time.process_time() - begin)
        rms_mm[kind].append(_number(readings["dewarp.rms_mm"]))
        bent[kind] += bool(readings["dewarp.bent"])
    rows: list[tuple[object, ...]] = [
        (kind, len(found), bent[kind], f"{mean(found):.3f}", f"{max(found):.3f}")
        for kind, found in rms_mm.items()
        if found
    ]
    everything = [value for found in rms_mm.values() for value in found]
    rows.append(("all", len(everything), sum(bent.values()), f"{mean(everything):.3f}", f"{max(everything):.3f}"))
    print_table(("flat, drawn", "n", "bent", "mean mm off, as found", "worst"), rows)
    print(f"CPU for a flat page, {FLAT_DPI:.0f} dpi: {1000 * mean(cpu_s):.1f} ms on the mean.\n")


def _faulty_scan(page: DrawnPage, seed: int) -> PageImage:
    random = np.random.default_rng(seed)
    scan = scanned(
        page,
        skew_deg=float(random.uniform(-MOST_SKEW_DEG, MOST_SKEW_DEG)),
        tint=int(random.integers(200, 256)),
        contrast=float(random.uniform(0.5, 1.0)),
        shading=float(random.uniform(0, 0.35)),
        blur_mm=float(random.uniform(0, 0.12)),
        noise_levels=float(random.uniform(0, 9)),
        speckle_fraction=float(random.uniform(0, 0.001)),
        lid="black" if random.random() < 0.3 else "none",
        border_mm=4.0,
        seed=seed,
    )
    if random.random() < 0.4:
        return PageImage(pixels=bitonal(scan.pixels), dpi=scan.dpi)
    return scan.image()


def _real_scans() -> None:
    if not REAL_SCANS.is_dir():
        print(f"Skipped: the real scans are not beside the project ({REAL_SCANS}).")
        return
    reasons: Counter[str] = Counter()
    bent = []
    for name, scan in _every_scan():
        upright = orient.orient(scan, orient.Settings(use_osd=False))
        try:
            level = _level(upright)
        except Refusal:
            level = upright
        readings = dewarp.dewarp(level, dewarp.Settings()).readings
        reasons[str(readings["dewarp.declined"] or "bent")] += 1
        if readings["dewarp.bent"]:
            bent.append(
                (
                    name,
                    f"{_number(readings['dewarp.rms_mm']):.2f}",
                    f"{_number(readings['dewarp.standard_error_mm']):.3f}",
                )
            )
    print_table(("real scans", "n"), [("all", reasons.total()), *sorted(reasons.items())])
    print_table(("bent", "mm off, as found", "standard error, mm"), bent)


def _every_scan() -> Iterator[tuple[str, PageImage]]:
    for path in sorted(REAL_SCANS.rglob("*")):
        if not path.is_file() or "hostile" in path.parts or "_gt" in path.name or not is_supported(path):
            continue
        try:
            for page_index in range(min(FIRST_PAGES, page_count(path))):
                yield f"{path.name}, {page_index + 1}", read_page(path, page_index, ReadSettings())
        except Refusal:
            continue


def _number(reading: Reading) -> float:
    assert isinstance(reading, float)
    return reading
