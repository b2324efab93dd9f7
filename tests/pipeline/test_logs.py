"""Every line says what it is about; as JSON, a machine can read all of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from pipeline import logs


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_of_json_holds_the_task_and_the_exception(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(as_json=True, level=logging.INFO)
    log = logging.getLogger("platen.test")
    with logs.about(task=7, order=3):
        try:
            raise OSError("disk full: “ü”")
        except OSError:
            with logs.about(page=12):
                log.exception("page %d failed", 12)
    log.info("idle")
    failed, idle = map(json.loads, capsys.readouterr().err.splitlines())
    assert (failed["task"], failed["order"], failed["page"], failed["level"]) == (7, 3, 12, "error")
    assert failed["message"] == "page 12 failed"
    assert "disk full: “ü”" in failed["exception"]
    assert "task" not in idle and "exception" not in idle


def test_a_line_for_people_names_the_task_in_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(as_json=False, level=logging.INFO)
    with logs.about(task=7, subject="page 12"):
        logging.getLogger("platen.test").warning("lost")
    logging.getLogger("platen.test").warning("idle")
    lost, idle = capsys.readouterr().err.splitlines()
    assert lost.endswith("WARNING platen.test: lost [task 7 subject page 12]")
    assert idle.endswith("platen.test: idle")
