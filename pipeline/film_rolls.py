"""An order's film: plan its rolls, write each, and hand over the folder when it is whole and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import ClassVar

from pipeline.bureau import Bureau
from pipeline.film import FilmDocument, FilmJob, FilmPage, RollPlan, roll_number
from pipeline.film_plan import plan_rolls
from pipeline.film_work import finish_folder, write_planned_roll
from pipeline.model import DocumentId, Roll, RollId, Sha256, Task, WorkOrder
from pipeline.profile import Profile, StageCall
from pipeline.store import fsync_path
from stages.errors import Refusal

_SECONDS_A_FRAME = 2.0  # generous: decode, encode and check take 0.15 s
_BITONAL_STAGES = ("background", "binarize", "despeckle")


class FilmNotSound(Refusal):
    """The film folder does not pass its own check."""

    code: ClassVar[str] = "film-not-sound"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(
            f"The film folder does not pass its check: {'; '.join(problems[:3])}. It was not handed over. "
            "Call the engineers, then retry."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmBatch:
    """What was planned together: from it every roll can be planned again, the same to the frame."""

    documents: tuple[DocumentId, ...]
    first_number: int
    rolls: int
    created_on: date

    def to_json(self, index: int) -> str:
        """As kept with roll `index` (from 0)."""
        return json.dumps(
            {
                "documents": list(self.documents),
                "first_number": self.first_number,
                "rolls": self.rolls,
                "created_on": self.created_on.isoformat(),
                "index": index,
            }
        )

    @classmethod
    def from_roll(cls, roll: Roll) -> tuple[FilmBatch, int]:
        """What a roll was planned with, and its index."""
        raw = json.loads(roll.plan)
        batch = cls(
            documents=tuple(DocumentId(number) for number in raw["documents"]),
            first_number=raw["first_number"],
            rolls=raw["rolls"],
            created_on=date.fromisoformat(raw["created_on"]),
        )
        return batch, raw["index"]


def plan_order_rolls(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a PLAN_ROLLS task: lay out what has not been filmed yet."""
    order = _order(bureau, task)
    profile = bureau.profile_of(order)
    new = _not_filmed(bureau, order)
    documents = _film_documents(bureau, order, new)
    rolls = len(plan_rolls(documents, profile.film))
    first = bureau.ledger.reserve_roll_numbers(rolls) if rolls else 1
    batch = FilmBatch(documents=new, first_number=first, rolls=rolls, created_on=datetime.now(UTC).date())
    plans = plan_rolls(documents, profile.film, first_number=first)
    bureau.ledger.record_planned(
        task,
        [
            (plan.number, len(plan.frames), len(plan.page_frames), batch.to_json(index))
            for index, plan in enumerate(plans)
        ],
        who=who,
    )


def planned_film(bureau: Bureau, order: WorkOrder) -> list[RollPlan]:
    """How what has not been filmed of the order would lie on rolls; roll numbers are not taken yet."""
    documents = _film_documents(bureau, order, _not_filmed(bureau, order))
    return plan_rolls(documents, bureau.profile_of(order).film)


def write_order_roll(bureau: Bureau, task: Task, *, who: str) -> None:
    """Do a WRITE_ROLL task, in a hidden folder until the whole film is there."""
    roll = bureau.ledger.roll(RollId(task.subject_id))
    order = bureau.ledger.order_by_id(roll.order_id)
    profile = bureau.profile_of(order)
    batch, index = FilmBatch.from_roll(roll)
    plan = _plans(bureau, order, profile, batch)[index]
    folder = _final_folder(bureau, order, batch, roll.round)
    _write_plan(bureau, plan, folder, film_job(bureau, order, profile, batch), profile)
    bureau.ledger.record_roll_written(task, bureau.relative(folder / plan.folder_name), who=who)


def _write_plan(bureau: Bureau, plan: RollPlan, folder: Path, job: FilmJob, profile: Profile) -> None:
    prepared = {Sha256(frame.page.path.name) for frame in plan.page_frames if frame.page}
    with bureau.store.local(prepared) as files:
        bureau.sandbox.call(
            "Writing the roll",
            write_planned_roll,
            _with_files(plan, files),
            _part_folder(folder),
            job,
            bitonal_calls(profile),
            timeout_s=120 + _SECONDS_A_FRAME * len(plan.frames),
        )


def finish_film(bureau: Bureau, order: WorkOrder, round_: int) -> Path | None:
    """Write the tables of an order's film, check everything, and give the folder its name. None without rolls.

    Raises:
        FilmNotSound: a frame or a table is wrong; nothing is handed over.
    """
    rolls = [roll for roll in bureau.ledger.rolls_of(order.id) if roll.round == round_]
    if not rolls:
        return None
    profile = bureau.profile_of(order)
    batch, _ = FilmBatch.from_roll(rolls[0])
    folder = _final_folder(bureau, order, batch, round_)
    if folder.is_dir():
        return folder  # handed over before the last crash
    plans = _plans(bureau, order, profile, batch)
    job = film_job(bureau, order, profile, batch)
    for plan in plans:
        if not (_part_folder(folder) / plan.folder_name).is_dir():  # the ledger was restored from a backup since
            _write_plan(bureau, plan, folder, job, profile)
    frames = sum(len(plan.frames) for plan in plans)
    problems = bureau.sandbox.call(
        "Checking the film",
        finish_folder,
        _part_folder(folder),
        plans,
        job,
        timeout_s=120 + _SECONDS_A_FRAME * frames,
    )
    if problems:
        raise FilmNotSound(problems)
    _part_folder(folder).rename(folder)
    fsync_path(folder.parent)
    return folder


def film_places(bureau: Bureau, order: WorkOrder) -> dict[str, tuple[str, int, int]]:
    """Where each filmed document lies, by its public id: roll, first and last frame (of its first roll)."""
    places: dict[str, tuple[str, int, int]] = {}
    for roll in bureau.ledger.rolls_of(order.id):
        batch, index = FilmBatch.from_roll(roll)
        plan = _plans(bureau, order, bureau.profile_of(order), batch)[index]
        for span in plan.spans:
            places.setdefault(span.document.document_id, (plan.number, span.first_seq, span.last_seq))
    return places


def film_job(bureau: Bureau, order: WorkOrder, profile: Profile, batch: FilmBatch) -> FilmJob:
    """What the targets say of the order."""
    return FilmJob(
        work_order=order.number,
        customer=order.customer,
        created_on=batch.created_on,
        agency=order.customer,
        bureau=bureau.settings.bureau_name,
        series=order.series,
        title=order.title,
        profile=profile.name,
    )


def bitonal_calls(profile: Profile) -> tuple[StageCall, ...]:
    """The profile's own stages that make a grey or colour page bitonal for the film."""
    named = {call.name: call for call in (*profile.recognize, *profile.page) if call.name in _BITONAL_STAGES}
    return tuple(named[name] for name in _BITONAL_STAGES if name in named)


def _plans(bureau: Bureau, order: WorkOrder, profile: Profile, batch: FilmBatch) -> list[RollPlan]:
    documents = _film_documents(bureau, order, batch.documents)
    plans = plan_rolls(documents, profile.film, first_number=batch.first_number)
    expected = [roll_number(batch.first_number + index) for index in range(batch.rolls)]
    if [plan.number for plan in plans] != expected:
        raise RuntimeError(f"the film of {order.number} no longer plans to the rolls {', '.join(expected)}")
    return plans


def _not_filmed(bureau: Bureau, order: WorkOrder) -> tuple[DocumentId, ...]:
    filmed = {
        document for roll in bureau.ledger.rolls_of(order.id) for document in FilmBatch.from_roll(roll)[0].documents
    }
    return tuple(d.id for d in bureau.ledger.documents_of(order.id) if d.id not in filmed and d.pages)


def _film_documents(bureau: Bureau, order: WorkOrder, wanted: Sequence[DocumentId]) -> list[FilmDocument]:
    names = {batch.id: batch.name for batch in bureau.ledger.batches_of(order.id)}
    made = []
    for document in bureau.ledger.documents_of(order.id):
        if document.id not in wanted:
            continue
        pages = []
        for number, page in enumerate(bureau.ledger.pages_of_document(document.id), start=1):
            assert page.prepared is not None
            width_px, height_px = page.size_px
            pages.append(
                FilmPage(
                    document_id=document.public_id,
                    page_number=number,
                    width_px=width_px,
                    height_px=height_px,
                    dpi=page.dpi,
                    path=Path(page.prepared),  # its name in the store; where it lies is asked when its roll is written
                    source_sha256=page.source,
                    source_image_id=f"{page.file}#{page.index_in_file + 1}",
                )
            )
        made.append(
            FilmDocument(
                document_id=document.public_id,
                pages=tuple(pages),
                title=document.title,
                series=order.series,
                batch=names[document.batch_id],
                box_barcode=order.boxes[0] if len(order.boxes) == 1 else "",
            )
        )
    return made


def _with_files(plan: RollPlan, files: Mapping[Sha256, Path]) -> RollPlan:
    """The plan with the places of its pages' files in the place of their names."""
    return replace(
        plan,
        frames=tuple(
            replace(frame, page=replace(frame.page, path=files[Sha256(frame.page.path.name)])) if frame.page else frame
            for frame in plan.frames
        ),
    )


def _final_folder(bureau: Bureau, order: WorkOrder, batch: FilmBatch, round_: int) -> Path:
    name = FilmJob(work_order=order.number, customer=order.customer, created_on=batch.created_on).folder_name
    return bureau.settings.folder("film") / (name if round_ == 1 else f"{name}_{round_}")


def _part_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.part")


def _order(bureau: Bureau, task: Task) -> WorkOrder:
    assert task.order_id is not None
    return bureau.ledger.order_by_id(task.order_id)
