"""CPU seconds, memory and size of a drawn batch of 24 pages: `platen convert` beside OCRmyPDF, plain and cleaning.

A third of the pages are clean black and white scans, a third grey JPEG, a third poor (faint, shaded, noisy, speckled,
with a black lid); all skewed by up to 3 degrees. Wall time depends on what else the machine does; CPU seconds do much
less. OCRmyPDF gets one PDF, made by img2pdf from the same files without counting that against it.
BENCH_ROUNDS runs all three in turn more than once.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import img2pdf

from bench import peers
from bench.drawn import DRAWN, KINDS, MOST_SKEW_DEG, scan_of
from bench.measured import Run
from bench.measured import run as run_program
from bench.tables import percent, print_table, ratio
from bench.texts import edits, normalised
from fixtures.batches import write_single_pages

SEED = 24
PAGES_A_KIND = 8
JOBS = "2"


def run() -> None:
    """Draw the batch, run the three in turn, print what each cost and how well each read."""
    rounds = int(os.environ.get("BENCH_ROUNDS", "1"))
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        truths = drawn_batch(folder / "batch")
        files = sorted((folder / "batch").iterdir())
        (folder / "batch.pdf").write_bytes(img2pdf.convert(files))
        commands: dict[str, list[str | Path]] = {
            "Platen": [
                *(peers.platen(), "convert", folder / "batch", folder / "Platen.pdf"),
                *("--jobs", JOBS, "--text", folder / "Platen.txt", "--json"),
            ]
        }
        try:
            print(f"{peers.versions()}. {len(truths)} pages, {JOBS} jobs, {rounds} round(s) in turn.\n")
            for name, options in {
                "OCRmyPDF": [],
                "OCRmyPDF, cleaning": ["--deskew", "--clean", "--rotate-pages"],
            }.items():
                commands[name] = [
                    *(peers.ocrmypdf(), *options, "--output-type", "pdfa", "--jobs", JOBS, "--quiet"),
                    *("--sidecar", folder / f"{name}.txt", folder / "batch.pdf", folder / f"{name}.pdf"),
                ]
        except peers.NoPeer as error:
            print(f"Without the peer: {error}\n")
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                runs[name].append(run_program(command))
        print_costs(runs, folder, pages=len(truths))
        print_platen_split(runs["Platen"][0])
        print_errors({name: pages_of(folder / f"{name}.txt") for name in commands}, truths)


def drawn_batch(folder: Path) -> list[tuple[str, str]]:
    """Write the pages; gives kind and printed text of each, in the order of their files."""
    choose = random.Random(SEED)
    truths: list[tuple[str, str]] = []
    for kind, file_kind in KINDS.items():
        for draw in DRAWN:
            page = scan_of(draw(len(truths)), kind, skew_deg=choose.uniform(-MOST_SKEW_DEG, MOST_SKEW_DEG))
            write_single_pages(folder, [page], kind=file_kind, first_number=len(truths) + 1)
            truths.append((kind, page.text))
    return truths


def print_costs(runs: dict[str, list[Run]], folder: Path, *, pages: int) -> None:
    """One row a program; ratios are of the mean CPU seconds."""
    rows = []
    ours = mean(run.cpu_s for run in runs["Platen"])
    for name, done in runs.items():
        out = folder / f"{name}.pdf"
        size_kib = (
            f"{out.stat().st_size / 1024 / pages:.0f}" if out.exists() else f"none, ended with {done[0].exit_code}"
        )
        cpu_s = [run.cpu_s for run in done]
        rows.append(
            (
                name,
                len(done),
                f"{mean(cpu_s) / pages:.2f}",
                f"{max(cpu_s) / pages:.2f}",
                ratio(ours, mean(cpu_s)),
                f"{mean(run.wall_s for run in done) / pages:.2f}",
                f"{max(run.largest_mib for run in done):.0f}",
                f"{max(run.tree_mib for run in done):.0f}",
                size_kib,
            )
        )
    print_table(
        (
            "program", "rounds", "CPU s a page, mean", "worst", "ratio", "wall s a page", "largest process MiB",
            "all processes MiB", "output KiB a page",
        ),
        rows,
    )  # fmt: skip


def print_platen_split(run: Run) -> None:
    """Where Platen's time goes, in wall seconds inside its worker processes."""
    answer = json.loads(run.stdout)
    for held in answer["held"]:
        print(f"Held: {held['file']}: {held['sentence']}")
    rows = []
    for part in ("prepare", "recognize"):
        seconds = [page["seconds"][part] for page in answer["pages"]]
        rows.append((part, len(seconds), f"{mean(seconds):.2f}", f"{max(seconds):.2f}"))
    print_table(("Platen's part", "n", "wall s a page, mean", "worst"), rows)


def print_errors(read: dict[str, list[str]], truths: Sequence[tuple[str, str]]) -> None:
    """Character error rates by kind of page; a program that gave another number of pages is not compared."""
    rows = []
    for kind in (*KINDS, "all"):
        chosen = [i for i, (its_kind, _) in enumerate(truths) if kind in (its_kind, "all")]
        for name, texts in read.items():
            if len(texts) != len(truths):
                rows.append((kind, name, len(texts), "pages differ", "", ""))
                continue
            counts = [(edits(normalised(truths[i][1]), normalised(texts[i])), len(truths[i][1])) for i in chosen]
            rates = [edited / letters for edited, letters in counts]
            pooled = sum(edited for edited, _ in counts) / sum(letters for _, letters in counts)
            rows.append((kind, name, len(counts), percent(mean(rates)), percent(pooled), percent(max(rates))))
    print_table(("pages", "program", "n", "CER, mean", "pooled", "worst"), rows)


def pages_of(text: Path) -> list[str]:
    """The text page by page; pages are parted by form feeds."""
    if not text.exists():
        return []
    return text.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\f").split("\f")
