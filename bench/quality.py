"""How well `stages.quality` foretells what a recogniser reads, and whether its refusals leave usable pages alone.

    python -m bench quality            figures, about 3 CPU minutes
    python -m bench.quality fit        draws pages, reads them, prints the weights for stages/quality.py

Pages are drawn with known text at 75 to 300 dpi and spoilt by blur, noise, faintness and shading; legibility is one
minus the character error rate of Tesseract on them. The weights are fitted on even seeds, the figures are of odd ones.
The real scans judge the order of pages (rank correlation of predicted legibility with the error rate of bare
Tesseract) and the false alarms: every refusal of `quality` is switched on, and none of those pages may be held.
`BENCH_PAGES` sets how many pages are drawn (default 60).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench import REAL_SCANS
from bench.characters import real_scans
from bench.tables import percent, print_table
from bench.texts import edits, normalised
from fixtures.pages import DrawnPage
from fixtures.paper import Paper
from fixtures.prose import Prose
from fixtures.scanner import bitonal, scanned
from fixtures.typefaces import Face
from stages import ocr
from stages.errors import Refusal
from stages.page_image import PageImage
from stages.quality import Settings, legibility_signs, quality
from stages.read import Settings as ReadSettings
from stages.read import read_page

Floats = npt.NDArray[np.float64]

PAGES = int(os.environ.get("BENCH_PAGES", "60"))
FIT_PAGES = 280  # of which the even half is fitted
CARD_MM = (105.0, 100.0)
RIDGE = 0.002
ALL_REFUSALS = Settings(min_legibility=0.05, refuse_cut_edge=True, refuse_doubtful_size=True)
# not pages that a person could use: damaged on purpose, or no scans
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".jp2")
FOLDERS = ("ocr-truth", "binarise", "borders-holes", "barcodes", "formats", "skew")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One page: what was predicted, and what a recogniser made of it."""

    bitonal: bool
    signs: dict[str, float] | None
    predicted: float | None
    read_share: float


def run() -> None:
    """Print how close predicted legibility comes on drawn pages and real ones, and the refusals of real scans."""
    drawn = [read for seed in range(1, 2 * PAGES, 2) if (read := _reading(_drawn(seed)))]
    rows: list[tuple[object, ...]] = []
    for name, chosen in (
        ("drawn, grey", [reading for reading in drawn if not reading.bitonal]),
        ("drawn, bitonal", [reading for reading in drawn if reading.bitonal]),
    ):
        rows.append(_row(name, chosen))
    if REAL_SCANS.is_dir():
        rows.append(_row("real, tier A", _real_readings()))
    print_table(("pages", "n", "rank correlation", "mean error", "worst error", "not judged"), rows)
    if not REAL_SCANS.is_dir():
        print(f"Left out: the real scans are not beside the project ({REAL_SCANS}).")
        return
    print_table(
        ("real scans", "n", "held", "why", "legibility least", "CPU ms mean"),
        [_refusals(folder) for folder in FOLDERS],
    )


def fit() -> None:
    """Print the weights of the two models."""
    readings = [_reading(_drawn(seed)) for seed in range(0, FIT_PAGES, 2)]
    for name, is_bitonal in (("LEGIBILITY_GREY", False), ("LEGIBILITY_BITONAL", True)):
        chosen = [reading for reading in readings if reading.bitonal == is_bitonal and reading.signs is not None]
        signs = [reading.signs for reading in chosen if reading.signs is not None]
        names = list(signs[0])
        table = np.array([[sign[key] for key in names] for sign in signs])
        weights = _logistic(table, np.array([reading.read_share for reading in chosen]))
        print(name, "=", {key: round(float(weight), 2) for key, weight in zip(names, weights, strict=True)})


def _logistic(table: Floats, shares: Floats) -> Floats:
    """Weights of a logistic model of shares, by Newton's steps with a ridge on all but the offset."""
    weights = np.zeros(table.shape[1])
    ridge = np.diag([0.0] + [RIDGE * len(shares)] * (len(weights) - 1))
    for _ in range(60):
        fitted = 1 / (1 + np.exp(-table @ weights))
        slack = np.maximum(fitted * (1 - fitted), 1e-4)
        hessian = (table * slack[:, None]).T @ table + ridge
        weights = weights + np.clip(np.linalg.solve(hessian, table.T @ (shares - fitted) - ridge @ weights), -2, 2)
    return weights


def _drawn(seed: int) -> tuple[PageImage, str]:
    """A card of prose, spoilt by chance, and its text."""
    chance, prose = random.Random(seed), Prose(seed)
    dpi, size_pt = chance.choice((75.0, 100.0, 150.0, 200.0, 300.0)), chance.choice((8, 10, 12))
    face = chance.choice((Face.SERIF, Face.SANS, Face.TYPEWRITER, Face.MONO))
    sheet, y = Paper(dpi, CARD_MM), 10.0
    while y < CARD_MM[1] - 20:
        y = sheet.paragraph(10, y, CARD_MM[0] - 20, prose.paragraph(3), face, size_pt, bottom_mm=CARD_MM[1] - 10) + 2
    page = DrawnPage(pixels=sheet.pixels(), dpi=dpi, lines=sheet.lines())
    harm = chance.random() ** 1.3
    scan = scanned(
        page,
        blur_mm=chance.choice((0, 1)) * harm * 0.45,
        noise_levels=chance.choice((0, 1)) * harm * 45,
        contrast=1 - chance.choice((0, 1)) * harm * 0.93,
        shading=chance.choice((0.0, 0.3)),
        tint=chance.choice((255, 225)),
        skew_deg=chance.choice((0.0, 0.3)),
        seed=seed,
    )
    pixels = bitonal(scan.pixels) if chance.random() < 0.3 else scan.pixels
    return PageImage(pixels=pixels, dpi=dpi), normalised(page.text)


def _reading(drawn: tuple[PageImage, str]) -> Reading:
    page, truth = drawn
    read = ocr.ocr(page, ocr.Settings(keep_alto=False, psm=6)).text
    assert read is not None
    return _judged(page, max(0.0, 1 - edits(truth, normalised(read.plain_text)) / len(truth)))


def _judged(page: PageImage, read_share: float) -> Reading:
    found = quality(page, Settings()).readings
    numbers = {
        name: value if isinstance(value := found[f"quality.{name}"], float) else None
        for name in ("x_height_mm", "specks_per_letter", "blur_mm", "contrast", "legibility")
    }
    predicted, x_height_mm, specks = numbers["legibility"], numbers["x_height_mm"], numbers["specks_per_letter"]
    signs = None
    if x_height_mm is not None and specks is not None:
        signs = legibility_signs(
            page,
            x_height_mm=x_height_mm,
            specks_per_letter=specks,
            blur_mm=numbers["blur_mm"],
            contrast=numbers["contrast"],
        )
    return Reading(bitonal=page.is_bitonal, signs=signs, predicted=predicted, read_share=read_share)


def _real_readings() -> list[Reading]:
    readings = []
    for scan in real_scans():
        if scan.language != "eng":
            continue
        done = subprocess.run(["tesseract", scan.path, "-", "--psm", "3"], capture_output=True, text=True, check=True)
        wrong = edits(scan.truth, normalised(done.stdout, join_hyphens=scan.joined)) / len(scan.truth)
        readings.append(_judged(read_page(scan.path, 0, ReadSettings()), max(0.0, 1 - wrong)))
    return readings


def _row(name: str, readings: list[Reading]) -> tuple[object, ...]:
    pairs = [(reading.predicted, reading.read_share) for reading in readings if reading.predicted is not None]
    not_judged = len(readings) - len(pairs)
    if len(pairs) < 3:
        return name, len(readings), "-", "-", "-", not_judged
    predicted, read = np.array(pairs).T
    apart = np.abs(predicted - read)
    rank = float(np.corrcoef(_ranks(predicted), _ranks(read))[0, 1])
    return name, len(readings), f"{rank:.2f}", percent(float(apart.mean())), percent(float(apart.max())), not_judged


def _ranks(values: Floats) -> Floats:
    """Ranks, equal values sharing theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places], dtype=np.float64)


def _refusals(folder: str) -> tuple[object, ...]:
    held, least, spent_s, count = [], 1.0, 0.0, 0
    for page, name in _scans(folder):
        count += 1
        begin = time.process_time()
        try:
            legibility = quality(page, ALL_REFUSALS).readings["quality.legibility"]
            least = min(least, legibility if isinstance(legibility, float) else 1.0)
        except Refusal as refusal:
            held.append(f"{name} {refusal.code}")
        spent_s += time.process_time() - begin
    return folder, count, len(held), "; ".join(held), f"{least:.2f}", f"{1000 * spent_s / max(1, count):.0f}"


def _scans(folder: str) -> Iterator[tuple[PageImage, str]]:
    for path in sorted((REAL_SCANS / folder).rglob("*")):
        if path.suffix not in PICTURES or path.stem.endswith("_gt"):
            continue
        try:
            yield read_page(path, 0, ReadSettings()), path.name
        except Refusal:
            continue  # what cannot be read at all is not for this bench


if __name__ == "__main__":
    os.environ["OMP_THREAD_LIMIT"] = "1"
    fit() if sys.argv[1:] == ["fit"] else run()
