"""The page of one's own tokens, and the command for everybody's."""

from __future__ import annotations

import json
import re

from console.api import PLACE
from pipeline import tokens
from pipeline.bureau import Bureau
from pipeline.model import TokenState
from tests.console.served import served
from tests.console.test_orders import bureau, text_of
from tests.console.test_signing_in import PASSWORD, form_token, sign_in
from tests.whole.home import Home

__all__ = ["bureau"]  # the fixture


def test_somebody_makes_a_token_sees_it_once_and_revokes_it(bureau: Bureau) -> None:
    tokens.give_token(bureau, "keller", title="of somebody else", who="test")
    with served(bureau) as client:
        sign_in(client, "agency", PASSWORD)
        given = {"form_token": form_token(client.get("/tokens").text), "title": "portal <b>", "days": "30"}
        made = client.post("/tokens", data=given)
        found = re.search(r'value="(platen_[^"]+)"', made.text)
        assert found is not None
        mine = {"authorization": f"Bearer {found[1]}"}
        assert client.get(f"{PLACE}/me", headers=mine).json()["user"] == "agency"
        page = client.get("/tokens")
        assert found[1] not in page.text and "somebody else" not in page.text and "portal <b>" in text_of(page)
        assert client.post("/tokens", data={**given, "days": "9999"}).status_code == 409
        assert client.post("/tokens", data={**given, "form_token": "made up"}).status_code == 403
        assert client.post("/tokens/1/revoke", data=given).status_code == 404, "not one's own"
        assert client.post("/tokens/2/revoke", data={"form_token": "made up"}).status_code == 403
        assert client.get(f"{PLACE}/me", headers=mine).status_code == 200
        assert client.post("/tokens/2/revoke", data=given).headers["location"] == "/tokens"
        assert client.get(f"{PLACE}/me", headers=mine).status_code == 401
    assert [token.state.value for token in bureau.ledger.tokens()] == ["good", "revoked"]


def test_tokens_are_kept_by_the_command(bureau: Bureau) -> None:
    home = Home(bureau.settings.home)
    given = json.loads(home.platen("token", "add", "lee", "--title", "room 12", "--days", "7", "--json"))
    assert tokens.bearer(bureau, given["token"], address="10.0.0.7").user.name == "lee"
    [listed] = home.ask("token", "list")
    assert {**listed, "token": given["token"]} == given and (listed["role"], listed["state"]) == ("operator", "good")
    home.platen("token", "add", "nobody", codes=(1,))
    home.platen("token", "revoke", str(listed["id"]))
    assert bureau.ledger.tokens()[0].state is TokenState.REVOKED
