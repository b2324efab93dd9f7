"""Form colours taken out before recognition: how much of the form is left, and how much of the writing stays.

    python -m bench dropout            about 1 CPU minute; BENCH_PAGES forms of each colour and ink (default 1)

Forms are drawn in one colour and filled in another, on tinted paper, then scanned with blur and noise. "Left" is the
share of the form's ink that is still 30 levels darker than the paper, "kept" the share of the writing that has at least
half its contrast. The peer is what scanners do in their electronics: the one colour channel, without more. On a form
filled in in its own colour nothing may be lost unnoticed: such a page must be declined, or its writing reported.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from bench import REAL_SCANS
from bench.drawn_forms import Form, boxed
from bench.tables import percent, print_table
from fixtures.pages import DrawnPage
from fixtures.scanner import scanned
from stages.dropout import Settings, dropout
from stages.errors import Refusal
from stages.page_image import PageImage
from stages.read import Settings as ReadSettings
from stages.read import read_page

Grey = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

PAGES = int(os.environ.get("BENCH_PAGES", "1"))
PAPER: Colour = (246, 241, 230)
FORMS: tuple[tuple[str, Colour], ...] = (
    ("red", (215, 60, 60)),
    ("red", (235, 130, 120)),
    ("green", (60, 160, 90)),
    ("blue", (80, 120, 215)),
)
INKS: dict[str, Colour] = {
    "black": (35, 35, 38),
    "dark blue": (30, 45, 120),
    "pencil": (120, 120, 122),
    "red pen": (190, 40, 45),
}
CHANNELS = {"red": 0, "green": 1, "blue": 2}
DARKER_LEVELS = 30
INK_LEVEL = 100
NEAR_PX = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One form; shares of ink after ours and after the plain channel."""

    left: float
    kept: float
    channel_left: float
    channel_kept: float
    answer: str
    spent_s: float


def run() -> None:
    """Print a row for each colour of form and ink, then what `auto` makes of the real scans in colour."""
    rows = []
    for hue, form_colour in FORMS:
        for ink, ink_colour in INKS.items():
            outcomes = [_outcome(boxed(seed), hue, form_colour, ink_colour) for seed in range(3, 3 + PAGES)]
            done = [outcome for outcome in outcomes if not outcome.answer.startswith("declined")]
            shares: list[str] = []
            for name in ("left", "channel_left", "kept", "channel_kept"):
                values = [float(getattr(outcome, name)) for outcome in done]
                worst = max(values, default=0.0) if "left" in name else min(values, default=0.0)
                shares.append(f"{percent(float(np.mean(values)))}, {percent(worst)}" if values else "-")
            spent_ms = 1000 * float(np.mean([outcome.spent_s for outcome in outcomes]))
            answers = "; ".join(sorted({outcome.answer for outcome in outcomes}))
            rows.append((f"{hue} {form_colour}, {ink}", len(outcomes), answers, *shares, f"{spent_ms:.0f}"))
    print_table(
        ("form, ink", "n", "answer", "left mean, worst", "channel", "kept mean, worst", "channel", "CPU ms"), rows
    )
    if not REAL_SCANS.is_dir():
        print(f"Left out: the real scans are not beside the project ({REAL_SCANS}).")
        return
    answers_of = [_real(path) for path in sorted((REAL_SCANS / "ocr-truth").rglob("*.jp*g"))]
    pages = [answer for answer in answers_of if answer is not None]
    print(f"Real scans in colour, hue = auto: {len(pages)}, of which taken for a coloured form: {sum(pages)}.\n")


def coloured(form: Form, form_colour: Colour, ink_colour: Colour) -> Grey:
    """The form in colour: its lines in one ink, its letters in another, where they cross one upon the other."""
    print_ = np.full((*form.lines.shape, 3), PAPER, np.float32)
    for layer, colour in ((form.lines, form_colour), (form.letters, ink_colour)):
        cover = (1 - layer / np.float32(255))[..., None]
        print_ = print_ * (1 - cover) + print_ / 255 * np.array(colour, np.float32) * cover
    return print_.round().astype(np.uint8)


def _outcome(form: Form, hue: str, form_colour: Colour, ink_colour: Colour) -> Outcome:
    drawn = DrawnPage(pixels=coloured(form, form_colour, ink_colour), dpi=300.0)
    page = PageImage(pixels=scanned(drawn, blur_mm=0.07, noise_levels=4, seed=1).pixels, dpi=300.0)
    begin = time.process_time()
    dropped = dropout(page, Settings.model_validate({"hue": hue}))
    spent_s = time.process_time() - begin
    lines, letters = form.lines < INK_LEVEL, form.letters < INK_LEVEL
    lines &= cv2.dilate(letters.astype(np.uint8), np.ones((NEAR_PX, NEAR_PX), np.uint8)) == 0
    why, writing_mm2 = dropped.readings["dropout.declined"], dropped.readings.get("dropout.writing_kept_mm2")
    answer = f"declined: {why}" if why else "writing reported" if writing_mm2 else "dropped"
    left, kept = _shares(page.grey(), dropped.grey(), lines, letters)
    channel = np.ascontiguousarray(np.asarray(page.pixels, dtype=np.uint8)[..., CHANNELS[hue]])
    channel_left, channel_kept = _shares(page.grey(), channel, lines, letters)
    return Outcome(
        left=left, kept=kept, channel_left=channel_left, channel_kept=channel_kept, answer=answer, spent_s=spent_s
    )


def _shares(
    before: Grey, after: Grey, lines: npt.NDArray[np.bool_], letters: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    depth_before, depth_after = (np.median(grey[::8, ::8]) - grey.astype(np.float32) for grey in (before, after))
    deep = letters & (depth_before > DARKER_LEVELS)
    kept = depth_after > depth_before / 2
    return float((depth_after > DARKER_LEVELS)[lines].mean()), float(kept[deep].mean())


def _real(path: Path) -> bool | None:
    """Whether a real scan is taken for a coloured form; None if it has no colour."""
    try:
        page = read_page(path, 0, ReadSettings())
    except Refusal:
        return None
    return None if not page.is_colour else dropout(page, Settings()).readings["dropout.declined"] is None
