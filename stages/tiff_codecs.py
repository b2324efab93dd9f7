"""Undo the compression of TIFF strips and tiles: bytes in, bytes out, nothing said of colours.

libtiff (inside Pillow) is given a small TIFF of our own making around the compressed strips and nothing of the
stranger's tags, so it only ever sees sizes that have been checked. Its fax decoder goes on in silence when a strip
ends early or is damaged; what is done about that stands at `fax_bits`.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import Final

import numpy as np
from PIL import Image

from stages.errors import UnreadableImage
from stages.raster import Bytes

RAW, RLE, G3, G4, LZW, OLD_JPEG, JPEG = 1, 2, 3, 4, 5, 6, 7
DEFLATE, OLD_DEFLATE, PACKBITS, RLE_WORDS, LZMA, ZSTD = 8, 32946, 32773, 32771, 34925, 50000
FAX = frozenset({RLE, G3, G4, RLE_WORDS})
NAMES: Final = {
    RAW: "none",
    RLE: "ccitt-rle",
    G3: "g3",
    G4: "g4",
    LZW: "lzw",
    OLD_JPEG: "old-jpeg",
    JPEG: "jpeg",
    DEFLATE: "deflate",
    OLD_DEFLATE: "deflate",
    PACKBITS: "packbits",
    RLE_WORDS: "ccitt-rle",
    LZMA: "lzma",
    ZSTD: "zstd",
}

CUT_OFF = "it is cut off or damaged: its compressed rows end before the page does"

REVERSED_BITS: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

G3_TWO_DIMENSIONAL = 1  # bit 0 of T4Options (tag 292)


def unpacked(strips: list[bytes], *, compression: int, row_bytes: int, rows: list[int]) -> Bytes:
    """The strips' bytes one below the other, `(sum(rows), row_bytes)` uint8.

    `rows` says how many rows each strip holds: the same in all but the last.

    Raises:
        UnreadableImage: a strip holds less than it should, or the compression is not one that is taken.
    """
    if compression in (RAW, DEFLATE, OLD_DEFLATE):
        parts = []
        for strip, count in zip(strips, rows, strict=True):
            size = count * row_bytes
            # the limit keeps a small strip from unfolding into more than was asked for
            part = strip[:size] if compression == RAW else zlib.decompressobj().decompress(strip, size)
            if len(part) < size:
                raise UnreadableImage(CUT_OFF)
            parts.append(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
    elif compression in (LZW, PACKBITS, LZMA, ZSTD):
        data = _through_libtiff(strips, compression=compression, width=row_bytes, rows=rows, bits=8)
    else:
        raise UnreadableImage(f"its compression ({NAMES.get(compression, f'number {compression}')}) is not taken here")
    return np.frombuffer(data, dtype=np.uint8).reshape(sum(rows), row_bytes)


def fax_bits(strips: list[bytes], *, compression: int, width_px: int, rows: list[int], g3_options: int = 0) -> Bytes:
    """Fax-coded strips (ITU-T T.4, T.6) as packed rows, a 1 bit where the code says black.

    The strips have their first bit in the highest place (FillOrder 1). `rows` says how many rows each strip holds.

    libtiff's G4 decoder calls a strip good that ends early or breaks off at a bad code, and leaves the rest of the
    page as it was. So a dashed row of our own is coded behind the last one: it comes out right only where every
    row before it was found. G3 rows begin with a mark, and the marks are counted.

    Raises:
        UnreadableImage: a strip is cut off or damaged.
    """
    if compression != G4:
        if compression == G3:
            for strip, count in zip(strips, rows, strict=True):
                _check_g3_rows(strip, count)
        packed = _through_libtiff(
            strips, compression=compression, width=width_px, rows=rows, bits=1, g3_options=g3_options
        )
        return np.frombuffer(packed, dtype=np.uint8).reshape(sum(rows), -1)
    ends = [_ends(strip) for strip in strips]
    if all(len(end) == 1 for end in ends):
        found = _g4_checked(strips, [end[0] for end in ends], width_px, rows)
        if found is None:
            raise UnreadableImage(CUT_OFF)
        return found
    # without an end mark the last code stops somewhere in the last byte; each place is tried, strip by strip
    parts = []
    for strip, places, count in zip(strips, ends, rows, strict=True):
        for place in places:
            part = _g4_checked([strip], [place], width_px, [count])
            if part is not None:
                parts.append(part)
                break
        else:
            raise UnreadableImage(CUT_OFF)
    return np.concatenate(parts)


# T.6 end of facsimile block: 000000000001 twice, in the last bits that are not padding
_EOFB = 0x001001
_EOFB_BITS = 24


def _eofb_pattern() -> re.Pattern[bytes]:
    choices = []
    for shift in range(8):  # bits of the first byte that still belong to the row before
        body = (_EOFB << (8 - shift)).to_bytes(4, "big")
        first = bytes(byte for byte in range(256) if byte & (0xFF >> shift) == body[0])
        last = bytes(byte for byte in range(256) if byte >> (8 - shift) == body[3] >> (8 - shift))
        middle = re.escape(body[1:3])
        end = b"[" + b"".join(b"\\x%02x" % byte for byte in last) + b"]" if shift else b""
        choices.append(b"[" + b"".join(b"\\x%02x" % byte for byte in first) + b"]" + middle + end)
    return re.compile(b"|".join(choices), re.DOTALL)


_EOFB_ANYWHERE = _eofb_pattern()


def _ends(strip: bytes) -> list[int]:
    """Bit places at which the rows of a G4 strip may end: one where the end mark is there, else all that may be."""
    content = strip.rstrip(b"\0")
    if not content:
        return [0]
    tail = int.from_bytes(content[-4:], "big")
    padding = (tail & -tail).bit_length() - 1
    last = 8 * len(content) - padding  # just behind the last 1 bit
    if tail >> padding & 0xFFFFFF == _EOFB and last >= _EOFB_BITS:
        return [last - _EOFB_BITS]
    # strips of unknown length carry other bytes behind the mark; inside rows it cannot occur
    if (found := _EOFB_ANYWHERE.search(strip)) is not None:
        window = int.from_bytes(strip[found.start() : found.start() + 4].ljust(4, b"\0"), "big")
        for shift in range(8):
            if window >> (8 - shift) & 0xFFFFFF == _EOFB:
                return [8 * found.start() + shift]
    return list(range(last, min(8 * len(strip), last + 8) + 1))


def _g4_checked(strips: list[bytes], ends: list[int], width_px: int, rows: list[int]) -> Bytes | None:
    """The packed rows, or None where a strip's own last row does not come out behind its last."""
    dashes, code = _dashes(width_px, zlib.crc32(strips[0]))
    tested = [_joined(strip, end, code) for strip, end in zip(strips, ends, strict=True)]
    packed = np.frombuffer(
        _through_libtiff(tested, compression=G4, width=width_px, rows=[count + 1 for count in rows], bits=1),
        dtype=np.uint8,
    ).reshape(sum(rows) + len(rows), -1)
    last = np.cumsum([count + 1 for count in rows]) - 1
    if not (packed[last] == dashes).all():
        return None
    return packed[:-1] if len(rows) == 1 else np.delete(packed, last, axis=0)


# T.4 table 2: run lengths used for the dashed row
_WHITE: Final = {0: "00110101", 1: "000111", 2: "0111", 3: "1000", 4: "1011"}
_BLACK: Final = {0: "0000110111", 2: "11", 3: "10"}
_HORIZONTAL = "001"  # T.6 table 1
_DASH_PX = 5


def _dashes(width_px: int, seed: int) -> tuple[Bytes, str]:
    """A row of dashes as packed bits and as a T.6 code that needs no row above it.

    `seed` chooses among dashes of 2 and of 3 pixels, so that a row left in memory from another strip is not taken
    for this one.
    """
    pixels: list[str] = []
    code: list[str] = []
    for index in range(width_px // _DASH_PX):
        white = 2 + (seed >> index % 32 & 1)
        pixels.append("0" * white + "1" * (_DASH_PX - white))
        code.append(_HORIZONTAL + _WHITE[white] + _BLACK[_DASH_PX - white])
    if rest := width_px % _DASH_PX:
        pixels.append("0" * rest)
        code.append(_HORIZONTAL + _WHITE[rest] + _BLACK[0])
    bits = "".join(pixels)
    return np.packbits(np.frombuffer(bits.encode(), dtype=np.uint8) - ord("0")), "".join(code)


def _joined(strip: bytes, end_bit: int, code: str) -> bytes:
    """The strip's first `end_bit` bits, then `code`, then the end mark."""
    whole, rest = divmod(end_bit, 8)
    head = f"{strip[whole]:08b}"[:rest] if rest else ""
    bits = head + code + f"{_EOFB:024b}"
    bits += "0" * (-len(bits) % 8)
    return strip[:whole] + int(bits, 2).to_bytes(len(bits) // 8, "big")


def _check_g3_rows(strip: bytes, rows: int) -> None:
    """Refuse a G3 strip that has row marks (EOL, eleven zeros and a one), but fewer than rows."""
    ones = np.flatnonzero(np.unpackbits(np.frombuffer(strip, dtype=np.uint8)))
    marks = ones[np.diff(ones, prepend=-1) > 11]
    # marks that follow one another at once are the end-of-page signal
    found = int(np.count_nonzero(np.diff(marks) > 13)) + 1
    if len(marks) and found < rows - 1:  # the first row may lack its mark
        raise UnreadableImage(f"it is cut off: {found} of {rows} rows are there")


def _through_libtiff(
    strips: list[bytes], *, compression: int, width: int, rows: list[int], bits: int, g3_options: int = 0
) -> bytes:
    file = _tiff_around(strips, compression=compression, width=width, rows=rows, bits=bits, g3_options=g3_options)
    try:
        with Image.open(io.BytesIO(file), formats=("TIFF",)) as image:
            return image.tobytes()
    except OSError as error:
        raise UnreadableImage(CUT_OFF) from error


def _tiff_around(
    strips: list[bytes], *, compression: int, width: int, rows: list[int], bits: int, g3_options: int
) -> bytes:
    """A one-page little-endian TIFF: header, strips, one table, the table's long values."""
    short, long = ("H", 3), ("I", 4)
    offsets = [8]
    for strip in strips:
        offsets.append(offsets[-1] + len(strip))
    entries = [
        (256, long, [width]),
        (257, long, [sum(rows)]),
        (258, short, [bits]),
        (259, short, [compression]),
        (262, short, [1]),
        (273, long, offsets[:-1]),
        (277, short, [1]),
        (278, long, [rows[0]]),
        (279, long, [len(strip) for strip in strips]),
        *([(292, long, [g3_options])] if compression == G3 else []),
    ]
    body = b"".join(strips)
    body += b"\0" * (len(body) % 2)
    at_table = 8 + len(body)
    at_long_values = at_table + 2 + 12 * len(entries) + 4
    table, long_values = struct.pack("<H", len(entries)), b""
    for tag, (letter, kind), values in entries:
        raw = struct.pack(f"<{len(values)}{letter}", *values)
        if len(raw) > 4:
            where = struct.pack("<I", at_long_values + len(long_values))
            long_values += raw
        else:
            where = raw.ljust(4, b"\0")
        table += struct.pack("<HHI", tag, kind, len(values)) + where
    return b"II*\0" + struct.pack("<I", at_table) + body + table + b"\0\0\0\0" + long_values
