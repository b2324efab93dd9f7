"""One page: prepare it, read it. The work on pixels runs in the sandbox; what it measured goes into the ledger."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from dataclasses import replace
from functools import partial

from pipeline.alarms import alarms_beside, prepared_alarms, reach_of, recognized_alarms, scanner_of
from pipeline.budget import bytes_for_page
from pipeline.bureau import Bureau
from pipeline.measures import STAGE_SECONDS
from pipeline.model import Exclusion, Page, PageId, Task
from pipeline.page_work import PrepareJob, RecognizeJob, prepare_file, recognize_file, same_print
from pipeline.profile import AlarmRules
from stages.errors import Refusal, RescanDoubtful

log = logging.getLogger(__name__)


def prepare_page(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a PREPARE_PAGE task."""
    page = bureau.ledger.page(PageId(task.subject_id))
    order = bureau.ledger.order_by_id(page.order_id)
    profile = bureau.profile_of(order)
    waived = bureau.ledger.waived(task.kind, task.subject_id)
    with bureau.scratch() as folder, bureau.store.local([page.source]) as files:
        scan = files[page.source]
        needs_bytes = bureau.sandbox.needs_of(scan, page.index_in_file, profile.read)
        prepared = bureau.sandbox.call(
            "Preparing the page",
            prepare_file,
            PrepareJob.by(profile, scan, page.index_in_file, folder=folder, waived=waived),
            needs_bytes=needs_bytes,
        )
        digest = bureau.store.take_file(prepared.file)
    _measured(bureau, prepared.stage_s)
    exclusion = profile.documents.exclusion_of(prepared.readings)
    if page.revision and exclusion is not None and RescanDoubtful.code not in waived:
        # somebody asked for this sheet: it is not left out of the delivery without anybody's word
        raise RescanDoubtful("an empty side" if exclusion is Exclusion.BLANK else "a separator sheet or a ticket")
    as_prepared = replace(page, prepared=digest, readings=prepared.readings)
    # before it is recorded, or a worker that dies after that would leave an alarm untold
    seen = _look_beside(bureau, as_prepared, profile.alarms)
    bureau.ledger.record_prepared(
        task,
        digest,
        prepared.readings,
        who=who,
        late_exclusion=exclusion,
        reads_text=profile.reads_text(order.services),
        scanner=scanner_of(prepared.readings),
        alarms=prepared_alarms(prepared.readings, profile.alarms),
    )
    _look_beside(bureau, as_prepared, profile.alarms, seen=seen)


def recognize_page(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a RECOGNIZE_PAGE task."""
    page = bureau.ledger.page(PageId(task.subject_id))
    profile = bureau.profile_of(bureau.ledger.order_by_id(page.order_id))
    assert page.prepared is not None, "a page is read only after it has been prepared"
    with bureau.store.local([page.source, page.prepared]) as files:
        recognized = bureau.sandbox.call(
            "Reading the page",
            recognize_file,
            RecognizeJob.by(
                profile,
                files[page.source],
                page.index_in_file,
                files[page.prepared],
                page.readings,
                waived=bureau.ledger.waived(task.kind, task.subject_id),
            ),
            needs_bytes=bytes_for_page(page.megapixels),
        )
    _measured(bureau, recognized.stage_s)
    text = recognized.text
    bureau.ledger.record_recognized(
        task,
        bureau.store.put_bytes(text.to_json()),
        bureau.store.put_bytes(text.alto) if text.alto else None,
        text.mean_confidence,
        recognized.readings,
        who=who,
        scanner=scanner_of(page.readings),
        alarms=recognized_alarms(recognized.readings, profile.alarms),
    )


def _look_beside(
    bureau: Bureau, page: Page, rules: AlarmRules, *, seen: Set[PageId] | None = None
) -> Set[PageId] | None:
    """Raise the alarms that a page and those beside it raise together; gives those beside it.

    Where only `seen` pages are there, nothing is looked at again. Of two pages that are prepared at the same time
    neither is there when the other looks first; once both are recorded, the later one finds the earlier. An alarm stops
    nothing, and nor does a fault in telling it.
    """
    try:
        beside = bureau.ledger.pages_beside(page, reach=reach_of(rules))
        copies = bureau.ledger.copies_of(page)
        there = {one.id for one in (*beside, *copies)}
        if seen is not None and there <= seen:
            return seen
        found = alarms_beside(page, beside, copies, rules, is_same=partial(_is_same, bureau))
        if found:
            bureau.ledger.note_alarms([(one, scanner_of(one.readings), alarm) for one, alarm in found])
        return there
    except Exception:
        log.exception("page %d was not looked at beside others", page.id)
        return None


def _is_same(bureau: Bureau, one: Page, other: Page) -> bool:
    """Look closely at two prepared pages; what cannot be compared is not the same."""
    assert one.prepared is not None and other.prepared is not None
    try:
        with bureau.store.local([one.prepared, other.prepared]) as files:
            return bureau.sandbox.call(
                "Comparing two pages", same_print, files[one.prepared], one.dpi, files[other.prepared], other.dpi,
                needs_bytes=bytes_for_page(one.megapixels + other.megapixels),
            )  # fmt: skip
    except Refusal as refusal:
        log.info("pages %d and %d were not compared: %s", one.id, other.id, refusal.code)
        return False


def _measured(bureau: Bureau, stage_s: Mapping[str, float]) -> None:
    for stage, seconds in stage_s.items():
        bureau.measures.observe(STAGE_SECONDS, stage, seconds)
