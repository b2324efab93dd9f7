"""The targets of a roll: the pages before, between and after the records that say what roll it is and how it was made.

Sources: 36 CFR 1238.12 and the state rules named in `docs/film.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from stages.film_sheet import CHECK_PX, MARGIN_MM, QR_MM, SMALL_MM, TEXT_MM, Sheet
from stages.page_image import MM_PER_INCH, PageImage

LETTER_MM_ON_FILM = 2.0  # readable without a magnifier (MS23 practice)
MAX_QR_LETTERS = 64  # a field, so that modules stay large; a SHA-256 has just as many
INDEX_TOP_MM = MARGIN_MM + 22.5
INDEX_ROW_MM = 4.9
POSTER_FIELDS_MM = 85.0
OVERSHOOT = 0.03  # of its height an S rises above an H; a little more, so that it keeps the margin
BAR_WIDTHS_PX = (1, 2, 3, 4, 5, 6)
DISCLAIMER_RESOLUTION = (
    "Computer-made patterns of bars that are a whole number of pixels wide. This is NOT an ISO 3334 test chart and no "
    "resolution of the film may be certified from it: it shows whether writer and film keep the pixels apart."
)
DISCLAIMER_DENSITY = (
    "A computer-made page, not a photographed one: it shows what the writer makes of no ink, full ink and half ink. "
    "Measure background density on the white patch."
)
STATEMENT = (
    "The frames of this roll reproduce the documents named here, each of them whole and in the order given. The digest "
    "printed below is taken over the images that were sent to the film writer; no page was added or left out, and grey "
    "and colour pages were made black and white for the film."
)


class Target(StrEnum):
    """Exposures that are no page; the value is the code in file names and in `frames.csv`."""

    START = "START"
    DENSITY = "DENS"
    RESOLUTION = "RES"
    ROLL_ID = "ROLLID"
    CONTINUED_FROM = "CONTFROM"
    INDEX = "INDEX"
    CERTIFICATE = "CERT"
    CONTINUED_ON = "CONTON"
    END = "END"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollFacts:
    """What the targets of a roll say. What is empty is left out."""

    roll_number: str
    roll_index: int = 1
    roll_count: int = 1
    work_order: str = ""
    customer: str = ""
    agency: str = ""
    sub_unit: str = ""
    series: str = ""
    title: str = ""
    schedule_item: str = ""
    retention_code: str = ""
    classification: str = ""
    dates: str = ""
    first_document: str = ""
    last_document: str = ""
    documents: int = 0
    pages: int = 0
    frames: int = 0
    film_mm: int = 16
    film_ft: float = 100.0
    reduction: float = 24.0
    orientation: str = "comic"
    format: str = "simplex"
    dpi: float = 300.0
    operator: str = ""
    authority: str = ""
    filmed_on: str = ""
    statement: str = STATEMENT
    content_sha256: str = ""
    continued_from: str = ""
    continued_on: str = ""
    software: str = "Platen"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One document on an INDEX target."""

    document_id: str
    title: str = ""
    pages: int = 0
    first_frame: int = 0
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPart:
    """The documents of one INDEX frame, the `number`th of `count`."""

    rows: Sequence[IndexRow] = field(default=())
    number: int = 1
    count: int = 1


def target_page(
    target: Target,
    roll: RollFacts,
    *,
    dpi: float = 300.0,
    width_in: float = 8.5,
    height_in: float = 11.0,
    index: IndexPart | None = None,
) -> PageImage:
    """Draw a target as a bitonal page.

    Every target bears a QR code with the same fields as JSON, so that a frame scanned back from film can be matched.
    """
    sheet = Sheet(dpi, width_in, height_in)
    match target:
        case Target.START | Target.END:
            _poster(sheet, roll, target)
        case Target.DENSITY:
            _density(sheet, roll)
        case Target.RESOLUTION:
            _resolution(sheet, roll)
        case Target.ROLL_ID:
            _roll_id(sheet, roll)
        case Target.INDEX:
            _index(sheet, roll, index or IndexPart())
        case Target.CERTIFICATE:
            _certificate(sheet, roll)
        case Target.CONTINUED_FROM | Target.CONTINUED_ON:
            _continued(sheet, roll, target)
    return PageImage(pixels=sheet.pixels(), dpi=dpi)


def index_rows_a_page(*, width_in: float = 8.5, height_in: float = 11.0) -> int:
    """How many documents one INDEX target lists."""
    sheet = Sheet(100, width_in, height_in)
    return max(1, int((sheet.foot_mm - INDEX_TOP_MM) / INDEX_ROW_MM))


def _identity(roll: RollFacts, target: Target, **more: str | int) -> dict[str, str | int]:
    """What every QR code says, and what this target says besides."""
    fields: dict[str, str | int] = {
        "platen": "target",
        "code": str(target),
        "roll": roll.roll_number,
        "of": f"{roll.roll_index}/{roll.roll_count}",
        "order": roll.work_order,
        "customer": roll.customer,
        **more,
    }
    # clipped, because a QR code of many small modules no longer reads from film
    return {
        key: value[:MAX_QR_LETTERS] if isinstance(value, str) else value for key, value in fields.items() if value != ""
    }


def _poster(sheet: Sheet, roll: RollFacts, target: Target) -> None:
    """START and END: two lines to be read on the film without a magnifier, then what roll it is."""
    wanted_mm = LETTER_MM_ON_FILM * roll.reduction
    gap_mm = 9.0
    # below the letters stay the fields and the code; at great reductions that is what limits the letters
    letter_mm = min(wanted_mm / sheet.unit, (sheet.height_mm - 2 * MARGIN_MM - POSTER_FIELDS_MM - 2 * gap_mm) / 2)
    top = MARGIN_MM + OVERSHOOT * letter_mm
    for line in (str(target), roll.roll_number):
        sheet.letters(line, top, letter_mm)
        top += letter_mm + gap_mm
    sheet.rule(top, thick_mm=1.2)
    on_film = letter_mm * sheet.unit / roll.reduction
    sheet.fields(
        [
            ("Roll", f"{roll.roll_index} of {roll.roll_count}"),
            ("Work order", roll.work_order),
            ("Customer", roll.customer),
            ("Agency", roll.agency),
            ("Series", roll.series),
            ("Frames", f"{roll.frames:,}, targets included"),
            ("Film", _film(roll)),
        ],
        top + 5,
        label_mm=30,
        width_mm=sheet.text_mm - QR_MM - 8,
        until_mm=sheet.height_mm - MARGIN_MM - 14,
    )
    words = "End of roll" if target is Target.END else "Start of roll"
    _foot(
        sheet,
        roll,
        f"{words} · letters {on_film:.1f} mm high on film",
        _identity(roll, target, series=roll.series, frames=roll.frames, reduction=f"{roll.reduction:g}"),
    )


def _roll_id(sheet: Sheet, roll: RollFacts) -> None:
    top = sheet.head("Roll identification", roll.roll_number)
    sheet.fields(
        [
            ("Agency", roll.agency),
            ("Unit", roll.sub_unit),
            ("Series", roll.series),
            ("Title", roll.title),
            ("Schedule item", roll.schedule_item),
            ("Retention", roll.retention_code),
            ("Classification", roll.classification),
            ("Dates", roll.dates),
            ("First document", roll.first_document),
            ("Last document", roll.last_document),
            ("Documents", f"{roll.documents:,}, with {roll.pages:,} pages"),
            ("Roll", f"{roll.roll_index} of {roll.roll_count}"),
            ("Continued from", roll.continued_from),
            ("Continued on", roll.continued_on),
            ("Film", _film(roll)),
            ("Images", f"{roll.orientation}, {roll.format}, {roll.dpi:g} dpi"),
            ("Work order", roll.work_order),
            ("Customer", roll.customer),
            ("Authority", roll.authority),
            ("Filmed", roll.filmed_on),
        ],
        top + 4,
        label_mm=42,
        width_mm=sheet.text_mm,
        until_mm=sheet.foot_mm,
    )
    _foot(
        sheet,
        roll,
        "Titling target",
        _identity(
            roll,
            Target.ROLL_ID,
            agency=roll.agency,
            series=roll.series,
            item=roll.schedule_item,
            dates=roll.dates,
            first=roll.first_document,
            last=roll.last_document,
            reduction=f"{roll.reduction:g}",
            film=f"{roll.film_mm}x{roll.film_ft:g}",
            images=f"{roll.orientation}/{roll.format}/{roll.dpi:g}",
        ),
    )


def _density(sheet: Sheet, roll: RollFacts) -> None:
    top = sheet.head("Density target", roll.roll_number)
    label_mm = 8.0
    patch_mm = (sheet.foot_mm - top - 4) / 3 - label_mm - 4
    for name, kind in (
        ("White: no ink", 0),
        (f"Half: checks of {CHECK_PX} pixels, 50 % ink", 1),
        ("Black: full ink", 2),
    ):
        top += 4
        sheet.text(name, MARGIN_MM, top, TEXT_MM, bold=True)
        sheet.patch(kind, top + label_mm, patch_mm)
        top += label_mm + patch_mm
    _foot(sheet, roll, DISCLAIMER_DENSITY, _identity(roll, Target.DENSITY, patches="0/50/100", check_px=CHECK_PX))


def _resolution(sheet: Sheet, roll: RollFacts) -> None:
    top = sheet.head("Resolution target (synthetic)", roll.roll_number)
    label_mm, gap_mm = 42.0, 3.0
    row_mm = (sheet.foot_mm - top - 11) / len(BAR_WIDTHS_PX)
    block_mm = (sheet.text_mm - label_mm) / 3
    side_mm = min((block_mm - 2 * gap_mm) / 2, row_mm - gap_mm)
    for column, name in enumerate(("left", "middle", "right")):
        sheet.text(name, MARGIN_MM + label_mm + column * block_mm, top + 3, SMALL_MM)
    top += 9
    for bar_px in BAR_WIDTHS_PX:
        on_page = sheet.dpi / MM_PER_INCH / (2 * bar_px)
        sheet.text(f"{on_page:.2f} lp/mm", MARGIN_MM, top + 2, 5.2, bold=True)
        sheet.text(f"bars of {bar_px} px", MARGIN_MM, top + 9.5, SMALL_MM)
        sheet.text(f"{on_page * roll.reduction:.0f} lp/mm on film", MARGIN_MM, top + 14.5, SMALL_MM)
        for column in range(3):
            left = MARGIN_MM + label_mm + column * block_mm
            sheet.bars(bar_px, left, top, side_mm, upright=True)
            sheet.bars(bar_px, left + side_mm + gap_mm, top, side_mm, upright=False)
        top += row_mm
    _foot(
        sheet,
        roll,
        DISCLAIMER_RESOLUTION,
        _identity(
            roll,
            Target.RESOLUTION,
            dpi=f"{sheet.dpi:g}",
            bars_px="/".join(map(str, BAR_WIDTHS_PX)),
            reduction=f"{roll.reduction:g}",
        ),
    )


def _certificate(sheet: Sheet, roll: RollFacts) -> None:
    top = sheet.head("Certificate of authenticity", roll.roll_number)
    top = sheet.paragraph(roll.statement, MARGIN_MM, top + 6, 4.8, sheet.text_mm) + 5
    top = sheet.fields(
        [
            ("Agency", roll.agency),
            ("Series", roll.series),
            ("Dates", roll.dates),
            ("Schedule item", roll.schedule_item),
            ("Work order", roll.work_order),
            ("First document", roll.first_document),
            ("Last document", roll.last_document),
            ("Documents", f"{roll.documents:,}, with {roll.pages:,} pages"),
            ("Frames", f"{roll.frames:,}, targets included"),
            ("Authority", roll.authority),
            ("Filmed", roll.filmed_on),
        ],
        top,
        label_mm=42,
        width_mm=sheet.text_mm,
        until_mm=sheet.foot_mm - 46,
    )
    sheet.text("SHA-256 over the digests of the page frames, in order", MARGIN_MM, sheet.foot_mm - 43, SMALL_MM)
    digest = roll.content_sha256
    for row, part in enumerate((digest[:32], digest[32:])):
        grouped = " ".join(part[at : at + 8] for at in range(0, len(part), 8))
        sheet.text(grouped, MARGIN_MM, sheet.foot_mm - 38 + 6 * row, TEXT_MM, mono=True)
    half_mm = (sheet.text_mm - 8) / 2
    line_mm = sheet.foot_mm - 8
    for left, caption in ((MARGIN_MM, "Operator"), (MARGIN_MM + half_mm + 8, "Signature and date")):
        sheet.rule(line_mm, left_mm=left, width_mm=half_mm)
        sheet.text(caption, left, line_mm + 1.5, SMALL_MM)
    sheet.text(roll.operator, MARGIN_MM, line_mm - 7, 5.2, bold=True, width_mm=half_mm)
    _foot(
        sheet,
        roll,
        "Certificate",
        _identity(roll, Target.CERTIFICATE, documents=roll.documents, frames=roll.frames, sha256=roll.content_sha256),
    )


def _continued(sheet: Sheet, roll: RollFacts, target: Target) -> None:
    onward = target is Target.CONTINUED_ON
    top = sheet.head("Continued", roll.roll_number)
    other = roll.continued_on if onward else roll.continued_from
    document = roll.last_document if onward else roll.first_document
    letter_mm = 20.0
    for line in ("CONTINUED", "ON ROLL" if onward else "FROM ROLL"):
        sheet.letters(line, top + 12, letter_mm)
        top += letter_mm + 10
    sheet.letters(other, top + 16, 40.0)
    sheet.fields(
        [("Document", document), ("Series", roll.series), ("Work order", roll.work_order)],
        top + 70,
        label_mm=42,
        width_mm=sheet.text_mm,
        until_mm=sheet.foot_mm,
    )
    _foot(
        sheet,
        roll,
        f"This document goes on at the beginning of roll {other}" if onward else f"This document began on roll {other}",
        _identity(roll, target, other=other, document=document),
    )


def _index(sheet: Sheet, roll: RollFacts, part: IndexPart) -> None:
    top = sheet.head(f"Index {part.number} of {part.count}", roll.roll_number)
    right = MARGIN_MM + sheet.text_mm
    # (heading, left edge or right edge, whether it is the right one, width)
    columns = (
        ("Frame", MARGIN_MM + 15, True, 15.0),
        ("Address", MARGIN_MM + 19, False, 26.0),
        ("Document", MARGIN_MM + 47, False, 44.0),
        ("Title", MARGIN_MM + 93, False, right - 14 - (MARGIN_MM + 93)),
        ("Pages", right, True, 12.0),
    )
    for heading, at, from_right, width in columns:
        sheet.text(heading, at, top + 3.5, 3.2, bold=True, width_mm=width, from_right=from_right)
    sheet.rule(INDEX_TOP_MM - 1.8, thick_mm=0.25)
    for number, row in enumerate(part.rows):
        y = INDEX_TOP_MM + number * INDEX_ROW_MM
        cells = (str(row.first_frame), row.address, row.document_id, row.title, str(row.pages))
        for cell, (_, at, from_right, width) in zip(cells, columns, strict=True):
            sheet.text(cell, at, y, SMALL_MM, width_mm=width, from_right=from_right)
    listed = f"{len(part.rows)} of the roll's {roll.documents} documents"
    _foot(
        sheet,
        roll,
        f"Index of documents by frame on this roll · {listed}",
        _identity(
            roll,
            Target.INDEX,
            part=f"{part.number}/{part.count}",
            first=part.rows[0].document_id if part.rows else "",
            last=part.rows[-1].document_id if part.rows else "",
        ),
    )


def _foot(sheet: Sheet, roll: RollFacts, note: str, fields: Mapping[str, str | int]) -> None:
    words = [f"{roll.roll_number}, roll {roll.roll_index} of {roll.roll_count}", roll.work_order, roll.software]
    about = " · ".join(word for word in words if word)
    sheet.foot(note, f"{about} · a target, not a record", fields)


def _film(roll: RollFacts) -> str:
    return f"{roll.film_mm} mm, {roll.film_ft:g} ft, reduction {roll.reduction:g}x"
