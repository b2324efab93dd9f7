"""Sheets that the bureau prints and puts between papers: batch tickets and document separators, with their codes.

What stands on them is read again by `stages.separators`; the words of the payloads are fixed here, in one place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import zxingcpp
from PIL import Image, ImageDraw

from stages.fonts import font
from stages.page_image import MM_PER_INCH

GreyPixels = npt.NDArray[np.uint8]
PatchCode = Literal["1", "2", "3", "4", "6", "T"]
BarcodeKind = Literal["qr", "code128", "code39"]
Edge = Literal["top", "bottom", "left", "right"]

LETTER_MM = (215.9, 279.4)
A4_MM = (210.0, 297.0)
POINTS_PER_INCH = 72.0

DOCUMENT_SEPARATOR = "PLATEN:DOCUMENT"
_ORDER_PREFIX = "PLATEN:ORDER:"
_BOX_PREFIX = ";BOX:"
_RESCAN_PREFIX = "PLATEN:RESCAN:"
_RESCAN_ORDER = ";ORDER:"
# what `stages.separators` takes for a ticket; two names of 40 still fit into one Code 128, which holds 102 signs
_ORDER_NUMBER = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_BOX = re.compile(r"[ -:<-~]{1,40}")

# Kodak patch specification A-61599: four bars, N narrow and W wide, in their order from the leading edge inwards
PATCH_BARS: Mapping[PatchCode, str] = {"1": "WWNN", "2": "WNNW", "3": "WNWN", "4": "NWWN", "6": "NNWW", "T": "NWNW"}
PATCH_NARROW_MM = 0.08 * MM_PER_INCH  # every space is as wide as a narrow bar
PATCH_WIDE_MM = 0.20 * MM_PER_INCH
PATCH_LENGTH_MM = 2.5 * MM_PER_INCH  # the specification asks for 2 in at least
PATCH_FROM_EDGE_MM = 10.0  # the specification asks for 0.25 in; 10 mm also clears a printer's unprintable rim
ALL_EDGES: tuple[Edge, ...] = ("top", "bottom", "left", "right")

_MARGIN_MM = 20.0
_MARGIN_INSIDE_PATCHES_MM = 40.0
_QR_SIDE_MM = 50.0
_PICTURE_MM = (112.0, 112.0)  # body text of a letter can be guessed at, and a hand or a form known again
_LINES_OF_WRONG = 4
_LINEAR_HEIGHT_MM = 20.0
_LINEAR_MODULE_MM = 0.5  # wide enough for a fax-quality scan
_LINEAR_MODULE_LEAST_MM = 0.25  # 10 mil: the least that reads at 200 dpi


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a batch ticket says: the work order, and the box if there is one (else empty)."""

    order_number: str
    box: str = ""

    @property
    def payload(self) -> str:
        """The text in the ticket's codes.

        Raises:
            ValueError: the order number or the box could not be read back from the payload.
        """
        if not _ORDER_NUMBER.fullmatch(self.order_number):
            raise ValueError(
                f"Order number {self.order_number!r} cannot stand on a ticket: "
                "1 to 40 letters and digits of ASCII, dots, dashes and underscores"
            )
        if self.box and not _BOX.fullmatch(self.box):
            raise ValueError(f"Box {self.box!r} cannot stand on a ticket: at most 40 signs of ASCII, no semicolon")
        return _ORDER_PREFIX + self.order_number + (_BOX_PREFIX + self.box if self.box else "")

    @classmethod
    def from_payload(cls, payload: str) -> Ticket | None:
        """The ticket that a code names; None when the code is no ticket, or names what no ticket can."""
        if not payload.startswith(_ORDER_PREFIX):
            return None
        order_number, has_box, box = payload.removeprefix(_ORDER_PREFIX).partition(_BOX_PREFIX)
        if not _ORDER_NUMBER.fullmatch(order_number) or (has_box and not _BOX.fullmatch(box)):
            return None
        return cls(order_number, box)


@dataclass(frozen=True, slots=True)
class RescanCode:
    """What a rescan sheet says: the number of the hold whose page waits for a new scan, and its work order."""

    hold_id: int
    order_number: str

    @property
    def payload(self) -> str:
        """The text in the sheet's codes.

        Raises:
            ValueError: the order number could not be read back from the payload.
        """
        if not _ORDER_NUMBER.fullmatch(self.order_number):
            raise ValueError(f"Order number {self.order_number!r} cannot stand on a rescan sheet")
        return f"{_RESCAN_PREFIX}{self.hold_id}{_RESCAN_ORDER}{self.order_number}"


def ticket_sheet(
    ticket: Ticket,
    *,
    bureau_name: str = "",
    details: Mapping[str, str] | None = None,
    dpi: float = 300.0,
    size_mm: tuple[float, float] = LETTER_MM,
) -> GreyPixels:
    """A batch ticket: the first sheet of a batch, which says to which work order the papers under it belong.

    Gives `(rows, cols)` uint8. The payload stands on it as QR and as Code 128 (left out when its bars would be thinner
    than 0.25 mm), and in letters. `details` are printed for people only, one line each: `{"Customer": "DPHHS"}`.

    Raises:
        ValueError: the order number or the box could not be read back.
        RuntimeError: no usable font is installed; the message names the package.
    """
    payload = ticket.payload
    sheet = _Sheet(dpi, size_mm, margin_mm=_MARGIN_MM)
    sheet.write(bureau_name, 12, top_mm=14)
    sheet.write("BATCH TICKET", 22, top_mm=22, bold=True)
    sheet.write(ticket.order_number, 44, top_mm=38, bold=True)
    sheet.write(f"Box {ticket.box}" if ticket.box else "", 26, top_mm=60, bold=True)
    for index, (name, value) in enumerate((details or {}).items()):
        sheet.write(f"{name}: {value}", 12, top_mm=78 + 6.5 * index)
    sheet.paste_centred(_fitted_barcode(payload, "qr", sheet), top_mm=125)
    sheet.paste_centred(_fitted_barcode(payload, "code128", sheet), top_mm=188)
    sheet.write(payload, 11, top_mm=212, mono=True)
    sheet.write("Lay this sheet on top of the batch, printed side up.", 12, top_mm=232)
    sheet.write("It names the work order. It is not a page of the record and is not charged.", 12, top_mm=239)
    return sheet.pixels()


def separator_sheet(
    payload: str | None = DOCUMENT_SEPARATOR,
    *,
    patch: PatchCode | None = "T",
    edges: tuple[Edge, ...] = ALL_EDGES,
    barcodes: tuple[BarcodeKind, ...] = ("qr", "code128"),
    title: str = "DOCUMENT SEPARATOR",
    dpi: float = 300.0,
    size_mm: tuple[float, float] = LETTER_MM,
) -> GreyPixels:
    """A sheet that parts documents, by a patch code along its edges, by barcodes in its middle, or by both.

    Gives `(rows, cols)` uint8. Two proofs on one sheet, because one may be torn or smeared; the patch on all four
    edges, because read from the wrong end T is 3 and 1 is 6. Without `payload` there are no barcodes.

    Raises:
        ValueError: the payload cannot be written in one of the codes.
        RuntimeError: no usable font is installed; the message names the package.
    """
    sheet = _Sheet(dpi, size_mm, margin_mm=_MARGIN_INSIDE_PATCHES_MM)
    if patch is not None:
        for edge in edges:
            sheet.paste_at_edge(_patch(patch, dpi), edge)
    sheet.write(title, 26, top_mm=48, bold=True)
    sheet.write("A new document begins behind this sheet.", 12, top_mm=64)
    sheet.write("This sheet is not a page of the record and is not charged.", 12, top_mm=71)
    if payload is not None:
        top_mm = 88.0
        for kind in barcodes:
            code = _fitted_barcode(payload, kind, sheet)
            sheet.paste_centred(code, top_mm=top_mm)
            top_mm += code.shape[0] * MM_PER_INCH / dpi + 12.0
        sheet.write(payload, 11, top_mm=top_mm - 6.0, mono=True)
    return sheet.pixels()


def rescan_sheet(
    code: RescanCode,
    *,
    page: str,
    place: Sequence[str],
    wrong: str,
    picture: GreyPixels | None,
    bureau_name: str = "",
    dpi: float = 300.0,
    size_mm: tuple[float, float] = LETTER_MM,
) -> GreyPixels:
    """A sheet to lay on a paper that is scanned again: it says which held page the paper takes the place of.

    Gives `(rows, cols)` uint8. The payload stands on it as QR and as Code 128, as on a ticket. `page`, `place` (one
    line each) and `wrong` are for people, and so is `picture`, the scan that was held, by which the paper is found.

    Raises:
        ValueError: the order number could not be read back.
        RuntimeError: no usable font is installed; the message names the package.
    """
    payload = code.payload
    sheet = _Sheet(dpi, size_mm, margin_mm=_MARGIN_MM)
    sheet.write(bureau_name, 12, top_mm=14)
    sheet.write("RESCAN SHEET", 22, top_mm=22, bold=True)
    sheet.write(page, 40, top_mm=34, bold=True)
    for index, line in enumerate(place):
        sheet.write(line, 13, top_mm=53 + 6 * index)
    for index, line in enumerate(sheet.broken(wrong, 11)[:_LINES_OF_WRONG]):
        sheet.write(line, 11, top_mm=73 + 5.2 * index)
    right_mm = size_mm[0] - _MARGIN_MM - _QR_SIDE_MM
    if picture is not None:
        sheet.paste_picture(picture, _MARGIN_MM, 94, width_mm=_PICTURE_MM[0], height_mm=_PICTURE_MM[1])
    sheet.paste_at(_fitted_barcode(payload, "qr", sheet), right_mm, 94)
    for index, line in enumerate(("1  Find this paper.", "2  Lay this sheet on it.", "3  Scan both.")):
        sheet.write(line, 13, top_mm=154 + 8 * index, bold=True, left_mm=right_mm)
    sheet.paste_centred(_fitted_barcode(payload, "code128", sheet), top_mm=212)
    sheet.write(payload, 11, top_mm=235, mono=True)
    sheet.write("Further papers may follow, each under its own sheet, and no others.", 12, top_mm=246)
    sheet.write(
        "Drop the scan into the inbox. This sheet is not a page of the record and is not charged.", 12, top_mm=253
    )
    return sheet.pixels()


class _Sheet:
    """White paper on which text and codes are laid, all centred between the margins."""

    def __init__(self, dpi: float, size_mm: tuple[float, float], *, margin_mm: float) -> None:
        self.dpi = dpi
        self.width_px, self.height_px = self.px(size_mm[0]), self.px(size_mm[1])
        self.inner_px = self.width_px - 2 * self.px(margin_mm)
        self._image = Image.new("L", (self.width_px, self.height_px), 255)
        self._draw = ImageDraw.Draw(self._image)

    def px(self, mm: float) -> int:
        return round(mm * self.dpi / MM_PER_INCH)

    def broken(self, text: str, size_pt: float) -> list[str]:
        """The text in lines that the margins leave room for; a single word may be wider."""
        face = font(round(size_pt * self.dpi / POINTS_PER_INCH))
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and face.getlength(longer) > self.inner_px:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines

    def write(
        self,
        text: str,
        size_pt: float,
        *,
        top_mm: float,
        bold: bool = False,
        mono: bool = False,
        left_mm: float | None = None,
    ) -> None:
        """One line, centred or from `left_mm`, set smaller if it is wider than the margins leave."""
        size_px = size_pt * self.dpi / POINTS_PER_INCH
        wanted_px = font(round(size_px), bold=bold, mono=mono).getlength(text)
        if wanted_px > self.inner_px:
            size_px *= self.inner_px / wanted_px
        face = font(max(1, int(size_px)), bold=bold, mono=mono)
        x, anchor = (self.width_px / 2, "ma") if left_mm is None else (self.px(left_mm), "la")
        self._draw.text((x, self.px(top_mm)), text, font=face, fill=0, anchor=anchor)

    def paste_centred(self, pixels: GreyPixels, *, top_mm: float) -> None:
        self._paste(pixels, (self.width_px - pixels.shape[1]) // 2, self.px(top_mm))

    def paste_at(self, pixels: GreyPixels, left_mm: float, top_mm: float) -> None:
        self._paste(pixels, self.px(left_mm), self.px(top_mm))

    def paste_picture(
        self, pixels: GreyPixels, left_mm: float, top_mm: float, *, width_mm: float, height_mm: float
    ) -> None:
        """A framed picture in dots of black, for the sheet is printed in black; as large as its place allows."""
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        scale = min(self.px(width_mm) / picture.width, self.px(height_mm) / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        dots = np.array(picture.resize(size, Image.Resampling.LANCZOS).convert("1").convert("L"), dtype=np.uint8)
        dots[[0, -1], :] = dots[:, [0, -1]] = 0
        self.paste_at(dots, left_mm, top_mm)

    def paste_at_edge(self, patch: GreyPixels, edge: Edge) -> None:
        """The first row of `patch` comes to lie nearest to the edge, its bars along it."""
        gap_px = self.px(PATCH_FROM_EDGE_MM)
        turned = {"top": patch, "bottom": patch[::-1], "left": patch.T, "right": patch.T[:, ::-1]}[edge]
        height, width = turned.shape
        middle_x, middle_y = (self.width_px - width) // 2, (self.height_px - height) // 2
        left, top = {
            "top": (middle_x, gap_px),
            "bottom": (middle_x, self.height_px - gap_px - height),
            "left": (gap_px, middle_y),
            "right": (self.width_px - gap_px - width, middle_y),
        }[edge]
        self._paste(turned, left, top)

    def _paste(self, pixels: GreyPixels, left: int, top: int) -> None:
        if pixels.size:  # a code that would be too fine to read is left out
            self._image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (left, top))

    def pixels(self) -> GreyPixels:
        return np.array(self._image, dtype=np.uint8)


def _patch(code: PatchCode, dpi: float) -> GreyPixels:
    """The four bars as rows, the one of the leading edge first."""
    rows_mm: list[tuple[float, int]] = []
    for bar in PATCH_BARS[code]:
        rows_mm += [(PATCH_WIDE_MM if bar == "W" else PATCH_NARROW_MM, 0), (PATCH_NARROW_MM, 255)]
    rows_mm.pop()  # the space after the last bar is paper
    # edges are rounded, not widths, so that no bar is off by more than one pixel and the whole not at all
    edges_px = np.rint(np.cumsum([0.0, *(mm for mm, _ in rows_mm)]) * dpi / MM_PER_INCH).astype(int)
    column = np.concatenate(
        [
            np.full(end - start, level, np.uint8)
            for start, end, (_, level) in zip(edges_px, edges_px[1:], rows_mm, strict=False)
        ]
    )
    return np.repeat(column[:, None], round(PATCH_LENGTH_MM * dpi / MM_PER_INCH), axis=1)


def _fitted_barcode(payload: str, kind: BarcodeKind, sheet: _Sheet) -> GreyPixels:
    """The code with modules of whole pixels, as large as its place on the sheet; empty if too fine to be read."""
    modules = _modules(payload, kind)
    if kind == "qr":
        return _enlarged(modules, max(1, sheet.px(_QR_SIDE_MM) // modules.shape[1]), modules.shape[0])
    module_px = min(sheet.inner_px // modules.shape[1], max(2, sheet.px(_LINEAR_MODULE_MM)))
    if module_px * MM_PER_INCH / sheet.dpi < _LINEAR_MODULE_LEAST_MM:
        return np.empty((0, 0), np.uint8)
    return _enlarged(modules[:1], module_px, sheet.px(_LINEAR_HEIGHT_MM))


def _modules(payload: str, kind: BarcodeKind) -> GreyPixels:
    """The code with one pixel a module and no quiet zone: the sheet is white around it."""
    if kind == "qr":
        # level Q still reads with a quarter of the symbol gone: a torn or stained ticket must not stop a batch
        code = zxingcpp.create_barcode(payload, zxingcpp.BarcodeFormat.QRCode, ec_level="Q")
    elif kind == "code128":
        code = zxingcpp.create_barcode(payload, zxingcpp.BarcodeFormat.Code128)
    else:
        code = zxingcpp.create_barcode(payload, zxingcpp.BarcodeFormat.Code39)
    return np.asarray(zxingcpp.write_barcode_to_image(code, scale=1, add_quiet_zones=False), dtype=np.uint8)


def _enlarged(modules: GreyPixels, module_px: int, height: int) -> GreyPixels:
    if modules.shape[0] == 1:
        return np.repeat(np.repeat(modules, module_px, axis=1), height, axis=0)
    return np.repeat(np.repeat(modules, module_px, axis=1), module_px, axis=0)
