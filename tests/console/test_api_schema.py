"""The API keeps what its OpenAPI document says, whatever it is asked, by whomever; schemathesis asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from sqlalchemy import text

from console.api import PLACE
from console.web import create_app
from pipeline import tokens, uploads
from pipeline.bureau import Bureau
from pipeline.model import OrderStatus
from tests.console.test_orders import NAMES, bureau
from tests.pipeline.by_hand import receive
from tests.pipeline.test_package_files import delivered
from tests.pipeline.test_uploads import opened, said

__all__ = ["bureau"]  # the fixture

NUMBER = "WO-1"
EXAMPLES = {"keller": 15, "lee": 4, "agency": 4}  # of each operation
NOT_AS_DESCRIBED = "bad-request"  # every other refusal is about what cannot be seen in the document


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A bureau that has delivered a package, holds a page, and is asked through its application."""

    bureau: Bureau
    app: FastAPI
    secrets: dict[str, str]


@pytest.fixture
def floor(bureau: Bureau) -> Floor:
    order, _ = delivered(bureau, opened(bureau, NUMBER))
    bureau.ledger.reopen_order(order.number, who="test")
    receive(bureau.ledger, order, 2, "box-2")
    [(_, task_id, attempt)] = bureau.ledger.dispatch("w", 1)
    task = bureau.ledger.claim(task_id, attempt, "w")
    assert task is not None
    bureau.ledger.hold(task, "illegible", "It cannot be read.", who="w")
    with bureau.ledger.write() as c:
        c.execute(text("UPDATE pages SET text = NULL"))  # the made-up one is not in the store
    secrets = {name: tokens.give_token(bureau, name, title="", who="test")[1] for name in NAMES}
    return Floor(bureau=bureau, app=create_app(bureau), secrets=secrets)


def known(floor: Floor) -> dict[str, object]:
    """Parameters of addresses that lead to something."""
    order = floor.bureau.ledger.order(NUMBER)
    assert order is not None
    if order.status is not OrderStatus.OPEN:
        order = floor.bureau.ledger.reopen_order(NUMBER, who="test")
    upload = uploads.begin_upload(floor.bureau, order, "box", said({"a.pdf": b"x"}), who="test")
    holds = [hold.id for hold in floor.bureau.ledger.holds()]
    return {
        "number": NUMBER, "batch_id": floor.bureau.ledger.batches_of(order.id)[0].id, "page_id": 1,
        "hold_id": holds[0] if holds else 1, "delivery": 1, "name": "data/pdf/one.pdf", "upload_id": upload.id,
    }  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_answer_is_as_the_document_says(floor: Floor, name: str) -> None:
    document = schemathesis.openapi.from_asgi(f"{PLACE}/openapi.json", floor.app)
    statuses = Counter(
        status for found in document.get_all_operations() for status in statuses_of(floor, name, found.ok())
    )
    assert {200, 404} <= statuses.keys(), "it was let in, and came to what is there and what is not"
    assert not [status for status in statuses if status >= 500]


def statuses_of(floor: Floor, name: str, operation: Any) -> list[int]:
    """What one operation answers to many requests, each checked against the document."""
    there = known(floor) | ({"number": 1} if operation.path.startswith("/uploads") else {})
    statuses = []

    @given(case=operation.as_strategy(), is_there=st.booleans())
    @settings(
        max_examples=EXAMPLES[name],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case, is_there: bool) -> None:
        fits = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
        if is_there and fits:
            case.path_parameters.update({key: there[key] for key in case.path_parameters if key in there})
        answer = case.call_and_validate(
            headers={"Authorization": f"Bearer {floor.secrets[name]}"},
            # tokens are asked about below; what the document cannot say may be refused, by another code
            excluded_checks=[ignored_auth, positive_data_acceptance],
        )
        statuses.append(answer.status_code)
        if fits and answer.status_code == 422:
            assert answer.json()["code"] != NOT_AS_DESCRIBED, answer.text

    ask()
    return statuses


def test_no_operation_answers_who_bears_no_token(floor: Floor) -> None:
    document = schemathesis.openapi.from_asgi(f"{PLACE}/openapi.json", floor.app)
    for found in document.get_all_operations():
        operation = found.ok()
        case = operation.Case(path_parameters=known(floor))
        answer = case.call()
        assert (answer.status_code, answer.json()["code"]) == (401, "token-refused"), operation.label
