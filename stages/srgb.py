"""The sRGB colour profile that every PDF/A carries as its output intent."""

from __future__ import annotations

import struct
from functools import cache

# sRGB primaries adapted to D50 by Bradford, and the white and black points (IEC 61966-2-1, annex F; ICC.1:2001, A.1)
_RED = (0.43607, 0.22249, 0.01392)
_GREEN = (0.38515, 0.71687, 0.09708)
_BLUE = (0.14307, 0.06061, 0.71410)
_D50 = (0.96420, 1.00000, 0.82491)
_CURVE_POINTS = 1024


@cache
def srgb_profile() -> bytes:
    """A matrix profile of ICC version 2.1, which every part of PDF/A takes; the same bytes each time.

    Header of 128 bytes, table of tags (count, then signature, offset and size of 4 bytes each), then the data of the
    tags, each at a multiple of 4 (ICC.1:2001-04, 6.1 to 6.5). The three curves share their data.
    """
    curve = b"curv" + bytes(4) + struct.pack(f">I{_CURVE_POINTS}H", _CURVE_POINTS, *map(_curve, range(_CURVE_POINTS)))
    tags = [
        (b"desc", _description("sRGB IEC61966-2.1")),
        (b"cprt", b"text" + bytes(4) + b"No copyright, use freely\0"),
        (b"wtpt", _xyz(_D50)),
        (b"rXYZ", _xyz(_RED)),
        (b"gXYZ", _xyz(_GREEN)),
        (b"bXYZ", _xyz(_BLUE)),
        (b"rTRC", curve),
        (b"gTRC", curve),
        (b"bTRC", curve),
    ]
    at = 128 + 4 + 12 * len(tags)
    table, body, places = b"", b"", dict[bytes, int]()
    for signature, data in tags:
        if data not in places:
            places[data] = at + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", signature, places[data], len(data))
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sIII8xI3i4s44x",
        at + len(body),
        bytes(4),  # preferred colour module: none
        0x02100000,  # version 2.1
        b"mntr",
        b"RGB ",
        b"XYZ ",
        *(2000, 1, 1, 0, 0, 0),  # a fixed date, so that the bytes stay
        b"acsp",
        bytes(4),  # platform: none
        0,  # flags
        0,  # manufacturer
        0,  # model
        0,  # rendering intent: perceptual
        *map(_fixed, _D50),
        bytes(4),  # creator
    )
    return header + struct.pack(">I", len(tags)) + table + body


def _curve(point: int) -> int:
    """Light of a code value, as 16 bits (IEC 61966-2-1, 5.2)."""
    value = point / (_CURVE_POINTS - 1)
    light = value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
    return round(light * 65535)


def _fixed(value: float) -> int:
    return round(value * 65536)


def _xyz(point: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *map(_fixed, point))


def _description(text: str) -> bytes:
    """A textDescription: ASCII with its length, then no Unicode and no Macintosh form (ICC.1:2001, 6.5.17)."""
    ascii_text = text.encode("ascii") + b"\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(ascii_text)) + ascii_text + bytes(4 + 4 + 2 + 1 + 67)
