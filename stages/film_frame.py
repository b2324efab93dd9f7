"""A page as a film frame: the TIFF that an archive writer takes.

Archive writers refuse much that is legal TIFF (several strips, tiles, odd photometry), so the file is laid out here
byte by byte; only the CCITT G4 coding itself is libtiff's, through Pillow.

Sources: TIFF 6.0, sections 2, 7, 11; ITU-T T.6; `docs/film.md` for what writers and state archives ask.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from stages.page_file import g4_strip
from stages.page_image import PageImage
from stages.settings import StageSettings

Ink = npt.NDArray[np.bool_]  # True where there is ink: the other way round than PageImage


class Settings(StageSettings):
    """How frames are written, and what size of page a frame may show."""

    film_mm: Literal[16, 35] = 16
    software: str = Field("Platen", max_length=80)


class Tag(IntEnum):
    """The TIFF tags of a frame (TIFF 6.0)."""

    NEW_SUBFILE_TYPE = 254
    IMAGE_WIDTH = 256
    IMAGE_LENGTH = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    DOCUMENT_NAME = 269
    STRIP_OFFSETS = 273
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PAGE_NAME = 285
    T6_OPTIONS = 293
    RESOLUTION_UNIT = 296
    SOFTWARE = 305


SHORT, LONG, RATIONAL, ASCII = 3, 4, 5, 2
G4 = 4
WHITE_IS_ZERO = 0
INCH = 2
DPI_DENOMINATOR = 10_000
# bytes a value by TIFF 6.0 field type: BYTE ASCII SHORT LONG RATIONAL SBYTE UNDEFINED SSHORT SLONG SRATIONAL FLOAT
# DOUBLE, and IFD of TIFF technical note 1
FIELD_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def write_frame(
    page: PageImage,
    out: Path,
    *,
    settings: Settings | None = None,
    document_name: str = "",
    page_name: str = "",
    to_bitonal: Callable[[PageImage], PageImage] | None = None,
) -> str:
    """Write the page as one film frame and return the SHA-256 of the file.

    The same page gives the same bytes, today and tomorrow: no date is written. A grey or colour page is made bitonal by
    `to_bitonal`; if there is none, or it left greys, by one threshold for the whole page (Otsu). Names become ASCII.
    """
    settings = settings or Settings()
    if not page.is_bitonal and to_bitonal:
        page = to_bitonal(page)
    if not page.is_bitonal:
        page = otsu(page)
    data = frame_bytes(
        ~page.pixels.view(np.bool_),
        page.dpi,
        document_name=document_name,
        page_name=page_name,
        software=settings.software,
    )
    beside = out.with_name(out.name + ".part")
    beside.write_bytes(data)
    beside.replace(out)
    return hashlib.sha256(data).hexdigest()


def otsu(page: PageImage) -> PageImage:
    """The page made bitonal by one threshold; the page's own `binarize` stage is better and should have run before.

    Source: Otsu 1979, doi:10.1109/TSMC.1979.4310076.
    """
    threshold, _ = cv2.threshold(page.grey(), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return page.with_pixels(page.grey() > threshold)


def frame_bytes(ink: Ink, dpi: float, *, document_name: str = "", page_name: str = "", software: str = "") -> bytes:
    """The whole TIFF: little-endian header, the one directory, its values, the one G4 strip, in that order."""
    rows, cols = ink.shape
    strip = g4_strip(~ink)
    resolution = struct.pack("<II", round(dpi * DPI_DENOMINATOR), DPI_DENOMINATOR)
    entries: list[tuple[Tag, int, bytes]] = [
        (Tag.NEW_SUBFILE_TYPE, LONG, struct.pack("<I", 0)),
        (Tag.IMAGE_WIDTH, LONG, struct.pack("<I", cols)),
        (Tag.IMAGE_LENGTH, LONG, struct.pack("<I", rows)),
        (Tag.BITS_PER_SAMPLE, SHORT, struct.pack("<H", 1)),
        (Tag.COMPRESSION, SHORT, struct.pack("<H", G4)),
        (Tag.PHOTOMETRIC, SHORT, struct.pack("<H", WHITE_IS_ZERO)),
        (Tag.FILL_ORDER, SHORT, struct.pack("<H", 1)),
        (Tag.DOCUMENT_NAME, ASCII, _ascii(document_name)),
        (Tag.STRIP_OFFSETS, LONG, bytes(4)),  # known once the directory's own length is
        (Tag.SAMPLES_PER_PIXEL, SHORT, struct.pack("<H", 1)),
        (Tag.ROWS_PER_STRIP, LONG, struct.pack("<I", rows)),  # single strip: writers refuse multi-strip TIFF
        (Tag.STRIP_BYTE_COUNTS, LONG, struct.pack("<I", len(strip))),
        (Tag.X_RESOLUTION, RATIONAL, resolution),
        (Tag.Y_RESOLUTION, RATIONAL, resolution),
        (Tag.PAGE_NAME, ASCII, _ascii(page_name)),
        (Tag.T6_OPTIONS, LONG, struct.pack("<I", 0)),
        (Tag.RESOLUTION_UNIT, SHORT, struct.pack("<H", INCH)),
        (Tag.SOFTWARE, ASCII, _ascii(software)),
    ]
    entries = [entry for entry in entries if entry[2] != b"\0"]  # a name that is not given leaves no tag
    values_at = 8 + 2 + 12 * len(entries) + 4
    strip_at = values_at + sum(_even(len(value)) for _, _, value in entries if len(value) > 4)
    directory, values = [struct.pack("<H", len(entries))], b""
    for tag, kind, value in entries:
        if tag is Tag.STRIP_OFFSETS:
            value = struct.pack("<I", strip_at)
        directory.append(struct.pack("<HHI", tag, kind, len(value) // FIELD_BYTES[kind]))
        if len(value) > 4:
            directory.append(struct.pack("<I", values_at + len(values)))
            values += value.ljust(_even(len(value)), b"\0")
        else:
            directory.append(value.ljust(4, b"\0"))
    return b"".join([b"II*\0", struct.pack("<I", 8), *directory, bytes(4), values, strip])


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace").replace(b"\0", b"?")[:255] + b"\0"


def _even(size: int) -> int:
    return size + size % 2
