"""How a kind of work is done: which stages, which PDF/A, which film, which prices. A TOML file, checked at load."""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.film import FilmSettings
from pipeline.model import Exclusion, Inspection, Readings, Service
from pipeline.sampling import AQLS, SamplingPlan, z14_plan
from stages.catalogue import PAGE_STAGES, Stage
from stages.ink_ledger import ink_taken
from stages.ocr import Settings as OcrSettings
from stages.read import Settings as ReadSettings
from stages.settings import StageSettings

READ_AGAIN_INK = 0.002  # IMAGING 3, rule 7
COLOURED_INK_MM2 = 2.0  # IMAGING 3, rule 8: from here on colour is no accident


class BadProfile(ValueError):
    """A profile that cannot be used; the message names the file, the place and the fault, one a line."""


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DocumentRules(_Rules):
    """How a batch becomes documents. A file with several pages is always a document of its own, or several.

    Separators part documents under every rule. With `duplex`, pages 2k-1 and 2k of a file, or of a folder with a file
    a page, are front and back of one sheet; without, every page is a sheet.
    """

    by: Literal["folder", "file", "count", "sheet-count", "blank-sheet"] = "folder"
    pages_each: int | None = Field(
        None, ge=1, description="with by = count: sides of each document as scanned, blank ones counted"
    )
    sheets_each: int | None = Field(None, ge=1, description="with by = sheet-count: sheets of each document")
    duplex: bool = False
    separators: bool = True
    codes_in_doubt: Literal["ask", "page", "separator"] = "ask"
    title_barcode: str | None = Field(
        None, description="pattern of the barcode whose text (or its group `title`) becomes the document's title"
    )
    exclude_blank: Literal["sure", "never"] = "sure"

    @field_validator("title_barcode")
    @classmethod
    def _compile(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _count_sheets(self) -> DocumentRules:
        if self.by == "sheet-count" and self.sheets_each is None:
            raise ValueError("sheets_each must be given when by = 'sheet-count'")
        return self

    def exclusion_of(self, readings: Readings) -> Exclusion | None:
        """Why a prepared page is no page to deliver, if so."""
        if readings.get("separators.rescan_hold"):
            return Exclusion.SEPARATOR
        if readings.get("separators.ticket") or (self.separators and readings.get("separators.separator")):
            return Exclusion.SEPARATOR
        if self.codes_in_doubt == "separator" and self.separators and readings.get("separators.doubt"):
            return Exclusion.SEPARATOR
        if self.exclude_blank == "sure" and readings.get("blank.verdict") == "blank":
            return Exclusion.BLANK
        return None

    def begins_document(self, readings: Readings) -> bool:
        """Whether a prepared page bears a code that says: a document begins with this page."""
        return self.separators and readings.get("separators.first_page") is True

    def doubt_in(self, readings: Readings) -> str:
        """Why a person must say what a prepared page is; empty if it is clear."""
        if hold := readings.get("separators.rescan_hold"):
            return (
                f"a rescan sheet (of hold {hold}) among other papers. Scan the sheet and its paper alone, and drop "
                "them; released, the sheet is left out here and the paper behind it stays a page of this batch"
            )
        if self.codes_in_doubt == "ask" and self.separators and (doubt := readings.get("separators.doubt")):
            return str(doubt)
        titles = self.titles_in(readings)
        return f"barcodes name two titles, “{titles[0]}” and “{titles[1]}”" if len(titles) > 1 else ""

    def titles_in(self, readings: Readings) -> list[str]:
        """The titles that barcodes of a prepared page give its document, each once, in their order."""
        found = readings.get("separators.found")
        if self.title_barcode is None or not isinstance(found, list):
            return []
        titles = []
        for name in map(str, found):
            kind, _, payload = name.partition(":")
            match = re.search(self.title_barcode, payload) if payload and not kind.startswith("patch") else None
            if match:
                titles.append((match.groupdict().get("title") or match[0]).strip())
        return list(dict.fromkeys(filter(None, titles)))


class DeliveryRules(_Rules):
    """How pages are compressed for delivery. A scanner's own stream goes through untouched while its pixels did."""

    encoding: Literal["jpeg", "png"] = "jpeg"
    bitonal_encoding: Literal["g4", "png"] = "g4"
    jpeg_quality: int = Field(85, ge=30, le=100)
    keep_scanner_stream: bool = True


class PdfaRules(_Rules):
    """Which PDF/A."""

    flavour: Literal["1b", "2b", "2u", "3b", "3u"] = "2u"


class PackageRules(_Rules):
    """What goes into the package beside the documents."""

    alto: bool = True
    text: bool = False
    scans: Literal["none", "coloured", "all"] = Field(
        "none", description="scans as received: none, those with coloured writing, or all"
    )

    def takes_scan(self, readings: Readings) -> bool:
        """Whether the scan of a page goes along. Red ink, stamps and signatures in blue say more than their shape."""
        coloured_mm2 = readings.get("quality.coloured_ink_mm2")
        coloured = isinstance(coloured_mm2, (int, float)) and coloured_mm2 > COLOURED_INK_MM2
        return self.scans == "all" or (self.scans == "coloured" and coloured)


class QualityRules(_Rules):
    """When a whole batch waits for a person, and which pages are read a second time, as they were scanned.

    Words that only the second reading has are put in at their place. A page on which the ink of more than
    `max_words_lost_fraction` of them is gone is held.
    """

    max_held_fraction: float = Field(0.2, gt=0, le=1)
    min_held_pages: int = Field(5, ge=1, description="fewer held pages never hold a batch")
    read_again_one_in: int = Field(50, ge=0, description="pages; 1: every page, 0: none")
    read_again_below: float = Field(0.92, ge=0, le=1, description="mean confidence of a page's words; 0: none for it")
    max_words_lost_fraction: float = Field(0.03, gt=0, le=1)

    def reads_again_below(self, file_name: str, page_index: int, readings: Readings) -> float:
        """The confidence below which this page is read again: any, if it is in the sample or lost much ink.

        The sample is drawn by the file's name, so that the same page is always in it or never.
        """
        if self.read_again_one_in == 0:
            return 0.0
        drawn = hashlib.sha256(f"{file_name}:{page_index}".encode()).digest()
        if int.from_bytes(drawn[:8]) % self.read_again_one_in == 0 or ink_taken(readings) > READ_AGAIN_INK:
            return math.inf
        return self.read_again_below


class QcRules(_Rules):
    """Which pages of a batch people look at before it is delivered, and how many defects they may find."""

    plan: Literal["none", "z1.4", "percent", "all"] = "none"
    level: Literal["I", "II", "III"] = "II"
    aql: float = Field(1.0, description="with plan = z1.4: percent of pages with a major defect that is still good")
    percent: float = Field(10.0, gt=0, le=100, description="with plan = percent: of the pages of a batch")
    accept: int = Field(0, ge=0, description="with percent and all: pages with a major defect that do not reject it")
    required: bool = Field(True, description="delivery waits until the batch has passed")

    @field_validator("aql")
    @classmethod
    def _in_the_table(cls, aql: float) -> float:
        if aql not in AQLS:
            raise ValueError(f"the tables have {', '.join(f'{one:g}' for one in AQLS)}")
        return aql

    @property
    def inspection(self) -> Inspection:
        """Whether anybody looks, and whether delivery waits for it."""
        if self.plan == "none":
            return Inspection.NONE
        return Inspection.BEFORE if self.required else Inspection.BESIDE

    def sampling(self, pages: int) -> SamplingPlan:
        """How many of so many pages are drawn."""
        if self.plan == "z1.4":
            return z14_plan(pages, self.level, self.aql)
        fraction = self.percent / 100 if self.plan == "percent" else 1.0
        return SamplingPlan(sample=min(pages, math.ceil(pages * fraction)), accept=self.accept)

    @property
    def words(self) -> str:
        """The plan as records and screens name it."""
        if self.plan == "z1.4":
            return f"ANSI/ASQ Z1.4, level {self.level}, AQL {self.aql:g}"
        return f"{self.percent:g} % of the pages" if self.plan == "percent" else "every page"


class AlarmRules(_Rules):
    """From where on a page raises an alarm; the page itself goes on. A share of 0, or of 1 as the most, raises none.

    The defaults leave ordinary pages alone, old and stained ones too: `python -m bench alarms` counts the others.
    """

    max_skew_deg: float = Field(5.0, gt=0, le=180)
    cut_edge: bool = True
    min_paper: float = Field(0.45, ge=0, le=1, description="level of the paper about the letters; 1: white")
    max_black_fraction: float = Field(0.4, gt=0, le=1, description="of a bitonal page")
    min_contrast: float = Field(0.15, ge=0, le=1, description="paper minus ink; 1: white and black")
    max_blur_mm: float = Field(0.7, gt=0, description="width of the letters' edges")
    min_confidence: float = Field(0.6, ge=0, le=1, description="mean confidence of a page's words")
    doubtful_size: bool = True
    streaks: bool = True
    most_blank_in_a_row: int = Field(4, ge=1, description="surely blank sides")
    same_twice: bool = True


class BillingRules(_Rules):
    """Which rate card, unless the customer has one of their own."""

    rate_card: str = "standard"


class _Document(_Rules):
    """The tables of a profile file, stages apart."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    title: str = ""
    read: ReadSettings = ReadSettings()
    documents: DocumentRules = DocumentRules()
    delivery: DeliveryRules = DeliveryRules()
    pdfa: PdfaRules = PdfaRules()
    package: PackageRules = PackageRules()
    film: FilmSettings = FilmSettings()
    quality: QualityRules = QualityRules()
    qc: QcRules = QcRules()
    alarms: AlarmRules = AlarmRules()
    billing: BillingRules = BillingRules()


@dataclass(frozen=True, slots=True)
class StageCall:
    """A stage and the settings a profile gives it."""

    name: str
    settings: StageSettings

    @property
    def stage(self) -> Stage:
        """The stage itself (looked up by name, so that a call can cross to another process)."""
        return PAGE_STAGES[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of work. `page` makes the page that is delivered; `recognize` reads it (on a copy of its own)."""

    name: str
    title: str
    digest: str
    document_json: str
    page: tuple[StageCall, ...]
    recognize: tuple[StageCall, ...]
    read: ReadSettings
    documents: DocumentRules
    delivery: DeliveryRules
    pdfa: PdfaRules
    package: PackageRules
    film: FilmSettings
    quality: QualityRules
    qc: QcRules
    alarms: AlarmRules
    billing: BillingRules

    def reads_text(self, services: Collection[Service]) -> bool:
        """Whether the pages of such an order are read: a film-only order needs no text."""
        return bool(self.recognize) and Service.IMAGING in services

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that the recogniser must have."""
        for call in self.recognize:
            if isinstance(call.settings, OcrSettings):
                return call.settings.languages
        return ()


def load_profile(path: Path) -> Profile:
    """The profile in a TOML file.

    Raises:
        BadProfile: it does not parse, or a setting is unknown or out of range.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bad TOML, no UTF-8, a number of 5,000 digits, nested too deeply
        raise BadProfile(f"{path.name}: {error}") from error
    if document.get("name") != path.stem:
        raise BadProfile(f"{path.name}: name must be {path.stem!r}, the file's own name, is {document.get('name')!r}")
    return profile_from_document(document, origin=path.name)


def load_profiles(folder: Path) -> dict[str, Profile]:
    """All profiles of a folder by name.

    Raises:
        BadProfile: there is no such folder, or any of them is bad; all faults are told at once.
    """
    if not folder.is_dir():
        raise BadProfile(f"There is no folder with profiles at {folder}. Set PLATEN_PROFILES to where they are.")
    profiles: dict[str, Profile] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.toml")):
        try:
            profiles[path.stem] = load_profile(path)
        except BadProfile as error:
            faults.append(str(error))
    if faults:
        raise BadProfile("\n".join(faults))
    return profiles


def profile_from_json(text: str) -> Profile:
    """The profile that the ledger kept when a work order was opened."""
    return profile_from_document(json.loads(text), origin="profile kept with the order")


def profile_from_document(document: Mapping[str, Any], *, origin: str) -> Profile:
    """Check a parsed profile.

    Raises:
        BadProfile: with every fault found.
    """
    faults: list[str] = []
    rest = dict(document)
    page = _calls(rest.pop("page", []), "page", origin, faults)
    recognize = _calls(rest.pop("recognize", []), "recognize", origin, faults)
    faults += [
        f"{origin}, page: {call.name} takes print off the page; it belongs into [[recognize]], on the copy that is read"
        for call in page
        if call.stage.acts_on != "page"
    ]
    if any(call.name == "ocr" for call in page):
        faults.append(f"{origin}, page: ocr belongs into [[recognize]], which runs on its own copy of the page")
    if recognize and recognize[-1].name != "ocr":
        faults.append(f"{origin}, recognize: ocr must be the last stage, or words would not lie on their ink")
    tables: _Document | None = None
    try:
        tables = _Document.model_validate(rest)
    except ValidationError as error:
        faults += [f"{origin}, {sentence}" for sentence in _sentences(error, ())]
    if tables is not None and tables.documents.by == "count" and tables.documents.pages_each is None:
        faults.append(f"{origin}, documents.pages_each: must be given when by = 'count'")
    if faults or tables is None:
        raise BadProfile("\n".join(faults))
    canonical = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return Profile(
        name=tables.name,
        title=tables.title,
        digest="sha256:" + hashlib.sha256(canonical.encode()).hexdigest(),
        document_json=canonical,
        page=page,
        recognize=recognize,
        read=tables.read,
        documents=tables.documents,
        delivery=tables.delivery,
        pdfa=tables.pdfa,
        package=tables.package,
        film=tables.film,
        quality=tables.quality,
        qc=tables.qc,
        alarms=tables.alarms,
        billing=tables.billing,
    )


def _calls(tables: Any, section: str, origin: str, faults: list[str]) -> tuple[StageCall, ...]:
    calls: list[StageCall] = []
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        faults.append(f"{origin}, {section}: write each stage as its own [[{section}]] table")
        return ()
    for number, table in enumerate(tables, start=1):
        settings = dict(table)
        name = settings.pop("stage", None)
        place = f"{origin}, {section} {number}"
        if not isinstance(name, str) or name not in PAGE_STAGES:
            faults.append(f"{place}: there is no stage {name!r}; there are {', '.join(PAGE_STAGES)}")
            continue
        try:
            calls.append(StageCall(name, PAGE_STAGES[name].settings.model_validate(settings)))
        except ValidationError as error:
            faults += [f"{place}, {sentence}" for sentence in _sentences(error, (name,))]
    return tuple(calls)


def _sentences(error: ValidationError, prefix: tuple[str, ...]) -> list[str]:
    sentences = []
    for fault in error.errors():
        place = ".".join(str(part) for part in (*prefix, *fault["loc"]))
        if fault["type"] == "extra_forbidden":
            sentences.append(f"{place}: there is no such setting")
            continue
        message = fault["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be less than or equal to", "must be at most")
        message = message.replace("Input should be greater than or equal to", "must be at least")
        message = message.replace("Input should be", "must be")
        sentences.append(f"{place}: {message}, is {fault['input']!r}")
    return sentences
