"""The transmittal: the page on top of a package that says what is in it, how it was counted, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from pipeline.model import Batch, BatchId, Charge, Document, PageCounts, Roll, WorkOrder
from stages.printed_document import PrintedDocument
from stages.printed_page import Columns
from stages.xmp import DocumentMetadata


def write_transmittal(
    out: Path,
    *,
    bureau_name: str,
    order: WorkOrder,
    pages: PageCounts,
    batches: Sequence[tuple[Batch, PageCounts]],
    documents: Sequence[Document],
    rolls: Sequence[Roll],
    seals: Mapping[BatchId, str],
    lines: Sequence[Charge],
    today: date,
    delivery: int,
) -> None:
    """Write the transmittal of one delivery as PDF/A-2u.

    Raises:
        NotPdfA: the written file does not conform.
    """
    printed = PrintedDocument()
    sheet = printed.sheet
    first = sheet()
    first.text(bureau_name, size_pt=12)
    first.heading("TRANSMITTAL")
    facts = {
        "Work order": order.number,
        "Delivery": str(delivery),
        "Date": today.isoformat(),
        "Customer account": order.customer,
        "Title": order.title,
        "Records series": order.series,
        "Boxes": ", ".join(order.boxes),
        "Profile": f"{order.profile_name} ({order.profile_digest[:19]}…)",
    }
    for name, value in facts.items():
        if value:
            first.row((name, value), ((45, "left"), (125, "left")), size_pt=11)
    first.space(4)
    first.heading("Pages", 14)
    widths: Columns = ((60, "left"), *((22.0, "right"),) * 5)
    first.row(("Batch", "Received", "Billable", "Separators", "Blank", "Left out"), widths, bold=True)
    first.rule()
    for name, counts in [*((batch.name, counts) for batch, counts in batches), ("All", pages)]:
        row = sheet()
        excluded = {reason.value: number for reason, number in counts.excluded.items()}
        row.row(
            (
                name,
                str(counts.received),
                str(counts.billable),
                str(excluded["separator"]),
                str(excluded["blank"]),
                str(excluded["rescan"] + excluded["waived"]),
            ),
            widths,
            bold=name == "All",
        )
    if order.expect_pages is not None:
        difference = pages.received - order.expect_pages
        sheet().text(f"Expected {order.expect_pages} pages; received {pages.received} ({difference:+d}).")
    sheet(30).space(4)
    sheet().heading("Documents", 14)
    listed: Columns = ((66, "left"), (68, "left"), (18, "right"), (20, "right"))
    sheet().row(("Document", "Title", "Pages", "PDF/A"), listed, bold=True)
    sheet().rule()
    for document in documents:
        sheet().row((document.public_id, document.title, str(document.pages), document.flavour or ""), listed)
    if rolls:
        sheet(30).space(4)
        sheet().heading("Microfilm", 14)
        for roll in rolls:
            sheet().row(
                (f"Roll {roll.number}", f"{roll.frames} frames", roll.folder or ""),
                ((40, "left"), (32, "left"), (100, "left")),
            )
    if lines:
        sheet(30).space(4)
        sheet().heading("Charges", 14)
        priced: Columns = ((20, "left"), (80, "left"), (24, "right"), (24, "right"), (24, "right"))
        sheet().row(("Fee", "", "Quantity", "Price", "Amount"), priced, bold=True)
        sheet().rule()
        for line in lines:
            sheet().row(
                (line.fee_code, line.title, str(line.quantity), f"{line.unit_price:.4f}", f"{line.amount:.2f}"),
                priced,
            )
        total = sum(line.amount for line in lines)
        sheet().row(("", "Total", "", "", f"{total:.2f}"), priced, bold=True)
    sheet(40).space(4)
    sheet().heading("Seals", 14)
    sheet().text(
        "A seal is the SHA-256 of the list of all pages of a batch with what became of each; it can be taken again "
        "from the records at any time.",
        size_pt=9,
    )
    for batch, _ in batches:
        sheet().row((batch.name, seals[batch.id]), ((40, "left"), (132, "left")), size_pt=8)
    metadata = DocumentMetadata(
        title=f"Transmittal {order.number}, delivery {delivery}",
        created=datetime(today.year, today.month, today.day, tzinfo=UTC),
        creator=bureau_name,
        identifier=f"{order.number}-T{delivery}",
        work_order=order.number,
        customer_account=order.customer,
        languages=("eng",),
    )
    printed.write(out, metadata)
