"""What background promises: even paper, faint marks as clear as before, pictures untouched."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from stages.background import Settings, background
from stages.page_image import EncodedImage, PageImage

Grey = npt.NDArray[np.uint8]
Levels = npt.NDArray[np.float64]


def drawn(*, rows: int = 1600, cols: int = 1400) -> Grey:
    """Black lines of text on white at 300 dpi, with a wide margin on the right."""
    image = Image.new("L", (cols, rows), 255)
    font = ImageFont.load_default(size=46)
    for top in range(80, rows - 100, 62):
        ImageDraw.Draw(image).text((80, top), "The clerk fixed it at 3.75 per cent.", font=font, fill=0)
    return np.array(image)


def scanned(page: Grey, *, paper: float = 235, shade: float = 0.25, noise: float = 2.0) -> Grey:
    """The page under light that fades to one side."""
    levels = 40 + cv2.GaussianBlur(page, (0, 0), 0.9).astype(np.float64) / 255 * (paper - 40)
    return grained(levels * light(page.shape, shade), noise)


def light(shape: tuple[int, ...], shade: float) -> Levels:
    return np.broadcast_to(1 - shade * np.linspace(0, 1, shape[1])[None], shape[:2])


def grained(levels: Levels, noise: float) -> Grey:
    return (levels + np.random.default_rng(1).normal(0, noise, levels.shape)).clip(0, 255).astype(np.uint8)


def paper_of(pixels: npt.NDArray[np.generic], page: Grey) -> Levels:
    """Local means of the places well away from ink."""
    away = cv2.dilate((page < 255).astype(np.uint8), np.ones((61, 61), np.uint8)) == 0
    return cv2.blur(np.asarray(pixels), (31, 31))[away].astype(np.float64)


def photograph(side: int = 500) -> Grey:
    rng = np.random.default_rng(3)
    total = np.zeros((side, side))
    for power in range(1, 7):
        coarse = rng.random((2**power, 2**power)).astype(np.float32)
        total += cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC) / power
    total -= total.min()
    return (total / total.max() * 200).astype(np.uint8)


@pytest.mark.parametrize("shade", [0.1, 0.25, 0.45])
def test_shaded_paper_comes_out_even_and_bright(shade: float) -> None:
    page = drawn()
    result = background(PageImage(pixels=scanned(page, shade=shade), dpi=300), Settings())
    assert result.readings["background.done"] is True
    assert result.pixels.shape == page.shape
    assert result.dpi == 300
    paper = paper_of(result.pixels, page)
    assert paper.std() < 2
    assert 240 < paper.mean() <= 252


def test_the_shading_read_is_the_shading_drawn() -> None:
    result = background(PageImage(pixels=scanned(drawn(), shade=0.2), dpi=300), Settings())
    # 235 levels times 0.2, less the twentieth part at either end
    assert result.readings["background.shading_levels"] == pytest.approx(235 * 0.2 * 0.9, abs=3)


@pytest.mark.parametrize("depth", [8, 15, 25, 40])
def test_faint_marks_keep_their_contrast(depth: int) -> None:
    levels = np.full((1400, 1400), 235.0)
    mark, beside = np.s_[600:616, 400:800], np.s_[570:590, 400:800]
    levels[mark] -= depth
    scan = grained(levels * light(levels.shape, 0.25), 1.5)
    result = background(PageImage(pixels=scan, dpi=300), Settings())
    assert result.readings["background.done"] is True

    def contrast(pixels: npt.NDArray[np.generic]) -> float:
        return 1 - float(pixels[mark].mean()) / float(pixels[beside].mean())

    assert contrast(result.pixels) == pytest.approx(contrast(scan), rel=0.04)


def test_nothing_is_clipped() -> None:
    scan = scanned(drawn(), noise=5)
    scan[300:400, 1200:1300] = 255
    result = background(PageImage(pixels=scan, dpi=300), Settings())
    bright = np.asarray(result.pixels)[scan < 255]
    assert np.mean(bright == 255) < 0.0001
    assert int(result.pixels[350, 1250]) > int(np.median(result.pixels))


def test_a_picture_is_left_as_it_is_to_the_pixel() -> None:
    scan = scanned(drawn(rows=1800))
    scan[800:1300, 300:800] = photograph()
    result = background(PageImage(pixels=scan, dpi=300), Settings())
    assert result.readings["background.done"] is True
    assert np.array_equal(result.pixels[810:1290, 310:790], scan[810:1290, 310:790])


def test_a_shaded_box_keeps_its_shade() -> None:
    scan = scanned(drawn(rows=1800))
    scan[600:1100, 100:1200] = (scan[600:1100, 100:1200] * 0.7).astype(np.uint8)
    result = background(PageImage(pixels=scan, dpi=300), Settings())
    assert np.array_equal(result.pixels[620:1080, 120:1180], scan[620:1080, 120:1180])


def test_colours_keep_their_hue() -> None:
    page = drawn()
    grey = scanned(page, noise=1).astype(np.float64)
    scan = np.dstack([grey, grey * 0.96, grey * 0.85]).astype(np.uint8)
    result = background(PageImage(pixels=scan, dpi=300), Settings())
    assert result.readings["background.done"] is True
    away = cv2.dilate((page < 255).astype(np.uint8), np.ones((61, 61), np.uint8)) == 0
    before, after = (pixels[away].mean(axis=0) for pixels in (scan, np.asarray(result.pixels)))
    assert after / after[0] == pytest.approx(before / before[0], abs=0.01)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.ones((300, 300), np.bool_), "bitonal"),
        (np.full((300, 300), 225, np.uint8), "even enough"),
        (np.full((300, 300), 30, np.uint8), "dark page"),
        (photograph(900), "hardly any paper"),
    ],
)
def test_what_gains_nothing_is_declined_and_keeps_its_stream(pixels: npt.NDArray[np.generic], reason: str) -> None:
    stream = EncodedImage(codec="jpeg", data=b"x", width_px=300, height_px=300, channels=1)
    page = PageImage(pixels=pixels, dpi=300, encoded=stream)  # type: ignore[arg-type]
    result = background(page, Settings())
    assert result.pixels is page.pixels
    assert result.encoded is stream
    assert result.readings["background.declined"] == reason
    assert result.readings["background.done"] is False


def test_evening_twice_is_evening_once() -> None:
    once = background(PageImage(pixels=scanned(drawn()), dpi=300), Settings())
    twice = background(once, Settings())
    assert twice.readings["background.declined"] == "even enough"
    assert twice.pixels is once.pixels


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 60),
    cols=st.integers(1, 60),
    dpi=st.integers(20, 1200),
    colour=st.booleans(),
    low=st.integers(0, 255),
)
def test_no_page_is_too_small_or_too_odd(rows: int, cols: int, dpi: int, colour: bool, low: int) -> None:
    shape = (rows, cols, 3) if colour else (rows, cols)
    pixels = np.random.default_rng(low).integers(low, 256, shape, dtype=np.uint8)
    result = background(PageImage(pixels=pixels, dpi=dpi), Settings(min_shading_levels=0))
    assert result.pixels.shape == shape
