"""One document's PDF/A; one order's package: a BagIt bag with documents, index, evidence and a transmittal page."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Protocol

from pipeline.billing import charges, load_rate_card
from pipeline.bureau import Bureau
from pipeline.document_work import BagJob, DocumentJob, write_bag, write_document
from pipeline.film_rolls import film_places, finish_film
from pipeline.ledger.lots import Lot
from pipeline.model import (
    Batch,
    Document,
    DocumentId,
    Page,
    PageCounts,
    Sha256,
    Task,
    WorkOrder,
)
from pipeline.store import fsync_path
from pipeline.transmittal import write_transmittal
from stages.errors import NotPdfA
from stages.page_image import PageImage, TextLayer
from stages.printed_document import write_printed_pdf
from stages.sheets import separator_sheet
from stages.xmp import DocumentMetadata

_SECONDS_A_PAGE = 0.5  # generous: laying a page into the PDF takes milliseconds
_NAME_LENGTH = 60
INDEX_COLUMNS = (
    "document_id", "title", "file", "pages", "batch", "series", "box", "sha256", "size_bytes", "pdfa", "conforms",
    "mean_confidence", "roll", "first_frame", "last_frame",
)  # fmt: skip
QUALITY_COLUMNS = (
    "batch", "plan", "pages", "sample", "accepted_major", "looked_at", "critical", "major", "minor", "sample_rejected",
    "state", "passed_at", "seed",
)  # fmt: skip
_COLUMN_MEANINGS = {
    "document_id": "the bureau's own number of the document; unique for ever",
    "title": "name of the dropped folder or file; a leading apostrophe keeps spreadsheets from taking it for a formula",
    "file": "path of the PDF/A inside data/",
    "pages": "pages in the file",
    "batch": "delivery the pages came with",
    "series": "records series of the work order",
    "box": "box barcode, where the order names one box",
    "sha256": "SHA-256 of the file",
    "size_bytes": "size of the file",
    "pdfa": "PDF/A part and level",
    "conforms": "whether every check of the file passed; see reports/",
    "mean_confidence": "mean word confidence of the recognition, 0 to 1",
    "roll": "microfilm roll",
    "first_frame": "first frame of the document on that roll",
    "last_frame": "last frame of the document on that roll",
}


class Titled(Protocol):
    """What a document's file is named by."""

    @property
    def public_id(self) -> str:
        """The bureau's own number of the document."""

    @property
    def title(self) -> str:
        """Its title, from outside."""


def package_document(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a PACKAGE_DOCUMENT task: one PDF/A, checked before it counts.

    Raises:
        NotPdfA: the file does not conform; it is kept from delivery.
    """
    document = bureau.ledger.document(DocumentId(task.subject_id))
    pages = bureau.ledger.pages_of_document(document.id)
    if not pages:
        bureau.ledger.record_empty_document(task, who=who)
        return
    order = bureau.ledger.order_by_id(document.order_id)
    profile = bureau.profile_of(order)
    batch = bureau.ledger.batch(document.batch_id)
    metadata = DocumentMetadata(
        title=document.title,
        created=batch.received_at,
        creator=bureau.settings.bureau_name,
        identifier=document.public_id,
        languages=profile.languages,
        work_order=order.number,
        customer_account=order.customer,
        batch_id=batch.name,
        document_id=document.public_id,
        series_title=order.series,
        box_barcode=order.boxes[0] if len(order.boxes) == 1 else "",
        scan_date=batch.received_at.date(),
        page_count=len(pages),
        source_sha256=tuple(dict.fromkeys(page.source for page in pages)),
    )
    needed = {digest for page in pages for digest in (page.prepared, page.text) if digest is not None}
    with bureau.scratch() as folder, bureau.store.local(needed) as files:
        job = DocumentJob(
            pages=tuple(
                (files[Sha256(str(page.prepared))], page.dpi, None if page.text is None else files[page.text])
                for page in pages
            ),
            out=folder / "document.pdf",
            metadata=metadata,
            flavour=profile.pdfa.flavour,
        )
        report = bureau.sandbox.call(
            "Writing the PDF", write_document, job, timeout_s=120 + _SECONDS_A_PAGE * len(pages)
        )
        if not report.passed:
            raise NotPdfA(report.flavour, list(report.problems))
        size = job.out.stat().st_size
        pdf = bureau.store.take_file(job.out)
    evidence = {"document": document.public_id, "sha256": pdf, **report.as_dict()}
    kept = bureau.store.put_bytes(json.dumps(evidence, indent=1, sort_keys=True).encode())
    bureau.ledger.record_packaged(task, pdf, size, report.flavour, kept, who=who)


def deliver_order(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a DELIVER_ORDER task: film handed over, package written, charges made.

    Raises:
        FilmNotSound: the film folder does not pass its check.
        PackageNotSound: the bag does not.
    """
    assert task.order_id is not None
    order = bureau.ledger.order_by_id(task.order_id)
    profile = bureau.profile_of(order)
    finish_film(bureau, order, task.round)
    report = bureau.ledger.order_report(order.number)
    assert report is not None
    seals = {batch.id: bureau.ledger.seal(batch.id) for batch, _ in report.batches}
    card = load_rate_card(bureau.settings.profiles / "rates", order.customer, profile.billing.rate_card)
    today = datetime.now(UTC).date()
    lines = charges(report.usage, report.charges, card, on=today, delivery=task.round)
    target = package_folder(bureau, order, task.round)
    if not target.is_dir():  # it is there when the power went between writing and recording
        for stale in target.parent.glob(f".{target.name}.*part"):
            shutil.rmtree(stale, ignore_errors=True)
        # a name of this attempt: a worker that was given up may still write, and rename what it finds
        part = target.with_name(f".{target.name}.{task.attempt}.part")
        documents = [document for document in report.documents if document.pdf is not None]
        files = dict(_bag_files(bureau, order, documents))
        for name, digest in files.items():
            copied = part / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            bureau.store.copy(digest, copied)
        with bureau.scratch() as scratch:
            sheet = scratch / "transmittal.pdf"
            write_transmittal(
                sheet,
                bureau_name=bureau.settings.bureau_name,
                order=order,
                pages=report.pages,
                batches=report.batches,
                documents=documents,
                rolls=[roll for roll in report.rolls if roll.round == task.round],
                seals=seals,
                lines=lines,
                today=today,
                delivery=task.round,
            )
            transmittal = (sheet.name, sheet.read_bytes())
        bureau.sandbox.call(
            "Writing the package",
            write_bag,
            _bag_job(bureau, order, documents, report.batches, transmittal, part, frozenset(files), task.round),
            timeout_s=600 + 10.0 * len(documents),
        )
        part.rename(target)
        fsync_path(target.parent)
    bureau.ledger.record_delivered(task, bureau.relative(target), seals, lines, who=who)


def write_sheet_pdf(out: Path, ticket: PageImage, separators: int, order: WorkOrder) -> None:
    """Write a batch ticket and separator sheets as a PDF to print."""
    separator = PageImage(pixels=separator_sheet() > 127, dpi=300.0)
    metadata = DocumentMetadata(title=f"Batch ticket {order.number}", created=datetime.now(UTC))
    write_printed_pdf([ticket, *[separator] * separators], out, metadata)


def package_folder(bureau: Bureau, order: WorkOrder, delivery: int) -> Path:
    """Where a package of the order stands."""
    return bureau.settings.folder("outbox") / order.customer / order.number / f"delivery-{delivery}"


def document_place(order: WorkOrder, document: Titled, store_place: str) -> str:
    """Where people find a document's PDF, relative to the home: in the newest package, before that in the store."""
    return f"{order.package}/data/{document_file_name(document)}" if order.package else store_place


def document_file_name(document: Titled) -> str:
    """Path of a document inside a package's data/: plain ASCII, safe on every system."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", document.title).strip("-")[:_NAME_LENGTH]
    return f"pdf/{document.public_id}{'_' if plain else ''}{plain}.pdf"


def _bag_job(
    bureau: Bureau,
    order: WorkOrder,
    documents: Sequence[Document],
    batches: Sequence[tuple[Batch, PageCounts]],
    transmittal: tuple[str, bytes],
    folder: Path,
    files: frozenset[str],
    delivery: int,
) -> BagJob:
    texts = [
        transmittal,
        ("index.csv", _index(bureau, order, documents, batches)),
        ("index-columns.csv", _csv(("column", "meaning"), [(name, _COLUMN_MEANINGS[name]) for name in INDEX_COLUMNS])),
    ]
    if lots := bureau.ledger.lots_of(order.number):
        texts.append(("quality.csv", _csv(QUALITY_COLUMNS, [_quality_row(lot) for lot in lots])))
    if bureau.profile_of(order).package.text:
        for document in documents:
            for place, page in _places_in_bag(bureau, document):
                if page.text is not None:
                    text = TextLayer.from_json(bureau.store.read(page.text)).plain_text
                    texts.append((f"text/{place}.txt", text.encode()))
    return BagJob(
        folder=folder,
        files=files,
        texts=tuple(texts),
        info={
            "Source-Organization": bureau.settings.bureau_name,
            "External-Identifier": order.number,
            "External-Description": order.title or f"Documents of work order {order.number}",
            "Bagging-Date": datetime.now(UTC).date().isoformat(),
            "Bag-Group-Identifier": order.number,
            "Internal-Sender-Identifier": f"{order.number}/delivery-{delivery}",
            "Work-Order": order.number,
            "Customer-Account": order.customer,
            **({"Records-Series": order.series} if order.series else {}),
        },
    )


def _bag_files(bureau: Bureau, order: WorkOrder, documents: Sequence[Document]) -> Iterator[tuple[str, Sha256]]:
    """The files of the store that a package holds, with their places in it."""
    rules = bureau.profile_of(order).package
    scans: set[Sha256] = set()
    for document in documents:
        assert document.pdf is not None and document.report is not None
        yield document_file_name(document), document.pdf
        yield f"reports/{document.public_id}.json", document.report
        for place, page in _places_in_bag(bureau, document):
            if rules.takes_scan(page.readings) and page.source not in scans:
                scans.add(page.source)  # a file of many pages goes along once, under the first of them that needs it
                yield f"scans/{place}{_suffix(page.file)}", page.source
            if rules.alto and page.alto is not None:
                yield f"alto/{place}.xml", page.alto


def _places_in_bag(bureau: Bureau, document: Document) -> Iterator[tuple[str, Page]]:
    for number, page in enumerate(bureau.ledger.pages_of_document(document.id), start=1):
        yield f"{document.public_id}/p{number:04d}", page


def _suffix(file: str) -> str:
    """The suffix of a file from outside, where it is a plain one."""
    suffix = PurePosixPath(file).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{2,5}", suffix) else ""


def _index(
    bureau: Bureau, order: WorkOrder, documents: Sequence[Document], batches: Sequence[tuple[Batch, PageCounts]]
) -> bytes:
    names = {batch.id: batch.name for batch, _ in batches}
    places = film_places(bureau, order)
    rows = []
    for document in documents:
        roll, first, last = places.get(document.public_id, ("", "", ""))
        rows.append(
            (
                document.public_id,
                _no_formula(document.title),
                document_file_name(document),
                document.pages,
                _no_formula(names[document.batch_id]),
                _no_formula(order.series),
                _no_formula(order.boxes[0] if len(order.boxes) == 1 else ""),
                document.pdf,
                document.pdf_bytes,
                document.flavour,
                "yes" if document.conforms else "no",
                "" if document.mean_confidence is None else f"{document.mean_confidence:.3f}",
                roll,
                first,
                last,
            )
        )
    return _csv(INDEX_COLUMNS, rows)


def _quality_row(lot: Lot) -> tuple[object, ...]:
    return (
        _no_formula(lot.batch), lot.plan, lot.pages, lot.sample, lot.accept, lot.looked, lot.critical, lot.major,
        lot.minor,
        "yes" if lot.rejected else "no", lot.state.value,
        "" if lot.passed_at is None else lot.passed_at.isoformat(timespec="seconds"), lot.seed,
    )  # fmt: skip


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n")  # RFC 4180
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue().encode()


def _no_formula(text: str) -> str:
    """A cell from outside that a spreadsheet would run as a formula gets an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
