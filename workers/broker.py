"""The broker, and the bureau that the actors of this process work in."""

from __future__ import annotations

import threading

import dramatiq
from dramatiq.brokers.stub import StubBroker

from pipeline.bureau import Bureau
from pipeline.settings import Settings

# No middleware: retries, time limits and results are the ledger's and the sandbox's business (QUEUE 0).
broker = StubBroker(middleware=[])
dramatiq.set_broker(broker)

_lock = threading.Lock()
_bureau: Bureau | None = None


def use_bureau(bureau: Bureau | None) -> None:
    """Say in which bureau the actors of this process work."""
    global _bureau
    with _lock:
        _bureau = bureau


def bureau_of_process() -> Bureau:
    """The bureau of this process; opened from the environment on first use."""
    global _bureau
    with _lock:
        if _bureau is None:
            _bureau = Bureau.open(Settings())
        return _bureau
