"""Large files: 500 pages in one TIFF and in one scanned PDF beside 50 pages of the same, to show that memory stays.

The pages are light (a few lines each), so that reading them takes little of the time. Five distinct pages repeat.
OCRmyPDF is run beside on the PDF of 50 pages.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import img2pdf

from bench import peers
from bench.measured import Run
from bench.measured import run as run_program
from bench.tables import print_table
from fixtures.batches import write_multipage_tiff, write_single_pages
from fixtures.pages import MARGIN_MM, DrawnPage
from fixtures.paper import Paper
from fixtures.prose import Prose
from fixtures.scanner import ScannedPage, scanned
from fixtures.typefaces import Face
from stages.sheets import LETTER_MM

PAGES = (50, 500)
DISTINCT = 5
DPI = 300.0
JOBS = "2"


def run() -> None:
    """Write the files, convert them, print what each run cost."""
    scans = [light_scan(seed) for seed in range(DISTINCT)]
    runs: list[tuple[str, str, int, Run, str]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        write_single_pages(folder / "pages", scans, kind="jpeg")
        kinds: dict[str, Callable[[Path, int], None]] = {
            "TIFF, G4": lambda path, pages: tiff_of(path, scans, pages),
            "PDF, grey JPEG": lambda path, pages: pdf_of(path, folder / "pages", pages),
        }
        for kind, write in kinds.items():
            for pages in PAGES:
                file, out = folder / f"{pages}.{kind[:3].lower()}", folder / "out.pdf"
                write(file, pages)
                ours = run_program([peers.platen(), "convert", file, out, "--jobs", JOBS, "--json"])
                runs.append(("Platen", kind, pages, ours, outcome(ours)))
                if kind.startswith("PDF") and pages == PAGES[0]:
                    runs += by_ocrmypdf(file, folder / "peer.pdf", kind, pages)
                file.unlink()
    print_table(
        (
            "program", "file", "pages", "CPU s", "CPU s a page", "wall s", "largest process MiB", "all processes MiB",
            "outcome",
        ),
        [
            (
                program, kind, pages, f"{run.cpu_s:.0f}", f"{run.cpu_s / pages:.2f}", f"{run.wall_s:.0f}",
                f"{run.largest_mib:.0f}", f"{run.tree_mib:.0f}", result,
            )
            for program, kind, pages, run, result in runs
        ],
    )  # fmt: skip
    print_table(
        ("program", "file", "pages", "process", "largest MiB"),
        [
            (program, kind, pages, process, f"{mib:.0f}")
            for program, kind, pages, run, _ in runs
            for process, mib in sorted(run.peak_mib.items())
        ],
    )


def by_ocrmypdf(file: Path, out: Path, kind: str, pages: int) -> list[tuple[str, str, int, Run, str]]:
    """The peer's run, if the peer is there."""
    try:
        command: list[str | Path] = [peers.ocrmypdf(), "--quiet", "--output-type", "pdfa", "--jobs", JOBS, file, out]
    except peers.NoPeer as error:
        print(f"Without the peer: {error}\n")
        return []
    theirs = run_program(command)
    return [("OCRmyPDF", kind, pages, theirs, "done" if out.exists() else f"ended with {theirs.exit_code}")]


def outcome(run: Run) -> str:
    """Whether Platen converted all pages."""
    if not run.stdout:
        return f"failed: {run.stderr.strip().splitlines()[-1]}"
    answer = json.loads(run.stdout)
    held = answer["held"]
    return f"{len(held)} held: {held[0]['sentence']}" if held else f"{len(answer['pages'])} pages"


def light_scan(seed: int) -> ScannedPage:
    """A short note on a letter sheet, a little skewed."""
    prose, sheet = Prose(seed), Paper(DPI, LETTER_MM)
    y = sheet.block(MARGIN_MM, 30, [prose.date(), prose.person()], Face.SERIF, 12)
    sheet.paragraph(MARGIN_MM, y + 8, LETTER_MM[0] - 2 * MARGIN_MM, prose.paragraph(2), Face.SERIF, 12)
    page = DrawnPage(pixels=sheet.pixels(), dpi=DPI, lines=sheet.lines())
    return scanned(page, skew_deg=0.4 * (seed - DISTINCT // 2), blur_mm=0.05, noise_levels=2.0, tint=248, seed=seed)


def tiff_of(path: Path, scans: list[ScannedPage], pages: int) -> None:
    """One TIFF of so many pages."""
    write_multipage_tiff(path, islice(cycle(scans), pages), compression="g4")


def pdf_of(path: Path, folder: Path, pages: int) -> None:
    """One scanned PDF of so many pages."""
    files = [str(file) for file in islice(cycle(sorted(folder.iterdir())), pages)]
    with path.open("wb") as out:
        img2pdf.convert(files, outputstream=out, engine=img2pdf.Engine.internal)
