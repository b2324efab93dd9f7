"""The tables beside the rolls: `job.json`, `rolls.csv`, `frames.csv`, `index.csv` and the manifest over everything."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.film import FilmJob, Frame, RollPlan
from pipeline.store import file_digest

# fmt: off
ROLL_COLUMNS = [
    "roll_no", "work_order", "customer", "film_mm", "film_ft", "reduction", "orientation", "format", "dpi",
    "frames_total", "frames_targets", "frames_documents", "first_doc", "last_doc", "cont_from", "cont_to",
    "retention_code", "series", "est_length_mm", "capacity_limit", "manifest_sha256",
]
FRAME_COLUMNS = [
    "roll_no", "seq", "file", "kind", "target_code", "doc_id", "page_no", "side", "blip_level", "predicted_address",
    "width_px", "height_px", "dpi", "across_mm", "along_mm", "cum_mm", "sha256", "source_image_id", "retake_of",
]
INDEX_COLUMNS = [
    "series", "doc_id", "title", "dates", "box_barcode", "folder_barcode", "page_count", "roll_no", "first_seq",
    "last_seq", "first_address", "last_address",
]
# fmt: on
INDEX_LAST_COLUMNS = ["restriction", "disposition_date"]  # customer fields stand before these
MANIFEST = "manifest-sha256.txt"
ORIENTATION_DEG = {"comic": 0, "cine": 90}


def write_job_files(folder: Path, plans: Sequence[RollPlan], job: FilmJob, *, certificate: Path | None = None) -> None:
    """Write `job.json`, the three tables and the manifest beside rolls that `write_roll` has written.

    `page_count` in `index.csv` counts the pages on that roll; a document split over rolls has a row for each. The
    same plans give the same bytes. `certificate` is copied as `certificate.pdf`.

    Raises:
        FileNotFoundError: a frame of a plan is not there.
        ValueError: a customer's index field is named like a column of ours.
    """
    digests = {
        (plan.number, frame.file): file_digest(folder / plan.folder_name / frame.file)
        for plan in plans
        for frame in plan.frames
    }
    if certificate:
        _write(folder / "certificate.pdf", certificate.read_bytes())
    _write(folder / "job.json", _job_json(plans, job))
    _write(folder / "rolls.csv", _csv(ROLL_COLUMNS, (_roll_row(plan, job, digests) for plan in plans)))
    _write(
        folder / "frames.csv",
        _csv(FRAME_COLUMNS, (_frame_row(plan, frame, digests) for plan in plans for frame in plan.frames)),
    )
    _write(folder / "index.csv", _index_csv(plans, job))
    listed = {f"ROLL_{number}/{file}": digest for (number, file), digest in digests.items()}
    for name in ("job.json", "rolls.csv", "frames.csv", "index.csv", "certificate.pdf"):
        if (folder / name).is_file():
            listed[name] = file_digest(folder / name)
    _write(folder / MANIFEST, _manifest(listed))


def _manifest(digests: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items())).encode()


def roll_manifest_sha256(roll: str, digests: Mapping[str, str]) -> str:
    """The digest of the lines the manifest has for one roll."""
    return hashlib.sha256(_manifest({f"ROLL_{roll}/{file}": digest for file, digest in digests.items()})).hexdigest()


def _job_json(plans: Sequence[RollPlan], job: FilmJob) -> bytes:
    settings = plans[0].settings
    content = {
        "work_order": job.work_order,
        "customer": job.customer,
        "created_on": job.created_on.isoformat(),
        "profile": job.profile,
        "writer": job.writer,
        "tool_version": job.software,
        "film": settings.model_dump(mode="json"),
        # every frame is turned by this angle on the film; what had to be turned besides is turned in its file
        "orientation": {"label": settings.orientation, "angle_deg": ORIENTATION_DEG[settings.orientation]},
        "rolls": [
            {
                "number": plan.number,
                "folder": plan.folder_name,
                "frames": len(plan.frames),
                "turned_90_deg_ccw": [frame.seq for frame in plan.frames if frame.turned],
            }
            for plan in plans
        ],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _roll_row(plan: RollPlan, job: FilmJob, digests: Mapping[tuple[str, str], str]) -> list[str]:
    settings = plan.settings
    own = {frame.file: digests[plan.number, frame.file] for frame in plan.frames}
    row: dict[str, object] = {
        "roll_no": plan.number,
        "work_order": job.work_order,
        "customer": job.customer,
        "film_mm": settings.width_mm,
        "film_ft": f"{settings.length_ft:g}",
        "reduction": f"{settings.reduction:g}",
        "orientation": settings.orientation,
        "format": settings.format,
        "dpi": settings.dpi,
        "frames_total": len(plan.frames),
        "frames_targets": len(plan.frames) - len(plan.page_frames),
        "frames_documents": len(plan.page_frames),
        "first_doc": plan.spans[0].document.document_id,
        "last_doc": plan.spans[-1].document.document_id,
        "cont_from": plan.continued_from,
        "cont_to": plan.continued_on,
        "retention_code": plan.retention_code,
        "series": job.series or plan.spans[0].document.series,
        "est_length_mm": f"{plan.length_mm:.1f}",
        "capacity_limit": plan.capacity_frames,
        "manifest_sha256": roll_manifest_sha256(plan.number, own),
    }
    return [str(row[column]) for column in ROLL_COLUMNS]


def _frame_row(plan: RollPlan, frame: Frame, digests: Mapping[tuple[str, str], str]) -> list[str]:
    page = frame.page
    row: dict[str, object] = {
        "roll_no": plan.number,
        "seq": frame.seq,
        "file": frame.file,
        "kind": "doc" if page else "target",
        "target_code": frame.target or "",
        "doc_id": page.document_id if page else "",
        "page_no": page.page_number if page else "",
        "side": page.side if page else "",
        "blip_level": frame.mark_level,
        "predicted_address": frame.address,
        "width_px": frame.width_px,
        "height_px": frame.height_px,
        "dpi": f"{frame.dpi:g}",
        "across_mm": f"{frame.across_mm:.2f}",
        "along_mm": f"{frame.along_mm:.2f}",
        "cum_mm": f"{frame.cum_mm:.2f}",
        "sha256": digests[plan.number, frame.file],
        "source_image_id": (page.source_image_id or page.source_sha256) if page else "",
        "retake_of": page.retake_of if page else "",
    }
    return [str(row[column]) for column in FRAME_COLUMNS]


def _index_csv(plans: Sequence[RollPlan], job: FilmJob) -> bytes:
    spans = [(plan, span) for plan in plans for span in plan.spans]
    customer = list(dict.fromkeys(name for _, span in spans for name in span.document.customer_fields))
    if taken := set(customer) & {*INDEX_COLUMNS, *INDEX_LAST_COLUMNS}:
        raise ValueError(f"a customer's index field may not be named {', '.join(sorted(taken))}")
    rows = []
    for plan, span in spans:
        document = span.document
        rows.append(
            [
                document.series or job.series,
                document.document_id,
                document.title,
                document.dates,
                document.box_barcode,
                document.folder_barcode,
                str(span.pages),
                plan.number,
                str(span.first_seq),
                str(span.last_seq),
                span.first_address,
                span.last_address,
                *(document.customer_fields.get(name, "") for name in customer),
                document.restriction,
                document.disposition_date,
            ]
        )
    return _csv([*INDEX_COLUMNS, *customer, *INDEX_LAST_COLUMNS], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """RFC 4180: commas, quotes doubled, lines ended by CR LF; UTF-8 without a mark."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)
