"""The actors: one a kind of task. A message is `(task id, attempt, owner)`, a hint that may be lost or doubled."""

from __future__ import annotations

import logging
from collections.abc import Callable

import dramatiq

from pipeline.model import TaskId, TaskKind
from pipeline.tasks import run_task
from workers.broker import broker, bureau_of_process

log = logging.getLogger(__name__)

_finished: list[Callable[[int, int], None]] = []


def when_finished(callback: Callable[[int, int], None]) -> None:
    """Have `callback(task id, attempt)` called whenever an actor of this process ends."""
    _finished.append(callback)


def forget_callbacks() -> None:
    """No callbacks any more (the floor has stopped)."""
    _finished.clear()


def _work(task_id: int, attempt: int, owner: str) -> None:
    try:
        run_task(bureau_of_process(), TaskId(task_id), attempt, owner=owner)
    except Exception:
        # the ledger could not be reached: the feeder finds the task running there and in nobody's hands
        log.exception("task %d: its outcome could not be recorded", task_id)
    finally:
        for callback in list(_finished):
            callback(task_id, attempt)


def _actor(kind: TaskKind, queue: str) -> dramatiq.Actor[[int, int, str], None]:
    return dramatiq.Actor(_work, broker=broker, actor_name=kind.value.lower(), queue_name=queue, priority=0, options={})


# separate queues, so that another arrangement can give documents fewer workers than pages
_QUEUES = {
    TaskKind.RECEIVE_BATCH: "pages",
    TaskKind.PREPARE_PAGE: "pages",
    TaskKind.ASSEMBLE_BATCH: "pages",
    TaskKind.RECOGNIZE_PAGE: "pages",
    TaskKind.PACKAGE_DOCUMENT: "documents",
    TaskKind.PLAN_ROLLS: "documents",
    TaskKind.WRITE_ROLL: "documents",
    TaskKind.DELIVER_ORDER: "documents",
}
ACTORS = {kind: _actor(kind, queue) for kind, queue in _QUEUES.items()}
