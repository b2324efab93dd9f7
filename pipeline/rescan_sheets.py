"""Rescan sheets, printed for pages that wait for a new scan."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.bureau import Bureau
from pipeline.ledger import AWAITING_RESCAN
from pipeline.model import Hold, PageId
from pipeline.pictures import Edge, picture_of_scan
from pipeline.review import HELD_BECAUSE, CannotDecide
from stages.errors import Refusal
from stages.page_image import PageImage
from stages.printed_document import write_printed_pdf
from stages.sheets import GreyPixels, RescanCode, rescan_sheet
from stages.xmp import DocumentMetadata

log = logging.getLogger(__name__)

SHEET_DPI = 300.0


def write_rescan_sheets(bureau: Bureau, holds: Sequence[Hold], out: Path) -> None:
    """Write a sheet for each page that waits for a new scan as a PDF to print.

    Raises:
        CannotDecide: one of them is no page, waits for no scan, or its order's number cannot stand on a sheet.
    """
    metadata = DocumentMetadata(title="Rescan sheets", created=datetime.now(UTC), page_count=len(holds))
    write_printed_pdf([_sheet(bureau, hold) for hold in holds], out, metadata)


def _sheet(bureau: Bureau, hold: Hold) -> PageImage:
    if hold.page_id is None or hold.order is None or hold.code != AWAITING_RESCAN:
        raise CannotDecide(f"Number {hold.id} waits for no new scan. Ask for one first: platen held rescan {hold.id}")
    try:
        pixels = rescan_sheet(
            RescanCode(hold.id, hold.order),
            page=f"Page {hold.page_number}",
            place=[f"Batch {hold.batch}", f"Order {hold.order}", f"File {hold.file}"],
            wrong=hold.sentence.partition(HELD_BECAUSE)[2] or hold.sentence,
            picture=_picture(bureau, hold.page_id),
            bureau_name=bureau.settings.bureau_name,
            dpi=SHEET_DPI,
        )
    except ValueError as error:
        raise CannotDecide(f"{error}. Drop the scan as inbox/{hold.order}/RESCAN-{hold.id}.tif") from error
    return PageImage(pixels=pixels > 127, dpi=SHEET_DPI)


def _picture(bureau: Bureau, page_id: PageId) -> GreyPixels | None:
    """The scan that was held, for people to find the paper by; None where none can be made of it."""
    try:
        place = picture_of_scan(bureau, bureau.ledger.page(page_id), Edge.VIEW)
    except (Refusal, OSError) as error:
        log.info("no picture for the rescan sheet of page %d: %s", page_id, type(error).__name__)
        return None
    with Image.open(place) as picture:
        return np.array(picture.convert("L"), dtype=np.uint8)
