"""Unusual files, each through `platen convert` and through OCRmyPDF: what comes out, what is held, what fails.

A page that came out is compared with the file as Pillow opens it: "right" says that all pages are there and look alike
on a coarse grid, so that none is black, inverted, mirrored or on its side; "look" says that a person should look.
Three contact sheets are written to bench/out/ for that: the files as Pillow opens them, and what each program made.
Detail lost within a page that is otherwise alike shows on the sheets only.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pypdfium2
from PIL import Image, ImageDraw, ImageFont, ImageOps, ImageSequence, UnidentifiedImageError

from bench import OUT, REAL_SCANS, peers
from bench.measured import run as run_program
from bench.tables import print_table

Grey = npt.NDArray[np.uint8]

IMAGE_DPI = "300"  # what OCRmyPDF is to take for files that state none; Platen's profile says the same
GRID = 32
ALIKE = 0.5  # correlation; of this set, cut pages had at most 0.00, and a good one that was levelled still 0.64
FLAT_LEVELS = 3.0  # spread of a page that shows nothing, so that nothing can be compared
FLAT_APART_LEVELS = 128.0  # two such pages further apart are one black, one white
CELL_PX = (330, 300)
CELLS_A_ROW = 5
MOST_PAGES_SHOWN = 3
COUNTED = ("right", "look", "held", "failed")
RENDER_PX = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a program made of a file."""

    word: str
    sentence: str = ""
    pages: tuple[Grey, ...] = ()


def run() -> None:
    """Convert every file by both programs, print the table and write the contact sheets."""
    folder = REAL_SCANS / "formats"
    if not folder.is_dir():
        print(f"Skipped: the real scans are not beside the project ({folder}).")
        return
    programs: dict[str, Callable[[Path, Path], Outcome]] = {"Platen": by_platen}
    try:
        print(f"{peers.versions()}.\n")
        programs["OCRmyPDF"] = by_ocrmypdf
    except peers.NoPeer as error:
        print(f"Without the peer: {error}\n")
    files = sorted(folder.iterdir())
    sources = {file.name: Outcome(word="", pages=source_pages(file)) for file in files}
    outcomes: dict[str, dict[str, Outcome]] = {name: {} for name in programs}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for file in files:
            for name, convert in programs.items():
                made = convert(file, Path(scratch))
                outcomes[name][file.name] = judged(made, sources[file.name].pages)
    OUT.mkdir(exist_ok=True)
    for name, of_file in {"source": sources, **outcomes}.items():
        contact_sheet(of_file).save(OUT / f"formats-{name.lower()}.png")
    print_table(
        ("file", *programs),
        [(file.name, *(words(outcomes[name][file.name]) for name in programs)) for file in files],
    )
    print_table(
        ("program", "n", "right", "look", "held", "failed"),
        [
            (name, len(files), *(sum(made.word == word for made in of_file.values()) for word in COUNTED))
            for name, of_file in outcomes.items()
        ],
    )
    print(f"Contact sheets: {OUT}/formats-*.png")


def words(outcome: Outcome) -> str:
    """The outcome in words."""
    return f"{outcome.word}: {outcome.sentence}" if outcome.sentence else outcome.word


def by_platen(file: Path, scratch: Path) -> Outcome:
    """The file through `platen convert`."""
    out = scratch / "platen.pdf"
    out.unlink(missing_ok=True)
    done = run_program([peers.platen(), "convert", file, out, "--json"])
    if not done.stdout:
        return Outcome(word="failed", sentence=last_line(done.stderr))
    held = json.loads(done.stdout)["held"]
    if held:
        return Outcome(word="held", sentence=held[0]["sentence"])
    return Outcome(word="converted", pages=pdf_pages(out))


def by_ocrmypdf(file: Path, scratch: Path) -> Outcome:
    """The file through OCRmyPDF; if it fails, once more with a resolution told, as it asks for where none is stated.

    Told always, the resolution would be put in the place of what the file states.
    """
    out = scratch / "ocrmypdf.pdf"
    out.unlink(missing_ok=True)
    command = [peers.ocrmypdf(), "--quiet", "--output-type", "pdfa", "--jobs", "1"]
    done = run_program([*command, file, out])
    if not out.exists():
        done = run_program([*command, "--image-dpi", IMAGE_DPI, file, out])
    if not out.exists():
        return Outcome(word="failed", sentence=f"exit {done.exit_code}: {last_line(done.stderr)}")
    return Outcome(word="converted", pages=pdf_pages(out))


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def judged(made: Outcome, sources: tuple[Grey, ...]) -> Outcome:
    """A converted file compared with its source."""
    if made.word != "converted":
        return made
    if not sources:
        return Outcome(word="look", sentence="Pillow cannot open the file, nothing to compare with", pages=made.pages)
    if len(made.pages) != len(sources):
        return Outcome(word="look", sentence=f"{len(made.pages)} pages of {len(sources)}", pages=made.pages)
    alike = min(likeness(page, source) for page, source in zip(made.pages, sources, strict=True))
    return Outcome(word="right" if alike >= ALIKE else "look", sentence=f"likeness {alike:.2f}", pages=made.pages)


def likeness(page: Grey, source: Grey) -> float:
    """Correlation of the two on a coarse grid, -1 to 1; two pages that show nothing are alike."""
    grids = [
        cv2.resize(image, (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float64) for image in (page, source)
    ]
    spreads = [float(grid.std()) for grid in grids]
    if min(spreads) < FLAT_LEVELS:
        return 1.0 if max(spreads) < FLAT_LEVELS and abs(grids[0].mean() - grids[1].mean()) < FLAT_APART_LEVELS else 0.0
    return float(np.corrcoef(grids[0].ravel(), grids[1].ravel())[0, 1])


def source_pages(file: Path) -> tuple[Grey, ...]:
    """The pages as Pillow opens them, stood upright by the file's own orientation; none if it cannot."""
    try:
        with Image.open(file) as image:
            return tuple(
                np.asarray(ImageOps.exif_transpose(frame).convert("L")) for frame in ImageSequence.Iterator(image)
            )
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, ZeroDivisionError):
        return ()


def pdf_pages(file: Path) -> tuple[Grey, ...]:
    """The pages as they look."""
    with pypdfium2.PdfDocument(file) as document:
        return tuple(
            np.asarray(page.render(scale=RENDER_PX / max(page.get_size()), grayscale=True).to_pil().convert("L"))
            for page in document
        )


def contact_sheet(outcomes: dict[str, Outcome]) -> Image.Image:
    """One cell a file: its first pages, its name, and what became of it."""
    width, height = CELL_PX
    sheet = Image.new("L", (width * CELLS_A_ROW, height * -(-len(outcomes) // CELLS_A_ROW)), 225)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, (name, outcome) in enumerate(outcomes.items()):
        left, top = number % CELLS_A_ROW * width, number // CELLS_A_ROW * height
        shown = outcome.pages[:MOST_PAGES_SHOWN]
        for index, page in enumerate(shown):
            image = Image.fromarray(page)
            image.thumbnail((width // len(shown) - 6, height - 50), Image.Resampling.LANCZOS)
            sheet.paste(image, (left + 3 + index * width // len(shown), top + 42))
        draw.text((left + 4, top + 4), name[:46], font=font, fill=0)
        draw.text((left + 4, top + 22), f"{len(outcome.pages)} p. {words(outcome)}"[:50], font=font, fill=90)
        draw.rectangle((left, top, left + width - 1, top + height - 1), outline=160)
    return sheet
