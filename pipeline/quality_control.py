"""Quality control: samples are drawn, and people who did not scan the pages look at them."""

from __future__ import annotations

import secrets

from pipeline.bureau import Bureau
from pipeline.defects import DEFECTS, GRAVE, Defect, Verdict
from pipeline.ledger.lots import Lot, LotPage
from pipeline.model import BatchId, Inspection, LotState, Page, Task
from pipeline.sampling import drawn

SEED_BYTES = 16
LONGEST_NOTE = 500
SCANNER = "read.scanner"  # the reading that names it; empty where the file does not say
SEVERAL_SCANNERS = "several scanners"


class CannotLook(ValueError):
    """This person may not say this about this page; the message says why."""


def draw_sample(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do an INSPECT_BATCH task: draw the pages that are looked at. People do the rest.

    The seed comes from the system's source of chance, so that nobody can foresee the sample, and is kept, so that
    everybody can draw it again.

    Raises:
        LotChanged: a page was left out meanwhile; draw again.
    """
    batch_id = BatchId(task.subject_id)
    batch = bureau.ledger.batch(batch_id)
    rules = bureau.profile_of(bureau.ledger.order_by_id(batch.order_id)).qc
    pages = bureau.ledger.pages_to_inspect(batch_id)
    plan = rules.sampling(len(pages))
    seed = secrets.token_hex(SEED_BYTES)
    lot = [page.id for page in pages]
    bureau.ledger.record_drawn(
        task,
        plan,
        plan_words=rules.words,
        seed=seed,
        lot=lot,
        sample=drawn(lot, plan.sample, seed),
        scanner=_scanner_of(pages),
        who=who,
    )


def say_good(bureau: Bureau, lot: Lot, page: LotPage, *, who: str) -> None:
    """Somebody has looked at the page and found it good.

    Raises:
        CannotLook: not this person.
        NotToBeLookedAt: it is not to be looked at now, or somebody was quicker.
    """
    _check_second_person(page, who)
    bureau.ledger.record_verdict(lot.id, page.id, Verdict.GOOD, None, seen=page.verdict, sentence="", note="", who=who)


def say_defect(bureau: Bureau, lot: Lot, page: LotPage, defect: Defect, *, note: str, who: str) -> None:
    """Somebody has looked at the page and found a defect.

    Raises:
        CannotLook: not this person, or the note is missing or too long.
        NotToBeLookedAt: it is not to be looked at now, or somebody was quicker.
    """
    _check_second_person(page, who)
    note = " ".join(note.split())
    if len(note) > LONGEST_NOTE:
        raise CannotLook(f"The note has at most {LONGEST_NOTE} characters.")
    if defect is Defect.OTHER and not note:
        raise CannotLook("Write into the note which defect it is.")
    verdict, words = DEFECTS[defect]
    told = f"{words} ({defect.value}, {verdict.value} defect)" + (f"; “{note}”" if note else "")
    remedy = (
        " Have it scanned again, leave it out, or release it as it is. Retry: somebody looks at it again."
        if verdict in GRAVE
        else ""
    )
    bureau.ledger.record_verdict(
        lot.id, page.id, verdict, defect,
        seen=page.verdict, sentence=f"Quality control, {who}: {told}.{remedy}", note=note, who=who,
    )  # fmt: skip


def may_look(page: LotPage, who: str) -> bool:
    """Whether somebody may judge the page: not who scanned it. Where nobody said who that was, it cannot be told."""
    return not page.operator or page.operator.strip().casefold() != who.strip().casefold()


def awaited(lot: Lot) -> str:
    """What a batch still waits for in quality control, as a clause; empty when it has passed."""
    parts = []
    if lot.pages_left:
        parts.append(f"{_pages(lot.pages_left)} to be read or decided")
    if lot.to_look:
        parts.append(f"{_pages(lot.to_look)} to be looked at")
    if lot.undecided:
        parts.append(f"a decision about {_pages(lot.undecided)} with a grave defect")
    if not parts and lot.passed_at is None:
        parts.append("its sample to be drawn")
    return " and ".join(parts)


def delays(lot: Lot) -> bool:
    """Whether the order's delivery waits for this lot."""
    return lot.inspection is Inspection.BEFORE and lot.state is not LotState.PASSED


def _check_second_person(page: LotPage, who: str) -> None:
    if not may_look(page, who):
        raise CannotLook(f"{who} scanned this page. Somebody else must look at it.")


def _scanner_of(pages: list[Page]) -> str:
    names = {str(page.readings.get(SCANNER) or "") for page in pages}
    return names.pop() if len(names) == 1 else SEVERAL_SCANNERS if names else ""


def _pages(number: int) -> str:
    return f"{number:,} page" if number == 1 else f"{number:,} pages"
