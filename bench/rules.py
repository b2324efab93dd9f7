"""Lines taken off forms and tables before recognition: what goes, what stays, and whether Tesseract reads better.

    python -m bench rules              about 6 CPU minutes; BENCH_PAGES pages of each kind (default 3)

On drawn forms lines and letters are known pixel by pixel: of the lines' ink (away from letters) the share that is left,
of the letters' ink the share that is lost. Character errors are counted at the place of each word. "Tesseract alone" is
Tesseract with its own removal of lines, on the very same copy of the page; no other open tool takes lines off.
Every page that the stage declines is the same in both columns. On real pages with truth only words are counted,
since the order of cells is nobody's truth.
"""

from __future__ import annotations

import csv
import os
import time
from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from bench import REAL_SCANS
from bench.drawn_forms import Form, boxed, comb, edits_in_place, lined, table
from bench.tables import percent, print_table
from bench.texts import normalised
from fixtures.scanner import bitonal, scanned
from stages import binarize, crop, deskew, despeckle, ocr, orient
from stages.page_image import PageImage, Word
from stages.read import Settings as ReadSettings
from stages.read import read_page
from stages.reading_copy import reading_copy
from stages.rules import Settings, rules

PAGES = int(os.environ.get("BENCH_PAGES", "3"))
KINDS = (table, comb, boxed, lined)
SKEWS_DEG = (0.0, 0.05)
INK_LEVEL = 160
TRUTH_LEVEL = 128
NEAR_LETTERS_PX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one page; shares of ink, and edits with the lines and without them."""

    lines_left: float
    letters_lost: float
    letters: int
    edits_with: int
    edits_without: int
    declined: str
    spent_s: float


def run() -> None:
    """Print the table of drawn forms, then that of real pages."""
    rows = []
    for kind in KINDS:
        for copy in ("grey", "bitonal scan"):
            outcomes = [
                _outcome(kind(seed), skew_deg=skew_deg, copy=copy, seed=seed)
                for seed in range(1, PAGES + 1)
                for skew_deg in SKEWS_DEG
            ]
            rows.append((f"{kind.__name__}, {copy}", *_summed(outcomes)))
    print_table(
        (
            "drawn form", "n", "declined", "lines left mean", "worst", "letters lost mean", "worst",
            "CER Tesseract alone", "CER without lines", "CPU ms",
        ),
        rows,
    )  # fmt: skip
    if not REAL_SCANS.is_dir():
        print(f"Left out: the real scans are not beside the project ({REAL_SCANS}).")
        return
    print_table(("real page", "answer", "words missed, Tesseract alone", "without lines"), _real_rows())


def _outcome(form: Form, *, skew_deg: float, copy: str, seed: int) -> Outcome:
    def scan(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        drawn = form.page(pixels)
        return scanned(drawn, skew_deg=skew_deg, blur_mm=0.06, noise_levels=4, tint=236, seed=seed).pixels

    lines, letters = (scan(layer) < TRUTH_LEVEL for layer in (form.lines, form.letters))
    raw = PageImage(pixels=scan(form.page().pixels), dpi=form.page().dpi)
    if copy == "grey":
        page = _reading_copy(raw, level=True)
    else:
        page = despeckle.despeckle(PageImage(pixels=bitonal(np.asarray(raw.pixels)), dpi=raw.dpi), despeckle.Settings())
    begin = time.process_time()
    cleaned = rules(page, Settings())
    spent_s = time.process_time() - begin
    before, after = page.grey() < INK_LEVEL, cleaned.grey() < INK_LEVEL
    near = cv2.dilate(letters.astype(np.uint8), np.ones((NEAR_LETTERS_PX, NEAR_LETTERS_PX), np.uint8)) > 0
    apart = lines & ~near
    wrong, count = edits_in_place(form.words, _read(page))
    declined = str(cleaned.readings["rules.declined"] or "")
    return Outcome(
        lines_left=float((after & apart).sum() / apart.sum()),
        letters_lost=float((letters & before & ~after).sum() / letters.sum()),
        letters=count,
        edits_with=wrong,
        edits_without=wrong if declined else edits_in_place(form.words, _read(cleaned))[0],
        declined=declined,
        spent_s=spent_s,
    )


def _summed(outcomes: list[Outcome]) -> tuple[object, ...]:
    done = [outcome for outcome in outcomes if not outcome.declined]
    letters = sum(outcome.letters for outcome in outcomes)
    shares: list[str] = []
    for values in ([outcome.lines_left for outcome in done], [outcome.letters_lost for outcome in done]):
        shares += [percent(float(np.mean(values))), percent(max(values))] if values else ["-", "-"]
    return (
        len(outcomes),
        f"{len(outcomes) - len(done)} {' '.join({outcome.declined for outcome in outcomes})}".strip(),
        *shares,
        percent(sum(outcome.edits_with for outcome in outcomes) / letters),
        percent(sum(outcome.edits_without for outcome in outcomes) / letters),
        f"{1000 * float(np.mean([outcome.spent_s for outcome in outcomes])):.0f}",
    )


def _reading_copy(scan: PageImage, *, level: bool = False) -> PageImage:
    """What the default profile hands to the recogniser."""
    page = scan
    if not level:
        page = crop.crop(orient.orient(page, orient.Settings()), crop.Settings(mode="fill"))
        page = deskew.deskew(page, deskew.Settings(interpolation="linear"))
    clean = despeckle.despeckle(binarize.binarize(page, binarize.Settings()), despeckle.Settings())
    return clean if scan.is_bitonal else reading_copy(clean, scan, clean.moved)


def _read(page: PageImage) -> list[Word]:
    read = ocr.ocr(page, ocr.Settings(keep_alto=False)).text
    assert read is not None
    return list(read.words())


def _real_rows() -> list[tuple[object, ...]]:
    """Each page on which the stage acts, and how many others there were."""
    rows: list[tuple[object, ...]] = []
    declined: Counter[str] = Counter()
    with (REAL_SCANS / "ocr-truth" / "index.csv").open(encoding="utf-8", newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["lang"] == "en"]
    for row in listed:
        copy = _reading_copy(read_page(REAL_SCANS / row["file"], 0, ReadSettings()))
        cleaned = rules(copy, Settings())
        why = cleaned.readings["rules.declined"]
        if why:
            declined[str(why)] += 1
            continue
        truth = _words((REAL_SCANS / row["truth"]).read_text(encoding="utf-8"))
        shares = []
        for page in (copy, cleaned):
            missed = truth - _words(" ".join(word.text for word in _read(page)))
            shares.append(percent(missed.total() / truth.total()))
        rows.append((row["file"].rpartition("/")[2], "lines taken off", *shares))
    rows.append((f"{declined.total()} others", ", ".join(f"{why} {n}" for why, n in declined.items()), "same", "same"))
    return rows


def _words(text: str) -> Counter[str]:
    return Counter(normalised(text).lower().split())
