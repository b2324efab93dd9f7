"""Pages without a line of text, drawn: what a finder of skew or orientation must leave alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fixtures.pages import photo_page
from stages.page_image import PageImage

Grey = npt.NDArray[np.uint8]
DPI = 150.0
SHEET_PX = (1650, 1275)  # rows, columns of a letter sheet
PAPER, INK = 236, 60
MOST_TURNED_DEG = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextlessPage:
    """A page without text; `angle_deg` is how far what is straight on it was turned, None where nothing is."""

    kind: str
    image: PageImage
    angle_deg: float | None


def textless_page(kind: str, seed: int, *, bitonal: bool) -> TextlessPage:
    """One page of a kind, turned at random."""
    random = np.random.default_rng(seed)
    grain = random.normal(0, 2.5, SHEET_PX) - np.linspace(0, 10, SHEET_PX[1])
    sheet = np.clip(PAPER + grain, 0, 255).astype(np.uint8)
    angle_deg = float(random.uniform(-MOST_TURNED_DEG, MOST_TURNED_DEG))
    grey = KINDS[kind](sheet, random)
    is_straight = kind in STRAIGHT
    if is_straight:
        rows, cols = SHEET_PX
        matrix = cv2.getRotationMatrix2D(((cols - 1) / 2, (rows - 1) / 2), angle_deg, 1.0)
        fill = float(np.median(grey[0]))
        turned = cv2.warpAffine(grey, matrix, (cols, rows), flags=cv2.INTER_CUBIC, borderValue=(fill,))
        grey = np.asarray(turned, dtype=np.uint8)
    return TextlessPage(
        kind=kind,
        image=PageImage(pixels=grey > 127 if bitonal else grey, dpi=DPI),
        angle_deg=angle_deg if is_straight else None,
    )


def _place(random: np.random.Generator, margin: int = 60) -> tuple[int, int]:
    rows, cols = SHEET_PX
    return int(random.integers(margin, cols - margin)), int(random.integers(margin, rows - margin))


def _blank(sheet: Grey, random: np.random.Generator) -> Grey:
    return sheet


def _dust(sheet: Grey, random: np.random.Generator) -> Grey:
    for _ in range(int(random.integers(50, 1500))):
        cv2.circle(sheet, _place(random, 1), int(random.integers(1, 4)), (INK,), -1)
    return sheet


def _strokes(sheet: Grey, random: np.random.Generator) -> Grey:
    for _ in range(int(random.integers(3, 40))):
        cv2.line(sheet, _place(random), _place(random), (INK,), int(random.integers(1, 4)), cv2.LINE_AA)
    return sheet


def _curve(sheet: Grey, random: np.random.Generator, *, step_px: float, width_px: int) -> None:
    knots = np.cumsum(random.normal(0, step_px, (6, 2)), axis=0) + _place(random)
    along = np.linspace(0, 5, 60)
    path = np.stack([np.interp(along, range(6), knots[:, axis]) for axis in (0, 1)], axis=1)
    cv2.polylines(sheet, [path.astype(np.int32)], False, (INK,), width_px, cv2.LINE_AA)


def _brush(sheet: Grey, random: np.random.Generator) -> Grey:
    for _ in range(int(random.integers(3, 14))):
        _curve(sheet, random, step_px=60, width_px=int(random.integers(10, 26)))
    return sheet


def _scribbles(sheet: Grey, random: np.random.Generator) -> Grey:
    for _ in range(int(random.integers(5, 300))):
        _curve(sheet, random, step_px=float(random.uniform(6, 25)), width_px=2)
    return sheet


def _photo(sheet: Grey, random: np.random.Generator) -> Grey:
    picture = photo_page(seed=int(random.integers(1 << 30)), dpi=DPI, colour=False).image().grey()[189:868, 148:1127]
    height, width = (int(random.integers(side // 2, side)) for side in picture.shape)
    left, top = int(random.integers(90, 1170 - width)), int(random.integers(90, 1550 - height))
    sheet[top : top + height, left : left + width] = picture[:height, :width]
    return sheet


def _texture(sheet: Grey, random: np.random.Generator) -> Grey:
    grain = cv2.GaussianBlur(random.normal(0, 1, SHEET_PX).astype(np.float32), (0, 0), float(random.uniform(0.8, 6)))
    sheet[grain / grain.std() > random.uniform(0.5, 2)] = INK
    return sheet


def _number(sheet: Grey, random: np.random.Generator) -> Grey:
    place, text = _place(random, 200), f"- {random.integers(1, 999)} -"
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_COMPLEX, 0.8, (INK,), 2, cv2.LINE_AA)
    return sheet


def _word(sheet: Grey, random: np.random.Generator) -> Grey:
    text = str(random.choice(["Approved", "Copy", "Void", "Exhibit A"]))
    cv2.putText(sheet, text, _place(random, 300), cv2.FONT_HERSHEY_COMPLEX, 2.0, (INK,), 3, cv2.LINE_AA)
    return sheet


def _staple(sheet: Grey, random: np.random.Generator) -> Grey:
    cv2.line(sheet, (90, 70), (140, int(70 + 50 * random.uniform(-1, 1))), (INK,), 3)
    return sheet


def _folds(sheet: Grey, random: np.random.Generator) -> Grey:
    rows, cols = SHEET_PX
    for _ in range(int(random.integers(1, 4))):
        head, foot = (int(x) for x in random.integers(0, cols, 2))
        cv2.line(sheet, (head, 0), (foot, rows), (175,), int(random.integers(1, 4)), cv2.LINE_AA)
    return sheet


def _plan(sheet: Grey, random: np.random.Generator) -> Grey:
    for _ in range(int(random.integers(3, 9))):
        corners = np.array([_place(random) for _ in range(5)], np.int32)
        cv2.polylines(sheet, [corners], bool(random.integers(2)), (INK,), 2, cv2.LINE_AA)
        cv2.circle(sheet, _place(random), int(random.integers(10, 200)), (INK,), 2, cv2.LINE_AA)
    return sheet


def _strewn_letters(sheet: Grey, random: np.random.Generator) -> Grey:
    for _ in range(int(random.integers(30, 500))):
        tile = np.full((60, 60), 255, np.uint8)
        size = float(random.uniform(0.5, 1.2))
        cv2.putText(tile, str(random.choice(list("ABCDefghkm"))), (12, 44), cv2.FONT_HERSHEY_COMPLEX, size, (0,), 2)
        turn = cv2.getRotationMatrix2D((30, 30), float(random.uniform(0, 360)), 1)
        tile = np.asarray(cv2.warpAffine(tile, turn, (60, 60), borderValue=(255,)), dtype=np.uint8)
        x, y = _place(random)
        under = sheet[y - 30 : y + 30, x - 30 : x + 30]
        np.minimum(under, tile, out=under)
    return sheet


def _blobs(sheet: Grey, random: np.random.Generator) -> Grey:
    for _ in range(int(random.integers(20, 400))):
        axes = int(random.integers(2, 20)), int(random.integers(2, 20))
        cv2.ellipse(sheet, _place(random, 1), axes, float(random.uniform(0, 180)), 0, 360, (INK,), -1)
    return sheet


def _stains(sheet: Grey, random: np.random.Generator) -> Grey:
    cloud = cv2.resize(random.normal(0, 1, (9, 7)).astype(np.float32), SHEET_PX[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(sheet - 40 * np.clip(cloud, 0, 2), 0, 255), dtype=np.uint8)


def _hatching(sheet: Grey, random: np.random.Generator) -> Grey:
    middle_deg = random.uniform(-90, 90)
    for _ in range(400):
        angle, (x, y), long = math.radians(middle_deg + random.normal(0, 15)), _place(random), random.uniform(15, 60)
        end = int(x + long * math.cos(angle)), int(y + long * math.sin(angle))
        cv2.line(sheet, (x, y), end, (INK,), 2, cv2.LINE_AA)
    return sheet


def _on_black_lid(sheet: Grey, random: np.random.Generator) -> Grey:
    framed = np.full(SHEET_PX, 10, np.uint8)
    framed[150:1500, 120:1150] = sheet[150:1500, 120:1150]
    return framed


KINDS: dict[str, Callable[[Grey, np.random.Generator], Grey]] = {
    "blank": _blank,
    "blank on a black lid": _on_black_lid,
    "dust": _dust,
    "pen strokes": _strokes,
    "brush": _brush,
    "scribbles": _scribbles,
    "photograph": _photo,
    "texture": _texture,
    "page number": _number,
    "one large word": _word,
    "staple": _staple,
    "folds": _folds,
    "plan": _plan,
    "strewn letters": _strewn_letters,
    "blobs": _blobs,
    "stains": _stains,
    "hatching": _hatching,
}
STRAIGHT = ("blank on a black lid", "photograph", "page number", "one large word")
