from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from fixtures.pages import blank, drawing, letter, photo_page
from fixtures.typefaces import font as font_of
from stages.errors import CutEdge, Illegible, QualityTooLow, Refusal, SizeDoubtful
from stages.page_image import PageImage
from stages.quality import Settings, quality
from stages.read import Settings as ReadSettings
from stages.read import read_page
from tests.stages.drawn_pages import (
    SANS,
    SERIF,
    Grey,
    bitonal_page,
    blank_page,
    colour_page,
    grey_page,
    slivers,
    text_page,
)


def _reading(page: PageImage, name: str) -> float:
    value = quality(page, Settings()).readings[f"quality.{name}"]
    assert isinstance(value, float)
    return value


def _spoilt(grey: Grey, *, blur_px: float = 0.0, noise: float = 0.0, seed: int = 7) -> Grey:
    soft = cv2.GaussianBlur(grey, (0, 0), blur_px) if blur_px else grey
    grain = np.random.default_rng(seed).normal(0, noise, grey.shape) if noise else 0.0
    return np.clip(soft + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", [grey_page, bitonal_page, colour_page])
def test_measuring_changes_no_pixel(kind) -> None:
    page = kind(text_page())
    assert quality(page, Settings()).pixels is page.pixels


@pytest.mark.parametrize("font", [SERIF, SANS])
@pytest.mark.parametrize("size_px", [34, 50, 72])
@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
def test_the_height_of_small_letters_is_found(kind, size_px: int, font: str) -> None:
    grey = text_page(width_px=2000, height_px=1600, size_px=size_px, lines=16, margin_px=150, font=font)
    x_height_mm = -font_of(font, size_px).getbbox("x", anchor="ls")[1] * 25.4 / 300
    page = kind(_spoilt(grey, blur_px=0.8, noise=2.0), dpi=300.0)
    assert _reading(page, "x_height_mm") == pytest.approx(x_height_mm, rel=0.1)
    index = _reading(page, "index")
    divisor = 3 if kind is bitonal_page else 2
    assert index == pytest.approx(0.039 * 300 * x_height_mm / divisor, rel=0.1)


def test_a_softer_scan_measures_a_wider_edge() -> None:
    # thick letters: across a thin stroke neither edge rises all the way
    page = text_page(size_px=70, lines=12, font=SANS)
    widths = [_reading(grey_page(_spoilt(page, blur_px=blur_px)), "blur_mm") for blur_px in (0, 1, 2, 3)]
    assert widths == sorted(widths)
    assert widths[0] == pytest.approx(2 * 25.4 / 150, rel=0.15), "a perfect step takes two pixels"
    assert widths[2] == pytest.approx(2.5 * 2 * 25.4 / 150, rel=0.2), "a Gaussian edge takes 2.5 sigma"


@pytest.mark.parametrize("noise", [1.0, 3.0, 8.0])
def test_the_grain_of_the_paper_is_measured(noise: float) -> None:
    page = grey_page(_spoilt(text_page(paper=200), noise=noise))
    assert _reading(page, "noise_levels") == pytest.approx(noise, rel=0.15)
    blank = grey_page(_spoilt(np.full((1650, 1275), 200, np.uint8), noise=noise))
    assert _reading(blank, "noise_levels") == pytest.approx(noise, rel=0.15)


def test_faint_print_has_little_contrast() -> None:
    page = text_page(size_px=40, lines=20)
    faint = (236 - (236 - page.astype(float)) * 0.25).astype(np.uint8)
    assert _reading(grey_page(page), "contrast") == pytest.approx((236 - 25) / 255, abs=0.05)
    assert _reading(grey_page(faint), "contrast") == pytest.approx((236 - 25) / 255 / 4, abs=0.03)


def test_burnt_out_paper_is_reported() -> None:
    burnt = np.clip(text_page().astype(int) + 40, 0, 255).astype(np.uint8)
    assert _reading(grey_page(burnt), "clipped_fraction") > 0.8
    assert _reading(grey_page(text_page()), "clipped_fraction") == 0.0


def test_a_blank_page_has_no_letters_to_measure() -> None:
    readings = quality(grey_page(blank_page()), Settings()).readings
    assert readings["quality.x_height_mm"] is None
    assert readings["quality.index"] is None
    assert readings["quality.contrast"] is None
    assert readings["quality.cut_edge"] == []


def test_a_bitonal_page_has_no_grey_to_measure() -> None:
    readings = quality(bitonal_page(text_page()), Settings()).readings
    assert readings["quality.blur_mm"] is readings["quality.noise_levels"] is readings["quality.contrast"] is None


@pytest.mark.parametrize("kind", [grey_page, bitonal_page])
@pytest.mark.parametrize(
    ("side", "page"),
    [
        ("left", text_page()[:, 170:]),
        ("right", text_page()[:, :800]),
        ("top", text_page()[160:]),
        ("bottom", text_page()[: 150 + 20 * 36 + 14]),
        (None, text_page()),
        (None, text_page()[120:, 130:]),
    ],
    ids=["left", "right", "top", "bottom", "whole", "narrow"],
)
def test_text_that_runs_off_the_scan_is_seen(kind, side: str | None, page: Grey) -> None:
    scan = kind(np.ascontiguousarray(page))
    assert quality(scan, Settings()).readings["quality.cut_edge"] == ([side] if side else [])
    if side:
        with pytest.raises(CutEdge, match=f"runs off the scan at the {side}"):
            quality(scan, Settings(refuse_cut_edge=True))


def test_a_black_lid_or_a_rule_at_the_frame_is_no_cut_text() -> None:
    page = text_page()
    page[:, :20] = 10
    page[-15:] = 10
    cv2.line(page, (0, 60), (1274, 60), (20,), 2)
    assert quality(grey_page(page), Settings()).readings["quality.cut_edge"] == []


@pytest.mark.parametrize(
    ("limit", "page", "message"),
    [
        ({"min_contrast": 0.5}, 236 - (236 - text_page()) // 4, r"contrast of this scan is 0\.[12].; this profile"),
        ({"max_blur_mm": 0.5}, cv2.GaussianBlur(text_page(), (0, 0), 2.5), "at most 0.5 mm"),
        ({"max_noise_levels": 5}, _spoilt(text_page(paper=200), noise=9.0), "at most 5 levels"),
        ({"max_clipped_fraction": 0.5}, np.full((1650, 1275), 255, np.uint8), "at most 0.5"),
        ({"min_index": 8.0}, text_page(), "legibility index of this scan is [56]"),
    ],
)
def test_a_scan_poorer_than_the_profile_allows_is_held(limit: dict[str, float], page: Grey, message: str) -> None:
    assert quality(grey_page(page), Settings()).pixels is not None
    with pytest.raises(QualityTooLow, match=message):
        quality(grey_page(page), Settings.model_validate(limit))


@pytest.mark.parametrize(
    ("inches", "name"),
    [
        ((8.5, 11.0), "letter"),
        ((11.0, 8.5), "letter"),
        ((8.5, 14.0), "legal"),
        ((8.27, 11.69), "a4"),
        ((8.55, 11.08), "letter"),
        ((5.0, 3.0), "other"),
    ],
)
def test_the_paper_format_is_named(inches: tuple[float, float], name: str) -> None:
    page = PageImage(pixels=np.full((round(inches[1] * 100), round(inches[0] * 100)), 255, np.uint8), dpi=100.0)
    assert quality(page, Settings()).readings["quality.page_size"] == name


@hypothesis_settings(max_examples=40, deadline=None)
@given(page=slivers(most_px=120))
def test_slivers_and_wrong_resolutions_pass_unharmed(page: PageImage) -> None:
    assert quality(page, Settings()).pixels is page.pixels


ALL_REFUSALS = Settings(min_legibility=0.05, refuse_cut_edge=True, refuse_doubtful_size=True)


def test_a_poorer_scan_is_foretold_to_be_read_worse() -> None:
    page = text_page(size_px=34, lines=24)
    good = _reading(grey_page(page), "legibility")
    blurred = _reading(grey_page(_spoilt(page, blur_px=1.5)), "legibility")
    noisy = _reading(grey_page(_spoilt(page, noise=30.0)), "legibility")
    faint = _reading(grey_page((236 - (236 - page.astype(float)) * 0.3).astype(np.uint8)), "legibility")
    assert good > 0.9
    assert max(blurred, noisy, faint) < good - 0.01


def test_letters_that_nobody_could_read_are_held() -> None:
    page = text_page(paper=200, size_px=18, lines=40)
    ruined = _spoilt((200 - (200 - page.astype(float)) * 0.25).astype(np.uint8), blur_px=1.5, noise=40.0)
    with pytest.raises(Illegible, match="could be read; this profile needs"):
        quality(grey_page(ruined), Settings(min_legibility=0.3))
    assert quality(grey_page(page), Settings(min_legibility=0.3)).pixels is not None


@pytest.mark.parametrize("draw", [blank, drawing, letter, photo_page])
def test_sheets_that_are_in_order_pass_every_check(draw) -> None:
    drawn = draw(dpi=150.0)
    page = PageImage(pixels=drawn.pixels, dpi=150.0, readings={"read.dpi_source": "file"})
    assert quality(page, ALL_REFUSALS).pixels is page.pixels


@pytest.mark.parametrize(("stated_dpi", "likely_dpi"), [(75.0, 150.0), (150.0, None), (200.0, None)])
def test_a_resolution_that_makes_an_unlikely_sheet_is_told(stated_dpi: float, likely_dpi: float | None) -> None:
    drawn = letter(dpi=150.0)
    page = PageImage(pixels=drawn.pixels, dpi=stated_dpi, readings={"read.dpi_source": "file"})
    assert quality(page, Settings()).readings["quality.likely_dpi"] == likely_dpi
    if likely_dpi:
        with pytest.raises(SizeDoubtful, match=f"at {likely_dpi:.0f} dpi it would be a usual sheet"):
            quality(page, Settings(refuse_doubtful_size=True))
        guessed = PageImage(pixels=drawn.pixels, dpi=stated_dpi, readings={"read.dpi_source": "guessed"})
        assert quality(guessed, Settings(refuse_doubtful_size=True)).pixels is not None


def test_ink_in_colour_is_measured_and_tinted_paper_is_none() -> None:
    page = colour_page(text_page(), tint=(1.0, 0.93, 0.75))
    assert _reading(page, "coloured_ink_mm2") == 0.0
    pixels = np.array(page.pixels)
    cv2.line(pixels, (200, 1500), (700, 1500), (190, 30, 40), 6)
    drawn_mm2 = 500 * 6 * (25.4 / 150) ** 2
    marked = PageImage(pixels=pixels, dpi=150.0)
    assert _reading(marked, "coloured_ink_mm2") == pytest.approx(drawn_mm2, rel=0.4)


def test_a_highlighters_stripe_counts_and_a_photograph_does_not() -> None:
    pixels = np.array(colour_page(text_page()).pixels)
    pixels[300:330, 200:800] = (pixels[300:330, 200:800] * np.array([1.0, 1.0, 0.35])).astype(np.uint8)
    assert _reading(PageImage(pixels=pixels, dpi=150.0), "coloured_ink_mm2") > 300
    picture = photo_page(dpi=150.0)
    picture_mm2 = 166 * 115
    assert _reading(picture.image(), "coloured_ink_mm2") < 0.02 * picture_mm2


def test_the_skew_that_deskew_left_is_kept() -> None:
    page = grey_page(text_page())
    assert quality(page, Settings()).readings["quality.skew_left_deg"] is None
    left = page.with_readings("deskew", angle_deg=-0.4, standard_error_deg=0.02, turned=False)
    assert quality(left, Settings()).readings["quality.skew_left_deg"] == 0.4
    level = page.with_readings("deskew", angle_deg=-3.4, standard_error_deg=0.02, turned=True)
    assert quality(level, Settings()).readings["quality.skew_left_deg"] == 0.02


@pytest.mark.real
def test_no_real_page_that_a_person_could_use_is_held(real_scans: Path) -> None:
    held = []
    for path in sorted((real_scans / "ocr-truth").rglob("*")) + sorted((real_scans / "borders-holes").iterdir()):
        if path.is_dir() or path.suffix in (".txt", ".csv"):
            continue
        try:
            quality(read_page(path, 0, ReadSettings()), ALL_REFUSALS)
        except Refusal as refusal:
            held.append(f"{path.name}: {refusal}")
    assert not held
