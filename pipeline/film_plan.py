"""Plan film and write it: documents -> rolls of frames -> a folder an archive writer can take -> that folder checked.

Values only: nothing here knows the ledger. Lengths along the film are in millimetres from the reel's outer end, leader
included; `seq` counts the frames of a roll from 1 in the order in which they are written.

Sources: the planning formula and the folder's layout are this house's, in `docs/film.md`; image addresses are those of
Kodak A-61097 (three-level marks: large C+1, medium B+1, small A+1).
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import json
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from math import ceil, floor, inf, isnan
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field, ValidationError, model_validator

from stages import film_frame
from stages.errors import FilmDoesNotFit, UnreadableImage
from stages.film_frame import (
    IndexPart,
    IndexRow,
    RollFacts,
    Target,
    index_rows_a_page,
    inspect_frame,
    target_page,
    write_frame,
)
from stages.page_image import MM_PER_INCH, PageImage
from stages.settings import StageSettings

MM_PER_FOOT = 304.8
# Across the film, what an image may take: 16 mm without marks, 16 mm with one channel of marks, 35 mm. Not confirmed
# against MS14 or a machine manual, therefore `usable_width_mm` is a setting.
USABLE_WIDTH_MM = {(16, False): 14.0, (16, True): 12.5, (35, False): 32.0, (35, True): 32.0}
LANE_GAP_MM = 0.5  # between the two images side by side of duo, duplex and dual
SHORTEST_FILM_MM = 1000.0  # usable; below this the targets alone would fill a roll
ORIENTATION_DEG = {"comic": 0, "cine": 90}


class FilmSettings(StageSettings):
    """The film a profile asks for.

    `comic` sets pages upright side by side along the film, `cine` turns every page so that its height runs with the
    film. A page too wide for that is turned by a quarter when `when_too_wide` is `turn`, else the order is held.
    `mark_levels` names what the image marks count, largest first; the marks themselves are drawn by the writer.
    """

    width_mm: Literal[16, 35] = 16
    length_ft: float = Field(100.0, gt=0, le=1000)
    reduction: float = Field(24.0, ge=5, le=60)
    orientation: Literal["comic", "cine"] = "comic"
    format: Literal["simplex", "duo", "duplex", "dual"] = "simplex"
    gap_mm: float = Field(2.0, ge=0, le=20)
    leader_in: float = Field(36.0, ge=0, le=200)
    trailer_in: float = Field(36.0, ge=0, le=200)
    splice_reserve_mm: float = Field(0.0, ge=0)
    reserve_fraction: float = Field(0.02, ge=0, lt=0.5)
    max_images_per_roll: int = Field(2500, ge=20, le=100_000)
    usable_width_mm: float | None = Field(None, gt=0, le=35)
    mark_levels: tuple[Literal["batch", "document", "page"], ...] = Field(("batch", "document", "page"), max_length=3)
    when_too_wide: Literal["turn", "hold"] = "turn"
    dpi: int = Field(300, ge=100, le=1200)
    index_on_film: bool = True
    target_width_in: float = Field(8.5, ge=4, le=36)
    target_height_in: float = Field(11.0, ge=5, le=48)

    @model_validator(mode="after")
    def _roll_is_long_enough(self) -> FilmSettings:
        if self.usable_length_mm < SHORTEST_FILM_MM:
            raise ValueError(
                f"leader and trailer leave {self.usable_length_mm:.0f} mm of film; {SHORTEST_FILM_MM:.0f} are the least"
            )
        if len(set(self.mark_levels)) < len(self.mark_levels):
            raise ValueError("mark_levels names the same thing twice")
        return self

    @property
    def lanes(self) -> int:
        """Images side by side across the film."""
        return 1 if self.format == "simplex" else 2

    @property
    def usable_length_mm(self) -> float:
        """Film between leader and trailer that is planned for: what retakes and splices need is left free."""
        ends_mm = (self.leader_in + self.trailer_in) * MM_PER_INCH
        return (self.length_ft * MM_PER_FOOT - ends_mm - self.splice_reserve_mm) * (1 - self.reserve_fraction)

    @property
    def image_width_mm(self) -> float:
        """The widest image across the film."""
        usable = self.usable_width_mm or USABLE_WIDTH_MM[self.width_mm, bool(self.mark_levels)]
        return usable if self.lanes == 1 else (usable - LANE_GAP_MM) / 2

    def capacity_frames(self, along_in: float) -> int:
        """How many frames of pages this long along the film one roll takes."""
        return self.frames_of_pitch(along_in * MM_PER_INCH / self.reduction + self.gap_mm)

    def frames_of_pitch(self, pitch_mm: float) -> int:
        """How many frames this far apart one roll takes."""
        return min(floor(self.usable_length_mm * self.lanes / pitch_mm + 1e-9), self.max_images_per_roll)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmPage:
    """One page to be filmed; `path` is the prepared page, whose pixels are `width_px` x `height_px`."""

    document_id: str
    page_number: int
    width_px: int
    height_px: int
    dpi: float
    path: Path
    source_sha256: str
    source_image_id: str = ""
    side: str = ""
    retake_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmDocument:
    """Pages that stay together; `batch` is what the largest image mark counts (a file, a box, a batch)."""

    document_id: str
    pages: tuple[FilmPage, ...]
    title: str = ""
    dates: str = ""
    series: str = ""
    batch: str = ""
    box_barcode: str = ""
    folder_barcode: str = ""
    retention_code: str = ""
    restriction: str = ""
    disposition_date: str = ""
    customer_fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmJob:
    """What the targets and tables say of the order; `created_on` names the folder and the day of filming."""

    work_order: str
    customer: str
    created_on: date
    agency: str = ""
    sub_unit: str = ""
    series: str = ""
    title: str = ""
    schedule_item: str = ""
    classification: str = ""
    dates: str = ""
    authority: str = ""
    operator: str = ""
    statement: str = film_frame.STATEMENT
    profile: str = ""
    writer: str = ""
    software: str = "Platen"

    @property
    def folder_name(self) -> str:
        """The name of the order's film folder."""
        return f"FILM_{_legal(self.work_order)}_{self.created_on:%Y%m%d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One exposure as planned; `page` or `target` says of what.

    `along_mm` and `across_mm` are the image on the film, `cum_mm` the film used up to the end of this frame.
    `mark_level` is 0 for no mark; `address` is empty where no mark lets a reader count.
    `turned` says that the page is filmed a quarter turn counter-clockwise, to fit.
    """

    seq: int
    file: str
    width_px: int
    height_px: int
    dpi: float
    along_mm: float
    across_mm: float
    cum_mm: float
    page: FilmPage | None = None
    target: Target | None = None
    part: int = 1
    mark_level: int = 0
    address: str = ""
    turned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSpan:
    """Where a document, or the part of it that is on this roll, lies."""

    document: FilmDocument
    pages: int
    first_seq: int
    last_seq: int
    first_address: str
    last_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollPlan:
    """One roll: every frame in writing order, and which documents lie where."""

    number: str
    index: int
    count: int
    settings: FilmSettings
    frames: tuple[Frame, ...]
    spans: tuple[DocumentSpan, ...]
    retention_code: str = ""
    continued_from: str = ""
    continued_on: str = ""

    @property
    def folder_name(self) -> str:
        """The roll's folder; a writer's log is named after it."""
        return f"ROLL_{self.number}"

    @property
    def length_mm(self) -> float:
        """Film from end to end, trailer included."""
        return max(frame.cum_mm for frame in self.frames) + self.settings.trailer_in * MM_PER_INCH

    @property
    def capacity_frames(self) -> int:
        """How many frames of this roll's mean length would fit."""
        pitch_mm = sum(frame.along_mm + self.settings.gap_mm for frame in self.frames) / len(self.frames)
        return self.settings.frames_of_pitch(pitch_mm)

    @property
    def page_frames(self) -> tuple[Frame, ...]:
        """The frames that are pages."""
        return tuple(frame for frame in self.frames if frame.page)


def roll_number(sequence: int) -> str:
    """The number of the `sequence`th roll ever: R and six digits.

    There is no check digit: the number people and scripts rely on is exactly this. A label may print one behind a dash.

    Raises:
        ValueError: there is no such number.
    """
    if not 1 <= sequence <= 999_999:
        raise ValueError(f"roll numbers run from 1 to 999999, not {sequence}")
    return f"R{sequence:06d}"


# ---------------------------------------------------------------------------------------------------------------------
# Planning
# ---------------------------------------------------------------------------------------------------------------------


def plan_rolls(documents: Sequence[FilmDocument], settings: FilmSettings, *, first_number: int = 1) -> list[RollPlan]:
    """Lay documents out on rolls, in their order, one retention code a roll.

    A document goes on the next roll rather than being split, unless it is longer than a whole roll; then it begins a
    roll, and targets say where it goes on. `first_number` is the sequence number of the first roll.

    Raises:
        FilmDoesNotFit: pages are too wide, or of a size this film is not made for.
        ValueError: two documents have one id, so the index could not tell them apart.
    """
    if len({document.document_id for document in documents}) < len(documents):
        raise ValueError("two documents of the order have the same id")
    _refuse_misfits(documents, settings)
    drafts: list[_Draft] = []
    for group in _by_retention(documents):
        draft = _Draft(settings)
        for document in group:
            if draft.take_whole(document):
                continue
            if draft.spans:
                drafts.append(draft)
                draft = _Draft(settings)
            if not draft.take_whole(document):
                draft = _split(document, draft, drafts)
        drafts.append(draft)
    return [_finished(draft, number, len(drafts), first_number) for number, draft in enumerate(drafts, start=1)]


def _by_retention(documents: Sequence[FilmDocument]) -> list[list[FilmDocument]]:
    groups: dict[str, list[FilmDocument]] = {}
    for document in documents:
        if document.pages:
            groups.setdefault(document.retention_code, []).append(document)
    return list(groups.values())


def _split(document: FilmDocument, draft: _Draft, drafts: list[_Draft]) -> _Draft:
    """Spread a document over rolls of its own, from the empty `draft` on; the last roll is still open."""
    rest = document.pages
    while True:
        taken = draft.take_part(document, rest)
        if not taken:
            raise RuntimeError("not one page fits on an empty roll: the film is too short for its targets")
        rest = rest[taken:]
        if not rest:
            return draft
        drafts.append(draft)
        draft = _Draft(draft.settings, continues=True)


class _Draft:
    """A roll being filled."""

    def __init__(self, settings: FilmSettings, *, continues: bool = False) -> None:
        self.settings = settings
        self.continues = continues  # begins with the rest of a document
        self.continued = False  # ends in the middle of a document
        self.spans: list[tuple[FilmDocument, tuple[FilmPage, ...]]] = []
        self.rows_a_part = index_rows_a_page(width_in=settings.target_width_in, height_in=settings.target_height_in)
        self.target_mm = _target_size_mm(settings)
        self.strip = _Strip(settings)
        for _ in self.opening():
            self.strip.place(self.target_mm[0])

    def opening(self) -> list[Target]:
        """The targets before the pages."""
        start = [Target.START, Target.DENSITY, Target.RESOLUTION, Target.ROLL_ID]
        return [*start, Target.CONTINUED_FROM] if self.continues else start

    def closing(self, documents: int, *, continued: bool) -> list[Target]:
        """The targets after the pages: the index stands at the end, where all addresses are known."""
        parts = ceil(documents / self.rows_a_part) if self.settings.index_on_film else 0
        onward = [Target.CONTINUED_ON] if continued else []
        index = [Target.INDEX] * parts
        return [*onward, *index, Target.CERTIFICATE, Target.DENSITY, Target.RESOLUTION, Target.END]

    def take_whole(self, document: FilmDocument) -> bool:
        """Take all pages of the document, if they and the closing targets still fit."""
        trial = copy.copy(self.strip)
        fits = all(trial.place(_size_mm(page, self.settings)[0]) is not None for page in document.pages)
        if not fits or not self._closes(trial, continued=False):
            return False
        self.strip = trial
        self.spans.append((document, document.pages))
        return True

    def take_part(self, document: FilmDocument, pages: tuple[FilmPage, ...]) -> int:
        """Take as many of the pages as fit before the closing targets; returns how many."""
        taken = 0
        for page in pages:
            trial = copy.copy(self.strip)
            last = taken + 1 == len(pages)
            if trial.place(_size_mm(page, self.settings)[0]) is None or not self._closes(trial, continued=not last):
                break
            self.strip = trial
            taken += 1
        if taken:
            self.spans.append((document, pages[:taken]))
            self.continued = taken < len(pages)
        return taken

    def _closes(self, strip: _Strip, *, continued: bool) -> bool:
        end = copy.copy(strip)
        closing = self.closing(len(self.spans) + 1, continued=continued)
        return all(end.place(self.target_mm[0]) is not None for _ in closing)


class _Strip:
    """How much of one roll is used, by the way the format lays images out.

    Simplex: one after the other. Duplex and dual: in pairs side by side, the longer of the two counts. Duo: along one
    half to the end, then along the other.
    """

    def __init__(self, settings: FilmSettings) -> None:
        self.gap_mm = settings.gap_mm
        self.format = settings.format
        self.leader_mm = settings.leader_in * MM_PER_INCH
        self.limit_mm = settings.usable_length_mm + 1e-6  # what is exactly full fits, whatever was rounded
        self.frames_left = settings.max_images_per_roll
        self.used_mm = 0.0
        self.before_pair_mm: float | None = None
        self.on_second_half = False

    def place(self, along_mm: float) -> float | None:
        """Use film for one more image; returns where it ends, leader included, or None if it does not fit."""
        pitch_mm = along_mm + self.gap_mm
        end_mm = self.used_mm + pitch_mm
        if self.format in ("duplex", "dual"):
            if self.before_pair_mm is None:
                self.before_pair_mm = self.used_mm
            else:
                end_mm = max(self.used_mm, self.before_pair_mm + pitch_mm)
                self.before_pair_mm = None
        if end_mm > self.limit_mm and self.format == "duo" and not self.on_second_half:
            self.on_second_half = True
            end_mm = pitch_mm
        if end_mm > self.limit_mm or not self.frames_left:
            return None
        self.used_mm = end_mm
        self.frames_left -= 1
        return self.leader_mm + end_mm


def _finished(draft: _Draft, index: int, count: int, first_number: int) -> RollPlan:
    number = roll_number(first_number + index - 1)
    opening, closing = draft.opening(), draft.closing(len(draft.spans), continued=draft.continued)
    strip = _Strip(draft.settings)
    frames = [_target_frame(target, seq, draft, strip) for seq, target in enumerate(opening, start=1)]
    counter = _AddressCounter(draft.settings.mark_levels)
    spans = []
    for document, pages in draft.spans:
        first = len(frames)
        for place, page in enumerate(pages):
            level, address = counter.count(document.batch, starts_document=place == 0)
            frames.append(_page_frame(page, first + place + 1, draft.settings, strip, level, address))
        spans.append(
            DocumentSpan(
                document=document,
                pages=len(pages),
                first_seq=first + 1,
                last_seq=len(frames),
                first_address=frames[first].address,
                last_address=frames[-1].address,
            )
        )
    parts = 0
    for target in closing:
        parts += target is Target.INDEX
        frame = _target_frame(target, len(frames) + 1, draft, strip)
        frames.append(replace(frame, part=parts) if target is Target.INDEX else frame)
    return RollPlan(
        number=number,
        index=index,
        count=count,
        settings=draft.settings,
        frames=tuple(frames),
        spans=tuple(spans),
        retention_code=draft.spans[0][0].retention_code,
        continued_from=roll_number(first_number + index - 2) if draft.continues else "",
        continued_on=roll_number(first_number + index) if draft.continued else "",
    )


class _AddressCounter:
    """Counts image marks as a reader does: each roll begins at 0.0.0."""

    def __init__(self, mark_levels: Sequence[str]) -> None:
        self.mark_levels = mark_levels
        self.counts = [0, 0, 0]
        self.batch: str | None = None

    def count(self, batch: str, *, starts_document: bool) -> tuple[int, str]:
        """The mark beside the next page, and the address it gives; level 0 and no address where there is no mark."""
        starts = {"batch": batch != self.batch, "document": starts_document, "page": True}
        self.batch = batch
        for place, name in enumerate(self.mark_levels):
            if starts[name]:
                level = len(self.mark_levels) - place
                return level, next_address(self.counts, level)
        return 0, ""


def next_address(counts: list[int], level: int) -> str:
    """Step the counts C, B, A by a mark of this level (3 large, 2 medium, 1 small), and say the address."""
    at = 3 - level
    counts[at] += 1
    counts[at + 1 :] = [0] * (2 - at)
    return ".".join(map(str, counts))


def _page_frame(page: FilmPage, seq: int, settings: FilmSettings, strip: _Strip, level: int, address: str) -> Frame:
    along_mm, across_mm, turned = _size_mm(page, settings)
    width_px, height_px = (page.height_px, page.width_px) if turned else (page.width_px, page.height_px)
    return Frame(
        seq=seq,
        file=_file_name(seq, page),
        page=page,
        width_px=width_px,
        height_px=height_px,
        dpi=page.dpi,
        along_mm=along_mm,
        across_mm=across_mm,
        cum_mm=_placed(strip, along_mm),
        mark_level=level,
        address=address,
        turned=turned,
    )


def _target_frame(target: Target, seq: int, draft: _Draft, strip: _Strip) -> Frame:
    settings = draft.settings
    along_mm, across_mm = draft.target_mm
    return Frame(
        seq=seq,
        file=f"{seq:06d}_{target}.tif",
        target=target,
        width_px=round(settings.target_width_in * settings.dpi),
        height_px=round(settings.target_height_in * settings.dpi),
        dpi=settings.dpi,
        along_mm=along_mm,
        across_mm=across_mm,
        cum_mm=_placed(strip, along_mm),
    )


def _placed(strip: _Strip, along_mm: float) -> float:
    end_mm = strip.place(along_mm)
    if end_mm is None:
        raise RuntimeError("a frame that was counted on its roll does not fit on it")
    return end_mm


def _size_mm(page: FilmPage, settings: FilmSettings) -> tuple[float, float, bool]:
    """Length along and across the film, and whether the page must be turned for it."""
    scale = MM_PER_INCH / page.dpi / settings.reduction
    width, height = page.width_px * scale, page.height_px * scale
    along, across = (width, height) if settings.orientation == "comic" else (height, width)
    if across > settings.image_width_mm >= along and settings.when_too_wide == "turn":
        return across, along, True
    return along, across, False


def _target_size_mm(settings: FilmSettings) -> tuple[float, float]:
    scale = MM_PER_INCH / settings.reduction
    width, height = settings.target_width_in * scale, settings.target_height_in * scale
    return (width, height) if settings.orientation == "comic" else (height, width)


def _refuse_misfits(documents: Iterable[FilmDocument], settings: FilmSettings) -> None:
    limit_mm = settings.image_width_mm
    misfits, widest_mm = [], 0.0
    pages = [
        (f"page {page.page_number} of {document.document_id}", page)
        for document in documents
        for page in document.pages
    ]
    for name, page in pages:
        across_mm = _size_mm(page, settings)[1]
        size = f"{page.width_px / page.dpi:.1f} x {page.height_px / page.dpi:.1f} in"
        if across_mm > limit_mm:
            misfits.append(
                f"{name} ({size}) would be {across_mm:.1f} mm wide on the film; {limit_mm:.1f} mm is the limit"
            )
            widest_mm = max(widest_mm, across_mm)
        elif problem := film_frame.size_problem(page.width_px, page.height_px, page.dpi, settings.width_mm):
            misfits.append(f"{name} {problem}")
    target_across_mm = _target_size_mm(settings)[1]
    if target_across_mm > limit_mm:
        misfits.append(
            f"the targets would be {target_across_mm:.1f} mm wide on the film; {limit_mm:.1f} mm is the limit"
        )
        widest_mm = max(widest_mm, target_across_mm)
    if misfits:
        advice = "Film these pages on another film, or leave them out."
        if widest_mm:
            least = ceil(widest_mm * settings.reduction / limit_mm)
            turn = ", let pages be turned" if settings.when_too_wide == "hold" else ""
            advice = f"Film the order at {least}x or more{turn}, or put these pages on wider film."
        raise FilmDoesNotFit(misfits, advice)


MAX_NAME = 60
LONGEST_SEQ = 6


def _file_name(seq: int, page: FilmPage) -> str:
    tail = f"_P{page.page_number:04d}.tif"
    room = MAX_NAME - LONGEST_SEQ - 1 - len(tail)
    return f"{seq:06d}_{_legal(page.document_id)[:room]}{tail}"


def _legal(name: str) -> str:
    """The name in the letters a writer's old Windows takes; the sequence number before it keeps files apart."""
    return re.sub(r"[^A-Z0-9_-]", "-", name.upper()) or "-"


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------


def write_roll(
    plan: RollPlan,
    folder: Path,
    job: FilmJob,
    *,
    read: Callable[[FilmPage], PageImage] | None = None,
    to_bitonal: Callable[[PageImage], PageImage] | None = None,
) -> Path:
    """Write every frame of a roll and return its folder.

    Frames are written in a hidden folder that is renamed when it is whole. Its name holds a digest of the plan, so a
    roll that was interrupted goes on where it stopped, and never with frames of another plan. The same plan and pages
    give the same bytes; a roll that is there already is replaced.

    Raises:
        UnreadableImage: a prepared page cannot be decoded or is not of the size that was planned.
    """
    final = folder / plan.folder_name
    part = folder / f".{plan.folder_name}.{_digest(plan, job)}.part"
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f".{plan.folder_name}.*"):
        if stale != part:
            shutil.rmtree(stale)
    part.mkdir(exist_ok=True)
    settings = film_frame.Settings(film_mm=plan.settings.width_mm, software=job.software)
    digests = []
    for frame in plan.page_frames:
        inspection = inspect_frame(part / frame.file, film_mm=settings.film_mm)
        digest = inspection.sha256
        if inspection.problems:  # not there yet
            assert frame.page is not None
            digest = write_frame(
                _read_as_planned(frame, read or read_prepared),
                part / frame.file,
                settings=settings,
                document_name=frame.page.document_id,
                page_name=f"page {frame.page.page_number}",
                to_bitonal=to_bitonal,
            )
        digests.append(digest)
    facts = _facts(plan, job, hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest())
    index = _index_parts(plan)
    for frame in plan.frames:
        if frame.target:
            page = target_page(
                frame.target,
                facts,
                dpi=frame.dpi,
                width_in=plan.settings.target_width_in,
                height_in=plan.settings.target_height_in,
                index=index[frame.part - 1] if frame.target is Target.INDEX else None,
            )
            write_frame(
                page, part / frame.file, settings=settings, document_name=plan.number, page_name=str(frame.target)
            )
    for leftover in {path.name for path in part.iterdir()} - {frame.file for frame in plan.frames}:
        (part / leftover).unlink()
    if final.exists():
        old = folder / f".{plan.folder_name}.old"
        final.rename(old)
        part.rename(final)
        shutil.rmtree(old)
    else:
        part.rename(final)
    return final


def read_prepared(page: FilmPage) -> PageImage:
    """The prepared page from its image file.

    Raises:
        UnreadableImage: it cannot be decoded, or is not of the size that was planned.
    """
    try:
        with Image.open(page.path) as image:
            if image.size != (page.width_px, page.height_px):  # before decoding: the size bounds the memory
                raise UnreadableImage(
                    f"it is {image.width} x {image.height} pixels, planned were {page.width_px} x {page.height_px}"
                )
            return PageImage(pixels=np.array(image if image.mode in ("1", "L") else image.convert("RGB")), dpi=page.dpi)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(str(error)) from error


def _read_as_planned(frame: Frame, read: Callable[[FilmPage], PageImage]) -> PageImage:
    assert frame.page is not None
    image = read(frame.page)
    if frame.turned:
        image = image.with_pixels(image.pixels.swapaxes(0, 1)[::-1].copy())
    if (image.width_px, image.height_px) != (frame.width_px, frame.height_px):
        raise UnreadableImage(
            f"it is {image.width_px} x {image.height_px} pixels, planned were {frame.width_px} x {frame.height_px}"
        )
    return replace(image, dpi=frame.dpi)


def _digest(plan: RollPlan, job: FilmJob) -> str:
    parts = [repr(job), repr(plan.settings), plan.number, str(plan.count), plan.continued_from, plan.continued_on]
    for frame in plan.frames:
        source = frame.page.source_sha256 if frame.page else str(frame.target)
        parts.append(f"{frame.file} {source} {frame.width_px} {frame.height_px} {frame.dpi} {frame.turned}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _facts(plan: RollPlan, job: FilmJob, content_sha256: str) -> RollFacts:
    first, last = plan.spans[0].document, plan.spans[-1].document
    settings = plan.settings
    return RollFacts(
        roll_number=plan.number,
        roll_index=plan.index,
        roll_count=plan.count,
        work_order=job.work_order,
        customer=job.customer,
        agency=job.agency,
        sub_unit=job.sub_unit,
        series=job.series or first.series,
        title=job.title,
        schedule_item=job.schedule_item,
        retention_code=plan.retention_code,
        classification=job.classification,
        dates=job.dates,
        first_document=first.document_id,
        last_document=last.document_id,
        documents=len(plan.spans),
        pages=len(plan.page_frames),
        frames=len(plan.frames),
        film_mm=settings.width_mm,
        film_ft=settings.length_ft,
        reduction=settings.reduction,
        orientation=settings.orientation,
        format=settings.format,
        dpi=settings.dpi,
        operator=job.operator,
        authority=job.authority,
        filmed_on=job.created_on.isoformat(),
        statement=job.statement,
        content_sha256=content_sha256,
        continued_from=plan.continued_from,
        continued_on=plan.continued_on,
        software=job.software,
    )


def _index_parts(plan: RollPlan) -> list[IndexPart]:
    rows = [
        IndexRow(
            document_id=span.document.document_id,
            title=span.document.title,
            pages=span.pages,
            first_frame=span.first_seq,
            address=span.first_address,
        )
        for span in plan.spans
    ]
    a_page = index_rows_a_page(width_in=plan.settings.target_width_in, height_in=plan.settings.target_height_in)
    count = ceil(len(rows) / a_page)
    return [IndexPart(rows=rows[at * a_page : (at + 1) * a_page], number=at + 1, count=count) for at in range(count)]


# ---------------------------------------------------------------------------------------------------------------------
# The tables beside the rolls
# ---------------------------------------------------------------------------------------------------------------------

# fmt: off
ROLL_COLUMNS = [
    "roll_no", "work_order", "customer", "film_mm", "film_ft", "reduction", "orientation", "format", "dpi",
    "frames_total", "frames_targets", "frames_documents", "first_doc", "last_doc", "cont_from", "cont_to",
    "retention_code", "series", "est_length_mm", "capacity_limit", "manifest_sha256",
]
FRAME_COLUMNS = [
    "roll_no", "seq", "file", "kind", "target_code", "doc_id", "page_no", "side", "blip_level", "predicted_address",
    "width_px", "height_px", "dpi", "across_mm", "along_mm", "cum_mm", "sha256", "source_image_id", "retake_of",
]
INDEX_COLUMNS = [
    "series", "doc_id", "title", "dates", "box_barcode", "folder_barcode", "page_count", "roll_no", "first_seq",
    "last_seq", "first_address", "last_address",
]
# fmt: on
INDEX_LAST_COLUMNS = ["restriction", "disposition_date"]  # customer fields stand before these
MANIFEST = "manifest-sha256.txt"


def write_job_files(folder: Path, plans: Sequence[RollPlan], job: FilmJob, *, certificate: Path | None = None) -> None:
    """Write `job.json`, the three tables and the manifest beside rolls that `write_roll` has written.

    `page_count` in `index.csv` counts the pages on that roll; a document split over rolls has a row for each. The
    same plans give the same bytes. `certificate` is copied as `certificate.pdf`.

    Raises:
        FileNotFoundError: a frame of a plan is not there.
        ValueError: a customer's index field is named like a column of ours.
    """
    digests = {
        (plan.number, frame.file): _sha256(folder / plan.folder_name / frame.file)
        for plan in plans
        for frame in plan.frames
    }
    if certificate:
        _write(folder / "certificate.pdf", certificate.read_bytes())
    _write(folder / "job.json", _job_json(plans, job))
    _write(folder / "rolls.csv", _csv(ROLL_COLUMNS, (_roll_row(plan, job, digests) for plan in plans)))
    _write(
        folder / "frames.csv",
        _csv(FRAME_COLUMNS, (_frame_row(plan, frame, digests) for plan in plans for frame in plan.frames)),
    )
    _write(folder / "index.csv", _index_csv(plans, job))
    listed = {f"ROLL_{number}/{file}": digest for (number, file), digest in digests.items()}
    for name in ("job.json", "rolls.csv", "frames.csv", "index.csv", "certificate.pdf"):
        if (folder / name).is_file():
            listed[name] = _sha256(folder / name)
    _write(folder / MANIFEST, _manifest(listed))


def _manifest(digests: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items())).encode()


def _roll_manifest_sha256(roll: str, digests: Mapping[str, str]) -> str:
    """The digest of the lines the manifest has for one roll."""
    return hashlib.sha256(_manifest({f"ROLL_{roll}/{file}": digest for file, digest in digests.items()})).hexdigest()


def _job_json(plans: Sequence[RollPlan], job: FilmJob) -> bytes:
    settings = plans[0].settings
    content = {
        "work_order": job.work_order,
        "customer": job.customer,
        "created_on": job.created_on.isoformat(),
        "profile": job.profile,
        "writer": job.writer,
        "tool_version": job.software,
        "film": settings.model_dump(mode="json"),
        # every frame is turned by this angle on the film; what had to be turned besides is turned in its file
        "orientation": {"label": settings.orientation, "angle_deg": ORIENTATION_DEG[settings.orientation]},
        "rolls": [
            {
                "number": plan.number,
                "folder": plan.folder_name,
                "frames": len(plan.frames),
                "turned_90_deg_ccw": [frame.seq for frame in plan.frames if frame.turned],
            }
            for plan in plans
        ],
    }
    return (json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _roll_row(plan: RollPlan, job: FilmJob, digests: Mapping[tuple[str, str], str]) -> list[str]:
    settings = plan.settings
    own = {frame.file: digests[plan.number, frame.file] for frame in plan.frames}
    row: dict[str, object] = {
        "roll_no": plan.number,
        "work_order": job.work_order,
        "customer": job.customer,
        "film_mm": settings.width_mm,
        "film_ft": f"{settings.length_ft:g}",
        "reduction": f"{settings.reduction:g}",
        "orientation": settings.orientation,
        "format": settings.format,
        "dpi": settings.dpi,
        "frames_total": len(plan.frames),
        "frames_targets": len(plan.frames) - len(plan.page_frames),
        "frames_documents": len(plan.page_frames),
        "first_doc": plan.spans[0].document.document_id,
        "last_doc": plan.spans[-1].document.document_id,
        "cont_from": plan.continued_from,
        "cont_to": plan.continued_on,
        "retention_code": plan.retention_code,
        "series": job.series or plan.spans[0].document.series,
        "est_length_mm": f"{plan.length_mm:.1f}",
        "capacity_limit": plan.capacity_frames,
        "manifest_sha256": _roll_manifest_sha256(plan.number, own),
    }
    return [str(row[column]) for column in ROLL_COLUMNS]


def _frame_row(plan: RollPlan, frame: Frame, digests: Mapping[tuple[str, str], str]) -> list[str]:
    page = frame.page
    row: dict[str, object] = {
        "roll_no": plan.number,
        "seq": frame.seq,
        "file": frame.file,
        "kind": "doc" if page else "target",
        "target_code": frame.target or "",
        "doc_id": page.document_id if page else "",
        "page_no": page.page_number if page else "",
        "side": page.side if page else "",
        "blip_level": frame.mark_level,
        "predicted_address": frame.address,
        "width_px": frame.width_px,
        "height_px": frame.height_px,
        "dpi": f"{frame.dpi:g}",
        "across_mm": f"{frame.across_mm:.2f}",
        "along_mm": f"{frame.along_mm:.2f}",
        "cum_mm": f"{frame.cum_mm:.2f}",
        "sha256": digests[plan.number, frame.file],
        "source_image_id": (page.source_image_id or page.source_sha256) if page else "",
        "retake_of": page.retake_of if page else "",
    }
    return [str(row[column]) for column in FRAME_COLUMNS]


def _index_csv(plans: Sequence[RollPlan], job: FilmJob) -> bytes:
    spans = [(plan, span) for plan in plans for span in plan.spans]
    customer = list(dict.fromkeys(name for _, span in spans for name in span.document.customer_fields))
    if taken := set(customer) & {*INDEX_COLUMNS, *INDEX_LAST_COLUMNS}:
        raise ValueError(f"a customer's index field may not be named {', '.join(sorted(taken))}")
    rows = []
    for plan, span in spans:
        document = span.document
        rows.append(
            [
                document.series or job.series,
                document.document_id,
                document.title,
                document.dates,
                document.box_barcode,
                document.folder_barcode,
                str(span.pages),
                plan.number,
                str(span.first_seq),
                str(span.last_seq),
                span.first_address,
                span.last_address,
                *(document.customer_fields.get(name, "") for name in customer),
                document.restriction,
                document.disposition_date,
            ]
        )
    return _csv([*INDEX_COLUMNS, *customer, *INDEX_LAST_COLUMNS], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """RFC 4180: commas, quotes doubled, lines ended by CR LF; UTF-8 without a mark."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    beside.write_bytes(data)
    beside.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# Checking a film folder
# ---------------------------------------------------------------------------------------------------------------------

MAX_TABLE_BYTES = 512 * 2**20  # 100 rolls of 2,500 frames are 60 MB
MAX_PROBLEMS = 200  # beyond that a list helps nobody
MAX_PROBLEM_LETTERS = 400  # cells of a damaged table may be endless
LEGAL_NAME = re.compile(r"[0-9]{6}_[A-Z0-9_-]+\.tif", re.ASCII)
LEGAL_ROLL = re.compile(r"R[0-9]{6}", re.ASCII)
MANIFEST_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)", re.ASCII)
LENGTH_TOLERANCE_MM = 0.1  # the tables round to 0.01 mm


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmReport:
    """What stands in a film folder, and what is wrong with it."""

    problems: tuple[str, ...]
    rolls: int = 0
    frames: int = 0
    pages: int = 0
    documents: int = 0
    size_bytes: int = 0

    @property
    def good(self) -> bool:
        """Whether the folder may go to the writer."""
        return not self.problems


def check_film_folder(folder: Path) -> FilmReport:
    """Check a film folder against its own tables: every frame, name, sequence, digest, count, address and length.

    Never raises for what is in the folder, and follows no link out of it.
    """
    return _FolderCheck(folder).report()


Row = dict[str, str]


class _FolderCheck:
    """One look through a folder; problems are collected as they are met."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []
        self.size_bytes = 0
        self.digests: dict[str, str] = {}  # of every plain file, by its path in the folder

    def report(self) -> FilmReport:
        if self.folder.is_symlink() or not self.folder.is_dir():
            return FilmReport(problems=("there is no such folder",))
        settings = self.settings()
        rolls = self.table("rolls.csv", ROLL_COLUMNS)
        frames = self.table("frames.csv", FRAME_COLUMNS)
        index = self.table("index.csv", None)
        by_roll: dict[str, list[Row]] = {row["roll_no"]: [] for row in rolls}
        if len(by_roll) < len(rolls):
            self.problem("rolls.csv", "names a roll twice")
        for row in frames:
            if row["roll_no"] in by_roll:
                by_roll[row["roll_no"]].append(row)
            else:
                self.problem("frames.csv", f"frame {row['seq']} is of roll {row['roll_no']}, which rolls.csv has not")
        for row in rolls:
            self.roll(row, by_roll[row["roll_no"]], settings)
        self.index(index, by_roll)
        self.manifest(rolls)
        problems = self.problems[:MAX_PROBLEMS]
        if len(self.problems) > MAX_PROBLEMS:
            problems.append(f"and {len(self.problems) - MAX_PROBLEMS:,} more")
        pages = [row for row in frames if row["kind"] == "doc"]
        return FilmReport(
            problems=tuple(problems),
            rolls=len(rolls),
            frames=len(frames),
            pages=len(pages),
            documents=len({row["doc_id"] for row in pages}),
            size_bytes=self.size_bytes,
        )

    def problem(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}"[:MAX_PROBLEM_LETTERS])

    def read(self, name: str) -> bytes | None:
        """A plain file of the folder, not too large; None, and a problem, if it is not that."""
        path = self.folder / name
        try:
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                self.problem(name, "is not a plain file")
            elif status.st_size > MAX_TABLE_BYTES:
                self.problem(name, f"has {status.st_size:,} bytes; the limit is {MAX_TABLE_BYTES:,}")
            else:
                return path.read_bytes()
        except FileNotFoundError:
            self.problem(name, "is missing")
        except OSError as error:
            self.problem(name, f"cannot be opened: {error.strerror}")
        return None

    def settings(self) -> FilmSettings:
        """The film of `job.json`; the default film, and a problem, if that cannot be read."""
        data = self.read("job.json")
        try:
            if data is not None:
                return FilmSettings.model_validate(json.loads(data)["film"])
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            self.problem("job.json", f"cannot be understood: {str(error).splitlines()[0]}")
        return FilmSettings()

    def table(self, name: str, columns: list[str] | None) -> list[Row]:
        """The rows of a table, each with the columns of its header; none, and a problem, if it cannot be read."""
        data = self.read(name)
        if data is None:
            return []
        try:
            lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            self.problem(name, f"is not a UTF-8 table: {error}")
            return []
        header = lines[0] if lines else []
        expected = columns or [*INDEX_COLUMNS, *header[len(INDEX_COLUMNS) : -2], *INDEX_LAST_COLUMNS]
        if header != expected or len(set(header)) < len(header):
            self.problem(name, f"its columns are not {', '.join(expected)}")
            return []
        rows = []
        for number, line in enumerate(lines[1:], start=2):
            if len(line) == len(header):
                rows.append(dict(zip(header, line, strict=True)))
            else:
                self.problem(name, f"line {number} has {len(line)} cells, not {len(header)}")
        return rows

    def roll(self, roll: Row, frames: list[Row], settings: FilmSettings) -> None:
        number = roll["roll_no"]
        folder = self.folder / f"ROLL_{number}"
        if not LEGAL_ROLL.fullmatch(number):
            self.problem("rolls.csv", f"{number!r} is no roll number")
            return
        if folder.is_symlink() or not folder.is_dir():
            self.problem(folder.name, "the folder is missing")
            return
        for place, row in enumerate(frames, start=1):
            if row["seq"] != str(place):
                self.problem(folder.name, f"frame {row['seq']} stands where {place} is due")
                break
        for row in frames:
            self.frame(folder, row, settings)
        on_disk = {path.name for path in folder.iterdir()}
        for name in sorted(on_disk - {row["file"] for row in frames}):
            self.problem(f"{folder.name}/{name}", "is not in frames.csv")
        self.ends(folder.name, frames)
        self.counts(folder.name, roll, frames, settings)
        self.addresses(folder.name, frames)
        own = {
            row["file"]: self.digests[f"{folder.name}/{row['file']}"]
            for row in frames
            if f"{folder.name}/{row['file']}" in self.digests
        }
        if roll["manifest_sha256"] != _roll_manifest_sha256(number, own):
            self.problem("rolls.csv", f"the manifest digest of roll {number} is not that of its frames")

    def frame(self, folder: Path, row: Row, settings: FilmSettings) -> None:
        name = row["file"]
        where = f"{folder.name}/{name}"
        if not LEGAL_NAME.fullmatch(name) or len(name) > MAX_NAME:
            self.problem("frames.csv", f"{name[:80]!r} is no legal file name")
            return
        if row["seq"].rjust(6, "0") != name[:6]:
            self.problem(where, f"is not named for its place {row['seq']}")
        found = inspect_frame(folder / name, film_mm=settings.width_mm)
        for problem in found.problems:
            self.problem(where, problem)
        if not found.sha256:
            return
        self.size_bytes += (folder / name).lstat().st_size
        self.digests[where] = found.sha256
        if row["sha256"] != found.sha256:
            self.problem(where, "is not the file of frames.csv: its SHA-256 is another")
        if (row["width_px"], row["height_px"], row["dpi"]) != (
            str(found.width_px),
            str(found.height_px),
            f"{found.dpi:g}",
        ):
            self.problem(where, "has another size or resolution than frames.csv says")

    def ends(self, where: str, frames: list[Row]) -> None:
        if not frames or frames[0]["target_code"] != Target.START:
            self.problem(where, "does not begin with a START target")
        if not frames or frames[-1]["target_code"] != Target.END:
            self.problem(where, "does not end with an END target")
        for row in frames:
            target = row["kind"] == "target"
            known = row["target_code"] in set(Target) if target else row["kind"] == "doc" and not row["target_code"]
            if not known or target == bool(row["doc_id"]):
                self.problem(where, f"frame {row['seq']} is neither a page nor a known target")

    def counts(self, where: str, roll: Row, frames: list[Row], settings: FilmSettings) -> None:
        pages = sum(row["kind"] == "doc" for row in frames)
        counted = (str(len(frames)), str(len(frames) - pages), str(pages))
        if (roll["frames_total"], roll["frames_targets"], roll["frames_documents"]) != counted:
            self.problem(where, f"has {counted[0]} frames, {counted[1]} of them targets; rolls.csv says otherwise")
        capacity = _number(roll["capacity_limit"])
        limit = min(capacity, settings.max_images_per_roll) if capacity < inf else 0
        if len(frames) > limit:
            self.problem(where, f"has {len(frames)} frames; {limit:g} is the most this film takes")
        end_mm = settings.length_ft * MM_PER_FOOT - settings.trailer_in * MM_PER_INCH
        used_mm = max((_number(row["cum_mm"]) for row in frames), default=0.0)
        if used_mm > end_mm + LENGTH_TOLERANCE_MM:
            self.problem(where, f"uses {used_mm:.0f} mm of film; {end_mm:.0f} mm are before the trailer")
        width_mm = max((_number(row["across_mm"]) for row in frames), default=0.0)
        if width_mm > settings.image_width_mm + LENGTH_TOLERANCE_MM:
            self.problem(where, f"has an image {width_mm:.1f} mm wide; {settings.image_width_mm:.1f} mm is the limit")

    def addresses(self, where: str, frames: list[Row]) -> None:
        counts = [0, 0, 0]
        for row in frames:
            level = row["blip_level"]
            if level not in ("0", "1", "2", "3"):
                self.problem(where, f"frame {row['seq']} has mark level {level!r}")
                return
            expected = next_address(counts, int(level)) if level != "0" else ""
            if row["predicted_address"] != expected:
                self.problem(where, f"frame {row['seq']} has address {row['predicted_address']!r}, not {expected!r}")
                return

    def index(self, index: list[Row], by_roll: Mapping[str, list[Row]]) -> None:
        expected = []
        for roll, frames in by_roll.items():
            for run in _documents(frames):
                first, last = run[0], run[-1]
                addresses = (first["predicted_address"], last["predicted_address"])
                expected.append((roll, first["doc_id"], str(len(run)), first["seq"], last["seq"], *addresses))
        names = ["roll_no", "doc_id", "page_count", "first_seq", "last_seq", "first_address", "last_address"]
        found = [tuple(row[name] for name in names) for row in index]
        for missing in sorted(set(expected) - set(found)):
            self.problem("index.csv", f"has no right row for document {missing[1]} on roll {missing[0]}")
        for extra in sorted(set(found) - set(expected)):
            self.problem("index.csv", f"document {extra[1]} on roll {extra[0]} is not so in frames.csv")
        if len(set(found)) < len(found):
            self.problem("index.csv", "has a row twice")

    def manifest(self, rolls: list[Row]) -> None:
        data = self.read(MANIFEST)
        listed: dict[str, str] = {}
        for number, line in enumerate((data or b"").decode("utf-8", "replace").splitlines(), start=1):
            parts = MANIFEST_LINE.fullmatch(line)
            if not parts or parts[2] in listed:
                self.problem(MANIFEST, f"line {number} is damaged or a repetition")
            else:
                listed[parts[2]] = parts[1]
        present = set(self.files())
        for path in sorted(present - set(listed) - {MANIFEST}):
            self.problem(path, "is not in the manifest")
        for path in sorted(set(listed) - present):
            self.problem(path, "is in the manifest but not in the folder")
        for path in sorted(present & set(listed)):
            digest = self.digests.get(path) or _sha256(self.folder / path)
            if digest != listed[path]:
                self.problem(path, "is not the file of the manifest: its SHA-256 is another")
        known = {f"ROLL_{row['roll_no']}" for row in rolls}
        for entry in sorted(self.folder.iterdir()):
            if entry.is_dir() and entry.name not in known:
                self.problem(entry.name, "is no roll of rolls.csv")

    def files(self) -> Iterator[str]:
        """Every plain file, in the folder and one level below: there is nothing deeper."""
        for entry in sorted(self.folder.iterdir()):
            inside = sorted(entry.iterdir()) if entry.is_dir() and not entry.is_symlink() else [entry]
            for path in inside:
                name = path.relative_to(self.folder).as_posix()
                if path.is_symlink() or not path.is_file():
                    self.problem(name, "is not a plain file")
                else:
                    yield name


def _documents(frames: Sequence[Row]) -> Iterator[list[Row]]:
    """The page frames of one document after the other."""
    run: list[Row] = []
    for row in frames:
        if run and (row["kind"] != "doc" or row["doc_id"] != run[0]["doc_id"]):
            yield run
            run = []
        if row["kind"] == "doc":
            run.append(row)
    if run:
        yield run


def _number(text: str) -> float:
    """A number of a table; infinite, which is beyond every limit, if it is none."""
    try:
        number = float(text)
    except ValueError:
        return inf
    return inf if isnan(number) else number
