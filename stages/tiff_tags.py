"""The table of contents of a TIFF file: which pages it has and what each page's tags say.

Classic TIFF (TIFF 6.0, section 2) and BigTIFF in both byte orders. Every offset and count is checked against the
length of the file before anything is read for it, and a chain of pages that runs in a circle is found.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

from stages.errors import UnreadableImage

Value = tuple[int, ...] | tuple[float, ...] | bytes

MAX_PAGES = 100_000
MAX_ENTRIES = 4096  # of one page; real files have 15 to 60
MAX_VALUE_BYTES = 32 << 20  # one tag's values; an embedded profile is the largest that is wanted

NEW_SUBFILE_TYPE = 254
SUBFILE_TYPE = 255
# struct letter and width of each type, TIFF 6.0 section 2; 16 to 18 are BigTIFF's
_TYPES: Final = {
    1: ("B", 1),
    2: ("s", 1),
    3: ("H", 2),
    4: ("I", 4),
    5: ("II", 8),
    6: ("b", 1),
    7: ("s", 1),
    8: ("h", 2),
    9: ("i", 4),
    10: ("ii", 8),
    11: ("f", 4),
    12: ("d", 8),
    13: ("I", 4),
    16: ("Q", 8),
    17: ("q", 8),
    18: ("Q", 8),
}
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType: a thumbnail, a transparency mask: no pages
_OLD_REDUCED = 2  # value of the older SubfileType
_BYTE_STRINGS: Final = frozenset({347, 34675})  # JPEG tables and profile: some writers call their bytes numbers
# what the decoder asks for; others are never read, so their rubbish cannot hurt
_WANTED: Final = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 271, 272, 273, 274, 277, 278, 279, 282, 283, 284, 292, 293, 296}
    | {305, 316, 317, 320, 322, 323, 324, 325, 332, 338, 339, 347, 513, 514, 519, 529, 530, 532, 34675, 50735}
)


@dataclass(frozen=True, slots=True)
class _Form:
    """How numbers are written in one file: `order` is `<` or `>`, `big` says BigTIFF."""

    order: str
    big: bool
    size_bytes: int
    first: int


def page_offsets(path: Path) -> tuple[int, ...]:
    """Where the table of each page begins, in the order of the file; thumbnails and masks are left out.

    Raises:
        UnreadableImage: the chain of pages is cut off, runs in a circle, or is longer than any real file.
    """
    stat = path.stat()
    return _page_offsets(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _page_offsets(path: Path, size_bytes: int, mtime_ns: int) -> tuple[int, ...]:
    # kept by size and time: 500 pages read one by one walk the chain once, not 500 times
    pages: list[int] = []
    seen: set[int] = set()
    with path.open("rb") as file:
        form = _form(file, size_bytes)
        offset = form.first
        while offset:
            if offset in seen:
                raise UnreadableImage(f"its list of pages runs in a circle after page {len(pages)}")
            if len(seen) >= MAX_PAGES:
                raise UnreadableImage(f"it has more than {MAX_PAGES:,} pages")
            seen.add(offset)
            try:
                entries, after = _table(file, form, offset)
            except _CutOffError as error:
                where = f"after page {len(pages)}" if pages else "before its first page"
                raise UnreadableImage(f"it is cut off {where}") from error
            if not pages or not _is_thumbnail(entries, form):
                pages.append(offset)
            offset = after
    if not pages:
        raise UnreadableImage("it holds no page")
    return tuple(pages)


def page_tags(path: Path, offset: int) -> tuple[str, dict[int, Value]]:
    """The byte order (`<` or `>`) and the tags of the page whose table begins at `offset`.

    Numbers come as tuples, fractions as floats (0.0 where the divisor is 0), text and undefined bytes as bytes.
    A tag that points outside the file is left out.
    """
    with path.open("rb") as file:
        form = _form(file, path.stat().st_size)
        try:
            entries, _ = _table(file, form, offset)
        except _CutOffError as error:
            raise UnreadableImage("it is cut off within the page's table of contents") from error
        tags: dict[int, Value] = {}
        for tag, kind, count, field in _unpacked(entries, form):
            if tag in _WANTED and tag not in tags and kind in _TYPES and count:
                value = _value(file, form, 7 if tag in _BYTE_STRINGS and kind == 1 else kind, count, field)
                if value is not None:
                    tags[tag] = value
        return form.order, tags


class _CutOffError(Exception):
    """The file ends before what its tables promise."""


def _form(file: BinaryIO, size_bytes: int) -> _Form:
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    if not order or len(head) < 8:
        raise UnreadableImage("its first bytes are not those of a TIFF file")
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version == 43 and len(head) == 16:
        return _Form(order, True, size_bytes, struct.unpack_from(order + "Q", head, 8)[0])
    return _Form(order, False, size_bytes, struct.unpack_from(order + "I", head, 4)[0])


def _table(file: BinaryIO, form: _Form, offset: int) -> tuple[bytes, int]:
    """The entries of the table at `offset` as bytes, and where the next table begins."""
    count_bytes, entry_bytes, next_bytes = (8, 20, 8) if form.big else (2, 12, 4)
    (count,) = struct.unpack(form.order + ("Q" if form.big else "H"), _read(file, form, offset, count_bytes))
    if count > MAX_ENTRIES:
        raise UnreadableImage(f"a page's table of contents has {count} entries, which no scanner writes")
    body = _read(file, form, offset + count_bytes, count * entry_bytes)
    at_next = offset + count_bytes + len(body)
    if at_next + next_bytes > form.size_bytes:
        return body, 0  # some writers end the file right after the last table
    return body, struct.unpack(form.order + ("Q" if form.big else "I"), _read(file, form, at_next, next_bytes))[0]


def _read(file: BinaryIO, form: _Form, offset: int, size: int) -> bytes:
    if offset + size > form.size_bytes:
        raise _CutOffError
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise _CutOffError
    return data


def _unpacked(entries: bytes, form: _Form) -> Iterator[tuple[int, int, int, bytes]]:
    yield from struct.iter_unpack(form.order + ("HHQ8s" if form.big else "HHI4s"), entries)


def _is_thumbnail(entries: bytes, form: _Form) -> bool:
    for tag, kind, _, field in _unpacked(entries, form):
        if tag in (NEW_SUBFILE_TYPE, SUBFILE_TYPE) and kind in (3, 4):
            letter, width = _TYPES[kind]
            (value,) = struct.unpack(form.order + letter, field[:width])
            if (tag == NEW_SUBFILE_TYPE and value & _REDUCED_OR_MASK) or (
                tag == SUBFILE_TYPE and value == _OLD_REDUCED
            ):
                return True
    return False


def _value(file: BinaryIO, form: _Form, kind: int, count: int, field: bytes) -> Value | None:
    letters, width = _TYPES[kind]
    size = count * width
    if size > MAX_VALUE_BYTES:
        return None
    if size <= len(field):
        data = field[:size]
    else:
        (offset,) = struct.unpack(form.order + ("Q" if form.big else "I"), field)
        try:
            data = _read(file, form, offset, size)
        except _CutOffError:
            return None
    if letters == "s":
        return data
    numbers = struct.unpack(f"{form.order}{count * len(letters)}{letters[0]}", data)
    if len(letters) == 2:
        return tuple(above / below if below else 0.0 for above, below in zip(numbers[::2], numbers[1::2], strict=True))
    return numbers
