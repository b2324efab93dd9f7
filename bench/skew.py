"""Skew left after levelling, on real and drawn pages, beside Leptonica, jdeskew and what OCRmyPDF does.

Three sets: the scans of `skew/skew.csv` with the truth stated there; every real page with text, as it is and turned
by known angles of up to 20 degrees on three surrounds; and drawn pages, whose truth is exact. The skew that a real
page has of its own is the median of what Leptonica and Platen find on it and on two turned copies. Where these two
differ by more than a tenth of a degree the lines are not parallel (curled pages): those have rows of their own.

"Left" is what remains of the skew: all of it where a program declines. "Worse" are pages left more askew than they
came. OCRmyPDF turns by the angle of `tesseract --psm 2`, which is run the same way on every tenth page. Pages without
text are drawn in all kinds of `bench.textless`; "wrong" is a turn by another angle than that of straight things there.

BENCH_PAGES is the number of turned real pages (300, which takes about 5 CPU minutes in all).
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from csv import DictReader
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from bench import REAL_SCANS, peers
from bench.leptonica import DEFAULT_SWEEP_DEG, OPENED_SWEEP_DEG, leptonica_skews
from bench.real_pages import Surround, text_pages, turned
from bench.tables import percent, print_table
from bench.textless import KINDS, textless_page
from fixtures.pages import DrawnPage, form, letter, receipt, ruled_table, two_columns, typescript
from fixtures.scanner import bitonal, scanned
from stages.analysis import analysis_of
from stages.deskew import Settings, deskew
from stages.errors import SkewTooLarge
from stages.page_image import PageImage
from stages.read import Settings as ReadSettings
from stages.read import read_page
from stages.skew import skew_of

SEED = 20
MOST_DEG = 20.0
TRUTH_TURNS_DEG = (0.0, 4.3, -6.1)
TRUTH_AGREES_DEG = 0.1
OCRMYPDF_EVERY = 10
TEXTLESS_A_KIND = 10
DRAWN_PAGES = 60
NO_TURN_DEG = 0.05
WRONG_TURN_DEG = 0.3
JDESKEW_HEIGHT_PX = 2048  # at which its authors give their best figures
JDESKEW_SCRIPT = """
import json, sys, cv2
from jdeskew.estimator import get_angle
cv2.setNumThreads(1)
for file in sys.argv[2:]:
    angle = get_angle(cv2.imread(file), vertical_image_shape=int(sys.argv[1]), angle_max=20.0)
    print(json.dumps(-float(angle)), flush=True)
"""

DRAWINGS: tuple[Callable[[int], DrawnPage], ...] = (
    lambda seed: letter(seed=seed),
    lambda seed: typescript(seed=seed),
    lambda seed: two_columns(seed=seed),
    lambda seed: ruled_table(seed=seed),
    lambda seed: form(seed=seed),
    lambda seed: receipt(seed=seed),
)

# What a program makes of a page: the angle it turns by, None where it declines.
Turn = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A page on disk whose skew is known; `group` is the row of the table it belongs to."""

    file: Path
    group: str
    name: str
    truth_deg: float


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one program did to one group of pages."""

    truth_deg: list[float] = field(default_factory=list)
    turn_deg: list[Turn] = field(default_factory=list)

    def row(self, group: str, program: str) -> tuple[object, ...]:
        """One row of the table."""
        before = np.abs(self.truth_deg)
        left = np.array([abs(t - (turn or 0.0)) for t, turn in zip(self.truth_deg, self.turn_deg, strict=True)])
        did = np.array([turn is not None for turn in self.turn_deg])
        worst_turned = f"{left[did].max():.2f}" if did.any() else "-"
        mean_turned = f"{left[did].mean():.3f}" if did.any() else "-"
        return (
            *(group, program, len(left), f"{left.mean():.3f}"),
            *(percent(float((left <= limit).mean())) for limit in (0.1, 0.05)),
            *(f"{left.max():.2f}", mean_turned, worst_turned, percent(1 - float(did.mean()))),
            int((did & (left > before)).sum()),
        )


def run() -> None:
    """Print the tables: real and drawn pages beside the peers, then pages without text."""
    count = int(os.environ.get("BENCH_PAGES", "300"))
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        cases: list[Case] = []
        if REAL_SCANS.is_dir():
            cases += stated_cases(Path(scratch))
            cases += turned_cases(Path(scratch), count)
        else:
            print(f"Left out: the real scans are not beside the project ({REAL_SCANS}).")
        cases += drawn_cases(Path(scratch))
        compare(cases)
    textless()


def compare(cases: Sequence[Case]) -> None:
    """Run everybody on the same files and print a row each."""
    tallies: dict[tuple[str, str], Tally] = {}

    def note(case: Case, program: str, turn: Turn) -> None:
        tally = tallies.setdefault((case.group, program), Tally())
        tally.truth_deg.append(case.truth_deg)
        tally.turn_deg.append(turn)

    cpu_s, worst = [], []
    for case in cases:
        turn, spent_s, declined = platen_turn(loaded(case.file))
        note(case, "Platen", turn)
        cpu_s.append(spent_s)
        worst.append((abs(case.truth_deg - (turn or 0.0)), case, turn, declined))
    files = [case.file for case in cases]
    for case, found in zip(cases, leptonica_skews(files), strict=True):
        for sweep_deg, name in ((DEFAULT_SWEEP_DEG, "Leptonica"), (OPENED_SWEEP_DEG, "Leptonica, 20 degrees")):
            skew = None if found is None else found[sweep_deg]
            note(case, name, skew.angle_deg if skew is not None and skew.turns else None)
    try:
        for case, turn in zip(cases, jdeskew_turns(files), strict=True):
            note(case, "jdeskew", turn)
    except peers.NoPeer as error:
        print(f"Without jdeskew: {error}")
    if peers.tesseract_languages():
        for case in cases[::OCRMYPDF_EVERY]:
            note(case, "OCRmyPDF (every tenth)", ocrmypdf_turn(case.file))
    print_table(
        (
            *("pages", "program", "n", "left, mean", "within 0.1", "within 0.05", "worst"),
            *("turned: mean", "worst", "declined", "worse"),
        ),
        [tallies[key].row(*key) for key in sorted(tallies, key=lambda key: key[0])],
    )
    ordered = sorted(worst, key=lambda one: -one[0])[:8]
    print_table(
        ("Platen's worst", "pages", "truth", "turned by", "declined"),
        [
            (case.name, case.group, f"{case.truth_deg:+.2f}", "-" if turn is None else f"{turn:+.2f}", declined)
            for _, case, turn, declined in ordered
        ],
    )
    mean_ms, worst_ms = 1000 * float(np.mean(cpu_s)), 1000 * max(cpu_s)
    print(f"Platen's deskew after the analysis: {mean_ms:.0f} ms CPU a page, worst {worst_ms:.0f}.\n")


# ----------------------------------------------------------------------------------------------------------- the pages


def stored(page: PageImage, folder: Path, name: str) -> Path:
    """The page as a file that everybody reads; its resolution stands in it."""
    path = folder / f"{name}.png"
    per_metre = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    pixels = page.grey()
    cv2.imwrite(str(path), pixels, [*per_metre, cv2.IMWRITE_PNG_BILEVEL, int(page.is_bitonal)])
    path.with_suffix(".json").write_text(json.dumps([page.dpi, page.is_bitonal]))
    return path


def loaded(path: Path) -> PageImage:
    """The page that was stored."""
    dpi, is_bitonal = json.loads(path.with_suffix(".json").read_text())
    grey = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
    return PageImage(pixels=grey > 127 if is_bitonal else grey, dpi=dpi)


def stated_cases(folder: Path) -> Iterator[Case]:
    """The scans whose skew is stated beside them."""
    with (REAL_SCANS / "skew" / "skew.csv").open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(DictReader(file)):
            image = read_page(REAL_SCANS / row["file"], 0, ReadSettings())
            yield Case(
                file=stored(image, folder, f"stated-{number}"),
                group="stated truth",
                name=Path(row["file"]).name,
                truth_deg=float(row["angle_deg"]),
            )


def turned_cases(folder: Path, count: int) -> Iterator[Case]:
    """Every real page as it is, then turned copies of all of them in turn."""
    choose = random.Random(SEED)
    pages = list(text_pages())
    for number, page in enumerate(pages):
        own_deg, is_sure = own_skew(page.image, folder)
        kind = "" if is_sure else ", lines not parallel"
        copies = (count - number - 1) // len(pages) + 1
        for copy in range(-1, copies):
            image, angle_deg, group = page.image, own_deg, f"real, as it is{kind}"
            if copy >= 0:
                angle_deg = choose.uniform(-MOST_DEG, MOST_DEG)
                surround = list(Surround)[(copy + number) % len(Surround)]
                image = turned(page.image, angle_deg - own_deg, surround)
                group = f"real, turned{kind}"
            file = stored(image, folder, f"turned-{number}-{copy}")
            yield Case(file=file, group=group, name=page.name, truth_deg=angle_deg)


def own_skew(page: PageImage, folder: Path) -> tuple[float, bool]:
    """The skew of a real page by consensus, and whether both finders agree on it."""
    copies = [page if turn == 0.0 else turned(page, turn, Surround.PAPER) for turn in TRUTH_TURNS_DEG]
    files = [stored(copy, folder, f"truth-{number}") for number, copy in enumerate(copies)]
    ours = [skew_of(copy).angle_deg - turn for copy, turn in zip(copies, TRUTH_TURNS_DEG, strict=True)]
    theirs = [
        found[OPENED_SWEEP_DEG].angle_deg - turn
        for found, turn in zip(leptonica_skews(files), TRUTH_TURNS_DEG, strict=True)
        if found is not None
    ]
    if not theirs:
        return median(ours), False
    return median(ours + theirs), abs(median(ours) - median(theirs)) <= TRUTH_AGREES_DEG


def drawn_cases(folder: Path) -> Iterator[Case]:
    """Drawn pages scanned with the usual faults, a third of them bitonal."""
    choose = random.Random(SEED)
    for number in range(DRAWN_PAGES):
        angle_deg = choose.uniform(-MOST_DEG, MOST_DEG) if number % 2 else choose.gauss(0.0, 1.5)
        scan = scanned(
            DRAWINGS[number % len(DRAWINGS)](number),
            skew_deg=angle_deg,
            tint=225 if number % 4 else 255,
            contrast=0.8 if number % 4 else 1.0,
            blur_mm=choose.uniform(0.03, 0.09),
            noise_levels=choose.uniform(1.0, 8.0),
            speckle_fraction=choose.choice((0.0, 0.0003)),
            shading=choose.choice((0.0, 0.25)),
            lid="black" if number % 5 == 0 else "none",
            border_mm=6.0 if number % 5 == 0 else 0.0,
            seed=number,
        )
        image = PageImage(pixels=bitonal(scan.pixels), dpi=scan.dpi) if number % 3 == 0 else scan.image()
        file = stored(image, folder, f"drawn-{number}")
        yield Case(file=file, group="drawn", name=f"drawn {number}", truth_deg=angle_deg)


# -------------------------------------------------------------------------------------------------------- the programs


def platen_turn(page: PageImage) -> tuple[Turn, float, str]:
    """What the stage turns by, CPU seconds beside the shared analysis, and why it declined."""
    analysis_of(page)
    begin_s = time.process_time()
    try:
        level = deskew(page, Settings())
    except SkewTooLarge:
        return None, time.process_time() - begin_s, "held"
    spent_s = time.process_time() - begin_s
    angle = level.readings["deskew.angle_deg"]
    assert isinstance(angle, float)
    # a page found to be level is left, which is a finding and no refusal to say
    is_level = level.readings["deskew.declined"] == "level"
    turn = angle if level.readings["deskew.turned"] else 0.0 if is_level else None
    return turn, spent_s, str(level.readings["deskew.declined"] or "")


def jdeskew_turns(files: Sequence[Path]) -> Iterable[Turn]:
    """What jdeskew finds; it never declines."""
    script = [peers.python(), "-c", JDESKEW_SCRIPT, str(JDESKEW_HEIGHT_PX)]
    done = subprocess.run([*script, *map(str, files)], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def ocrmypdf_turn(file: Path) -> Turn:
    """What `ocrmypdf --deskew` turns by: the angle of Tesseract's layout analysis, in radians clockwise."""
    done = subprocess.run(
        ["tesseract", "-l", "eng", "--psm", "2", str(file), "stdout"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = re.search(r"Deskew angle: (\S+)", done.stdout)
    return None if found is None else -math.degrees(float(found[1]))


def textless() -> None:
    """How often a page without text is turned, and how often wrongly."""
    rows: list[tuple[str, int, int, int]] = []
    for kind in KINDS:
        turns, wrong = 0, 0
        for seed in range(TEXTLESS_A_KIND):
            page = textless_page(kind, seed, bitonal=seed % 2 == 1)
            turn, _, _ = platen_turn(page.image)
            if turn is not None and abs(turn) >= NO_TURN_DEG:
                turns += 1
                wrong += page.angle_deg is None or abs(turn - page.angle_deg) > WRONG_TURN_DEG
        rows.append((kind, TEXTLESS_A_KIND, turns, wrong))
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows), sum(row[3] for row in rows)))
    print_table(("without text", "n", "turned", "turned wrongly"), rows)
