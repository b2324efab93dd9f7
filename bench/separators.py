"""Patch codes, barcodes and tickets read, and read where there are none, beside zxing-cpp alone on the same images.

Every sheet is drawn, laid askew by up to 15 degrees, turned by quarters, and scanned in grey (pale ink, tinted and
shaded paper, blur, noise, specks, a lid in sight) and in black and white. A sheet is right when exactly the codes that
stand on it were found under their names, and "missed" or "wrong" otherwise; nothing is declined but by missing it.
zxing-cpp reads no patch codes; it gets the formats that we read, on the whole scan, with its own defaults.
BENCH_PAGES sets how many scans are drawn for each row of the tables (12 unless told).
"""

from __future__ import annotations

import csv
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import zxingcpp

from bench import REAL_SCANS
from bench.tables import percent, print_table
from fixtures import pages
from fixtures.pages import DrawnPage
from fixtures.scanner import QuarterTurn, bitonal, scanned
from fixtures.separators import (
    bar_chart,
    barcode_sheet,
    batch_ticket,
    document_separator,
    labelled_letter,
    music,
    patch_sheet,
    with_barcode,
)
from stages.errors import Refusal
from stages.page_image import PageImage
from stages.read import Settings as ReadSettings
from stages.read import page_count, read_page
from stages.separators import FORMATS, BarcodeName, Settings, separators
from stages.sheets import A4_MM, LETTER_MM, PATCH_BARS

SEED = 29
MOST_SKEW_DEG = 15.0
DPIS = (150, 200, 300, 400, 600)
TURNS: tuple[QuarterTurn, ...] = (0, 90, 180, 270)
KINDS: tuple[BarcodeName, ...] = ("qr", "code-128", "code-39", "data-matrix")
# From 10 mil, the finest that office printers are trusted with, for bars, and 14 mil for squares: finer squares are no
# larger than a word and are found now and then only. Below three pixels a module no reader is sure.
LEAST_MODULE_MM = {"qr": 0.35, "data-matrix": 0.35, "code-128": 0.27, "code-39": 0.27}
MOST_MODULE_MM, LEAST_MODULE_PX = 0.8, 2.7
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".pdf", ".jp2"})
FOLDERS = ("ocr-truth", "skew", "borders-holes", "binarise", "formats", "pdf")
NAMES_IN_TRUTH = {"Code 39": "code-39", "Code 128": "code-128", "QR Code": "qr", "ITF": "itf"}
RECORDS: dict[str, Callable[[int, float], DrawnPage]] = {
    "letter": lambda seed, dpi: pages.letter(seed=seed, dpi=dpi),
    "letter with Code 39": lambda seed, dpi: labelled_letter(seed=seed, dpi=dpi),
    "typescript": lambda seed, dpi: pages.typescript(seed=seed, dpi=dpi),
    "two columns": lambda seed, dpi: pages.two_columns(seed=seed, dpi=dpi),
    "form": lambda seed, dpi: pages.form(seed=seed, dpi=dpi),
    "ruled table": lambda seed, dpi: pages.ruled_table(seed=seed, dpi=dpi),
    "drawing": lambda seed, dpi: pages.drawing(seed=seed, dpi=dpi),
    "photograph": lambda seed, dpi: pages.photo_page(seed=seed, dpi=dpi, colour=False),
    "receipt": lambda seed, dpi: pages.receipt(seed=seed, dpi=dpi),
    "blank": lambda seed, dpi: pages.blank(dpi=dpi),
    "music": lambda seed, dpi: music(seed=seed, dpi=dpi),
    "bar chart": lambda seed, dpi: bar_chart(seed=seed, dpi=dpi),
}


@dataclass(slots=True)
class Tally:
    """What came of the sheets of one row; CPU seconds are of reading alone, the maps that stages share made before."""

    n: int = 0
    right: int = 0
    missed: int = 0
    wrong: int = 0
    parted: int = 0
    doubted: int = 0
    cpu_s: list[float] = field(default_factory=list)
    peer_right: int = 0
    peer_missed: int = 0
    peer_wrong: int = 0
    peer_cpu_s: list[float] = field(default_factory=list)

    def add(self, page: PageImage, codes: Iterable[str], *, settings: Settings) -> PageImage:
        """Read the page by both, and count it by the codes that stand on it (names as in our readings)."""
        truth = set(codes)
        self.n += 1
        separators(page, settings)
        begin = time.process_time()
        read = separators(page, settings)
        self.cpu_s.append(time.process_time() - begin)
        found = set(_names(read))
        self.right += found == truth
        self.missed += bool(truth - found)
        self.wrong += bool(found - truth)
        self.parted += read.readings["separators.separator"] is True
        self.doubted += bool(read.readings["separators.doubt"])
        begin = time.process_time()
        peer = _peer_names(page, settings.barcode_formats)
        self.peer_cpu_s.append(time.process_time() - begin)
        self.peer_right += peer == truth
        self.peer_missed += bool(truth - peer)
        self.peer_wrong += bool(peer - truth)
        return read


def run() -> None:
    """Draw the sheets, read them by both, print what each found; then the real scans."""
    count = int(os.environ.get("BENCH_PAGES", "12"))
    print(f"zxing-cpp {version('zxing-cpp')}, {count} scans a row\n")
    choose = random.Random(SEED)
    _print_found(drawn_patches(count, choose), "patch sheets at")
    _print_found(drawn_barcodes(count, choose), "barcodes on a letter")
    _print_found(house_sheets(count, choose), "the house's own sheets")
    _print_harm(drawn_records(count, choose), "drawn pages of the record")
    if not REAL_SCANS.is_dir():
        print(f"Skipped: the real scans are not beside the project ({REAL_SCANS}).")
        return
    _print_found(real_barcodes(), "real sheets")
    _print_harm(real_records(), "real scans")


def drawn_patches(count: int, choose: random.Random) -> dict[str, Tally]:
    """Sheets with one patch code, along whichever edge, at every usual resolution."""
    rows: dict[str, Tally] = defaultdict(Tally)
    for dpi in DPIS:
        for number in range(count):
            code = list(PATCH_BARS)[number % len(PATCH_BARS)]
            size_mm = choose.choice((LETTER_MM, A4_MM))
            drawn = patch_sheet(code, dpi=dpi, size_mm=size_mm)
            turn = TURNS[number % len(TURNS)]
            for mode, page in _scans(drawn, choose, turn_deg=turn):
                what = f"{code} turned by {turn}"
                _noted(rows[f"{dpi} dpi, {mode}"], page, [f"patch-{code}"], what, Settings())
    return rows


def drawn_barcodes(count: int, choose: random.Random) -> dict[str, Tally]:
    """Letters with a barcode of the usual sizes of module."""
    rows: dict[str, Tally] = defaultdict(Tally)
    letters = {dpi: pages.letter(dpi=dpi, seed=SEED) for dpi in DPIS[1:]}
    for kind in KINDS:
        for number in range(count):
            dpi = DPIS[1:][number % len(DPIS[1:])]
            module_mm = choose.uniform(max(LEAST_MODULE_MM[kind], LEAST_MODULE_PX * 25.4 / dpi), MOST_MODULE_MM)
            payload = f"{choose.choice(('CASE', 'ASN', 'BOX'))}-{choose.randint(10_000, 99_999)}"
            if kind == "code-39":  # 16 modules a sign: a wide one would not fit on the page
                module_mm = min(module_mm, 0.6)
            place = {"left_mm": choose.uniform(25, 40), "top_mm": choose.uniform(30, 200)}
            drawn = with_barcode(letters[dpi], kind, payload, module_mm=module_mm, **place)
            turn = choose.choice(TURNS)
            what = f"{kind} {payload} of {module_mm:.2f} mm at {dpi} dpi turned by {turn}"
            for mode, page in _scans(drawn, choose, turn_deg=turn):
                _noted(rows[f"{kind}, {mode}"], page, [f"{kind}:{payload}"], what, Settings())
    return rows


def house_sheets(count: int, choose: random.Random) -> dict[str, Tally]:
    """What the house prints: separators with patch and barcodes, barcodes alone, tickets."""
    rows: dict[str, Tally] = defaultdict(Tally)
    sheets: dict[str, tuple[Callable[[float], DrawnPage], list[str]]] = {
        "separator": (
            lambda dpi: document_separator(dpi=dpi),
            ["patch-T", "qr:PLATEN:DOCUMENT", "code-128:PLATEN:DOCUMENT"],
        ),
        "barcode sheet": (lambda dpi: barcode_sheet(dpi=dpi), ["qr:PLATEN:DOCUMENT"]),
        "ticket": (
            lambda dpi: batch_ticket("WO-2026-0042", "17 of 20", dpi=dpi),
            [f"{kind}:PLATEN:ORDER:WO-2026-0042;BOX:17 of 20" for kind in ("qr", "code-128")],
        ),
    }
    for name, (draw, codes) in sheets.items():
        for number in range(count):
            dpi = DPIS[1:][number % len(DPIS[1:])]
            turn = choose.choice(TURNS)
            for mode, page in _scans(draw(dpi), choose, turn_deg=turn):
                _noted(rows[f"{name}, {mode}"], page, codes, f"{name} at {dpi} dpi turned by {turn}", Settings())
    return rows


def drawn_records(count: int, choose: random.Random) -> dict[str, Tally]:
    """Pages that part nothing; the only codes on them are labels of Code 39."""
    rows: dict[str, Tally] = defaultdict(Tally)
    for name, draw in RECORDS.items():
        for number in range(count):
            dpi = choose.choice(DPIS[:3])
            drawn = draw(SEED + number, dpi)
            turn = choose.choice(TURNS)
            for mode, page in _scans(drawn, choose, turn_deg=turn):
                what = f"{name} {SEED + number} at {dpi} dpi turned by {turn}"
                _noted(rows[f"{name}, {mode}"], page, [f"code-39:{code}" for code in drawn.codes], what, Settings())
    return rows


def real_barcodes() -> dict[str, Tally]:
    """The sheets of the set whose payload is known, and the pages between them."""
    rows: dict[str, Tally] = defaultdict(Tally)
    with (REAL_SCANS / "barcodes" / "barcodes.csv").open(encoding="utf-8", newline="") as file:
        truth = {(row["file"], int(row["page"])): row for row in csv.DictReader(file)}
    for path in sorted((REAL_SCANS / "barcodes").iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        for number, page in _pages_of(path):
            row = truth.get((f"barcodes/{path.name}", number))
            payload = row["payload"] if row else ""
            kinds = [name for shown, name in NAMES_IN_TRUTH.items() if row and shown in row["symbology"]]
            # the reader's patches are told apart in a row of their own: the truth knows barcodes alone
            settings = Settings(patches=False)
            name = "with a barcode" if payload else "without"
            what = f"{path.name} page {number}"
            _noted(rows[name], page, [f"{kind}:{payload}" for kind in kinds if payload], what, settings)
    sheet = truth.get(("borders-holes/lept-tickets.tif", 1))
    if sheet is not None:
        (_, page), *_ = _pages_of(REAL_SCANS / sheet["file"])
        codes = [f"itf:{payload}" for payload in sheet["payload"].split()]
        _noted(rows["Interleaved 2 of 5"], page, codes, "lept-tickets.tif", Settings(barcode_formats=("itf",)))
    return rows


def real_records() -> dict[str, Tally]:
    """Every other real scan: nothing on them parts documents."""
    rows: dict[str, Tally] = defaultdict(Tally)
    for folder in FOLDERS:
        for path in sorted((REAL_SCANS / folder).rglob("*")):
            if path.suffix.lower() not in IMAGE_SUFFIXES or "pdfa" in path.parts:
                continue
            for number, page in _pages_of(path):
                _noted(rows[folder], page, [], f"{path.name} page {number}", Settings())
    return rows


def _scans(drawn: DrawnPage, choose: random.Random, *, turn_deg: QuarterTurn) -> Iterator[tuple[str, PageImage]]:
    """The sheet as a worn scanner gives it in grey, and as a common one gives it in black and white."""
    worn = scanned(
        drawn,
        skew_deg=choose.uniform(-MOST_SKEW_DEG, MOST_SKEW_DEG),
        turn_deg=turn_deg,
        speckle_fraction=choose.choice((0.0, 0.0005)),
        shading=choose.uniform(0.0, 0.15),
        blur_mm=choose.uniform(0.03, 0.09),
        noise_levels=choose.uniform(2.0, 9.0),
        lid=choose.choice(("none", "black", "white")),
        border_mm=choose.choice((0.0, 8.0)),
        tint=choose.randint(190, 255),
        contrast=choose.uniform(0.6, 1.0),
        seed=choose.randrange(10_000),
    )
    yield "grey", worn.image()
    common = scanned(
        drawn,
        skew_deg=choose.uniform(-MOST_SKEW_DEG, MOST_SKEW_DEG),
        turn_deg=turn_deg,
        speckle_fraction=choose.choice((0.0, 0.001)),
        blur_mm=0.04,
        noise_levels=4.0,
        lid=choose.choice(("none", "black")),
        border_mm=choose.choice((0.0, 8.0)),
        seed=choose.randrange(10_000),
    )
    yield "black and white", PageImage(pixels=bitonal(common.pixels), dpi=common.dpi)


def _noted(tally: Tally, page: PageImage, codes: list[str], what: str, settings: Settings) -> None:
    """Count the page, and name it where it was not read as it is."""
    before = tally.right
    read = tally.add(page, codes, settings=settings)
    if tally.right == before:
        print(f"{what}: {', '.join(sorted(set(codes))) or 'nothing'} read as {', '.join(_names(read)) or 'nothing'}")


def _names(read: PageImage) -> list[str]:
    found = read.readings["separators.found"]
    assert isinstance(found, list)
    return [str(name) for name in found]


def _peer_names(page: PageImage, formats: tuple[BarcodeName, ...]) -> set[str]:
    """What zxing-cpp reads on the whole scan, under the names of our readings."""
    by_format = {FORMATS[name]: name for name in formats}
    read = zxingcpp.read_barcodes(
        np.ascontiguousarray(page.grey()),
        formats=zxingcpp.BarcodeFormats(list(by_format)),
        text_mode=zxingcpp.TextMode.Plain,
    )
    return {f"{by_format[code.symbology]}:{code.text}" for code in read if code.symbology in by_format}


def _pages_of(path: Path) -> Iterator[tuple[int, PageImage]]:
    """The pages of a file as an order's pages are read; what cannot be read is none."""
    settings = ReadSettings()
    try:
        for index in range(page_count(path)):
            yield index + 1, read_page(path, index, settings)
    except Refusal:
        return


def _print_found(rows: dict[str, Tally], title: str) -> None:
    print_table(
        (
            *(title, "n", "right", "missed", "wrong", "parting", "CPU mean", "worst"),
            *("zxing right", "missed", "wrong", "CPU mean"),
        ),
        [
            (
                name, t.n, percent(t.right / t.n), t.missed, t.wrong, t.parted, *_ms(t.cpu_s),
                percent(t.peer_right / t.n), t.peer_missed, t.peer_wrong, _ms(t.peer_cpu_s)[0],
            )
            for name, t in rows.items()
        ],
    )  # fmt: skip


def _print_harm(rows: dict[str, Tally], title: str) -> None:
    """Pages on which a code was found that does not stand there, and pages that would part documents."""
    print_table(
        (title, "n", "false codes", "parting", "in doubt", "CPU mean", "worst", "zxing false codes", "CPU mean"),
        [
            (name, t.n, t.wrong, t.parted, t.doubted, *_ms(t.cpu_s), t.peer_wrong, _ms(t.peer_cpu_s)[0])
            for name, t in (*rows.items(), ("all", _sum(rows.values())))
        ],
    )


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.n += tally.n
        total.wrong += tally.wrong
        total.parted += tally.parted
        total.doubted += tally.doubted
        total.peer_wrong += tally.peer_wrong
        total.cpu_s += tally.cpu_s
        total.peer_cpu_s += tally.peer_cpu_s
    return total


def _ms(seconds: list[float]) -> tuple[str, str]:
    """Mean and worst in milliseconds."""
    return f"{1000 * sum(seconds) / len(seconds):.0f} ms", f"{1000 * max(seconds):.0f} ms"
