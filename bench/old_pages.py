"""Old papers drawn with exact truth: print, typescript and handwriting on paper that time has been unkind to.

Every sheet is made as nature makes it: ink takes away a share of the light that its paper gives back, what shines
through from the other side takes away another, and the scanner blurs and adds its grain. A pixel is ink in the truth
where the pen covered at least half of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from fixtures.prose import Prose
from fixtures.typefaces import Face, font

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Surface = npt.NDArray[np.float32]
Random = np.random.Generator
Colour = tuple[float, float, float]

DPI = 300.0
SHEET_PX = (760, 1240)  # a third of a page: enough to vary, quick to draw
SUPERSAMPLING = 3  # the pen is drawn so much larger, and its coverage averaged
POINTS_PER_INCH = 72.0
WHITE = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OldPage:
    """A drawn sheet, `pixels` as scanned (grey or RGB) and `ink`, True where the pen covered the paper."""

    name: str
    pixels: Grey
    ink: Mask
    dpi: float = DPI


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """How a kind of sheet is made; `None` for a range leaves the fault out.

    `paper` is the level of bare paper; `depth` the share of light that full ink takes; `fade` how unevenly it does.
    `stains`, `shading`, `bleed` and `texture` are shares of light taken too; `grain_levels` is the scanner's noise,
    `blur_px` its softness. `lid` lays the sheet on a dark lid. `jpeg_quality` stores it so first.
    """

    written: str = "print"
    paper: float = 215.0
    depth: float = 0.8
    fade: float = 0.1
    shading: float = 0.1
    stains: float = 0.0
    bleed: float = 0.0
    texture: float = 0.01
    grain_levels: float = 2.5
    blur_px: float = 0.8
    lid: bool = False
    ruled: bool = False
    jpeg_quality: int | None = None
    tint: Colour = (1.0, 1.0, 1.0)
    ink_tint: Colour | None = None  # of a coloured sheet, what share of its depth ink takes of each channel


KINDS: Mapping[str, _Recipe] = {
    "print": _Recipe(),
    "print, worn": _Recipe(fade=0.5, texture=0.03, grain_levels=5.0, paper=195.0, depth=0.65),
    "print, shaded": _Recipe(shading=0.6, grain_levels=4.0),
    "print, stained": _Recipe(stains=0.45, texture=0.03, paper=200.0, depth=0.7),
    "print, shining through": _Recipe(bleed=0.3, paper=205.0, depth=0.72),
    "print, 40 levels": _Recipe(depth=0.18, paper=228.0, fade=0.05),
    "print, small and noisy": _Recipe(written="small print", grain_levels=8.0, depth=0.5, blur_px=1.0),
    "carbon copy": _Recipe(written="typescript", depth=0.35, fade=0.4, texture=0.03, blur_px=1.3, paper=205.0),
    "typescript, JPEG": _Recipe(written="typescript", jpeg_quality=45, fade=0.3, depth=0.6),
    "pen": _Recipe(written="pen", depth=0.7, fade=0.2),
    "pen, fading": _Recipe(written="pen", depth=0.55, fade=0.65, paper=205.0, texture=0.02),
    "pen, stained": _Recipe(written="pen", depth=0.6, fade=0.35, stains=0.5, texture=0.03, paper=190.0),
    "pen, shining through": _Recipe(written="pen", depth=0.65, fade=0.3, bleed=0.4, paper=200.0, texture=0.02),
    "pen, dark and grainy": _Recipe(
        written="pen", depth=0.55, fade=0.3, stains=0.45, paper=125.0, grain_levels=7.0, texture=0.05, lid=True
    ),
    "pen, all at once": _Recipe(
        written="pen", depth=0.5, fade=0.4, stains=0.35, bleed=0.25, shading=0.35, paper=195.0, texture=0.03
    ),
    "pencil": _Recipe(written="pencil", depth=0.22, fade=0.3, paper=225.0, texture=0.015),
    "pen on ruled paper": _Recipe(written="pen", depth=0.6, fade=0.3, ruled=True),
    "yellow pen on white": _Recipe(written="pen", paper=245.0, depth=0.85, ink_tint=(0.03, 0.08, 0.9)),
    "light blue pen on cream": _Recipe(
        written="pen", paper=240.0, depth=0.6, tint=(1.0, 0.96, 0.84), ink_tint=(0.7, 0.22, 0.05)
    ),
    "blue pen on yellow": _Recipe(
        written="pen", paper=235.0, depth=0.75, tint=(1.0, 0.95, 0.45), ink_tint=(0.95, 0.8, 0.1)
    ),
    "red print on pink": _Recipe(paper=235.0, depth=0.7, tint=(1.0, 0.78, 0.8), ink_tint=(0.15, 0.9, 0.8)),
}


def old_pages(seeds: int) -> Iterator[OldPage]:
    """Every kind of sheet, `seeds` times each with other writing and other faults."""
    for number, (name, recipe) in enumerate(KINDS.items()):
        for seed in range(seeds):
            yield drawn(name, recipe, seed=1000 * number + seed)


def drawn(name: str, recipe: _Recipe, *, seed: int) -> OldPage:
    """One sheet by its recipe."""
    random = np.random.default_rng(seed)
    cover = _written(recipe.written, random)
    paper = _paper(recipe, random)
    light = paper[..., None] * np.array(recipe.tint, np.float32) if recipe.ink_tint else paper[..., None]
    if recipe.bleed:
        behind = cv2.GaussianBlur(_written(recipe.written, random)[:, ::-1], (0, 0), random.uniform(1.2, 2.5))
        light = light * (1.0 - recipe.bleed * (behind * _uneven(behind.shape, 0.5, random))[..., None])
    taken = cover * recipe.depth * _uneven(cover.shape, recipe.fade, random)
    light = light * (1.0 - taken[..., None] * np.array(recipe.ink_tint or (1.0,), np.float32))
    soft = cv2.GaussianBlur(np.ascontiguousarray(light), (0, 0), recipe.blur_px).reshape(light.shape)
    grain = random.normal(0, recipe.grain_levels, soft.shape[:2]).astype(np.float32)
    # half of the grain is as coarse as film's, half is the sensor's own
    coarse = cv2.GaussianBlur(random.normal(0, 3 * recipe.grain_levels, soft.shape[:2]).astype(np.float32), (0, 0), 1.2)
    scan = np.clip(soft + ((grain + coarse) * math.sqrt(0.5))[..., None], 0, WHITE).astype(np.uint8)
    if recipe.jpeg_quality is not None:
        _, stored = cv2.imencode(".jpg", scan, [cv2.IMWRITE_JPEG_QUALITY, recipe.jpeg_quality])
        scan = np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)[..., None]
    pixels = scan if recipe.ink_tint else scan[..., 0]
    return OldPage(name=name, pixels=np.ascontiguousarray(pixels), ink=cover >= 0.5)


def _written(how: str, random: Random) -> Surface:
    """The share of each pixel that is covered by ink."""
    rows, cols = SHEET_PX
    if how in ("pen", "pencil"):
        return _penned(random, width_px=3.2 if how == "pen" else 2.2)
    size_pt = {"print": random.uniform(9, 14), "small print": 7.0, "typescript": 11.0}[how]
    faces = (Face.TYPEWRITER,) if how == "typescript" else (Face.SERIF, Face.SERIF_ITALIC, Face.SERIF_BOLD, Face.SANS)
    face = faces[int(random.integers(len(faces)))]
    size_px = size_pt * DPI / POINTS_PER_INCH * SUPERSAMPLING
    image = Image.new("L", (cols * SUPERSAMPLING, rows * SUPERSAMPLING), 0)
    pen, prose = ImageDraw.Draw(image), Prose(int(random.integers(1 << 30)))
    left, top = 60.0 * SUPERSAMPLING, 60.0 * SUPERSAMPLING
    while top < (rows - 90) * SUPERSAMPLING:
        text = prose.sentence()
        while pen.textlength(text, font=font(face, size_px)) > image.width - 1.6 * left:
            text = text.rpartition(" ")[0]
        pen.text((left, top), text, font=font(face, size_px), fill=255)
        top += 1.4 * size_px
    # type and paper are never quite even: the outline wavers by a fraction of a pixel
    inked = np.asarray(image, dtype=np.float32) / WHITE
    wavering = cv2.GaussianBlur(random.normal(0, 1, inked.shape).astype(np.float32), (0, 0), 2.0) * 1.6
    rough = (cv2.GaussianBlur(inked, (0, 0), 1.2) + wavering * 0.4 > 0.5).astype(np.float32)
    return _averaged(rough)


def _penned(random: Random, *, width_px: float) -> Surface:
    """Lines of something like writing: loops, arches and long strokes, swelling where the pen goes down."""
    rows, cols = SHEET_PX
    canvas = np.zeros((rows * SUPERSAMPLING, cols * SUPERSAMPLING), np.uint8)
    height = random.uniform(20, 30)
    for base in np.arange(110.0, rows - 50.0, 3.2 * height):
        x = random.uniform(40, 70)
        while x < cols - 120:
            for _ in range(int(random.integers(2, 9))):
                x = _letter(canvas, x, base, height, width_px, random)
                if x > cols - 60:
                    break
            if random.random() < 0.15:
                _dot(canvas, x + 4, base, width_px * random.uniform(0.5, 0.9))
            x += random.uniform(0.6, 1.2) * height
    return _averaged(canvas.astype(np.float32) / WHITE)


def _letter(canvas: Grey, x: float, base: float, height: float, width_px: float, random: Random) -> float:
    """One letter from its foot at `x`; gives where the next begins."""
    advance = random.uniform(0.5, 0.95) * height
    up = height * (1.0 if random.random() < 0.65 else random.uniform(1.7, 2.2))
    down = height * (random.uniform(0.8, 1.3) if random.random() < 0.15 else 0.0)
    time = np.linspace(0, 1, 60)
    lean = 0.35
    rise = np.sin(np.pi * time) * up - np.sin(np.pi * np.clip(2 * time - 1, 0, 1)) * down
    loop = random.uniform(-0.5, 0.5) * height * np.sin(2 * np.pi * time)
    along = x + advance * time + loop + lean * rise
    across = base - rise + random.normal(0, 1.0)
    # the nib spreads on the way down
    swell = width_px * (0.6 + 0.7 * np.clip(np.sin(np.pi * (time - 0.2)), 0, 1) * random.uniform(0.6, 1.2))
    points = np.stack([along, across], axis=1)
    for begin, end, width in zip(points[:-1], points[1:], swell, strict=False):
        _stroke(canvas, begin, end, width)
    if random.random() < 0.12:
        _dot(canvas, float(along[30]) + 3, base - 1.6 * height, width_px * random.uniform(0.5, 0.8))
    return x + advance


def _stroke(canvas: Grey, begin: npt.NDArray[np.float64], end: npt.NDArray[np.float64], width_px: float) -> None:
    first, last = (tuple(round(float(v) * SUPERSAMPLING) for v in point) for point in (begin, end))
    cv2.line(canvas, first, last, (255,), max(1, round(width_px * SUPERSAMPLING)), cv2.LINE_AA)


def _dot(canvas: Grey, x: float, y: float, radius_px: float) -> None:
    middle = (round(x * SUPERSAMPLING), round(y * SUPERSAMPLING))
    cv2.circle(canvas, middle, max(2, round(radius_px * SUPERSAMPLING)), (255,), -1, cv2.LINE_AA)


def _averaged(large: Surface) -> Surface:
    rows, cols = SHEET_PX
    return np.asarray(cv2.resize(large, (cols, rows), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _paper(recipe: _Recipe, random: Random) -> Surface:
    """How bright the bare sheet is at each place."""
    rows, cols = SHEET_PX
    x, y = np.linspace(-1, 1, cols, dtype=np.float32)[None], np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    turn = random.uniform(0, 2 * math.pi)
    light = 1.0 - recipe.shading * np.clip(0.5 + 0.5 * (math.cos(turn) * x + math.sin(turn) * y), 0, 1)
    fibres = sum(_cloud((rows, cols), size_px, random) for size_px in (1.5, 4.0, 15.0, 60.0))
    light = light * (1.0 + recipe.texture * fibres)
    if recipe.stains:
        for _ in range(int(random.integers(4, 8))):
            light = light * (1.0 - recipe.stains * random.uniform(0.4, 1.0) * _stain((rows, cols), random))
    if recipe.ruled:
        for row in range(70, rows, 95):
            light[row : row + 2] *= 0.82
    paper = np.asarray(recipe.paper * light, dtype=np.float32)
    if recipe.lid:
        left, top = (int(v) for v in random.integers(15, 35, 2))
        paper[:top] = 14.0
        paper[:, :left] = 14.0
    return paper


def _stain(shape: tuple[int, int], random: Random) -> Surface:
    """One stain from 0 to 1: a blot of ragged outline, darker along its rim where it dried."""
    rows, cols = shape
    x, y = np.arange(cols, dtype=np.float32)[None], np.arange(rows, dtype=np.float32)[:, None]
    middle_x, middle_y, reach = random.uniform(0, cols), random.uniform(0, rows), random.uniform(60, 260)
    ragged = 1.0 + 0.25 * _cloud(shape, 30.0, random)
    inwards = 1.0 - np.hypot(x - middle_x, (y - middle_y) * random.uniform(0.8, 1.6)) / (reach * ragged)
    soft_px = random.uniform(0.03, 0.15)
    filled = 1.0 / (1.0 + np.exp(-np.clip(inwards / soft_px, -30, 30)))
    rim = np.exp(-((inwards / (1.5 * soft_px)) ** 2))
    return np.asarray(np.clip(0.75 * filled + 0.25 * rim, 0, 1), dtype=np.float32)


def _cloud(shape: tuple[int, int], size_px: float, random: Random) -> Surface:
    """Soft noise of deviation 1 with blots of about `size_px`."""
    rows, cols = (max(3, math.ceil(length / size_px) + 2) for length in shape)
    cells = random.normal(0, 1, (rows, cols)).astype(np.float32)
    soft = cv2.resize(cells, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(soft / soft.std(), dtype=np.float32)


def _uneven(shape: tuple[int, ...], fade: float, random: Random) -> Surface:
    """What share of its depth ink has: 1 at most, down to `1 - fade` where the pen ran dry."""
    cloud = 0.7 * _cloud((shape[0], shape[1]), 90.0, random) + 0.3 * _cloud((shape[0], shape[1]), 12.0, random)
    return np.asarray(1.0 - fade * np.clip(0.5 + 0.35 * cloud, 0, 1), dtype=np.float32)
