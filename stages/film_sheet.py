"""A sheet to draw film targets on, in millimetres: text, tall letters, tables of fields, patches, bars, a QR code."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
import zxingcpp
from PIL import Image, ImageDraw, ImageFont

from stages.fonts import font
from stages.page_image import MM_PER_INCH

TEXT_MM = 4.2  # height of the em square, 12 points; its small letters are 2.2 mm
SMALL_MM = 3.5
MARGIN_MM = 14.0
QR_MM = 40.0
CHECK_PX = 4  # a 50 % patch of finer checks would close up on the film: 4 px at 300 dpi and 24x are 35 lp/mm
MAX_LETTERS = 200  # on one line


class Sheet:
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

    def pixels(self) -> npt.NDArray[np.bool_]:
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

    def head(self, title: str, right: str) -> float:
        """Title, a word at the right and a rule; returns where the body begins."""
        self.text(title, MARGIN_MM, MARGIN_MM - 1, 8.0, bold=True, width_mm=self.text_mm - 42)
        self.text(right, self.width_mm - MARGIN_MM, MARGIN_MM - 1, 8.0, bold=True, from_right=True)
        self.rule(MARGIN_MM + 11, thick_mm=1.2)
        return MARGIN_MM + 12.2

    def foot(self, note: str, about: str, fields: Mapping[str, str | int]) -> None:
        """The fields as a QR code at the bottom right; beside it the note, and below that one line about the rest."""
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
        self.text(about, MARGIN_MM, bottom - 4.2, SMALL_MM, width_mm=width_mm)

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
