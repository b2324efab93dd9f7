"""The invisible font: glyphs without ink that give OCR text its places, and the codes that give it its letters.

ISO 19005-2, 6.2.11 asks for an embedded font program, widths that agree with it, no `.notdef` in any render mode, and
(level U) a Unicode value for every code used. Codes are therefore given out one by one as characters are first met,
so that any character of any plane has a code of two bytes and the ToUnicode map names just what is used.
"""

from __future__ import annotations

import io
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fontTools.ttLib.tables._g_l_y_f import Glyph

FONT_NAME = "PlatenGlyphless"
ASCENT = 1000  # in thousandths of the font size: a selection reaches from the baseline to the font size above it
DESCENT = -1  # nought would be taken for "not stated" by poppler, which then guesses -350
MAX_CODES = 0xFFFF

# Glyph 0 is .notdef; glyph n is blank and as wide as entry n: none, narrow, usual, broad, full width. Letters of a
# word share its box in these proportions (those of Helvetica, rounded), so that a selection inside a word fits.
ADVANCES = (500, 0, 250, 500, 750, 1000)
_MARK, _NARROW, _USUAL, _BROAD, _FULL = 1, 2, 3, 4, 5
_NARROW_CHARACTERS = frozenset("iljtfrI.,:;'!|()[]`‘’/\\- ")
_BROAD_CHARACTERS = frozenset("mwMWABCDEGHKNOPQRSUVXY@%&—…")
_MIRRORED = dict(zip("()[]{}<>«»‹›", ")(][}{><»«›‹", strict=True))  # those of BidiMirroring.txt that print has
_BLOCK_ENTRIES = 100  # most that one beginbfchar may hold (Adobe Technical Note 5014, 1.4.1)

_FONT_DATE = 3_029_529_600  # 1 January 2000, in seconds from 1904 (OpenType, head table)


@cache
def font_program() -> bytes:
    """The font as a TrueType file, the same bytes each time."""
    from fontTools.fontBuilder import FontBuilder  # here, for it costs more than all other imports of a PDF's writer

    names = [".notdef", *(f"blank{advance}" for advance in ADVANCES[1:])]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({0x20: names[_NARROW], 0xA0: names[_NARROW]})
    font.setupGlyf({name: _hairline(advance) for name, advance in zip(names, ADVANCES, strict=True)})
    font.setupHorizontalMetrics({name: (advance, 0) for name, advance in zip(names, ADVANCES, strict=True)})
    font.setupHorizontalHeader(ascent=ASCENT, descent=0)
    font.setupNameTable({"familyName": FONT_NAME, "styleName": "Regular", "psName": FONT_NAME})
    font.setupOS2(sTypoAscender=ASCENT, sTypoDescender=0, usWinAscent=ASCENT, usWinDescent=0)
    font.setupPost(keepGlyphNames=False)
    font.updateHead(created=_FONT_DATE, modified=_FONT_DATE)  # else the time of day would be in the bytes
    font.font.recalcTimestamp = False
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()


class CodeBook:
    """Which code of the font stands for which character in one document."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def encode(self, text: str) -> str:
        """The text as hexadecimal codes, four digits a character; `text` comes from `shown`."""
        codes = self._codes
        out: list[str] = []
        for character in text:
            code = codes.get(character)
            if code is None:
                if len(codes) >= MAX_CODES - 1:  # no document has so many characters; one made to harm may
                    code = codes.setdefault("\N{REPLACEMENT CHARACTER}", MAX_CODES)
                else:
                    code = codes[character] = len(codes) + 1
            out.append(f"{code:04x}")
        return "".join(out)

    def to_unicode(self) -> bytes:
        """The ToUnicode CMap of exactly the codes given out (ISO 32000-1, 9.10.3)."""
        entries = [f"<{code:04x}> <{character.encode('utf-16-be').hex()}>" for character, code in self._codes.items()]
        blocks = [entries[at : at + _BLOCK_ENTRIES] for at in range(0, len(entries), _BLOCK_ENTRIES)]
        lines = [
            "/CIDInit /ProcSet findresource begin",
            "12 dict begin",
            "begincmap",
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
            "/CMapName /Adobe-Identity-UCS def",
            "/CMapType 2 def",
            "1 begincodespacerange",
            "<0000> <ffff>",
            "endcodespacerange",
        ]
        for block in blocks:
            lines += [f"{len(block)} beginbfchar", *block, "endbfchar"]
        lines += ["endcmap", "CMapName currentdict /CMap defineresource pop", "end", "end"]
        return "\n".join(lines).encode("ascii")

    def cid_to_gid(self) -> bytes:
        """The CIDToGIDMap: two bytes a code, from code 0; no code used comes to glyph 0."""
        glyphs = [0, *(_glyph(character) for character in self._codes)]
        return b"".join(glyph.to_bytes(2, "big") for glyph in glyphs)

    def widths(self) -> list[int]:
        """Advance of each code from 1 on, in thousandths of the font size."""
        return [ADVANCES[_glyph(character)] for character in self._codes]


def advance(text: str) -> int:
    """How far the text runs, in thousandths of the font size."""
    return sum(ADVANCES[_glyph(character)] for character in text)


def shown(text: str) -> str:
    """The text as it is to stand in the file: without what may not, in the order in which it is seen.

    Control characters, lone surrogates, noncharacters and direction marks are left out (ToUnicode may not name U+FEFF
    or U+FFFE: ISO 19005-2, 6.2.11.7.2). Words written from right to left are turned round, because readers take the
    order on the page for what it looks like and turn such words back.
    """
    kept = "".join(character for character in text if _may_stand(character))
    if not any(_is_rtl(character) for character in kept):
        return kept
    return "".join(_MIRRORED.get(run, run) for run in reversed(_direction_runs(kept)))


@cache
def _glyph(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return _MARK
    if unicodedata.east_asian_width(character) in "WF":
        return _FULL
    if character in _NARROW_CHARACTERS:
        return _NARROW
    return _BROAD if character in _BROAD_CHARACTERS else _USUAL


@cache
def _may_stand(character: str) -> bool:
    code = ord(character)
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return False
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:  # noncharacters: Unicode 15, 23.7
        return False
    return character not in "\ufeff\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def _is_rtl(character: str) -> bool:
    return unicodedata.bidirectional(character) in ("R", "AL")


def _direction_runs(text: str) -> list[str]:
    """A right-to-left word in the pieces that keep their own order: a number or Latin letters, else one letter each."""
    runs: list[str] = []
    left_to_right = False
    for character in text:
        kind = unicodedata.bidirectional(character)
        goes_on = kind in ("L", "EN", "AN") or (left_to_right and kind in ("CS", "ES", "ET", "NSM"))
        if goes_on and left_to_right:
            runs[-1] += character
        else:
            runs.append(character)
        left_to_right = goes_on
    return runs


def _hairline(advance: int) -> Glyph:
    """A line there and back, which encloses no area and so no ink, but gives the glyph the height of its em.

    pdfium makes the selection of a glyph without an outline a thousandth of the font size high.
    """
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((advance, ASCENT))
    pen.closePath()
    return pen.glyph()
