"""Character error rate on real scans whose text is known: `platen convert` beside bare Tesseract on the raw scan.

The error rate of a page is edits over letters of truth. "Mean" is over pages, "pooled" is all edits over all letters.
Only pages whose text is complete and in one clear order are read (tier A of the set).
"""

from __future__ import annotations

import csv
import json
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import REAL_SCANS, ROOT, peers
from bench.measured import run as run_program
from bench.tables import percent, print_table, ratio
from bench.texts import edits, normalised

TESSERACT_NAMES = {"en": "eng", "de": "deu", "da": "dan", "fr": "fra"}
PROFILE = ROOT / "profiles" / "records-bitonal.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A real scan; `joined` says that its truth has words broken at line ends put together."""

    path: Path
    truth: str
    language: str
    joined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One scan as both programs read it."""

    scan: Scan
    platen_edits: int
    tesseract_edits: int
    note: str


def run() -> None:
    """Read every page twice, once by each program in turn, and print the error rates."""
    if not REAL_SCANS.is_dir():
        print(f"Skipped: the real scans are not beside the project ({REAL_SCANS}).")
        return
    installed = peers.tesseract_languages()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        readings = []
        for scan in real_scans():
            if scan.language not in installed:
                print(f"Left out: {scan.path.name}, Tesseract has no data for {scan.language}.")
                continue
            platen_text, note = platen_reads(scan, Path(scratch))
            readings.append(
                Reading(
                    scan=scan,
                    platen_edits=edits(scan.truth, normalised(platen_text, join_hyphens=scan.joined)),
                    tesseract_edits=edits(scan.truth, normalised(tesseract_reads(scan), join_hyphens=scan.joined)),
                    note=note,
                )
            )
    pages = []
    for reading in readings:
        letters = len(reading.scan.truth)
        rates = (reading.platen_edits / letters, reading.tesseract_edits / letters)
        pages.append((reading.scan.path.name, reading.scan.language, letters, *map(percent, rates), reading.note))
    print_table(("page", "language", "letters", "Platen", "Tesseract", "note"), pages)
    print_table(
        ("language", "n", "letters", "CER of", "Platen", "Tesseract", "Tesseract / Platen"),
        [
            row
            for language in dict.fromkeys(reading.scan.language for reading in readings)
            for row in summary(language, [reading for reading in readings if reading.scan.language == language])
        ],
    )


def summary(language: str, readings: list[Reading]) -> list[tuple[object, ...]]:
    """Mean, pooled and worst error rate of one language's pages."""
    letters = [len(reading.scan.truth) for reading in readings]
    ours = [reading.platen_edits for reading in readings]
    theirs = [reading.tesseract_edits for reading in readings]

    def rates(edited: list[int]) -> list[float]:
        return [count / of for count, of in zip(edited, letters, strict=True)]

    figures = {
        "mean": (sum(rates(ours)) / len(ours), sum(rates(theirs)) / len(theirs)),
        "pooled": (sum(ours) / sum(letters), sum(theirs) / sum(letters)),
        "worst": (max(rates(ours)), max(rates(theirs))),
    }
    return [
        (language, len(readings), sum(letters), name, percent(our), percent(their), ratio(our, their))
        for name, (our, their) in figures.items()
    ]


def real_scans() -> list[Scan]:
    """The pages of tier A, English first."""
    with (REAL_SCANS / "ocr-truth" / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tier"] == "A"]
    scans = []
    for row in sorted(rows, key=lambda row: row["lang"] != "en"):
        joined = row["truth_kind"] == "gutenberg"
        truth = (REAL_SCANS / row["truth"]).read_text(encoding="utf-8")
        scans.append(
            Scan(
                path=REAL_SCANS / row["file"],
                truth=normalised(truth, join_hyphens=joined),
                language=TESSERACT_NAMES[row["lang"]],
                joined=joined,
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


def tesseract_reads(scan: Scan) -> str:
    """What Tesseract reads on the scan as it is."""
    return run_program(["tesseract", scan.path, "-", "--psm", "3", "-l", scan.language]).stdout
