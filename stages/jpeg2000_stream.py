"""Whether a JPEG 2000 image is whole: decoders leave tiles that are not there black or grey and say nothing."""

from __future__ import annotations

import struct
from collections import Counter

from stages.errors import UnreadableImage

CODESTREAM_START = b"\xff\x4f\xff\x51"  # SOC and SIZ (ISO 15444-1, A.4.1 and A.5.1)
START_OF_TILE_PART = 0xFF90  # SOT (A.4.2)
SOT_BYTES = 12
LEAST_TILE_PART_BYTES = SOT_BYTES + 2  # SOT and SOD


def check_jpeg2000(data: bytes) -> None:
    """Refuse a JPEG 2000 file or codestream of which tiles or parts of tiles are missing; nothing is decoded.

    Raises:
        UnreadableImage: it is cut off, or its markers make no sense.
    """
    start = _codestream_start(data)
    try:
        declared, whole = _tiles(data, start)
    except struct.error as error:
        raise UnreadableImage("it is cut off: the file ends within the JPEG 2000 headers") from error
    if whole < declared:
        raise UnreadableImage(f"it is cut off: it lacks {declared - whole} of the {declared} tiles of its image")


def _codestream_start(data: bytes) -> int:
    """Where the codestream begins: at once, or in the first box of type jp2c.

    Boxes are length and type of 4 bytes each, big end first; length 1 is followed by the true one in 8 bytes, and 0
    means up to the end of the file (ISO 15444-1, annex I.4).
    """
    at = 0
    while not data.startswith(CODESTREAM_START, at):
        if at + 8 > len(data):
            raise UnreadableImage("it is cut off: the file ends before the JPEG 2000 image does")
        length, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if length == 1 and at + 16 <= len(data):
            (length,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if kind == b"jp2c":
            at += header
            if not data.startswith(CODESTREAM_START, at):
                raise UnreadableImage("its JPEG 2000 image does not begin as one")
        elif length < header:
            raise UnreadableImage("it is damaged (a JPEG 2000 box without an end)")
        else:
            at += length
    return at


def _tiles(data: bytes, start: int) -> tuple[int, int]:
    """How many tiles SIZ declares, and how many of them have all the tile-parts they say."""
    x1, y1, _, _, tile_width, tile_height, tile_x, tile_y = struct.unpack_from(">8I", data, start + 8)
    if not tile_width or not tile_height or tile_x >= x1 or tile_y >= y1:
        raise UnreadableImage("it is damaged (its JPEG 2000 tiles have no size)")
    declared = int(-(-(x1 - tile_x) // tile_width) * -(-(y1 - tile_y) // tile_height))  # parts of tiles count
    at = start + 2
    while struct.unpack_from(">H", data, at)[0] != START_OF_TILE_PART:
        marker, length = struct.unpack_from(">2H", data, at)
        if marker < 0xFF00 or length < 2:
            raise UnreadableImage("it is damaged (its JPEG 2000 header makes no sense)")
        at += 2 + length
    parts: Counter[int] = Counter()
    parts_said: dict[int, int] = {}
    while data[at : at + 2] == START_OF_TILE_PART.to_bytes(2, "big"):
        _, _, tile, length, _, said = struct.unpack_from(">3HI2B", data, at)
        end = at + length if length else len(data)  # 0: up to the end of the codestream
        if end > len(data) or end < at + LEAST_TILE_PART_BYTES:
            break
        parts[tile] += 1
        parts_said[tile] = max(said, parts_said.get(tile, 0))
        at = end
    return declared, sum(1 for tile, count in parts.items() if tile < declared and count >= parts_said[tile])
