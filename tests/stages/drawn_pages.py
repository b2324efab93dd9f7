"""Small pages drawn with known skew, lid and letters, for the stages that look at where things lie."""

from __future__ import annotations

import random
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fixtures.typefaces import Face
from fixtures.typefaces import font as font_of
from stages.page_image import PageImage

Grey = npt.NDArray[np.uint8]

SERIF = Face.SERIF
SANS = Face.SANS
WORDS = "the parties hereby agree that this deed of land shall be kept by county section township grantor"
DPI = 150.0
LETTER_PX = (1275, 1650)


@lru_cache(maxsize=8)
def _text(
    seed: int, width_px: int, height_px: int, size_px: int, lines: int, margin_px: int, paper: int, font: str
) -> bytes:
    words, vocabulary = random.Random(seed), WORDS.split()
    image = Image.new("L", (width_px, height_px), paper)
    draw, face = ImageDraw.Draw(image), font_of(font, size_px)
    for line in range(lines):
        text = words.choice(vocabulary)
        while draw.textlength(text, font=face) < width_px - 3 * margin_px:
            text += " " + words.choice(vocabulary)
        draw.text((margin_px, margin_px + line * round(1.45 * size_px)), text, fill=25, font=face)
    return image.tobytes()


def text_page(
    *,
    seed: int = 7,
    width_px: int = LETTER_PX[0],
    height_px: int = LETTER_PX[1],
    size_px: int = 25,
    lines: int = 36,
    margin_px: int = 150,
    paper: int = 236,
    font: Face = SERIF,
) -> Grey:
    """A page of running text."""
    data = _text(seed, width_px, height_px, size_px, lines, margin_px, paper, font)
    return np.frombuffer(data, np.uint8).reshape(height_px, width_px).copy()


def words_on(grey: Grey, text: str, left_top: tuple[int, int], *, size_px: int = 25, font: Face = SERIF) -> Grey:
    """The page with some words more."""
    image = Image.fromarray(grey)
    ImageDraw.Draw(image).text(left_top, text, fill=25, font=font_of(font, size_px))
    return np.array(image)


def blank_page(*, paper: int = 236, seed: int = 7) -> Grey:
    """Paper with a little grain and shading."""
    grain = np.random.default_rng(seed).normal(0, 2.5, LETTER_PX[::-1])
    return np.clip(paper + grain - np.linspace(0, 10, LETTER_PX[0]), 0, 255).astype(np.uint8)


def photo(width_px: int, height_px: int, *, seed: int = 3) -> Grey:
    """Soft mid-tones, as of a photograph."""
    cells = np.random.default_rng(seed).normal(0, 1, (height_px // 25, width_px // 25)).astype(np.float32)
    soft = cv2.GaussianBlur(cv2.resize(cells, (width_px, height_px), interpolation=cv2.INTER_CUBIC), (0, 0), 4)
    return ((soft - soft.min()) / (soft.max() - soft.min()) * 255).astype(np.uint8)


def turned(grey: Grey, angle_deg: float, *, surround: int = 236) -> Grey:
    """The page turned counter-clockwise about its centre in a frame of the same size."""
    rows, cols = grey.shape
    matrix = cv2.getRotationMatrix2D(((cols - 1) / 2, (rows - 1) / 2), angle_deg, 1.0)
    return np.asarray(
        cv2.warpAffine(grey, matrix, (cols, rows), flags=cv2.INTER_CUBIC, borderValue=(surround,)), dtype=np.uint8
    )


def on_lid(
    sheet: Grey,
    *,
    lid: int = 10,
    angle_deg: float = 0.0,
    left_top: tuple[int, int] = (60, 80),
    frame: tuple[int, int] = LETTER_PX,
    seed: int = 7,
) -> tuple[Grey, npt.NDArray[np.bool_]]:
    """A scan of the sheet on a dark lid, and where the sheet lies; the whole is turned counter-clockwise."""
    cols, rows = frame
    matrix = cv2.getRotationMatrix2D(((cols - 1) / 2, (rows - 1) / 2), angle_deg, 1.0)
    matrix = matrix @ np.array([[1, 0, left_top[0]], [0, 1, left_top[1]], [0, 0, 1.0]])
    scan = cv2.warpAffine(sheet, matrix, frame, flags=cv2.INTER_LINEAR, borderValue=(lid,))
    there = cv2.warpAffine(np.full(sheet.shape, 255, np.uint8), matrix, frame, flags=cv2.INTER_LINEAR)
    grain = np.random.default_rng(seed).normal(0, 3, scan.shape)
    soft = cv2.GaussianBlur(scan, (0, 0), 0.7).astype(np.float32)
    return np.clip(soft + grain, 0, 255).astype(np.uint8), there > 127


def grey_page(grey: Grey, *, dpi: float = DPI) -> PageImage:
    """A page image of grey pixels."""
    return PageImage(pixels=grey, dpi=dpi)


def bitonal_page(grey: Grey, *, dpi: float = DPI, threshold: int = 128) -> PageImage:
    """A page image of black and white."""
    return PageImage(pixels=grey > threshold, dpi=dpi)


def colour_page(grey: Grey, *, tint: tuple[float, float, float] = (1.0, 0.96, 0.85), dpi: float = DPI) -> PageImage:
    """A page image in colour, on tinted paper."""
    return PageImage(pixels=(grey[..., None] * np.array(tint)).astype(np.uint8), dpi=dpi)


@st.composite
def slivers(draw: st.DrawFn, *, most_px: int = 70) -> PageImage:
    """Tiny pages of noise, of every kind and at every resolution, right or wrong."""
    rows, cols = draw(st.integers(1, most_px)), draw(st.integers(1, most_px))
    kind = draw(st.sampled_from(["grey", "colour", "bitonal"]))
    shape = (rows, cols, 3) if kind == "colour" else (rows, cols)
    pixels = np.random.default_rng(draw(st.integers(0, 3))).integers(0, 256, shape, dtype=np.uint8)
    return PageImage(pixels=pixels > 127 if kind == "bitonal" else pixels, dpi=draw(st.floats(1.0, 3000.0)))
