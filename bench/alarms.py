"""How often ordinary pages raise an alarm about their scan, how surely a sheet fed twice does, and how soon all come.

    python -m bench alarms             false alarms by kind, sheets told from their like, seconds from drop to alarm;
                                       about 3 CPU minutes

The real scans and the pages drawn for the demonstration stand for ordinary ones: the demonstration has skewed and
speckled pages, and no fault of a scanner. Sheets fed twice are drawn, and scanned twice with other skew, dirt and
grain; their likes are other sheets of the same kind. Recognition is left out: its alarm is a limit on the confidence.
The alarms of a batch with every fault are waited for on a floor of two workers that was started after the drop.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench import REAL_SCANS
from bench.tables import percent, print_table
from fixtures import pages
from fixtures.demo import write_demo_orders
from fixtures.scanner import scanned
from pipeline.alarms import prepared_alarms
from pipeline.model import AlarmKind
from pipeline.page_work import PrepareJob, prepare_file
from pipeline.profile import AlarmRules, load_profile
from stages.blank import Settings as BlankSettings
from stages.blank import blank
from stages.crop import Settings as CropSettings
from stages.crop import crop
from stages.deskew import Settings as DeskewSettings
from stages.deskew import deskew
from stages.errors import Refusal
from stages.page_image import Reading
from stages.read import Settings as ReadSettings
from stages.read import is_supported, page_count, page_megapixels
from stages.same_sheet import is_same_sheet
from tests.whole.faults import alarmed_pages, drop_faulty_pages
from tests.whole.home import Home

PROFILE = Path("profiles/records-bitonal.toml")
FOLDERS = ("barcodes", "binarise", "borders-holes", "ocr-truth", "pdf", "skew")
PAGES_A_FILE = 2
MOST_MEGAPIXELS = 40.0
LEAST_MEGAPIXELS = 0.3  # cut-outs and single lines
KINDS = ("letter", "form", "ruled_table", "typescript", "drawing")
SHEETS_A_KIND = 4
DPI = 200.0
FAULTY_BATCH = 40
LOOK_S = 0.2


def run() -> None:
    """Print how many ordinary pages raise which alarm, and how many sheets are taken for others."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        inbox = Path(scratch) / "inbox"
        inbox.mkdir()
        write_demo_orders(inbox)
        for name, files in (("drawn for the demonstration", _files(inbox)), ("real scans", _real_files())):
            counted, kinds = _raised(files)
            told = ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())) or "none"
            rows.append(
                (
                    name,
                    counted["pages"],
                    counted["alarmed"],
                    percent(counted["alarmed"] / max(1, counted["pages"])),
                    told,
                )
            )
    print_table(("pages", "n", "with an alarm", "share", "which"), rows)
    if not REAL_SCANS.is_dir():
        print(f"Left out: the real scans are not beside the project ({REAL_SCANS}).")
    print_table(
        ("sheets", "fed twice", "found", "other sheets", "taken for one"), [_told_apart(kind) for kind in KINDS]
    )
    _waited_for()


def _waited_for() -> None:
    """A batch with a page of each fault, from its drop to each alarm."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home")
        home.platen("init")
        home.platen("order", "open", "--customer", "C", "--profile", PROFILE.stem, "--number", "WO-1")
        begin = time.monotonic()
        drop_faulty_pages(home.folder / "inbox" / "WO-1" / "box", FAULTY_BATCH)
        floor = home.start()
        told_s: dict[AlarmKind, float] = {}
        pages: dict[AlarmKind, set[int]] = {}
        while floor.poll() is None:
            pages = alarmed_pages(home)
            for kind in pages:
                told_s.setdefault(kind, time.monotonic() - begin)
            time.sleep(LOOK_S)
    print_table(
        ("alarm", "its pages", "s after the drop"),
        [(kind.value, len(pages[kind]), f"{seconds:.1f}") for kind, seconds in told_s.items()],
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _real_files() -> Iterator[Path]:
    return itertools.chain.from_iterable(_files(REAL_SCANS / name) for name in FOLDERS)


def _raised(files: Iterator[Path]) -> tuple[Counter[str], Counter[str]]:
    profile = load_profile(PROFILE)
    counted, kinds = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch:
        for path, index in _pages(files):
            try:
                prepared = prepare_file(PrepareJob.by(profile, path, index, folder=Path(scratch)))
            except Refusal as refusal:
                print(f"held, so left out: {path.name}, {refusal.code}", file=sys.stderr)
                continue
            alarms = prepared_alarms(prepared.readings, AlarmRules())
            counted.update(pages=1, alarmed=int(bool(alarms)))
            kinds.update(alarm.kind.value for alarm in alarms)
            for alarm in alarms:
                print(f"{path.name}, {index + 1}: {alarm.what}", file=sys.stderr)
    return counted, kinds


def _pages(files: Iterator[Path]) -> Iterator[tuple[Path, int]]:
    for path in files:
        try:
            if not is_supported(path):
                continue
            for index in range(min(PAGES_A_FILE, page_count(path))):
                if LEAST_MEGAPIXELS <= page_megapixels(path, index, ReadSettings()) <= MOST_MEGAPIXELS:
                    yield path, index
        except Refusal:
            continue


def _told_apart(kind: str) -> tuple[object, ...]:
    """How many sheets of a kind that were scanned twice are found, and how many pairs of others are taken for one."""
    sheets = [getattr(pages, kind)(seed=seed, dpi=DPI) for seed in range(1, SHEETS_A_KIND + 1)]
    first, again = ([_map(sheet, once, n) for n, sheet in enumerate(sheets)] for once in (0, 1))
    found = sum(is_same_sheet(one, other) for one, other in zip(first, again, strict=True))
    others = list(itertools.combinations(range(len(sheets)), 2))
    taken = sum(is_same_sheet(first[one], again[other]) for one, other in others)
    return kind, len(sheets), found, len(others), taken


def _map(sheet: pages.DrawnPage, once: int, number: int) -> Reading:
    skew_deg = (0.6 * number - 1.0) * (1 - 2 * once)
    scan = scanned(
        sheet, skew_deg=skew_deg, noise_levels=4.0 + 3 * once, speckle_fraction=0.0005 * once, lid="black",
        border_mm=8.0, seed=10 * number + once,
    ).image()  # fmt: skip
    level = deskew(crop(scan, CropSettings()), DeskewSettings(max_angle_deg=20.0))
    return blank(level, BlankSettings()).readings["blank.ink_map"]
