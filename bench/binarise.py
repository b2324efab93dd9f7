"""Binarisation beside doxapy's methods: F-measure, PSNR, DRD and marks lost, on real and drawn old papers with truth.

Every method gets the same pixels (the peers those of the grey image); Platen's stage is told 300 dpi where the file
states none. A page that the stage leaves grey counts as a page without ink, and is counted under "declined" as well.
BENCH_PAGES drawn sheets of each of the kinds are made, 1 unless told; 5 take about ten minutes.

F-measure and PSNR are those of the DIBCO contests (Gatos, Ntirogiannis and Pratikakis 2009,
doi:10.1109/ICDAR.2009.246), DRD is of Lu, Kot and Shi 2004, doi:10.1109/LSP.2003.821748. The pseudo-F-measure is left
out: it needs the contests' own skeletons and contours of the truth. Marks lost is ours: of the parts of the truth of 6
pixels and more, full stops among them, the share of which not even a quarter is left.
"""

from __future__ import annotations

import csv
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from bench import REAL_SCANS, ROOT, peers
from bench.old_pages import OldPage, old_pages
from bench.tables import percent, print_table
from stages.binarize import Settings, binarize
from stages.page_image import PageImage
from stages.read import Settings as ReadSettings
from stages.read import read_page

Mask = npt.NDArray[np.bool_]

PLATEN = "Platen"
LETTER_PAGE_PX = 8.4e6
SMALLEST_MARK_PX = 6
KEPT_SHARE = 0.25
LARGEST_PSNR_DB = 100.0  # of pages without any fault
DRD_REACH = 2  # its window of 5 x 5
DRD_BLOCK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How close one page's ink is to the truth: F in percent, PSNR in dB, DRD, and the share of marks lost."""

    f_measure: float
    psnr_db: float
    drd: float
    lost_fraction: float
    declined: bool = False


def run() -> None:
    """Binarise every page by every method and print what came out."""
    drawn = list(old_pages(int(os.environ.get("BENCH_PAGES", "1"))))
    if REAL_SCANS.is_dir():
        real = real_pages()
    else:
        print(f"Without the real scans: they are not beside the project ({REAL_SCANS}).")
        real = []
    pages = [*real, *drawn]
    scores, cpu_s = platen_scores(pages)
    try:
        peer_cpu_s = peer_scores(pages, scores)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Without the peers: {error}")
        peer_cpu_s = {}
    columns = ("n", "F mean", "F worst", "PSNR dB", "DRD", "DRD worst", "marks lost", "declined")
    for title, part in (
        ("real scans", slice(0, len(real))),
        ("drawn old papers", slice(len(real), None)),
        ("all", slice(None)),
    ):
        if pages[part]:
            print_table((title, *columns), [summary(method, of[part]) for method, of in scores.items()])
    megapixels = sum(page.ink.size for page in pages)
    print_table(
        ("method", "CPU ms for the pixels of a letter page at 300 dpi"),
        [
            (method, f"{1000 * spent / megapixels * LETTER_PAGE_PX:.0f}")
            for method, spent in {PLATEN: cpu_s, **peer_cpu_s}.items()
        ],
    )
    print_table(("mean F of", "n", *scores), kind_rows(pages, scores))


def real_pages() -> list[OldPage]:
    """The real scans with truth, as Platen reads them."""
    with (REAL_SCANS / "binarise" / "pairs.csv").open(encoding="utf-8", newline="") as lines:
        pairs = list(csv.DictReader(lines))
    pages = []
    for pair in pairs:
        scan = read_page(REAL_SCANS / pair["image"], 0, ReadSettings())
        truth = np.array(Image.open(REAL_SCANS / pair["ground_truth"]).convert("L")) < 128
        pixels = np.asarray(scan.pixels, dtype=np.uint8)
        pages.append(OldPage(name=Path(pair["image"]).stem, pixels=pixels, ink=truth, dpi=scan.dpi))
    return pages


def platen_scores(pages: Sequence[OldPage]) -> tuple[dict[str, list[Score]], float]:
    """The stage's scores, and its CPU seconds for all pages, the page's analysis among them."""
    scores = []
    cpu_s = 0.0
    for page in pages:
        image = PageImage(pixels=page.pixels, dpi=page.dpi)
        begin = time.process_time()
        result = binarize(image, Settings())
        cpu_s += time.process_time() - begin
        ink = ~result.pixels.astype(np.bool_) if result.is_bitonal else np.zeros(page.ink.shape, np.bool_)
        scores.append(score(page.ink, ink, declined=not result.is_bitonal))
    return {PLATEN: scores}, cpu_s


def peer_scores(pages: Sequence[OldPage], scores: dict[str, list[Score]]) -> dict[str, float]:
    """Add the scores of doxapy's methods to those there; gives their CPU seconds for all pages."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        images, inks = Path(scratch) / "images.npz", Path(scratch) / "inks.npz"
        greys = {str(i): PageImage(pixels=page.pixels, dpi=page.dpi).grey() for i, page in enumerate(pages)}
        with images.open("wb") as file:
            np.savez(file, **greys)  # type: ignore[arg-type]  # the stubs take the names for their own option
        subprocess.run([peers.python(), ROOT / "bench" / "doxa_peer.py", images, inks], check=True)
        with np.load(inks) as found:
            cpu_s = {key.partition("|")[2]: float(found[key]) for key in found.files if key.startswith("cpu_s|")}
            for method in cpu_s:
                scores[method] = [
                    score(page.ink, _unpacked(found[f"{i}|{method}"], page.ink.shape)) for i, page in enumerate(pages)
                ]
    return cpu_s


def score(truth: Mask, ink: Mask, *, declined: bool = False) -> Score:
    """Hold a page's ink against the truth."""
    return Score(
        f_measure=f_measure(truth, ink),
        psnr_db=psnr_db(truth, ink),
        drd=distance_reciprocal_distortion(truth, ink),
        lost_fraction=lost_fraction(truth, ink),
        declined=declined,
    )


def f_measure(truth: Mask, ink: Mask) -> float:
    """The harmonic mean of precision and recall of ink pixels, in percent."""
    both = int(np.count_nonzero(truth & ink))
    return 200.0 * both / max(1, int(np.count_nonzero(truth)) + int(np.count_nonzero(ink)))


def psnr_db(truth: Mask, ink: Mask) -> float:
    """Peak signal to noise, black being one below white."""
    wrong = float(np.mean(truth != ink))
    return min(LARGEST_PSNR_DB, -10.0 * math.log10(wrong)) if wrong else LARGEST_PSNR_DB


def distance_reciprocal_distortion(truth: Mask, ink: Mask) -> float:
    """Wrong pixels, each weighed by how many around it in the truth differ from it, for a block that has an edge."""
    offsets = np.arange(-DRD_REACH, DRD_REACH + 1)
    distance = np.hypot(offsets[:, None], offsets[None])
    weights = np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0)
    about = cv2.filter2D(
        truth.astype(np.float32), -1, (weights / weights.sum()).astype(np.float32), borderType=cv2.BORDER_REPLICATE
    )
    wrong = truth != ink
    distortion = np.where(ink[wrong], 1.0 - about[wrong], about[wrong])
    rows, cols = (length // DRD_BLOCK * DRD_BLOCK for length in truth.shape)
    blocks = truth[:rows, :cols].reshape(rows // DRD_BLOCK, DRD_BLOCK, cols // DRD_BLOCK, DRD_BLOCK).sum(axis=(1, 3))
    uneven = int(np.count_nonzero((blocks > 0) & (blocks < DRD_BLOCK**2)))
    return float(distortion.sum()) / max(1, uneven)


def lost_fraction(truth: Mask, ink: Mask) -> float:
    """The share of the truth's parts of which hardly anything is left."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(truth.view(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = np.bincount(np.asarray(labels)[truth & ink], minlength=count)
    marks = areas >= SMALLEST_MARK_PX
    marks[0] = False
    return float(np.mean(kept[marks] < KEPT_SHARE * areas[marks])) if marks.any() else 0.0


def summary(method: str, scores: Sequence[Score]) -> tuple[object, ...]:
    """One method's row over some pages."""
    return (
        method,
        len(scores),
        f"{np.mean([s.f_measure for s in scores]):.2f}",
        f"{min(s.f_measure for s in scores):.1f}",
        f"{np.mean([s.psnr_db for s in scores]):.2f}",
        f"{np.mean([s.drd for s in scores]):.2f}",
        f"{max(s.drd for s in scores):.1f}",
        percent(float(np.mean([s.lost_fraction for s in scores]))),
        percent(float(np.mean([s.declined for s in scores]))),
    )


def kind_rows(pages: Sequence[OldPage], scores: Mapping[str, Sequence[Score]]) -> list[tuple[object, ...]]:
    """One row for each kind of page: every method's mean F."""
    rows = []
    for name in dict.fromkeys(page.name for page in pages):
        chosen = [i for i, page in enumerate(pages) if page.name == name]
        means = (np.mean([of[i].f_measure for i in chosen]) for of in scores.values())
        rows.append((name, len(chosen), *(f"{mean:.1f}" for mean in means)))
    return rows


def _unpacked(packed: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> Mask:
    bits = np.unpackbits(packed, count=math.prod(shape))
    return np.asarray(bits.reshape(shape) > 0)
