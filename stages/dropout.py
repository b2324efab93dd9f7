"""Take the colour a form is printed in out of the copy that is read, and leave what people wrote on it.

The delivered page keeps its colours: this stands in `[[recognize]]` only. The form's own hue, measured on the page,
is lifted to paper white in the colour channel that shows it least, so that black, blue and pencil keep their strength
even where they cross its lines; what is written in the form's own colour, but darker or joined up, is kept and
reported (IMAGING 2.11).
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.analysis import AREA, HEIGHT, INK_DEPTH_LEVELS, WIDTH
from stages.page_image import MM_PER_INCH, PageImage
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

WHITE = 255
LOOK_DPI = 100.0  # where the colours are looked at
PAPER_PERCENTILE = 80
PAPER_SPREAD_LEVELS = 8
INK_DEPTH = 2 * INK_DEPTH_LEVELS / WHITE  # of the paper: half tones at the edges of strokes have no sure colour
MIN_CHROMA = 20 / WHITE  # below it is grain, fringes and JPEG (IMAGING 2.11)

# Which inks are the form's.
HUES_DEG = {"red": 0.0, "green": 120.0, "blue": 240.0}
NAMED_WITHIN_DEG = 50.0  # printers' blue lies 20 degrees from the primary, their green 30
SAME_INK_DEG = 15.0  # wholly dropped within, not at all beyond the double (IMAGING 2.11)
HUE_BINS = 72
CORE_CHROMA = 0.6  # of the form's strong pixels
INK_PERCENTILE = 90
SOLID_BINS = 50  # steps of 2 % between black and paper
DARKER = 0.08  # of the paper: more than a form's own ink varies
DARK_SHARE = 0.5  # of the paper in every channel: black, blue-black, a crossing
DARK_CLEARANCE_MM = 0.5
MAX_SAMPLES = 60_000

# When a colour is a form's.
FORM_CELLS = 6  # the page in 6 x 6 cells
FORM_CELL_MM2 = 1.0
FORM_MIN_CELLS = 9  # a stamp, a signature or a letterhead covers fewer
RULE_MIN_MM = 12.0
RULE_MAX_THICKNESS_MM = 2.0
RULE_SHARE = 0.9
FORM_MIN_RULES_MM = 200.0  # a frame and a few lines: a form has them, coloured headings have not
OTHER_INK_MIN_MM2 = 10.0  # half a line of type: with less, an empty page would be read

# What may be writing in the form's own colour.
LONG_RULE_MM = 8.0
JOINED_UP_MM = (6.0, 2.5)  # longer and shorter side
JOINED_UP_MAX_FILL = 0.35
STROKE_MAX_MM = 1.2
DARKER_MIN_MM = 1.5
DARKER_MIN_SHARE = 0.3


class Declined(StrEnum):
    """Why a page was left as it is."""

    NO_COLOUR = "no-colour"
    NO_FORM = "no-form"
    NOTHING_ELSE = "nothing-else"


class Settings(StageSettings):
    """Which colour is taken out; `auto` finds the colour of the page's ruled lines.

    A colour that makes up less than `min_form_fraction` of the ink is no form's.
    """

    hue: Literal["red", "green", "blue", "auto"] = "auto"
    min_form_fraction: float = Field(0.03, gt=0, le=1)


class _Look(NamedTuple):
    """The page at `LOOK_DPI`: each channel as a share of the paper's, and which pixels are ink; pixels a mm."""

    share: Floats
    chroma: Floats
    hue_deg: Floats
    ink: Mask
    paper: Floats
    per_mm: float


class _Form(NamedTuple):
    """What is printed in the form's colour, and how strong that is where it is weakest.

    `level` is the brightness of the form's solid ink in `channel`, as a share of the paper's.
    """

    hue_deg: float
    printed: Mask
    channel: int
    level: float


def dropout(page: PageImage, settings: Settings) -> PageImage:
    """The page in grey without what is printed in the form's colour; a page without such a form as it is.

    Readings: `hue_deg` of the form (0 red, 120 green, 240 blue), `dropped_mm2` of its ink, `writing_kept_mm2` of ink in
    its colour that may be writing and was kept, and `declined` with the reason when nothing was done.
    """
    if not page.is_colour:
        return page.with_readings("dropout", declined=str(Declined.NO_COLOUR))
    pixels = np.asarray(page.pixels, dtype=np.uint8)
    look = _looked_at(page, pixels)
    form = _form(page, pixels, look, settings)
    if form is None:
        return page.with_readings("dropout", declined=str(Declined.NO_FORM))
    near_form = cv2.dilate(form.printed.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if _mm2(look.ink & ~near_form, look) < OTHER_INK_MIN_MM2:
        return page.with_readings("dropout", declined=str(Declined.NOTHING_ELSE))
    writing = _writing(form, look)
    grey = _without(page, pixels, look.paper, form)
    if writing.any():
        size = (page.width_px, page.height_px)
        there = cv2.resize(cv2.dilate(writing.view(np.uint8), np.ones((3, 3), np.uint8)), size)
        grey = np.asarray(cv2.copyTo(page.grey(), there, grey), dtype=np.uint8)
    return page.with_pixels(grey).with_readings(
        "dropout",
        hue_deg=form.hue_deg,
        dropped_mm2=_mm2(form.printed & ~writing, look),
        writing_kept_mm2=_mm2(writing, look),
        declined=None,
    )


def _mm2(there: Mask, look: _Look) -> float:
    return float(np.count_nonzero(there)) / look.per_mm**2


# ---- which colour is the form's


def _looked_at(page: PageImage, pixels: Grey) -> _Look:
    scale = max(1.0, page.dpi / LOOK_DPI)
    size = (max(1, round(page.width_px / scale)), max(1, round(page.height_px / scale)))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    light = grey >= np.percentile(grey[::4, ::4], PAPER_PERCENTILE) - PAPER_SPREAD_LEVELS
    paper = np.maximum(np.median(small[light], axis=0), 1.0).astype(np.float32)
    share = np.minimum(small / paper, 1.0).astype(np.float32)
    on_plane = cv2.transform(share, _hue_plane().astype(np.float32))
    along_red, square_on_it = cv2.split(on_plane)
    chroma, hue_deg = cv2.cartToPolar(along_red, square_on_it, angleInDegrees=True)
    return _Look(
        share=share,
        chroma=np.asarray(chroma, dtype=np.float32),
        hue_deg=np.asarray(hue_deg, dtype=np.float32),
        ink=np.asarray(share.min(axis=2) < 1 - INK_DEPTH),
        paper=paper,
        per_mm=page.dpi / scale / MM_PER_INCH,
    )


def _hue_plane() -> npt.NDArray[np.float64]:
    """From red, green and blue to the plane of hues: along red, and square on it."""
    half_root_3 = math.sqrt(3) / 2
    return np.array([[1.0, -0.5, -0.5], [0.0, half_root_3, -half_root_3]])


def _degrees_apart(hues_deg: npt.NDArray[np.floating], hue_deg: float) -> npt.NDArray[np.floating]:
    return np.asarray(np.abs((hues_deg - hue_deg + 180) % 360 - 180))


def _form(page: PageImage, pixels: Grey, look: _Look, settings: Settings) -> _Form | None:
    """The form in the colour asked for, or with `auto` the one with most ink; None where there is none."""
    coloured = look.ink & (look.chroma > MIN_CHROMA)
    hues_deg, weights = look.hue_deg[coloured], look.chroma[coloured]
    bins = (hues_deg * (HUE_BINS / 360)).astype(np.int64) % HUE_BINS
    counts = np.bincount(bins, weights, HUE_BINS)
    counts = counts + np.roll(counts, 1) + np.roll(counts, -1)
    middles_deg = (np.arange(HUE_BINS) + 0.5) * (360 / HUE_BINS)
    best: tuple[int, float, Mask] | None = None
    for centre_deg in HUES_DEG.values() if settings.hue == "auto" else (HUES_DEG[settings.hue],):
        of_name = np.where(_degrees_apart(middles_deg, centre_deg) <= NAMED_WITHIN_DEG, counts, 0.0)
        if not of_name.any():
            continue
        mode_deg = float(middles_deg[of_name.argmax()])
        near = _degrees_apart(hues_deg, mode_deg) <= SAME_INK_DEG
        turns_deg = (hues_deg[near] - mode_deg + 180) % 360 - 180
        hue_deg = (mode_deg + float(np.average(turns_deg, weights=weights[near]))) % 360
        printed = np.asarray(coloured & (_degrees_apart(look.hue_deg, hue_deg) <= 2 * SAME_INK_DEG))
        area = int(np.count_nonzero(printed))
        if (best is None or area > best[0]) and _is_form(printed, look, settings):
            best = area, hue_deg, printed
    if best is None:
        return None
    channel, level = _strength(page, pixels, best[2], look)
    # another ink of the same hue, as blue-black on light blue, is darker than the form is anywhere
    printed = np.asarray(best[2] & (look.share[..., channel] >= level - DARKER))
    return _Form(hue_deg=best[1], printed=printed, channel=channel, level=level)


def _is_form(printed: Mask, look: _Look, settings: Settings) -> bool:
    """Whether so much, so widely spread and (if nobody named the colour) so ruled a print is a form."""
    if np.count_nonzero(printed) < settings.min_form_fraction * np.count_nonzero(look.ink):
        return False
    cells = cv2.resize(printed.astype(np.float32), (FORM_CELLS, FORM_CELLS), interpolation=cv2.INTER_AREA)
    cell_mm2 = printed.size / FORM_CELLS**2 / look.per_mm**2
    if np.count_nonzero(cells * cell_mm2 >= FORM_CELL_MM2) < FORM_MIN_CELLS:
        return False
    return settings.hue != "auto" or _rules_mm(printed, look.per_mm) >= FORM_MIN_RULES_MM


def _runs(there: Grey, run: int) -> Grey:
    """Middles of level runs in a map of 0 and 255; they may step by a pixel and have small gaps."""
    tall = cv2.dilate(there, np.ones((3, 1), np.uint8))
    share = cv2.blur(tall, (run, 1), borderType=cv2.BORDER_CONSTANT)
    return np.asarray((share > RULE_SHARE * WHITE).astype(np.uint8) * np.uint8(WHITE))


def _rules_mm(printed: Mask, per_mm: float) -> float:
    run = max(3, round(RULE_MIN_MM * per_mm))
    there = printed.view(np.uint8) * np.uint8(WHITE)
    total_px = 0
    for sheet in (there, np.ascontiguousarray(there.T)):
        _, _, stats, _ = cv2.connectedComponentsWithStats(_runs(sheet, run))
        thin = stats[1:, HEIGHT] <= RULE_MAX_THICKNESS_MM * per_mm
        total_px += int((stats[1:, WIDTH] + run)[thin].sum())
    return total_px / per_mm


def _strength(page: PageImage, pixels: Grey, printed: Mask, look: _Look) -> tuple[int, float]:
    """The channel that shows the form least, and how bright its solid ink is there, as a share of the paper."""
    dark = (look.share.max(axis=2) < DARK_SHARE).astype(np.uint8)
    reach = 2 * max(1, round(DARK_CLEARANCE_MM * look.per_mm)) + 1
    alone = printed & (cv2.dilate(dark, np.ones((reach, reach), np.uint8)) == 0)
    rows, columns = np.nonzero(alone if alone.any() else printed)
    step = max(1, len(rows) // MAX_SAMPLES)
    down, across = page.height_px / printed.shape[0], page.width_px / printed.shape[1]
    sample = pixels[((rows[::step] + 0.5) * down).astype(int), ((columns[::step] + 0.5) * across).astype(int)]
    share = sample / look.paper
    chroma = np.hypot(*(share @ _hue_plane().T).T)
    solid = share[chroma >= CORE_CHROMA * np.percentile(chroma, INK_PERCENTILE)]
    channel = int(np.median(solid, axis=0).argmax())
    # the commonest level of solid ink is the form's; writing in its colour is less, and darker
    counts, edges = np.histogram(solid[:, channel], SOLID_BINS, (0.0, 1.0))
    commonest = float(edges[int(counts.argmax())])
    spread = float(np.std(solid[solid[:, channel] >= commonest - DARKER, channel]))
    return channel, max(0.3, commonest - spread)


# ---- taking it out


def _without(page: PageImage, pixels: Grey, paper: Floats, form: _Form) -> Grey:
    """Grey, with the form's hue lifted by what its ink takes from the paper."""
    turn = math.radians(form.hue_deg)
    axes = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]) @ _hue_plane()
    # inside a wedge of hues around the form's, and more so the stronger the colour
    steep, sure = math.tan(math.radians(2 * SAME_INK_DEG)), math.radians(SAME_INK_DEG)
    full = (steep * math.cos(sure) - math.sin(sure)) * MIN_CHROMA
    sides = np.stack([steep * axes[0] + axes[1], steep * axes[0] - axes[1]]) / paper * (WHITE / full)
    one_side, other_side = cv2.split(cv2.transform(pixels, sides.astype(np.float32)))
    weight = cv2.min(one_side, other_side)
    white = float(paper @ np.array([0.299, 0.587, 0.114]))  # luminance as in ITU-R BT.601
    levels = np.minimum(np.arange(256) / (float(paper[form.channel]) * form.level), 1.0) * white
    lifted = cv2.LUT(cv2.extractChannel(pixels, form.channel), np.rint(levels).astype(np.uint8))
    return np.asarray(cv2.max(page.grey(), cv2.multiply(weight, lifted, scale=1 / WHITE)), dtype=np.uint8)


def _writing(form: _Form, look: _Look) -> Mask:
    """What is printed in the form's hue but may be writing: joined-up strokes, and strokes in a darker ink."""
    hue = look.ink & (look.chroma > MIN_CHROMA) & (_degrees_apart(look.hue_deg, form.hue_deg) <= 2 * SAME_INK_DEG)
    there = hue.astype(np.uint8) * np.uint8(WHITE)
    run = max(3, round(LONG_RULE_MM * look.per_mm))
    level = cv2.dilate(_runs(there, run), np.ones((3, run), np.uint8))
    plumb = cv2.dilate(_runs(np.ascontiguousarray(there.T), run), np.ones((3, run), np.uint8)).T
    rest = (hue & (level == 0) & (plumb == 0)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=8)
    width, height, area = stats[:, WIDTH], stats[:, HEIGHT], stats[:, AREA]
    longer, shorter = np.maximum(width, height) / look.per_mm, np.minimum(width, height) / look.per_mm
    joined_up = (longer >= JOINED_UP_MM[0]) & (shorter >= JOINED_UP_MM[1])
    joined_up &= area < JOINED_UP_MAX_FILL * width * height
    thick = cv2.distanceTransform(rest, cv2.DIST_L2, 3) > STROKE_MAX_MM * look.per_mm / 2
    joined_up[np.unique(labels[thick])] = False
    dark = (look.share.max(axis=2) < DARK_SHARE).astype(np.uint8)
    reach = 2 * max(1, round(DARK_CLEARANCE_MM * look.per_mm)) + 1
    crossing = cv2.dilate(dark, np.ones((reach, reach), np.uint8)) > 0
    darker = (rest > 0) & (look.share[..., form.channel] < form.level - DARKER / 2) & ~crossing
    share = np.bincount(labels[darker], minlength=count) / np.maximum(area, 1)
    kept = joined_up | ((share >= DARKER_MIN_SHARE) & (longer >= DARKER_MIN_MM))
    kept[0] = False
    return np.asarray(kept[labels], dtype=np.bool_)
