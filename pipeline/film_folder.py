"""Write rolls: every frame of a plan into the folder that an archive writer takes."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.film import FilmJob, FilmPage, Frame, RollPlan
from stages import film_frame
from stages.errors import UnreadableImage
from stages.film_check import inspect_frame
from stages.film_frame import write_frame
from stages.film_targets import IndexPart, IndexRow, RollFacts, Target, index_rows_a_page, target_page
from stages.page_image import PageImage


def write_roll(
    plan: RollPlan,
    folder: Path,
    job: FilmJob,
    *,
    read: Callable[[FilmPage], PageImage] | None = None,
    to_bitonal: Callable[[PageImage], PageImage] | None = None,
) -> Path:
    """Write every frame of a roll and return its folder.

    Frames are written in a hidden folder that is renamed when it is whole. Its name holds a digest of the plan, so a
    roll that was interrupted goes on where it stopped, and never with frames of another plan. The same plan and pages
    give the same bytes; a roll that is there already is replaced.

    Raises:
        UnreadableImage: a prepared page cannot be decoded or is not of the size that was planned.
    """
    final = folder / plan.folder_name
    part = folder / f".{plan.folder_name}.{_digest(plan, job)}.part"
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f".{plan.folder_name}.*"):
        if stale != part:
            shutil.rmtree(stale)
    part.mkdir(exist_ok=True)
    settings = film_frame.Settings(film_mm=plan.settings.width_mm, software=job.software)
    digests = []
    for frame in plan.page_frames:
        inspection = inspect_frame(part / frame.file, film_mm=settings.film_mm)
        digest = inspection.sha256
        if inspection.problems:  # not there yet
            assert frame.page is not None
            digest = write_frame(
                _read_as_planned(frame, read or read_prepared),
                part / frame.file,
                settings=settings,
                document_name=frame.page.document_id,
                page_name=f"page {frame.page.page_number}",
                to_bitonal=to_bitonal,
            )
        digests.append(digest)
    facts = _facts(plan, job, hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest())
    index = _index_parts(plan)
    for frame in plan.frames:
        if frame.target:
            page = target_page(
                frame.target,
                facts,
                dpi=frame.dpi,
                width_in=plan.settings.target_width_in,
                height_in=plan.settings.target_height_in,
                index=index[frame.part - 1] if frame.target is Target.INDEX else None,
            )
            write_frame(
                page, part / frame.file, settings=settings, document_name=plan.number, page_name=str(frame.target)
            )
    for leftover in {path.name for path in part.iterdir()} - {frame.file for frame in plan.frames}:
        (part / leftover).unlink()
    if final.exists():
        old = folder / f".{plan.folder_name}.old"
        final.rename(old)
        part.rename(final)
        shutil.rmtree(old)
    else:
        part.rename(final)
    return final


def read_prepared(page: FilmPage) -> PageImage:
    """The prepared page from its image file.

    Raises:
        UnreadableImage: it cannot be decoded, or is not of the size that was planned.
    """
    try:
        with Image.open(page.path) as image:
            if image.size != (page.width_px, page.height_px):  # before decoding: the size bounds the memory
                raise UnreadableImage(
                    f"it is {image.width} x {image.height} pixels, planned were {page.width_px} x {page.height_px}"
                )
            return PageImage(pixels=np.array(image if image.mode in ("1", "L") else image.convert("RGB")), dpi=page.dpi)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(str(error)) from error


def _read_as_planned(frame: Frame, read: Callable[[FilmPage], PageImage]) -> PageImage:
    assert frame.page is not None
    image = read(frame.page)
    if frame.turned:
        image = image.with_pixels(image.pixels.swapaxes(0, 1)[::-1].copy())
    if (image.width_px, image.height_px) != (frame.width_px, frame.height_px):
        raise UnreadableImage(
            f"it is {image.width_px} x {image.height_px} pixels, planned were {frame.width_px} x {frame.height_px}"
        )
    return replace(image, dpi=frame.dpi)


def _digest(plan: RollPlan, job: FilmJob) -> str:
    parts = [repr(job), repr(plan.settings), plan.number, str(plan.count), plan.continued_from, plan.continued_on]
    for frame in plan.frames:
        source = frame.page.source_sha256 if frame.page else str(frame.target)
        parts.append(f"{frame.file} {source} {frame.width_px} {frame.height_px} {frame.dpi} {frame.turned}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _facts(plan: RollPlan, job: FilmJob, content_sha256: str) -> RollFacts:
    first, last = plan.spans[0].document, plan.spans[-1].document
    settings = plan.settings
    return RollFacts(
        roll_number=plan.number,
        roll_index=plan.index,
        roll_count=plan.count,
        work_order=job.work_order,
        customer=job.customer,
        agency=job.agency,
        sub_unit=job.sub_unit,
        series=job.series or first.series,
        title=job.title,
        schedule_item=job.schedule_item,
        retention_code=plan.retention_code,
        classification=job.classification,
        dates=job.dates,
        first_document=first.document_id,
        last_document=last.document_id,
        documents=len(plan.spans),
        pages=len(plan.page_frames),
        frames=len(plan.frames),
        film_mm=settings.width_mm,
        film_ft=settings.length_ft,
        reduction=settings.reduction,
        orientation=settings.orientation,
        format=settings.format,
        dpi=settings.dpi,
        operator=job.operator,
        authority=job.authority,
        filmed_on=job.created_on.isoformat(),
        statement=job.statement,
        content_sha256=content_sha256,
        continued_from=plan.continued_from,
        continued_on=plan.continued_on,
        software=job.software,
    )


def _index_parts(plan: RollPlan) -> list[IndexPart]:
    rows = [
        IndexRow(
            document_id=span.document.document_id,
            title=span.document.title,
            pages=span.pages,
            first_frame=span.first_seq,
            address=span.first_address,
        )
        for span in plan.spans
    ]
    a_page = index_rows_a_page(width_in=plan.settings.target_width_in, height_in=plan.settings.target_height_in)
    count = ceil(len(rows) / a_page)
    return [IndexPart(rows=rows[at * a_page : (at + 1) * a_page], number=at + 1, count=count) for at in range(count)]
