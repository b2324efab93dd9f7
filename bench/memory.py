"""What a page takes at its peak: resident memory and address space of the process that works on it, by its pixels.

The byte budget (`pipeline/budget.py`) reckons with these figures. Each page is worked on by a process of its own.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bench.large import DPI, light_scan
from bench.measured import memory_mib, tree
from bench.tables import print_table
from pipeline.page_work import Prepared, PrepareJob, RecognizeJob, prepare_file, recognize_file
from pipeline.profile import load_profile
from pipeline.sandbox import Sandbox
from stages.errors import Refusal

PROFILES = Path("profiles")
LIMIT_MB = 20_000
SAMPLE_S = 0.02
BASE_MIB = 150  # interpreter and libraries, with no page
TIMEOUT_S = 3600.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page to measure: its pixels and its kind ("1" bitonal, "L" grey, "RGB" colour)."""

    name: str
    width_px: int
    height_px: int
    dpi: int
    mode: str


SHEETS = (
    Sheet("letter, 300 dpi, G4", 2550, 3300, 300, "1"),
    Sheet("letter, 300 dpi, grey", 2550, 3300, 300, "L"),
    Sheet("letter, 300 dpi, colour", 2550, 3300, 300, "RGB"),
    Sheet("A3, 600 dpi, colour", 7016, 9921, 600, "RGB"),
    Sheet("A0, 600 dpi, G4", 19_866, 28_087, 600, "1"),
    Sheet("A0, 600 dpi, colour", 19_866, 28_087, 600, "RGB"),
)


def run(sheets: tuple[Sheet, ...] = SHEETS) -> None:
    """Work on each page by two profiles, print what it took."""
    rows = []
    for sheet in sheets:
        pixels = sheet.width_px * sheet.height_px
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            file = Path(scratch) / "scan.tif"
            _measured(write_sheet, sheet, file)
            for name in ("records-bitonal", "records-colour"):
                profile = load_profile(PROFILES / f"{name}.toml")
                profile = replace(profile, read=profile.read.model_copy(update={"max_megapixels": 2000.0}))
                folder = Path(scratch) / name
                folder.mkdir()
                steps = [("prepare", _measured(prepare_file, PrepareJob.by(profile, file, 0, folder=folder)))]
                prepared = steps[0][1].answer
                if isinstance(prepared, Prepared):
                    job = RecognizeJob.by(profile, file, 0, prepared.file, prepared.readings)
                    steps.append(("read", _measured(recognize_file, job)))
                for what, taken in steps:
                    rows.append(
                        (
                            sheet.name, name, what, f"{taken.seconds:.1f}", f"{taken.resident_mib:.0f}",
                            f"{taken.space_mib:.0f}", f"{(taken.resident_mib - BASE_MIB) * MIB / pixels:.1f}",
                            f"{taken.space_mib * MIB / pixels:.1f}", taken.outcome,
                        )
                    )  # fmt: skip
    print_table(
        ("page", "profile", "step", "s", "resident MiB", "address space MiB", "bytes a pixel",
         "address space a pixel", "outcome"),
        rows,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a call took: `resident_mib` of the child and what it started (Tesseract), `space_mib` of the child."""

    answer: object
    outcome: str
    seconds: float
    resident_mib: float
    space_mib: float


def _measured(function: Callable[..., object], *args: object) -> Taken:
    """Call in a fresh child, its memory sampled from outside."""
    sandbox = Sandbox(memory_limit_mb=LIMIT_MB, timeout_s=TIMEOUT_S)
    over = threading.Event()
    peaks = [0.0, 0.0]

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            below = [pid for pid in tree(os.getpid()) if pid != os.getpid()]
            peaks[0] = max(peaks[0], sum(memory_mib(pid, "smaps_rollup", "Pss:") for pid in below))
            peaks[1] = max([peaks[1], *(memory_mib(pid, "status", "VmPeak:") for pid in below)])

    sampler = threading.Thread(target=sample)
    sampler.start()
    begin = time.perf_counter()
    answer, outcome = None, "done"
    try:
        answer = sandbox.call("Measuring", function, *args)
    except (Refusal, MemoryError) as error:
        outcome = getattr(error, "code", "no memory")
    finally:
        seconds = time.perf_counter() - begin
        over.set()
        sampler.join()
        sandbox.close()
    return Taken(answer=answer, outcome=outcome, seconds=seconds, resident_mib=peaks[0], space_mib=peaks[1])


def write_sheet(sheet: Sheet, file: Path) -> None:
    """A page of that size: a letter's text at its scale, repeated over the sheet."""
    letter = light_scan(1).pixels
    scale = sheet.dpi / DPI
    letter = cv2.resize(letter, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    across, down = -(-sheet.width_px // letter.shape[1]), -(-sheet.height_px // letter.shape[0])
    pixels = np.tile(letter, (down, across))[: sheet.height_px, : sheet.width_px]
    if sheet.mode == "RGB":
        pixels = np.dstack([pixels, pixels, pixels // 8 * 7])
    image = Image.fromarray(pixels)
    if sheet.mode == "1":
        image = image.point(lambda level: 255 * (level > 128)).convert("1")
    image.save(file, compression="group4" if sheet.mode == "1" else "tiff_lzw", dpi=(sheet.dpi, sheet.dpi))
