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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pikepdf
import pypdfium2
from PIL import Image

from stages import tiff_codecs as codecs
from stages.errors import UnreadableImage
from stages.jpeg_stream import delivered_jpeg
from stages.page_image import EncodedImage, Pixels
from stages.raster import (
    Raster,
    bitonal_if_black_and_white,
    check_size,
    from_pillow,
    plausible_dpi,
    without_idle_colour,
)

POINTS_PER_INCH = 72.0
MAX_CONTENT_BYTES = 4 << 20  # of one page's drawing commands; a newspaper page with its words has 0.8 MB
MAX_PROFILE_BYTES = 4 << 20
MAX_FORM_DEPTH = 4
MAX_PAGE_TREE_DEPTH = 64
OFF_AXIS = 5e-4  # sine of the angle up to which an image counts as straight: one pixel over half a letter page
EDGE_FRACTION = 0.02  # of the sheet: how far the image may stop short of an edge, or reach over it
ALMOST_ALL = 0.97  # of the sheet's width and height that the image must cover

_pdfium = threading.Lock()  # PDFium keeps global state and may not be entered twice

# state that does not touch an image, marked content, compatibility brackets, paths (only painting them leaves a mark),
# and all of text but showing it
_IDLE: Final = frozenset(
    [
        *("w", "J", "j", "M", "d", "ri", "i", "G", "RG", "K", "CS", "SC", "SCN", "n"),
        *("BMC", "BDC", "EMC", "MP", "DP", "BX", "EX"),
        *("m", "l", "c", "v", "y", "h", "re", "W", "W*"),
        *("BT", "ET", "Tc", "Tw", "Tz", "TL", "Tf", "Ts", "Td", "TD", "Tm", "T*"),
    ]
)
_SHOWS_TEXT: Final = frozenset(("Tj", "TJ", "'", '"'))
INVISIBLE_TEXT = 3
_FILLS_BLACK: Final = {"g": (0.0,), "rg": (0.0, 0.0, 0.0), "k": (0.0, 0.0, 0.0, 1.0)}
_SIMPLE_SPACES: Final = {"/DeviceGray": 1, "/CalGray": 1, "/DeviceRGB": 3, "/CalRGB": 3}

Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Final[Matrix] = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An image and the matrix that its unit square is drawn by; `black_fill` is the colour a stencil is painted in."""

    image: pikepdf.Stream
    matrix: Matrix
    black_fill: bool


@dataclass(frozen=True, slots=True)
class _State:
    matrix: Matrix
    text_mode: int = 0
    black_fill: bool = True


class _NotAScanError(Exception):
    """The page draws something besides one image."""


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
        drawn = _only_image(pdf, page)
        unit = _user_unit(page)
        if drawn is not None:
            found = _scan(page, drawn, max_megapixels)
            if found is not None:
                return found
            # one image over the whole sheet, but coded or coloured in a way that only PDFium reads
            scale_dpi = _image_dpi(drawn, unit)
            if scale_dpi is not None:
                turned = _rendered(path, page_index, max(scale_dpi), unit, max_megapixels)
                return replace(turned, dpi_chosen=False, compression=_filter_name(drawn.image))
    return _rendered(path, page_index, render_dpi, unit, max_megapixels)


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


# ---- what the page draws


def _only_image(pdf: pikepdf.Pdf, page: pikepdf.Page) -> _Drawn | None:
    """The one image that the page consists of, if it covers the sheet, squarely, and nothing else is seen."""
    if _seen_annotations(page):
        return None
    content = _content(page.obj.get("/Contents"))
    if content is None:
        return None
    found: list[_Drawn] = []
    try:
        _walk(pdf, content, page.obj.get("/Resources", page.resources), _State(_IDENTITY), found, 0)
    except (_NotAScanError, pikepdf.PdfError, TypeError, ValueError, KeyError, IndexError, AttributeError):
        return None  # whatever is odd about the drawing, rendering shows what a reader would see
    if len(found) != 1:
        return None
    return found[0] if _covers(page, found[0].matrix) else None


def _seen_annotations(page: pikepdf.Page) -> bool:
    annotations = page.obj.get("/Annots")
    if annotations is None:
        return False
    # links are areas to click on; a stamp or a comment is drawn
    return any(
        one.get("/Subtype") not in ("/Link", "/Popup") and not int(one.get("/F", 0)) & 2
        for one in annotations
        if isinstance(one, pikepdf.Dictionary)
    )


def _content(contents: pikepdf.Object | None) -> bytes | None:
    """The page's drawing commands, or None where they are missing, too long or oddly coded."""
    if contents is None:
        return None
    parts = []
    left = MAX_CONTENT_BYTES
    for stream in contents if isinstance(contents, pikepdf.Array) else [contents]:
        data = _bounded(stream, left) if isinstance(stream, pikepdf.Stream) else None
        if data is None:
            return None
        parts.append(data)
        left -= len(data)
    return b"\n".join(parts)


def _bounded(stream: pikepdf.Stream, limit: int) -> bytes | None:
    """The stream's decoded bytes if they are at most `limit`, plain or Flate-coded; None else."""
    filters = _filters(stream)
    if filters not in ([], ["/FlateDecode"]) or int(stream.get("/Length", 0)) > limit:
        return None
    raw = stream.read_raw_bytes()
    if not filters:
        return raw if len(raw) <= limit else None
    if "/DecodeParms" in stream:
        return None
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(raw, limit + 1)
    except zlib.error:
        return None
    return data if len(data) <= limit else None


def _filters(stream: pikepdf.Stream) -> list[str]:
    filters = stream.get("/Filter")
    if filters is None:
        return []
    return [str(one) for one in filters] if isinstance(filters, pikepdf.Array) else [str(filters)]


def _walk(
    pdf: pikepdf.Pdf,
    content: bytes,
    resources: pikepdf.Object,
    state: _State,
    found: list[_Drawn],
    depth: int,
) -> _State:
    """Follow the drawing commands and note the images drawn; anything else that leaves a mark ends the walk."""
    stack: list[_State] = []
    for instruction in pikepdf.parse_content_stream(pikepdf.Stream(pdf, content)):
        operands, name = instruction.operands, str(instruction.operator)
        if name == "q":
            stack.append(state)
        elif name == "Q":
            state = stack.pop() if stack else state
        elif name == "cm":
            state = replace(state, matrix=_product(_matrix(operands), state.matrix))
        elif name == "Tr":
            state = replace(state, text_mode=int(operands[0]))
        elif name in _SHOWS_TEXT:
            if state.text_mode != INVISIBLE_TEXT:
                raise _NotAScanError
        elif name in _FILLS_BLACK:
            state = replace(state, black_fill=tuple(float(one) for one in operands) == _FILLS_BLACK[name])
        elif name in ("cs", "sc", "scn"):
            state = replace(state, black_fill=False)
        elif name == "gs":
            _check_graphics_state(resources.ExtGState[str(operands[0])])
        elif name == "Do":
            _note(pdf, resources.XObject[str(operands[0])], resources, state, found, depth)
        elif name not in _IDLE:
            raise _NotAScanError
    return state


def _note(
    pdf: pikepdf.Pdf, drawn: pikepdf.Object, resources: pikepdf.Object, state: _State, found: list[_Drawn], depth: int
) -> None:
    if not isinstance(drawn, pikepdf.Stream) or (found and drawn.get("/Subtype") == "/Image"):
        raise _NotAScanError
    if "/OC" in drawn:  # on a layer that may be switched off
        raise _NotAScanError
    if drawn.get("/Subtype") == "/Image":
        found.append(_Drawn(drawn, state.matrix, state.black_fill))
        return
    inner = _content(drawn)
    if drawn.get("/Subtype") != "/Form" or inner is None or depth >= MAX_FORM_DEPTH or "/Group" in drawn:
        raise _NotAScanError
    placed = _product(_matrix(drawn.get("/Matrix", _IDENTITY)), state.matrix)
    _walk(pdf, inner, drawn.get("/Resources", resources), replace(state, matrix=placed), found, depth + 1)


def _check_graphics_state(settings: pikepdf.Object) -> None:
    plain = (
        float(settings.get("/ca", 1)) == 1
        and str(settings.get("/SMask", "/None")) == "/None"
        and str(settings.get("/BM", "/Normal")) in ("/Normal", "/Compatible")
        and "/TR" not in settings
    )
    if not plain:
        raise _NotAScanError


def _matrix(operands: object) -> Matrix:
    a, b, c, d, e, f = (float(one) for one in operands)  # type: ignore[attr-defined]  # checked by unpacking
    return a, b, c, d, e, f


def _product(first: Matrix, then: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    p, q, r, s, t, u = then
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u


def _covers(page: pikepdf.Page, matrix: Matrix) -> bool:
    """Whether the image lies square on the sheet and over (nearly) all of it."""
    a, b, c, d, e, f = matrix
    straight = abs(b) <= OFF_AXIS * abs(a) and abs(c) <= OFF_AXIS * abs(d)
    lying = abs(a) <= OFF_AXIS * abs(b) and abs(d) <= OFF_AXIS * abs(c)
    if not (straight or lying):
        return False
    left, bottom, right, top = _sheet(page)
    width, height = right - left, top - bottom
    xs, ys = (e, e + a + c), (f, f + b + d)
    gaps_x = (min(xs) - left, right - max(xs))
    gaps_y = (min(ys) - bottom, top - max(ys))
    return (
        all(abs(gap) <= EDGE_FRACTION * width for gap in gaps_x)
        and all(abs(gap) <= EDGE_FRACTION * height for gap in gaps_y)
        and max(xs) - min(xs) >= ALMOST_ALL * width
        and max(ys) - min(ys) >= ALMOST_ALL * height
    )


def _sheet(page: pikepdf.Page) -> tuple[float, float, float, float]:
    """The part of the page that is seen: the crop box within the media box."""
    media, crop = ([float(one) for one in box] for box in (page.mediabox, page.cropbox))
    boxes = [(min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])) for b in (media, crop)]
    left, bottom = max(b[0] for b in boxes), max(b[1] for b in boxes)
    right, top = min(b[2] for b in boxes), min(b[3] for b in boxes)
    if right <= left or top <= bottom:
        raise UnreadableImage("the PDF page has no area")
    return left, bottom, right, top


def _user_unit(page: pikepdf.Page) -> float:
    unit = float(page.obj.get("/UserUnit", 1))
    return unit if math.isfinite(unit) and unit > 0 else 1.0


# ---- the scan


def _scan(page: pikepdf.Page, drawn: _Drawn, max_megapixels: float) -> Raster | None:
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
    filters = _filters(image)
    encoded: EncodedImage | None = None
    pixels: Pixels | None = None
    if filters == ["/CCITTFaxDecode"]:
        pixels, encoded = _ccitt(image, width, height, inverted=inverted, stencil=stencil)
    elif filters == ["/DCTDecode"] and not inverted and not stencil:
        pixels, encoded = _dct(image, max_megapixels, warnings)
    elif not stencil:
        pixels = _by_pdfium(image, filters)
    if pixels is None:
        return None
    dpi = _image_dpi(drawn, _user_unit(page)) or (None, None)
    return Raster(
        pixels=pixels if encoded is not None else without_idle_colour(pixels),
        format="pdf",
        compression=_filter_name(image),
        dpi_x=dpi[0],
        dpi_y=dpi[1],
        orientation=_orientation(drawn.matrix, _rotation(page)),
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
    filters = _filters(image)
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
        return channels, _bounded(profile, MAX_PROFILE_BYTES)
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


def _by_pdfium(image: pikepdf.Stream, filters: list[str]) -> Pixels | None:
    """Pixels of an image in any other code, by PDFium, from a PDF of this one image; None if it cannot."""
    if filters == ["/FlateDecode"]:
        _check_whole(image)
    with pikepdf.new() as alone:
        copy = alone.copy_foreign(image)
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
    if int(image.get("/BitsPerComponent", 1 if filters == ["/JBIG2Decode"] else 8)) == 1:
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


def _check_whole(image: pikepdf.Stream) -> None:
    """Refuse a Flate stream that ends before its rows do; PDFium would fill up in silence."""
    space = _space(image)
    if space is None:
        return
    needed = math.ceil(int(image.Width) * space[0] * int(image.get("/BitsPerComponent", 8)) / 8) * int(image.Height)
    inflater = zlib.decompressobj()
    pending, found = image.read_raw_bytes(), 0
    while pending and found < needed and not inflater.eof:
        found += len(inflater.decompress(pending, 1 << 20))
        pending = inflater.unconsumed_tail
    if found < needed:
        raise UnreadableImage(codecs.CUT_OFF)


def _image_dpi(drawn: _Drawn, user_unit: float) -> tuple[float, float] | None:
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


def _rotation(page: pikepdf.Page) -> int:
    """Quarter turns clockwise at which the page is shown (/Rotate may stand on a parent)."""
    node: pikepdf.Object | None = page.obj
    for _ in range(MAX_PAGE_TREE_DEPTH):
        if node is None or "/Rotate" in node:
            break
        node = node.get("/Parent")
    degrees = int(node.get("/Rotate", 0)) if node is not None else 0
    return degrees // 90 % 4


# the TIFF orientation whose first column and first row run as the image's do on the shown page
_ORIENTATIONS: Final = {
    ((1, 0), (0, 1)): 1,
    ((-1, 0), (0, 1)): 2,
    ((-1, 0), (0, -1)): 3,
    ((1, 0), (0, -1)): 4,
    ((0, 1), (1, 0)): 5,
    ((0, 1), (-1, 0)): 6,
    ((0, -1), (-1, 0)): 7,
    ((0, -1), (1, 0)): 8,
}


def _orientation(matrix: Matrix, quarter_turns: int) -> int:
    a, b, c, d, _, _ = matrix
    # image columns run along (a, b) and its rows along -(c, d); the page's y points up, the screen's down
    along_columns, along_rows = (a, -b), (-c, d)
    for _ in range(quarter_turns):
        along_columns = (-along_columns[1], along_columns[0])
        along_rows = (-along_rows[1], along_rows[0])
    return _ORIENTATIONS[_direction(along_columns), _direction(along_rows)]


def _direction(vector: tuple[float, float]) -> tuple[int, int]:
    x, y = vector
    return (int(math.copysign(1, x)), 0) if abs(x) > abs(y) else (0, int(math.copysign(1, y)))


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
