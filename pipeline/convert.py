"""One page: prepare it, read it. The work on pixels runs in the sandbox; what it measured goes into the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.bureau import Bureau
from pipeline.model import PageId, Task
from pipeline.profile import DeliveryRules, StageCall
from stages.errors import Refusal, ResolutionTooLow
from stages.page_file import read_page_file, write_page_file
from stages.page_image import PageImage, Reading, TextLayer
from stages.read import Settings as ReadSettings
from stages.read import read_page


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareJob:
    """What preparing one page takes; `waived` are codes of refusals to pass by."""

    source: Path
    page_index: int
    read: ReadSettings
    calls: tuple[StageCall, ...]
    delivery: DeliveryRules
    waived: frozenset[str]
    folder: Path
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A page ready to be read and delivered."""

    file: Path
    readings: dict[str, Reading]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizeJob:
    """What reading one prepared page takes."""

    prepared: Path
    dpi: float
    calls: tuple[StageCall, ...]
    waived: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognized:
    """What was read on a page, in the pixels of the prepared page."""

    text: TextLayer
    readings: dict[str, Reading]


def prepare_file(job: PrepareJob) -> Prepared:
    """Read one page, let it flow through its stages, and write the page that will be delivered.

    Raises:
        Refusal: a person must decide, unless its code is waived.
    """
    settings = job.read
    if ResolutionTooLow.code in job.waived:
        settings = settings.model_copy(update={"min_dpi": None})
    page, stages = _flow(read_page(job.source, job.page_index, settings), job.calls, job.waived)
    file = write_page_file(
        page,
        job.folder,
        job.name,
        encoding=job.delivery.encoding,
        bitonal_encoding=job.delivery.bitonal_encoding,
        jpeg_quality=job.delivery.jpeg_quality,
        keep_scanner_stream=job.delivery.keep_scanner_stream,
    )
    page = page.with_readings("prepare", stages=stages)
    page = page.with_readings("page", width_px=page.width_px, height_px=page.height_px, dpi=float(page.dpi))
    return Prepared(file=file, readings=dict(page.readings))


def recognize_file(job: RecognizeJob) -> Recognized:
    """Read the words of a prepared page.

    Raises:
        Refusal: a person must decide, unless its code is waived.
    """
    page, stages = _flow(read_page_file(job.prepared, dpi=job.dpi), job.calls, job.waived)
    text = page.text
    if text is None:  # released without text after a time-out
        text = TextLayer(lines=(), width_px=page.width_px, height_px=page.height_px, to_page=page.moved)
    return Recognized(text=text, readings=dict(page.with_readings("recognize", stages=stages).readings))


def prepare_page(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a PREPARE_PAGE task."""
    page = bureau.ledger.page(PageId(task.subject_id))
    order = bureau.ledger.order_by_id(page.order_id)
    profile = bureau.profile_of(order)
    with bureau.scratch() as folder:
        prepared = bureau.sandbox.call(
            "Preparing the page",
            prepare_file,
            PrepareJob(
                source=bureau.store.path(page.source),
                page_index=page.index_in_file,
                read=profile.read,
                calls=profile.page,
                delivery=profile.delivery,
                waived=bureau.ledger.waived(task.kind, task.subject_id),
                folder=folder,
                name="page",
            ),
        )
        digest = bureau.store.take_file(prepared.file)
    bureau.ledger.record_prepared(
        task,
        digest,
        prepared.readings,
        who=who,
        late_exclusion=profile.documents.exclusion_of(prepared.readings),
        reads_text=profile.reads_text(order.services),
    )


def recognize_page(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a RECOGNIZE_PAGE task."""
    page = bureau.ledger.page(PageId(task.subject_id))
    profile = bureau.profile_of(bureau.ledger.order_by_id(page.order_id))
    assert page.prepared is not None, "a page is read only after it has been prepared"
    recognized = bureau.sandbox.call(
        "Reading the page",
        recognize_file,
        RecognizeJob(
            prepared=bureau.store.path(page.prepared),
            dpi=page.dpi,
            calls=profile.recognize,
            waived=bureau.ledger.waived(task.kind, task.subject_id),
        ),
    )
    text = recognized.text
    bureau.ledger.record_recognized(
        task,
        bureau.store.put_bytes(text.to_json()),
        bureau.store.put_bytes(text.alto) if text.alto else None,
        text.mean_confidence,
        recognized.readings,
        who=who,
    )


def _flow(page: PageImage, calls: tuple[StageCall, ...], waived: frozenset[str]) -> tuple[PageImage, list[str]]:
    """The page after its stages, and which ran (name and version)."""
    done: list[str] = []
    for call in calls:
        try:
            page = call.stage.run(page, call.settings)
            done.append(f"{call.name} {call.stage.version}")
        except Refusal as refusal:
            if refusal.code not in waived:
                raise
            # a person has seen the page and said: go on. The stage that refused is passed by.
            page = page.with_readings(call.name, waived=refusal.code, **refusal.measured)
    return page, done
