"""CPU seconds of preparing one page, stage by stage, on one core: Platen beside unpaper on the same pages.

Drawn letter pages at 300 dpi, grey and black and white, and the real scans of tier A. The best of three runs counts,
as other work on the machine only ever adds. unpaper is run with its own settings on the page as an uncompressed file,
its start counted; Platen's figures are inside a process that is warm and has the environment of its workers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TypeVar

import cv2
from PIL import Image

from bench import REAL_SCANS, ROOT, peers
from bench.characters import Scan, drawn_scans, real_scans
from bench.measured import run as run_program
from bench.tables import print_table, ratio
from pipeline import sandbox
from pipeline.profile import Profile, load_profile
from stages.ink_ledger import settled
from stages.page_file import write_page_file
from stages.page_image import PageImage
from stages.read import read_page

T = TypeVar("T")

ROUNDS = 3
PAGES = 6
WHOLE = "all of prepare"
UNPAPER = "unpaper"


def run() -> None:
    """Prepare every page and print what each stage cost."""
    if not sandbox.ENVIRONMENT.items() <= os.environ.items():
        # libraries read it when they are loaded
        again = [sys.executable, "-m", "bench", "prepare"]
        subprocess.run(again, cwd=ROOT, env={**os.environ, **sandbox.ENVIRONMENT}, check=True)
        return
    cv2.setNumThreads(1)
    profile = load_profile(ROOT / "profiles" / "records-bitonal.toml")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        scans = drawn_scans(folder / "drawn", PAGES)
        if REAL_SCANS.is_dir():
            scans = real_scans() + scans
        costs: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for scan in scans:
            of = "real" if scan.of.startswith("real") else scan.of
            rounds = [_prepared(scan, profile, folder) for _ in range(ROUNDS)]
            for name in rounds[0]:
                costs[of][name].append(min(cost[name] for cost in rounds))
            costs[of][UNPAPER].append(_unpapered(scan, folder))
    rows: list[tuple[object, ...]] = []
    for of, by_name in costs.items():
        for name, cpu_s in by_name.items():
            rows.append((of, name, len(cpu_s), f"{mean(cpu_s):.3f}", f"{max(cpu_s):.3f}"))
        rows.append((of, "unpaper / Platen", "", ratio(mean(by_name[WHOLE]), mean(by_name[UNPAPER])), ""))
    print_table(("pages", "what", "n", "CPU s a page, mean", "worst"), rows)


def _prepared(scan: Scan, profile: Profile, folder: Path) -> dict[str, float]:
    """CPU seconds of every part of preparing the page."""
    costs: dict[str, float] = {}

    def timed(name: str, do: Callable[[], T]) -> T:
        begin = time.process_time()
        done = do()
        costs[name] = costs.get(name, 0.0) + time.process_time() - begin
        return done

    page: PageImage = timed("read", lambda: read_page(scan.path, 0, profile.read))
    for call in profile.page:
        after = timed(call.name, partial(call.stage.run, page, call.settings))
        page = timed("ink ledger", partial(settled, page, after, call.name))
    timed("write", lambda: write_page_file(page, folder, "prepared"))
    costs[WHOLE] = sum(costs.values())
    return costs


def _unpapered(scan: Scan, folder: Path) -> float:
    before, after = folder / "before.pnm", folder / "after.pnm"
    with Image.open(scan.path) as image:
        image.convert("RGB" if image.mode not in ("1", "L") else image.mode).save(before, format="ppm")
    return run_program([peers.unpaper(), "--overwrite", before, after]).cpu_s
