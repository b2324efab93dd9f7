"""What `platen --json` and the REST API answer: plain values, quantities and money as decimal strings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from console.alarm_words import alarm_sentence
from pipeline.backup import BackedUp
from pipeline.billing import charges_so_far
from pipeline.bureau import Bureau
from pipeline.convert_files import Converted
from pipeline.intake import was_taken
from pipeline.ledger import PackageLink
from pipeline.ledger.alarms import Alarm
from pipeline.ledger.history import HistoryLine
from pipeline.ledger.lookups import BatchLook, DocumentLook, RollLook, UploadLook
from pipeline.ledger.lots import Lot, LotPage, QualityFigures, QualityLine
from pipeline.ledger.reports import OrderReport
from pipeline.ledger.standing import FloorReport
from pipeline.model import Batch, Charge, Document, Hold, Page, PageCounts, Roll, Token, User, WorkOrder
from pipeline.packaging import document_place
from pipeline.quality_control import awaited, delays
from pipeline.statement import ChargedDelivery
from pipeline.uploads import Arrived, Upload
from pipeline.verification import Verified


def order_line(order: WorkOrder) -> dict[str, Any]:
    """An order in a list."""
    return {
        "number": order.number,
        "customer": order.customer,
        "profile": order.profile_name,
        "status": order.status.value,
        "priority": order.priority.value,
        "services": sorted(service.value for service in order.services),
        "title": order.title,
        "due": None if order.due is None else order.due.isoformat(),
    }


def page_answer(bureau: Bureau, page: Page) -> dict[str, Any]:
    """One page with its files and all that was measured on it."""
    return {
        "file": page.file,
        "image_in_file": page.index_in_file + 1,
        "scan": bureau.store_place(page.source),
        "delivered": None if page.prepared is None else bureau.store_place(page.prepared),
        "excluded": None if page.excluded is None else page.excluded.value,
        "readings": dict(page.readings),
    }


def batch_line(batch: Batch | BatchLook, pages: PageCounts) -> dict[str, Any]:
    """A batch in a list."""
    return {
        "id": batch.id,
        "name": batch.name,
        "digest": batch.digest,
        "seal": batch.seal,
        "received_at": batch.received_at.isoformat(),
        "assembled": batch.assembled,
        "pages": pages.as_json(),
    }


def upload_answer(upload: Upload, here: Sequence[Arrived]) -> dict[str, Any]:
    """An upload under way, with how much of every file has come."""
    return {
        "id": upload.id,
        "order": upload.order,
        "name": upload.name,
        "state": "open",
        "digest": upload.digest,
        "files": [
            {
                "number": number,
                "name": file.name,
                "bytes": file.size,
                "sha256": file.digest,
                "received": one.received,
                "verified": one.verified,
            }
            for number, (file, one) in enumerate(zip(upload.files, here, strict=True), start=1)
        ],
        "batch": None,
        "held_as": None,
        "sentence": "",
    }


def completed_upload_answer(upload_id: str, look: UploadLook, digest: str | None) -> dict[str, Any]:
    """What became of an upload that was completed; `digest` is that of the batch it was said to become."""
    if look.batch is not None:
        state, sentence = "received", ""
    elif look.held_as is not None:
        state, sentence = "held", look.sentence
    elif not look.outcome:
        state, sentence = "completed", ""
    else:
        state, sentence = ("set-aside", "") if was_taken(look.outcome) else ("refused", look.outcome)
    return {
        "id": upload_id,
        "order": look.order,
        "name": look.name,
        "state": state,
        "digest": look.batch_digest or digest,
        "files": [],
        "batch": look.batch,
        "held_as": look.held_as,
        "sentence": sentence,
    }


def order_answer(bureau: Bureau, report: OrderReport) -> dict[str, Any]:
    """An order with everything under it."""
    order = report.order
    return {
        **order_head(order, report.pages),
        "batches": [batch_line(batch, counts) for batch, counts in report.batches],
        "documents": [document_line(bureau, order, document) for document in report.documents],
        "quality": [lot_line(lot) for lot in bureau.ledger.lots_of(order.number)],
        "rolls": [roll_line(roll) for roll in report.rolls],
        "charges": [charge_line(line) for line in report.charges],
        "charges_so_far": [charge_line(line) for line in charges_so_far(bureau, order, report.usage, report.charges)],
    }


def order_head(order: WorkOrder, pages: PageCounts) -> dict[str, Any]:
    """An order without what is listed under it."""
    return {
        **order_line(order),
        "series": order.series,
        "boxes": list(order.boxes),
        "expect_pages": order.expect_pages,
        "pages": pages.as_json(),
        "deliveries": order.deliveries,
        "package": order.package,
    }


def document_line(bureau: Bureau, order: WorkOrder, document: Document | DocumentLook) -> dict[str, Any]:
    """A document in a list."""
    pdf = document.pdf
    return {
        "id": document.public_id,
        "title": document.title,
        "pages": document.pages,
        "pdf": None if pdf is None else document_place(order, document, bureau.store_place(pdf)),
        "flavour": document.flavour,
        "conforms": document.conforms,
        "mean_confidence": document.mean_confidence,
    }


def roll_line(roll: Roll | RollLook) -> dict[str, Any]:
    """A roll of film in a list."""
    return {"number": roll.number, "frames": roll.frames, "folder": roll.folder, "written": roll.written}


def lot_line(lot: Lot) -> dict[str, Any]:
    """How a batch stands in quality control."""
    return {
        "lot": lot.id,
        "order": lot.order,
        "batch": lot.batch,
        "state": lot.state.value,
        "delivery_waits": delays(lot),
        "awaited": awaited(lot),
        "plan": lot.plan,
        "letter": lot.letter,
        "pages": lot.pages,
        "sample": lot.sample,
        "accept": lot.accept,
        "rejected": lot.rejected,
        "looked": lot.looked,
        "to_look": lot.to_look,
        "undecided": lot.undecided,
        "defects": {"critical": lot.critical, "major": lot.major, "minor": lot.minor},
        "scanned_by": lot.operator or None,
        "scanner": lot.scanner or None,
        "passed_at": None if lot.passed_at is None else lot.passed_at.isoformat(),
    }


def lot_answer(lot: Lot, pages: Sequence[LotPage]) -> dict[str, Any]:
    """A lot with how its sample was drawn, and the pages that are looked at."""
    return {
        **lot_line(lot),
        "seed": lot.seed,
        "drawn_from": lot.population,
        "looked_at": [
            {
                "page": page.id,
                "page_number": page.sequence,
                "file": page.file,
                "verdict": page.verdict and page.verdict.value,
                "defect": page.defect and page.defect.value,
                "waits": not page.can_be_judged or bool(page.code),
            }
            for page in pages
        ],
    }


def quality_answer(figures: QualityFigures) -> dict[str, Any]:
    """The figures of quality control, and why pages were scanned again."""

    def line(one: QualityLine) -> dict[str, Any]:
        return {
            "name": one.name,
            "batches": one.lots,
            "rejected": one.rejected,
            "looked": one.looked,
            "first_pass_yield": one.first_pass_yield,
            "rescan_rate": one.rescan_rate,
            "defects": {grade.value: count for grade, count in one.defects.items()},
            "defects_per_10_000": one.defects_per_10_000,
        }

    return {
        "total": line(figures.total),
        "orders": [line(one) for one in figures.orders],
        "scanners": [line(one) for one in figures.scanners],
        "profiles": [line(one) for one in figures.profiles],
        "defects": {code.value: count for code, count in figures.defects.items()},
        "received": figures.received,
        "rescans": dict(figures.rescans),
    }


def charge_line(charge: Charge) -> dict[str, Any]:
    """One line of a statement."""
    return {
        "fee_code": charge.fee_code,
        "title": charge.title,
        "quantity": f"{charge.quantity:f}",
        "unit_price": f"{charge.unit_price:.4f}",
        "amount": f"{charge.amount:.2f}",
        "delivery": charge.delivery,
    }


def hold_line(hold: Hold) -> dict[str, Any]:
    """One thing that waits for a person."""
    return {
        "id": hold.id,
        "order": hold.order,
        "batch": hold.batch,
        "file": hold.file,
        "page_number": hold.page_number,
        "code": hold.code,
        "sentence": hold.sentence,
        "since": hold.since.isoformat(),
    }


def hold_answer(bureau: Bureau, hold: Hold) -> dict[str, Any]:
    """One held thing with what was measured on it."""
    if hold.page_id is None:
        return hold_line(hold)
    page = bureau.ledger.page(hold.page_id)
    return {
        **hold_line(hold),
        "scan": bureau.store_place(page.source),
        "image_in_file": page.index_in_file + 1,
        "readings": dict(page.readings),
    }


def history_line(line: HistoryLine) -> dict[str, Any]:
    """One line of an order's history."""
    return {
        "line": line.number,
        "event": line.id,
        "at": line.at.isoformat(timespec="milliseconds"),
        "subject": line.subject,
        "kind": line.kind,
        "who": line.who,
        "outcome": line.outcome,
        "detail": json.loads(line.detail),
        "hash": line.hash,
    }


def floor_answer(floor: FloorReport) -> dict[str, Any]:
    """How the floor stands."""
    return {
        "kinds": {kind.value: dict(states) for kind, states in floor.kinds.items()},
        "pages_per_minute": floor.pages_per_minute,
        "alarms": {kind.value: n for kind, n in floor.alarms.items()},
        "orders": [
            {
                "number": order.number,
                "remaining": order.remaining,
                "held": order.held,
                "inspection": order.inspection,
                "earliest_finish": None if order.earliest is None else order.earliest.isoformat(),
                "expected_finish": None if order.latest is None else order.latest.isoformat(),
            }
            for order in floor.orders
        ],
    }


def alarm_line(alarm: Alarm) -> dict[str, Any]:
    """One alarm about scans."""
    return {
        "id": alarm.id,
        "kind": alarm.kind.value,
        "scanner": alarm.scanner,
        "order": alarm.order,
        "batch": alarm.batch,
        "pages": alarm.pages,
        "sentence": alarm_sentence(alarm),
        "first": alarm.first_at.isoformat(),
        "last": alarm.last_at.isoformat(),
        "newest_pages": [
            {"order": page.order, "batch": page.batch, "page_number": page.number, "what": page.what}
            for page in alarm.newest
        ],
        "seen": None if alarm.seen_at is None else alarm.seen_at.isoformat(),
        "seen_by": alarm.seen_by,
        "said": alarm.said,
    }


def converted_answer(converted: Converted) -> dict[str, Any]:
    """What became of files that were converted without an order."""
    return {
        "pdf": None if converted.pdf is None else str(converted.pdf),
        "flavour": converted.flavour,
        "conforms": None if converted.pdf is None else True,
        "pages": [
            {
                "file": page.file,
                "page_number": page.page_number,
                "readings": page.readings,
                "seconds": {"prepare": round(page.prepare_s, 3), "recognize": round(page.recognize_s, 3)},
            }
            for page in converted.pages
        ],
        "held": [
            {"file": held.file, "page_number": held.page_number, "code": held.code, "sentence": held.sentence}
            for held in converted.held
        ],
    }


def user_line(user: User) -> dict[str, Any]:
    """Somebody who may sign in to the console, or might once."""
    return {
        "name": user.name,
        "role": user.role.value,
        "customer": user.customer,
        "disabled": user.disabled,
        "issuer": user.issuer,
    }


def token_line(token: Token) -> dict[str, Any]:
    """A program's token, good or over; never the token itself."""
    return {
        "id": token.id,
        "user": token.user.name,
        "role": token.user.role.value,
        "customer": token.user.customer,
        "title": token.title,
        "added_at": token.added_at.isoformat(timespec="seconds"),
        "until": token.until.isoformat(timespec="seconds"),
        "state": token.state.value,
    }


def link_line(link: PackageLink) -> dict[str, Any]:
    """A link to a package, without its token, which nobody has any more."""
    return {
        "id": link.id,
        "order": link.order,
        "delivery": link.delivery,
        "file": link.file,
        "made_at": link.made_at.isoformat(),
        "made_by": link.made_by,
        "until": link.until.isoformat(),
        "first_used": None if link.used_at is None else link.used_at.isoformat(),
        "stands": "open" if link.is_open else "revoked" if link.revoked_at is not None else "over",
    }


def worksheet_line(one: ChargedDelivery) -> dict[str, Any]:
    """How the pages behind one delivery were counted."""
    return {
        "customer": one.order.customer,
        "order": one.order.number,
        "delivery": one.delivery,
        "delivered_on": one.delivered_on.isoformat(),
        "pages": one.pages.as_json(),
        "amount": f"{one.amount:.2f}",
    }


def statements(deliveries: Sequence[ChargedDelivery]) -> list[dict[str, Any]]:
    """One statement a customer, from deliveries that stand in the order of their customers."""
    answer = []
    for customer, group in groupby(deliveries, key=lambda one: one.order.customer):
        ones = list(group)
        answer.append(
            {
                "customer": customer,
                "lines": [
                    {
                        "customer": customer,
                        "order": one.order.number,
                        "delivered_on": one.delivered_on.isoformat(),
                        **charge_line(charge),
                    }
                    for one in ones
                    for charge in one.charges
                ],
                "amount": f"{sum((one.amount for one in ones), Decimal(0)):.2f}",
            }
        )
    return answer


def verified_answer(verified: Verified) -> dict[str, Any]:
    """What was counted and hashed again, and what was wrong."""
    return {
        "orders": verified.orders,
        "pages": verified.pages,
        "files": verified.files,
        "packages": verified.packages,
        "faults": list(verified.faults),
        "told": list(verified.told),
    }


def backed_up_answer(backed_up: BackedUp) -> dict[str, Any]:
    """What a backup has copied anew."""
    return {
        "ledger": str(backed_up.ledger),
        "files": backed_up.files,
        "bytes": backed_up.size_bytes,
        "folders": backed_up.folders,
        "faults": list(backed_up.faults),
    }
