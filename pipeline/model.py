"""The words of the bureau as values: what a work order, a batch, a page, a task is. Imports nothing of the house."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NewType, Protocol

OrderId = NewType("OrderId", int)
DeliveryId = NewType("DeliveryId", int)
BatchId = NewType("BatchId", int)
DocumentId = NewType("DocumentId", int)
PageId = NewType("PageId", int)
RollId = NewType("RollId", int)
TaskId = NewType("TaskId", int)
UserId = NewType("UserId", int)
TokenId = NewType("TokenId", int)
Sha256 = NewType("Sha256", str)

Readings = Mapping[str, float | int | str | bool | list[str] | list[float] | None]


class Role(StrEnum):
    """What somebody may do in the console."""

    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    BILLING = "billing"
    AGENCY = "agency"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may sign in to the console; an agency's sees that `customer` alone."""

    id: UserId
    name: str
    role: Role
    customer: str | None = None
    disabled: bool = False
    must_change: bool = False  # the password, at the next sign-in
    issuer: str | None = None  # the other house that signs this one in, who has no password here


class TokenState(StrEnum):
    """Whether a token opens anything."""

    GOOD = "good"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A program's way in: it asks in the name of `user`, with that user's rights."""

    id: TokenId
    user: User
    title: str  # what it is for
    added_at: datetime
    until: datetime
    state: TokenState


class Service(StrEnum):
    """What was ordered: searchable files, film, or both."""

    IMAGING = "imaging"
    FILM = "film"


class Priority(StrEnum):
    """How large a share of the floor an order gets."""

    RUSH = "rush"
    NORMAL = "normal"
    OVERNIGHT = "overnight"


# shares of the floor, not strict classes: a rush order never starves the others (QUEUE 4)
WEIGHTS: Mapping[Priority, float] = {Priority.RUSH: 30.0, Priority.NORMAL: 1.0, Priority.OVERNIGHT: 0.2}


class OrderStatus(StrEnum):
    """Where a work order stands."""

    OPEN = "open"
    CLOSED = "closed"
    DELIVERED = "delivered"


class Exclusion(StrEnum):
    """Why a page that was received is not billed."""

    SEPARATOR = "separator"
    BLANK = "blank"
    RESCAN = "rescan"
    WAIVED = "waived"


class AlarmKind(StrEnum):
    """What is the matter with scans, so that somebody should go to the scanner."""

    SKEW = "skew"
    CUT_EDGE = "cut-edge"
    TOO_DARK = "too-dark"
    TOO_LIGHT = "too-light"
    BLUR = "blur"
    HARD_TO_READ = "hard-to-read"
    SIZE = "size"
    STREAK = "streak"
    BLANK_RUN = "blank-run"
    SAME_TWICE = "same-twice"
    UNREADABLE = "unreadable"
    COUNT_OFF = "count-off"  # of an order; all others are of pages


class TaskKind(StrEnum):
    """What can be due. The subject is the thing it is done to."""

    RECEIVE_BATCH = "RECEIVE_BATCH"  # of a delivery
    PREPARE_PAGE = "PREPARE_PAGE"  # of a page
    ASSEMBLE_BATCH = "ASSEMBLE_BATCH"  # of a batch
    INSPECT_BATCH = "INSPECT_BATCH"  # of a batch: its sample is drawn, then people look at it
    INSPECT_PAGE = "INSPECT_PAGE"  # of a page with a grave defect; a person decides, no worker
    RECOGNIZE_PAGE = "RECOGNIZE_PAGE"  # of a page
    PACKAGE_DOCUMENT = "PACKAGE_DOCUMENT"  # of a document
    PLAN_ROLLS = "PLAN_ROLLS"  # of a work order
    WRITE_ROLL = "WRITE_ROLL"  # of a roll
    DELIVER_ORDER = "DELIVER_ORDER"  # of a work order


# When the last task of a kind is done for its parent, this becomes due (the ledger does it in the same transaction):
#   RECEIVE_BATCH    -> PREPARE_PAGE, one a page
#   PREPARE_PAGE     of one batch        -> ASSEMBLE_BATCH
#   ASSEMBLE_BATCH                       -> RECOGNIZE_PAGE, one a page kept, if the order wants text
#   RECOGNIZE_PAGE   of one batch        -> INSPECT_BATCH, if the profile asks for quality control
#   RECOGNIZE_PAGE   of one document     -> PACKAGE_DOCUMENT (when its lot has passed, if delivery waits for that)
#   PACKAGE_DOCUMENT of one closed order -> PLAN_ROLLS if it is filmed, else DELIVER_ORDER
#   WRITE_ROLL       of one order        -> DELIVER_ORDER
PAGE_TASKS = frozenset({TaskKind.PREPARE_PAGE, TaskKind.RECOGNIZE_PAGE, TaskKind.INSPECT_PAGE})

# Order of work inside one work order: quality alarms first, finishing before reading more pages.
RANKS: Mapping[TaskKind, int] = {
    TaskKind.RECEIVE_BATCH: 0,
    TaskKind.PREPARE_PAGE: 1,
    TaskKind.ASSEMBLE_BATCH: 2,
    TaskKind.INSPECT_BATCH: 2,
    TaskKind.INSPECT_PAGE: 2,
    TaskKind.PACKAGE_DOCUMENT: 3,
    TaskKind.PLAN_ROLLS: 3,
    TaskKind.WRITE_ROLL: 3,
    TaskKind.DELIVER_ORDER: 3,
    TaskKind.RECOGNIZE_PAGE: 4,
}

# Queues, so that documents (memory) can be given fewer workers than pages (processor). A rank lies in one queue whole.
QUEUES: Mapping[str, frozenset[TaskKind]] = {
    "pages": frozenset(
        {
            TaskKind.RECEIVE_BATCH,
            TaskKind.PREPARE_PAGE,
            TaskKind.ASSEMBLE_BATCH,
            TaskKind.INSPECT_BATCH,
            TaskKind.INSPECT_PAGE,
            TaskKind.RECOGNIZE_PAGE,
        }
    ),
    "documents": frozenset(
        {TaskKind.PACKAGE_DOCUMENT, TaskKind.PLAN_ROLLS, TaskKind.WRITE_ROLL, TaskKind.DELIVER_ORDER}
    ),
}

# What a task is charged to its order's share when it is handed out; the difference to the measured seconds follows.
EXPECTED_SECONDS: Mapping[TaskKind, float] = {
    TaskKind.RECEIVE_BATCH: 0.5,
    TaskKind.PREPARE_PAGE: 0.3,
    TaskKind.ASSEMBLE_BATCH: 0.1,
    TaskKind.INSPECT_BATCH: 0.1,
    TaskKind.INSPECT_PAGE: 0.0,
    TaskKind.RECOGNIZE_PAGE: 3.0,
    TaskKind.PACKAGE_DOCUMENT: 0.5,
    TaskKind.PLAN_ROLLS: 0.2,
    TaskKind.WRITE_ROLL: 5.0,
    TaskKind.DELIVER_ORDER: 2.0,
}


class Inspection(StrEnum):
    """Whether people look at the pages of a batch, and whether its delivery waits for them."""

    NONE = "none"
    BESIDE = "beside"  # for the figures: nothing waits
    BEFORE = "before"  # no page is billed and no document written before the lot has passed


class LotState(StrEnum):
    """How far the quality control of a batch has come."""

    GATHERING = "gathering"  # pages are still read, or held
    SAMPLE = "sample"  # those that were drawn are looked at
    FULL = "full"  # every page is looked at
    PASSED = "passed"


class TaskState(StrEnum):
    """A task's life: due, handed to the queue, running, done; or held for a person."""

    DUE = "due"
    SENT = "sent"
    RUNNING = "running"
    DONE = "done"
    HELD = "held"
    DROPPED = "dropped"  # a person decided that it need not be done


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work; `subject_id` is a delivery, page, batch, document, roll or order by kind."""

    id: TaskId
    kind: TaskKind
    subject_id: int
    order_id: OrderId | None
    attempt: int
    failures: int = 0
    crashes: int = 0
    round: int = 0


class ProfileVersion(Protocol):
    """A profile as a work order keeps it: its text, and the digest of that text."""

    @property
    def name(self) -> str:
        """Its name, as in `profiles/`."""

    @property
    def digest(self) -> str:
        """`sha256:` and the digest of the text."""

    @property
    def document_json(self) -> str:
        """The whole profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """What a customer asked for."""

    id: OrderId
    number: str
    customer: str
    profile_name: str
    profile_digest: str
    services: frozenset[Service]
    priority: Priority
    status: OrderStatus
    title: str = ""
    series: str = ""
    due: date | None = None
    expect_pages: int | None = None
    boxes: tuple[str, ...] = ()
    opened_at: datetime
    deliveries: int = 0  # how many packages have gone out
    package: str | None = None  # newest package, relative to the home
    items_left: int = 0  # batches not assembled and documents not finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A folder or file dropped, from the moment it was seen."""

    id: DeliveryId
    source: str  # where it was found
    name: str
    order_number: str | None
    moves: bool  # from the inbox: it is moved on; by hand: it stays where it is
    accept_repeat: bool = False  # a person said: take it although the same delivery came before
    operator: str = ""  # who scanned it, as far as anybody said


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPage:
    """A page as intake found it: which image of which file of the batch."""

    file: str  # path inside the batch, forward slashes
    index_in_file: int
    pages_in_file: int
    source: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One delivery of scans for a work order."""

    id: BatchId
    order_id: OrderId
    name: str
    digest: str
    received_at: datetime
    assembled: bool
    seal: str | None = None
    operator: str = ""  # who scanned it; empty when nobody said


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One side of a sheet; `sequence` is its place in the batch from 1."""

    id: PageId
    order_id: OrderId
    batch_id: BatchId
    sequence: int
    file: str
    index_in_file: int
    pages_in_file: int
    source: Sha256
    revision: int = 0  # of its scans: the first is 0, the next came in its place
    prepared: Sha256 | None = None
    readings: Readings = field(default_factory=dict)
    excluded: Exclusion | None = None
    document_id: DocumentId | None = None
    page_in_document: int | None = None
    text: Sha256 | None = None
    alto: Sha256 | None = None
    mean_confidence: float | None = None

    @property
    def picture(self) -> str:
        """What its picture is made from: another name, another picture."""
        return picture_name(self.prepared, self.source, self.index_in_file)

    @property
    def dpi(self) -> float:
        """Resolution of the prepared page."""
        return _number(self.readings, "page.dpi")

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the prepared page."""
        return int(_number(self.readings, "page.width_px")), int(_number(self.readings, "page.height_px"))

    @property
    def megapixels(self) -> float:
        """Those of the prepared page or of its scan, whichever has more."""
        scan = _number(self.readings, "read.width_px") * _number(self.readings, "read.height_px")
        return max(scan, float(self.size_px[0] * self.size_px[1])) / 1e6


def picture_name(prepared: str | None, source: str, index_in_file: int) -> str:
    """The digest of the page as prepared, or while it is not of its file, and which image of the file it is."""
    return f"{prepared or source}-{index_in_file}"


def _number(readings: Readings, name: str) -> float:
    value = readings.get(name)
    if not isinstance(value, (int, float)):
        raise LookupError(f"the page has no reading {name}: it has not been prepared")
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAlarm:
    """What is the matter with one page, and what was measured, as a clause: `turned by 9.5°`."""

    kind: AlarmKind
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDocument:
    """Pages that belong together, as assembly decided."""

    title: str
    pages: tuple[PageId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Pages bound together; becomes one PDF/A. `public_id` is what people and file names use."""

    id: DocumentId
    public_id: str
    order_id: OrderId
    batch_id: BatchId
    sequence: int
    title: str
    pages: int
    pdf: Sha256 | None = None
    pdf_bytes: int | None = None
    flavour: str | None = None
    conforms: bool | None = None
    report: Sha256 | None = None
    mean_confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """A reel of film planned for an order; `plan` is the planner's own JSON."""

    id: RollId
    number: str
    order_id: OrderId
    round: int
    frames: int  # exposures, targets included
    page_frames: int
    plan: str
    written: bool
    folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCounts:
    """How pages stand. `received = billable + sum(excluded) + held + open` always."""

    received: int
    billable: int
    excluded: Mapping[Exclusion, int]
    held: int
    open: int

    def as_json(self) -> dict[str, object]:
        """As the terminal answers it."""
        return {
            "received": self.received,
            "billable": self.billable,
            "excluded": {reason.value: self.excluded.get(reason, 0) for reason in Exclusion},
            "held": self.held,
            "open": self.open,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A task that waits for a person; page fields are empty when it is not about a page."""

    id: TaskId
    kind: TaskKind
    order: str | None
    batch: str | None
    file: str | None
    page_number: int | None
    code: str
    sentence: str
    since: datetime
    page_id: PageId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One line of a statement."""

    fee_code: str
    title: str
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    delivery: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was done for an order and can be charged for."""

    billable_pages: int = 0
    documents: int = 0
    film_frames: int = 0  # of pages; targets are not charged
    rolls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the ledger's history."""

    id: int
    at: datetime
    order_id: OrderId | None
    subject: str  # "page 17", "document 3", ...
    kind: str
    who: str
    outcome: str
    detail: Mapping[str, object]
