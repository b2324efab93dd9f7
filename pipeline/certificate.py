"""The certificate that goes with a film: what is on each roll, on paper, for signatures. PDF/A-2u."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.film import FilmJob, RollPlan
from stages.printed_document import PrintedDocument
from stages.printed_page import Columns
from stages.xmp import DocumentMetadata

_FACTS: Columns = ((45, "left"), (125, "left"))
_ROLLS: Columns = ((24, "left"), (18, "right"), (18, "right"), (18, "right"), (46, "left"), (46, "left"))
_SIGNATURE_MM = 34.0
STATEMENT = (
    "The frames of these rolls reproduce the documents named here, each of them whole and in the order given. No page "
    "was added or left out; grey and colour pages were made black and white for the film. The SHA-256 of every frame "
    "stands in manifest-sha256.txt beside this certificate, with its place in frames.csv."
)


def write_certificate(out: Path, plans: Sequence[RollPlan], job: FilmJob) -> None:
    """Write the certificate of an order's film; the same plans give the same bytes.

    Raises:
        NotPdfA: the written file does not conform.
    """
    document = PrintedDocument()
    first = document.sheet()
    first.text(job.bureau, size_pt=12)
    first.heading("CERTIFICATE OF MICROFILM")
    settings = plans[0].settings
    facts = {
        "Work order": job.work_order,
        "Customer account": job.customer,
        "Title": job.title,
        "Records series": job.series,
        "Written on": job.created_on.isoformat(),
        "Film": f"{settings.width_mm} mm, {settings.length_ft:g} ft, {settings.reduction:g}x, {settings.orientation}",
    }
    for name, value in facts.items():
        if value:
            first.row((name, value), _FACTS, size_pt=11)
    first.space(4)
    first.text(STATEMENT)
    first.space(4)
    first.row(("Roll", "Frames", "Pages", "Docs", "First", "Last"), _ROLLS, bold=True)
    first.rule()
    for plan in plans:
        document.sheet().row(
            (
                plan.number,
                str(len(plan.frames)),
                str(len(plan.page_frames)),
                str(len(plan.spans)),
                plan.spans[0].document.document_id,
                plan.spans[-1].document.document_id,
            ),
            _ROLLS,
            size_pt=8,
        )
    for role in ("Operator", "Quality control", "Custodian of the records"):
        block = document.sheet(_SIGNATURE_MM)
        block.space(_SIGNATURE_MM - 16)
        block.rule()
        block.row((role, "Name, signature, date"), _FACTS, size_pt=9)
    made = datetime(job.created_on.year, job.created_on.month, job.created_on.day, tzinfo=UTC)
    metadata = DocumentMetadata(
        title=f"Certificate of microfilm {job.work_order}",
        created=made,
        creator=job.bureau,
        identifier=f"{job.work_order}-F{job.created_on:%Y%m%d}",
        languages=("eng",),
        work_order=job.work_order,
        customer_account=job.customer,
    )
    document.write(out, metadata)
