"""A delivery of rescans: rescan sheets, each with the paper behind it that takes the place of a held page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.budget import bytes_for_page
from pipeline.bureau import Bureau
from pipeline.ledger import AWAITING_RESCAN
from pipeline.model import Hold, ReceivedPage, TaskId
from pipeline.page_work import HouseSheet, house_sheet
from stages.errors import Refusal
from stages.read import Settings as ReadSettings

MOST_SHEET_MEGAPIXELS = 40.0  # a letter sheet at 600 dpi has 34; larger scans are none that the house has printed


class WrongRescans(ValueError):
    """The delivery cannot be taken as rescans; the message says which sheet is wrong, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescans:
    """Which page takes the place of which held one, and the blank sides that came along."""

    order_number: str
    replacements: Sequence[tuple[Hold, ReceivedPage]]
    left_out: Sequence[str]


def sheet_of(bureau: Bureau, page: ReceivedPage, *, most_bytes: float = math.inf) -> HouseSheet:
    """What a page says of itself if it is a ticket or a rescan sheet; nothing where that takes too much memory.

    Raises:
        Refusal: it cannot be read.
    """
    with bureau.store.local([page.source]) as files:
        scan, at = files[page.source], page.index_in_file
        needs_bytes = bureau.sandbox.needs_of(scan, at, ReadSettings())
        if needs_bytes > most_bytes:
            return HouseSheet(ticket="", rescan_hold=0, rescan_order="", is_blank=False)
        return bureau.sandbox.call("Reading the sheet", house_sheet, scan, at, needs_bytes=needs_bytes)


def is_rescan_sheet(bureau: Bureau, page: ReceivedPage) -> bool:
    """Whether a page is a rescan sheet; one that cannot be read, or is too large for one, is none."""
    try:
        return sheet_of(bureau, page, most_bytes=bytes_for_page(MOST_SHEET_MEGAPIXELS)).rescan_hold > 0
    except Refusal:
        return False


def rescans_in(bureau: Bureau, pages: Sequence[ReceivedPage], *, order_number: str | None) -> Rescans:
    """The rescans of a delivery whose first page is a rescan sheet.

    Behind each sheet lies one paper. Sides that are surely blank are those of sheets scanned from both sides; they are
    left out, and told.

    Raises:
        WrongRescans: behind a sheet lies no paper or several, or a sheet names what waits for no scan.
    """
    found: list[tuple[HouseSheet, list[ReceivedPage]]] = []
    left_out: list[str] = []
    for page in pages:
        try:
            seen = sheet_of(bureau, page)
        except Refusal:
            seen = None  # preparing it will tell what is wrong with it
        if seen is not None and seen.rescan_hold:
            found.append((seen, []))
        elif seen is not None and seen.is_blank:
            left_out.append(f"{page.file}, {page.index_in_file + 1}")
        elif found[-1][1]:
            raise WrongRescans(
                f"Behind the rescan sheet of hold {found[-1][0].rescan_hold} lie several papers; one takes the place "
                "of the held page. Lay each paper under a sheet of its own, and no other papers with them, then scan "
                "again."
            )
        else:
            found[-1][1].append(page)
    replacements = [(_waiting(bureau, sheet, order_number), _only_paper(sheet, papers)) for sheet, papers in found]
    numbers = [hold.id for hold, _ in replacements]
    if len(set(numbers)) < len(numbers):
        raise WrongRescans("The same rescan sheet came twice. Scan each held page once, then drop it again.")
    orders = {sheet.rescan_order for sheet, _ in found}
    if len(orders) > 1:
        raise WrongRescans(f"The rescan sheets are of {' and '.join(sorted(orders))}. Drop those of each order alone.")
    return Rescans(order_number=orders.pop(), replacements=replacements, left_out=left_out)


def _only_paper(sheet: HouseSheet, papers: Sequence[ReceivedPage]) -> ReceivedPage:
    if not papers:
        raise WrongRescans(
            f"Behind the rescan sheet of hold {sheet.rescan_hold} lies no paper, or a blank one. Lay the paper under "
            f"its sheet and scan again; a page that is blank is put in by platen held rescan {sheet.rescan_hold} "
            "--scan FILE --why WHY."
        )
    return papers[0]


def _waiting(bureau: Bureau, sheet: HouseSheet, order_number: str | None) -> Hold:
    """The held page that waits for the paper behind a sheet."""
    hold = bureau.ledger.hold_of(TaskId(sheet.rescan_hold))
    if hold is None or hold.code != AWAITING_RESCAN or hold.order != sheet.rescan_order:
        raise WrongRescans(
            f"No page of {sheet.rescan_order} waits for a rescan under number {sheet.rescan_hold}: it has come, or "
            "somebody has decided otherwise. Take that sheet and its paper out, and scan the others again. See: platen "
            "held list"
        )
    if order_number is not None and order_number != hold.order:
        raise WrongRescans(
            f"The rescan sheet of hold {sheet.rescan_hold} is of {hold.order}, and this lies in the folder of "
            f"{order_number}. Drop it into inbox/{hold.order}/ or into the inbox itself."
        )
    return hold
