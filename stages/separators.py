"""Read what parts a stack of sheets: patch codes along the edges, and barcodes that name a work order or a break."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import zxingcpp
from pydantic import field_validator, model_validator

from stages.analysis import Analysis, analysis_of, level_at
from stages.page_image import MM_PER_INCH, Box, PageImage
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
BarcodeName = Literal["qr", "code-128", "code-39", "data-matrix", "itf", "codabar", "pdf417"]
PatchName = Literal["1", "2", "3", "4", "6", "T"]
Edge = Literal["top", "right", "bottom", "left"]

FORMATS: dict[BarcodeName, zxingcpp.BarcodeFormat] = {
    "qr": zxingcpp.BarcodeFormat.QRCode,
    "code-128": zxingcpp.BarcodeFormat.Code128,
    "code-39": zxingcpp.BarcodeFormat.Code39,
    "data-matrix": zxingcpp.BarcodeFormat.DataMatrix,
    "itf": zxingcpp.BarcodeFormat.ITF,
    "codabar": zxingcpp.BarcodeFormat.Codabar,
    "pdf417": zxingcpp.BarcodeFormat.PDF417,
}

LINEAR = frozenset({"code-128", "code-39", "itf", "codabar"})

# Kodak patch specification A-61599: bars from the leading edge inwards, True for a wide one
PATCHES: dict[tuple[bool, ...], PatchName] = {
    (True, True, False, False): "1",
    (True, False, False, True): "2",
    (True, False, True, False): "3",
    (False, True, True, False): "4",
    (False, False, True, True): "6",
    (False, True, False, True): "T",
}
PATCH_DEPTH_MM = 0.80 * MM_PER_INCH  # ten units: two wide bars of 2.5, two narrow ones and three spaces of 1
PATCH_UNITS = 10.0
WIDE_BAR_UNITS = 2.5
FARTHEST_FROM_EDGE_MM = 3.75 * MM_PER_INCH + 15.0  # the specification, and a sheet that lies askew on a larger scan
UNSURE_OF_EDGE_MM = 10.0  # nearer to the middle of a small sheet than this, 1 and 6, 3 and T cannot be told apart
# The size window keeps the bars inside a barcode from reading as a patch (IMAGING 2.9); office printers and copiers
# that fit to the page print at 94 % or more.
DEPTH_TOLERANCE = 0.09
STEEPEST_SKEW_DEG = 18.0
SPACE_TOLERANCE_UNITS = 0.4
NARROW_UNITS = (0.5, 1.5)
WIDE_UNITS = (1.8, 3.2)
LEAST_LENGTH_MM = 17.0  # bars of 0.75 in, the shortest that any scanner takes, less a millimetre at each end
LEAST_LINES_SHARE = 0.7
LARGEST_GAP_LINES = 12  # a strip of tape across the bars, 5 mm wide, and askew by 15 degrees as they are
STRAIGHT_WITHIN_MM = 0.5
GOES_ON_LINES = 4  # the bars of a patch end together; in a bar chart, one or another goes on by so many lines
# The specification asks for 0.25 in on both sides; Kodak's own A4 sheet has a thin line 3 mm inside its left patch.
QUIET_MM = 2.7
LEAST_CONTRAST = 40  # levels between bar and paper; the palest paper sold for patch sheets gives twice that
CONTRAST_WINDOW_MM = 8.0  # wider than a wide bar, so that every window over a patch holds bar and space
LEAST_PATCH_DPI = 60.0  # a narrow bar of five pixels

# A bar-like place: neighbours differ strongly in one direction and hardly in the other; a matrix code: in both
TILE_PX = 8
GRAIN_PX = 3  # grain and the fine strokes of print are smoothed away, bars of 0.3 mm are not
EDGE_LEVELS = 10  # bars of 0.8 mm printed in grey have 12 (drawn letters), print and tables are kept out by the ratio
BAR_RATIO = 0.45  # tangent of 24 degrees: bars that lie askew by 15 degrees with their blur
JOIN_TILES = 11  # 13.5 mm of few edges: bars and spaces four modules wide, of a code with modules of 0.8 mm
LEAST_BARS_MM = (15.0, 4.0)
MATRIX_LEVELS = 18
MATRIX_ASPECT = 1.5  # a square, laid askew and cut to tiles; words are longer
MATRIX_MM = (4.0, 30.0)  # larger ones have modules that show at the analysis resolution; print in bold would cost time
MOST_CLOSE_LOOKS = 4
CLOSE_LOOK_DPI = 300.0
CLOSE_LOOK_MARGIN_MM = 5.0
# A linear code is read along level and plumb lines. These must cross all its bars: 12 mm high and 80 mm long, it may
# lie askew by 8 degrees; from half of that on it is laid level first.
LEAST_TURN_DEG = 4.0
LEAST_COHERENCE = 0.5  # of the gradients' directions, 1 for bars alone; 0.7 for bars with their numbers below
MOST_CLOSE_LOOK_MM2 = 20000.0  # a third of a letter page: 20 ms

LONGEST_PAYLOAD = 200
MOST_CODES = 50
# what `stages.sheets` prints on a rescan sheet; of the house, so no profile changes it
RESCAN_SHEET = re.compile(r"PLATEN:RESCAN:(?P<hold>[0-9]{1,15});ORDER:(?P<number>[A-Za-z0-9_.-]{1,40})")
# A separator sheet carries a title and a few lines; ours have 120 letters. Above this the sheet may be a page of the
# record on which a code was stuck or printed, and one code alone does not make it vanish from the delivery.
MOST_LETTERS_BESIDE_ONE_CODE = 250
LETTER_MM = (0.7, 9.0)

LINE_MM = 1.0


class Settings(StageSettings):
    """Which codes are read, and which of them part documents.

    A sheet with a separating patch or barcode ends a document and belongs to none; a page with one that marks first
    pages begins a document and stays in it. Codes in neither list (patches 1, 4 and 6, which switch scanners) are only
    reported. Barcodes and `ticket_pattern` are regular expressions on the payload; the ticket's has a group `number`
    and may have a group `box`.
    """

    barcode_formats: tuple[BarcodeName, ...] = ("qr", "code-128", "code-39", "data-matrix")
    patches: bool = True
    separator_patches: tuple[PatchName, ...] = ("2", "3", "T")
    first_page_patches: tuple[PatchName, ...] = ()
    separator_barcodes: tuple[str, ...] = (r"^PLATEN:DOCUMENT$", r"^PATCHT$|^PATCH ?T$")
    first_page_barcodes: tuple[str, ...] = ()
    ticket_pattern: str = r"^PLATEN:ORDER:(?P<number>[A-Za-z0-9_.-]{1,40})(;BOX:(?P<box>.{1,40}))?$"

    @field_validator("separator_barcodes", "first_page_barcodes")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            _compiled(pattern)
        return patterns

    @field_validator("ticket_pattern")
    @classmethod
    def _name_the_order(cls, pattern: str) -> str:
        if "number" not in _compiled(pattern).groupindex:
            raise ValueError("the ticket pattern has no group (?P<number>...)")
        return pattern

    @model_validator(mode="after")
    def _one_meaning(self) -> Settings:
        both = sorted(set(self.separator_patches) & set(self.first_page_patches))
        if both:
            raise ValueError(f"patch {both[0]} cannot mean both a separator and a first page")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One code on the sheet: `kind` is `patch` or a barcode's name; `place_mm` is measured from the page's top left.

    `edge` is the edge that a patch was read from, as the page lies; None for a barcode.
    """

    kind: str
    payload: str
    place_mm: Box
    edge: Edge | None = None

    @property
    def name(self) -> str:
        """As it stands in the readings: `patch-T`, `qr:PLATEN:DOCUMENT`."""
        return f"patch-{self.payload}" if self.kind == "patch" else f"{self.kind}:{self.payload[:LONGEST_PAYLOAD]}"


def separators(page: PageImage, settings: Settings) -> PageImage:
    """Read the page's patch codes and barcodes, and say whether the sheet parts documents or names a work order.

    Pixels stay. Readings: `separators.found`, the codes as `patch-T` or `qr:PAYLOAD`; `separators.places_mm`, four
    numbers a code (left, top, right, bottom); `separators.edges`, one a code, the edge of the page that a patch was
    read from, empty for a barcode; `separators.separator`, the sheet parts documents; `separators.first_page`, the
    page begins a document; `separators.ticket` and `separators.box`, empty if none; `separators.rescan_hold` and
    `separators.rescan_order`, the hold and order that a rescan sheet names, 0 and empty if it is none;
    `separators.doubt`, why a sheet that bears such a code was not taken for what it says, empty if there is no doubt.
    """
    maps = analysis_of(page)
    codes = _patches(maps) if settings.patches else []
    if settings.barcode_formats:
        codes += _barcodes(page, maps, settings.barcode_formats, codes)
    codes = codes[:MOST_CODES]
    verdict = _verdict(codes, maps, settings, is_size_sure=not page.is_dpi_guessed)
    return page.with_readings(
        "separators",
        found=[code.name for code in codes],
        places_mm=[round(float(value), 1) for code in codes for value in code.place_mm],
        edges=[str(code.edge or "") for code in codes],
        separator=verdict.separator,
        first_page=verdict.first_page,
        ticket=verdict.ticket,
        box=verdict.box,
        rescan_hold=verdict.rescan_hold,
        rescan_order=verdict.rescan_order,
        doubt=verdict.doubt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    separator: bool = False
    first_page: bool = False
    ticket: str = ""
    box: str = ""
    rescan_hold: int = 0
    rescan_order: str = ""
    doubt: str = ""


def _verdict(codes: list[Code], maps: Analysis, settings: Settings, *, is_size_sure: bool) -> _Verdict:
    # along one edge a code is one proof, though a tear may have made two of it
    patches = Counter(payload for payload, _ in {(code.payload, code.edge) for code in codes if code.kind == "patch"})
    ranked = patches.most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        return _Verdict(doubt=f"patch codes {ranked[0][0]} and {ranked[1][0]} contradict each other")
    read = {code.payload: match for code in codes if (match := _ticket(code, settings))}
    tickets = {(match["number"], match.groupdict().get("box") or "") for match in read.values()}
    if len(tickets) > 1:
        return _Verdict(doubt="two tickets on one sheet name different orders or boxes")
    rescans = [match for code in codes if code.kind != "patch" and (match := RESCAN_SHEET.fullmatch(code.payload))]
    if len({match[0] for match in rescans}) > 1:
        return _Verdict(doubt="two codes of rescan sheets on one sheet name different pages")
    barcode_proofs = _proofs(codes, settings.separator_barcodes)
    patch = ranked[0][0] if ranked else None
    patch_proofs = ranked[0][1] if patch in settings.separator_patches else 0
    begins_by_barcode = _proofs(codes, settings.first_page_barcodes) > 0
    begins = begins_by_barcode or patch in settings.first_page_patches
    proofs = barcode_proofs + patch_proofs
    ticket_proofs = sum(code.payload in read for code in codes)
    strongest = max(proofs, ticket_proofs, len(rescans))
    if strongest == 0 and not begins:
        return _Verdict()
    if strongest == 1 and _letters_beside(codes, maps) > MOST_LETTERS_BESIDE_ONE_CODE:
        if rescans or not begins:
            return _Verdict(doubt="the sheet bears one code among much other print")
        proofs = 0
    if (patch_proofs or begins) and not (barcode_proofs or begins_by_barcode) and not is_size_sure:
        # the size is a good part of what makes four bars a patch
        return _Verdict(doubt="a patch was read, but the file states no resolution")
    if rescans:
        return _Verdict(rescan_hold=int(rescans[0]["hold"]), rescan_order=rescans[0]["number"])
    number, box = next(iter(tickets), ("", ""))
    return _Verdict(separator=proofs > 0, first_page=begins and proofs == 0, ticket=number, box=box)


def _proofs(codes: list[Code], patterns: tuple[str, ...]) -> int:
    """How many barcodes fit one of the patterns."""
    payloads = [code.payload for code in codes if code.kind != "patch"]
    return sum(any(_compiled(pattern).search(payload) for pattern in patterns) for payload in payloads)


def _ticket(code: Code, settings: Settings) -> re.Match[str] | None:
    return _compiled(settings.ticket_pattern).search(code.payload) if code.kind != "patch" else None


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)  # kept by the re module
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


def _letters_beside(codes: list[Code], maps: Analysis) -> int:
    """How many letter-sized pieces of ink lie outside all codes."""
    left, top, width, height, _ = maps.stats[1:].T / maps.px(1.0)
    larger = np.maximum(width, height)
    beside = (larger >= LETTER_MM[0]) & (larger <= LETTER_MM[1])
    x, y = left + width / 2, top + height / 2
    for code in codes:
        box = code.place_mm
        beside &= (x < box.left) | (x > box.right) | (y < box.top) | (y > box.bottom)
    return int(beside.sum())


# ---- patch codes -----------------------------------------------------------------------------------------------------


def _patches(maps: Analysis) -> list[Code]:
    """All patch codes along the four edges, each read from its edge inwards."""
    if maps.dpi < LEAST_PATCH_DPI:
        return []
    found = []
    for across in (False, True):
        # one line each millimetre, averaged over it: dust is diluted, bars askew by 15 degrees blur by 0.3 mm only
        grey = cv2.transpose(maps.grey) if across else maps.grey
        lines = grey.shape[0] // _line_px(maps)
        if lines == 0:
            continue
        # whole factors are reduced in a third of the time
        size = (grey.shape[1], lines)
        profile = np.asarray(
            cv2.resize(grey[: lines * _line_px(maps)], size, interpolation=cv2.INTER_AREA), dtype=np.uint8
        )
        ink = _bars(profile, maps)
        for chain in _chains(_hits(ink, maps), maps):
            patch = _patch(chain, ink, maps)
            if patch is not None:
                name, at_start, (start_mm, first_mm, end_mm, last_mm) = patch
                box = Box(first_mm, start_mm, last_mm, end_mm) if across else Box(start_mm, first_mm, end_mm, last_mm)
                edges: tuple[Edge, Edge] = ("bottom", "top") if across else ("right", "left")
                found.append(Code(kind="patch", payload=name, place_mm=box, edge=edges[at_start]))
    return found


def _line_px(maps: Analysis) -> int:
    """How many pixels are averaged to one line, about a millimetre."""
    return max(1, round(maps.px(LINE_MM)))


def _bars(profile: Grey, maps: Analysis) -> npt.NDArray[np.bool_]:
    """Where the lines are ink: below the middle between the lightest and darkest level nearby."""
    window = np.ones((1, round(maps.px(CONTRAST_WINDOW_MM)) | 1), np.uint8)
    lightest, darkest = cv2.dilate(profile, window), cv2.erode(profile, window)
    middle = cv2.addWeighted(lightest, 0.5, darkest, 0.5, 0)
    # where nothing differs there is no bar, but a black lid must not pass for quiet paper
    flat = cv2.subtract(lightest, darkest) < LEAST_CONTRAST
    lid = level_at(profile[:, ::4], 90) / 2
    return np.asarray(profile < np.where(flat, lid, middle), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class _Hit:
    """Four bars in a row on one line that have the widths of a patch code; places in pixels along the line."""

    line: int
    start: int
    end: int
    before: int
    after: int
    wide: tuple[bool, ...]


def _hits(ink: npt.NDArray[np.bool_], maps: Analysis) -> list[_Hit]:
    """Every place on every line where four neighbouring bars and their spaces have a patch code's widths."""
    padded = np.pad(ink, ((0, 0), (1, 1)))
    stride = padded.shape[1]
    edges = np.flatnonzero(np.diff(padded.reshape(-1).view(np.int8)))
    starts, ends = edges[0::2], edges[1::2]
    if len(starts) < 4:
        return []
    line = starts // stride
    bars = (ends - starts).astype(np.float32)
    spaces = (starts[1:] - ends[:-1]).astype(np.float32)
    last = len(starts) - 3
    unit = (ends[3:] - starts[:last]).astype(np.float32) / PATCH_UNITS
    steepest = 1 / math.cos(math.radians(STEEPEST_SKEW_DEG))
    nominal = maps.px(PATCH_DEPTH_MM) / PATCH_UNITS
    fits = (line[:last] == line[3:]) & (unit > nominal * (1 - DEPTH_TOLERANCE))
    fits &= unit < nominal * (1 + DEPTH_TOLERANCE) * steepest
    for i in range(3):
        fits &= np.abs(spaces[i : last + i] / unit - 1) <= SPACE_TOLERANCE_UNITS
    wide = np.zeros((last, 4), np.bool_)
    for i in range(4):
        width = bars[i : last + i] / unit
        wide[:, i] = (width >= WIDE_UNITS[0]) & (width <= WIDE_UNITS[1])
        fits &= wide[:, i] | ((width >= NARROW_UNITS[0]) & (width <= NARROW_UNITS[1]))
    hits = []
    for i in np.flatnonzero(fits).tolist():
        pattern = tuple(bool(w) for w in wide[i])
        if pattern not in PATCHES:
            continue
        row = int(line[i])
        begin, end = row * stride, (row + 1) * stride
        before = int(starts[i] - ends[i - 1]) if i and ends[i - 1] > begin else -1
        after = int(starts[i + 4] - ends[i + 3]) if i + 4 < len(starts) and starts[i + 4] < end else -1
        hits.append(_Hit(row, int(starts[i] - begin), int(ends[i + 3] - begin), before, after, pattern))
    return hits


def _chains(hits: list[_Hit], maps: Analysis) -> Iterator[list[_Hit]]:
    """Hits of one code on neighbouring lines, whose place moves no faster than a skewed sheet lets it."""
    open_chains: list[list[_Hit]] = []
    slack, drift = maps.px(0.8), _line_px(maps) * math.tan(math.radians(STEEPEST_SKEW_DEG))
    for hit in hits:
        still_open = []
        for chain in open_chains:
            if hit.line - chain[-1].line > LARGEST_GAP_LINES:
                yield chain
            else:
                still_open.append(chain)
        open_chains = still_open
        for chain in open_chains:
            gap = hit.line - chain[-1].line
            if gap > 0 and chain[-1].wide == hit.wide and abs(hit.start - chain[-1].start) <= slack + drift * gap:
                chain.append(hit)
                break
        else:
            open_chains.append([hit])
    yield from open_chains


def _patch(chain: list[_Hit], ink: npt.NDArray[np.bool_], maps: Analysis) -> tuple[PatchName, bool, Box] | None:
    """The code that a chain of hits is, whether it lies at the lines' start, and its place; None if it is no patch.

    The place is in mm, along the lines and across them.
    """
    line_mm = _line_px(maps) / maps.px(1.0)
    lines = np.array([hit.line for hit in chain], np.float64) * line_mm
    span_mm = float(lines[-1] - lines[0]) + line_mm
    if span_mm < LEAST_LENGTH_MM * math.cos(math.radians(STEEPEST_SKEW_DEG)) or len(chain) < 3:
        return None
    middles = np.array([hit.start + hit.end for hit in chain]) / (2 * maps.px(1.0))
    slope, level = np.polyfit(lines, middles, 1)
    cosine = 1 / math.hypot(1.0, float(slope))
    depth_mm = float(np.median([hit.end - hit.start for hit in chain])) / maps.px(1.0) * cosine
    # what a turned patch loses at its two slanted ends is given back
    length_mm = span_mm / cosine + abs(float(slope)) * PATCH_DEPTH_MM
    if (
        length_mm < LEAST_LENGTH_MM
        or len(chain) * line_mm < LEAST_LINES_SHARE * span_mm
        or cosine < math.cos(math.radians(STEEPEST_SKEW_DEG))
        or abs(depth_mm / PATCH_DEPTH_MM - 1) > DEPTH_TOLERANCE
        or float(np.std(middles - (slope * lines + level))) > STRAIGHT_WITHIN_MM
    ):
        return None
    start_mm = float(np.median([hit.start for hit in chain])) / maps.px(1.0)
    end_mm = float(np.median([hit.end for hit in chain])) / maps.px(1.0)
    rest_mm = ink.shape[1] / maps.px(1.0) - end_mm
    edge_is_at_start = start_mm < rest_mm
    wide = chain[0].wide if edge_is_at_start else chain[0].wide[::-1]
    unsure = abs(start_mm - rest_mm) < UNSURE_OF_EDGE_MM and wide != wide[::-1]
    if unsure or min(start_mm, rest_mm) > FARTHEST_FROM_EDGE_MM:
        return None
    if not all(_quiet(gaps, maps.px(QUIET_MM)) for gaps in ([h.before for h in chain], [h.after for h in chain])):
        return None
    if any(_goes_on(chain, ink, maps, slope=float(slope), forwards=forwards) for forwards in (False, True)):
        return None
    return PATCHES[wide], edge_is_at_start, Box(start_mm, float(lines[0]), end_mm, float(lines[-1]) + line_mm)


def _goes_on(chain: list[_Hit], ink: npt.NDArray[np.bool_], maps: Analysis, *, slope: float, forwards: bool) -> bool:
    """Whether one of the bars goes on beyond an end of the chain, where a patch's bars all have ended."""
    last = chain[-1] if forwards else chain[0]
    # a turned patch has a slanted end: its bars end one after the other
    slant = math.ceil(abs(slope) * maps.px(PATCH_DEPTH_MM) / _line_px(maps))
    unit = (last.end - last.start) / PATCH_UNITS
    solid = np.ones(4, np.bool_)
    for beyond in range(1, slant + GOES_ON_LINES + 1):
        step = beyond if forwards else -beyond
        line = last.line + step
        if not 0 <= line < len(ink):
            return False
        start = last.start + slope * step * _line_px(maps)
        if ink[line, max(0, round(start)) : max(0, round(start + PATCH_UNITS * unit))].all():
            return False  # bars as wide as the sheet, and the black lid beyond it
        for bar, wide in enumerate(last.wide):
            width = WIDE_BAR_UNITS * unit if wide else unit
            inner = ink[line, max(0, round(start + width / 4)) : max(0, round(start + 3 * width / 4))]
            solid[bar] &= inner.size > 0 and bool(inner.all())
            start += width + unit
    return bool(solid.any())


def _quiet(gaps_px: list[int], least_px: float) -> bool:
    """Whether most lines have that much paper beside the patch; -1 means paper up to the edge of the image."""
    return sum(gap < 0 or gap >= least_px for gap in gaps_px) >= LEAST_LINES_SHARE * len(gaps_px)


# ---- barcodes --------------------------------------------------------------------------------------------------------


def _barcodes(page: PageImage, maps: Analysis, names: tuple[BarcodeName, ...], known: list[Code]) -> list[Code]:
    """All barcodes at the analysis resolution, and at full size those that look like one and could not be read."""
    codes = _read(maps.grey, names, dpi=maps.dpi)
    area_mm2 = 0.0
    for place in _barlike_places(maps, (*known, *codes))[:MOST_CLOSE_LOOKS]:
        if area_mm2 + place.area_mm2 > MOST_CLOSE_LOOK_MM2:
            continue
        area_mm2 += place.area_mm2
        # a neighbour that was read already counts once: two codes on a sheet are two proofs
        codes += [code for code in _close_look(page, maps, place, names) if not any(_is_same(code, c) for c in codes)]
    if not codes and 0 < _letters_beside(known, maps) <= MOST_LETTERS_BESIDE_ONE_CODE:
        # grain hides large modules, as of the house's own QR; in a copy of half the size it does not
        rows, cols = (side // 2 for side in maps.grey.shape)
        if min(rows, cols) > 0:
            half = cv2.resize(maps.grey[: 2 * rows, : 2 * cols], (cols, rows), interpolation=cv2.INTER_AREA)
            codes = _read(np.asarray(half, dtype=np.uint8), names, dpi=maps.dpi / 2)
    return codes


def _is_same(one: Code, other: Code) -> bool:
    return (one.kind, one.payload) == (other.kind, other.payload) and _touch(one.place_mm, other.place_mm)


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in mm that looks like a barcode, and by how much its bars lie askew."""

    box: Box
    turn_deg: float = 0.0

    @property
    def area_mm2(self) -> float:
        return self.box.width * self.box.height


def _close_look(page: PageImage, maps: Analysis, place: _Place, names: tuple[BarcodeName, ...]) -> list[Code]:
    """The barcodes at one place in mm: at full size, then with the bars stood upright, then much reduced."""
    left, top = (max(0, int(page.px(value))) for value in (place.box.left, place.box.top))
    right, bottom = math.ceil(page.px(place.box.right)), math.ceil(page.px(place.box.bottom))
    part = PageImage(pixels=page.pixels[top:bottom, left:right], dpi=page.dpi).grey()
    factor = min(1.0, CLOSE_LOOK_DPI / page.dpi)
    if factor < 1.0:
        part = np.asarray(cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    dpi = page.dpi * factor
    offset_mm = (left / page.px(1.0), top / page.px(1.0))
    codes = _read(part, names, dpi=dpi, offset_mm=offset_mm) if maps.scale > 1.0 else []
    if not codes and abs(place.turn_deg) >= LEAST_TURN_DEG:
        codes = _read_turned(part, place.turn_deg, names, dpi=dpi, offset_mm=offset_mm)
    # bent or smeared bars come together again in a small copy; on whole pages it finds fewer of several codes
    return codes or _read(part, names, dpi=dpi, offset_mm=offset_mm, reduced=True)


def _read_turned(
    part: Grey, turn_deg: float, names: tuple[BarcodeName, ...], *, dpi: float, offset_mm: tuple[float, float]
) -> list[Code]:
    """The barcodes of a part turned back by `turn_deg`, their places told as they lie on the page."""
    rows, cols = part.shape
    turned = cv2.getRotationMatrix2D((cols / 2, rows / 2), -turn_deg, 1.0)
    level = cv2.warpAffine(part, turned, (cols, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    back = np.asarray(cv2.invertAffineTransform(turned), dtype=np.float64)
    return _read(np.asarray(level, dtype=np.uint8), names, dpi=dpi, offset_mm=offset_mm, to_part=back)


def _read(
    grey: Grey,
    names: tuple[BarcodeName, ...],
    *,
    dpi: float,
    offset_mm: tuple[float, float] = (0.0, 0.0),
    to_part: npt.NDArray[np.float64] | None = None,
    reduced: bool = False,
) -> list[Code]:
    """The barcodes on one image, by zxing-cpp; `to_part` maps its places to those from which `offset_mm` is counted."""
    by_format = {FORMATS[name]: name for name in names}
    read = zxingcpp.read_barcodes(
        np.ascontiguousarray(grey),
        formats=zxingcpp.BarcodeFormats(list(by_format)),
        try_downscale=reduced,
        try_invert=False,
        text_mode=zxingcpp.TextMode.Plain,
    )
    per_mm = dpi / MM_PER_INCH
    codes = []
    for barcode in read[:MOST_CODES]:
        place = barcode.position
        corners = np.array(
            [
                (corner.x, corner.y)
                for corner in (place.top_left, place.top_right, place.bottom_left, place.bottom_right)
            ],
            np.float64,
        )
        if to_part is not None:
            corners = corners @ to_part[:, :2].T + to_part[:, 2]
        xs, ys = (corners / per_mm + offset_mm).T.tolist()
        kind = by_format.get(barcode.symbology)
        if barcode.valid and kind is not None:
            box = Box(min(xs), min(ys), max(xs), max(ys))
            codes.append(Code(kind=kind, payload=_harmless(barcode.text), place_mm=box))
    return codes


def _harmless(payload: str) -> str:
    """The payload without characters that a terminal, a log or a page of the console would act on."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        else letter
        for letter in payload
    )


def _barlike_places(maps: Analysis, known: Iterable[Code]) -> list[_Place]:
    """Places in mm that have the texture of a barcode and are none of the codes `known`, the largest first."""
    smooth = np.asarray(cv2.blur(maps.grey, (GRAIN_PX, GRAIN_PX)), dtype=np.uint8)
    if min(smooth.shape) <= 2 * TILE_PX:
        return []
    sideways, downwards = _steepness(smooth)
    tile_mm = TILE_PX / maps.px(1.0)
    sharp = _steepness(maps.grey)  # the modules of a fine matrix code would be smoothed away
    read_lines = []
    for code in known:
        left, top, right, bottom = (max(0, int(value / tile_mm)) for value in code.place_mm)
        if code.kind in LINEAR:
            # its place is the lines that were read, and bars above and below them are the same code
            read_lines.append(
                (min((top + bottom) // 2, sideways.shape[0] - 1), min((left + right) // 2, sideways.shape[1] - 1))
            )
        else:
            for steepness in (sideways, downwards, *sharp):
                steepness[top : bottom + 1, left : right + 1] = 0
    sideways_bars = (sideways > EDGE_LEVELS) & (downwards < BAR_RATIO * sideways)
    level_bars = (downwards > EDGE_LEVELS) & (sideways < BAR_RATIO * downwards)
    matrix = (sharp[0] > MATRIX_LEVELS) & (sharp[1] > MATRIX_LEVELS)
    places = []
    for mask, bars in ((sideways_bars, True), (level_bars, True), (matrix, False)):
        # opening drops lines of text, which are as dense but lower than a code
        solid = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        if bars:
            solid = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((JOIN_TILES, JOIN_TILES), np.uint8))
        _, labels, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
        read = {int(labels[place]) for place in read_lines}
        for label, tiles in enumerate(stats.tolist()):
            left, top, width, height = tiles[:4]
            longer, shorter = max(width, height) * tile_mm, min(width, height) * tile_mm
            if label == 0 or label in read:
                continue
            if bars and (longer < LEAST_BARS_MM[0] or shorter < LEAST_BARS_MM[1]):
                continue
            if not bars and not (MATRIX_MM[0] <= shorter and longer <= min(MATRIX_MM[1], MATRIX_ASPECT * shorter)):
                continue
            turn_deg = 0.0
            if bars:
                here = labels[top : top + height, left : left + width] == label
                where = here.repeat(TILE_PX, axis=0).repeat(TILE_PX, axis=1)
                part = smooth[top * TILE_PX :, left * TILE_PX :][: where.shape[0], : where.shape[1]]
                turn_deg = _turn_of_bars_deg(part, where)
            margin = CLOSE_LOOK_MARGIN_MM
            right, bottom = left + width, top + height
            box = Box(*(value * tile_mm for value in (left, top, right, bottom)))
            box = Box(box.left - margin, box.top - margin, box.right + margin, box.bottom + margin)
            places.append(_Place(box, turn_deg))
    return sorted(places, key=lambda place: -place.area_mm2)


def _steepness(grey: Grey) -> tuple[Grey, Grey]:
    """How strongly neighbours differ sideways and downwards, on the mean of each whole tile."""
    rows, cols = ((side - 1) // TILE_PX for side in grey.shape)
    here = grey[: rows * TILE_PX, : cols * TILE_PX]
    right = grey[: rows * TILE_PX, 1 : cols * TILE_PX + 1]
    below = grey[1 : rows * TILE_PX + 1, : cols * TILE_PX]
    sideways = cv2.resize(cv2.absdiff(here, right), (cols, rows), interpolation=cv2.INTER_AREA)
    downwards = cv2.resize(cv2.absdiff(here, below), (cols, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(sideways, dtype=np.uint8), np.asarray(downwards, dtype=np.uint8)


def _turn_of_bars_deg(grey: Grey, where: npt.NDArray[np.bool_]) -> float:
    """By how much the bars `where` lie askew from plumb or level, counter-clockwise; 0 where they have no direction."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0)[where]
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1)[where]
    xx, yy, xy = (float(np.vdot(a, b)) for a, b in ((across, across), (down, down), (across, down)))
    strength = math.hypot(xx - yy, 2 * xy)
    if strength < LEAST_COHERENCE * (xx + yy) or strength == 0.0:
        return 0.0
    # rows count downwards, so a gradient that points down to the right is turned clockwise
    gradient_deg = -math.degrees(math.atan2(2 * xy, xx - yy)) / 2
    return (gradient_deg + 45.0) % 90.0 - 45.0


def _touch(one: Box, other: Box) -> bool:
    beside = one.right < other.left or other.right < one.left
    return not (beside or one.bottom < other.top or other.bottom < one.top)
