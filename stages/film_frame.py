"""Film frames: a page image as the TIFF an archive writer takes, the targets of a roll, and the checker of frames.

Archive writers refuse much that is legal TIFF (several strips, tiles, odd photometry), so the file is laid out here
byte by byte and read back by a reader of its own; only the CCITT G4 coding itself is libtiff's, through Pillow.

Sources: TIFF 6.0, sections 2, 7, 11; ITU-T T.6; `docs/film.md` for what writers and state archives ask.
"""

from __future__ import annotations

import hashlib
import json
import stat
import struct
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import zxingcpp
from PIL import Image, ImageDraw, ImageFont, TiffImagePlugin
from pydantic import Field

from stages.fonts import font
from stages.page_image import MM_PER_INCH, PageImage
from stages.settings import StageSettings

Ink = npt.NDArray[np.bool_]  # True where there is ink: the other way round than PageImage, as G4 wants it

# ---------------------------------------------------------------------------------------------------------------------
# Frames
# ---------------------------------------------------------------------------------------------------------------------


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
    strip = g4_strip(ink)
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
        directory.append(struct.pack("<HHI", tag, kind, len(value) // SIZES[kind]))
        if len(value) > 4:
            directory.append(struct.pack("<I", values_at + len(values)))
            values += value.ljust(_even(len(value)), b"\0")
        else:
            directory.append(value.ljust(4, b"\0"))
    return b"".join([b"II*\0", struct.pack("<I", 8), *directory, bytes(4), values, strip])


def g4_strip(ink: Ink) -> bytes:
    """One CCITT G4 strip with its end mark (EOFB); ink is coded as black."""
    holder = BytesIO()
    # fromarray makes mode "1", whose ones Pillow calls white; the strip is taken out of that file, so only bits count
    Image.fromarray(ink).save(
        holder, "TIFF", compression="group4", tiffinfo={int(Tag.ROWS_PER_STRIP): int(ink.shape[0])}
    )
    data = holder.getvalue()
    tags = read_tags(data)
    (start,), (length,) = tags[Tag.STRIP_OFFSETS], tags[Tag.STRIP_BYTE_COUNTS]
    return data[int(start) : int(start) + int(length)]


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace").replace(b"\0", b"?")[:255] + b"\0"


def _even(size: int) -> int:
    return size + size % 2


# ---------------------------------------------------------------------------------------------------------------------
# The checker
# ---------------------------------------------------------------------------------------------------------------------

# Longest short and long side of a page by film width. 16 mm: originals up to 12 x 18 in (Tameran Archive Center);
# 35 mm: the largest sheet planned for, 36 x 48 in.
PAGE_LIMITS_IN = {16: (12.0, 18.0), 35: (36.0, 48.0)}
SHORTEST_SIDE_IN = 0.5  # narrower than a till receipt is no page but a fault
DPI_RANGE = (100.0, 1200.0)
MAX_FRAME_BYTES = 256 * 2**20
MAX_MEGAPIXELS = 250.0  # 36 x 48 in at 300 dpi are 156
MAX_ENTRIES = 64
MAX_VALUES = 4096
# bytes a value by TIFF 6.0 field type: BYTE ASCII SHORT LONG RATIONAL SBYTE UNDEFINED SSHORT SLONG SRATIONAL FLOAT
# DOUBLE, and IFD of TIFF technical note 1
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
OTHER_DIRECTORIES = {330: "SubIFDs", 34665: "EXIF", 34853: "GPS", 40965: "interoperability"}
TILE_TAGS = (322, 323, 324, 325)
EOFB = 0x001001  # two end-of-line codes: ITU-T T.6, 2.4.1.1
EOFB_BITS = 24


class NotATiff(ValueError):
    """The bytes are not a TIFF that can be followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a frame file is, and what is wrong with it; sizes are 0 where they cannot be read."""

    problems: tuple[str, ...]
    width_px: int = 0
    height_px: int = 0
    dpi: float = 0.0
    sha256: str = ""


def check_frame(path: Path, *, film_mm: int = 16) -> list[str]:
    """What an archive writer would stumble over in this file; empty when it is a good frame."""
    return list(inspect_frame(path, film_mm=film_mm).problems)


def inspect_frame(path: Path, *, film_mm: int = 16) -> Inspection:
    """Check a frame and say its size, resolution and digest. Never raises for what is in the file."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return Inspection(problems=("is not a plain file",))
        if status.st_size > MAX_FRAME_BYTES:
            return Inspection(problems=(f"has {status.st_size:,} bytes; the limit is {MAX_FRAME_BYTES:,}",))
        data = path.read_bytes()
    except OSError as error:
        return Inspection(problems=(f"cannot be opened: {error.strerror}",))
    digest = hashlib.sha256(data).hexdigest()
    try:
        tags = read_tags(data)
    except NotATiff as error:
        return Inspection(problems=(str(error),), sha256=digest)
    width, height = _integer(tags, Tag.IMAGE_WIDTH), _integer(tags, Tag.IMAGE_LENGTH)
    dpi, problems = _resolution_problems(tags)
    problems = [*_coding_problems(tags), *problems]
    if width < 1 or height < 1:
        problems.append("has no width or no height")
    elif dpi > 0 and (problem := size_problem(width, height, dpi, film_mm)):
        problems.append(problem)
    if not problems:
        problems += _strip_problems(data, tags, width, height)
    return Inspection(problems=tuple(problems), width_px=width, height_px=height, dpi=dpi, sha256=digest)


def read_tags(data: bytes) -> dict[int, tuple[float | str, ...]]:
    """The tags of the first directory, each with its values; rationals become floats.

    Nothing is believed before it is seen to lie inside `data`.

    Raises:
        NotATiff: not a TIFF, or its directory or a value points outside the file, or there is a second directory.
    """
    if len(data) < 8 or data[:2] not in (b"II", b"MM"):
        raise NotATiff("is not a TIFF file")
    order = "<" if data[:2] == b"II" else ">"
    magic, at = struct.unpack_from(order + "HI", data, 2)
    if magic != 42:
        raise NotATiff("is not a TIFF 6.0 file" + (" but a BigTIFF" if magic == 43 else ""))
    if at < 8 or at + 2 > len(data):
        raise NotATiff("its directory lies outside the file")
    (count,) = struct.unpack_from(order + "H", data, at)
    if not 0 < count <= MAX_ENTRIES or at + 2 + 12 * count + 4 > len(data):
        raise NotATiff("its directory is damaged")
    tags: dict[int, tuple[float | str, ...]] = {}
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, place)
        size = SIZES.get(kind, 0) * number
        if not size:
            raise NotATiff(f"tag {tag} is damaged")
        if size > 4:
            (place,) = struct.unpack_from(order + "I", data, place + 8)
        else:
            place += 8
        if place + size > len(data):
            raise NotATiff(f"the value of tag {tag} lies outside the file")
        if tag in tags:
            raise NotATiff(f"tag {tag} stands twice")
        # a frame has few values a tag; of an endless list, as of strips, the beginning says enough
        tags[tag] = _values(data[place : place + min(size, SIZES[kind] * MAX_VALUES)], kind, order)
    (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
    if following:
        raise NotATiff("has more than one page (a second directory)")
    return tags


def _values(raw: bytes, kind: int, order: str) -> tuple[float | str, ...]:
    if kind == ASCII:
        return (raw.rstrip(b"\0").decode("ascii", "replace"),)
    if kind in (5, 10):
        pairs = np.frombuffer(raw, order + ("u4" if kind == 5 else "i4")).reshape(-1, 2).tolist()
        return tuple(upper / lower if lower else 0.0 for upper, lower in pairs)
    code = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4"}[kind]
    return tuple(np.frombuffer(raw, order + code).tolist())


def _integer(tags: Mapping[int, tuple[float | str, ...]], tag: int, default: int = 0) -> int:
    values = tags.get(tag, (default,))
    return values[0] if len(values) == 1 and isinstance(values[0], int) else -1


def _coding_problems(tags: Mapping[int, tuple[float | str, ...]]) -> list[str]:
    problems = []
    if any(tag in tags for tag in TILE_TAGS):
        problems.append("is tiled; archive writers read one strip only")
    strips = len(tags.get(Tag.STRIP_OFFSETS, ()))
    if strips != 1 or len(tags.get(Tag.STRIP_BYTE_COUNTS, ())) != 1:
        problems.append(f"has {strips} strips; archive writers read exactly one")
    problems += [f"has an extra directory ({name})" for tag, name in OTHER_DIRECTORIES.items() if tag in tags]
    # (tag, TIFF 6.0 default, wanted, what it is)
    for tag, default, wanted, name in (
        (Tag.NEW_SUBFILE_TYPE, 0, 0, "subfile type"),
        (Tag.BITS_PER_SAMPLE, 1, 1, "bits a sample"),
        (Tag.SAMPLES_PER_PIXEL, 1, 1, "samples a pixel"),
        (Tag.COMPRESSION, 1, G4, "compression"),
        (Tag.PHOTOMETRIC, -1, WHITE_IS_ZERO, "photometric interpretation"),
        (Tag.FILL_ORDER, 1, 1, "fill order"),
        (Tag.T6_OPTIONS, 0, 0, "T.6 options"),
        (Tag.ROWS_PER_STRIP, -1, _integer(tags, Tag.IMAGE_LENGTH), "rows a strip"),
    ):
        if _integer(tags, tag, default) != wanted:
            found = "/".join(str(value) for value in tags.get(tag, ("missing",))[:4])
            problems.append(f"{name} (tag {int(tag)}) is {found}, must be {wanted}")
    if _integer(tags, 274, 1) != 1:
        problems.append("is turned by its orientation tag (274), which writers pass over")
    return problems


def _resolution_problems(tags: Mapping[int, tuple[float | str, ...]]) -> tuple[float, list[str]]:
    across, down = tags.get(Tag.X_RESOLUTION, (0.0,))[0], tags.get(Tag.Y_RESOLUTION, (0.0,))[0]
    if not isinstance(across, float) or not isinstance(down, float) or across <= 0 or down <= 0:
        return 0.0, ["has no resolution (tags 282 and 283)"]
    problems = []
    if _integer(tags, Tag.RESOLUTION_UNIT, INCH) != INCH:
        problems.append("its resolution is not in inches (tag 296)")
    if abs(across - down) > 0.01:
        problems.append(f"has {across:g} dpi across and {down:g} dpi down; they must be equal")
    return across, problems


def size_problem(width_px: int, height_px: int, dpi: float, film_mm: int) -> str:
    """What speaks against a page of this size on this film; empty when nothing does."""
    if width_px * height_px > MAX_MEGAPIXELS * 1e6:
        return f"has {width_px * height_px / 1e6:.0f} megapixels; the limit is {MAX_MEGAPIXELS:.0f}"
    if not DPI_RANGE[0] <= dpi <= DPI_RANGE[1]:
        return f"has {dpi:g} dpi; film frames have {DPI_RANGE[0]:g} to {DPI_RANGE[1]:g}"
    short, long = sorted((width_px / dpi, height_px / dpi))
    short_limit, long_limit = PAGE_LIMITS_IN[film_mm]
    if short > short_limit or long > long_limit or short < SHORTEST_SIDE_IN:
        return (
            f"shows a page of {short:.1f} x {long:.1f} in; {film_mm} mm film takes {SHORTEST_SIDE_IN:g} to "
            f"{short_limit:g} x {long_limit:g} in"
        )
    return ""


def _strip_problems(data: bytes, tags: Mapping[int, tuple[float | str, ...]], width: int, height: int) -> list[str]:
    start, length = _integer(tags, Tag.STRIP_OFFSETS), _integer(tags, Tag.STRIP_BYTE_COUNTS)
    if start < 8 or length < 1 or start + length > len(data):
        return ["its strip lies outside the file"]
    if not _has_rows(data[start : start + length], width, height):
        return [f"its strip does not decode to {height} whole rows"]
    return []


def _has_rows(strip: bytes, width: int, height: int) -> bool:
    """Whether the strip codes exactly `height` rows, up to its end mark.

    libtiff fills up a strip that ends early and says nothing, so one row of black is spliced in before the end mark:
    only if exactly `height` rows come before it does it come out as the last row of `height + 1`. A row that is black
    from end to end is coded in horizontal mode, the same bits whatever row stands above it.
    """
    body = _without_eofb(strip)
    if body is None:
        return False
    black = g4_strip(np.ones((1, width), np.bool_))
    bits, count = body
    joined = (bits << (8 * len(black))) | int.from_bytes(black, "big")
    count += 8 * len(black)
    joined <<= -count % 8
    # a minimal file around it, so that libtiff sees nothing of what else stands in a hostile one
    holder = BytesIO(_bare_tiff(joined.to_bytes((count + 7) // 8, "big"), width, height + 1))
    try:
        # not Image.open, whose pixel limit knows nothing of ours
        decoded = TiffImagePlugin.TiffImageFile(holder)
        decoded.load()
    except (OSError, SyntaxError, ValueError):
        return False
    last = np.asarray(decoded.crop((0, height, width, height + 1)))
    return not last.any()


def _without_eofb(strip: bytes) -> tuple[int, int] | None:
    """The strip's bits as one number, and how many, without end mark and padding; None when there is no end mark."""
    stripped = strip.rstrip(b"\0")
    if not stripped:
        return None
    padding = (stripped[-1] & -stripped[-1]).bit_length() - 1
    count = 8 * len(stripped) - padding - EOFB_BITS
    bits = int.from_bytes(stripped, "big") >> padding
    if count < 1 or bits & (1 << EOFB_BITS) - 1 != EOFB:
        return None
    return bits >> EOFB_BITS, count


def _bare_tiff(strip: bytes, width: int, height: int) -> bytes:
    entries = [
        (Tag.IMAGE_WIDTH, LONG, width),
        (Tag.IMAGE_LENGTH, LONG, height),
        (Tag.BITS_PER_SAMPLE, SHORT, 1),
        (Tag.COMPRESSION, SHORT, G4),
        (Tag.PHOTOMETRIC, SHORT, WHITE_IS_ZERO),
        (Tag.STRIP_OFFSETS, LONG, 8 + 2 + 12 * 9 + 4),
        (Tag.SAMPLES_PER_PIXEL, SHORT, 1),
        (Tag.ROWS_PER_STRIP, LONG, height),
        (Tag.STRIP_BYTE_COUNTS, LONG, len(strip)),
    ]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + strip


# ---------------------------------------------------------------------------------------------------------------------
# Targets
# ---------------------------------------------------------------------------------------------------------------------

LETTER_MM_ON_FILM = 2.0  # readable without a magnifier (MS23 practice)
TEXT_MM = 4.2  # height of the em square, 12 points; its small letters are 2.2 mm
SMALL_MM = 3.5
MAX_LETTERS = 200  # on one line
MAX_QR_LETTERS = 64  # a field, so that modules stay large; a SHA-256 has just as many
MARGIN_MM = 14.0
QR_MM = 40.0
CHECK_PX = 4  # a 50 % patch of finer checks would close up on the film: 4 px at 300 dpi and 24x are 35 lp/mm
INDEX_TOP_MM = MARGIN_MM + 22.5
INDEX_ROW_MM = 4.9
POSTER_FIELDS_MM = 85.0
OVERSHOOT = 0.03  # of its height an S rises above an H; a little more, so that it keeps the margin
BAR_WIDTHS_PX = (1, 2, 3, 4, 5, 6)
DISCLAIMER_RESOLUTION = (
    "Computer-made patterns of bars that are a whole number of pixels wide. This is NOT an ISO 3334 test chart and no "
    "resolution of the film may be certified from it: it shows whether writer and film keep the pixels apart."
)
DISCLAIMER_DENSITY = (
    "A computer-made page, not a photographed one: it shows what the writer makes of no ink, full ink and half ink. "
    "Measure background density on the white patch."
)
STATEMENT = (
    "The frames of this roll reproduce the documents named here, each of them whole and in the order given, from the "
    "digital images whose common digest is printed below. Nothing was added, left out or changed between those images "
    "and this film."
)


class Target(StrEnum):
    """Exposures that are no page; the value is the code in file names and in `frames.csv`."""

    START = "START"
    DENSITY = "DENS"
    RESOLUTION = "RES"
    ROLL_ID = "ROLLID"
    CONTINUED_FROM = "CONTFROM"
    INDEX = "INDEX"
    CERTIFICATE = "CERT"
    CONTINUED_ON = "CONTON"
    END = "END"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollFacts:
    """What the targets of a roll say. What is empty is left out."""

    roll_number: str
    roll_index: int = 1
    roll_count: int = 1
    work_order: str = ""
    customer: str = ""
    agency: str = ""
    sub_unit: str = ""
    series: str = ""
    title: str = ""
    schedule_item: str = ""
    retention_code: str = ""
    classification: str = ""
    dates: str = ""
    first_document: str = ""
    last_document: str = ""
    documents: int = 0
    pages: int = 0
    frames: int = 0
    film_mm: int = 16
    film_ft: float = 100.0
    reduction: float = 24.0
    orientation: str = "comic"
    format: str = "simplex"
    dpi: float = 300.0
    operator: str = ""
    authority: str = ""
    filmed_on: str = ""
    statement: str = STATEMENT
    content_sha256: str = ""
    continued_from: str = ""
    continued_on: str = ""
    software: str = "Platen"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One document on an INDEX target."""

    document_id: str
    title: str = ""
    pages: int = 0
    first_frame: int = 0
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPart:
    """The documents of one INDEX frame, the `number`th of `count`."""

    rows: Sequence[IndexRow] = field(default=())
    number: int = 1
    count: int = 1


def target_page(
    target: Target,
    roll: RollFacts,
    *,
    dpi: float = 300.0,
    width_in: float = 8.5,
    height_in: float = 11.0,
    index: IndexPart | None = None,
) -> PageImage:
    """Draw a target as a bitonal page.

    Every target bears a QR code with the same fields as JSON, so that a frame scanned back from film can be matched.
    """
    sheet = _Sheet(dpi, width_in, height_in)
    match target:
        case Target.START | Target.END:
            _poster(sheet, roll, target)
        case Target.DENSITY:
            _density(sheet, roll)
        case Target.RESOLUTION:
            _resolution(sheet, roll)
        case Target.ROLL_ID:
            _roll_id(sheet, roll)
        case Target.INDEX:
            _index(sheet, roll, index or IndexPart())
        case Target.CERTIFICATE:
            _certificate(sheet, roll)
        case Target.CONTINUED_FROM | Target.CONTINUED_ON:
            _continued(sheet, roll, target)
    return PageImage(pixels=sheet.pixels(), dpi=dpi)


def index_rows_a_page(*, width_in: float = 8.5, height_in: float = 11.0) -> int:
    """How many documents one INDEX target lists."""
    sheet = _Sheet(100, width_in, height_in)
    return max(1, int((sheet.foot_mm - INDEX_TOP_MM) / INDEX_ROW_MM))


def _identity(roll: RollFacts, target: Target, **more: str | int) -> dict[str, str | int]:
    """What every QR code says, and what this target says besides."""
    fields: dict[str, str | int] = {
        "platen": "target",
        "code": str(target),
        "roll": roll.roll_number,
        "of": f"{roll.roll_index}/{roll.roll_count}",
        "order": roll.work_order,
        "customer": roll.customer,
        **more,
    }
    # clipped, because a QR code of many small modules no longer reads from film
    return {
        key: value[:MAX_QR_LETTERS] if isinstance(value, str) else value for key, value in fields.items() if value != ""
    }


def _poster(sheet: _Sheet, roll: RollFacts, target: Target) -> None:
    """START and END: two lines to be read on the film without a magnifier, then what roll it is."""
    wanted_mm = LETTER_MM_ON_FILM * roll.reduction
    gap_mm = 9.0
    # below the letters stay the fields and the code; at great reductions that is what limits the letters
    letter_mm = min(wanted_mm / sheet.unit, (sheet.height_mm - 2 * MARGIN_MM - POSTER_FIELDS_MM - 2 * gap_mm) / 2)
    top = MARGIN_MM + OVERSHOOT * letter_mm
    for line in (str(target), roll.roll_number):
        sheet.letters(line, top, letter_mm)
        top += letter_mm + gap_mm
    sheet.rule(top, thick_mm=1.2)
    on_film = letter_mm * sheet.unit / roll.reduction
    sheet.fields(
        [
            ("Roll", f"{roll.roll_index} of {roll.roll_count}"),
            ("Work order", roll.work_order),
            ("Customer", roll.customer),
            ("Agency", roll.agency),
            ("Series", roll.series),
            ("Frames", f"{roll.frames:,}, targets included"),
            ("Film", _film(roll)),
        ],
        top + 5,
        label_mm=30,
        width_mm=sheet.text_mm - QR_MM - 8,
        until_mm=sheet.height_mm - MARGIN_MM - 14,
    )
    words = "End of roll" if target is Target.END else "Start of roll"
    sheet.foot(
        roll,
        f"{words} · letters {on_film:.1f} mm high on film",
        _identity(roll, target, series=roll.series, frames=roll.frames, reduction=f"{roll.reduction:g}"),
    )


def _roll_id(sheet: _Sheet, roll: RollFacts) -> None:
    top = sheet.head("Roll identification", roll)
    sheet.fields(
        [
            ("Agency", roll.agency),
            ("Unit", roll.sub_unit),
            ("Series", roll.series),
            ("Title", roll.title),
            ("Schedule item", roll.schedule_item),
            ("Retention", roll.retention_code),
            ("Classification", roll.classification),
            ("Dates", roll.dates),
            ("First document", roll.first_document),
            ("Last document", roll.last_document),
            ("Documents", f"{roll.documents:,}, with {roll.pages:,} pages"),
            ("Roll", f"{roll.roll_index} of {roll.roll_count}"),
            ("Continued from", roll.continued_from),
            ("Continued on", roll.continued_on),
            ("Film", _film(roll)),
            ("Images", f"{roll.orientation}, {roll.format}, {roll.dpi:g} dpi"),
            ("Work order", roll.work_order),
            ("Customer", roll.customer),
            ("Authority", roll.authority),
            ("Filmed", roll.filmed_on),
        ],
        top + 4,
        label_mm=42,
        width_mm=sheet.text_mm,
        until_mm=sheet.foot_mm,
    )
    sheet.foot(
        roll,
        "Titling target",
        _identity(
            roll,
            Target.ROLL_ID,
            agency=roll.agency,
            series=roll.series,
            item=roll.schedule_item,
            dates=roll.dates,
            first=roll.first_document,
            last=roll.last_document,
            reduction=f"{roll.reduction:g}",
            film=f"{roll.film_mm}x{roll.film_ft:g}",
            images=f"{roll.orientation}/{roll.format}/{roll.dpi:g}",
        ),
    )


def _density(sheet: _Sheet, roll: RollFacts) -> None:
    top = sheet.head("Density target", roll)
    label_mm = 8.0
    patch_mm = (sheet.foot_mm - top - 4) / 3 - label_mm - 4
    for name, kind in (
        ("White: no ink", 0),
        (f"Half: checks of {CHECK_PX} pixels, 50 % ink", 1),
        ("Black: full ink", 2),
    ):
        top += 4
        sheet.text(name, MARGIN_MM, top, TEXT_MM, bold=True)
        sheet.patch(kind, top + label_mm, patch_mm)
        top += label_mm + patch_mm
    sheet.foot(roll, DISCLAIMER_DENSITY, _identity(roll, Target.DENSITY, patches="0/50/100", check_px=CHECK_PX))


def _resolution(sheet: _Sheet, roll: RollFacts) -> None:
    top = sheet.head("Resolution target (synthetic)", roll)
    label_mm, gap_mm = 42.0, 3.0
    row_mm = (sheet.foot_mm - top - 11) / len(BAR_WIDTHS_PX)
    block_mm = (sheet.text_mm - label_mm) / 3
    side_mm = min((block_mm - 2 * gap_mm) / 2, row_mm - gap_mm)
    for column, name in enumerate(("left", "middle", "right")):
        sheet.text(name, MARGIN_MM + label_mm + column * block_mm, top + 3, SMALL_MM)
    top += 9
    for bar_px in BAR_WIDTHS_PX:
        on_page = sheet.dpi / MM_PER_INCH / (2 * bar_px)
        sheet.text(f"{on_page:.2f} lp/mm", MARGIN_MM, top + 2, 5.2, bold=True)
        sheet.text(f"bars of {bar_px} px", MARGIN_MM, top + 9.5, SMALL_MM)
        sheet.text(f"{on_page * roll.reduction:.0f} lp/mm on film", MARGIN_MM, top + 14.5, SMALL_MM)
        for column in range(3):
            left = MARGIN_MM + label_mm + column * block_mm
            sheet.bars(bar_px, left, top, side_mm, upright=True)
            sheet.bars(bar_px, left + side_mm + gap_mm, top, side_mm, upright=False)
        top += row_mm
    sheet.foot(
        roll,
        DISCLAIMER_RESOLUTION,
        _identity(
            roll,
            Target.RESOLUTION,
            dpi=f"{sheet.dpi:g}",
            bars_px="/".join(map(str, BAR_WIDTHS_PX)),
            reduction=f"{roll.reduction:g}",
        ),
    )


def _certificate(sheet: _Sheet, roll: RollFacts) -> None:
    top = sheet.head("Certificate of authenticity", roll)
    top = sheet.paragraph(roll.statement, MARGIN_MM, top + 6, 4.8, sheet.text_mm) + 5
    top = sheet.fields(
        [
            ("Agency", roll.agency),
            ("Series", roll.series),
            ("Dates", roll.dates),
            ("Schedule item", roll.schedule_item),
            ("Work order", roll.work_order),
            ("First document", roll.first_document),
            ("Last document", roll.last_document),
            ("Documents", f"{roll.documents:,}, with {roll.pages:,} pages"),
            ("Frames", f"{roll.frames:,}, targets included"),
            ("Authority", roll.authority),
            ("Filmed", roll.filmed_on),
        ],
        top,
        label_mm=42,
        width_mm=sheet.text_mm,
        until_mm=sheet.foot_mm - 46,
    )
    sheet.text("SHA-256 over the digests of the page frames, in order", MARGIN_MM, sheet.foot_mm - 43, SMALL_MM)
    digest = roll.content_sha256
    for row, part in enumerate((digest[:32], digest[32:])):
        grouped = " ".join(part[at : at + 8] for at in range(0, len(part), 8))
        sheet.text(grouped, MARGIN_MM, sheet.foot_mm - 38 + 6 * row, TEXT_MM, mono=True)
    half_mm = (sheet.text_mm - 8) / 2
    line_mm = sheet.foot_mm - 8
    for left, caption in ((MARGIN_MM, "Operator"), (MARGIN_MM + half_mm + 8, "Signature and date")):
        sheet.rule(line_mm, left_mm=left, width_mm=half_mm)
        sheet.text(caption, left, line_mm + 1.5, SMALL_MM)
    sheet.text(roll.operator, MARGIN_MM, line_mm - 7, 5.2, bold=True, width_mm=half_mm)
    sheet.foot(
        roll,
        "Certificate",
        _identity(roll, Target.CERTIFICATE, documents=roll.documents, frames=roll.frames, sha256=roll.content_sha256),
    )


def _continued(sheet: _Sheet, roll: RollFacts, target: Target) -> None:
    onward = target is Target.CONTINUED_ON
    top = sheet.head("Continued", roll)
    other = roll.continued_on if onward else roll.continued_from
    document = roll.last_document if onward else roll.first_document
    letter_mm = 20.0
    for line in ("CONTINUED", "ON ROLL" if onward else "FROM ROLL"):
        sheet.letters(line, top + 12, letter_mm)
        top += letter_mm + 10
    sheet.letters(other, top + 16, 40.0)
    sheet.fields(
        [("Document", document), ("Series", roll.series), ("Work order", roll.work_order)],
        top + 70,
        label_mm=42,
        width_mm=sheet.text_mm,
        until_mm=sheet.foot_mm,
    )
    sheet.foot(
        roll,
        f"This document goes on at the beginning of roll {other}" if onward else f"This document began on roll {other}",
        _identity(roll, target, other=other, document=document),
    )


def _index(sheet: _Sheet, roll: RollFacts, part: IndexPart) -> None:
    top = sheet.head(f"Index {part.number} of {part.count}", roll)
    right = MARGIN_MM + sheet.text_mm
    # (heading, left edge or right edge, whether it is the right one, width)
    columns = (
        ("Frame", MARGIN_MM + 15, True, 15.0),
        ("Address", MARGIN_MM + 19, False, 26.0),
        ("Document", MARGIN_MM + 47, False, 44.0),
        ("Title", MARGIN_MM + 93, False, right - 14 - (MARGIN_MM + 93)),
        ("Pages", right, True, 12.0),
    )
    for heading, at, from_right, width in columns:
        sheet.text(heading, at, top + 3.5, 3.2, bold=True, width_mm=width, from_right=from_right)
    sheet.rule(INDEX_TOP_MM - 1.8, thick_mm=0.25)
    for number, row in enumerate(part.rows):
        y = INDEX_TOP_MM + number * INDEX_ROW_MM
        cells = (str(row.first_frame), row.address, row.document_id, row.title, str(row.pages))
        for cell, (_, at, from_right, width) in zip(cells, columns, strict=True):
            sheet.text(cell, at, y, SMALL_MM, width_mm=width, from_right=from_right)
    listed = f"{len(part.rows)} of the roll's {roll.documents} documents"
    sheet.foot(
        roll,
        f"Index of documents by frame on this roll · {listed}",
        _identity(
            roll,
            Target.INDEX,
            part=f"{part.number}/{part.count}",
            first=part.rows[0].document_id if part.rows else "",
            last=part.rows[-1].document_id if part.rows else "",
        ),
    )


def _film(roll: RollFacts) -> str:
    return f"{roll.film_mm} mm, {roll.film_ft:g} ft, reduction {roll.reduction:g}x"


class _Sheet:
    """A page to draw on, in millimetres from the top left.

    Sizes are those of a letter page; on other paper they shrink or grow with it, by `unit`.
    """

    def __init__(self, dpi: float, width_in: float, height_in: float) -> None:
        self.dpi = dpi
        self.unit = min(width_in / 8.5, height_in / 11.0)
        self.width_mm = width_in * MM_PER_INCH / self.unit
        self.height_mm = height_in * MM_PER_INCH / self.unit
        self.text_mm = self.width_mm - 2 * MARGIN_MM
        self.foot_mm = self.height_mm - MARGIN_MM - QR_MM - 4  # where the foot begins
        self.image = Image.new("L", (round(width_in * dpi), round(height_in * dpi)), 255)
        self.draw = ImageDraw.Draw(self.image)

    def pixels(self) -> Ink:
        """What was drawn, bitonal, True white."""
        return np.asarray(self.image) > 127

    def px(self, mm: float) -> int:
        """Pixels of a length on this sheet."""
        return round(mm * self.unit * self.dpi / MM_PER_INCH)

    def font(self, em_mm: float, *, bold: bool = False, mono: bool = False) -> ImageFont.FreeTypeFont:
        """The typeface at a height of the em square."""
        return font(max(6, self.px(em_mm)), bold=bold, mono=mono)

    def text(
        self,
        text: str,
        x_mm: float,
        y_mm: float,
        em_mm: float,
        *,
        bold: bool = False,
        mono: bool = False,
        width_mm: float | None = None,
        from_right: bool = False,
    ) -> None:
        """One line, its top at `y_mm`; what is wider than `width_mm` ends in an ellipsis."""
        face = self.font(em_mm, bold=bold, mono=mono)
        if width_mm is not None:
            text = _clipped(text, face, self.px(width_mm))
        self.draw.text((self.px(x_mm), self.px(y_mm)), text, 0, face, "ra" if from_right else "la")

    def paragraph(
        self, text: str, x_mm: float, y_mm: float, em_mm: float, width_mm: float, *, bold: bool = False, lines: int = 99
    ) -> float:
        """Lines broken at words; returns where the next thing may begin."""
        face = self.font(em_mm, bold=bold)
        for line in _wrapped(text, face, self.px(width_mm), lines):
            self.draw.text((self.px(x_mm), self.px(y_mm)), line, 0, face, "la")
            y_mm += em_mm * 1.35
        return y_mm

    def rule(
        self, y_mm: float, *, thick_mm: float = 0.4, left_mm: float = MARGIN_MM, width_mm: float | None = None
    ) -> None:
        """A line across the text, or part of it."""
        right = left_mm + (self.text_mm if width_mm is None else width_mm)
        thick = max(1, self.px(thick_mm))
        self.draw.rectangle((self.px(left_mm), self.px(y_mm), self.px(right), self.px(y_mm) + thick - 1), 0)

    def letters(self, text: str, y_mm: float, height_mm: float) -> None:
        """Capitals of this height; narrowed, never lowered, where the line would be too wide."""
        # the em square is taken as high as makes an H, which has no overshoot, at least the height that was asked for
        height = self.px(height_mm)
        trial = font(1000, bold=True).getbbox("H", anchor="ls")
        face = font(-(-height * 1000 // round(-trial[1])), bold=True)
        left, top, right, bottom = (round(v) for v in face.getbbox(text, anchor="ls"))
        mask = Image.new("L", (right - left, bottom - top), 0)
        ImageDraw.Draw(mask).text((-left, -top), text, 255, face, "ls")
        mask = mask.resize((min(mask.width, self.px(self.text_mm)), mask.height), Image.Resampling.LANCZOS)
        self.image.paste(0, (self.px(MARGIN_MM), self.px(y_mm) + height + top), mask)

    def fields(
        self,
        pairs: Sequence[tuple[str, str]],
        y_mm: float,
        *,
        label_mm: float,
        width_mm: float,
        until_mm: float,
    ) -> float:
        """Labels and values below one another, closer together where they would not fit; empty ones are left out."""
        pairs = [(label, value) for label, value in pairs if value]
        em_mm = 5.2
        value_mm = width_mm - label_mm
        while True:
            face = self.font(em_mm, bold=True)
            wrapped = [_wrapped(value, face, self.px(value_mm), 2) for _, value in pairs]
            step_mm = em_mm * 1.3
            needed = sum(len(lines) for lines in wrapped) * step_mm + len(pairs) * em_mm * 0.3
            if y_mm + needed <= until_mm or em_mm <= SMALL_MM:
                break
            em_mm -= 0.2
        for (label, _), lines in zip(pairs, wrapped, strict=True):
            # on one baseline, though the label is smaller
            baseline = self.px(y_mm + em_mm * 0.9)
            self.draw.text((self.px(MARGIN_MM), baseline), label, 0, self.font(em_mm * 0.8), "ls")
            for line in lines:
                self.draw.text((self.px(MARGIN_MM + label_mm), baseline), line, 0, face, "ls")
                baseline += self.px(step_mm)
            y_mm += len(lines) * step_mm + em_mm * 0.3
        return y_mm

    def head(self, title: str, roll: RollFacts) -> float:
        """Title, roll number and a rule; returns where the body begins."""
        self.text(title, MARGIN_MM, MARGIN_MM - 1, 8.0, bold=True, width_mm=self.text_mm - 42)
        self.text(roll.roll_number, self.width_mm - MARGIN_MM, MARGIN_MM - 1, 8.0, bold=True, from_right=True)
        self.rule(MARGIN_MM + 11, thick_mm=1.2)
        return MARGIN_MM + 12.2

    def foot(self, roll: RollFacts, note: str, fields: Mapping[str, str | int]) -> None:
        """The QR code at the bottom right; beside it what kind of target this is and what made it."""
        modules = qr_modules(json.dumps(fields, ensure_ascii=False, separators=(",", ":")))
        module_px = max(2, self.px(QR_MM) // modules.shape[0])
        code = np.kron(modules, np.ones((module_px, module_px), np.uint8))
        left = self.px(self.width_mm - MARGIN_MM) - code.shape[1]
        top = self.px(self.height_mm - MARGIN_MM) - code.shape[0]
        self.image.paste(Image.fromarray(code), (left, top))
        width_mm = self.text_mm - QR_MM - 8
        bottom = self.height_mm - MARGIN_MM
        lines = len(_wrapped(note, self.font(SMALL_MM), self.px(width_mm), 5))
        self.paragraph(note, MARGIN_MM, bottom - 6.5 - lines * SMALL_MM * 1.35, SMALL_MM, width_mm, lines=5)
        words = [f"{roll.roll_number}, roll {roll.roll_index} of {roll.roll_count}", roll.work_order, roll.software]
        about = " · ".join(word for word in words if word)
        self.text(f"{about} · a target, not a record", MARGIN_MM, bottom - 4.2, SMALL_MM, width_mm=width_mm)

    def patch(self, kind: int, y_mm: float, height_mm: float) -> None:
        """A patch as wide as the text: 0 white in a frame, 1 checks, 2 black."""
        left, top = self.px(MARGIN_MM), self.px(y_mm)
        rows, cols = self.px(height_mm), self.px(self.text_mm)
        if kind == 1:
            row, col = np.indices((rows, cols)) // CHECK_PX
            self.image.paste(Image.fromarray(((row + col) % 2 * 255).astype(np.uint8)), (left, top))
        else:
            box = (left, top, left + cols - 1, top + rows - 1)
            self.draw.rectangle(box, 0 if kind == 2 else 255, 0, max(1, self.px(0.4)))

    def bars(self, bar_px: int, x_mm: float, y_mm: float, side_mm: float, *, upright: bool) -> None:
        """A square of line pairs, each bar and each gap `bar_px` wide, beginning and ending with a bar."""
        side = self.px(side_mm)
        pairs = (side - bar_px) // (2 * bar_px)
        length = pairs * 2 * bar_px + bar_px
        row = np.where(np.arange(length) // bar_px % 2 == 0, 0, 255).astype(np.uint8)
        block = np.broadcast_to(row, (length, length))
        self.image.paste(
            Image.fromarray(np.ascontiguousarray(block if upright else block.T)), (self.px(x_mm), self.px(y_mm))
        )


def qr_modules(text: str) -> npt.NDArray[np.uint8]:
    """The modules of a QR code, 0 black and 255 white, without the quiet zone."""
    # error correction M: dust and scratches of film are small beside a module
    code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="M")
    return np.array(zxingcpp.write_barcode_to_image(code, scale=1, add_quiet_zones=False), dtype=np.uint8)


def _clipped(text: str, face: ImageFont.FreeTypeFont, width_px: int) -> str:
    # nothing shown is longer; measuring a text of megabytes would take for ever
    text = text[:MAX_LETTERS]
    if face.getlength(text) <= width_px:
        return text
    kept = bisect_right(range(len(text)), width_px, key=lambda letters: ceil(face.getlength(text[:letters] + "…"))) - 1
    return text[: max(kept, 0)].rstrip() + "…"


def _wrapped(text: str, face: ImageFont.FreeTypeFont, width_px: int, most: int) -> list[str]:
    """The text in at most `most` lines; the last is clipped if there would be more."""
    lines: list[str] = []
    for word in text[: MAX_LETTERS * most].split():
        if lines and face.getlength(f"{lines[-1]} {word}") <= width_px:
            lines[-1] += f" {word}"
        elif len(lines) < most:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return [_clipped(line, face, width_px) for line in lines]
