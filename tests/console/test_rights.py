"""What the ledger keeps of links and of people whom another house signs in, on both databases."""

from __future__ import annotations

import pytest

from pipeline import people, tokens
from pipeline.bureau import Bureau
from pipeline.ledger import NoPassword, NoSuchLink
from pipeline.model import Role, WorkOrder
from tests.console.served import served
from tests.console.test_orders import BOTH, CHEAP_HASH, bureau
from tests.console.test_signing_in import PASSWORD, sign_in
from tests.pipeline.by_hand import downgrade_to, open_order

__all__ = ["bureau"]  # the fixture
ISSUER = "https://id.example"


def kinds(bureau: Bureau, order: WorkOrder) -> list[tuple[str, str, str, object]]:
    return [(event.subject, event.kind, event.who, event.detail.get("why")) for event in bureau.ledger.events(order.id)]


@BOTH
def test_every_change_of_a_link_is_in_the_orders_history_once(bureau: Bureau) -> None:
    ledger, order, other = bureau.ledger, open_order(bureau.ledger), open_order(bureau.ledger)
    made = ledger.make_link(order, 1, None, "digest", days=3, who="keller", why="for the clerk")
    assert (made.until - made.made_at).days == 3 and made.is_open and ledger.open_link("digest") == made
    for _ in range(2):
        ledger.note_link_used(made, address="10.0.0.7")
    with pytest.raises(NoSuchLink):
        ledger.revoke_link(made.id, order_id=other.id, who="lee", why="not mine")
    ledger.revoke_link(made.id, order_id=order.id, who="keller", why="lost")
    with pytest.raises(NoSuchLink):
        ledger.revoke_link(made.id, who="keller", why="again")
    assert ledger.open_link("digest") is None
    [link] = ledger.links_of(order.id)
    assert link.used_at is not None and link.revoked_at is not None and not link.is_open
    assert kinds(bureau, order)[1:] == [
        ("link 1", "made", "keller", "for the clerk"),
        ("link 1", "first used", "link", None),
        ("link 1", "revoked", "keller", "lost"),
    ]
    assert len(kinds(bureau, other)) == 1


@BOTH
def test_rights_of_people_signed_in_elsewhere_are_those_of_the_last_sign_in(bureau: Bureau) -> None:
    def enter(role: Role, customer: str | None = None, *, account: str = "1") -> str:
        token = people.sign_in_from(
            bureau, ISSUER, account, name="keller", role=role, customer=customer, address="10.0.0.7"
        )
        return people.token_digest(token)

    first = enter(Role.SUPERVISOR)
    session = bureau.ledger.session(first)
    assert session is not None and (session.user.name, session.user.role) == ("keller-2", Role.SUPERVISOR)
    enter(Role.AGENCY, "DPHHS")
    session = bureau.ledger.session(first)
    assert session is not None, "the older session has the new rights too"
    assert (session.user.role, session.user.customer) == (Role.AGENCY, "DPHHS")
    enter(Role.OPERATOR, account="2")
    assert [user.name for user in bureau.ledger.users() if user.issuer] == ["keller-2", "keller-3"]
    with pytest.raises(NoPassword):
        people.set_password(bureau, "keller-2", None, who="test")
    bureau.ledger.disable_user("keller-2", who="test")
    with pytest.raises(people.SignInRefused, match="may not sign in here any more"):
        enter(Role.SUPERVISOR)


@BOTH
def test_a_ledger_of_the_version_before_gets_links_and_keeps_its_users(bureau: Bureau) -> None:
    users, order = bureau.ledger.users(), open_order(bureau.ledger)
    downgrade_to(bureau.ledger, "0005")
    bureau.ledger.migrate()
    assert bureau.ledger.users() == users
    assert bureau.ledger.make_link(order, 1, None, "digest", days=1, who="test", why="").is_open


def test_an_agencys_user_without_an_agency_is_shown_nothing(bureau: Bureau) -> None:
    order = open_order(bureau.ledger)
    bureau.ledger.add_user("lost", CHEAP_HASH, Role.AGENCY, customer=None, must_change=False, who="test")
    with served(bureau) as client:
        sign_in(client, "lost", PASSWORD)
        for place in ("/orders", "/packages"):
            answer = client.get(place)
            assert answer.status_code == 403 and "names no agency" in answer.text and order.number not in answer.text
        assert client.get(f"/orders/{order.number}").status_code == 404
        token = tokens.give_token(bureau, "lost", title="", who="test")[1]
        bearing = {"authorization": f"Bearer {token}"}
        statuses = {
            place: client.get(f"/api/v1{place}", headers=bearing).status_code
            for place in ("/orders", f"/orders/{order.number}", f"/orders/{order.number}/history", "/held", "/status")
        }
        assert list(statuses.values()) == [403, 404, 403, 403, 403], statuses
