"""The broker: in this process's memory by default, or one that all workers share (Redis, RabbitMQ).

Whichever it is, a message is a hint that may be lost or doubled. The ledger knows what is to be done.
"""

from __future__ import annotations

from typing import Any

import dramatiq
from dramatiq.brokers.stub import StubBroker

from pipeline.model import TaskKind
from pipeline.settings import EMBEDDED, Settings

# Redis: how soon a dead worker's hints go back to their queue. The ledger sends them again in any case.
REDIS_HEARTBEAT_MS = 15_000
REDIS_MAINTENANCE_CHANCE = 100_000  # in a million


def broker_for(url: str) -> dramatiq.Broker:
    """The broker with this address.

    Without middleware: retries, time limits and results are the ledger's and the sandbox's business (QUEUE 0).
    """
    if url == EMBEDDED:
        return StubBroker(middleware=[])
    if url.startswith("redis"):
        from dramatiq.brokers.redis import RedisBroker  # here and below: only who uses a server loads its client

        return RedisBroker(  # type: ignore[no-untyped-call]  # its parameters bear no types
            url=url,
            middleware=[],
            namespace="platen",
            heartbeat_timeout=REDIS_HEARTBEAT_MS,
            maintenance_chance=REDIS_MAINTENANCE_CHANCE,
        )
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    class QuorumBroker(RabbitmqBroker):
        """Queues that several servers keep (RabbitMQ 3.8 and later); mirrored classic queues are gone in 4."""

        def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
            arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)  # type: ignore[no-untyped-call]
            return {**arguments, "x-queue-type": "quorum"}

    return QuorumBroker(url=url, middleware=[])


broker = broker_for(Settings().broker_url)
is_embedded = isinstance(broker, StubBroker)
dramatiq.set_broker(broker)


def actor_name(kind: TaskKind) -> str:
    """The name under which a kind of task is sent."""
    return kind.value.lower()
