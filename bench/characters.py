"""Character error rate on scans whose text is known: `platen convert` beside its peers, one Tesseract for all.

The peers are Tesseract on the raw scan, Tesseract after unpaper, and OCRmyPDF with --deskew and --clean. The error rate
of a page is edits over letters of truth. "Mean" is over pages, "pooled" is all edits over all letters. Of the real
scans only pages whose text is complete and in one clear order are read (tier A of the set). BENCH_PAGES is how many
pages of each drawn set are read (24 of each kind unless it is given).
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from bench import REAL_SCANS, ROOT, peers
from bench.drawn import DRAWN, KINDS, MOST_SKEW_DEG, scan_of
from bench.measured import run as run_program
from bench.tables import percent, print_table
from bench.texts import edits, normalised
from fixtures.batches import write_single_pages

TESSERACT_NAMES = {"en": "eng", "de": "deu", "da": "dan", "fr": "fra"}
PROFILE = ROOT / "profiles" / "records-bitonal.toml"
SEED = 1000  # pages that no other bench and no test draws
DRAWN_PAGES = 24
DPI_WHEN_MISSING = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A scan with its truth; `joined` says that words broken at line ends are put together there."""

    path: Path
    truth: str
    language: str
    of: str
    joined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One scan as the programs read it: edits by program."""

    scan: Scan
    edits: Mapping[str, int]
    note: str


def run() -> None:
    """Read every page by each program in turn and print the error rates."""
    readers = {name: reader for name, reader in READERS.items() if _is_there(name)}
    installed = peers.tesseract_languages()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        scans = drawn_scans(Path(scratch) / "drawn", int(os.environ.get("BENCH_PAGES", str(DRAWN_PAGES))))
        if REAL_SCANS.is_dir():
            scans = real_scans() + scans
        else:
            print(f"Without the real scans: they are not beside the project ({REAL_SCANS}).\n")
        readings = []
        for scan in scans:
            if scan.language not in installed:
                print(f"Left out: {scan.path.name}, Tesseract has no data for {scan.language}.")
                continue
            texts = {name: reader(scan, Path(scratch)) for name, reader in readers.items()}
            readings.append(
                Reading(
                    scan=scan,
                    edits={
                        name: edits(scan.truth, normalised(text, join_hyphens=scan.joined))
                        for name, (text, _) in texts.items()
                    },
                    note="; ".join(f"{name} {note}" for name, (_, note) in texts.items() if note),
                )
            )
    print_table(
        ("page", "set", "letters", *readers, "note"),
        [
            (r.scan.path.name, r.scan.of, len(r.scan.truth),
             *(percent(r.edits[name] / len(r.scan.truth)) for name in readers), r.note)
            for r in readings
        ],
    )  # fmt: skip
    print_table(
        ("set", "n", "letters", "CER of", *readers),
        [
            row
            for of in dict.fromkeys(reading.scan.of for reading in readings)
            for row in _summary(of, [reading for reading in readings if reading.scan.of == of], list(readers))
        ],
    )


def _summary(of: str, readings: list[Reading], readers: list[str]) -> list[tuple[object, ...]]:
    """Mean, pooled and worst error rate of one set of pages by each program."""
    letters = [len(reading.scan.truth) for reading in readings]
    rows: dict[str, list[str]] = {"mean": [], "pooled": [], "worst": []}
    for name in readers:
        counts = [reading.edits[name] for reading in readings]
        rates = [count / of_page for count, of_page in zip(counts, letters, strict=True)]
        rows["mean"].append(percent(sum(rates) / len(rates)))
        rows["pooled"].append(percent(sum(counts) / sum(letters)))
        rows["worst"].append(percent(max(rates)))
    return [(of, len(readings), sum(letters), figure, *cells) for figure, cells in rows.items()]


def real_scans() -> list[Scan]:
    """The pages of tier A, English first."""
    with (REAL_SCANS / "ocr-truth" / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tier"] == "A"]
    scans = []
    for row in sorted(rows, key=lambda row: row["lang"] != "en"):
        joined = row["truth_kind"] == "gutenberg"
        truth = (REAL_SCANS / row["truth"]).read_text(encoding="utf-8")
        language = TESSERACT_NAMES[row["lang"]]
        scans.append(
            Scan(
                path=REAL_SCANS / row["file"],
                truth=normalised(truth, join_hyphens=joined),
                language=language,
                of=f"real, {language}",
                joined=joined,
            )
        )
    return scans


def drawn_scans(folder: Path, pages: int) -> list[Scan]:
    """So many pages of each kind: clean black and white, grey, and poor; all askew."""
    choose = random.Random(SEED)
    scans: list[Scan] = []
    for kind, file_kind in KINDS.items():
        for number in range(pages):
            drawn = DRAWN[number % len(DRAWN)](SEED + len(scans))
            page = scan_of(drawn, kind, skew_deg=choose.uniform(-MOST_SKEW_DEG, MOST_SKEW_DEG))
            (truth,) = write_single_pages(folder, [page], kind=file_kind, first_number=len(scans) + 1)
            scans.append(
                Scan(
                    path=folder / truth.file,
                    truth=normalised(page.text),
                    language="eng",
                    of=f"drawn, {kind}",
                    joined=False,
                )
            )
    return scans


def platen_reads(scan: Scan, scratch: Path) -> tuple[str, str]:
    """What `platen convert` reads, and what it says if it holds the page."""
    text = scratch / "text.txt"
    text.write_text("")
    profile = profile_for(scan.language, scratch)
    done = run_program(
        [peers.platen(), "convert", scan.path, scratch / "out.pdf", "--profile", profile, "--text", text, "--json"]
    )
    if not done.stdout:
        return "", f"failed: {done.stderr.strip().splitlines()[-1]}"
    answer: dict[str, Any] = json.loads(done.stdout)
    held = "; ".join(f"held: {page['sentence']}" for page in answer["held"])
    return text.read_text(encoding="utf-8"), held


def profile_for(language: str, scratch: Path) -> Path:
    """The default profile, reading another language where the scan is in one."""
    text = PROFILE.read_text(encoding="utf-8")
    asked = 'languages = ["eng"]'
    if language == "eng":
        return PROFILE
    assert text.count(asked) == 1, f"{PROFILE.name} must name its languages once"
    path = scratch / f"bench-{language}.toml"
    name = str(tomllib.loads(text)["name"])
    text = text.replace(asked, f'languages = ["{language}"]').replace(f'name = "{name}"', f'name = "{path.stem}"', 1)
    path.write_text(text, encoding="utf-8")
    return path


def tesseract_reads(scan: Scan, scratch: Path) -> tuple[str, str]:
    """What Tesseract reads on the scan as it is."""
    del scratch
    return run_program(["tesseract", scan.path, "-", "--psm", "3", "-l", scan.language]).stdout, ""


def unpaper_reads(scan: Scan, scratch: Path) -> tuple[str, str]:
    """What Tesseract reads on the scan after unpaper with its own settings."""
    before, after = scratch / "before.pnm", scratch / "after.pnm"
    with Image.open(scan.path) as image:
        dpi = round(image.info.get("dpi", (0, 0))[0]) or DPI_WHEN_MISSING
        image.convert("RGB" if image.mode not in ("1", "L") else image.mode).save(before, format="ppm")
    done = run_program([peers.unpaper(), "--overwrite", "--dpi", str(dpi), before, after])
    if done.exit_code:
        return "", f"failed: {done.stderr.strip().splitlines()[-1]}"
    read = run_program(["tesseract", after, "-", "--psm", "3", "--dpi", str(dpi), "-l", scan.language])
    return read.stdout, ""


def ocrmypdf_reads(scan: Scan, scratch: Path) -> tuple[str, str]:
    """What OCRmyPDF reads after its own deskewing and cleaning."""
    text = scratch / "sidecar.txt"
    text.write_text("")
    done = run_program(
        [peers.ocrmypdf(), "--deskew", "--clean", "--image-dpi", str(DPI_WHEN_MISSING), "--quiet", "-l", scan.language,
         "--output-type", "pdf", "--sidecar", text, scan.path, scratch / "out.pdf"]
    )  # fmt: skip
    return text.read_text(encoding="utf-8"), f"ended with {done.exit_code}" if done.exit_code else ""


READERS: Mapping[str, Callable[[Scan, Path], tuple[str, str]]] = {
    "Platen": platen_reads,
    "Tesseract": tesseract_reads,
    "unpaper": unpaper_reads,
    "OCRmyPDF": ocrmypdf_reads,
}


def _is_there(name: str) -> bool:
    try:
        {"unpaper": peers.unpaper, "OCRmyPDF": peers.ocrmypdf}.get(name, peers.platen)()
    except (peers.NoPeer, subprocess.CalledProcessError) as error:
        print(f"Without {name}: {error}")
        return False
    return True
