"""Small pictures of pages for the console: drawn once in the sandbox, kept in the cache, which may be emptied."""

from __future__ import annotations

import os
import tempfile
from enum import IntEnum
from pathlib import Path

from pipeline.budget import bytes_for_page
from pipeline.bureau import Bureau
from pipeline.model import Page, picture_name
from pipeline.page_work import SmallPictureJob, write_small_picture

TIMEOUT_S = 60.0  # somebody waits before a screen; a page that takes longer is shown without a picture


class Edge(IntEnum):
    """How large pictures are: their longer edge in pixels."""

    THUMBNAIL = 240
    VIEW = 1600  # body text of A4 can just be read
    LARGE = 3508  # an A4 sheet at 300 dpi: print is judged at its own size


def picture_of_scan(bureau: Bureau, page: Page, edge: Edge) -> Path:
    """The page as it was scanned.

    Raises:
        Refusal: it cannot be read.
    """
    place = _place(bureau, picture_name(None, page.source, page.index_in_file), edge)
    if place.is_file():
        return place
    read = bureau.profile_of(bureau.ledger.order_by_id(page.order_id)).read
    with bureau.store.local([page.source]) as files:
        scan = files[page.source]
        needs_bytes = bureau.sandbox.needs_of(scan, page.index_in_file, read, timeout_s=TIMEOUT_S)
        job = SmallPictureJob(
            file=scan, page_index=page.index_in_file, read=read, dpi=None, edge_px=edge, out=_scratch(place)
        )
        return _drawn(bureau, job, place, needs_bytes=needs_bytes)


def picture_of_page(bureau: Bureau, page: Page, edge: Edge) -> Path:
    """The page as it is delivered, or as it was scanned while it has not been prepared.

    Raises:
        Refusal: it cannot be read.
    """
    if page.prepared is None:
        return picture_of_scan(bureau, page, edge)
    place = _place(bureau, page.prepared, edge)
    if place.is_file():
        return place
    with bureau.store.local([page.prepared]) as files:
        job = SmallPictureJob(
            file=files[page.prepared], page_index=0, read=None, dpi=page.dpi, edge_px=edge, out=_scratch(place)
        )
        return _drawn(bureau, job, place, needs_bytes=bytes_for_page(page.megapixels))


def _drawn(bureau: Bureau, job: SmallPictureJob, place: Path, *, needs_bytes: int) -> Path:
    try:
        bureau.sandbox.call(
            "Drawing the page small", write_small_picture, job, timeout_s=TIMEOUT_S, needs_bytes=needs_bytes
        )
        job.out.replace(place)
    finally:
        job.out.unlink(missing_ok=True)
    return place


def _place(bureau: Bureau, name: str, edge: Edge) -> Path:
    return bureau.settings.cache_folder / "pictures" / str(edge.value) / name[:2] / f"{name}.webp"


def _scratch(place: Path) -> Path:
    """A file beside its place, to be renamed there: two who draw the same picture do not meet."""
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", dir=place.parent)
    os.close(handle)
    return Path(name)
