"""One page of a PDF as pixels: the scan itself where the page is one picture, else the page as it is seen.

A scanned page is one image drawn over the whole sheet, often with invisible text on top. Its stream is taken out
without being coded again; the matrix in front of it says how it is turned and at how many dots per inch it lies
(ISO 32000-1, 8.3.4 and 8.9.5). Every other page is rendered by PDFium.
"""

from __future__ import annotations

import io
import math
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pikepdf
import pypdfium2
from PIL import Image

from stages import tiff_codecs as codecs
from stages.errors import UnreadableImage
from stages.jbig2_stream import check_jbig2
from stages.jpeg2000_stream import check_jpeg2000
from stages.jpeg_stream import delivered_jpeg
from stages.page_image import EncodedImage, Pixels
from stages.pdf_drawing import (
    DrawnImage,
    bounded_data,
    filters_of,
    only_image,
    orientation_of,
    quarter_turns,
    user_unit_of,
)
from stages.raster import (
    Raster,
    bitonal_if_black_and_white,
    check_size,
    from_pillow,
    plausible_dpi,
    scanner_name,
    without_idle_colour,
)

POINTS_PER_INCH = 72.0
MAX_PROFILE_BYTES = 4 << 20
_SIMPLE_SPACES: Final = {"/DeviceGray": 1, "/CalGray": 1, "/DeviceRGB": 3, "/CalRGB": 3}

_pdfium = threading.Lock()  # PDFium keeps global state and may not be entered twice


def pdf_page_count(path: Path) -> int:
    """How many pages the file has.

    Raises:
        UnreadableImage: it is locked, damaged beyond repair, or has no page.
    """
    with _opened(path) as pdf:
        return _count(pdf)


def read_pdf(path: Path, page_index: int, *, max_megapixels: float, render_dpi: float) -> Raster:
    """The page `page_index` of the file.

    Raises:
        UnreadableImage: the file is locked or damaged, or the page's image is.
        TooLarge: the page has more than `max_megapixels`.
    """
    with _opened(path) as pdf:
        if page_index >= _count(pdf):
            raise UnreadableImage(f"it has {len(pdf.pages)} pages, and page {page_index + 1} was asked for")
        page = pdf.pages[page_index]
        scanner = _scanner(pdf)
        drawn = only_image(pdf, page)
        unit = user_unit_of(page)
        if drawn is not None:
            found = _scan(page, drawn, max_megapixels)
            if found is not None:
                return replace(found, scanner=scanner)
            # one image over the whole sheet, but coded or coloured in a way that only PDFium reads
            scale_dpi = _image_dpi(drawn, unit)
            if scale_dpi is not None:
                turned = _rendered(path, page_index, max(scale_dpi), unit, max_megapixels)
                return replace(turned, dpi_chosen=False, compression=_filter_name(drawn.image), scanner=scanner)
        pictures = "/XObject" in page.obj.get("/Resources", pikepdf.Dictionary())
    seen = _rendered(path, page_index, render_dpi, unit, max_megapixels)
    if pictures and bool(seen.pixels.min() == seen.pixels.max()):
        seen.warnings.append("the page is drawn empty though it holds pictures; they may be damaged")
    return replace(seen, scanner=scanner)


@contextmanager
def _opened(path: Path) -> Iterator[pikepdf.Pdf]:
    try:
        with pikepdf.open(path, suppress_warnings=True) as pdf:
            yield pdf
    except pikepdf.PasswordError as error:
        raise UnreadableImage("the PDF is locked with a password; ask the customer for an unlocked copy") from error
    except (pikepdf.PdfError, pikepdf.ForeignObjectError, RuntimeError) as error:
        said = str(error).rsplit(": ", 1)[-1]  # the file's path stands in front
        raise UnreadableImage(f"the PDF is damaged ({said[:120]})") from error


def _count(pdf: pikepdf.Pdf) -> int:
    count = len(pdf.pages)
    if not count:
        raise UnreadableImage("the PDF has no page")
    return count


def _scanner(pdf: pikepdf.Pdf) -> str:
    """The device by the file's information dictionary (ISO 32000-1, 14.3.3): a scanner calls itself Creator."""
    said = pdf.trailer.get("/Info")
    if not isinstance(said, pikepdf.Dictionary):
        return ""
    creator, producer = (
        str(text) if isinstance(text := said.get(name), pikepdf.String) else "" for name in ("/Creator", "/Producer")
    )
    return scanner_name("", creator, producer)


# ---- the scan


def _scan(page: pikepdf.Page, drawn: DrawnImage, max_megapixels: float) -> Raster | None:
    """The page's image by its own stream, or None if it is better left to PDFium."""
    image = drawn.image
    width, height = int(image.get("/Width", 0)), int(image.get("/Height", 0))
    check_size(width, height, max_megapixels)
    stencil = bool(image.get("/ImageMask", False))
    if stencil and not drawn.black_fill:
        return None
    if "/SMask" in image or "/Mask" in image or int(image.get("/SMaskInData", 0)):
        return None
    inverted = _is_inverted(image)
    if inverted is None:
        return None
    warnings: list[str] = []
    filters = filters_of(image)
    encoded: EncodedImage | None = None
    pixels: Pixels | None = None
    if filters == ["/CCITTFaxDecode"]:
        pixels, encoded = _ccitt(image, width, height, inverted=inverted, stencil=stencil)
    elif filters == ["/DCTDecode"] and not inverted and not stencil:
        pixels, encoded = _dct(image, max_megapixels, warnings)
    elif filters == ["/JPXDecode"]:
        pixels = _jpx(image, max_megapixels, warnings)
    if pixels is None:
        pixels = _by_pdfium(image, filters, stencil=stencil)
    if pixels is None:
        return None
    dpi = _image_dpi(drawn, user_unit_of(page)) or (None, None)
    return Raster(
        pixels=pixels if encoded is not None else without_idle_colour(pixels),
        format="pdf",
        compression=_filter_name(image),
        dpi_x=dpi[0],
        dpi_y=dpi[1],
        orientation=orientation_of(drawn.matrix, quarter_turns(page)),
        encoded=encoded,
        warnings=warnings,
    )


def _filter_name(image: pikepdf.Stream) -> str:
    names = {
        "/CCITTFaxDecode": "ccitt",
        "/DCTDecode": "jpeg",
        "/JBIG2Decode": "jbig2",
        "/JPXDecode": "jpeg2000",
        "/FlateDecode": "deflate",
        "/LZWDecode": "lzw",
        "/RunLengthDecode": "packbits",
    }
    filters = filters_of(image)
    return names.get(filters[-1], filters[-1].strip("/").lower()) if filters else "none"


def _is_inverted(image: pikepdf.Stream) -> bool | None:
    """Whether /Decode turns light and dark over; None if it does something else again."""
    decode = image.get("/Decode")
    if decode is None:
        return False
    values = [float(one) for one in decode]
    if values == [0.0, 1.0] * (len(values) // 2):
        return False
    return True if values == [1.0, 0.0] else None


def _space(image: pikepdf.Stream) -> tuple[int, bytes | None] | None:
    """Channels and colour profile of the image's colour space; None if it is not plain grey or RGB."""
    space = image.get("/ColorSpace")
    if isinstance(space, pikepdf.Array) and len(space) > 1 and str(space[0]) == "/ICCBased":
        profile = space[1]
        channels = int(profile.get("/N", 0))
        if channels not in (1, 3) or not isinstance(profile, pikepdf.Stream):
            return None
        return channels, bounded_data(profile, MAX_PROFILE_BYTES)
    name = str(space[0]) if isinstance(space, pikepdf.Array) and len(space) else str(space)
    return (_SIMPLE_SPACES[name], None) if name in _SIMPLE_SPACES else None


def _ccitt(
    image: pikepdf.Stream, width: int, height: int, *, inverted: bool, stencil: bool
) -> tuple[Pixels | None, EncodedImage | None]:
    """A G4 image (ISO 32000-1, 7.4.6). Other fax codes are left to PDFium, which knows their many forms."""
    parameters = _parameters(image)
    black_is_1 = bool(parameters.get("/BlackIs1", False))
    plain = (
        int(parameters.get("/K", 0)) < 0
        and int(parameters.get("/Columns", 1728)) == width
        and int(parameters.get("/Rows", 0)) in (0, height)
        and not bool(parameters.get("/EncodedByteAlign", False))
        and (stencil or _space(image) is not None)
    )
    if not plain:
        return None, None
    data = image.read_raw_bytes()
    packed = codecs.fax_bits([data], compression=codecs.G4, width_px=width, rows=[height])
    # coded black comes out as 0 and is ink, unless one of these turns it over; a stencil paints where it is 0
    dark_is_coded_black = black_is_1 == inverted
    bits = np.unpackbits(~packed if dark_is_coded_black else packed, axis=1, count=width).view(np.bool_)
    encoded = EncodedImage(
        codec="g4", data=data, width_px=width, height_px=height, channels=1, black_is_1=not dark_is_coded_black
    )
    return bits, encoded


def _parameters(image: pikepdf.Stream) -> pikepdf.Object:
    given = image.get("/DecodeParms")
    first = next(iter(given), None) if isinstance(given, pikepdf.Array) else given
    return first if isinstance(first, pikepdf.Dictionary) else pikepdf.Dictionary()


def _dct(
    image: pikepdf.Stream, max_megapixels: float, warnings: list[str]
) -> tuple[Pixels | None, EncodedImage | None]:
    space = _space(image)
    if space is None or "/ColorTransform" in _parameters(image):
        return None, None
    data = image.read_raw_bytes()
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
        check_size(*picture.size, max_megapixels)
        if {"L": 1, "RGB": 3}.get(picture.mode) != space[0]:
            return None, None
        # what the PDF says of the colours counts, not what the JPEG says of itself
        picture.info.pop("icc_profile", None)
        picture.load()
        pixels, converted = from_pillow(picture, warnings, icc=space[1])
        return pixels, None if converted else delivered_jpeg(picture, data)


def _jpx(image: pikepdf.Stream, max_megapixels: float, warnings: list[str]) -> Pixels | None:
    """A JPEG 2000 image; None where the PDF gives it colours of its own. A damaged one is an error in any case."""
    data = image.read_raw_bytes()
    with Image.open(io.BytesIO(data), formats=("JPEG2000",)) as picture:
        check_size(*picture.size, max_megapixels)
        check_jpeg2000(data)
        picture.load()
        space = _space(image) if "/ColorSpace" in image else ({"L": 1, "I;16": 1, "RGB": 3}.get(picture.mode, 0), None)
        if space is None or space[0] != {"L": 1, "I;16": 1, "RGB": 3}.get(picture.mode) or "/Decode" in image:
            return None
        return from_pillow(picture, warnings, icc=space[1])[0]


def _by_pdfium(image: pikepdf.Stream, filters: list[str], *, stencil: bool) -> Pixels | None:
    """Pixels of an image in any other code, by PDFium, from a PDF of this one image; None if it cannot."""
    # PDFium fills up with white where a stream ends early or is damaged: a page that would pass for a blank one
    if filters == ["/FlateDecode"]:
        _check_flate(image, channels=1 if stencil else _channels(image))
    elif filters == ["/JBIG2Decode"]:
        check_jbig2(image.read_raw_bytes())
    with pikepdf.new() as alone:
        copy = alone.copy_foreign(image)
        if stencil:  # painted black where its sample is 0, it looks as a grey image of one bit does
            del copy.ImageMask
            copy.ColorSpace, copy.BitsPerComponent = pikepdf.Name.DeviceGray, 1
        alone.add_blank_page(page_size=(100, 100))
        alone.pages[0].obj.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=copy))
        alone.pages[0].obj.Contents = alone.make_stream(b"q 100 0 0 100 0 0 cm /I Do Q")
        held = io.BytesIO()
        alone.save(held)
    with _pdfium, pypdfium2.PdfDocument(held.getvalue()) as document:
        page = document[0]
        objects = list(page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]))
        if len(objects) != 1:
            return None
        try:
            bitmap = objects[0].get_bitmap()
        except pypdfium2.PdfiumError:
            return None
        pixels = _of_bitmap(bitmap)
        del bitmap  # while the lock is held
    if pixels is None or pixels.shape[:2] != (int(image.Height), int(image.Width)):
        return None
    if stencil or int(image.get("/BitsPerComponent", 1 if filters == ["/JBIG2Decode"] else 8)) == 1:
        grey = without_idle_colour(pixels)
        return bitonal_if_black_and_white(np.asarray(grey, dtype=np.uint8)) if grey.ndim == 2 else grey
    return pixels


def _of_bitmap(bitmap: pypdfium2.PdfBitmap) -> Pixels | None:
    raw = bitmap.to_numpy()
    if bitmap.mode == "L":
        return np.array(raw.reshape(raw.shape[:2]), dtype=np.uint8)
    if bitmap.mode in ("BGR", "BGRX"):
        code = cv2.COLOR_BGR2RGB if bitmap.mode == "BGR" else cv2.COLOR_BGRA2RGB
        return np.asarray(cv2.cvtColor(raw, code), dtype=np.uint8)
    return None


def _channels(image: pikepdf.Stream) -> int | None:
    """Samples of one pixel as stored; None where the colour space does not say."""
    space = image.get("/ColorSpace")
    if isinstance(space, pikepdf.Array) and len(space) > 1:
        if str(space[0]) == "/ICCBased":
            return int(space[1].get("/N", 0)) or None
        if str(space[0]) == "/DeviceN":
            return len(space[1])
    name = str(space[0]) if isinstance(space, pikepdf.Array) and len(space) else str(space)
    return {**_SIMPLE_SPACES, "/DeviceCMYK": 4, "/Lab": 3, "/Indexed": 1, "/Separation": 1}.get(name)


def _check_flate(image: pikepdf.Stream, *, channels: int | None) -> None:
    """Refuse a Flate stream that holds less than the image's rows, or is damaged before their end."""
    if channels is None:
        return
    depth = int(image.get("/BitsPerComponent", 1))
    needed = math.ceil(int(image.Width) * channels * depth / 8) * int(image.Height)
    inflater = zlib.decompressobj()
    pending, found = image.read_raw_bytes(), 0
    while pending and found < needed and not inflater.eof:
        try:
            found += len(inflater.decompress(pending, 1 << 20))
        except zlib.error as error:
            raise UnreadableImage(codecs.CUT_OFF) from error
        pending = inflater.unconsumed_tail
    if found < needed:
        raise UnreadableImage(codecs.CUT_OFF)


def _image_dpi(drawn: DrawnImage, user_unit: float) -> tuple[float, float] | None:
    """Dots per inch along the image's stored columns and rows."""
    a, b, c, d, _, _ = drawn.matrix
    width_pt, height_pt = math.hypot(a, b) * user_unit, math.hypot(c, d) * user_unit
    if not width_pt or not height_pt:
        return None
    dpi_x, dpi_y = plausible_dpi(
        int(drawn.image.get("/Width", 0)) * POINTS_PER_INCH / width_pt,
        int(drawn.image.get("/Height", 0)) * POINTS_PER_INCH / height_pt,
    )
    return None if dpi_x is None or dpi_y is None else (dpi_x, dpi_y)


# ---- the page as it is seen


def _rendered(path: Path, page_index: int, dpi: float, user_unit: float, max_megapixels: float) -> Raster:
    # a hair less, for pypdfium2 rounds sizes up: 792 pt at 300 dpi are 3300.0000000000005 rows
    scale = dpi * user_unit / POINTS_PER_INCH * (1 - 1e-9)
    with _pdfium, _rendering(path) as document:
        page = document[page_index]
        width_pt, height_pt = page.get_size()
        check_size(math.ceil(width_pt * scale), math.ceil(height_pt * scale), max_megapixels)
        bitmap = page.render(scale=scale, fill_color=(255, 255, 255, 255))
        pixels = _of_bitmap(bitmap)
        bitmap.close()
    if pixels is None:
        raise UnreadableImage("the PDF page could not be drawn")
    return Raster(
        pixels=without_idle_colour(pixels),
        format="pdf",
        compression="rendered",
        dpi_x=dpi,
        dpi_y=dpi,
        dpi_chosen=True,
    )


@contextmanager
def _rendering(path: Path) -> Iterator[pypdfium2.PdfDocument]:
    try:
        document = pypdfium2.PdfDocument(path)
        document.init_forms()
        with document:
            yield document
    except pypdfium2.PdfiumError as error:
        raise UnreadableImage(f"the PDF is damaged ({error})") from error
