"""What a person may decide about what is held: release, retry, waive, rescan. Everything says who and why."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pipeline.assemble import PartingInDoubt, TooManyHeld
from pipeline.bureau import Bureau
from pipeline.intake import RepeatedDelivery, finish_interrupted, rescan_pages
from pipeline.ledger import AWAITING_INSPECTION, AWAITING_RESCAN, QUALITY_DEFECT, HeldNoLonger
from pipeline.model import PAGE_TASKS, Exclusion, Hold, PageId, TaskId, TaskKind
from stages.errors import (
    CutEdge,
    Illegible,
    QualityTooLow,
    RecognitionTimedOut,
    RescanDoubtful,
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
        RescanDoubtful.code,
        TooManyHeld.code,
        PartingInDoubt.code,
        RepeatedDelivery.code,
        QUALITY_DEFECT,
    }
)


HELD_BECAUSE = "It was held because: "  # before the first reason in the sentence of a page that waits for a rescan


class Decision(StrEnum):
    """What a person may say about something held."""

    RELEASE = "release"
    RETRY = "retry"
    WAIVE = "waive"
    RESCAN = "rescan"


class CannotDecide(ValueError):
    """This decision does not fit what is held; the message says which do."""


def decisions(hold: Hold) -> frozenset[Decision]:
    """What may be decided about this hold."""
    if hold.code == AWAITING_INSPECTION:
        return frozenset()  # it is decided page by page
    fits = {Decision.RETRY}
    if hold.code in RELEASABLE:
        fits.add(Decision.RELEASE)
    if hold.kind in PAGE_TASKS or hold.kind in (TaskKind.RECEIVE_BATCH, TaskKind.PLAN_ROLLS):
        fits.add(Decision.WAIVE)
    if hold.page_id is not None:
        fits.add(Decision.RESCAN)
    return frozenset(fits)


def decide(bureau: Bureau, hold: Hold, decision: Decision, *, who: str, why: str) -> str:
    """Carry a decision out; gives in a sentence what becomes of the thing.

    Raises:
        CannotDecide: it does not fit what is held.
        HeldNoLonger: somebody was quicker.
    """
    match decision:
        case Decision.RELEASE:
            release(bureau, hold, who=who, why=why)
            return "It goes on as it is."
        case Decision.RETRY:
            retry(bureau, hold, who=who, why=why)
            return "It is done again."
        case Decision.WAIVE:
            waive(bureau, hold, who=who, why=why)
            return "It is done without."
        case Decision.RESCAN:
            return ask_for_rescan(bureau, hold, who=who, why=why)


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
        HeldNoLonger: somebody was quicker.
    """
    if Decision.RELEASE not in decisions(hold):
        raise CannotDecide(
            f"“{hold.code}” cannot be released: there is nothing sound to go on with. Retry, rescan or waive it."
        )
    _check_counted(bureau.ledger.decide_release(hold, who=who, why=why))


def retry(bureau: Bureau, hold: Hold, *, who: str, why: str) -> None:
    """Do the same again (after a repair, another setting, a restart).

    Raises:
        CannotDecide: people look at the pages of a batch, and nothing else helps.
        HeldNoLonger: somebody was quicker.
    """
    if Decision.RETRY not in decisions(hold):
        raise CannotDecide(f"The batch goes on when its pages have been looked at. {hold.sentence}")
    _check_counted(bureau.ledger.decide_retry(hold, who=who, why=why))


def waive(bureau: Bureau, hold: Hold, *, who: str, why: str) -> None:
    """Do without: a page is left out and not billed; a repeated delivery is set aside; an order is not filmed.

    Raises:
        CannotDecide: a whole document, batch or order cannot be done without.
        HeldNoLonger: somebody was quicker.
    """
    if hold.kind in PAGE_TASKS:
        _check_counted(bureau.ledger.decide_exclude(hold, Exclusion.WAIVED, who=who, why=why))
    elif hold.kind is TaskKind.RECEIVE_BATCH:
        _check_counted(bureau.ledger.drop_delivery(hold, who=who, why=why))
        finish_interrupted(bureau)
    elif hold.kind is TaskKind.PLAN_ROLLS:
        _check_counted(bureau.ledger.deliver_unfilmed(hold, who=who, why=why))
    else:
        raise CannotDecide(
            f"Only a page, a repeated delivery or the film of an order can be waived; this is {hold.kind.value}. "
            "Retry it."
        )


def ask_for_rescan(bureau: Bureau, hold: Hold, *, who: str, why: str) -> str:
    """Let a held page wait for a new scan, which the scanner's operator drops; gives the sentence that says how.

    Raises:
        CannotDecide: it is not a page that is held.
        HeldNoLonger: somebody was quicker.
    """
    _held_page(hold)
    if hold.code == AWAITING_RESCAN:
        return hold.sentence
    sentence = (
        "This page waits for a new scan. Print its rescan sheet, lay it on the paper, scan both and drop the scan; or "
        f"drop the paper's scan alone as inbox/{hold.order}/RESCAN-{hold.id}.tif (or .jpg, .png, .pdf). "
        f"{HELD_BECAUSE}{hold.sentence}"
    )
    _check_counted(bureau.ledger.await_rescan(hold, sentence, who=who, why=why))
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


def _check_counted(was_held: bool) -> None:
    if not was_held:
        raise HeldNoLonger


def _held_page(hold: Hold) -> PageId:
    if hold.page_id is None:
        raise CannotDecide(f"Only a page can be rescanned; this is {hold.kind.value}. Retry it.")
    return hold.page_id
