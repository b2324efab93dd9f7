"""Read what parts a stack of sheets: patch codes along the edges, and barcodes that name a work order or a break."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import zxingcpp
from pydantic import field_validator

from stages.analysis import Analysis, analysis_of
from stages.page_image import MM_PER_INCH, Box, PageImage
from stages.settings import StageSettings

Grey = npt.NDArray[np.uint8]
BarcodeName = Literal["qr", "code-128", "code-39", "data-matrix"]
PatchName = Literal["1", "2", "3", "4", "6", "T"]

FORMATS: dict[BarcodeName, zxingcpp.BarcodeFormat] = {
    "qr": zxingcpp.BarcodeFormat.QRCode,
    "code-128": zxingcpp.BarcodeFormat.Code128,
    "code-39": zxingcpp.BarcodeFormat.Code39,
    "data-matrix": zxingcpp.BarcodeFormat.DataMatrix,
}

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
LARGEST_GAP_LINES = 3
STRAIGHT_WITHIN_MM = 0.5
# The specification asks for 0.25 in on both sides; Kodak's own A4 sheet has a thin line 3 mm inside its left patch.
QUIET_MM = 2.7
LEAST_CONTRAST = 40  # levels between bar and paper; the palest paper sold for patch sheets gives twice that
CONTRAST_WINDOW_MM = 8.0  # wider than a wide bar, so that every window over a patch holds bar and space
LEAST_PATCH_DPI = 60.0  # a narrow bar of five pixels

# A bar-like place: neighbours differ strongly in one direction and hardly in the other; a matrix code: in both
TILE_PX = 8
EDGE_LEVELS = 22
BAR_RATIO = 0.45  # tangent of 24 degrees: bars that lie askew by 15 degrees with their blur
JOIN_TILES = 7  # 9.5 mm: the widest bar of a large code
LEAST_BARS_MM = (15.0, 4.0)
MATRIX_MM = (4.0, 30.0)  # larger ones have modules that show at the analysis resolution; print in bold would cost time
MOST_CLOSE_LOOKS = 4
CLOSE_LOOK_DPI = 300.0
CLOSE_LOOK_MARGIN_MM = 5.0
MOST_CLOSE_LOOK_MM2 = 20000.0  # a third of a letter page: 20 ms

LONGEST_PAYLOAD = 200
MOST_CODES = 50
# A separator sheet carries a title and a few lines; ours have 120 letters. Above this the sheet may be a page of the
# record on which a code was stuck or printed, and one code alone does not make it vanish from the delivery.
MOST_LETTERS_BESIDE_ONE_CODE = 250
LETTER_MM = (0.7, 9.0)

LINE_MM = 1.0


class Settings(StageSettings):
    """Which codes are read, and which of them part documents.

    `separator_barcodes` and `ticket_pattern` are regular expressions on the payload; the ticket's has a group `number`
    and may have a group `box`.
    """

    barcode_formats: tuple[BarcodeName, ...] = ("qr", "code-128", "code-39", "data-matrix")
    patches: bool = True
    separator_patches: tuple[PatchName, ...] = ("2", "3", "T")
    separator_barcodes: tuple[str, ...] = (r"^PLATEN:DOCUMENT$", r"^PATCHT$|^PATCH ?T$")
    ticket_pattern: str = r"^PLATEN:ORDER:(?P<number>[A-Za-z0-9_.-]{1,40})(;BOX:(?P<box>.{1,40}))?$"

    @field_validator("separator_barcodes")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """One code on the sheet: `kind` is `patch` or a barcode's name; `place_mm` is measured from the page's top left."""

    kind: str
    payload: str
    place_mm: Box

    @property
    def name(self) -> str:
        """As it stands in the readings: `patch-T`, `qr:PLATEN:DOCUMENT`."""
        return f"patch-{self.payload}" if self.kind == "patch" else f"{self.kind}:{self.payload[:LONGEST_PAYLOAD]}"


def separators(page: PageImage, settings: Settings) -> PageImage:
    """Read the page's patch codes and barcodes, and say whether the sheet parts documents or names a work order.

    Pixels stay. Readings: `separators.found`, the codes as `patch-T` or `qr:PAYLOAD`; `separators.places_mm`, four
    numbers a code (left, top, right, bottom); `separators.separator`; `separators.ticket` and `separators.box`, empty
    if none; `separators.doubt`, why a sheet that bears such a code was not taken for what it says, empty if there is
    no doubt.
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
        separator=verdict.separator,
        ticket=verdict.ticket,
        box=verdict.box,
        doubt=verdict.doubt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    separator: bool = False
    ticket: str = ""
    box: str = ""
    doubt: str = ""


def _verdict(codes: list[Code], maps: Analysis, settings: Settings, *, is_size_sure: bool) -> _Verdict:
    patches = Counter(code.payload for code in codes if code.kind == "patch")
    ranked = patches.most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        return _Verdict(doubt=f"patch codes {ranked[0][0]} and {ranked[1][0]} contradict each other")
    read = {code.payload: match for code in codes if (match := _ticket(code, settings))}
    tickets = {(match["number"], match.groupdict().get("box") or "") for match in read.values()}
    if len(tickets) > 1:
        return _Verdict(doubt="two tickets on one sheet name different orders or boxes")
    barcode_proofs = sum(_parts(code, settings) for code in codes)
    patch_proofs = ranked[0][1] if ranked and ranked[0][0] in settings.separator_patches else 0
    proofs = barcode_proofs + patch_proofs
    ticket_proofs = sum(code.payload in read for code in codes)
    if max(proofs, ticket_proofs) == 0:
        return _Verdict()
    if max(proofs, ticket_proofs) == 1 and _letters_beside(codes, maps) > MOST_LETTERS_BESIDE_ONE_CODE:
        return _Verdict(doubt="the sheet bears one code among much other print")
    if patch_proofs and not barcode_proofs and not is_size_sure:
        # the size is a good part of what makes four bars a patch
        return _Verdict(doubt="a patch was read, but the file states no resolution")
    number, box = next(iter(tickets), ("", ""))
    return _Verdict(separator=proofs > 0, ticket=number, box=box)


def _parts(code: Code, settings: Settings) -> bool:
    return code.kind != "patch" and any(_compiled(p).search(code.payload) for p in settings.separator_barcodes)


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
        grey = np.ascontiguousarray(maps.grey.T) if across else maps.grey
        lines = max(1, round(grey.shape[0] / maps.px(LINE_MM)))
        profile = np.asarray(cv2.resize(grey, (grey.shape[1], lines), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        hits = _hits(_bars(profile, maps), maps)
        for chain in _chains(hits, maps):
            patch = _patch(chain, maps, length_px=grey.shape[1])
            if patch is not None:
                name, (start_mm, first_mm, end_mm, last_mm) = patch
                box = Box(first_mm, start_mm, last_mm, end_mm) if across else Box(start_mm, first_mm, end_mm, last_mm)
                found.append(Code(kind="patch", payload=name, place_mm=box))
    return found


def _bars(profile: Grey, maps: Analysis) -> npt.NDArray[np.bool_]:
    """Where the lines are ink: below the middle between the lightest and darkest level nearby."""
    window = np.ones((1, round(maps.px(CONTRAST_WINDOW_MM)) | 1), np.uint8)
    lightest, darkest = cv2.dilate(profile, window), cv2.erode(profile, window)
    middle = cv2.addWeighted(lightest, 0.5, darkest, 0.5, 0)
    # where nothing differs there is no bar, but a black lid must not pass for quiet paper
    flat = cv2.subtract(lightest, darkest) < LEAST_CONTRAST
    lid = float(np.percentile(profile[:, ::4], 90)) / 2
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
    slack, drift = maps.px(0.8), maps.px(LINE_MM) * math.tan(math.radians(STEEPEST_SKEW_DEG))
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


def _patch(chain: list[_Hit], maps: Analysis, *, length_px: int) -> tuple[PatchName, Box] | None:
    """The code that a chain of hits is, and its place in mm along and across the lines; None if it is no patch."""
    lines = np.array([hit.line for hit in chain], np.float64) * LINE_MM
    span_mm = float(lines[-1] - lines[0]) + LINE_MM
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
        or len(chain) * LINE_MM < LEAST_LINES_SHARE * span_mm
        or cosine < math.cos(math.radians(STEEPEST_SKEW_DEG))
        or abs(depth_mm / PATCH_DEPTH_MM - 1) > DEPTH_TOLERANCE
        or float(np.std(middles - (slope * lines + level))) > STRAIGHT_WITHIN_MM
    ):
        return None
    start_mm = float(np.median([hit.start for hit in chain])) / maps.px(1.0)
    end_mm = float(np.median([hit.end for hit in chain])) / maps.px(1.0)
    rest_mm = length_px / maps.px(1.0) - end_mm
    edge_is_at_start = start_mm < rest_mm
    wide = chain[0].wide if edge_is_at_start else chain[0].wide[::-1]
    unsure = abs(start_mm - rest_mm) < UNSURE_OF_EDGE_MM and wide != wide[::-1]
    if unsure or min(start_mm, rest_mm) > FARTHEST_FROM_EDGE_MM:
        return None
    if not all(_quiet(gaps, maps.px(QUIET_MM)) for gaps in ([h.before for h in chain], [h.after for h in chain])):
        return None
    return PATCHES[wide], Box(start_mm, float(lines[0]), end_mm, float(lines[-1]) + LINE_MM)


def _quiet(gaps_px: list[int], least_px: float) -> bool:
    """Whether most lines have that much paper beside the patch; -1 means paper up to the edge of the image."""
    return sum(gap < 0 or gap >= least_px for gap in gaps_px) >= LEAST_LINES_SHARE * len(gaps_px)


# ---- barcodes --------------------------------------------------------------------------------------------------------


def _barcodes(page: PageImage, maps: Analysis, names: tuple[BarcodeName, ...], known: list[Code]) -> list[Code]:
    """All barcodes at the analysis resolution, and at full size those that look like one and could not be read."""
    codes = _read(maps.grey, names, dpi=maps.dpi, offset_mm=(0.0, 0.0))
    if maps.scale <= 1.0:
        return codes
    taken = [code.place_mm for code in (*known, *codes)]
    area_mm2 = 0.0
    for box in _barlike_places(maps, taken)[:MOST_CLOSE_LOOKS]:
        if area_mm2 + box.width * box.height > MOST_CLOSE_LOOK_MM2:
            continue
        area_mm2 += box.width * box.height
        codes += _close_look(page, box, names)
    return codes


def _close_look(page: PageImage, box: Box, names: tuple[BarcodeName, ...]) -> list[Code]:
    left, top = (max(0, int(page.px(value))) for value in (box.left, box.top))
    right, bottom = math.ceil(page.px(box.right)), math.ceil(page.px(box.bottom))
    part = PageImage(pixels=page.pixels[top:bottom, left:right], dpi=page.dpi).grey()
    factor = min(1.0, CLOSE_LOOK_DPI / page.dpi)
    if factor < 1.0:
        part = np.asarray(cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return _read(part, names, dpi=page.dpi * factor, offset_mm=(left / page.px(1.0), top / page.px(1.0)))


def _read(grey: Grey, names: tuple[BarcodeName, ...], *, dpi: float, offset_mm: tuple[float, float]) -> list[Code]:
    """The barcodes on one image, by zxing-cpp."""
    by_format = {FORMATS[name]: name for name in names}
    read = zxingcpp.read_barcodes(
        np.ascontiguousarray(grey),
        formats=zxingcpp.BarcodeFormats(list(by_format)),
        # a second look at half size doubles the time, and found fewer of several codes on one sheet
        try_downscale=False,
        try_invert=False,
        text_mode=zxingcpp.TextMode.Plain,
    )
    per_mm = dpi / MM_PER_INCH
    codes = []
    for barcode in read[:MOST_CODES]:
        place = barcode.position
        corners = (place.top_left, place.top_right, place.bottom_left, place.bottom_right)
        xs = [corner.x / per_mm + offset_mm[0] for corner in corners]
        ys = [corner.y / per_mm + offset_mm[1] for corner in corners]
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


def _barlike_places(maps: Analysis, taken: list[Box]) -> list[Box]:
    """Places in mm that have the texture of a barcode and lie outside `taken`, the largest first."""
    grey = maps.grey
    size = (grey.shape[1] // TILE_PX, grey.shape[0] // TILE_PX)
    if min(size) < 2:
        return []
    sideways = cv2.resize(cv2.absdiff(grey[:-1, 1:], grey[:-1, :-1]), size, interpolation=cv2.INTER_AREA)
    downwards = cv2.resize(cv2.absdiff(grey[1:, :-1], grey[:-1, :-1]), size, interpolation=cv2.INTER_AREA)
    tile_mm = grey.shape[1] / size[0] / maps.px(1.0)
    sideways_bars = (sideways > EDGE_LEVELS) & (downwards < BAR_RATIO * sideways)
    level_bars = (downwards > EDGE_LEVELS) & (sideways < BAR_RATIO * downwards)
    matrix = (sideways > EDGE_LEVELS) & (downwards > EDGE_LEVELS)
    places = []
    for mask, bars in ((sideways_bars, True), (level_bars, True), (matrix, False)):
        # opening drops lines of text, which are as dense but lower than a code
        solid = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        if bars:
            solid = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((JOIN_TILES, JOIN_TILES), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
        for left, top, width, height, _ in np.asarray(stats[1:], np.float64) * tile_mm:
            longer, shorter = max(width, height), min(width, height)
            if bars and (longer < LEAST_BARS_MM[0] or shorter < LEAST_BARS_MM[1]):
                continue
            if not bars and not MATRIX_MM[0] <= shorter <= longer <= MATRIX_MM[1]:
                continue
            place = Box(left, top, left + width, top + height)
            if not any(_touch(place, box) for box in taken):
                margin = CLOSE_LOOK_MARGIN_MM
                places.append(Box(left - margin, top - margin, place.right + margin, place.bottom + margin))
    return sorted(places, key=lambda box: -box.width * box.height)


def _touch(one: Box, other: Box) -> bool:
    beside = one.right < other.left or other.right < one.left
    return not (beside or one.bottom < other.top or other.bottom < one.top)
