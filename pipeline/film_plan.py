"""Plan film: documents -> rolls of frames, every one with its place on the film and the address a reader will count.

Source of the image addresses: Kodak A-61097 (three-level marks: large C+1, medium B+1, small A+1).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil

from pipeline.film import (
    DocumentSpan,
    FilmDocument,
    FilmPage,
    FilmSettings,
    Frame,
    RollPlan,
    legal_name,
    roll_number,
)
from stages.errors import FilmDoesNotFit
from stages.film_check import size_problem
from stages.film_targets import Target, index_rows_a_page
from stages.page_image import MM_PER_INCH


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
        elif problem := size_problem(page.width_px, page.height_px, page.dpi, settings.width_mm):
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
    return f"{seq:06d}_{legal_name(page.document_id)[:room]}{tail}"
