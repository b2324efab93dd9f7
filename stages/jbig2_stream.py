"""Whether a JBIG2 stream from a PDF is whole; its decoders fill up with white, in silence, where one is cut off."""

from __future__ import annotations

import struct

from stages.errors import UnreadableImage

_UNKNOWN_LENGTH = 0xFFFFFFFF  # ITU-T T.88, 7.2.7: a generic region may not know its own
_REGIONS = frozenset({4, 6, 7, 20, 22, 23, 36, 38, 39, 40, 42, 43})  # T.88, 7.3: segment types that hold pixels


def check_jbig2(data: bytes) -> None:
    """Go through the segments of an embedded stream (ITU-T T.88, 7.2, without file header).

    A segment header: number (4 bytes), flags (1; low 6 bits the type, bit 6 a long page number), count of segments
    referred to (top 3 bits of 1 byte, or 4 bytes and the retention flags), their numbers (1, 2 or 4 bytes each), page
    (1 or 4), data length (4); big-endian.

    Raises:
        UnreadableImage: a segment is longer than what is left, or none holds pixels.
    """
    at, regions = 0, 0
    try:
        while at + 11 <= len(data):  # the shortest header
            number, flags, count = struct.unpack_from(">IBB", data, at)
            at += 5
            if count >> 5 == 7:
                count = struct.unpack_from(">I", data, at)[0] & 0x1FFFFFFF
                at += 4 + (count + 8) // 8
            else:
                count >>= 5
                at += 1
            at += count * (1 if number <= 256 else 2 if number <= 65536 else 4)
            at += 4 if flags & 0x40 else 1
            (length,) = struct.unpack_from(">I", data, at)
            at += 4
            regions += (flags & 0x3F) in _REGIONS
            if length == _UNKNOWN_LENGTH:
                return
            at += length
    except struct.error as error:
        raise UnreadableImage("it is cut off: the JBIG2 stream ends within a header") from error
    if at > len(data):
        raise UnreadableImage(f"it is cut off: {at - len(data):,} bytes of the JBIG2 stream are missing")
    if not regions:
        raise UnreadableImage("it is damaged: the JBIG2 stream holds no pixels")
