"""What the REST API takes and gives, for its OpenAPI document. The answers themselves are those of `answers.py`."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from console.orders import LONGEST_WHY
from pipeline.model import AlarmKind, LotState, OrderStatus, Priority, Role, Service, TaskKind, TokenState
from pipeline.orders import MOST_PAGES
from pipeline.review import Decision

MOST_BOXES = 1_000
MOST_BYTES = 1 << 40  # of one file; the setting upload_mb is far below
_Item = TypeVar("_Item")


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is a whole one, while true and "3" are none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")]
Line = Annotated[str, Field(max_length=1_000)]
Why = Annotated[
    str, Field(min_length=1, max_length=LONGEST_WHY, description="The reason; it is kept with the name of the user.")
]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", json_schema_extra={"format": "date"})]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower case hexadecimal.")]
Amount = Annotated[str, Field(description="A decimal number as a string, so that nothing is rounded.")]


class _Given(BaseModel):
    """Something the API answers: a field that is not described here would be a fault."""

    model_config = ConfigDict(extra="forbid")


class _Asked(BaseModel):
    """Something the API is asked: unknown fields are refused, so that a misspelt one is not passed by."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(_Given):
    """Why something was not done."""

    code: str = Field(description="A stable word for programs.")
    sentence: str = Field(description="What is the matter and what to do, for people.")


class Listed(_Given, Generic[_Item]):
    """Some of a list, in its order."""

    items: list[_Item]
    next: int | None = Field(description="Ask again with this as `cursor` for what follows; null at the end.")


class Excluded(_Given):
    """Pages that were received and are not billed, by reason."""

    separator: int
    blank: int
    rescan: int
    waived: int


class Counts(_Given):
    """How pages stand. Always received = billable + all excluded + held + open."""

    received: int
    billable: int
    excluded: Excluded
    held: int
    open: int


class OrderLine(_Given):
    """A work order in a list."""

    number: str
    customer: str
    profile: str
    status: OrderStatus
    priority: Priority
    services: list[Service]
    title: str
    due: Day | None


class BatchLine(_Given):
    """A batch in a list."""

    id: int
    name: str
    digest: str = Field(description="Over names, sizes and contents of its files, in whatever order they came.")
    seal: str | None = Field(description="SHA-256 over what became of every page; once the order was delivered.")
    received_at: Moment
    assembled: bool = Field(description="Whether it was parted into documents.")
    pages: Counts


class DocumentOfOrder(_Given):
    """A document: pages bound together, one PDF/A."""

    id: str
    title: str
    pages: int
    pdf: str | None = Field(description="Where the file lies in the home.")
    flavour: str | None = Field(description="PDF/A part and level, such as 2u.")
    conforms: bool | None
    mean_confidence: float | None = Field(description="Mean word confidence of the recognition, 0 to 1.")


class RollOfOrder(_Given):
    """A roll of film."""

    number: str
    frames: int
    folder: str | None
    written: bool


class ChargeLine(_Given):
    """A line of the bill."""

    fee_code: str
    title: str
    quantity: Amount
    unit_price: Amount
    amount: Amount
    delivery: int


class Defects(_Given):
    """How many pages have a defect, by its class."""

    critical: int
    major: int
    minor: int


class LotLine(_Given):
    """How a batch stands in quality control."""

    lot: int
    order: str
    batch: str
    state: LotState
    delivery_waits: bool = Field(description="Whether the order's delivery waits for it.")
    awaited: str = Field(description="What it waits for, in words.")
    plan: str
    letter: str = Field(description="The code letter of ANSI/ASQ Z1.4; empty with other plans.")
    pages: int
    sample: int
    accept: int = Field(description="Pages with a major defect that do not reject it.")
    rejected: bool
    looked: int
    to_look: int
    undecided: int
    defects: Defects
    scanned_by: str | None
    scanner: str | None
    passed_at: Moment | None


class Next(_Given):
    """Where an order's lists go on: ask each at `/orders/NUMBER/LIST` with this as `cursor`; null at its end."""

    batches: int | None
    documents: int | None
    quality: int | None
    rolls: int | None
    charges: int | None


class OrderAnswer(OrderLine):
    """A work order with the beginning of each list under it."""

    series: str
    boxes: list[str]
    expect_pages: int | None
    pages: Counts
    batches: list[BatchLine]
    documents: list[DocumentOfOrder]
    quality: list[LotLine] = Field(description="Batches under quality control, and those that passed it.")
    rolls: list[RollOfOrder]
    charges: list[ChargeLine] = Field(description="What was charged.")
    charges_so_far: list[ChargeLine] = Field(description="What a delivery today would charge.")
    deliveries: int = Field(description="How many packages have gone out; they are numbered from 1.")
    package: str | None = Field(description="Where the newest package lies in the home.")
    next: Next


class NewOrder(_Asked):
    """A work order to be opened."""

    customer: Name = Field(description="Customer account code.")
    profile: Name = Field(description="Name of a profile of this installation.")
    services: list[Annotated[Service, Field(strict=False)]] = Field(
        default_factory=list, max_length=len(Service), description="Without any: imaging."
    )
    priority: Annotated[Priority, Field(strict=False)] = Priority.NORMAL
    number: Name | None = Field(
        None, description="Without one the next of the year. Give one, and asking twice opens one order."
    )
    title: Line = ""
    series: Line = Field("", description="Records series.")
    due: Day | None = None
    expect_pages: Annotated[int, Field(ge=0, le=MOST_PAGES), BeforeValidator(_whole)] | None = None
    boxes: list[Line] = Field(default_factory=list, max_length=MOST_BOXES, description="Box barcodes.")
    why: Why


class Reason(_Asked):
    """Why something is changed."""

    why: Why


class PageLine(_Given):
    """A page in a list."""

    id: int
    page_number: int = Field(description="Its place in the batch, from 1.")
    revision: int = Field(description="How often it was scanned again before this scan.")
    state: str = Field(description="billable, held, open, or why it was left out.")


class PageAnswer(PageLine):
    """A page with all that was measured on it, and the text that was read."""

    order: str
    batch: str
    document: str | None
    held_as: int | None = Field(description="The number of its hold.")
    sentence: str = Field(description="Why it is held; empty when it is not.")
    before: int | None = Field(description="The page before it in the batch.")
    after: int | None
    file: str
    image_in_file: int
    scan: str | None = Field(description="Where the scan is kept; null for agencies.")
    delivered: str | None = Field(description="Where the prepared page is kept; null for agencies, or before it is.")
    excluded: str | None
    readings: dict[str, Any] = Field(description="`stage.quantity`, such as deskew.angle_deg.")
    text: str | None = Field(description="What was read, line by line; null before it was read.")


class HoldLine(_Given):
    """One thing that waits for a person."""

    id: int
    order: str | None
    batch: str | None
    file: str | None
    page_number: int | None
    code: str
    sentence: str
    since: Moment


class HoldAnswer(HoldLine):
    """A held thing with what was measured on it; without the last three when it is no page."""

    decisions: list[Decision] = Field(description="What whoever asks may decide about it.")
    scan: str | None = None
    image_in_file: int | None = None
    readings: dict[str, Any] | None = None


class NewDecision(_Asked):
    """What a person decides about something held."""

    decision: Annotated[Decision, Field(strict=False)]
    code: Annotated[str, Field(max_length=40)] = Field(
        description="The code that was looked at. Held anew for another reason, nothing is decided."
    )
    why: Why


class Decided(_Given):
    """What becomes of it."""

    id: int
    outcome: str


class HistoryAnswerLine(_Given):
    """One line of an order's history; `hash` chains it to the line before."""

    line: int | None
    event: int
    at: Moment
    subject: str
    kind: str
    who: str
    outcome: str
    detail: dict[str, Any]
    hash: str | None


class States(_Given):
    """Tasks of one kind."""

    due: int
    running: int
    done: int
    held: int


class Speed(_Given):
    """Pages that became billable a minute, over the last 1, 5 and 60 minutes."""

    last_1: float = Field(alias="1m")
    last_5: float = Field(alias="5m")
    last_60: float = Field(alias="60m")


class Backlog(_Given):
    """An order with work left."""

    number: str
    remaining: int
    held: int
    inspection: int = Field(description="Pages that wait for quality control.")
    earliest_finish: Moment | None
    expected_finish: Moment | None


class Status(_Given):
    """How the floor stands."""

    kinds: dict[TaskKind, States]
    pages_per_minute: Speed
    alarms: dict[AlarmKind, int] = Field(description="Alarms about scans that nobody has seen, by kind.")
    orders: list[Backlog]


class FileOfPackage(_Given):
    """A file of a package."""

    name: str = Field(description="Its path inside the package.")
    bytes: int
    sha256: Digest


class PackageAnswer(Listed[FileOfPackage]):
    """Some files of a package that has gone out; all of them together are a BagIt bag (RFC 8493)."""

    order: str
    delivery: int


class SaidFile(_Asked):
    """A file that will come."""

    name: Annotated[str, Field(min_length=1, max_length=1_000)] = Field(
        description="Its path inside the batch, with forward slashes."
    )
    bytes: Annotated[int, Field(ge=0, le=MOST_BYTES), BeforeValidator(_whole)]
    sha256: Digest


class NewUpload(_Asked):
    """A batch that will come."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="The batch's name.")
    files: list[SaidFile] = Field(min_length=1)


class ArrivedFile(_Given):
    """How much has come of a file."""

    received: int = Field(description="Bytes that are here; the next piece begins there.")
    verified: bool = Field(description="Whether it is whole and has the digest that was said.")


class FileOfUpload(ArrivedFile):
    """A file of an upload."""

    number: int
    name: str
    bytes: int
    sha256: Digest


class UploadAnswer(_Given):
    """An upload: under way, or what became of it."""

    id: str
    order: str
    name: str
    state: Literal["open", "completed", "received", "held", "refused", "set-aside"] = Field(
        description="Open: pieces may come. Completed: it waits for intake. Then it was received, held for a person, "
        "refused, or set aside by a person."
    )
    digest: str | None = Field(description="That of the batch it becomes; null long after it was refused.")
    files: list[FileOfUpload] = Field(description="Empty once it was completed.")
    batch: int | None = Field(description="The number of the batch it became.")
    held_as: int | None = Field(description="The number of its hold.")
    sentence: str = Field(description="Why it is held or was refused.")


class WhoAmI(_Given):
    """Whose token this is."""

    user: str
    role: Role
    customer: str | None
    until: Moment
    state: TokenState
