"""Logs: a line for people, or one JSON document a line for machines, each with the task it is about."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_FOR_PEOPLE = "%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s"
_about: ContextVar[dict[str, object] | None] = ContextVar("about", default=None)


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """What every line logged within is about: order, batch, page, task."""
    token = _about.set({**(_about.get() or {}), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def set_up(*, as_json: bool, level: int) -> None:
    """Log to stderr from now on, in the place of any handler before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _Lines(_FOR_PEOPLE))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _about.get() or {}
        record.about = f" [{' '.join(f'{name} {value}' for name, value in fields.items())}]" if fields else ""
        return super().format(record)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(_about.get() or {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
