"""The actors: one a kind of task. A message is `(task id, attempt)`, a hint that may be lost or doubled.

`dramatiq workers.actors -p 1 -t 4` is a worker (or `platen worker`, which knows how many threads this machine bears).
"""

from __future__ import annotations

import logging

import dramatiq

from pipeline.model import QUEUES, TaskId, TaskKind
from pipeline.tasks import run_task
from workers import shift
from workers.broker import actor_name, broker
from workers.service import Service

log = logging.getLogger(__name__)


def _work(task_id: int, attempt: int) -> None:
    at_work = shift.current()
    if at_work is None:
        return  # it has ended: the hint goes the way of all that it had not begun
    with at_work.doing(task_id, attempt):
        try:
            run_task(at_work.bureau, TaskId(task_id), attempt, owner=at_work.owner)
        except Exception:
            # the ledger could not be reached: the task is found running there and in nobody's hands
            log.exception("task %d: its outcome could not be recorded", task_id)


def _actor(kind: TaskKind, queue: str) -> dramatiq.Actor[[int, int], None]:
    return dramatiq.Actor(_work, broker=broker, actor_name=actor_name(kind), queue_name=queue, priority=0, options={})


ACTORS = {kind: _actor(kind, queue) for queue, kinds in QUEUES.items() for kind in kinds}
broker.add_middleware(Service())
