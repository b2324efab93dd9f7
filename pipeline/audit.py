"""One page as it came, as it is delivered, and what was done to it in between: for whoever asks years later."""

from __future__ import annotations

from pathlib import Path

from pipeline.budget import bytes_for_page
from pipeline.bureau import Bureau
from pipeline.ledger import UnknownOrder
from pipeline.model import Page
from pipeline.page_work import PictureJob, places_of, write_picture


class NoSuchPage(LookupError):
    """There is no such page; the message says what there is."""


def page_at(bureau: Bureau, order_number: str, batch_name: str, sequence: int) -> Page:
    """The page that is number `sequence` of its batch, counted from 1.

    Raises:
        UnknownOrder: there is no order with this number.
        NoSuchPage: it has no such batch, or the batch no such page.
    """
    order = bureau.ledger.order(order_number)
    if order is None:
        raise UnknownOrder(order_number)
    batches = {batch.name: batch for batch in bureau.ledger.batches_of(order.id)}
    if batch_name not in batches:
        there_are = f"there are {', '.join(batches)}" if batches else "nothing has been received for it"
        raise NoSuchPage(f"{order_number} has no batch {batch_name!r}: {there_are}.")
    pages = bureau.ledger.pages_of_batch(batches[batch_name].id)
    for page in pages:
        if page.sequence == sequence:
            return page
    raise NoSuchPage(f"Batch {batch_name!r} has {len(pages)} pages; there is no page {sequence}.")


def write_before_and_after(bureau: Bureau, page: Page, out: Path) -> None:
    """Write scan, delivered page and their difference side by side as a PNG.

    Raises:
        NoSuchPage: the page has not been prepared.
    """
    if page.prepared is None:
        raise NoSuchPage(f"Page {page.sequence} has not been prepared (it waits, or it is held).")
    profile = bureau.profile_of(bureau.ledger.order_by_id(page.order_id))
    with bureau.store.local([page.source, page.prepared]) as files:
        bureau.sandbox.call(
            "Drawing before and after",
            write_picture,
            PictureJob(
                scan=files[page.source],
                page_index=page.index_in_file,
                read=profile.read,
                prepared=files[page.prepared],
                dpi=page.dpi,
                to_scan=places_of(page.readings["page.to_scan"]),
                out=out.absolute(),
            ),
            needs_bytes=bytes_for_page(page.megapixels),
        )
