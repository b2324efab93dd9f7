"""What is wrong with a film frame: the checker of frames, with a TIFF reader of its own that forgives nothing.

`stages.tiff_tags` reads scans from strangers and passes over what it can do without; here that is what is looked for.

Sources: TIFF 6.0, section 2; ITU-T T.6; `docs/film.md` for what writers and state archives ask.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages import tiff_codecs
from stages.errors import UnreadableImage
from stages.film_frame import ASCII, FIELD_BYTES, G4, INCH, WHITE_IS_ZERO, Tag

# Longest short and long side of a page by film width. 16 mm: originals up to 12 x 18 in (Tameran Archive Center);
# 35 mm: the largest sheet planned for, 36 x 48 in.
PAGE_LIMITS_IN = {16: (12.0, 18.0), 35: (36.0, 48.0)}
SHORTEST_SIDE_IN = 0.5  # narrower than a till receipt is no page but a fault
DPI_RANGE = (100.0, 1200.0)
MAX_FRAME_BYTES = 256 * 2**20
MAX_MEGAPIXELS = 250.0  # 36 x 48 in at 300 dpi are 156
MAX_ENTRIES = 64
MAX_VALUES = 4096
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
        size = FIELD_BYTES.get(kind, 0) * number
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
        tags[tag] = _values(data[place : place + min(size, FIELD_BYTES[kind] * MAX_VALUES)], kind, order)
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
    """Whether the strip codes exactly `height` rows, up to its end mark, which must be there."""
    content = strip.rstrip(b"\0")
    tail = int.from_bytes(content[-4:], "big")
    padding = (tail & -tail).bit_length() - 1
    if not content or tail >> padding & (1 << EOFB_BITS) - 1 != EOFB:
        return False
    try:
        tiff_codecs.fax_bits([strip], compression=G4, width_px=width, rows=[height])
    except UnreadableImage:
        return False
    return True
