"""Take every count, digest and seal again: the ledger against itself, the store, the packages and the film."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

import bagit

from pipeline.billing import amount_of, load_rate_card, units
from pipeline.bureau import Bureau
from pipeline.film_check import check_film_folder
from pipeline.ledger.recount import BatchRecount, OrderRecount
from pipeline.ledger.reports import OrderReport
from pipeline.model import OrderStatus, PageCounts, Sha256, TaskKind, TaskState
from pipeline.orphans import DAY_S, orphans
from pipeline.packaging import document_file_name, package_folder
from stages.errors import Refusal

_ABANDONED_MS = 600_000  # the floor looks for tasks of dead workers every 5 s
_HASHED_AT_ONCE = 1_000
_MOST_TOLD = 3  # problems of one film or page numbers of one order; the commands that look closer list all


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How much was looked at, every fault as a sentence, and what is no fault but worth knowing (`told`)."""

    orders: int
    pages: int
    files: int
    packages: int
    faults: Sequence[str]
    told: Sequence[str]


def verify(bureau: Bureau) -> Verified:
    """Count and hash everything again. Nothing is changed; a large store takes as long as reading it.

    May run beside a floor that works: an order is counted as of one moment, and files are there before they are
    referred to. Memory is bounded by the largest order, not by the store.

    Raises:
        OSError: the store cannot be reached.
    """
    bureau.store.check()
    faults: list[str] = []
    told: list[str] = []
    pages = files = packages = 0
    orders = bureau.ledger.orders()
    for order in orders:
        recount = bureau.ledger.recount(order.number)
        assert recount is not None
        pages += recount.report.pages.received
        packages += recount.report.order.deliveries
        faults += _count_faults(recount)
        faults += _record_faults(recount)
        faults += _package_faults(bureau, recount.report)
        faults += _film_faults(bureau, recount.report)
        charge_faults, not_counted = _charges_again(bureau, recount)
        faults += charge_faults
        told += not_counted
        task_faults, unfinished = _tasks_left(recount)
        faults += task_faults
        told += unfinished
        looked_at, file_faults = _files_again(bureau, recount.report)
        files += looked_at
        faults += file_faults
    if waiting := bureau.ledger.tasks_without_order():
        told.append(f"Deliveries that are not taken in yet: {_counted(waiting)}.")
    if abandoned := bureau.ledger.abandoned_tasks(older_than_ms=_ABANDONED_MS):
        faults.append(
            f"{abandoned} tasks have been with no living worker for more than {_ABANDONED_MS // 60_000} minutes, and "
            "the workers that live have not taken them up. Start the floor anew."
        )
    faults += bureau.ledger.tally_faults()
    faults += [f"{number}: {_first_of(found)}." for number, found in bureau.ledger.chain_faults().items()]
    if unlinked := bureau.ledger.waiting_for_links(older_than_ms=_ABANDONED_MS):
        told.append(
            f"{unlinked} lines of history have waited for their link for more than {_ABANDONED_MS // 60_000} minutes. "
            "A running floor links them: start it."
        )
    faults += _stray_faults(bureau)
    return Verified(
        orders=len(orders), pages=pages, files=files, packages=packages, faults=tuple(faults), told=tuple(told)
    )


def _count_faults(recount: OrderRecount) -> Iterator[str]:
    """The ledger's counts against the pages themselves and the lines that prove what was billed."""
    report = recount.report
    number = report.order.number
    for batch, counts in report.batches:
        yield from _compared(f"{number}, batch {batch.name}", counts, [recount.batches[batch.id]])
    yield from _compared(number, report.pages, list(recount.batches.values()))
    if report.usage.billable_pages != report.pages.billable:
        yield f"{number}: {report.usage.billable_pages} pages are charged for, {report.pages.billable} are billable."
    if report.order.status is OrderStatus.DELIVERED and report.pages.held + report.pages.open:
        yield f"{number} was delivered, but {report.pages.held} pages are held and {report.pages.open} are open."


def _compared(where: str, counts: PageCounts, batches: Sequence[BatchRecount]) -> Iterator[str]:
    received = sum(batch.received for batch in batches)
    billed = sum(batch.billed for batch in batches)
    excluded = sum((Counter(batch.excluded) for batch in batches), Counter())
    if counts.received != received:
        yield f"{where}: {counts.received} pages are counted as received, {received} are there."
    if counts.billable != billed:
        yield f"{where}: {counts.billable} pages are counted as billable, {billed} are sealed as such."
    for reason, number in counts.excluded.items():
        if number != excluded[reason]:
            yield f"{where}: {number} pages count as {reason}, {excluded[reason]} are."
    total = counts.billable + sum(counts.excluded.values()) + counts.held + counts.open
    if total != counts.received:
        yield f"{where}: {counts.received} pages were received, but {total} are accounted for."


def _record_faults(recount: OrderRecount) -> Iterator[str]:
    """Records of one order against each other: counters, bills, documents, seals."""
    order = recount.report.order
    for miscount in recount.miscounts:
        yield f"{order.number}, {miscount.where}: {miscount.kept} are kept, {miscount.counted} are counted."
    if recount.misbilled:
        yield f"{order.number}: billed although left out, or as another page: {_first_of(recount.misbilled)}."
    for name in recount.misdrawn:
        yield f"{order.number}, batch {name}: the sample that people looked at is not the one that its seed draws."
    if recount.misjudged:
        yield (
            f"{order.number}: passed quality control unseen, or with a verdict that nobody gave: "
            f"{_first_of(recount.misjudged)}."
        )
    for public_id in recount.unwritten:
        yield f"{order.number}: document {public_id} is recorded as finished and has no file."
    for batch, _ in recount.report.batches:
        if batch.seal is None:
            if order.status is OrderStatus.DELIVERED:
                yield f"{order.number}, batch {batch.name}: it was delivered without a seal."
        elif batch.seal != recount.batches[batch.id].seal:
            yield (
                f"{order.number}, batch {batch.name}: its seal no longer fits its pages; the records were changed "
                "after delivery."
            )


def _package_faults(bureau: Bureau, report: OrderReport) -> Iterator[str]:
    """Every package that went out: there, sound, and of the files that the ledger knows."""
    order = report.order
    for delivery in range(1, order.deliveries + 1):
        folder = package_folder(bureau, order, delivery)
        place = bureau.relative(folder)
        if not folder.is_dir():
            yield f"{order.number}: the package {place} is not in the outbox."
            continue
        try:
            bag = bagit.Bag(str(folder))
            bag.validate()
        except (bagit.BagError, OSError, ValueError) as error:
            yield f"{order.number}: the package {place} is not sound: {error}"
            continue
        listed = {name: hashes.get("sha256") for name, hashes in bag.entries.items()}
        newest = delivery == order.deliveries
        for document in report.documents:
            name = f"data/{document_file_name(document)}"
            is_due = newest and order.status is OrderStatus.DELIVERED
            if document.pdf is not None and name not in listed and is_due:
                yield f"{order.number}: {document.public_id} is not in the package {place}."
            elif name in listed and listed[name] != document.pdf:
                yield f"{order.number}: {document.public_id} in {place} is not the file that the ledger knows."


def _film_faults(bureau: Bureau, report: OrderReport) -> Iterator[str]:
    """The film folders that were handed over: there, sound, with the rolls and frames that the ledger knows."""
    frames: Counter[str] = Counter()
    for roll in report.rolls:
        if roll.round > report.order.deliveries:
            continue  # not handed over yet
        if roll.folder is None or not (bureau.settings.home / roll.folder).is_dir():
            yield f"{report.order.number}: roll {roll.number} is not in the film folder."
            continue
        frames[roll.folder.rpartition("/")[0]] += roll.frames
    for place, count in frames.items():
        film = check_film_folder(bureau.settings.home / place)
        if film.problems:
            yield f"{report.order.number}: the film {place} is not sound: {_first_of(film.problems)}."
        elif film.frames != count:
            yield f"{report.order.number}: the film {place} has {film.frames} frames, {count} are recorded."


def _charges_again(bureau: Bureau, recount: OrderRecount) -> tuple[list[str], list[str]]:
    """What was charged against what was done: faults, and what cannot be counted again."""
    report = recount.report
    order = report.order
    faults = [
        f"{order.number}: the charge {line.fee_code} of delivery {line.delivery} is {line.amount:.2f}; "
        f"{line.quantity:f} at {line.unit_price:.4f} are {amount_of(line.quantity, line.unit_price):.2f}."
        for line in report.charges
        if line.amount != amount_of(line.quantity, line.unit_price)
    ]
    if order.status is not OrderStatus.DELIVERED or recount.delivered_on is None:
        return faults, []
    charged: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in report.charges:
        charged[line.fee_code] += line.quantity
    rules = bureau.profile_of(order).billing
    try:
        card = load_rate_card(bureau.settings.profiles / "rates", order.customer, rules.rate_card)
    except Refusal as refusal:
        return faults, [f"{order.number}: its charges cannot be counted again. {refusal.sentence}"]
    due = {fee.code for fee in card.fees_on(recount.delivered_on)}
    not_counted = [
        f"{order.number}: what {code} was charged for cannot be counted again; the rate card has no such fee any more."
        for code in sorted(set(charged) - {fee.code for fee in card.fee})
    ]
    for fee in {fee.code: fee for fee in card.fee}.values():
        counted = units(report.usage, fee)
        if fee.code in {*charged, *due} and charged[fee.code] != counted:
            faults.append(f"{order.number}: {charged[fee.code]} {fee.code} are charged, {counted} were done.")
    return faults, not_counted


def _tasks_left(recount: OrderRecount) -> tuple[list[str], list[str]]:
    """Tasks of an order that have not ended: a fault when it was delivered, else worth knowing."""
    number = recount.report.order.number
    if not recount.tasks:
        return [], []
    unfinished = {one: count for one, count in recount.tasks.items() if one[0] is not TaskKind.INSPECT_BATCH}
    # beside a delivery people may look at pages for as long as they like
    if recount.report.order.status is OrderStatus.DELIVERED and unfinished:
        return [f"{number} was delivered, but not everything of it is finished: {_counted(unfinished)}."], []
    return [], [f"{number} is {recount.report.order.status.value}; not finished: {_counted(recount.tasks)}."]


def _files_again(bureau: Bureau, report: OrderReport) -> tuple[int, list[str]]:
    """Hash every file that an order refers to; gives how many these are, and the faults."""
    references = _references(bureau, report)
    seen: set[Sha256] = set()
    faults = []
    with ThreadPoolExecutor(bureau.settings.workers) as pool:
        while some := list(islice(references, _HASHED_AT_ONCE)):
            new: dict[Sha256, str] = {}
            for digest, what in some:
                if digest not in seen:
                    seen.add(digest)
                    new[digest] = what
            for (digest, what), intact in zip(new.items(), pool.map(bureau.store.intact, new), strict=True):
                if not intact and bureau.store.has(digest):
                    faults.append(f"{what}: its file {digest} in the store is damaged.")
                elif not intact:
                    faults.append(f"{what}: its file {digest} is missing from the store.")
    return len(seen), faults


def _references(bureau: Bureau, report: OrderReport) -> Iterator[tuple[Sha256, str]]:
    for batch, _ in report.batches:
        for sequence, digests in bureau.ledger.files_of_batch(batch.id):
            for digest in digests:
                yield digest, f"{report.order.number}, batch {batch.name}, page {sequence}"
    for document in report.documents:
        for found in (document.pdf, document.report):
            if found is not None:
                yield found, f"{report.order.number}, document {document.public_id}"


def _stray_faults(bureau: Bureau) -> Iterator[str]:
    """What lies in the store for nobody; younger than a day it may be on its way into the records."""
    for file in orphans(bureau, older_than_s=DAY_S):
        place = bureau.shown_place(file.place)
        if file.digest is None:
            yield f"{place} ({file.size_bytes} bytes) is no file of the store. Somebody has put it there: take it out."
        else:
            yield f"{place} ({file.size_bytes} bytes): no record refers to this file. platen sweep removes such files."
    for leftover in bureau.store.leftovers(older_than_s=DAY_S):
        yield (
            f"{bureau.shown_place(leftover.place)} ({leftover.size_bytes} bytes): left behind by a writer that was "
            "killed. platen sweep removes it."
        )


def _counted(tasks: Mapping[tuple[TaskKind, TaskState], int]) -> str:
    return ", ".join(f"{count} {kind.value} {state.value}" for (kind, state), count in tasks.items())


def _first_of(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
    return "; ".join(problems[:_MOST_TOLD]) + more
