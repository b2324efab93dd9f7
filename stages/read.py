"""Read one page of a file that a customer sent: whatever the format, the same kind of page image comes out.

What kind of file it is stands in its first bytes, not in its name. A file that cannot be read faithfully is refused
with a sentence for the operator; a page with missing rows is no faithful scan. Decoders are native code and the files
are strangers': call this in a process with limits on memory and time.
"""

from __future__ import annotations

import logging
import warnings as python_warnings
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import ExifTags, Image
from pydantic import Field

from stages.errors import Refusal, ResolutionTooLow, TooLarge, TooManyPages, UnreadableImage
from stages.jpeg2000_stream import check_jpeg2000
from stages.jpeg_stream import delivered_jpeg
from stages.page_image import MM_PER_INCH, PageImage, Pixels
from stages.raster import (
    CM_PER_INCH,
    Raster,
    check_size,
    from_pillow,
    plausible_dpi,
    scanner_name,
    without_idle_colour,
)
from stages.read_tiff import read_tiff
from stages.settings import StageSettings
from stages.tiff_tags import page_offsets

log = logging.getLogger(__name__)

USUAL_DPI = 300.0
SCANNER_DPI = (100.0, 150.0, 200.0, 240.0, 300.0, 400.0, 600.0)  # what document scanners are set to
PAPER_MM = ((215.9, 279.4), (210.0, 297.0), (215.9, 355.6))  # letter, A4, legal
PAPER_TOLERANCE = 0.03  # a scan is seldom cut exactly at the sheet's edge
SCREEN_DPI = (72.0, 96.0)
LARGEST_DESK_SHEET_MM = (297.0, 432.0)  # A3 or ledger, whichever is larger each way
SMALLEST_SHEET_MM = 105.0  # the short side of A6
REDUCED_PAGE_MM = 70.0  # 830 pixels at 300 dpi: what is smaller is a cut-out, not a page
SAME_DPI_FRACTION = 0.01  # axes that differ by less are the same resolution, written inexactly
SMALL_FILE_BYTES = 1 << 20
MOST_MEGAPIXELS = 600.0  # A0 at 600 dpi has 558
# every page opens the file anew, so n pages cost n² steps; 1.8 MB of PDF can claim 300,000 pages.
MOST_PAGES_A_FILE = 10_000
SNIFFED_BYTES = 1024  # readers find "%PDF-" anywhere in these (ISO 32000-1, annex H.3.4.1)

_PILLOW_FORMATS: Final = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
}
_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DEVICE_TAGS: Final = (ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software)
_BMP_HEADER_BYTES: Final = (12, 40, 52, 56, 64, 108, 124)


class Settings(StageSettings):
    """How files are read.

    `dpi_when_missing` is what a file that states no resolution has; None estimates it from the size of the sheet.
    Below `min_dpi` a page is refused, if its file states the resolution.
    """

    dpi_when_missing: float | None = Field(USUAL_DPI, ge=20, le=10_000)
    max_megapixels: float = Field(MOST_MEGAPIXELS, gt=0, le=2000)
    pdf_render_dpi: float = Field(USUAL_DPI, ge=20, le=2400)
    min_dpi: float | None = Field(None, gt=0, le=10_000)


def is_supported(path: Path) -> bool:
    """Whether the file's first bytes are those of a format that is read here; its name does not count."""
    return _kind(path) is not None


def page_count(path: Path) -> int:
    """How many pages the file has; nothing is decoded. Moving pictures count as one page, their first.

    Raises:
        UnreadableImage: it is no image or PDF, is locked, or its list of pages is damaged or cut off.
        TooManyPages: it has more than `MOST_PAGES_A_FILE`.
    """
    kind = _known_kind(path)
    try:
        if kind not in ("PDF", "TIFF"):
            return 1
        count = _pdf_page_count(path) if kind == "PDF" else len(page_offsets(path))
        if count > MOST_PAGES_A_FILE:
            raise TooManyPages(count, MOST_PAGES_A_FILE)
        return count
    except Refusal:
        raise
    except Exception as error:
        raise _as_refusal(error) from error


def read_page(path: Path, page_index: int, settings: Settings) -> PageImage:
    """One page of the file, upright as the file says, at one resolution for both axes.

    Readings tell what the file holds: `read.width_px`, `height_px`, `dpi_x` and `dpi_y` are those of the stored
    image, before it was turned by `read.turned` (TIFF orientation 1 to 8; 1 is upright) and before the coarser axis
    was brought to the finer. `read.dpi_source` is `file`, `profile` or `guessed`. `read.scanner` is the device as the
    file names it, "" where it does not.

    The scanner's own stream stays in `encoded` where the pixels are exactly what it decodes to: a grey or RGB JPEG,
    or a single G4 strip. Of G4 `black_is_1` is what a PDF says as /BlackIs1 with DeviceGray and no /Decode: false
    where a coded black run is ink (TIFF WhiteIsZero, the usual case), true where it is paper (BlackIsZero).

    Raises:
        UnreadableImage: the file is damaged, cut off, locked, or of a kind that is not taken.
        TooLarge: the page has more than `settings.max_megapixels`.
        ResolutionTooLow: the file states fewer dots per inch than `settings.min_dpi`.
    """
    kind = _known_kind(path)
    try:
        with python_warnings.catch_warnings(record=True) as said:
            python_warnings.simplefilter("always")
            raster = _raster(path, kind, page_index, settings)
            return _page(raster, settings, {str(one.message) for one in said})
    except Refusal:
        raise
    except Exception as error:
        # decoders of strangers' bytes raise whatever comes to hand: SyntaxError, struct.error, IndexError, ...
        raise _as_refusal(error) from error


def page_megapixels(path: Path, page_index: int, settings: Settings) -> float:
    """How many megapixels the page has by what the file says of it; nothing is decoded.

    Raises:
        UnreadableImage: as `read_page`.
    """
    try:
        # every reader asks for the size before it allocates anything: where none is allowed, the refusal tells it
        read_page(path, page_index, settings.model_copy(update={"max_megapixels": 0.0}))
    except TooLarge as refusal:
        return refusal.megapixels
    raise AssertionError("a page was decoded without its size being asked for")


def _pdf_page_count(path: Path) -> int:
    from stages.read_pdf import pdf_page_count  # see `_raster`

    return pdf_page_count(path)


def _as_refusal(error: Exception) -> Exception:
    """What to raise for a decoder's error: a refusal, except where the disk or network is at fault."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    if isinstance(error, MemoryError):
        return UnreadableImage("decoding it takes more memory than there is")
    log.warning("a decoder failed", exc_info=error)  # a fault of ours would look the same to the operator
    said = str(error).strip().rstrip(".")
    if "truncated" in said.lower() or isinstance(error, EOFError):
        return UnreadableImage("it is cut off: the file ends before the image does")
    return UnreadableImage(f"it is damaged ({said[:120] or type(error).__name__})")


def _known_kind(path: Path) -> str:
    kind = _kind(path)
    if kind is None:
        if path.stat().st_size == 0:
            raise UnreadableImage("it is empty")
        raise UnreadableImage("it is none of TIFF, PDF, JPEG, JPEG 2000, PNG, GIF, BMP, WebP, PBM, PGM and PPM")
    return kind


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
    if head[:4] in _TIFF_MAGIC:
        return "TIFF"
    for magic, name in _PILLOW_FORMATS.items():
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#":
        return "PPM"
    return "PDF" if b"%PDF-" in head else None


def _raster(path: Path, kind: str, page_index: int, settings: Settings) -> Raster:
    if page_index < 0:
        raise ValueError(f"pages are counted from 0, not {page_index}")
    if kind == "TIFF":
        return read_tiff(path, page_index, settings.max_megapixels)
    if kind == "PDF":
        # the two PDF libraries cost a process 0.07 s and 8 MB, and most files are no PDF
        from stages.read_pdf import read_pdf

        return read_pdf(path, page_index, max_megapixels=settings.max_megapixels, render_dpi=settings.pdf_render_dpi)
    if page_index:
        raise UnreadableImage(f"it has 1 page, and page {page_index + 1} was asked for")
    return _single_image(path, kind, settings.max_megapixels)


def _single_image(path: Path, kind: str, max_megapixels: float) -> Raster:
    """The formats that Pillow reads whole; of several pictures in one file, the first."""
    notes: list[str] = []
    with path.open("rb") as file, Image.open(file, formats=(kind,)) as image:
        check_size(*image.size, max_megapixels)
        dpi_x, dpi_y = _stated_dpi(image, kind)
        orientation = _orientation(image, notes)
        scanner = _scanner(image)
        if kind == "JPEG2000":
            check_jpeg2000(path.read_bytes())
        image.load()
        pixels, converted = from_pillow(image, notes)
        encoded = None
        # a file longer than its pixels carries something else behind the picture
        if kind == "JPEG" and not converted and path.stat().st_size <= pixels.nbytes + SMALL_FILE_BYTES:
            encoded = delivered_jpeg(image, path.read_bytes())
    return Raster(
        # colour that is grey throughout stays colour where the scanner's own stream can be delivered with it
        pixels=pixels if encoded is not None else without_idle_colour(pixels),
        format=kind.lower(),
        compression=_COMPRESSIONS[kind],
        dpi_x=dpi_x,
        dpi_y=dpi_y,
        orientation=orientation,
        encoded=encoded,
        scanner=scanner,
        warnings=notes,
    )


_COMPRESSIONS: Final = {
    "JPEG": "jpeg",
    "PNG": "deflate",
    "JPEG2000": "jpeg2000",
    "GIF": "lzw",
    "BMP": "none",
    "WEBP": "webp",
    "PPM": "none",
}


def _stated_dpi(image: Image.Image, kind: str) -> tuple[float | None, float | None]:
    """The resolution the file states, (None, None) if there is none that can be meant."""
    if kind == "JPEG":
        # Pillow puts 72 where it finds none; so the JFIF header is asked here (its unit 1 is inch, 2 centimetre)
        factor = {1: 1.0, 2: CM_PER_INCH}.get(image.info.get("jfif_unit", 0))
        density = image.info.get("jfif_density", (0, 0))
        stated = plausible_dpi(density[0] * factor, density[1] * factor) if factor else (None, None)
    else:
        dpi = image.info.get("dpi", (0, 0))
        stated = plausible_dpi(float(dpi[0]), float(dpi[1]))
    return stated if stated[0] is not None else _exif_dpi(image)


def _exif_dpi(image: Image.Image) -> tuple[float | None, float | None]:
    try:
        exif = image.getexif()
        factor = {2: 1.0, 3: CM_PER_INCH}.get(int(exif.get(ExifTags.Base.ResolutionUnit, 2)))
        if factor is None:
            return None, None
        across, down = exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution]
        return plausible_dpi(float(across) * factor, float(down) * factor)
    except Exception:
        # a broken EXIF block raises anything at all, and takes nothing from the picture
        return None, None


def _orientation(image: Image.Image, notes: list[str]) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:
        # as above; but the page may now stand wrongly, so it is told
        notes.append(f"its EXIF block is damaged ({str(error)[:80]}); a turn noted there is not known")
        return 1


def _scanner(image: Image.Image) -> str:
    try:
        exif = image.getexif()
        # the number of a camera stands in a block of its own (EXIF 2.32, 4.6.5)
        serial = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.BodySerialNumber)
        return scanner_name(
            *(exif.get(tag) for tag in _DEVICE_TAGS), serial=serial, computer=exif.get(ExifTags.Base.HostComputer)
        )
    except Exception:
        # as above; a name that cannot be read is a name that is not given
        return ""


def _page(raster: Raster, settings: Settings, said: set[str]) -> PageImage:
    stored = raster.pixels
    dpi_x, dpi_y, source = _settled_dpi(raster, settings)
    if settings.min_dpi is not None and source == "file" and min(dpi_x, dpi_y) < settings.min_dpi:
        raise ResolutionTooLow(min(dpi_x, dpi_y), settings.min_dpi)
    orientation = raster.orientation if 1 <= raster.orientation <= 8 else 1
    pixels = _turned(stored, orientation)
    across, down = (dpi_x, dpi_y) if orientation < 5 else (dpi_y, dpi_x)
    pixels = _squared(pixels, across, down, settings.max_megapixels)
    page = PageImage(
        pixels=pixels,
        dpi=max(dpi_x, dpi_y),
        encoded=raster.encoded if pixels is stored else None,
    )
    notes = [*raster.warnings, *sorted(said)]
    readings = page.with_readings(
        "read",
        format=raster.format,
        compression=raster.compression,
        width_px=int(stored.shape[1]),
        height_px=int(stored.shape[0]),
        dpi_x=dpi_x,
        dpi_y=dpi_y,
        dpi_source=source,
        mode="bitonal" if page.is_bitonal else "colour" if page.is_colour else "grey",
        turned=orientation,
        scanner=raster.scanner,
    )
    return readings.with_readings("read", warnings=notes) if notes else readings


def _settled_dpi(raster: Raster, settings: Settings) -> tuple[float, float, str]:
    height_px, width_px = raster.pixels.shape[:2]
    stated = raster.dpi_x is not None and raster.dpi_y is not None
    if stated and not _is_screen_default(raster, width_px, height_px):
        assert raster.dpi_x is not None and raster.dpi_y is not None
        return raster.dpi_x, raster.dpi_y, "profile" if raster.dpi_chosen else "file"
    by_sheet = _dpi_of_sheet(width_px, height_px)
    if settings.dpi_when_missing is None:
        guess = by_sheet or USUAL_DPI
        return guess, guess, "guessed"
    if stated and by_sheet is not None:
        return by_sheet, by_sheet, "guessed"
    long_mm = max(width_px, height_px) / settings.dpi_when_missing * MM_PER_INCH
    if REDUCED_PAGE_MM < long_mm < SMALLEST_SHEET_MM:
        # a page of text of that size would be unreadable print: it has been reduced, and was a letter sheet
        guess = max(width_px, height_px) / (PAPER_MM[0][1] / MM_PER_INCH)
        return guess, guess, "guessed"
    return settings.dpi_when_missing, settings.dpi_when_missing, "profile"


def _is_screen_default(raster: Raster, width_px: int, height_px: int) -> bool:
    """Whether the file says what software says that knows no resolution, and the sheet could not be so large."""
    if raster.dpi_chosen or raster.dpi_x not in SCREEN_DPI or raster.dpi_y not in SCREEN_DPI:
        return False
    short_mm, long_mm = sorted((width_px / raster.dpi_x * MM_PER_INCH, height_px / raster.dpi_y * MM_PER_INCH))
    return short_mm > LARGEST_DESK_SHEET_MM[0] or long_mm > LARGEST_DESK_SHEET_MM[1]


def _dpi_of_sheet(width_px: int, height_px: int) -> float | None:
    """The scanner setting at which these pixels are a letter, A4 or legal sheet, within 3 %."""
    short, long = sorted((width_px, height_px))
    best: tuple[float, float | None] = (PAPER_TOLERANCE, None)
    for short_mm, long_mm in PAPER_MM:
        for dpi in SCANNER_DPI:
            per_mm = dpi / MM_PER_INCH
            error = max(abs(short / (short_mm * per_mm) - 1), abs(long / (long_mm * per_mm) - 1))
            if error < best[0]:
                best = (error, dpi)
    return best[1]


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """The stored rows and columns put where TIFF orientation 2 to 8 says they belong (TIFF 6.0, section 8)."""
    if orientation == 1:
        return pixels
    # OpenCV for speed: a turned view of numpy is copied ten times slower
    kind = np.bool_ if pixels.dtype == np.bool_ else np.uint8
    turned = pixels.view(np.uint8)
    if orientation >= 5:
        turned = np.asarray(cv2.transpose(turned), dtype=np.uint8)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    if flip is not None:
        turned = np.asarray(cv2.flip(turned, flip), dtype=np.uint8)
    return turned.view(kind)


def _squared(pixels: Pixels, dpi_x: float, dpi_y: float, max_megapixels: float) -> Pixels:
    """Pixels as many to the inch down as across: the coarser axis (of a fax) is brought up to the finer."""
    fine = max(dpi_x, dpi_y)
    if min(dpi_x, dpi_y) >= fine * (1 - SAME_DPI_FRACTION):
        return pixels
    rows, cols = pixels.shape[:2]
    width, height = round(cols * fine / dpi_x), round(rows * fine / dpi_y)
    check_size(width, height, max_megapixels)
    if pixels.dtype == np.bool_:
        # rows repeated: what lies between two rows of a fax is not known
        whole = cv2.resize(pixels.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(whole, dtype=np.uint8).view(np.bool_)
    return np.asarray(cv2.resize(pixels.view(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
