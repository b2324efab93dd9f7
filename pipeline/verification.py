"""Take every count, digest and seal again: the ledger against the store and the packages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import bagit

from pipeline.bureau import Bureau
from pipeline.ledger.reports import OrderReport
from pipeline.model import BatchId, Exclusion, OrderStatus, Page, PageCounts, Sha256
from pipeline.packaging import batch_seal, document_file_name, package_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How much was looked at, and every fault found as a sentence."""

    orders: int
    pages: int
    files: int
    packages: int
    faults: Sequence[str]


def verify(bureau: Bureau) -> Verified:
    """Count and hash everything again. Nothing is changed; a large store takes as long as reading it."""
    faults: list[str] = []
    pages = packages = 0
    digests: dict[Sha256, str] = {}  # with the first thing that refers to it
    orders = bureau.ledger.orders()
    for order in orders:
        report = bureau.ledger.order_report(order.number)
        assert report is not None
        of_batches = {batch.id: bureau.ledger.pages_of_batch(batch.id) for batch, _ in report.batches}
        pages += sum(map(len, of_batches.values()))
        faults += _count_faults(bureau, report, of_batches)
        faults += _seal_faults(bureau, report)
        for delivery in range(1, order.deliveries + 1):
            packages += 1
            faults += _package_faults(bureau, report, delivery)
        for digest, what in _references(report, of_batches):
            digests.setdefault(digest, what)
    for digest, what in digests.items():
        if not bureau.store.has(digest):
            faults.append(f"{what}: its file {digest} is missing from the store.")
        elif not bureau.store.intact(digest):
            faults.append(f"{what}: its file {digest} in the store is damaged.")
    return Verified(orders=len(orders), pages=pages, files=len(digests), packages=packages, faults=tuple(faults))


def _count_faults(bureau: Bureau, report: OrderReport, of_batches: dict[BatchId, list[Page]]) -> Iterator[str]:
    """The ledger's counts against the pages themselves and the lines that prove what was billed."""
    number = report.order.number
    for batch, counts in report.batches:
        yield from _recount(f"{number}, batch {batch.name}", counts, of_batches[batch.id], _billed(bureau, batch.id))
    everything = [page for pages in of_batches.values() for page in pages]
    billed = sum(_billed(bureau, batch_id) for batch_id in of_batches)
    yield from _recount(number, report.pages, everything, billed)
    if report.usage.billable_pages != report.pages.billable:
        yield f"{number}: {report.usage.billable_pages} pages are charged for, {report.pages.billable} are billable."
    if report.order.status is OrderStatus.DELIVERED and report.pages.held + report.pages.open:
        yield f"{number} was delivered, but {report.pages.held} pages are held and {report.pages.open} are open."


def _recount(where: str, counts: PageCounts, pages: Sequence[Page], billed: int) -> Iterator[str]:
    excluded = Counter(page.excluded for page in pages if page.excluded is not None)
    if counts.received != len(pages):
        yield f"{where}: {counts.received} pages are counted as received, {len(pages)} are there."
    if counts.billable != billed:
        yield f"{where}: {counts.billable} pages are counted as billable, {billed} are sealed as such."
    for reason in Exclusion:
        if counts.excluded.get(reason, 0) != excluded[reason]:
            yield f"{where}: {counts.excluded.get(reason, 0)} pages count as {reason}, {excluded[reason]} are."
    total = counts.billable + sum(counts.excluded.values()) + counts.held + counts.open
    if total != counts.received:
        yield f"{where}: {counts.received} pages were received, but {total} are accounted for."


def _billed(bureau: Bureau, batch_id: BatchId) -> int:
    return sum(line.endswith("\tbillable") for line in bureau.ledger.seal_lines(batch_id))


def _seal_faults(bureau: Bureau, report: OrderReport) -> Iterator[str]:
    for batch, _ in report.batches:
        if batch.seal is not None and batch_seal(bureau, batch.id) != batch.seal:
            yield (
                f"{report.order.number}, batch {batch.name}: its seal no longer fits its pages; the records were "
                "changed after delivery."
            )


def _package_faults(bureau: Bureau, report: OrderReport, delivery: int) -> Iterator[str]:
    folder = package_folder(bureau, report.order, delivery)
    place = bureau.relative(folder)
    if not folder.is_dir():
        yield f"{report.order.number}: the package {place} is not in the outbox."
        return
    try:
        bag = bagit.Bag(str(folder))
        bag.validate()
    except bagit.BagError as error:
        yield f"{report.order.number}: the package {place} is not sound: {error}"
        return
    listed = {name: hashes.get("sha256") for name, hashes in bag.entries.items()}
    newest = delivery == report.order.deliveries
    for document in report.documents:
        name = f"data/{document_file_name(document)}"
        if document.pdf is not None and name not in listed and newest:
            yield f"{report.order.number}: {document.public_id} is not in the package {place}."
        elif name in listed and listed[name] != document.pdf:
            yield f"{report.order.number}: {document.public_id} in {place} is not the file that the ledger knows."


def _references(report: OrderReport, of_batches: dict[BatchId, list[Page]]) -> Iterator[tuple[Sha256, str]]:
    for batch, _ in report.batches:
        for page in of_batches[batch.id]:
            for digest in (page.source, page.prepared, page.text, page.alto):
                if digest is not None:
                    yield digest, f"{report.order.number}, batch {batch.name}, page {page.sequence}"
    for document in report.documents:
        for digest in (document.pdf, document.report):
            if digest is not None:
                yield digest, f"{report.order.number}, document {document.public_id}"
