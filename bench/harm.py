"""What preparing a page takes from it: every real scan before and after, its letters and its words.

Ink is counted by the ink ledger (`stages/ink_ledger.py`), step by step. A word is lost when recognition finds it on the
scan as it is (only stood upright) and nothing at its place on the page delivered. The worst pages are written to
`bench/out/harm-*.png`: scan, page delivered, and the difference (red was removed, blue added).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from PIL import Image

from bench import REAL_SCANS, ROOT
from bench.tables import percent, print_table
from pipeline.page_work import PrepareJob, convert_page, places_of
from pipeline.profile import Profile, load_profile
from stages.difference import before_and_after
from stages.errors import Refusal
from stages.ink_ledger import ink_taken
from stages.ocr import Settings as OcrSettings
from stages.page_file import read_page_file
from stages.page_image import TextLayer
from stages.read import is_supported, read_page
from stages.second_reading import FEW_WORDS, read_again, without_ink

OUT = ROOT / "bench" / "out"
FOLDERS = ("ocr-truth/*", "skew", "borders-holes", "binarise", "barcodes", "pdf", "formats")
PICTURES = 24
# The limits of IMAGING 3, rules 5 and 7.
MOST_INK = 0.005
MOST_WORDS = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What became of one page."""

    name: str
    readings: dict[str, object]
    words: int
    words_lost: tuple[str, ...]
    words_gone: tuple[str, ...]
    ink_lost: float
    picture: Path

    @property
    def words_lost_fraction(self) -> float:
        """Share of the sure words of the scan that have no successor."""
        return len(self.words_lost) / max(1, self.words)


def run() -> None:
    """Prepare and read every real page twice, print what was lost, write the pictures of the worst."""
    if not REAL_SCANS.is_dir():
        print(f"Skipped: the real scans are not beside the project ({REAL_SCANS}).")
        return
    profile = load_profile(ROOT / "profiles" / "records-bitonal.toml")
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("harm-*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        harms = list(_harms(profile, Path(scratch)))
        worst = sorted(harms, key=lambda harm: (-harm.words_lost_fraction, -harm.ink_lost))[:PICTURES]
        for number, harm in enumerate(worst, start=1):
            harm.picture.rename(OUT / f"harm-{number:02}-{Path(harm.name).stem}.png")
    print_table(
        ("page", "words", "lost", "", "of them without ink", "letters' ink lost", "undone"),
        [
            (h.name, h.words, percent(h.words_lost_fraction), " ".join(h.words_lost[:6]),
             len(h.words_gone), percent(h.ink_lost),
             ", ".join(map(str, undone)) if isinstance(undone := h.readings.get("ink.rolled_back"), list) else "")
            for h in worst
        ],
    )  # fmt: skip
    enough = [harm for harm in harms if harm.words >= FEW_WORDS]
    print_table(
        ("what", "n", "mean", "worst", "pages over the limit", "pages with a step undone"),
        [
            ("words lost", len(enough), percent(mean(h.words_lost_fraction for h in enough)),
             percent(max(h.words_lost_fraction for h in enough)),
             sum(h.words_lost_fraction > MOST_WORDS for h in enough), ""),
            ("words whose ink is gone", len(enough), percent(mean(len(h.words_gone) / h.words for h in enough)),
             percent(max(len(h.words_gone) / h.words for h in enough)),
             sum(len(h.words_gone) / h.words > MOST_WORDS for h in enough), ""),
            ("letters' ink lost", len(harms), percent(mean(h.ink_lost for h in harms)),
             percent(max(h.ink_lost for h in harms)), sum(h.ink_lost > MOST_INK for h in harms),
             sum("ink.rolled_back" in h.readings for h in harms)),
        ],
    )  # fmt: skip


def _harms(profile: Profile, scratch: Path) -> Iterator[Harm]:
    for number, path in enumerate(real_files()):
        try:
            scan = read_page(path, 0, profile.read)
            job = PrepareJob.by(profile, path, 0, folder=scratch, name=f"{number:03}")
            done = convert_page(job, profile, path.name)
        except Refusal as refusal:
            print(f"Held: {path.name}: {refusal}")
            continue
        delivered = read_page_file(done.image, dpi=float(str(done.readings["page.dpi"])))
        to_scan = places_of(done.readings["page.to_scan"])
        picture = scratch / f"{number:03}-picture.png"
        Image.fromarray(before_and_after(scan, delivered, to_scan).pixels).save(picture)
        assert done.text_file is not None
        found = TextLayer.from_json(done.text_file.read_bytes())
        second = read_again(scan, delivered, to_scan, found, OcrSettings(languages=("eng",)))
        lost = tuple(word.text for word in second.lost)
        gone = tuple(word.text for word in without_ink(second.lost, scan, delivered, to_scan))
        yield Harm(
            name=path.name,
            readings=dict(done.readings),
            words=len(second.sure),
            words_lost=lost,
            words_gone=gone,
            ink_lost=ink_taken(done.readings),
            picture=picture,
        )


def real_files() -> list[Path]:
    """Every real scan that Platen can read."""
    files = [path for folder in FOLDERS for path in sorted(REAL_SCANS.glob(f"{folder}/*"))]
    return [path for path in files if path.is_file() and is_supported(path) and "_gt" not in path.stem]
