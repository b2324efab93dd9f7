"""A batch's pages become documents: separators part, blanks are set aside, everything is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import ClassVar

from pipeline.budget import bytes_for_page
from pipeline.bureau import Bureau
from pipeline.model import BatchId, Exclusion, Page, PageId, PlannedDocument, Task
from pipeline.page_work import SideJob, bears_nothing
from pipeline.profile import DocumentRules, Profile
from stages.blank import STROKES
from stages.bleed_through import may_show_through
from stages.errors import Refusal

log = logging.getLogger(__name__)

MOST_PROOFS = 400  # of one batch, half a second each; the backs of a box on thin paper would hold up its assembly
MOST_STAPLES = 2
MOST_DOUBTS_TOLD = 3  # a sentence is to be read; the places of all stand in the pages' readings


class TooManyHeld(Refusal):
    """So many pages of a batch are held that the pages are hardly at fault."""

    code: ClassVar[str] = "too-many-held"

    def __init__(self, held: int, pages: int) -> None:
        super().__init__(
            f"{held} of {pages} pages of this batch are held. That is rarely the pages' fault: look at the scanner "
            "(dirty glass, wrong resolution, wrong profile) before deciding page by page, then release the batch."
        )


class PartingInDoubt(Refusal):
    """Where one document ends and the next begins is not sure."""

    code: ClassVar[str] = "parting-in-doubt"

    def __init__(self, doubts: Sequence[str]) -> None:
        told = "; ".join(doubts[:MOST_DOUBTS_TOLD])
        more = f"; and {len(doubts) - MOST_DOUBTS_TOLD} more" if len(doubts) > MOST_DOUBTS_TOLD else ""
        super().__init__(
            f"Where the documents of this batch part is in doubt: {told}{more}. Look at the sheets. If they are pages "
            "of the record, release the batch: each stays in its document and parts nothing."
        )


def planned_documents(
    pages: Sequence[Page], rules: DocumentRules, *, batch_name: str, proven_blank: Collection[PageId] = ()
) -> tuple[list[PlannedDocument], dict[PageId, Exclusion]]:
    """Part the pages of a batch, given in their order, into documents; tell which are left out and why.

    A file with several pages is a document of its own; the single-page files of one folder are one document, or
    `rules` says otherwise. A separator ends the document before it and is in none, and neither is its blank other
    side. A page that is held takes its place as content: whatever it is, it is not lost. Pages left out before
    (waived, or replaced by a rescan) are given too: they keep sides paired and sheets counted, and are in no document.
    `proven_blank` are pages that were not surely blank and have been proven so since (see `sides_to_prove`).
    """
    exclusions: dict[PageId, Exclusion] = {}
    stacks: dict[str, _Stack] = {}
    documents: list[_Draft] = []
    for sheet in _sheets(pages, rules):
        left_out = _left_out(sheet, rules, proven_blank)
        exclusions.update(left_out)
        begins = any(rules.begins_document(side.page.readings) for side in sheet if side.is_seen)
        is_counted = False
        for side in sheet:
            stack = stacks.setdefault(_stack(side.delivered, rules), _Stack())
            if left_out.get(side.page.id) is Exclusion.SEPARATOR:
                stack.end()
                stack.title = next(iter(rules.titles_in(side.page.readings)), stack.title)
                continue
            if begins or stack.is_full(rules, at_new_sheet=not is_counted):
                stack.end()
                begins = False
            stack.sides += 1
            stack.sheets += not is_counted
            is_counted = True
            if side.page.excluded is not None or side.page.id in left_out:
                continue
            if stack.document is None:
                stack.document = _Draft(place=_title(side.delivered, rules, batch_name), title=stack.title)
                stack.title = ""
                documents.append(stack.document)
            stack.document.add(side.page, rules)
    titles = _with_numbers([draft.title or draft.place for draft in documents])
    return [
        PlannedDocument(title=title, pages=tuple(draft.pages)) for title, draft in zip(titles, documents, strict=True)
    ], exclusions


def parting_doubts(pages: Sequence[Page], rules: DocumentRules, *, proven_blank: Collection[PageId] = ()) -> list[str]:
    """Why it is not sure where the documents of a batch part, a clause each; empty if it is sure.

    Arguments are those of `planned_documents`.
    """
    doubts = []
    sheets = _sheets(pages, rules)
    odd = Counter(_sheet_stack(sheet[0].delivered) for sheet in sheets if len(sheet) == 1) if rules.duplex else {}
    for stack in odd:
        sides = sum(len(sheet) for sheet in sheets if _sheet_stack(sheet[0].delivered) == stack)
        doubts.append(f"{stack} has {sides} sides, an odd number, though both sides of every sheet are scanned")
    for sheet in sheets:
        for side in sheet:
            if side.is_seen and (doubt := rules.doubt_in(side.page.readings)):
                doubts.append(f"{_shown(side.delivered)}: {doubt}")
        if rules.by == "blank-sheet" and _may_be_blank(sheet, proven_blank):
            doubts.append(f"{_shown(sheet[0].delivered)}: the sheet may be blank, and a blank sheet parts documents")
    return doubts


def sides_to_prove(pages: Sequence[Page], rules: DocumentRules) -> list[tuple[Page, Page]]:
    """Each prepared page that may bear nothing but what shows through, with the other side, by which that is proven.

    Strokes are content by themselves; but print that shows through thin paper looks like them, and so do staples.
    """
    pairs = []
    for sheet in _sheets(pages, rules):
        if len(sheet) == 2 and all(side.is_seen for side in sheet):
            front, back = (side.page for side in sheet)
            pairs += [
                (page, other)
                for page, other in ((front, back), (back, front))
                if page.readings.get("blank.verdict") == "maybe" or page.readings.get("blank.reason") == STROKES
            ]
    return pairs


def assemble_batch(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do an ASSEMBLE_BATCH task.

    Raises:
        TooManyHeld: more of the batch is held than the profile takes for chance.
        PartingInDoubt: it is not sure where documents begin.
    """
    batch_id = BatchId(task.subject_id)
    batch = bureau.ledger.batch(batch_id)
    order = bureau.ledger.order_by_id(batch.order_id)
    profile = bureau.profile_of(order)
    received = bureau.ledger.pages_of_batch(batch_id)
    pages = [page for page in received if page.excluded is None]
    waived = bureau.ledger.waived(task.kind, task.subject_id)
    held = sum(page.prepared is None for page in pages)
    too_many = held >= profile.quality.min_held_pages and held > profile.quality.max_held_fraction * len(pages)
    if too_many and TooManyHeld.code not in waived:
        raise TooManyHeld(held, len(pages))
    proven = _proven_blank(bureau, received, profile)
    doubts = parting_doubts(received, profile.documents, proven_blank=proven)
    if doubts and PartingInDoubt.code not in waived:
        raise PartingInDoubt(doubts)
    documents, exclusions = planned_documents(received, profile.documents, batch_name=batch.name, proven_blank=proven)
    bureau.ledger.record_assembled(
        task,
        documents,
        exclusions,
        proven_blank=proven,
        seen={page.id: page.prepared for page in pages},
        who=who,
        reads_text=profile.reads_text(order.services),
        inspection=profile.qc.inspection,
    )


def _proven_blank(bureau: Bureau, pages: Sequence[Page], profile: Profile) -> set[PageId]:
    """The sides that bear nothing but what shows through of their other sides, by looking at the scans of both."""
    if profile.documents.exclude_blank != "sure" and profile.documents.by != "blank-sheet":
        return set()  # nothing depends on it
    pairs = [
        (page, other)
        for page, other in sides_to_prove(pages, profile.documents)
        if other.readings.get("blank.verdict") == "content"
        and (_has_few_strokes(page) or may_show_through(page.readings, other.readings))
    ]
    if len(pairs) > MOST_PROOFS:
        log.warning("%d sides may only show their other sides; %d of them are looked at", len(pairs), MOST_PROOFS)
    proven = set()
    for page, other in pairs[:MOST_PROOFS]:
        try:
            with bureau.store.local({page.source, other.source}) as files:
                side, back = (SideJob.by(profile, files[each.source], each.index_in_file) for each in (page, other))
                needs_bytes = bytes_for_page(page.megapixels + other.megapixels)
                if bureau.sandbox.call("Looking through a sheet", bears_nothing, side, back, needs_bytes=needs_bytes):
                    proven.add(page.id)
        except Refusal as refusal:
            log.info("page %d was not compared with its other side: %s", page.id, refusal.code)
    return proven


def _has_few_strokes(page: Page) -> bool:
    """Whether what is on a page may be the marks of staples."""
    marks = page.readings.get("blank.marks")
    return page.readings.get("blank.reason") == STROKES and isinstance(marks, int) and marks <= MOST_STAPLES


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a sheet: the page as it was first delivered, and the rescan that is in its place, if any."""

    delivered: Page
    page: Page

    @property
    def is_seen(self) -> bool:
        """Whether there are readings to go by: it was not left out, and is not held."""
        return self.page.excluded is None and self.page.prepared is not None


_Sheet = tuple[_Side, ...]


@dataclass(slots=True)
class _Draft:
    """A document in the making; `place` names it unless a barcode gives it a title."""

    place: str
    title: str
    pages: list[PageId] = field(default_factory=list)

    def add(self, page: Page, rules: DocumentRules) -> None:
        self.pages.append(page.id)
        if not self.title and page.prepared is not None:
            self.title = next(iter(rules.titles_in(page.readings)), "")


@dataclass(slots=True)
class _Stack:
    """What is open in a stack: a document, how much was counted since it began, the title a separator gave it."""

    document: _Draft | None = None
    title: str = ""
    sides: int = 0
    sheets: int = 0

    def end(self) -> None:
        self.document = None
        self.sides = self.sheets = 0

    def is_full(self, rules: DocumentRules, *, at_new_sheet: bool) -> bool:
        # sides and sheets are counted as they were scanned, blank or not: what is blank is a finding, and one wrong
        # finding would shift all documents behind it
        if rules.by == "count":
            return self.sides == rules.pages_each
        return rules.by == "sheet-count" and at_new_sheet and self.sheets == rules.sheets_each


def _sheets(pages: Sequence[Page], rules: DocumentRules) -> list[_Sheet]:
    """The sheets in the order of their first sides; where one side is scanned, each page is a sheet."""
    sides: dict[int, _Side] = {}
    for page in pages:
        earlier = sides.get(page.sequence)
        sides[page.sequence] = _Side(earlier.delivered if earlier else page, page)
    if not rules.duplex:
        return [(side,) for side in sides.values()]
    stacks: dict[str, list[_Side]] = {}
    for side in sides.values():
        stacks.setdefault(_sheet_stack(side.delivered), []).append(side)
    sheets = [tuple(stack[at : at + 2]) for stack in stacks.values() for at in range(0, len(stack), 2)]
    return sorted(sheets, key=lambda sheet: sheet[0].delivered.sequence)


def _left_out(sheet: _Sheet, rules: DocumentRules, proven_blank: Collection[PageId]) -> dict[PageId, Exclusion]:
    """Which sides of a sheet are left out of all documents."""
    separators = {
        side.page.id for side in sheet if side.is_seen and rules.exclusion_of(side.page.readings) is Exclusion.SEPARATOR
    }
    blank = {side.page.id for side in sheet if _is_blank(side, proven_blank)}
    if separators or (rules.by == "blank-sheet" and len(blank) == len(sheet)):
        return dict.fromkeys(sorted(separators | blank), Exclusion.SEPARATOR)
    return dict.fromkeys(sorted(blank), Exclusion.BLANK) if rules.exclude_blank == "sure" else {}


def _is_blank(side: _Side, proven_blank: Collection[PageId]) -> bool:
    return side.is_seen and (side.page.readings.get("blank.verdict") == "blank" or side.page.id in proven_blank)


def _may_be_blank(sheet: _Sheet, proven_blank: Collection[PageId]) -> bool:
    """Whether a sheet bears nothing for sure on no side, and is not surely blank either."""
    blank = [_is_blank(side, proven_blank) for side in sheet]
    perhaps = [side.is_seen and side.page.readings.get("blank.verdict") == "maybe" for side in sheet]
    return not all(blank) and all(sure or unsure for sure, unsure in zip(blank, perhaps, strict=True))


def _stack(page: Page, rules: DocumentRules) -> str:
    """Pages of one stack can belong to one document."""
    return f"file {page.file}" if rules.by == "file" else _sheet_stack(page)


def _sheet_stack(page: Page) -> str:
    """Pages of one stack were scanned one after the other: of one file, or of one folder with a file a page."""
    if page.pages_in_file > 1:
        return f"file {page.file}"
    return f"folder {PurePosixPath(page.file).parent}"


def _shown(page: Page) -> str:
    """How people find a page."""
    return f"{page.file}, page {page.index_in_file + 1}" if page.pages_in_file > 1 else page.file


def _title(page: Page, rules: DocumentRules, batch_name: str) -> str:
    path = PurePosixPath(page.file)
    if page.pages_in_file > 1 or rules.by == "file":
        return path.stem
    inner = path.parent.as_posix()
    return batch_name if inner == "." else f"{batch_name}/{inner}"


def _with_numbers(titles: Sequence[str]) -> list[str]:
    """Titles that occur more than once get their number: `box-1 (1)`, `box-1 (2)`."""
    times, seen = Counter(titles), Counter[str]()
    numbered = []
    for title in titles:
        seen[title] += 1
        numbered.append(f"{title} ({seen[title]})" if times[title] > 1 else title)
    return numbered
