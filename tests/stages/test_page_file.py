from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms

from stages.page_file import g4_strip, is_plain_jpeg2000, page_file_image, read_page_file, write_page_file
from stages.page_image import EncodedImage, PageImage
from stages.srgb import srgb_profile

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 70))


def photo(rows: int = 60, cols: int = 80) -> np.ndarray:
    y, x = np.mgrid[0:rows, 0:cols]
    return np.stack([x * 255 // cols, y * 255 // rows, (x + y) % 256], axis=2).astype(np.uint8)


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def scanned_as_jpeg(pixels: np.ndarray, **options: object) -> PageImage:
    data = jpeg(pixels, **options)
    decoded = np.array(Image.open(io.BytesIO(data)))
    rows, cols, channels = (*decoded.shape, 1)[:3]
    encoded = EncodedImage(codec="jpeg", data=data, width_px=cols, height_px=rows, channels=channels)
    return PageImage(pixels=decoded, dpi=300.0, encoded=encoded)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(pixels=SHAPES.flatmap(lambda shape: arrays(np.bool_, shape)), dpi=st.sampled_from([72.0, 203.2, 300.0, 600.0]))
def test_a_bitonal_page_comes_back_bit_for_bit(tmp_path: Path, pixels: np.ndarray, dpi: float) -> None:
    page = PageImage(pixels=pixels, dpi=dpi)
    for bitonal_encoding in ("g4", "png"):
        back = read_page_file(write_page_file(page, tmp_path, "page", bitonal_encoding=bitonal_encoding))
        assert back.pixels.dtype == np.bool_
        assert np.array_equal(back.pixels, pixels)
        assert back.dpi == pytest.approx(dpi, abs=0.02)


@pytest.mark.parametrize("pixels", [photo(), photo()[:, :, 0].copy()])
def test_a_page_written_as_png_loses_nothing_even_if_the_scanner_gave_a_jpeg(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    page = scanned_as_jpeg(pixels)
    path = write_page_file(page, tmp_path, "page", encoding="png", keep_scanner_stream=False)
    assert path.suffix == ".png"
    assert np.array_equal(read_page_file(path).pixels, page.pixels)


def test_the_scanners_own_jpeg_is_kept_byte_for_byte(tmp_path: Path) -> None:
    page = scanned_as_jpeg(photo())
    path = write_page_file(page, tmp_path, "page")
    assert page.encoded is not None
    assert path.read_bytes() == page.encoded.data
    assert page_file_image(path).data == page.encoded.data
    back = read_page_file(path, dpi=300.0)
    assert np.array_equal(back.pixels, page.pixels)
    assert back.encoded == page.encoded


def test_the_scanners_own_g4_strip_is_kept_byte_for_byte_whichever_bit_is_ink(tmp_path: Path) -> None:
    pixels = np.array(Image.fromarray(photo()[:, :, 0]).convert("1"))
    for black_is_1 in (False, True):
        strip = g4_strip(~pixels if black_is_1 else pixels)
        encoded = EncodedImage(codec="g4", data=strip, width_px=80, height_px=60, channels=1, black_is_1=black_is_1)
        path = write_page_file(PageImage(pixels=pixels, dpi=300.0, encoded=encoded), tmp_path, "page")
        back = read_page_file(path)
        assert np.array_equal(back.pixels, pixels)
        assert back.encoded == encoded
        assert page_file_image(path).data == strip
        assert page_file_image(path).black_is_1 is black_is_1


def test_a_cmyk_jpeg_is_delivered_as_the_rgb_it_decodes_to(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(photo()).convert("CMYK").save(file, "JPEG")
    encoded = EncodedImage(codec="jpeg", data=file.getvalue(), width_px=80, height_px=60, channels=4)
    path = write_page_file(PageImage(pixels=photo(), dpi=300.0, encoded=encoded), tmp_path, "page")
    assert page_file_image(path).channels == 3


def test_red_letters_keep_their_edges_in_a_jpeg(tmp_path: Path) -> None:
    stripes = np.full((64, 64, 3), 255, np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = (200, 0, 0)
    path = write_page_file(PageImage(pixels=stripes, dpi=300.0), tmp_path, "page", jpeg_quality=95)
    assert np.abs(read_page_file(path).pixels.astype(int) - stripes).max() < 25


def test_the_same_page_gives_the_same_file(tmp_path: Path) -> None:
    for page in (PageImage(pixels=photo(), dpi=300.0), PageImage(pixels=photo()[:, :, 0] > 99, dpi=300.0)):
        first = write_page_file(page, tmp_path, "a").read_bytes()
        assert write_page_file(page, tmp_path, "b").read_bytes() == first


def test_a_bitonal_page_file_is_one_g4_strip_of_white_is_zero(tmp_path: Path) -> None:
    path = write_page_file(PageImage(pixels=photo()[:, :, 0] > 99, dpi=300.0), tmp_path, "page")
    with Image.open(path) as image:
        tags = {number: image.tag_v2[number] for number in (259, 262, 266, 278, 282, 283, 296)}
        assert tags == {259: 4, 262: 0, 266: 1, 278: 60, 282: 300.0, 283: 300.0, 296: 2}
        assert len(image.tag_v2[273]) == 1


def test_the_scanners_own_colours_go_with_its_jpeg(tmp_path: Path) -> None:
    page = scanned_as_jpeg(photo(), icc_profile=srgb_profile())
    assert page_file_image(write_page_file(page, tmp_path, "page")).icc == srgb_profile()
    broken = scanned_as_jpeg(photo(), icc_profile=srgb_profile()[:-1])
    assert page_file_image(write_page_file(broken, tmp_path, "page")).icc == b""
    grey = scanned_as_jpeg(photo()[:, :, 0].copy(), icc_profile=srgb_profile())
    assert page_file_image(write_page_file(grey, tmp_path, "page")).icc == b""


def test_a_jpeg_2000_from_the_scanner_is_kept_byte_for_byte(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(photo()).save(file, "JPEG2000")
    encoded = EncodedImage(codec="jp2", data=file.getvalue(), width_px=80, height_px=60, channels=3)
    path = write_page_file(PageImage(pixels=photo(), dpi=300.0, encoded=encoded), tmp_path, "page")
    assert path.read_bytes() == encoded.data
    packed = page_file_image(path)
    assert (packed.codec, packed.channels, packed.bits, packed.data) == ("JPXDecode", 3, 8, encoded.data)
    assert np.array_equal(read_page_file(path, dpi=300.0).pixels, photo())


def test_only_a_plain_jpeg_2000_may_stand_in_a_pdf() -> None:
    for mode, plain in (("L", True), ("RGB", True), ("RGBA", False), ("I;16", False)):
        file = io.BytesIO()
        Image.new(mode, (64, 64)).save(file, "JPEG2000")
        assert is_plain_jpeg2000(file.getvalue()) is plain, mode
    assert not is_plain_jpeg2000(b"\xff\x4f\xff\x51")
    assert not is_plain_jpeg2000(b"")


def test_a_file_that_is_no_page_file_is_refused(tmp_path: Path) -> None:
    for name, data in (("a.gif", b"GIF89a"), ("a.png", b"no png"), ("a.tif", b"II*\0"), ("a.jpg", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ValueError, match=name):
            page_file_image(path)
    Image.new("1", (9, 9)).save(tmp_path / "b.tif", compression="group3")
    with pytest.raises(ValueError, match="G4"):
        read_page_file(tmp_path / "b.tif", dpi=300.0)


def test_the_output_profile_is_srgb() -> None:
    ours = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    image = Image.fromarray(photo())
    seen = ImageCms.profileToProfile(image, ours, ImageCms.createProfile("sRGB"))
    assert np.abs(np.array(seen).astype(int) - photo()).max() <= 1
    assert srgb_profile()[8] == 2  # the ICC version that PDF/A-1 takes
