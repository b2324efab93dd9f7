"""Somebody who looks at the pages drawn for quality control, by the functions that console and terminal call.

`python tests/whole/reviewer.py NAME` looks until it is ended. It remembers nothing: whoever is killed in the middle of
a judgement and comes back knows from the ledger what is left to say. What is on the paper: in a batch called `SPOILT`
every page that is drawn looks bad until the sample is rejected, and the first page was scanned badly.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from PIL import Image

from pipeline import review
from pipeline.bureau import Bureau
from pipeline.defects import Defect
from pipeline.ledger import QUALITY_DEFECT, HeldNoLonger, NotToBeLookedAt
from pipeline.ledger.lots import Lot, LotPage
from pipeline.model import BatchId, Hold
from pipeline.quality_control import say_defect, say_good
from pipeline.settings import Settings

SCANNED_BY = "lee"  # who scans, and scans again; the reviewers are others
SPOILT = "box-2"
LOOK_S = 0.3  # a page is looked at for so long: things fail between two of them


def main() -> None:
    """Look at what is drawn and decide about what was found, until killed; an error ends it, as it ends a command."""
    with closing(Bureau.open(Settings())) as bureau:
        while True:
            for lot in bureau.ledger.lots_under_way(limit=None):
                _look(bureau, lot.id, sys.argv[1])
            for hold in bureau.ledger.holds():
                if hold.code == QUALITY_DEFECT:
                    with suppress(HeldNoLonger):  # the other reviewer was quicker
                        _decide(bureau, hold)
            time.sleep(LOOK_S)


def _look(bureau: Bureau, lot_id: BatchId, who: str) -> None:
    """Judge a page of a lot that nobody has judged, if there is one."""
    waiting = [p for p in bureau.ledger.lot_pages(lot_id, limit=None) if p.verdict is None and p.can_be_judged]
    # asked after its pages: if the other reviewer rejects the sample in between, this page is judged already
    lot = bureau.ledger.lot(lot_id)
    if not waiting or lot is None:
        return
    time.sleep(LOOK_S)
    page = waiting[-1]  # not the first page: what rejects the sample must not be what is scanned again
    with suppress(NotToBeLookedAt):  # the other reviewer was quicker
        if (defect := _defect_of(lot, page)) is None:
            say_good(bureau, lot, page, who=who)
        else:
            say_defect(bureau, lot, page, defect, note="", who=who)


def _defect_of(lot: Lot, page: LotPage) -> Defect | None:
    if lot.batch != SPOILT or page.revision:
        return None
    if page.sequence == 1:
        return Defect.BLURRED
    return None if lot.rejected else Defect.TEXT_POOR


def _decide(bureau: Bureau, hold: Hold) -> None:
    """The first page is scanned again, the other is delivered as it is."""
    assert hold.page_id is not None
    page = bureau.ledger.page(hold.page_id)
    if page.sequence > 1:
        review.release(bureau, hold, who=SCANNED_BY, why="the paper is not better")
        return
    with tempfile.TemporaryDirectory(prefix="rescan-") as folder, bureau.store.local([page.source]) as files:
        scan = Path(folder) / page.file  # the same name: whether a page is read twice is drawn from it
        with Image.open(files[page.source]) as sheets:
            sheets.seek(page.index_in_file)
            sheets.save(scan, compression="group4", dpi=sheets.info["dpi"])
        review.rescan(bureau, hold, scan, who=SCANNED_BY, why="blurred")


if __name__ == "__main__":
    main()
