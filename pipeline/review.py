"""What a person may decide about what is held: release, retry, waive, rescan. Everything says who and why."""

from __future__ import annotations

from pathlib import Path

from pipeline.assemble import PartingInDoubt, TooManyHeld
from pipeline.bureau import Bureau
from pipeline.intake import RepeatedDelivery, finish_interrupted, rescan_pages
from pipeline.ledger import AWAITING_RESCAN
from pipeline.model import PAGE_TASKS, Exclusion, Hold, PageId, TaskId, TaskKind
from stages.errors import (
    CutEdge,
    Illegible,
    QualityTooLow,
    RecognitionTimedOut,
    ResolutionTooLow,
    SizeDoubtful,
    SkewTooLarge,
    WordsLost,
)

RELEASABLE = frozenset(
    {
        SkewTooLarge.code,
        ResolutionTooLow.code,
        CutEdge.code,
        Illegible.code,
        SizeDoubtful.code,
        QualityTooLow.code,
        RecognitionTimedOut.code,
        WordsLost.code,
        TooManyHeld.code,
        PartingInDoubt.code,
        RepeatedDelivery.code,
    }
)


class CannotDecide(ValueError):
    """This decision does not fit what is held; the message says which do."""


def hold_with_id(bureau: Bureau, hold_id: int) -> Hold:
    """The hold that people call by this number.

    Raises:
        CannotDecide: nothing with this number is held (any more).
    """
    hold = bureau.ledger.hold_of(TaskId(hold_id))
    if hold is None:
        raise CannotDecide(f"Nothing with number {hold_id} is held. See: platen held list")
    return hold


def release(bureau: Bureau, hold: Hold, *, who: str, why: str) -> None:
    """Go on as it is, in spite of the refusal.

    Raises:
        CannotDecide: there is nothing to go on with.
    """
    if hold.code not in RELEASABLE:
        raise CannotDecide(
            f"“{hold.code}” cannot be released: there is nothing sound to go on with. Retry, rescan or waive it."
        )
    bureau.ledger.decide_release(hold, who=who, why=why)


def retry(bureau: Bureau, hold: Hold, *, who: str, why: str) -> None:
    """Do the same again (after a repair, another setting, a restart)."""
    bureau.ledger.decide_retry(hold, who=who, why=why)


def waive(bureau: Bureau, hold: Hold, *, who: str, why: str) -> None:
    """Do without: a page is left out and not billed; a repeated delivery is set aside; an order is not filmed.

    Raises:
        CannotDecide: a whole document, batch or order cannot be done without.
    """
    if hold.kind in PAGE_TASKS:
        bureau.ledger.decide_exclude(hold, Exclusion.WAIVED, who=who, why=why)
    elif hold.kind is TaskKind.RECEIVE_BATCH:
        bureau.ledger.drop_delivery(hold, who=who, why=why)
        finish_interrupted(bureau)
    elif hold.kind is TaskKind.PLAN_ROLLS:
        bureau.ledger.deliver_unfilmed(hold, who=who, why=why)
    else:
        raise CannotDecide(
            f"Only a page, a repeated delivery or the film of an order can be waived; this is {hold.kind.value}. "
            "Retry it."
        )


def ask_for_rescan(bureau: Bureau, hold: Hold, *, who: str, why: str) -> str:
    """Let a held page wait for a new scan, which the scanner's operator drops; gives the sentence that says how.

    Raises:
        CannotDecide: it is not a page that is held.
    """
    _held_page(hold)
    if hold.code == AWAITING_RESCAN:
        return hold.sentence
    sentence = (
        f"This page waits for a new scan. Drop it as inbox/{hold.order}/RESCAN-{hold.id}.tif (or .jpg, .png, .pdf), or "
        f"name it: platen held rescan {hold.id} --scan FILE --why WHY. It was held because: {hold.sentence}"
    )
    bureau.ledger.await_rescan(hold, sentence, who=who, why=why)
    return sentence


def rescan(bureau: Bureau, hold: Hold, scan: Path, *, who: str, why: str) -> None:
    """Put a new scan in the place of a held page; the first one is kept and counted as `rescan`.

    Raises:
        CannotDecide: it is not a page that is held, or the scan is of several pages.
        HeldNoLonger: somebody was quicker.
    """
    page_id = _held_page(hold)
    if (pages := rescan_pages(bureau, scan)) != 1:
        raise CannotDecide(f"{scan.name} has {pages} pages; a rescan takes the place of one. Scan that sheet alone.")
    bureau.ledger.replace_page(page_id, scan.name, bureau.store.put_file(scan.resolve()), who=who, why=why)


def _held_page(hold: Hold) -> PageId:
    if hold.page_id is None:
        raise CannotDecide(f"Only a page can be rescanned; this is {hold.kind.value}. Retry it.")
    return hold.page_id
