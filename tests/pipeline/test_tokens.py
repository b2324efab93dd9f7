"""Tokens: each asks as its user, for its time, and is told from one that is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline import people, tokens
from pipeline.bureau import Bureau
from pipeline.ledger import NoSuchToken, NoSuchUser
from pipeline.model import Role, TokenState
from pipeline.settings import Settings
from tests.pipeline.by_hand import downgrade_to, open_order, receive
from tests.servers import PostgreSQL

HERE = "10.0.0.7"
PASSWORD = "correct horse battery"


@pytest.fixture(params=["sqlite", "postgresql"])
def bureau(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bureau]:
    """A bureau with one user; every test with it is a promise on both databases."""
    url = ""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.ledger_database()
    made = Bureau.init(Settings(home=tmp_path / "home", database_url=url))
    people.add_user(made, "agency", PASSWORD, Role.AGENCY, customer="DPHHS", who="test")
    yield made
    made.close()


def give(bureau: Bureau, **more: int) -> tuple[int, str]:
    token, secret = tokens.give_token(bureau, "agency", title="portal", who="keller", **more)
    return token.id, secret


def told(bureau: Bureau) -> list[tuple[str, str, str]]:
    with bureau.ledger.read() as c:
        rows = c.execute(text("SELECT subject, kind, who FROM events WHERE subject LIKE 'user %' ORDER BY id"))
        return [tuple(row) for row in rows]


def test_a_token_asks_as_its_user_and_only_its_digest_is_kept(bureau: Bureau) -> None:
    token_id, secret = give(bureau)
    token = tokens.bearer(bureau, secret, address=HERE)
    assert (token.id, token.user.name, token.user.role, token.user.customer) == (token_id, "agency", "agency", "DPHHS")
    assert secret.startswith(tokens.PREFIX) and len(secret) > 40
    with bureau.ledger.read() as c:
        for table in ("tokens", "events"):
            assert secret not in str(c.execute(text(f"SELECT * FROM {table}")).all())
    assert told(bureau)[-1] == ("user agency", "token given", "keller")


def test_a_token_ends_with_its_days_with_its_user_and_when_it_is_revoked(bureau: Bureau) -> None:
    old_id, old = give(bureau, days=1)
    with bureau.ledger.write() as c:
        c.execute(text("UPDATE tokens SET added_ms = added_ms - 86400000, until_ms = until_ms - 86400000"))
    revoked_id, revoked = give(bureau)
    bureau.ledger.revoke_token(revoked_id, who="keller")
    _, of_user = give(bureau)
    assert tokens.bearer(bureau, of_user, address=HERE)
    bureau.ledger.disable_user("agency", who="keller")
    for secret, said in ((old, "revoked|expired"), (revoked, "was revoked"), (of_user, "was revoked")):
        with pytest.raises(tokens.TokenRefused, match=said):
            tokens.bearer(bureau, secret, address=HERE)
    assert ("user agency", "token revoked", "keller") in told(bureau)
    with pytest.raises(NoSuchToken):
        bureau.ledger.revoke_token(revoked_id, who="keller")
    with pytest.raises(NoSuchUser):
        give(bureau)
    assert [token.id for token in bureau.ledger.tokens("agency")][:2] == [old_id, revoked_id]
    assert {token.state for token in bureau.ledger.tokens()} == {TokenState.REVOKED}


def test_a_token_that_has_expired_is_told_so_and_one_that_nobody_gave_is_not_known(bureau: Bureau) -> None:
    _, secret = give(bureau, days=1)
    with bureau.ledger.write() as c:
        c.execute(text("UPDATE tokens SET until_ms = until_ms - 86400000"))
    with pytest.raises(tokens.TokenRefused, match="expired"):
        tokens.bearer(bureau, secret, address=HERE)
    for made_up in ("", "platen_", "\udce4", secret[:-1], "x" * 100_000):
        with pytest.raises(tokens.TokenRefused, match="not known"):
            tokens.bearer(bureau, made_up, address=HERE)


def test_somebody_else_cannot_revoke_a_users_token(bureau: Bureau) -> None:
    token_id, secret = give(bureau)
    with pytest.raises(NoSuchToken):
        bureau.ledger.revoke_token(token_id, who="stranger", of_user="stranger")
    assert tokens.bearer(bureau, secret, address=HERE)


def test_many_wrong_tokens_fill_no_history_and_lock_nobody_out(bureau: Bureau) -> None:
    _, secret = give(bureau)
    for _ in range(people.MOST_FAILURES_OF_ADDRESS):
        with pytest.raises(tokens.TokenRefused, match="not known"):
            tokens.bearer(bureau, "wrong", address=HERE)
    before = told(bureau)
    for _ in range(3):
        with pytest.raises(tokens.TooManyWrongTokens):
            tokens.bearer(bureau, "wrong", address=HERE)
    assert told(bureau) == before
    assert tokens.bearer(bureau, secret, address=HERE), "a good token opens all the same"
    assert people.sign_in(bureau, "agency", PASSWORD, address=HERE), "and whoever sits there signs in"


@pytest.mark.parametrize("days", [0, -1, tokens.MOST_DAYS + 1])
def test_no_token_is_for_ever(bureau: Bureau, days: int) -> None:
    with pytest.raises(ValueError, match="days"):
        give(bureau, days=days)


def test_a_ledger_of_the_version_before_gets_tokens_and_keeps_what_it_has(bureau: Bureau) -> None:
    receive(bureau.ledger, open_order(bureau.ledger), 3)
    downgrade_to(bureau.ledger, "0005")
    bureau.ledger.migrate()
    assert bureau.ledger.tokens() == [] and bureau.ledger.floor().pages.received == 3
    _, secret = give(bureau)
    user = tokens.bearer(bureau, secret, address=HERE).user
    assert user.name == "agency"
