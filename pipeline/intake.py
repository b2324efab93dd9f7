"""A dropped folder or file becomes a batch, whole or not at all; what cannot be taken goes to error/ with WHY."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pipeline.bureau import Bureau
from pipeline.ledger import AWAITING_RESCAN, HeldNoLonger, OrderNotOpen
from pipeline.model import Delivery, DeliveryId, OrderStatus, ReceivedPage, Sha256, Task, TaskId, WorkOrder
from pipeline.rescans import WrongRescans, is_rescan_sheet, rescans_in, sheet_of
from pipeline.store import NoPlainFile, fsync_path, plain_file
from stages.errors import Refusal, UnreadableImage
from stages.page_image import PageImage
from stages.read import page_count
from stages.sheets import Ticket, ticket_sheet

log = logging.getLogger(__name__)

WORK_FOLDER = ".work"  # inside the inbox, so that a claim is a rename on one file system
READY_MARKERS = frozenset({".ready", ".done"})
OPERATOR_FILE = ".operator"  # in a dropped folder: its first line is the name of who scanned it
LONGEST_OPERATOR = 60
_OPERATOR_BYTES = 4 * LONGEST_OPERATOR + 2
_JUNK_NAMES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir", "__macosx", "$recycle.bin"})
_JUNK_ENDINGS = (".part", ".tmp", ".crdownload", ".lnk")
_RESCAN_NAME = re.compile(r"RESCAN-(?P<hold>[0-9]{1,15})\.[^.]+", re.IGNORECASE)
# line breaks and control signs would break seals, film tables, XMP and printed pages; Cs is what is no UTF-8
_UNFIT_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# embeddings, overrides and isolates of writing direction: a name with them reads as another one
_UNFIT_SIGNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
RESCAN_TAKEN = "the rescan that was asked for"
_SETTLED = "taken in or set aside"
_NAME_BYTES = 255  # what Linux and the usual network shares take for one name


class RepeatedDelivery(Refusal):
    """The same files came before for the same order."""

    code: ClassVar[str] = "same-delivery-twice"

    def __init__(self, name: str, order: str) -> None:
        super().__init__(
            f"“{name}” holds exactly the files of a batch that order {order} has already. Nothing was taken or billed. "
            "Release it to take it as a further batch, or waive it to set it aside."
        )


class RefusedDelivery(Exception):
    """The delivery cannot be taken at all; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredFile:
    """One file of a delivery: its path inside it in signs that can be kept, its size, its digest."""

    name: str
    size: int
    digest: Sha256


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is left behind by systems and never a scan."""
    lowered = name.lower()
    return lowered.startswith((".", "~")) or lowered.endswith(("~", *_JUNK_ENDINGS)) or lowered in _JUNK_NAMES


def natural_key(name: str) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """Sorts `page 2` before `page 10`, folder by folder; names that count the same (`1`, `01`) by their signs."""
    parts = re.split(r"(\d+)", name.casefold().replace("/", "\0"))
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part), name


def keepable(name: str) -> str:
    """The name in signs that tables and printed pages can hold: a line break and the like as Python writes them."""
    return "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.category(sign) in _UNFIT_CATEGORIES or sign in _UNFIT_SIGNS
        else sign
        for sign in name
    )


def scan_files(root: Path) -> list[str]:
    """The files of a delivery, as paths inside it with forward slashes, in natural order, junk left out.

    Links are not followed and not taken: what is delivered must be in the delivery.

    Raises:
        PermissionError: a folder cannot be looked into, so nobody knows what would be missing.
    """
    return sorted((name for name, _ in delivered(root)), key=natural_key)


def delivered(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The files of `scan_files` in no order, with size and time of each; one look at each file and no more.

    Raises:
        PermissionError: a folder cannot be looked into.
    """
    if root.is_file():
        yield root.name, root.stat()
    elif root.is_dir():  # no pipe, no device
        yield from _delivered_below(root, "")


def _delivered_below(folder: str | os.PathLike[str], place: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_junk(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _delivered_below(entry.path, f"{place}{entry.name}/")
            elif entry.is_file(follow_symlinks=False) and entry.name != "WHY.txt":
                yield place + entry.name, entry.stat(follow_symlinks=False)


def batch_digest(files: Iterable[DeliveredFile]) -> str:
    """The identity of a delivery: its names, sizes and contents, in whatever order and place they came."""
    lines = sorted(json.dumps([file.name, file.size, file.digest]) for file in files)
    return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


def receive_delivery(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a RECEIVE_BATCH task: take the delivery in, or refuse it whole.

    Raises:
        RepeatedDelivery: the order has had exactly these files; a person decides.
    """
    delivery = bureau.ledger.delivery(DeliveryId(task.subject_id))
    try:
        place = _claimed_place(bureau, delivery)
        delivery = replace(delivery, operator=delivery.operator or operator_named_in(place))
        files = _delivered_files(bureau, place)
        pages = _pages(bureau, files)
        if rescan := _rescan_of(delivery, place):
            _receive_rescan(bureau, task, delivery, pages, rescan, who=who)
            return
        if len(pages) > 1 and is_rescan_sheet(bureau, pages[0]):
            _receive_rescans(bureau, task, delivery, pages, who=who)
            return
        order = _order_of(bureau, delivery, pages[0])
        try:
            kept = replace(delivery, name=keepable(delivery.name))
            batch = bureau.ledger.record_received(task, order.id, kept, batch_digest(files), pages, who=who)
        except OrderNotOpen as error:
            raise RefusedDelivery(
                f"{error} Reopen it (platen order reopen {order.number}), then drop this again."
            ) from error
    except RefusedDelivery as refused:
        bureau.ledger.record_refused_delivery(task, delivery.id, str(refused), who=who)
        log.warning("delivery %d refused", delivery.id)
        clear_away(bureau, delivery.id, str(refused), done=False)
        return
    if batch is None:
        raise RepeatedDelivery(delivery.name, order.number)
    log.info("received batch %d: %d pages in %d files", batch, len(pages), len(files))
    clear_away(bureau, delivery.id, "received", done=True)


def was_taken(outcome: str) -> bool:
    """Whether a delivery's outcome, as the ledger keeps it, is none of refusal."""
    return outcome in ("received", RESCAN_TAKEN, _SETTLED)


def clear_away(bureau: Bureau, delivery_id: DeliveryId, outcome: str, *, done: bool) -> None:
    """Move a decided delivery to its last place: done/ or error/ with WHY.txt.

    Safe to repeat after a crash, and beside the watcher, which does the same for what it finds undone.
    """
    delivery = bureau.ledger.delivery(delivery_id)
    work = _work_folder(bureau, delivery_id)
    inner = work / delivery.name
    if delivery.moves and inner.exists():
        if done:
            target = free_place(bureau.settings.folder("done") / (delivery.order_number or "no-order") / delivery.name)
            moved = inner
        else:
            # a single file gets a folder to lie in with its reason
            name, moved = (delivery.name, inner) if inner.is_dir() else (_stem(delivery.name), work)
            target = free_place(bureau.settings.folder("error") / name)
            with contextlib.suppress(FileNotFoundError, PermissionError):  # the ledger keeps the reason too
                _write_why(moved, delivery.name, outcome)
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # somebody else moves it at this moment
            moved.rename(target)
            fsync_path(target.parent)
    with contextlib.suppress(FileNotFoundError):
        work.rmdir()
    bureau.ledger.finish_delivery(delivery_id, outcome)


def finish_interrupted(bureau: Bureau) -> None:
    """Move what was decided but not yet moved: the power went, or a person has just decided."""
    for delivery_id, reason, _ in bureau.ledger.decided_deliveries():
        try:
            # only a refusal is written down with its reason before it is moved
            clear_away(bureau, delivery_id, reason or _SETTLED, done=not reason)
        except OSError as error:
            # it is tried again with the next look; the others need not wait for it
            log.error("delivery %d cannot be moved to its last place: %s", delivery_id, error.strerror)


def _claimed_place(bureau: Bureau, delivery: Delivery) -> Path:
    """Where the delivery's files are, out of everybody's way."""
    source = Path(delivery.source)
    if not delivery.moves:
        if not source.exists():
            raise RefusedDelivery(f"{source} is not there any more.")
        return source
    inner = _work_folder(bureau, delivery.id) / delivery.name
    if not inner.exists():
        # a bureau restored from a backup to another place must not take what lies in the inbox of the first
        if not source.is_relative_to(bureau.settings.folder("inbox")) or not source.exists():
            raise RefusedDelivery(f"{source} was taken away before it could be received. Drop it again.")
        inner.parent.mkdir(parents=True, exist_ok=True)
        source.rename(inner)
        fsync_path(inner.parent)
    if delivery.source != str(inner):
        bureau.ledger.note_moved(delivery.id, str(inner))  # the place in the inbox is free for another delivery
    return inner


def _delivered_files(bureau: Bureau, place: Path) -> list[DeliveredFile]:
    """Every file of the delivery, kept in the store."""
    root = place if place.is_dir() else place.parent
    try:
        if place.is_symlink():  # put in the place of what was announced
            raise NoPlainFile(f"{keepable(place.name)} is a link")
        names = scan_files(place)
        if not names:
            raise RefusedDelivery("There is no file in it. Drop the folder again when the scans are in it.")
        return [_stored(bureau, root, name) for name in names]
    except NoPlainFile as error:
        raise RefusedDelivery(f"{error} and no scan. Drop it again with the files themselves in it.") from error
    except PermissionError as error:
        denied = Path(os.fsdecode(error.filename or place))
        if not denied.is_relative_to(root):
            raise  # it is the store that may not be written: no fault of the delivery
        name = keepable(denied.name)
        raise RefusedDelivery(
            f"“{name}” in it may not be read by this service. Give the service the right to read it, then drop it "
            "again."
        ) from error


def _stored(bureau: Bureau, root: Path, name: str) -> DeliveredFile:
    digest = bureau.store.put_file(root / name)
    # the size of what was kept: the delivered file may still change
    return DeliveredFile(name=keepable(name), size=bureau.store.size_bytes(digest), digest=digest)


def _rescan_of(delivery: Delivery, place: Path) -> TaskId | None:
    """The number of the hold whose new scan this is by its name; only in an order's folder, and only a file."""
    named = _RESCAN_NAME.fullmatch(delivery.name)
    if named is None or delivery.order_number is None or not place.is_file():
        return None
    return TaskId(int(named["hold"]))


def _receive_rescan(
    bureau: Bureau, task: Task, delivery: Delivery, pages: Sequence[ReceivedPage], hold_id: TaskId, *, who: str
) -> None:
    """Put the dropped scan in the place of the page that waits for it."""
    hold = bureau.ledger.hold_of(hold_id)
    if hold is None or hold.code != AWAITING_RESCAN or hold.order != delivery.order_number:
        raise RefusedDelivery(
            f"No page of {delivery.order_number} waits for a rescan under number {hold_id}. See platen held list; ask "
            f"for one with platen held rescan {hold_id}, then drop this again."
        )
    if len(pages) != 1:
        raise RefusedDelivery(f"It has {len(pages)} pages; a rescan takes the place of one. Scan that sheet alone.")
    try:
        bureau.ledger.record_rescans(task, [(hold, pages[0])], delivery, delivery.order_number or "", who=who)
    except HeldNoLonger as error:
        raise RefusedDelivery(str(error)) from error
    log.info("delivery %d replaces the page of hold %d", delivery.id, hold_id)
    clear_away(bureau, delivery.id, RESCAN_TAKEN, done=True)


def _receive_rescans(
    bureau: Bureau, task: Task, delivery: Delivery, pages: Sequence[ReceivedPage], *, who: str
) -> None:
    """Put the papers behind rescan sheets in the places of the pages that wait for them: all of them, or none."""
    try:
        rescans = rescans_in(bureau, pages, order_number=delivery.order_number)
        bureau.ledger.record_rescans(
            task, rescans.replacements, delivery, rescans.order_number, left_out=rescans.left_out, who=who
        )
    except (WrongRescans, HeldNoLonger) as error:
        raise RefusedDelivery(str(error)) from error
    log.info("delivery %d replaces %d pages", delivery.id, len(rescans.replacements))
    clear_away(bureau, delivery.id, RESCAN_TAKEN, done=True)


def rescan_pages(bureau: Bureau, scan: Path) -> int:
    """How many pages a new scan has; one when it cannot be read, since preparing it tells what is wrong."""
    try:
        return bureau.sandbox.call("Counting pages", page_count, scan)
    except UnreadableImage:
        return 1


def _order_of(bureau: Bureau, delivery: Delivery, first: ReceivedPage) -> WorkOrder:
    number = delivery.order_number
    if number is None:
        try:
            number = sheet_of(bureau, first).ticket
        except Refusal as refusal:
            raise RefusedDelivery(
                f"It lies outside any order's folder, and its first sheet ({first.file}) cannot be read for a ticket: "
                f"{refusal.sentence}"
            ) from refusal
        if not number:
            raise RefusedDelivery(
                f"There is no work order {keepable(delivery.name)}, and the first sheet is no batch ticket, so nothing "
                "says where it belongs. Drop it into inbox/<order number>/, or put a ticket (platen ticket <order "
                "number>) on top and scan again."
            )
    order = bureau.ledger.order(number)
    if order is None:
        raise RefusedDelivery(f"There is no work order {number}. Open it (platen order open), then drop this again.")
    if order.status is not OrderStatus.OPEN:
        raise RefusedDelivery(
            f"Work order {number} is {order.status.value}. Reopen it (platen order reopen {number}), then drop this "
            "again."
        )
    return order


def ticket_for(order: WorkOrder, box: str | None, bureau_name: str) -> PageImage:
    """The batch ticket of an order, ready to print."""
    details = {"Customer": order.customer, "Title": order.title, "Series": order.series}
    pixels = ticket_sheet(
        Ticket(order_number=order.number, box=box or ""),
        bureau_name=bureau_name,
        details={name: value for name, value in details.items() if value},
    )
    return PageImage(pixels=pixels > 127, dpi=300.0)


def _pages(bureau: Bureau, files: Iterable[DeliveredFile]) -> list[ReceivedPage]:
    pages = []
    for file in files:
        try:
            with bureau.store.local([file.digest]) as kept:
                count = bureau.sandbox.call("Counting pages", page_count, kept[file.digest])
        except UnreadableImage:
            count = 1  # it is one page of the count, and preparing will hold it with the reason
        except Refusal as refusal:
            # its first page might be prepared all the same, and the others would be lost
            raise RefusedDelivery(f"The pages of “{file.name}” cannot be counted: {refusal.sentence}") from refusal
        pages += [
            ReceivedPage(file=file.name, index_in_file=index, pages_in_file=count, source=file.digest)
            for index in range(count)
        ]
    return pages


def operator_named_in(place: Path) -> str:
    """Who scanned a delivery, by the first line of its file `.operator`; empty if nobody says, or in no plain words."""
    try:
        with plain_file(place / OPERATOR_FILE) as file:
            first = file.readline(_OPERATOR_BYTES)
    except (OSError, NoPlainFile):
        return ""
    name = first.decode("utf-8", "replace").strip()
    return name if name.isprintable() and len(name) <= LONGEST_OPERATOR else ""


def _work_folder(bureau: Bureau, delivery_id: DeliveryId) -> Path:
    return bureau.settings.folder("inbox") / WORK_FOLDER / str(delivery_id)


def _write_why(folder: Path, name: str, reason: str) -> None:
    place = folder / "WHY.txt"
    if place.is_symlink() or place.is_file():
        place.unlink()  # written into, a link would change a file anywhere on this machine
    with free_place(place).open("x", encoding="utf-8") as stream:
        stream.write(f"“{keepable(name)}” was not taken in. Nothing was counted or billed.\n\n{reason}\n")


def _stem(name: str) -> str:
    return Path(name).stem or name


def free_place(path: Path) -> Path:
    """The path, or the path with a number if something lies there; a name that is too long for a disk is cut."""
    candidate, number = path.with_name(_fitting(path.name, "")), 1
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(_fitting(path.name, f" ({number})"))
    return candidate


def _fitting(name: str, ending: str) -> str:
    return name.encode()[: _NAME_BYTES - len(ending)].decode(errors="ignore") + ending
