"""Which verb a task is, and what becomes of a refusal or a failure."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Mapping

from pipeline.alarms import held_alarms
from pipeline.assemble import assemble_batch
from pipeline.bureau import Bureau
from pipeline.convert import prepare_page, recognize_page
from pipeline.film_rolls import plan_order_rolls, write_order_roll
from pipeline.intake import receive_delivery
from pipeline.ledger import Fenced, subject_of
from pipeline.logs import about
from pipeline.measures import FENCED, STALE_HINTS
from pipeline.model import PAGE_TASKS, Task, TaskId, TaskKind
from pipeline.packaging import deliver_order, package_document
from pipeline.quality_control import draw_sample
from pipeline.sandbox import Stopping
from stages.errors import Refusal

log = logging.getLogger(__name__)

FULL_BELOW_BYTES = 1 << 20  # no page file or PDF is sure to fit

VERBS: Mapping[TaskKind, Callable[..., None]] = {
    TaskKind.RECEIVE_BATCH: receive_delivery,
    TaskKind.PREPARE_PAGE: prepare_page,
    TaskKind.ASSEMBLE_BATCH: assemble_batch,
    TaskKind.INSPECT_BATCH: draw_sample,
    TaskKind.RECOGNIZE_PAGE: recognize_page,
    TaskKind.PACKAGE_DOCUMENT: package_document,
    TaskKind.PLAN_ROLLS: plan_order_rolls,
    TaskKind.WRITE_ROLL: write_order_roll,
    TaskKind.DELIVER_ORDER: deliver_order,
}


def run_task(bureau: Bureau, task_id: TaskId, attempt: int, *, owner: str) -> None:
    """Do the task that was sent, if this attempt of it is still to be done."""
    task = bureau.ledger.claim(task_id, attempt, owner)
    if task is None:
        bureau.measures.count(STALE_HINTS)
        log.debug("task %d, attempt %d: stale or doubled hint", task_id, attempt)
        return
    do_task(bureau, task, owner=owner)


def do_task(bureau: Bureau, task: Task, *, owner: str) -> None:
    """Do a task that this process has claimed.

    Can a person help, or can time? A refusal is held for a person; anything else is tried again after a pause, four
    times, or as often as it takes while the disk is full or the store away.
    """
    with about(task=task.id, attempt=task.attempt, kind=task.kind.value, order=task.order_id, subject=subject_of(task)):
        _do_task(bureau, task, owner=owner)


def _do_task(bureau: Bureau, task: Task, *, owner: str) -> None:
    try:
        try:
            VERBS[task.kind](bureau, task, who=owner)
        except Refusal as refusal:
            bureau.ledger.hold(
                task,
                refusal.code,
                refusal.sentence,
                who=owner,
                scanner=refusal.scanner,
                alarms=held_alarms(refusal) if task.kind in PAGE_TASKS else (),
            )
            log.info("%s %d held: %s", task.kind, task.subject_id, refusal.code)
        except (Fenced, Stopping):
            raise
        except Exception as error:
            if outage := _outage(bureau, error):
                bureau.ledger.wait_out(task, outage, f"{type(error).__name__}: {error}", who=owner)
                log.error("%s %d waits, %s: %s", task.kind, task.subject_id, outage, error)
                return
            state = bureau.ledger.put_off(task, f"{type(error).__name__}: {error}", who=owner)
            log.exception("%s %d failed and is %s", task.kind, task.subject_id, state)
    except Stopping:
        log.info("%s %d is given back: this process stops", task.kind, task.subject_id)
    except Fenced:
        bureau.measures.count(FENCED)
        log.warning("%s %d: somebody else has taken it over", task.kind, task.subject_id)


def _outage(bureau: Bureau, error: Exception) -> str | None:
    """What no page is to be blamed for: the disk is full, by the error or by the look of it, or the store is away."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or shutil.disk_usage(bureau.settings.home).free < FULL_BELOW_BYTES:
        return "no-room"
    if isinstance(error, OSError):  # of this kind a missing file of a share that is not mounted is too
        try:
            bureau.store.check()
        except OSError:
            return "store-away"
    return None
