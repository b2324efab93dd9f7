"""A prepared page as a file: the form in which it is stored, put into the PDF and shown.

Bitonal pages are TIFF with one CCITT G4 strip; grey and colour pages are JPEG (the scanner's own, untouched, where the
pixels are still what it decodes to), PNG, or the scanner's JPEG 2000. All of them can go into a PDF without being
decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, Jpeg2KImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from stages.page_image import EncodedImage, PageImage, Pixels

if TYPE_CHECKING:
    import pikepdf

# Pillow's guard against bombs knows one limit for the whole process; here pixels were counted when the scan was read
Image.MAX_IMAGE_PIXELS = None

TEXT_SUBSAMPLING = 0  # 4:4:4: halved colour puts a fringe round red or blue letters
PNG_LEVEL = 3  # two colour scans of 5 MP: level 6 takes twice the time and makes 6 to 10 % more bytes


_TIFF_SHORT, _TIFF_LONG, _TIFF_RATIONAL = 3, 4, 5
_JP2_SPACE = {1: 17, 3: 16}  # enumerated colour space by channels: greyscale, sRGB (ISO 15444-1, I.5.3.3)
_ICC_LAYOUT = {1: b"GRAY", 3: b"RGB "}  # colour space signature by channels, ICC.1:2001, 6.1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedImage:
    """A picture as a PDF holds it: compressed bytes, and what is needed to decode them.

    `predictor` is that of PNG rows (ISO 32000-1, 7.4.4.4) or 1; `icc` is the picture's own colour profile, if it has
    one; `black_is_1` is the CCITT parameter of that name.
    """

    codec: Literal["CCITTFaxDecode", "DCTDecode", "FlateDecode", "JPXDecode"]
    data: bytes
    width_px: int
    height_px: int
    channels: int
    bits: int
    black_is_1: bool = False
    predictor: int = 1
    icc: bytes = b""


def write_page_file(
    page: PageImage,
    folder: Path,
    name: str,
    *,
    encoding: Literal["jpeg", "png"] = "jpeg",
    bitonal_encoding: Literal["g4", "png"] = "g4",
    jpeg_quality: int = 85,
    keep_scanner_stream: bool = True,
) -> Path:
    """Write the page as `<name>.tif`, `.jpg`, `.jp2` or `.png` in `folder` and say where it is.

    With `keep_scanner_stream` a scanner's own JPEG or JPEG 2000 is written untouched while it still fits the pixels,
    whatever the encoding; without it, `"png"` never writes a lossy file. JPEG and PNG keep whole dots per inch or per
    metre only, so whoever needs the exact resolution keeps `page.dpi` too.
    """
    suffix, data = _encoded(
        page,
        encoding=encoding,
        bitonal_encoding=bitonal_encoding,
        jpeg_quality=jpeg_quality,
        keep_scanner_stream=keep_scanner_stream,
    )
    path = folder / f"{name}{suffix}"
    part = folder / f".{name}{suffix}.part"
    part.write_bytes(data)
    part.replace(path)
    return path


def read_page_file(path: Path, *, dpi: float | None = None) -> PageImage:
    """The page that `write_page_file` wrote; `dpi` goes before what the file says of it.

    Raises:
        ValueError: the file is of no kind that `write_page_file` writes, or says nothing of its resolution and no
            `dpi` is given.
    """
    data = path.read_bytes()
    image = _opened(data, path)
    found_dpi = dpi or _dpi(image)
    if not found_dpi:
        raise ValueError(f"{path.name} does not say its resolution")
    if image.mode not in ("1", "L", "RGB"):
        raise ValueError(f"{path.name} has pixels of mode {image.mode}")
    pixels: Pixels = np.array(image)
    encoded: EncodedImage | None = None
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        strip, black_is_1 = _g4_strip_of(image, data)
        encoded = EncodedImage(
            codec="g4",
            data=strip,
            width_px=image.width,
            height_px=image.height,
            channels=1,
            black_is_1=black_is_1,
        )
    elif isinstance(image, JpegImagePlugin.JpegImageFile):
        encoded = EncodedImage(codec="jpeg", data=data, width_px=image.width, height_px=image.height, channels=channels)
    elif isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
        encoded = EncodedImage(codec="jp2", data=data, width_px=image.width, height_px=image.height, channels=channels)
    return PageImage(pixels=pixels, dpi=found_dpi, encoded=encoded)


def page_file_image(path: Path) -> PackedImage:
    """The picture in a page file, ready for a PDF; nothing is decoded.

    Raises:
        ValueError: the file is of no kind that `write_page_file` writes.
    """
    data = path.read_bytes()
    image = _opened(data, path)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        strip, black_is_1 = _g4_strip_of(image, data)
        return PackedImage(
            codec="CCITTFaxDecode",
            data=strip,
            width_px=image.width,
            height_px=image.height,
            channels=1,
            bits=1,
            black_is_1=black_is_1,
        )
    return _taken_apart_by_img2pdf(data)


def is_plain_jpeg2000(data: bytes) -> bool:
    """Whether a JPEG 2000 file is grey or sRGB of 8 bits and nothing more, as every part of PDF/A that knows it takes.

    Boxes are length and type of 4 bytes each, then content (ISO 15444-1, annex I); asked for by ISO 19005-2, 6.2.8.3.
    """
    header = next((body for kind, body in _boxes(data) if kind == b"jp2h"), b"")
    boxes = list(_boxes(header))
    bodies = dict(boxes)
    image, colour = bodies.get(b"ihdr", b""), bodies.get(b"colr", b"")
    if len(bodies) != len(boxes) or not set(bodies) <= {b"ihdr", b"colr", b"res "} or len(image) != 14:
        return False
    channels, bits = int.from_bytes(image[8:10], "big"), image[10] + 1
    space = _JP2_SPACE.get(channels)
    return bits == 8 and space is not None and colour[:1] == b"\1" and colour[3:7] == space.to_bytes(4, "big")


def packed_pixels(page: PageImage) -> PackedImage:
    """The page's pixels for a PDF without any loss, for where its own stream may not stand."""
    rows = np.packbits(page.pixels, axis=1) if page.is_bitonal else np.ascontiguousarray(page.pixels)
    return PackedImage(
        codec="FlateDecode",
        data=zlib.compress(rows.tobytes()),
        width_px=page.width_px,
        height_px=page.height_px,
        channels=3 if page.is_colour else 1,
        bits=1 if page.is_bitonal else 8,
    )


def g4_strip(pixels: npt.NDArray[np.bool_]) -> bytes:
    """Bitonal `(rows, cols)` pixels, True white, as one CCITT G4 strip in which 1 is black (ITU-T T.6)."""
    rows, cols = pixels.shape
    # Bits are turned over here and the strip taken out of Pillow's file: fax codes paper as 0, which needs
    # photometric 0, and Pillow writes that one by a Python loop over every pixel.
    image = Image.frombytes("1", (cols, rows), np.packbits(~pixels, axis=1).tobytes())
    file = io.BytesIO()
    image.save(file, "TIFF", compression="group4", tiffinfo={TiffImagePlugin.ROWSPERSTRIP: rows})
    file.seek(0)
    tags = TiffImagePlugin.TiffImageFile(file).tag_v2
    offset, length = tags[TiffImagePlugin.STRIPOFFSETS][0], tags[TiffImagePlugin.STRIPBYTECOUNTS][0]
    return file.getvalue()[offset : offset + length]


def g4_tiff_bytes(strip: bytes, *, width_px: int, height_px: int, dpi: float, white_is_zero: bool = True) -> bytes:
    """A TIFF of one G4 strip, the same bytes for the same page.

    Little-endian; header (8 bytes), one directory of 14 entries of 12 bytes, the two resolutions (8 bytes each), the
    strip. Photometric 0 unless `white_is_zero` is false, FillOrder 1 (TIFF 6.0, sections 2, 3 and 11).
    """
    resolution = Fraction(dpi).limit_denominator(10_000)
    entries = 14
    rationals_at = 8 + 2 + 12 * entries + 4
    strip_at = rationals_at + 16
    directory = [
        (254, _TIFF_LONG, 0),  # NewSubfileType
        (256, _TIFF_LONG, width_px),
        (257, _TIFF_LONG, height_px),
        (258, _TIFF_SHORT, 1),  # BitsPerSample
        (259, _TIFF_SHORT, 4),  # Compression: CCITT T.6
        (262, _TIFF_SHORT, 0 if white_is_zero else 1),  # PhotometricInterpretation
        (266, _TIFF_SHORT, 1),  # FillOrder
        (273, _TIFF_LONG, strip_at),
        (277, _TIFF_SHORT, 1),  # SamplesPerPixel
        (278, _TIFF_LONG, height_px),  # RowsPerStrip
        (279, _TIFF_LONG, len(strip)),
        (282, _TIFF_RATIONAL, rationals_at),
        (283, _TIFF_RATIONAL, rationals_at + 8),
        (296, _TIFF_SHORT, 2),  # ResolutionUnit: inch
    ]
    return b"".join(
        (
            struct.pack("<2sHI", b"II", 42, 8),
            struct.pack("<H", entries),
            *(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in directory),
            struct.pack("<I", 0),
            struct.pack("<II", resolution.numerator, resolution.denominator) * 2,
            strip,
        )
    )


def _encoded(
    page: PageImage,
    *,
    encoding: Literal["jpeg", "png"],
    bitonal_encoding: Literal["g4", "png"],
    jpeg_quality: int,
    keep_scanner_stream: bool,
) -> tuple[str, bytes]:
    own = page.encoded
    if page.is_bitonal:
        if bitonal_encoding == "png":
            return ".png", _saved(page, "PNG", compress_level=PNG_LEVEL)
        untouched = own is not None and own.codec == "g4"
        return ".tif", g4_tiff_bytes(
            own.data if own is not None and untouched else g4_strip(np.asarray(page.pixels, dtype=np.bool_)),
            width_px=page.width_px,
            height_px=page.height_px,
            dpi=page.dpi,
            white_is_zero=not (own is not None and untouched and own.black_is_1),
        )
    # four channels are CMYK, which an RGB output intent does not cover: those are delivered as the RGB they decode to
    fits = own is not None and own.codec in ("jpeg", "jp2") and own.channels == (3 if page.is_colour else 1)
    if own is not None and fits and keep_scanner_stream:
        return (".jpg" if own.codec == "jpeg" else ".jp2"), own.data
    if encoding == "png":
        return ".png", _saved(page, "PNG", compress_level=PNG_LEVEL)
    return ".jpg", _saved(page, "JPEG", quality=jpeg_quality, subsampling=TEXT_SUBSAMPLING)


def _saved(page: PageImage, kind: Literal["JPEG", "PNG"], **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(page.pixels).save(file, kind, dpi=(page.dpi, page.dpi), **options)
    return file.getvalue()


_Opened = (
    TiffImagePlugin.TiffImageFile
    | JpegImagePlugin.JpegImageFile
    | PngImagePlugin.PngImageFile
    | Jpeg2KImagePlugin.Jpeg2KImageFile
)


def _opened(data: bytes, path: Path) -> _Opened:
    # by its first bytes: in the store a file has no name but its digest
    kinds: dict[bytes, type[_Opened]] = {
        b"II*\0": TiffImagePlugin.TiffImageFile,
        b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile,
        b"\x89PNG": PngImagePlugin.PngImageFile,
        b"\0\0\0\x0cjP": Jpeg2KImagePlugin.Jpeg2KImageFile,
    }
    kind = next((kind for magic, kind in kinds.items() if data.startswith(magic)), None)
    if kind is None:
        raise ValueError(f"{path.name} is no page file")
    try:
        return kind(io.BytesIO(data))
    except SyntaxError as error:  # what Pillow raises for a file of another kind
        raise ValueError(f"{path.name} is no {path.suffix} file: {error}") from error


def _dpi(image: _Opened) -> float | None:
    stated = image.info.get("dpi")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        stated = (image.tag_v2.get(TiffImagePlugin.X_RESOLUTION),)
    return float(stated[0]) if stated and stated[0] else None


def _g4_strip_of(image: TiffImagePlugin.TiffImageFile, data: bytes) -> tuple[bytes, bool]:
    tags = image.tag_v2
    offsets = tags[TiffImagePlugin.STRIPOFFSETS]
    lengths = tags[TiffImagePlugin.STRIPBYTECOUNTS]
    if tags[TiffImagePlugin.COMPRESSION] != 4 or len(offsets) != 1 or len(lengths) != 1:
        raise ValueError("the TIFF is not one CCITT G4 strip")
    if tags.get(TiffImagePlugin.FILLORDER, 1) != 1:
        raise ValueError("the TIFF has its bits in reverse order")
    strip = data[offsets[0] : offsets[0] + lengths[0]]
    if len(strip) != lengths[0]:
        raise ValueError("the TIFF ends before its strip does")
    return strip, tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] == 1


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + length if length >= 8 else len(data)  # 0: to the end of the file
        yield kind, data[at + 8 : end]
        at = end


def _taken_apart_by_img2pdf(data: bytes) -> PackedImage:
    import img2pdf  # here, for whoever only writes or reads page files needs neither
    import pikepdf

    # img2pdf knows how each kind of JPEG, PNG and JPEG 2000 stands in a PDF without being decoded: 0.5 ms a page
    made = img2pdf.convert(
        data,
        layout_fun=img2pdf.get_fixed_dpi_layout_fun((72, 72)),
        rotation=img2pdf.Rotation.none,
        first_frame_only=True,
        nodate=True,
    )
    with pikepdf.open(io.BytesIO(made)) as pdf:
        ((_, picture),) = pdf.pages[0].Resources.XObject.items()
        channels, icc = _colour_space(picture.get("/ColorSpace"))
        parms = picture.get("/DecodeParms")
        if isinstance(parms, pikepdf.Array):
            parms = parms[0]
        codec = str(picture.Filter[0] if isinstance(picture.Filter, pikepdf.Array) else picture.Filter)[1:]
        if codec not in ("DCTDecode", "FlateDecode", "JPXDecode"):
            raise ValueError(f"a page file does not become {codec}")
        return PackedImage(
            codec=codec,  # type: ignore[arg-type] # one of the three, as just seen
            data=picture.read_raw_bytes(),
            width_px=int(picture.Width),
            height_px=int(picture.Height),
            channels=channels,
            bits=int(picture.get("/BitsPerComponent", 8)),
            predictor=int(parms.get("/Predictor", 1)) if parms is not None else 1,
            icc=icc if _usable(icc, channels) else b"",
        )


def _colour_space(space: pikepdf.Object | None) -> tuple[int, bytes]:
    import pikepdf

    if isinstance(space, pikepdf.Array) and space[0] == pikepdf.Name.ICCBased:
        return int(space[1].N), space[1].read_bytes()
    named = {"/DeviceGray": 1, "/DeviceRGB": 3}
    if str(space) not in named:
        raise ValueError(f"a page file has the colour space {space}")
    return named[str(space)], b""


def _usable(icc: bytes, channels: int) -> bool:
    # ICC.1:2001, 6.1: size at 0, version at 8, class at 12, colour space at 16, signature at 36. A profile of another
    # kind is left out, and sRGB is meant.
    return (
        len(icc) >= 128
        and int.from_bytes(icc[:4], "big") == len(icc)
        and icc[8] in (2, 4)
        and icc[12:16] in (b"scnr", b"mntr", b"prtr", b"spac")
        and icc[16:20] == _ICC_LAYOUT[channels]
        and icc[36:40] == b"acsp"
    )
