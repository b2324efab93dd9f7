"""What a page goes through in the sandbox: prepared, then read. It knows no ledger, so that a child starts quickly."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.measures import timed
from pipeline.profile import DeliveryRules, Profile, StageCall
from stages.blank import Settings as BlankSettings
from stages.blank import blank, proved_blank
from stages.difference import before_and_after
from stages.errors import RecognitionTimedOut, Refusal, ResolutionTooLow, WordsLost
from stages.ink_ledger import settled
from stages.ocr import Settings as OcrSettings
from stages.page_file import read_page_file, write_page_file
from stages.page_image import PageImage, Reading, TextLayer
from stages.places import Places, places_from
from stages.read import Settings as ReadSettings
from stages.read import read_page
from stages.reading_copy import reading_copy
from stages.same_sheet import is_same_print
from stages.second_reading import FEW_WORDS, best_of, read_again, without_ink
from stages.separators import Settings as SeparatorSettings
from stages.separators import separators

SMALL_QUALITY = 75  # of WebP: to find and compare pages by; who judges a page opens the page itself


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareJob:
    """What preparing one page takes; `waived` are codes of refusals to pass by."""

    source: Path
    page_index: int
    read: ReadSettings
    calls: tuple[StageCall, ...]
    delivery: DeliveryRules
    waived: frozenset[str]
    folder: Path
    name: str

    @classmethod
    def by(
        cls,
        profile: Profile,
        source: Path,
        page_index: int,
        *,
        folder: Path,
        name: str = "page",
        waived: frozenset[str] = frozenset(),
    ) -> PrepareJob:
        """The job as a profile says."""
        return cls(
            source=source,
            page_index=page_index,
            read=profile.read,
            calls=profile.page,
            delivery=profile.delivery,
            waived=waived,
            folder=folder,
            name=name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A page ready to be read and delivered."""

    file: Path
    readings: dict[str, Reading]
    stage_s: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizeJob:
    """What reading one prepared page takes.

    `scan` and its `page_index` are what the page was prepared from, and `to_scan` maps places on it to places there.
    `dpi_source` is what told `dpi`, as in the readings. A page read with less confidence than `read_again_below` is
    read once more, and `most_words_lost` is the share of the scan's words that may then have no successor.
    """

    prepared: Path
    dpi: float
    dpi_source: Reading
    calls: tuple[StageCall, ...]
    waived: frozenset[str]
    scan: Path
    page_index: int
    read: ReadSettings
    to_scan: Places
    read_again_below: float
    most_words_lost: float

    @classmethod
    def by(
        cls,
        profile: Profile,
        scan: Path,
        page_index: int,
        prepared: Path,
        readings: Mapping[str, Reading],
        *,
        waived: frozenset[str] = frozenset(),
    ) -> RecognizeJob:
        """The job as a profile says; `readings` are those of preparing the page."""
        dpi = readings["page.dpi"]
        assert isinstance(dpi, float)
        return cls(
            prepared=prepared,
            dpi=dpi,
            dpi_source=readings.get("read.dpi_source"),
            calls=profile.recognize,
            waived=waived,
            scan=scan,
            page_index=page_index,
            read=profile.read,
            to_scan=places_of(readings["page.to_scan"]),
            read_again_below=profile.quality.reads_again_below(scan.name, page_index, readings),
            most_words_lost=profile.quality.max_words_lost_fraction,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognized:
    """What was read on a page, in the pixels of the prepared page."""

    text: TextLayer
    readings: dict[str, Reading]
    stage_s: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureJob:
    """What showing a page before and after takes; names as in `RecognizeJob`."""

    scan: Path
    page_index: int
    read: ReadSettings
    prepared: Path
    dpi: float
    to_scan: Places
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallPictureJob:
    """What drawing a page small takes: a scan is read as `read` says, a prepared page (None) at its `dpi`."""

    file: Path
    page_index: int
    read: ReadSettings | None
    dpi: float | None
    edge_px: int
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseSheet:
    """What a scan says of itself before anything is known of its order; empty and 0 where it says nothing."""

    ticket: str  # order number
    rescan_hold: int
    rescan_order: str
    is_blank: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SideJob:
    """What looking at one side of a sheet takes: the scan, and the steps that lay it level and cut it."""

    scan: Path
    page_index: int
    read: ReadSettings
    calls: tuple[StageCall, ...]

    @classmethod
    def by(cls, profile: Profile, scan: Path, page_index: int) -> SideJob:
        """The job as a profile says; the prepared page will not do, since a bitonal one has lost what is faint."""
        return cls(
            scan=scan,
            page_index=page_index,
            read=profile.read,
            calls=tuple(call for call in profile.page if call.stage.moves_pixels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedPage:
    """A page that went into the PDF."""

    file: str
    page_number: int
    readings: dict[str, Reading]
    prepare_s: float
    recognize_s: float
    image: Path
    text_file: Path | None
    text: str


def prepare_file(job: PrepareJob) -> Prepared:
    """Read one page, let it flow through its stages, and write the page that will be delivered.

    Raises:
        Refusal: a person must decide, unless its code is waived.
    """
    settings = job.read
    if ResolutionTooLow.code in job.waived:
        settings = settings.model_copy(update={"min_dpi": None})
    took_s: dict[str, float] = {}
    with timed(took_s, "read"):
        page = read_page(job.source, job.page_index, settings)
    try:
        page, stages = _flow(page, job.calls, job.waived, took_s)
    except Refusal as refusal:
        refusal.scanner = str(page.readings["read.scanner"])
        raise
    with timed(took_s, "write"):
        file = write_page_file(
            page,
            job.folder,
            job.name,
            encoding=job.delivery.encoding,
            bitonal_encoding=job.delivery.bitonal_encoding,
            jpeg_quality=job.delivery.jpeg_quality,
            keep_scanner_stream=job.delivery.keep_scanner_stream,
        )
    page = page.with_readings("prepare", stages=stages)
    page = page.with_readings(
        "page", width_px=page.width_px, height_px=page.height_px, dpi=float(page.dpi), to_scan=list(page.moved)
    )
    return Prepared(file=file, readings=dict(page.readings), stage_s=took_s)


def recognize_file(job: RecognizeJob) -> Recognized:
    """Read the words of a prepared page.

    Raises:
        Refusal: a person must decide, unless its code is waived.
    """
    took_s: dict[str, float] = {}
    delivered = read_page_file(job.prepared, dpi=job.dpi).with_readings("read", dpi_source=job.dpi_source)
    *calls, ocr = job.calls
    page, stages = _flow(delivered, tuple(call for call in calls if call.stage.acts_on != "copy"), job.waived, took_s)
    page = _best_to_read(page, delivered, job, took_s)
    page, more = _flow(page, (*(call for call in calls if call.stage.acts_on == "copy"), ocr), job.waived, took_s)
    stages += more
    text = page.text
    if text is None:  # released without text after a time-out
        text = TextLayer(lines=(), width_px=page.width_px, height_px=page.height_px, to_page=page.moved)
    elif isinstance(ocr.settings, OcrSettings) and (text.mean_confidence or 0.0) < job.read_again_below:
        with timed(took_s, "second_reading"):
            text, measured = _read_again(delivered, text, ocr.settings, job)
        page = page.with_readings("second_reading", **measured)
    readings = dict(page.with_readings("recognize", stages=stages).readings)
    return Recognized(text=text, readings=readings, stage_s=took_s)


def _read_again(
    delivered: PageImage, text: TextLayer, settings: OcrSettings, job: RecognizeJob
) -> tuple[TextLayer, dict[str, Reading]]:
    """The better one of the page's text and the scan's, completed by the other, and what was measured.

    Raises:
        WordsLost: words of the scan are not on the page any more.
        RecognitionTimedOut: a reading that must be made took too long; one for a better text is gone without.
    """
    if any(call.stage.acts_on == "scan" for call in job.calls):
        return text, {}  # the profile means to lose print: the form's own
    scan = _scan_of(job)
    try:
        second = read_again(scan, delivered, job.to_scan, text, settings)
    except RecognitionTimedOut:
        if job.read_again_below == math.inf:
            raise  # much ink went, or the page is in the sample: nobody has looked whether words did
        return text, {"timed_out": True}
    gone = without_ink(second.lost, scan, delivered, job.to_scan) if second.lost else ()
    too_many = len(second.sure) >= FEW_WORDS and len(gone) > job.most_words_lost * len(second.sure)
    if too_many and WordsLost.code not in job.waived:
        raise WordsLost([word.text for word in gone], len(second.sure))
    best, kept, put_in = best_of(text, second, gone, delivered, job.to_scan)
    return best, {
        "words": len(second.sure),
        "lost": [word.text for word in second.lost],
        "lost_fraction": second.lost_fraction,
        "gone": [word.text for word in gone],
        "kept": kept,
        "put_in": [word.text for word in put_in],
    }


def _scan_of(job: RecognizeJob | PictureJob | SideJob) -> PageImage:
    """The page as it was scanned, of whatever resolution: it has been prepared, so that was looked at."""
    return read_page(job.scan, job.page_index, job.read.model_copy(update={"min_dpi": None}))


def _best_to_read(page: PageImage, delivered: PageImage, job: RecognizeJob, took_s: dict[str, float]) -> PageImage:
    """The grey of the scan under the clean page, where there is grey to be had; else the clean page itself."""
    if not page.is_bitonal:
        return page
    scan, to_scan = delivered, page.moved
    if delivered.is_bitonal:
        scan = _scan_of(job)
        to_scan = job.to_scan.after(page.moved)
    if scan.is_bitonal:
        return page  # its grey, softened, under the clean page read no better: 303 against 283 edits on 15 pages
    on_scan = tuple(call for call in job.calls if call.stage.acts_on == "scan")
    scan, _ = _flow(scan, on_scan, job.waived, took_s)
    names = tuple(f"{call.name}." for call in on_scan)
    measured = {name: value for name, value in scan.readings.items() if name.startswith(names)}
    copy = reading_copy(page, scan, to_scan).with_readings("recognize", copy="grey")
    return replace(copy, readings={**copy.readings, **measured})


def convert_page(job: PrepareJob, profile: Profile, name: str) -> ConvertedPage:
    """Prepare one page of the file `name` and read it, where there is no ledger to keep what lies between.

    Raises:
        Refusal: a person must decide.
    """
    begin = time.perf_counter()
    prepared = prepare_file(job)
    middle = time.perf_counter()
    text_file, text, readings = None, "", dict(prepared.readings)
    if profile.recognize:
        recognized = recognize_file(
            RecognizeJob.by(profile, job.source, job.page_index, prepared.file, prepared.readings)
        )
        text_file = job.folder / f"{job.name}.json"
        text_file.write_bytes(recognized.text.to_json())
        text = recognized.text.plain_text
        readings.update(recognized.readings)
    return ConvertedPage(
        file=name,
        page_number=job.page_index + 1,
        readings=readings,
        prepare_s=middle - begin,
        recognize_s=time.perf_counter() - middle,
        image=prepared.file,
        text_file=text_file,
        text=text,
    )


def write_image(prepared: Path, target: Path) -> None:
    """Write a prepared page as a TIFF."""
    if prepared.suffix == ".tif":
        shutil.copyfile(prepared, target)
        return
    page = read_page_file(prepared)
    Image.fromarray(page.pixels).save(target, compression="tiff_deflate", dpi=(page.dpi, page.dpi))


def write_picture(job: PictureJob) -> None:
    """Write a page before and after, with the difference, as a PNG."""
    scan = _scan_of(job)
    shown = before_and_after(scan, read_page_file(job.prepared, dpi=job.dpi), job.to_scan)
    Image.fromarray(shown.pixels).save(job.out, format="PNG", dpi=(shown.dpi, shown.dpi))


def write_small_picture(job: SmallPictureJob) -> None:
    """Write a page as WebP, its longer edge at most `edge_px`."""
    if job.read is None:
        page = read_page_file(job.file, dpi=job.dpi)
    else:
        page = read_page(job.file, job.page_index, job.read.model_copy(update={"min_dpi": None}))
    image = Image.fromarray(np.asarray(page.pixels if page.is_colour else page.grey(), dtype=np.uint8))
    image.thumbnail((job.edge_px, job.edge_px), Image.Resampling.BOX)
    image.save(job.out, format="WEBP", quality=SMALL_QUALITY)


def house_sheet(path: Path, page_index: int) -> HouseSheet:
    """What a page says of itself if it is a ticket or a rescan sheet."""
    page = separators(read_page(path, page_index, ReadSettings()), SeparatorSettings())
    hold = page.readings["separators.rescan_hold"]
    return HouseSheet(
        ticket=str(page.readings["separators.ticket"]),
        rescan_hold=hold if isinstance(hold, int) else 0,
        rescan_order=str(page.readings["separators.rescan_order"]),
        is_blank=blank(page, BlankSettings()).readings["blank.verdict"] == "blank",
    )


def same_print(file: Path, dpi: float, other: Path, other_dpi: float) -> bool:
    """Whether the same stands on two prepared pages."""
    return is_same_print(read_page_file(file, dpi=dpi), read_page_file(other, dpi=other_dpi))


def bears_nothing(side: SideJob, other: SideJob) -> bool:
    """Whether a side of a sheet bears nothing but what shows through it of the other side.

    Raises:
        Refusal: one of them cannot be read, or was laid level only by somebody's word.
    """
    level = []
    for job in (side, other):
        page, _ = _flow(_scan_of(job), job.calls, frozenset(), {})
        level.append(page)
    return proved_blank(*level)


def places_of(reading: Reading) -> Places:
    """The map that a page keeps as a reading."""
    assert isinstance(reading, list)
    return places_from([float(value) for value in reading])


def _flow(
    page: PageImage, calls: tuple[StageCall, ...], waived: frozenset[str], took_s: dict[str, float]
) -> tuple[PageImage, list[str]]:
    """The page after its stages, each checked for the ink it took, and which ran (name and version)."""
    done: list[str] = []
    for call in calls:
        try:
            with timed(took_s, call.name):
                page = settled(page, call.stage.run(page, call.settings), call.name)
            done.append(f"{call.name} {call.stage.version}")
        except Refusal as refusal:
            if refusal.code not in waived:
                raise
            # a person has seen the page and said: go on. The stage that refused is passed by.
            page = page.with_readings(call.name, waived=refusal.code, **refusal.measured)
    return page, done
