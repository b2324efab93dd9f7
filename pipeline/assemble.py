"""A batch's pages become documents: separators part, blanks are set aside, everything is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from pipeline.bureau import Bureau
from pipeline.model import BatchId, Exclusion, Page, PageId, PlannedDocument, Task
from pipeline.profile import DocumentRules
from stages.errors import Refusal


class TooManyHeld(Refusal):
    """So many pages of a batch are held that the pages are hardly at fault."""

    code: ClassVar[str] = "too-many-held"

    def __init__(self, held: int, pages: int) -> None:
        super().__init__(
            f"{held} of {pages} pages of this batch are held. That is rarely the pages' fault: look at the scanner "
            "(dirty glass, wrong resolution, wrong profile) before deciding page by page, then release the batch."
        )


def planned_documents(
    pages: Sequence[Page], rules: DocumentRules, *, batch_name: str
) -> tuple[list[PlannedDocument], dict[PageId, Exclusion]]:
    """Part the pages of a batch, given in their order, into documents; tell which are left out and why.

    A file with several pages is a document of its own; the single-page files of one folder are one document, or
    `rules` says otherwise. A separator ends the document before it and is in none. A page that is held takes its place
    as content: whatever it is, it is not lost.
    """
    exclusions: dict[PageId, Exclusion] = {}
    documents: list[tuple[str, list[PageId]]] = []
    open_documents: dict[str, list[PageId]] = {}
    for page in pages:
        reason = rules.exclusion_of(page.readings) if page.prepared is not None else None
        if reason is not None:
            exclusions[page.id] = reason
            if reason is Exclusion.SEPARATOR:
                open_documents.pop(_stack(page, rules), None)
            continue
        stack = _stack(page, rules)
        document = open_documents.get(stack)
        if document is None or (rules.by == "count" and len(document) == rules.pages_each):
            document = open_documents[stack] = []
            documents.append((_title(page, rules, batch_name), document))
        document.append(page.id)
    numbered = _with_numbers([title for title, _ in documents])
    return [
        PlannedDocument(title=title, pages=tuple(ids)) for title, (_, ids) in zip(numbered, documents, strict=True)
    ], exclusions


def assemble_batch(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do an ASSEMBLE_BATCH task.

    Raises:
        TooManyHeld: more of the batch is held than the profile takes for chance.
    """
    batch_id = BatchId(task.subject_id)
    batch = bureau.ledger.batch(batch_id)
    order = bureau.ledger.order_by_id(batch.order_id)
    profile = bureau.profile_of(order)
    pages = [page for page in bureau.ledger.pages_of_batch(batch_id) if page.excluded is None]
    held = sum(page.prepared is None for page in pages)
    too_many = held >= profile.quality.min_held_pages and held > profile.quality.max_held_fraction * len(pages)
    if too_many and TooManyHeld.code not in bureau.ledger.waived(task.kind, task.subject_id):
        raise TooManyHeld(held, len(pages))
    documents, exclusions = planned_documents(pages, profile.documents, batch_name=batch.name)
    bureau.ledger.record_assembled(
        task,
        documents,
        exclusions,
        seen={page.id: page.prepared for page in pages},
        who=who,
        reads_text=profile.reads_text(order.services),
    )


def _stack(page: Page, rules: DocumentRules) -> str:
    """Pages of one stack can belong to one document."""
    if page.pages_in_file > 1 or rules.by == "file":
        return f"file {page.file}"
    return f"folder {PurePosixPath(page.file).parent}"


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
