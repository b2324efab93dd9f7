"""Files in, page images out: every layout right, every damaged file refused."""

import io
import itertools
import logging
import resource
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pikepdf
import pypdfium2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin, TiffImagePlugin, TiffTags

from stages.errors import Refusal, ResolutionTooLow, TooLarge, UnreadableImage
from stages.page_image import EncodedImage, PageImage
from stages.read import Settings, is_supported, page_count, page_megapixels, read_page
from stages.tools import run
from tests.conftest import REAL_SCANS, ROOT

SETTINGS = Settings()
Bits = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


# ---- drawing and building


def bits(width: int = 203, height: int = 61, seed: int = 3) -> Bits:
    """Ink that is not symmetric in any way."""
    image = Image.new("1", (width, height), 1)
    draw = ImageDraw.Draw(image)
    draw.rectangle((5, 4, width // 2, 9), fill=0)
    draw.polygon([(8, 14), (width // 3, height - 8), (12, height - 4)], fill=0)
    spots = np.random.default_rng(seed).integers(0, [width, height], size=(40, 2))
    draw.point([(int(x), int(y)) for x, y in spots], fill=0)
    return np.array(image.convert("L")) > 0


def colours(width: int = 97, height: int = 53) -> Bytes:
    """Smooth colour, different in every corner."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([255 * x, 255 * y, 255 * (1 - x) * y], axis=2).round().astype(np.uint8)


def saved(path: Path, pixels: npt.NDArray[np.generic], kind: str = "TIFF", **options: object) -> Path:
    Image.fromarray(pixels).save(path, kind, **options)
    return path


def tiff(
    pages: list[tuple[dict[int, tuple[str, list[float]]], list[bytes]]], *, order: str = "<", big: bool = False
) -> bytes:
    """A TIFF file from tags (struct letter, values; R for fractions) and strips; 273 and 279 are filled in."""
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    out += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    at_link = 8 if big else 4
    word = "Q" if big else "I"
    kinds = {"B": 1, "H": 3, "I": 4, "R": 5}
    for given_tags, strips in pages:
        offsets = []
        for strip in strips:
            offsets.append(len(out))
            out += strip + b"\0" * (len(strip) % 2)
        tags = {273: ("I", offsets), 279: ("I", [len(one) for one in strips]), **given_tags}
        where = len(out)
        struct.pack_into(order + word, out, at_link, where)
        entry = 20 if big else 12
        values_at = where + (8 if big else 2) + entry * len(tags) + (8 if big else 4)
        table, values = struct.pack(order + ("Q" if big else "H"), len(tags)), b""
        for tag, (letter, numbers) in sorted(tags.items()):
            if letter == "R":
                data = b"".join(struct.pack(order + "II", round(one * 100), 100) for one in numbers)
            else:
                data = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
            room = 8 if big else 4
            if len(data) > room:
                field = struct.pack(order + word, values_at + len(values))
                values += data + b"\0" * (len(data) % 2)
            else:
                field = data.ljust(room, b"\0")
            table += struct.pack(order + "HH" + word, tag, kinds[letter], len(numbers)) + field
        out += table
        at_link = len(out)
        out += struct.pack(order + word, 0) + values
    return bytes(out)


def tags(
    width: int, height: int, *, bits_each: list[int], photometric: int, compression: int = 1, **more: object
) -> dict[int, tuple[str, list[float]]]:
    return {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", list(bits_each)),
        259: ("H", [compression]),
        262: ("H", [photometric]),
        277: ("H", [len(bits_each)]),
        278: ("I", [height]),
    }


def read_tiff_bytes(tmp_path: Path, data: bytes, page_index: int = 0) -> PageImage:
    path = tmp_path / "made.bin"  # the name says nothing
    path.write_bytes(data)
    return read_page(path, page_index, SETTINGS)


def close(found: npt.NDArray[np.generic], truth: npt.NDArray[np.generic], levels: float) -> None:
    assert found.shape == truth.shape
    assert float(np.abs(found.astype(int) - truth.astype(int)).mean()) <= levels


def readings(page: PageImage) -> dict[str, object]:
    return {name.removeprefix("read."): value for name, value in page.readings.items()}


# ---- which scanner


@pytest.mark.parametrize(
    ("make", "model", "software", "told"),
    [
        ("FUJITSU", "fi-7160", "PaperStream Capture", "FUJITSU fi-7160"),
        ("Canon", "Canon DR-C240", "", "Canon DR-C240"),
        ("", "", "Scan 2 1.0", "Scan 2 1.0"),
        ("", "", "", ""),
        ("Evil\x1b[31m", "a\nb\x9bc" + "x" * 5000, "", ("Evil [31m a b c" + "x" * 60)[:60]),
    ],
)
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_a_page_tells_which_scanner_made_it(
    tmp_path: Path, kind: str, make: str, model: str, software: str, told: str
) -> None:
    named = {tag: text.encode("latin-1") for tag, text in ((271, make), (272, model), (305, software)) if text}
    path = tmp_path / "scan"
    if kind == "TIFF":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, text in named.items():
            info.tagtype[tag] = TiffTags.ASCII
            info[tag] = text
        Image.fromarray(colours()).save(path, kind, tiffinfo=info)
    else:
        exif = Image.Exif()
        exif.update(named)
        Image.fromarray(colours()).save(path, kind, exif=exif)
    assert readings(read_page(path, 0, SETTINGS))["scanner"] == told


@pytest.mark.parametrize(
    ("number", "computer", "told"),
    [
        ("A09X012345", "SCAN-ROOM-12", "Canon EOS R5 no. A09X012345"),
        ("", "SCAN-ROOM-12", "Canon EOS R5 at SCAN-ROOM-12"),
        ("", "Windows 10", "Canon EOS R5"),
        ("\x1b[31m" + "7" * 5000, "", "Canon EOS R5 no. [31m" + "7" * 20),
    ],
)
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_two_scanners_of_one_model_have_two_names_where_the_file_tells_them_apart(
    tmp_path: Path, kind: str, number: str, computer: str, told: str
) -> None:
    path = tmp_path / "scan"
    if kind == "TIFF":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, text in ((272, "Canon EOS R5"), (316, computer), (50735, number)):
            info.tagtype[tag] = TiffTags.ASCII
            info[tag] = text
        Image.fromarray(colours()).save(path, kind, tiffinfo=info)
    else:
        exif = Image.Exif()
        exif.update({272: "Canon EOS R5", 316: computer})
        exif.get_ifd(0x8769)[0xA431] = number
        Image.fromarray(colours()).save(path, kind, exif=exif)
    assert readings(read_page(path, 0, SETTINGS))["scanner"] == told


def test_a_pdf_tells_which_device_created_it(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(72, 72))
        pdf.docinfo["/Creator"] = "KONICA MINOLTA bizhub C364"
        pdf.docinfo["/Producer"] = "a library"
        pdf.save(path)
    assert readings(read_page(path, 0, SETTINGS))["scanner"] == "KONICA MINOLTA bizhub C364"


def test_a_pdf_whose_information_is_rubbish_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "scan"
    with pikepdf.new() as pdf:
        pdf.add_blank_page(page_size=(72, 72))
        pdf.trailer["/Info"] = pdf.make_indirect(pikepdf.Dictionary({"/Creator": pikepdf.Array([1]), "/Producer": 7}))
        pdf.save(path)
    assert readings(read_page(path, 0, SETTINGS))["scanner"] == ""


# ---- TIFF: fax codes


@pytest.mark.parametrize(
    "compression", [None, "tiff_ccitt", "group3", "group4", "packbits", "tiff_lzw", "tiff_deflate"]
)
@pytest.mark.parametrize("width", [1, 7, 8, 203, 1728])
def test_black_and_white_comes_back_pixel_for_pixel(tmp_path: Path, compression: str | None, width: int) -> None:
    truth = bits(max(width, 30))[:, :width].copy()
    page = read_page(saved(tmp_path / "a", truth, compression=compression, dpi=(300, 300)), 0, SETTINGS)
    assert page.is_bitonal
    assert np.array_equal(page.pixels, truth)
    assert page.pixels.view(np.uint8).max(initial=0) <= 1  # a bool of 255 would spoil every sum
    assert (page.dpi, readings(page)["mode"]) == (300, "bitonal")


@pytest.mark.tool
@pytest.mark.parametrize(
    "arguments",
    [
        "-c g3:1d",
        "-c g3:2d",
        "-c g3:2d:fill",
        "-c g4",
        "-c g4 -r 10",
        "-c g4 -f lsb2msb",
        "-c g3:2d -f lsb2msb -r 7",
        "-c g4 -t -w 48 -l 32",
        "-c lzw -f lsb2msb",
        "-c zip -t -w 64 -l 16",
        "-c packbits -B",
        "-c g4 -B",
        "-c g4 -8",
        "-c none -8 -B",
        "-c lzma",
    ],
)
def test_black_and_white_is_right_however_libtiff_lays_it_out(tmp_path: Path, arguments: str) -> None:
    truth = bits()
    saved(tmp_path / "a.tif", truth, compression="group4", dpi=(200, 200))
    run(["tiffcp", *arguments.split(), str(tmp_path / "a.tif"), str(tmp_path / "b.tif")], timeout_s=20)
    page = read_page(tmp_path / "b.tif", 0, SETTINGS)
    assert np.array_equal(page.pixels, truth)
    assert page.dpi == 200


@pytest.mark.parametrize("photometric", [0, 1])
def test_a_single_g4_strip_is_kept_and_a_pdf_with_it_shows_the_same_page(tmp_path: Path, photometric: int) -> None:
    truth = bits(800, 600)
    strip = g4_of(truth if photometric == 1 else ~truth)
    page = read_tiff_bytes(
        tmp_path, tiff([(tags(800, 600, bits_each=[1], photometric=photometric, compression=4), [strip])])
    )
    assert np.array_equal(page.pixels, truth)
    assert page.encoded is not None
    assert page.encoded.data == strip
    assert page.encoded.black_is_1 is (photometric == 1)
    assert np.array_equal(shown(pdf_of_g4(page.encoded), scale=1)[:, :, 0] > 127, truth)


def test_a_strip_with_its_bits_the_other_way_round_is_kept_the_right_way_round(tmp_path: Path) -> None:
    truth = bits()
    strip = g4_of(~truth)
    backwards = bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip)
    made = {**tags(203, 61, bits_each=[1], photometric=0, compression=4), 266: ("H", [2])}
    page = read_tiff_bytes(tmp_path, tiff([(made, [backwards])]))
    assert np.array_equal(page.pixels, truth)
    assert page.encoded is not None
    assert page.encoded.data == strip


def g4_of(ones: Bits) -> bytes:
    """A G4 strip in which 1 is coded black (libtiff codes ones as black whatever the photometric tag says)."""
    file = io.BytesIO()
    Image.fromarray(ones).save(file, "TIFF", compression="group4", strip_size=1 << 30)
    with Image.open(file) as image:
        (offset,), (size,) = image.tag_v2[273], image.tag_v2[279]
    return file.getvalue()[offset : offset + size]


def pdf_of_g4(encoded: EncodedImage) -> bytes:
    return pdf_of(
        encoded.data,
        encoded.width_px,
        encoded.height_px,
        Filter=pikepdf.Name.CCITTFaxDecode,
        BitsPerComponent=1,
        ColorSpace=pikepdf.Name.DeviceGray,
        DecodeParms=pikepdf.Dictionary(
            K=-1, Columns=encoded.width_px, Rows=encoded.height_px, BlackIs1=encoded.black_is_1
        ),
    )


@pytest.mark.parametrize("with_end_mark", [True, False])
@given(cut=st.floats(0.02, 0.97), width=st.integers(60, 900))
@settings(max_examples=25, deadline=None)
def test_a_g4_page_that_breaks_off_is_refused_and_a_whole_one_never(
    tmp_path_factory: pytest.TempPathFactory, with_end_mark: bool, cut: float, width: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("g4")
    truth = bits(width, 200)
    strip = g4_of(~truth)
    assert strip.endswith(
        (b"\x00\x10\x01", b"\x01\x00\x10", b"\0", b"\x80", b"\x40", b"\x20", b"\x10", b"\x08", b"\4", b"\2")
    )
    if not with_end_mark:
        whole = int.from_bytes(strip, "big")
        zeros = (whole & -whole).bit_length() - 1
        strip = (whole >> zeros + 24 << zeros + 24).to_bytes(len(strip), "big")[: len(strip) - (zeros + 24) // 8]
    made = tags(width, 200, bits_each=[1], photometric=0, compression=4)
    assert np.array_equal(read_tiff_bytes(tmp_path, tiff([(made, [strip])])).pixels, truth)
    with pytest.raises(UnreadableImage, match="cut off"):
        read_tiff_bytes(tmp_path, tiff([(made, [strip[: int(len(strip) * cut)]])]))


def test_a_g4_page_damaged_in_the_middle_is_refused(tmp_path: Path) -> None:
    strip = bytearray(g4_of(~bits(600, 400)))
    middle = len(strip) // 2
    strip[middle : middle + 3] = b"\0\0\0"
    with pytest.raises(UnreadableImage, match="damaged"):
        read_tiff_bytes(tmp_path, tiff([(tags(600, 400, bits_each=[1], photometric=0, compression=4), [bytes(strip)])]))


@pytest.mark.parametrize("compression", ["group3", "tiff_lzw", "packbits", "tiff_deflate", None, "group4", "jpeg"])
def test_strips_that_hold_less_than_they_should_are_refused(tmp_path: Path, compression: str | None) -> None:
    pixels = colours(400, 300) if compression == "jpeg" else bits(400, 300)
    saved(tmp_path / "a", pixels, compression=compression, strip_size=1 << 30)
    with Image.open(tmp_path / "a") as image:
        found = {258: (1,), **image.tag_v2}
        start, size = found[273][0], found[279][0]
    strip = (tmp_path / "a").read_bytes()[start : start + size]
    made = {tag: ("I", [found[tag]]) for tag in (256, 257)} | {
        258: ("H", list(found[258])),
        259: ("H", [found[259]]),
        262: ("H", [found[262]]),
        277: ("H", [len(found[258])]),
        278: ("I", [found[278]]),
    }
    if 347 in found:
        made[347] = ("B", list(found[347]))
    assert read_tiff_bytes(tmp_path, tiff([(made, [strip])])).height_px == 300
    with pytest.raises(UnreadableImage):
        read_tiff_bytes(tmp_path, tiff([(made, [strip[: len(strip) * 2 // 3]])]))


# ---- TIFF: depths, colours, layouts


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits", "lzma", "zstd"])
def test_colour_comes_back_pixel_for_pixel(tmp_path: Path, compression: str | None) -> None:
    page = read_page(saved(tmp_path / "a", colours(), compression=compression), 0, SETTINGS)
    assert np.array_equal(page.pixels, colours())
    assert readings(page)["mode"] == "colour"


PACKED = ["-c lzw:2", "-c zip:2 -r 7", "-c zip:2 -t -w 32 -l 16", "-c none -B", "-c lzw:2 -B -8"]
PLANAR = ["-c lzw:2 -p separate", "-c none -p separate -r 11", "-c zip:2 -p separate -t -w 16 -l 48"]


@pytest.mark.tool
@pytest.mark.parametrize(
    ("arguments", "depth"),
    # tiffcp takes 16-bit planes apart wrongly: those are made by hand below
    [*itertools.product(PACKED, (8, 16)), *itertools.product(PLANAR, (8,))],
)
def test_colour_is_right_however_libtiff_lays_it_out(tmp_path: Path, arguments: str, depth: int) -> None:
    truth = colours()
    given_bytes = truth.tobytes() if depth == 8 else (truth.astype("<u2") * 257).tobytes()
    made = tags(97, 53, bits_each=[depth] * 3, photometric=2)
    (tmp_path / "a.tif").write_bytes(tiff([(made, [given_bytes])]))
    run(["tiffcp", *arguments.split(), str(tmp_path / "a.tif"), str(tmp_path / "b.tif")], timeout_s=20)
    assert np.array_equal(read_page(tmp_path / "b.tif", 0, SETTINGS).pixels, truth)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("rows", [10, 53])
def test_16_bit_planes_lie_on_one_another(tmp_path: Path, order: str, rows: int) -> None:
    wide = (colours().astype(np.uint32) * 257).astype(order + "u2")
    strips = [wide[top : top + rows, :, plane].tobytes() for plane in range(3) for top in range(0, 53, rows)]
    made = {**tags(97, 53, bits_each=[16] * 3, photometric=2), 278: ("I", [rows]), 284: ("H", [2])}
    assert np.array_equal(read_tiff_bytes(tmp_path, tiff([(made, strips)], order=order)).pixels, colours())


@pytest.mark.tool
@pytest.mark.parametrize(
    "arguments", ["-c jpeg:95 -r 64", "-c jpeg:r:95 -r 8", "-c jpeg:95 -r 16", "-c jpeg:95 -t -w 32 -l 32"]
)
def test_jpeg_strips_and_tiles_have_their_colours(tmp_path: Path, arguments: str) -> None:
    saved(tmp_path / "a.tif", colours(), compression=None)
    run(["tiffcp", *arguments.split(), str(tmp_path / "a.tif"), str(tmp_path / "b.tif")], timeout_s=20)
    page = read_page(tmp_path / "b.tif", 0, SETTINGS)
    close(page.pixels, colours(), 3)
    assert page.encoded is None


@pytest.mark.parametrize(("depth", "top"), [(2, 3), (4, 15), (8, 255), (16, 65535)])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_grey_of_any_depth_reaches_from_black_to_white(
    tmp_path: Path, depth: int, top: int, order: str, photometric: int
) -> None:
    ramp = np.round(np.linspace(0, top, 33)).astype(np.uint32)
    if depth == 16:
        row = ramp.astype(order + "u2").tobytes()
    else:
        spread = "".join(f"{int(value):0{depth}b}" for value in ramp)
        spread += "0" * (-len(spread) % 8)
        row = int(spread, 2).to_bytes(len(spread) // 8, "big")
    page = read_tiff_bytes(
        tmp_path, tiff([(tags(33, 2, bits_each=[depth], photometric=photometric), [row * 2])], order=order)
    )
    truth = np.round(ramp * (255 / top)).astype(int)
    assert np.array_equal(page.pixels, np.tile(truth if photometric else 255 - truth, (2, 1)))


@pytest.mark.parametrize("scale", [257, 1])
def test_a_palette_is_read_with_16_bit_and_with_8_bit_tables(tmp_path: Path, scale: int) -> None:
    table = np.random.default_rng(1).integers(0, 256, size=(256, 3))
    table[7] = (255, 200, 3)
    indices = np.arange(256, dtype=np.uint8).reshape(8, 32)
    made = {**tags(32, 8, bits_each=[8], photometric=3), 320: ("H", list((table.T * scale).ravel()))}
    page = read_tiff_bytes(tmp_path, tiff([(made, [indices.tobytes()])]))
    assert np.array_equal(page.pixels, table[indices])
    assert ("warnings" in readings(page)) is (scale == 1)


def test_a_two_colour_palette_of_black_and_white_is_black_and_white(tmp_path: Path) -> None:
    truth = bits(40, 9)
    made = {**tags(40, 9, bits_each=[1], photometric=3), 320: ("H", [65535, 0] * 3)}
    page = read_tiff_bytes(tmp_path, tiff([(made, [np.packbits(~truth, axis=1).tobytes()])]))
    assert page.is_bitonal
    assert np.array_equal(page.pixels, truth)


@pytest.mark.parametrize(("extra", "expected"), [(0, 100), (1, 227), (2, 177)])
def test_what_is_see_through_lies_on_white_paper(tmp_path: Path, extra: int, expected: int) -> None:
    # half covered 100: unassociated 100/2 + 255/2, premultiplied 100 + 255/2; unspecified extra samples are no alpha
    made = {**tags(2, 1, bits_each=[8] * 4, photometric=2), 338: ("H", [extra])}
    page = read_tiff_bytes(tmp_path, tiff([(made, [bytes([100, 100, 100, 128, 9, 8, 7, 255])])]))
    assert abs(int(page.pixels[0, 0, 0]) - expected) <= 1
    assert page.pixels[0, 1].tolist() == [9, 8, 7]


@pytest.mark.parametrize(("sub_x", "sub_y"), [(1, 1), (2, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("rows", [16, 53])
def test_subsampled_colour_is_spread_out_again(tmp_path: Path, sub_x: int, sub_y: int, rows: int) -> None:
    truth = colours()
    ycc = np.array(Image.fromarray(truth).convert("YCbCr"))
    strips = []
    for top in range(0, 53, rows):
        part = ycc[top : top + rows]
        pad_y, pad_x = -len(part) % sub_y, -97 % sub_x
        part = np.pad(part, ((0, pad_y), (0, pad_x), (0, 0)), mode="edge")
        high, wide = part.shape[0] // sub_y, part.shape[1] // sub_x
        light = part[:, :, 0].reshape(high, sub_y, wide, sub_x).transpose(0, 2, 1, 3).reshape(high, wide, -1)
        chroma = part[::sub_y, ::sub_x, 1:]
        strips.append(np.concatenate([light, chroma], axis=2).astype(np.uint8).tobytes())
    made = {**tags(97, 53, bits_each=[8] * 3, photometric=6), 278: ("I", [rows]), 530: ("H", [sub_x, sub_y])}
    close(read_tiff_bytes(tmp_path, tiff([(made, strips)])).pixels, truth, 4)


@pytest.mark.parametrize("photometric", [8, 9])
@pytest.mark.parametrize("depth", [8, 16])
def test_lab_has_its_own_colours(tmp_path: Path, photometric: int, depth: int) -> None:
    # white, black, and a red: L* 54, a* 80, b* 68 is sRGB (255, 0, 0) but for the white point
    lab = np.array([[100, 0, 0], [0, 0, 0], [54.3, 80.8, 69.9]])
    if depth == 8:
        light, chroma = lab[:, :1] * 2.55, lab[:, 1:] + (128 if photometric == 9 else 0)
        data = np.round(np.concatenate([light, chroma % 256], axis=1)).astype(np.uint8).tobytes()
    else:
        light, chroma = lab[:, :1] * 655.35, (lab[:, 1:] + (128 if photometric == 9 else 0)) * 256
        data = np.round(np.concatenate([light, chroma % 65536], axis=1)).astype("<u2").tobytes()
    made = {**tags(3, 1, bits_each=[depth] * 3, photometric=photometric), 338: ("H", [0]), 339: ("H", [1, 2, 2])}
    close(read_tiff_bytes(tmp_path, tiff([(made, [data])])).pixels[0], np.array([[255] * 3, [0] * 3, [254, 0, 0]]), 3)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_printing_inks_become_colours(tmp_path: Path, compression: str | None) -> None:
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "a", "TIFF", compression=compression)
    page = read_page(tmp_path / "a", 0, SETTINGS)
    close(page.pixels, np.full((64, 64, 3), (255, 0, 0)), 2)
    assert "approximate" in str(readings(page)["warnings"])


def test_strips_without_byte_counts_are_found(tmp_path: Path) -> None:
    truth = bits(200, 90)
    strips = [g4_of(~truth[top : top + 30]) for top in (0, 30, 60)]
    made = {**tags(200, 90, bits_each=[1], photometric=0, compression=4), 278: ("I", [30]), 279: ("I", [0, 0, 0])}
    assert np.array_equal(read_tiff_bytes(tmp_path, tiff([(made, strips)])).pixels, truth)


def test_a_strip_list_that_contradicts_the_sizes_is_refused(tmp_path: Path) -> None:
    made = tags(40, 30, bits_each=[8], photometric=1)
    with pytest.raises(UnreadableImage, match="lists 3 strips"):
        read_tiff_bytes(tmp_path, tiff([(made, [bytes(1200), bytes(1200), bytes(1200)])]))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({277: ("H", [65535])}, "channels"),
        ({258: ("H", [12])}, "depth"),
        ({339: ("H", [3])}, "floating"),
        ({259: ("H", [34661])}, "compression"),
        ({262: ("H", [32844])}, "colours"),
        ({278: ("I", [0])}, "no size"),
        ({256: ("I", [0])}, "0 x 30"),
    ],
)
def test_a_layout_that_is_not_taken_is_named(
    tmp_path: Path, wrong: dict[int, tuple[str, list[float]]], reason: str
) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        read_tiff_bytes(tmp_path, tiff([({**tags(40, 30, bits_each=[8], photometric=1), **wrong}, [bytes(1200)])]))


def test_one_long_strip_named_a_thousand_times_takes_no_memory(tmp_path: Path) -> None:
    made = {**tags(8, 1000, bits_each=[8], photometric=1, compression=5), 278: ("I", [1])}
    long = bytes(1 << 21)
    made |= {273: ("I", [16] * 1000), 279: ("I", [len(long)] * 1000)}
    with pytest.raises(UnreadableImage, match="many times longer"):
        read_tiff_bytes(tmp_path, tiff([(made, [long])]))


def test_a_page_is_refused_by_its_declared_size_before_memory_is_taken(tmp_path: Path) -> None:
    made = tags(2_000_000_000, 2_000_000_000, bits_each=[8], photometric=1)
    with pytest.raises(TooLarge):
        read_tiff_bytes(tmp_path, tiff([(made, [b"12"])]))


# ---- TIFF: pages


def test_thumbnails_and_masks_are_no_pages(tmp_path: Path) -> None:
    def grey_page(level: int, kind: int) -> tuple[dict[int, tuple[str, list[float]]], list[bytes]]:
        return {**tags(8, 8, bits_each=[8], photometric=1), 254: ("I", [kind])}, [bytes([level]) * 64]

    path = tmp_path / "a"
    path.write_bytes(tiff([grey_page(10, 2), grey_page(20, 1), grey_page(30, 4), grey_page(40, 2)]))
    assert page_count(path) == 2
    assert [int(read_page(path, index, SETTINGS).pixels[0, 0]) for index in (0, 1)] == [10, 40]


@pytest.mark.parametrize("big", [False, True])
def test_500_pages_cost_no_more_each_than_one(tmp_path: Path, big: bool) -> None:
    made = tags(64, 64, bits_each=[8], photometric=1)
    path = tmp_path / "a"
    path.write_bytes(tiff([(made, [struct.pack(">I", number) * 1024]) for number in range(500)], big=big))
    assert page_count(path) == 500

    def cost_s(pages: range) -> float:
        start = time.process_time()
        for index in pages:
            assert read_page(path, index, SETTINGS).pixels[0, :4].tobytes() == struct.pack(">I", index)
        return time.process_time() - start

    read_page(path, 0, SETTINGS)
    assert cost_s(range(400, 500)) < 3 * cost_s(range(100)) + 0.05
    assert cost_s(range(500)) < 2.0


def test_pages_in_a_circle_are_refused(tmp_path: Path) -> None:
    data = bytearray(tiff([(tags(8, 8, bits_each=[8], photometric=1), [bytes(64)])] * 3))
    last = data.rindex(struct.pack("<HHII", 279, 4, 1, 64)) + 12
    data[last : last + 4] = data[4:8]
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match="circle"):
        page_count(path)


def test_a_page_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="1 pages"):
        read_page(saved(tmp_path / "a", bits()), 1, SETTINGS)
    with pytest.raises(UnreadableImage, match="1 page,"):
        read_page(saved(tmp_path / "b", bits(), "PNG"), 1, SETTINGS)


# ---- turns and resolution


TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}  # how a scanner that states this orientation has stored the upright page


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "JPEG", "PNG", "WEBP"])
def test_every_orientation_is_obeyed(tmp_path: Path, kind: str, orientation: int) -> None:
    upright = colours(96, 48)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"TIFF": {"tiffinfo": {274: orientation}}, "WEBP": {"exif": exif, "lossless": True}}.get(
        kind, {"exif": exif}
    )
    stored = np.ascontiguousarray(TURNS[orientation](upright))
    page = read_page(saved(tmp_path / "a", stored, kind, **options), 0, SETTINGS)
    close(page.pixels, upright, 3)
    assert readings(page)["turned"] == orientation
    assert (page.encoded is not None) is (kind == "JPEG" and orientation == 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_black_and_white_is_pixel_for_pixel_upright(tmp_path: Path, orientation: int) -> None:
    upright = bits()
    stored = np.ascontiguousarray(TURNS[orientation](upright))
    path = saved(tmp_path / "a", stored, compression="group4", tiffinfo={274: orientation})
    assert np.array_equal(read_page(path, 0, SETTINGS).pixels, upright)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_fax_is_squared_to_its_finer_axis(tmp_path: Path, orientation: int) -> None:
    stored = bits(204, 98)
    path = saved(tmp_path / "a", stored, compression="group3", dpi=(204, 98), tiffinfo={274: orientation})
    page = read_page(path, 0, SETTINGS)
    assert page.pixels.shape == (204, 204)
    assert page.dpi == 204
    assert page.is_bitonal
    assert page.encoded is None
    assert (readings(page)["dpi_x"], readings(page)["dpi_y"]) == (204, 98)
    shrunk = cv2.resize(
        (page.pixels if orientation == 1 else np.rot90(page.pixels, 1)).astype(np.uint8) * 255,
        (204, 98),
        interpolation=cv2.INTER_NEAREST,
    )
    assert np.mean((shrunk > 127) == stored) > 0.97


def test_dots_per_centimetre_and_per_metre_are_inches_here(tmp_path: Path) -> None:
    made = {**tags(8, 8, bits_each=[8], photometric=1), 282: ("R", [118.11]), 283: ("R", [118.11]), 296: ("H", [3])}
    assert read_tiff_bytes(tmp_path, tiff([(made, [bytes(64)])])).dpi == 300
    assert read_page(saved(tmp_path / "p", bits(), "PNG", dpi=(300, 300)), 0, SETTINGS).dpi == 300


@pytest.mark.parametrize(("dpi", "unit"), [(0, 2), (1, 2), (20_000, 2), (300, 1), (5, 3), (None, 2)])
def test_a_resolution_that_cannot_be_meant_is_missing(tmp_path: Path, dpi: float | None, unit: int) -> None:
    made = {**tags(8, 8, bits_each=[8], photometric=1), 296: ("H", [unit])}
    if dpi is not None:
        made |= {282: ("R", [dpi]), 283: ("R", [dpi])}
    path = tmp_path / "a"
    path.write_bytes(tiff([(made, [bytes(64)])]))
    page = read_page(path, 0, Settings(dpi_when_missing=240))
    assert (page.dpi, readings(page)["dpi_source"]) == (240, "profile")


@pytest.mark.parametrize(
    ("size", "dpi"),
    [((1700, 2200), 200), ((2480, 3508), 300), ((4200, 2550), 300), ((1275, 1650), 150), ((999, 999), 300)],
)
def test_a_missing_resolution_is_guessed_from_the_sheet(tmp_path: Path, size: tuple[int, int], dpi: float) -> None:
    path = saved(tmp_path / "a", np.ones((size[1], size[0]), bool), "PNG")
    page = read_page(path, 0, Settings(dpi_when_missing=None))
    assert (page.dpi, readings(page)["dpi_source"]) == (dpi, "guessed")


def test_a_coarse_scan_is_refused_only_when_its_file_says_so(tmp_path: Path) -> None:
    strict = Settings(min_dpi=200, dpi_when_missing=150)
    with pytest.raises(ResolutionTooLow, match="98 dpi"):
        read_page(saved(tmp_path / "a", bits(), compression="group4", dpi=(204, 98)), 0, strict)
    assert read_page(saved(tmp_path / "b", bits(), "PNG"), 0, strict).dpi == 150


def test_a_jpeg_without_resolution_is_not_taken_for_72_dpi(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = TiffImagePlugin.IFDRational(1, 0), TiffImagePlugin.IFDRational(1, 0), 2
    page = read_page(saved(tmp_path / "a", colours(), "JPEG", exif=exif), 0, SETTINGS)
    assert readings(page)["dpi_source"] == "profile"


# ---- the other formats


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_a_scanners_jpeg_is_kept_as_it_is(tmp_path: Path, progressive: bool, grey: bool) -> None:
    truth = colours()[:, :, 0] if grey else colours()
    path = saved(tmp_path / "a", truth, "JPEG", quality=90, progressive=progressive, dpi=(300, 300))
    page = read_page(path, 0, SETTINGS)
    close(page.pixels, truth, 3)
    assert page.encoded == EncodedImage(
        codec="jpeg", data=path.read_bytes(), width_px=97, height_px=53, channels=1 if grey else 3
    )


def test_jpegs_that_others_may_decode_differently_are_not_kept(tmp_path: Path) -> None:
    Image.new("CMYK", (64, 64), (0, 255, 255, 0)).save(tmp_path / "a", "JPEG")
    page = read_page(tmp_path / "a", 0, SETTINGS)
    close(page.pixels, np.full((64, 64, 3), (255, 0, 0)), 3)
    assert page.encoded is None
    # RGB that only its channels' names say, for Adobe's mark has been taken out
    marked = saved(tmp_path / "b", colours(), "JPEG", keep_rgb=True).read_bytes()
    assert marked[2:4] == b"\xff\xee"
    (tmp_path / "b").write_bytes(marked[:2] + marked[18:])
    page = read_page(tmp_path / "b", 0, SETTINGS)
    close(page.pixels, colours(), 3)
    assert page.encoded is None
    page = read_page(saved(tmp_path / "c", bits(204, 98).astype(np.uint8) * 255, "JPEG", dpi=(204, 98)), 0, SETTINGS)
    assert page.encoded is None
    assert page.pixels.shape == (204, 204)


def test_colours_of_another_profile_are_brought_to_srgb(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_page(saved(tmp_path / "a", colours(), "JPEG", icc_profile=srgb), 0, SETTINGS)
    assert same.encoded is not None
    assert "warnings" not in readings(same)
    # the same profile with its red and green primaries exchanged: red must come out green
    other = srgb.replace(b"rXYZ", b"tmp0").replace(b"gXYZ", b"rXYZ").replace(b"tmp0", b"gXYZ")
    red = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    page = read_page(saved(tmp_path / "b", red, "JPEG", icc_profile=other), 0, SETTINGS)
    close(page.pixels, np.full((16, 16, 3), (0, 255, 0)), 4)
    assert page.encoded is None
    assert "to sRGB" in str(readings(page)["warnings"])
    page = read_page(saved(tmp_path / "c", red, "PNG", icc_profile=b"rubbish"), 0, SETTINGS)
    assert np.array_equal(page.pixels, red)
    assert "could not be used" in str(readings(page)["warnings"])


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, io.SEEK_END)
    PngImagePlugin.putchunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    for name, body in (*chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        PngImagePlugin.putchunk(file, name, body)
    return file.getvalue()


@pytest.mark.parametrize(
    ("made", "truth"),
    [
        (png(8, 1, 1, 0, b"\0\x0f"), [False] * 4 + [True] * 4),
        (png(4, 1, 2, 0, b"\0\x1b"), [0, 85, 170, 255]),
        (png(2, 1, 4, 0, b"\0\x0f"), [0, 255]),
        (png(3, 1, 16, 0, b"\0\0\0\x80\x80\xff\xff"), [0, 128, 255]),
        (png(1, 1, 16, 2, b"\0\xff\xff\x80\x80\0\0"), [[255, 128, 0]]),
        (png(2, 1, 8, 4, b"\0\x64\x80\x64\xff"), [177, 100]),
        (png(1, 1, 8, 6, b"\0\x64\0\0\x80"), [[177, 127, 127]]),
        (png(2, 1, 8, 3, b"\0\0\x01", (b"PLTE", b"\xff\0\0\0\xff\0")), [[255, 0, 0], [0, 255, 0]]),
        (
            png(2, 1, 8, 3, b"\0\0\x01", (b"PLTE", b"\xff\0\0\0\xff\0"), (b"tRNS", b"\0")),
            [[255, 255, 255], [0, 255, 0]],
        ),
        (png(8, 1, 1, 3, b"\0\x0f", (b"PLTE", b"\xff\xff\xff\0\0\0")), [True] * 4 + [False] * 4),
        (png(2, 1, 8, 0, b"\0\x05\x06", (b"tRNS", b"\0\x05")), [255, 6]),
        (png(2, 1, 8, 2, b"\0\x05\x05\x05\x06\x06\x06"), [5, 6]),
    ],
)
def test_png_of_every_depth_and_kind(tmp_path: Path, made: bytes, truth: list[object]) -> None:
    (tmp_path / "a").write_bytes(made)
    page = read_page(tmp_path / "a", 0, SETTINGS)
    expected = np.array([truth])
    assert page.is_bitonal is (expected.dtype == np.bool_)
    assert page.pixels.shape == expected.shape
    assert np.abs(page.pixels.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG2000", "GIF", "BMP", "WEBP", "PPM"])
def test_the_lesser_formats_are_read(tmp_path: Path, kind: str) -> None:
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    path = saved(tmp_path / "a", colours(), kind, **options)
    assert is_supported(path)
    assert page_count(path) == 1
    close(read_page(path, 0, SETTINGS).pixels, colours(), 8 if kind == "GIF" else 0)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_jpeg_2000_of_every_kind(tmp_path: Path, mode: str) -> None:
    grey = colours()[:, :, 0]
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a", "JPEG2000")
        truth: npt.NDArray[np.generic] = grey
    elif mode == "RGBA":
        image = Image.fromarray(colours()).convert("RGBA")
        image.putalpha(128)
        image.save(tmp_path / "a", "JPEG2000")
        truth = colours() // 2 + 127
    else:
        truth = grey if mode == "L" else colours()
        Image.fromarray(truth).save(tmp_path / "a", "JPEG2000")
    close(read_page(tmp_path / "a", 0, SETTINGS).pixels, truth, 1)


def test_what_a_file_is_stands_in_its_bytes_not_in_its_name(tmp_path: Path) -> None:
    assert is_supported(saved(tmp_path / "a.txt", bits()))
    (tmp_path / "b.tif").write_bytes(b"Dear Sir, please find enclosed")
    (tmp_path / "c.pdf").write_bytes(b"")
    assert not is_supported(tmp_path / "b.tif")
    with pytest.raises(UnreadableImage, match="none of TIFF"):
        page_count(tmp_path / "b.tif")
    with pytest.raises(UnreadableImage, match="empty"):
        read_page(tmp_path / "c.pdf", 0, SETTINGS)


def test_a_missing_file_is_no_fault_of_the_scan(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_page(tmp_path / "gone", 0, SETTINGS)


# ---- PDF


def pdf_of(
    data: bytes,
    width: int,
    height: int,
    *,
    matrix: str | None = None,
    rotate: int = 0,
    sheet: tuple[float, float] | None = None,
    before: str = "",
    after: str = "",
    pages: int = 1,
    user_unit: float | None = None,
    **entries: object,
) -> bytes:
    pdf = pikepdf.new()
    sheet = sheet or (width, height)
    for _ in range(pages):
        page = pdf.add_blank_page(page_size=sheet)
        image = pdf.make_stream(data)
        image.stream_dict = pikepdf.Dictionary(
            Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=width, Height=height, **entries
        )
        font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
        page.obj.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=image), Font=pikepdf.Dictionary(F=font))
        placed = matrix or f"{sheet[0]} 0 0 {sheet[1]} 0 0"
        page.obj.Contents = pdf.make_stream(f"{before} q {placed} cm /I Do Q {after}".encode())
        page.obj.Rotate = rotate
        if user_unit:
            page.obj.UserUnit = user_unit
    file = io.BytesIO()
    pdf.save(file)
    return file.getvalue()


def jpeg_bytes(pixels: Bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


JPEG_COLOUR = {"Filter": pikepdf.Name.DCTDecode, "BitsPerComponent": 8, "ColorSpace": pikepdf.Name.DeviceRGB}


def shown(pdf: bytes, *, scale: float) -> Bytes:
    with pypdfium2.PdfDocument(pdf) as document:
        raw = document[0].render(scale=scale * (1 - 1e-9)).to_numpy()
        return np.ascontiguousarray(raw[:, :, 2::-1] if raw.ndim == 3 and raw.shape[2] >= 3 else raw.repeat(3, axis=2))


def read_pdf_bytes(tmp_path: Path, data: bytes, settings: Settings = SETTINGS, page_index: int = 0) -> PageImage:
    path = tmp_path / "made"
    path.write_bytes(data)
    return read_page(path, page_index, settings)


MATRICES = [(sign_x, sign_y, lying) for lying, sign_x, sign_y in itertools.product((False, True), (1, -1), (1, -1))]


@pytest.mark.parametrize("rotate", [0, 90, 180, 270, -90])
@pytest.mark.parametrize(("sign_x", "sign_y", "lying"), MATRICES)
def test_a_scan_in_a_pdf_stands_as_a_reader_shows_it(
    tmp_path: Path, sign_x: int, sign_y: int, lying: bool, rotate: int
) -> None:
    width, height = 96, 48
    x, y = (0 if sign_x > 0 else 1), (0 if sign_y > 0 else 1)
    if lying:
        sheet, matrix = (height, width), f"0 {sign_x * width} {sign_y * height} 0 {y * height} {x * width}"
    else:
        sheet, matrix = (width, height), f"{sign_x * width} 0 0 {sign_y * height} {x * width} {y * height}"
    made = pdf_of(
        jpeg_bytes(colours(width, height)), width, height, matrix=matrix, rotate=rotate, sheet=sheet, **JPEG_COLOUR
    )
    page = read_pdf_bytes(tmp_path, made)
    assert readings(page)["compression"] == "jpeg"
    assert page.dpi == 72
    close(page.pixels, shown(made, scale=1), 3)
    assert (page.encoded is not None) is (readings(page)["turned"] == 1)


def test_the_scanners_jpeg_in_a_pdf_is_kept_as_it_is(tmp_path: Path) -> None:
    stream = jpeg_bytes(colours())
    page = read_pdf_bytes(tmp_path, pdf_of(stream, 97, 53, sheet=(97 * 0.24, 53 * 0.24), **JPEG_COLOUR))
    assert page.encoded is not None
    assert page.encoded.data == stream
    assert (page.dpi, readings(page)["dpi_source"]) == (300, "file")


@pytest.mark.parametrize("black_is_1", [False, True])
@pytest.mark.parametrize("decode", [None, [0, 1], [1, 0]])
@pytest.mark.parametrize("stencil", [False, True])
def test_fax_coded_scans_in_a_pdf_are_black_where_a_reader_shows_black(
    tmp_path: Path, black_is_1: bool, decode: list[int] | None, stencil: bool
) -> None:
    truth = bits(160, 120)
    entries: dict[str, object] = {
        "Filter": pikepdf.Name.CCITTFaxDecode,
        "BitsPerComponent": 1,
        "DecodeParms": pikepdf.Dictionary(K=-1, Columns=160, Rows=120, BlackIs1=black_is_1),
    }
    entries |= {"ImageMask": True} if stencil else {"ColorSpace": pikepdf.Name.DeviceGray}
    if decode:
        entries["Decode"] = pikepdf.Array(decode)
    made = pdf_of(g4_of(~truth), 160, 120, **entries)
    page = read_pdf_bytes(tmp_path, made)
    assert page.is_bitonal
    assert np.array_equal(page.pixels, shown(made, scale=1)[:, :, 0] > 127)
    assert page.encoded is not None
    assert np.array_equal(shown(pdf_of_g4(page.encoded), scale=1)[:, :, 0] > 127, page.pixels)


@pytest.mark.parametrize("decode", [None, [1, 0]])
@pytest.mark.parametrize("code", ["g3", "flate", "flate stencil", "dct"])
def test_inverted_scans_in_a_pdf_are_black_where_a_reader_shows_black(
    tmp_path: Path, code: str, decode: list[int] | None
) -> None:
    entries: dict[str, object] = {"BitsPerComponent": 1, "ColorSpace": pikepdf.Name.DeviceGray}
    if code == "g3":
        file = io.BytesIO()
        Image.fromarray(~bits(160, 120)).save(file, "TIFF", compression="group3", strip_size=1 << 30)
        with Image.open(file) as image:
            (offset,), (size,) = image.tag_v2[273], image.tag_v2[279]
        data = file.getvalue()[offset : offset + size]
        entries |= {
            "Filter": pikepdf.Name.CCITTFaxDecode,
            "DecodeParms": pikepdf.Dictionary(K=0, Columns=160, Rows=120),
        }
    elif code == "dct":
        data = jpeg_bytes(bits(160, 120).astype(np.uint8) * 255)
        entries |= {"Filter": pikepdf.Name.DCTDecode, "BitsPerComponent": 8}
    else:
        data = zlib.compress(np.packbits(bits(160, 120), axis=1).tobytes())
        entries["Filter"] = pikepdf.Name.FlateDecode
        if code == "flate stencil":
            del entries["ColorSpace"]
            entries["ImageMask"] = True
    if decode:
        entries["Decode"] = pikepdf.Array(decode)
    made = pdf_of(data, 160, 120, **entries)
    page = read_pdf_bytes(tmp_path, made)
    assert page.is_bitonal is (code != "dct")
    close(page.pixels * (255 if page.is_bitonal else 1), shown(made, scale=1)[:, :, 0], 1)


@pytest.mark.parametrize("code", ["/FlateDecode", "/JPXDecode", "/DCTDecode"])
@pytest.mark.parametrize("keep", [0.95, 0.5, 0.02])
def test_a_scan_cut_off_inside_a_pdf_does_not_pass_for_a_blank_page(tmp_path: Path, code: str, keep: float) -> None:
    file = io.BytesIO()
    if code == "/JPXDecode":
        Image.fromarray(colours()).save(file, "JPEG2000")
    whole = {
        "/FlateDecode": zlib.compress(colours().tobytes()),
        "/DCTDecode": jpeg_bytes(colours()),
        "/JPXDecode": file.getvalue(),
    }[code]
    entries = {"Filter": pikepdf.Name(code), "BitsPerComponent": 8, "ColorSpace": pikepdf.Name.DeviceRGB}
    close(read_pdf_bytes(tmp_path, pdf_of(whole, 97, 53, **entries)).pixels, colours(), 3)
    with pytest.raises(UnreadableImage):
        read_pdf_bytes(tmp_path, pdf_of(whole[: int(len(whole) * keep)], 97, 53, **entries))


@pytest.mark.real
@pytest.mark.parametrize("keep", [0.97, 0.5, 0.001, 0.0])
def test_a_real_jbig2_scan_cut_off_does_not_pass_for_a_blank_page(
    tmp_path: Path, real_scans: Path, keep: float
) -> None:
    with pikepdf.open(real_scans / "pdf/jbig2.pdf") as pdf:
        image = pdf.pages[0].obj.Resources.XObject.R7
        whole = image.read_raw_bytes()
        image.write(whole[: int(len(whole) * keep)], filter=pikepdf.Name.JBIG2Decode, decode_parms=image.DecodeParms)
        pdf.save(tmp_path / "a")
    with pytest.raises(UnreadableImage):
        read_page(tmp_path / "a", 0, SETTINGS)


def test_a_fax_coded_scan_cut_off_inside_a_pdf_is_refused(tmp_path: Path) -> None:
    strip = g4_of(~bits(400, 300))
    cut = EncodedImage(codec="g4", data=strip[: len(strip) // 2], width_px=400, height_px=300, channels=1)
    with pytest.raises(UnreadableImage, match="cut off"):
        read_pdf_bytes(tmp_path, pdf_of_g4(cut))


@pytest.mark.parametrize("predictor", [1, 15])
@pytest.mark.parametrize("kind", ["bits", "grey", "rgb", "palette", "cmyk"])
def test_deflated_scans_in_a_pdf_are_right(tmp_path: Path, kind: str, predictor: int) -> None:
    space: object = {"rgb": pikepdf.Name.DeviceRGB, "cmyk": pikepdf.Name.DeviceCMYK}.get(kind, pikepdf.Name.DeviceGray)
    truth: npt.NDArray[np.generic]
    depth, channels = (1 if kind == "bits" else 8), {"rgb": 3, "cmyk": 4}.get(kind, 1)
    if kind == "bits":
        truth = bits(96, 48)
        rows = np.packbits(truth, axis=1)
    elif kind == "cmyk":
        truth = np.full((48, 96, 3), (255, 0, 0), np.uint8)
        rows = np.tile(np.array([0, 255, 255, 0], np.uint8), (48, 96))
    elif kind == "palette":
        table = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
        rows = np.arange(48 * 96, dtype=np.int64).astype(np.uint8).reshape(48, 96)
        truth = table[rows]
        space = pikepdf.Array([pikepdf.Name.Indexed, pikepdf.Name.DeviceRGB, 255, table.tobytes()])
    else:
        truth = colours(96, 48) if kind == "rgb" else colours(96, 48)[:, :, 0]
        rows = truth.reshape(48, -1)
    entries: dict[str, object] = {"Filter": pikepdf.Name.FlateDecode, "BitsPerComponent": depth, "ColorSpace": space}
    if predictor == 15:
        entries["DecodeParms"] = pikepdf.Dictionary(Predictor=15, Columns=96, Colors=channels, BitsPerComponent=depth)
        rows = np.concatenate([np.zeros((48, 1), np.uint8), rows], axis=1)
    page = read_pdf_bytes(tmp_path, pdf_of(zlib.compress(rows.tobytes()), 96, 48, **entries))
    assert page.is_bitonal is (kind == "bits")
    close(page.pixels, truth, 30 if kind == "cmyk" else 0)  # PDFium's inks are softer than the plain rule's
    assert page.dpi == 72


@pytest.mark.parametrize(
    "extra",
    [
        {"after": "BT /F 20 Tf 10 10 Td (seen) Tj ET"},
        {"before": "1 0 0 rg 0 0 10 10 re f"},
        {"after": "q 10 0 0 10 0 0 cm /I Do Q"},
        {"matrix": "80 0 0 40 5 5"},
        {"matrix": "95 3 -3 47 0 0"},
        {"matrix": "140 0 0 70 -10 -10"},
        {"before": "10 10 50 20 re W n"},
        {"before": "0 0 m 96 0 l 96 48 l W n"},
    ],
)
def test_a_page_with_more_than_its_scan_is_drawn_whole(tmp_path: Path, extra: dict[str, str]) -> None:
    made = pdf_of(jpeg_bytes(colours(96, 48)), 96, 48, **extra, **JPEG_COLOUR)
    page = read_pdf_bytes(tmp_path, made, Settings(pdf_render_dpi=144))
    assert readings(page)["compression"] == "rendered"
    assert (page.dpi, readings(page)["dpi_source"]) == (144, "profile")
    assert np.array_equal(page.pixels, shown(made, scale=2))


def test_invisible_words_do_not_hide_the_scan(tmp_path: Path) -> None:
    words = "BT 3 Tr /F 8 Tf 5 5 Td (found words) Tj ET"
    made = pdf_of(jpeg_bytes(colours(96, 48)), 96, 48, before="0 0 96 48 re W n", after=words, **JPEG_COLOUR)
    assert readings(read_pdf_bytes(tmp_path, made))["compression"] == "jpeg"


def test_a_user_unit_makes_the_sheet_larger_not_the_scan_finer(tmp_path: Path) -> None:
    made = pdf_of(jpeg_bytes(colours(96, 48)), 96, 48, sheet=(24, 12), user_unit=2, **JPEG_COLOUR)
    assert read_pdf_bytes(tmp_path, made).dpi == 144


@pytest.mark.parametrize("rotate", [0, 90])
def test_a_born_digital_page_is_drawn_as_seen(tmp_path: Path, rotate: int) -> None:
    pdf = pikepdf.new()
    page = pdf.add_blank_page(page_size=(200, 100))
    page.obj.Contents = pdf.make_stream(b"0 g 20 60 50 30 re f")
    page.obj.CropBox = pikepdf.Array([10, 40, 110, 100])
    page.obj.Rotate = rotate
    file = io.BytesIO()
    pdf.save(file)
    found = read_pdf_bytes(tmp_path, file.getvalue(), Settings(pdf_render_dpi=72))
    truth = np.full((60, 100), 255)
    truth[10:40, 10:60] = 0
    assert np.array_equal(found.pixels, np.rot90(truth, -rotate // 90))
    assert readings(found)["mode"] == "grey"


@pytest.mark.parametrize("size", [14_400, 100_000])
def test_a_giant_page_is_refused_before_it_is_drawn(tmp_path: Path, size: int) -> None:
    pdf = pikepdf.new()
    pdf.add_blank_page()
    pdf.pages[0].obj.MediaBox = pikepdf.Array([0, 0, size, size])
    file = io.BytesIO()
    pdf.save(file)
    with pytest.raises(TooLarge):
        read_pdf_bytes(tmp_path, file.getvalue())


def test_a_locked_pdf_says_so_and_one_locked_for_editing_only_is_read(tmp_path: Path) -> None:
    with pikepdf.open(io.BytesIO(pdf_of(jpeg_bytes(colours(96, 48)), 96, 48, **JPEG_COLOUR))) as pdf:
        pdf.save(tmp_path / "locked", encryption=pikepdf.Encryption(owner="o", user="u"))
        pdf.save(tmp_path / "open", encryption=pikepdf.Encryption(owner="o", user=""))
    for ask in (page_count, lambda path: read_page(path, 0, SETTINGS)):
        with pytest.raises(UnreadableImage, match="password"):
            ask(tmp_path / "locked")
    assert read_page(tmp_path / "open", 0, SETTINGS).encoded is not None


def test_500_scanned_pages_of_a_pdf_cost_the_same_each(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(pdf_of(jpeg_bytes(colours(96, 48)), 96, 48, pages=500, **JPEG_COLOUR))
    assert page_count(path) == 500

    def cost_s(pages: range) -> float:
        start = time.process_time()
        for index in pages:
            read_page(path, index, SETTINGS)
        return time.process_time() - start

    assert cost_s(range(470, 500)) < 2 * cost_s(range(30)) + 0.1


# ---- hostile files


def whole_files() -> dict[str, bytes]:
    found = {}
    for kind, options in (
        ("TIFF", {"compression": "group4"}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": None}),
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG2000", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
    ):
        file = io.BytesIO()
        pixels = bits(300, 200) if options.get("compression") == "group4" else colours(150, 100)
        Image.fromarray(pixels).save(file, kind, **options)
        found[" ".join([kind, *map(str, options.values())])] = file.getvalue()
    found["PDF"] = pdf_of(jpeg_bytes(colours(96, 48)), 96, 48, **JPEG_COLOUR)
    return found


def jpeg2000_bytes(tile_px: int = 32, **options: object) -> bytes:
    """A picture in 4 x 2 tiles."""
    file = io.BytesIO()
    Image.fromarray(colours()).save(file, "JPEG2000", tile_size=(tile_px, tile_px), **options)
    return file.getvalue()


def without_tile(data: bytes, number: int, *, end_marker: bool = True) -> bytes:
    """The JPEG 2000 codestream without its tile-part of that number (ISO 15444-1, A.4.2)."""
    at = data.index(b"\xff\x90\x00\x0a")
    kept = data[:at]
    for part in range(8):
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        kept += data[at : at + length] if part != number else b""
        at += length
    return kept + (b"\xff\xd9" if end_marker else b"")


@pytest.mark.parametrize(
    "options", [{}, {"no_jp2": True}, {"tile_px": 200}, {"quality_layers": [2, 1], "progression": "RPCL"}]
)
def test_a_jpeg_2000_with_all_its_tiles_is_read(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "a.jp2").write_bytes(jpeg2000_bytes(**options))
    close(read_page(tmp_path / "a.jp2", 0, SETTINGS).pixels, colours(), 3)


@pytest.mark.parametrize("number", [0, 5, 7])
@pytest.mark.parametrize("end_marker", [True, False])
def test_a_jpeg_2000_without_one_of_its_tiles_is_refused(tmp_path: Path, number: int, end_marker: bool) -> None:
    whole = jpeg2000_bytes(no_jp2=True)
    path = tmp_path / "a.j2k"
    path.write_bytes(without_tile(whole, 8))
    close(read_page(path, 0, SETTINGS).pixels, colours(), 3)
    path.write_bytes(without_tile(whole, number, end_marker=end_marker))
    with pytest.raises(UnreadableImage, match="lacks 1 of the 8 tiles"):
        read_page(path, 0, SETTINGS)
    entries = {"Filter": pikepdf.Name.JPXDecode, "BitsPerComponent": 8, "ColorSpace": pikepdf.Name.DeviceRGB}
    with pytest.raises(UnreadableImage, match="lacks 1 of the 8 tiles"):
        read_pdf_bytes(tmp_path, pdf_of(path.read_bytes(), 97, 53, **entries))


def test_a_jpeg_2000_that_claims_a_huge_sheet_and_holds_a_corner_of_it_is_refused(tmp_path: Path) -> None:
    data = bytearray(jpeg2000_bytes(no_jp2=True))
    data[8:16] = struct.pack(">2I", 19_000, 19_000)  # Xsiz and Ysiz
    (tmp_path / "a.j2k").write_bytes(bytes(data))
    with pytest.raises(UnreadableImage, match="lacks 352828 of the 352836 tiles"):
        read_page(tmp_path / "a.j2k", 0, SETTINGS)


WHOLE = whole_files()
CUTTABLE = [name for name in WHOLE if name != "PDF"]


@pytest.mark.parametrize("name", CUTTABLE)
@given(keep=st.floats(0.05, 0.999))
@settings(max_examples=20, deadline=None)
def test_a_file_that_is_cut_off_is_never_half_a_page(
    tmp_path_factory: pytest.TempPathFactory, name: str, keep: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(WHOLE[name])
    whole = read_page(path, 0, SETTINGS)
    path.write_bytes(WHOLE[name][: int(len(WHOLE[name]) * keep)])
    try:
        page = read_page(path, 0, SETTINGS)
    except UnreadableImage:
        return
    # what is missing was no part of the picture
    assert keep > 0.9
    assert np.array_equal(page.pixels, whole.pixels)


@pytest.mark.parametrize("name", list(WHOLE))
def test_what_a_page_declares_is_what_it_decodes_to(tmp_path: Path, name: str) -> None:
    path = tmp_path / "page"
    path.write_bytes(WHOLE[name])
    page = read_page(path, 0, Settings())
    assert page_megapixels(path, 0, Settings()) == pytest.approx(page.width_px * page.height_px / 1e6, rel=0.01)


@pytest.mark.parametrize("name", list(WHOLE))
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    logging.getLogger("stages.read").setLevel(logging.ERROR)
    whole = bytearray(WHOLE[name])
    for _ in range(data.draw(st.integers(1, 6))):
        # the headers are where a byte does most harm
        at = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, min(len(whole), 600) - 1))
        whole[at] = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, 127, 128, 255]))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole)
    small = Settings(max_megapixels=4)
    try:
        assert page_count(path) >= 1
        page = read_page(path, 0, small)
    except Refusal as refusal:
        assert len(refusal.sentence) < 400
        assert "Traceback" not in refusal.sentence
        return
    assert page.pixels.dtype in (np.uint8, np.bool_)
    assert page.width_px * page.height_px <= 4e6
    assert 20 <= page.dpi <= 10_000


HOSTILE = sorted((REAL_SCANS / "hostile").glob("*")) if REAL_SCANS.is_dir() else []
READ_ONE = """
import sys
from pathlib import Path
from stages.errors import Refusal
from stages.read import Settings, page_count, read_page
path = Path(sys.argv[1])
try:
    for index in range(min(page_count(path), 3)):
        page = read_page(path, index, Settings())
        print("read", page.pixels.shape)
except Refusal as refusal:
    print("held", refusal.sentence)
"""


@pytest.mark.real
@pytest.mark.skipif(not HOSTILE, reason="the real scans are not on this machine")
@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.name[:30])
def test_real_hostile_files_end_in_a_page_or_a_sentence(path: Path) -> None:
    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = subprocess.run(
        [sys.executable, "-c", READ_ONE, str(path)], cwd=ROOT, preexec_fn=limits, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith((b"read", b"held"))


REAL = [
    ("formats/g4_orientation_3.tif", "bitonal", (88, 590), 96),
    ("formats/g4_orientation_6.tif", "bitonal", (88, 590), 96),
    ("formats/g4_orientation_8.tif", "bitonal", (88, 590), 96),
    ("formats/g4-fillorder-test.tif", "bitonal", (84, 218), 300),
    ("formats/g4-multi.tiff", "bitonal", (4677, 3307), 400),
    ("formats/pport_g4.tif", "bitonal", (3296, 2548), 200),
    ("formats/total-pages-zero.tif", "bitonal", (2244, 1728), 204),
    ("formats/multi-page-images.tiff", "grey", (3204, 2476), 300),
    ("formats/old-style-jpeg-compression.tif", "colour", (870, 4160), 300),
    ("formats/tiff_strip_cmyk_jpeg.tif", "colour", (100, 100), 72),
    ("formats/tiff_tiled_ycbcr_jpeg_2x2_sampling.tif", "colour", (360, 480), 300),
    ("formats/tiff_16bit_RGB.tiff", "colour", (40, 100), 72),
    ("formats/tiff-jpeg-receipt.tif", "colour", (575, 336), 300),
    ("formats/exif-dpi-zerodivision.jpg", "colour", (200, 200), 300),
    ("formats/zero_dpi.jp2", "colour", (480, 640), 300),
    ("pdf/ccitt.pdf", "bitonal", (3300, 2550), 300),
    ("pdf/jbig2.pdf", "bitonal", (3300, 2550), 300),
    ("pdf/epson.pdf", "bitonal", (3507, 2480), 300),
    ("pdf/kcs.pdf", "bitonal", (930, 1914), 300),
    ("pdf/c02-22.pdf", "colour", (981, 800), 150),
    ("pdf/2400dpi.pdf", "grey", (2864, 4000), 2400),
    ("pdf/microfilm-evening-star-1868-0715.pdf", "grey", (4868, 3606), 150),
    ("pdf/skew.pdf", "grey", (3300, 2550), 300),
    ("pdf/rotated_skew.pdf", "grey", (3300, 2550), 300),
]


@pytest.mark.real
@pytest.mark.parametrize(("name", "mode", "shape", "dpi"), REAL, ids=[row[0] for row in REAL])
def test_real_files_are_read_as_what_they_are(
    real_scans: Path, name: str, mode: str, shape: tuple[int, int], dpi: float
) -> None:
    page = read_page(real_scans / name, 0, SETTINGS)
    assert (readings(page)["mode"], page.pixels.shape[:2], page.dpi) == (mode, shape, dpi)
    light = page.grey().mean()
    assert 10 < light < 254.99  # neither lost nor empty


@pytest.mark.real
def test_real_pages_in_four_turns_are_one_page(real_scans: Path) -> None:
    pages = [read_page(real_scans / "pdf/cardinal.pdf", index, SETTINGS).pixels for index in range(4)]
    for index, page in enumerate(pages):
        assert np.array_equal(np.rot90(page, index), pages[0])


@pytest.mark.real
def test_real_cmyk_is_the_same_in_a_tiff_and_in_a_jpeg(real_scans: Path) -> None:
    pages = [
        read_page(real_scans / "formats" / name, 0, SETTINGS).pixels
        for name in ("tiff_strip_cmyk_jpeg.tif", "pil_sample_cmyk.jpg")
    ]
    close(pages[0], pages[1], 1)


@pytest.mark.parametrize(
    ("size", "stated", "dpi", "source"),
    [
        ((2550, 3300), 96, 300.0, "guessed"),  # a letter sheet whose file says what a screen has
        ((2480, 3508), 72, 300.0, "guessed"),
        ((1700, 2200), 72, 200.0, "guessed"),
        ((612, 792), 72, 72.0, "file"),  # a letter sheet that really has 72
        ((2550, 3300), 200, 200.0, "file"),  # a drawing of 12 x 16 inches
    ],
)
def test_a_screens_resolution_is_not_believed_of_a_sheet_that_large(
    tmp_path: Path, size: tuple[int, int], stated: int, dpi: float, source: str
) -> None:
    path = tmp_path / "page.png"
    Image.new("L", size, 200).save(path, dpi=(stated, stated))
    page = read_page(path, 0, Settings())
    assert page.dpi == pytest.approx(dpi, rel=0.12)
    assert page.readings["read.dpi_source"] == source


def test_a_reduced_page_without_resolution_is_taken_for_a_letter_sheet(tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    Image.new("L", (934, 1170), 200).save(path)
    page = read_page(path, 0, Settings())
    assert page.dpi == pytest.approx(1170 / 11)
    assert page.readings["read.dpi_source"] == "guessed"
