"""Film as values: what a profile asks for, what is to be filmed, and how it lies on rolls.

Nothing here knows the ledger. Lengths along the film are in millimetres from the reel's outer end, leader included;
`seq` counts the frames of a roll from 1 in the order in which they are written.

Source of the capacity formula: this house's, in `docs/film.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from math import floor
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from stages.film_targets import STATEMENT, Target
from stages.page_image import MM_PER_INCH
from stages.settings import StageSettings

MM_PER_FOOT = 304.8
# Across the film, what an image may take: 16 mm without marks, 16 mm with one channel of marks, 35 mm. Not confirmed
# against MS14 or a machine manual, therefore `usable_width_mm` is a setting.
USABLE_WIDTH_MM = {(16, False): 14.0, (16, True): 12.5, (35, False): 32.0, (35, True): 32.0}
LANE_GAP_MM = 0.5  # between the two images side by side of duo, duplex and dual
SHORTEST_FILM_MM = 1000.0  # usable; below this the targets alone would fill a roll


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
    agency: str = ""  # whose records these are
    bureau: str = ""  # who made the film
    sub_unit: str = ""
    series: str = ""
    title: str = ""
    schedule_item: str = ""
    classification: str = ""
    dates: str = ""
    authority: str = ""
    operator: str = ""
    statement: str = STATEMENT
    profile: str = ""
    writer: str = ""
    software: str = "Platen"

    @property
    def folder_name(self) -> str:
        """The name of the order's film folder."""
        return f"FILM_{legal_name(self.work_order)}_{self.created_on:%Y%m%d}"


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


def legal_name(name: str) -> str:
    """The name in the letters a writer's old Windows takes; the sequence number before it keeps files apart."""
    return re.sub(r"[^A-Z0-9_-]", "-", name.upper()) or "-"
