"""History as evidence: whoever changes, drops or slips in a line is found out, and nobody waits for its keeping."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from pipeline.ledger import Ledger
from pipeline.ledger.history import HistoryLine, link_hash
from pipeline.ledger.work import add_event
from pipeline.model import WorkOrder
from tests.pipeline.by_hand import downgrade_to, open_order, receive, work_off, work_off_together

REFUSING = {
    "sqlite": ("events_no_update", "events_no_delete", "links_no_update", "links_no_delete"),
    "postgresql": ("events_append_only", "links_append_only"),
}


def by_other_hands(ledger: Ledger, *statements: str) -> None:
    """Change the history as no program of ours would: its triggers would refuse."""
    with ledger.write() as connection:
        for name in REFUSING[connection.dialect.name]:
            on = "" if ledger.is_sqlite else f" ON {name.partition('_')[0]}"
            connection.execute(text(f"DROP TRIGGER {name}{on}"))
        for statement in statements:
            connection.execute(text(statement))


def lines(ledger: Ledger, order: WorkOrder) -> list[HistoryLine]:
    return ledger.history(order.id, limit=10_000)


def unlinked(ledger: Ledger) -> int:
    return ledger.waiting_for_links(older_than_ms=-3_600_000)


@pytest.fixture
def worked(ledger: Ledger) -> WorkOrder:
    """An order with a history that has been linked, beside another."""
    order = open_order(ledger)
    receive(ledger, open_order(ledger), 1)
    receive(ledger, order, 3)
    work_off(ledger)
    ledger.link_events()
    return order


def test_every_line_is_linked_to_the_one_before_of_its_order(ledger: Ledger, worked: WorkOrder) -> None:
    told = lines(ledger, worked)
    assert [line.number for line in told] == list(range(1, len(told) + 1))
    for before, line in itertools.pairwise([None, *told]):
        assert line is not None and line.hash == link_hash("" if before is None else before.hash or "", line)
    assert ledger.chain_faults() == {}
    assert unlinked(ledger) == 0
    ledger.close_order(worked.number, who="test")
    assert (lines(ledger, worked)[-1].number, unlinked(ledger)) == (None, 1)
    assert ledger.chain_faults() == {}, "what has just been written waits for its link"
    ledger.link_events()
    assert lines(ledger, worked)[-1].number == len(told) + 1


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE events SET who = 'x' WHERE id = {second}", "line 2 of its history (event {second}, {subject}) is not"),
        ("UPDATE events SET at_ms = at_ms + 1 WHERE id = {second}", "line 2 of its history (event {second}, "),
        ("UPDATE events SET order_id = 2 WHERE id = {second}", "line 2 of its history (event {second}, "),
        ("DELETE FROM events WHERE id = {second}", "line 2 of its history (event {second}) is gone"),
        ("DELETE FROM links WHERE event_id = {second}", "its history goes on with line 3 after line 1"),
        ("DELETE FROM links WHERE event_id = {last}", "event {last} ({last_subject}) was taken out of its history's"),
        ("UPDATE links SET hash = 'x' WHERE event_id = {second}", "line 2 of its history (event {second}, "),
    ],
)
def test_a_line_that_is_not_as_it_was_written_is_told(
    ledger: Ledger, worked: WorkOrder, statement: str, sentence: str
) -> None:
    told = lines(ledger, worked)
    named = {
        "second": told[1].id,
        "subject": told[1].subject,
        "last": told[-1].id,
        "last_subject": told[-1].subject,
    }
    by_other_hands(ledger, statement.format_map(named))
    faults = ledger.chain_faults()
    assert list(faults) == [worked.number]
    assert faults[worked.number][0].startswith(sentence.format_map(named))


def test_links_cannot_be_changed(ledger: Ledger, worked: WorkOrder) -> None:
    attempts = ["UPDATE links SET hash = ''", "DELETE FROM links"]
    if not ledger.is_sqlite:
        attempts.append("TRUNCATE links")
    for sql in attempts:
        with pytest.raises(DatabaseError, match="append-only"), ledger.write() as connection:
            connection.execute(text(sql))


def test_four_writers_of_one_order_and_two_that_link_make_one_chain(ledger: Ledger) -> None:
    order = open_order(ledger)
    receive(ledger, order, 40)
    work_off_together(ledger, beside=ledger.link_events)
    ledger.link_events()
    numbers = sorted(line.number or 0 for line in lines(ledger, order))
    assert numbers == list(range(1, len(numbers) + 1))
    assert (ledger.chain_faults(), unlinked(ledger)) == ({}, 0)


@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
def test_a_line_whose_transaction_ends_late_is_linked_late_and_holds_nobody_up(ledger: Ledger) -> None:
    order = open_order(ledger)
    with ledger.write() as slow:
        add_event(slow, order.id, "order 1", "first written", "slow", "done")
        with ledger.write() as quick:
            add_event(quick, order.id, "order 1", "last written", "quick", "done")
        ledger.link_events()
        assert unlinked(ledger) == 0
    ledger.link_events()
    assert [(line.kind, line.number) for line in lines(ledger, order)[-2:]] == [
        ("first written", 3),
        ("last written", 2),
    ]
    assert ledger.chain_faults() == {}


def test_the_history_of_the_version_before_is_linked_after_it_is_migrated(ledger: Ledger, worked: WorkOrder) -> None:
    before = lines(ledger, worked)
    downgrade_to(ledger, "0004")
    with ledger.write() as connection:
        add_event(connection, worked.id, "order 1", "written by the version before", "test", "done")
    ledger.migrate()
    ledger.link_events()
    assert [(line.number, line.hash) for line in lines(ledger, worked)[:-1]] == [
        (line.number, line.hash) for line in before
    ]
    assert (ledger.chain_faults(), unlinked(ledger)) == ({}, 0)


def test_a_history_is_told_page_by_page(ledger: Ledger, worked: WorkOrder) -> None:
    whole = lines(ledger, worked)
    first = ledger.history(worked.id, limit=2)
    assert [*first, *ledger.history(worked.id, after=first[-1].id, limit=1_000)] == whole
