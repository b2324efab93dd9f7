"""A page that the house prints itself (transmittal, certificate, statement), with the words it put there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from stages.fonts import font
from stages.page_image import MM_PER_INCH, Box, Line, PageImage, TextLayer, Word

LETTER_MM = (215.9, 279.4)
MARGIN_MM = 22.0
DPI = 300.0
CELL_GAP_MM = 4.0
_POINT_MM = MM_PER_INCH / 72

Columns = Sequence[tuple[float, Literal["left", "right"]]]  # width in mm, and the side at which cells stand


class PrintedPage:
    """Letters on a white letter sheet, written from the top; `y_mm` is where the next line goes."""

    def __init__(self) -> None:
        self._image = Image.new("L", (self._px(LETTER_MM[0]), self._px(LETTER_MM[1])), 255)
        self._draw = ImageDraw.Draw(self._image)
        self._lines: list[Line] = []
        self._block = 0
        self.y_mm = MARGIN_MM

    @property
    def room_mm(self) -> float:
        """How much of the sheet is left above the lower margin."""
        return LETTER_MM[1] - MARGIN_MM - self.y_mm

    def heading(self, text: str, size_pt: float = 22) -> None:
        """A bold line with room below it."""
        self.text(text, size_pt=size_pt, bold=True)
        self.space(3)

    def space(self, mm: float) -> None:
        """Leave room; what follows is another paragraph."""
        self.y_mm += mm
        self._block += 1

    def rule(self) -> None:
        """A thin line across the text width."""
        y = self._px(self.y_mm + 1.5)
        self._draw.line([(self._px(MARGIN_MM), y), (self._px(LETTER_MM[0] - MARGIN_MM), y)], fill=0, width=3)
        self.y_mm += 4

    def text(self, text: str, *, size_pt: float = 11, bold: bool = False) -> None:
        """A paragraph, broken into lines where it must be."""
        width_mm = LETTER_MM[0] - 2 * MARGIN_MM
        for line in self._broken(text, width_mm, size_pt, bold):
            self._line([(line, MARGIN_MM, bold)], size_pt)

    def row(self, cells: Sequence[str], columns: Columns, *, size_pt: float = 10, bold: bool = False) -> None:
        """One row of a table; a cell that is too long ends in dots."""
        placed = []
        left = MARGIN_MM
        for cell, (width, side) in zip(cells, columns, strict=True):
            text = self._clipped(cell, width - CELL_GAP_MM, size_pt, bold)
            indent = width - CELL_GAP_MM - self._width_mm(text, size_pt, bold) if side == "right" else 0.0
            placed.append((text, left + indent, bold))
            left += width
        self._line(placed, size_pt)

    def page(self) -> PageImage:
        """The finished page, bitonal, with its words."""
        pixels = np.asarray(self._image) > 127
        text = TextLayer(
            lines=tuple(self._lines), width_px=self._image.width, height_px=self._image.height, engine="platen"
        )
        return PageImage(pixels=pixels, dpi=DPI, text=text)

    def _line(self, parts: Sequence[tuple[str, float, bool]], size_pt: float) -> None:
        height_mm = size_pt * _POINT_MM
        top, bottom = self._px(self.y_mm), self._px(self.y_mm + 1.2 * height_mm)
        words: list[Word] = []
        for text, left_mm, bold in parts:
            face = font(round(size_pt / 72 * DPI), bold=bold)
            x = float(self._px(left_mm))
            self._draw.text((x, top), text, fill=0, font=face)
            space = face.getlength(" ")
            for word in text.split():
                width = face.getlength(word)
                words.append(Word(text=word, box=Box(x, top, x + width, bottom), confidence=1.0))
                x += width + space
        if words:
            box = Box(words[0].box.left, top, words[-1].box.right, bottom)
            self._lines.append(Line(words=tuple(words), box=box, block=self._block))
        self.y_mm += 1.45 * height_mm

    def _broken(self, text: str, width_mm: float, size_pt: float, bold: bool) -> list[str]:
        lines: list[str] = []
        line = ""
        for word in text.split():
            longer = f"{line} {word}".strip()
            if line and self._width_mm(longer, size_pt, bold) > width_mm:
                lines.append(line)
                line = self._clipped(word, width_mm, size_pt, bold)
            else:
                line = self._clipped(longer, width_mm, size_pt, bold)
        return [*lines, line]

    def _clipped(self, text: str, width_mm: float, size_pt: float, bold: bool) -> str:
        text = " ".join(text.split())
        if self._width_mm(text, size_pt, bold) <= width_mm:
            return text
        while text and self._width_mm(text + "…", size_pt, bold) > width_mm:
            text = text[:-1]
        return text + "…"

    def _width_mm(self, text: str, size_pt: float, bold: bool) -> float:
        return font(round(size_pt / 72 * DPI), bold=bold).getlength(text) * MM_PER_INCH / DPI

    @staticmethod
    def _px(mm: float) -> int:
        return round(mm * DPI / MM_PER_INCH)
