"""Signing in by another house: OpenID Connect 1.0, authorization code flow with PKCE.

Nothing is kept between leaving for that house and coming back but a cookie in the browser that left, which holds what
only it may know: state, nonce and the PKCE verifier. It needs no signature: who makes one up has to bring an answer of
the other house that fits it.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from pipeline.model import Role
from pipeline.orders import is_name
from pipeline.settings import Settings, is_private_address, roles_of

log = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_KNOWN_FOR_S = 300.0  # what the other house says of itself; its keys are asked for at every sign-in
_LEEWAY_S = 60  # between two clocks
_LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0, 2
_SECRET_BYTES = 32
# those with a key that only the other house has: neither "none" nor a secret that is shared
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class SingleSignOnFailed(RuntimeError):
    """The other house has not signed somebody in who may enter; the message is for whoever tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A sign-in that was begun: where the browser goes, and what it keeps meanwhile."""

    address: str
    cookie: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody whom the other house has signed in, with the rights that its claims give here."""

    subject: str
    name: str
    role: Role
    customer: str | None


class SingleSignOn:
    """The other house, as the settings name it."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.oidc_name
        self._settings = settings
        self._roles = roles_of(settings.oidc_roles)
        self._known: tuple[float, dict[str, Any]] | None = None

    def begin(self, back: str) -> Begun:
        """Begin a sign-in that comes back to this address.

        Raises:
            SingleSignOnFailed: the other house does not answer.
        """
        state, nonce, verifier = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3))
        asked = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": back,
            "scope": self._settings.oidc_scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        with _client() as client:
            place = self._provider(client)["authorization_endpoint"]
        return Begun(
            address=str(add_params_to_uri(place, list(asked.items()))), cookie=".".join((state, nonce, verifier))
        )

    def finish(self, answer: Mapping[str, str], cookie: str, back: str) -> Person:
        """Take the other house's answer, and ask it who that is.

        Raises:
            SingleSignOnFailed: nobody was signed in, or nobody who may enter.
        """
        state, nonce, verifier = (*cookie.split("."), "", "", "")[:3]
        if not (verifier and hmac.compare_digest(answer.get("state", "").encode(), state.encode())):
            raise SingleSignOnFailed("That sign-in was not begun here, or too long ago. Please begin again.")
        # RFC 9207: an answer of another house than the one that was asked
        if answer.get("iss", self._settings.oidc_issuer) != self._settings.oidc_issuer or not answer.get("code"):
            raise SingleSignOnFailed(f"You were not signed in by {self.name}. Please begin again.")
        with _client() as client:
            provider = self._provider(client)
            tokens = self._tokens(client, provider, answer["code"], verifier, back)
            claims = self._checked(client, provider, tokens, nonce)
            claims = {**self._userinfo(client, provider, tokens, claims), **claims}
        return self._person(claims)

    def farewell(self, back: str) -> str | None:
        """Where a browser is signed out of the other house too, if that offers it; it may come back to this address."""
        try:
            with _client() as client:
                place = self._provider(client).get("end_session_endpoint")
        except SingleSignOnFailed:
            return None
        if not isinstance(place, str) or not is_private_address(place):
            return None
        asked = {"client_id": self._settings.oidc_client_id, "post_logout_redirect_uri": back}
        return str(add_params_to_uri(place, list(asked.items())))

    def _provider(self, client: httpx.Client) -> dict[str, Any]:
        """What the other house says of itself (OpenID Connect Discovery 1.0, 4)."""
        if self._known is not None and time.monotonic() - self._known[0] < _KNOWN_FOR_S:
            return self._known[1]
        issuer = self._settings.oidc_issuer
        said = self._asked(client, "GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        places = [said.get(name) for name in _ENDPOINTS]
        if said.get("issuer") != issuer or not all(isinstance(one, str) and is_private_address(one) for one in places):
            log.error("single sign-on: %s says that it is another house, or has addresses without TLS", issuer)
            raise self._no_answer()
        self._known = time.monotonic(), said
        return said

    def _tokens(
        self, client: httpx.Client, provider: Mapping[str, Any], code: str, verifier: str, back: str
    ) -> dict[str, Any]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        name, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret.get_secret_value()
        # OpenID Connect Discovery 1.0, 3: basic where nothing else is said
        if "client_secret_basic" in provider.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
            auth = httpx.BasicAuth(quote(name, safe=""), quote(secret, safe=""))  # RFC 6749, 2.3.1
            return self._asked(client, "POST", provider["token_endpoint"], data=form, auth=auth)
        form |= {"client_id": name, "client_secret": secret}
        return self._asked(client, "POST", provider["token_endpoint"], data=form)

    def _checked(
        self, client: httpx.Client, provider: Mapping[str, Any], tokens: Mapping[str, Any], nonce: str
    ) -> dict[str, Any]:
        """The claims of the ID token, when everything of OpenID Connect Core 1.0, 3.1.3.7 holds."""
        keys = self._asked(client, "GET", provider["jwks_uri"])
        options = {
            "iss": {"essential": True, "value": self._settings.oidc_issuer},
            "aud": {"essential": True, "value": self._settings.oidc_client_id},
        }
        known = {
            "nonce": nonce,
            "client_id": self._settings.oidc_client_id,
            "access_token": tokens.get("access_token"),
        }
        try:
            registry = JWSRegistry(algorithms=list(_ALGORITHMS), strict_check_header=False)
            token = jwt.decode(str(tokens.get("id_token", "")), KeySet.import_key_set(keys), registry=registry)  # type: ignore[arg-type]  # checked there
            claims = CodeIDToken(token.claims, token.header, options, known)
            claims.validate(leeway=_LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.warning("single sign-on: an ID token was refused: %s", type(error).__name__)
            raise SingleSignOnFailed(
                f"What {self.name} said of you could not be trusted. Please begin again."
            ) from error
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
            raise SingleSignOnFailed(f"{self.name} does not say who you are.")
        return dict(claims)

    def _userinfo(
        self, client: httpx.Client, provider: Mapping[str, Any], tokens: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> dict[str, Any]:
        place, bearer = provider.get("userinfo_endpoint"), tokens.get("access_token")
        if not isinstance(place, str) or not isinstance(bearer, str) or not is_private_address(place):
            return {}
        told = self._asked(client, "GET", place, headers={"Authorization": f"Bearer {bearer}"})
        # OpenID Connect Core 1.0, 5.3.2: of somebody else it must not be used
        return told if told.get("sub") == claims["sub"] else {}

    def _person(self, claims: Mapping[str, Any]) -> Person:
        said = claims.get(self._settings.oidc_role_claim)
        values = said if isinstance(said, list) else [said]
        roles = {self._roles[value] for value in values if isinstance(value, str) and value in self._roles}
        if len(roles) != 1:
            found = " and ".join(sorted(roles)) if roles else "none"
            raise SingleSignOnFailed(
                f"To enter you need one role here, and {self.name} gives you {found}. Ask whoever keeps its groups."
            )
        role = roles.pop()
        customer = claims.get(self._settings.oidc_customer_claim) if role is Role.AGENCY else None
        if role is Role.AGENCY and not (isinstance(customer, str) and is_name(customer)):
            raise SingleSignOnFailed(
                f"{self.name} does not say which agency you are of. Ask whoever keeps its accounts."
            )
        names = (claims.get(claim) for claim in ("preferred_username", "email", "name", "sub"))
        name = next(one for one in names if isinstance(one, str) and one.strip())
        return Person(subject=claims["sub"], name=name, role=role, customer=customer)

    def _asked(self, client: httpx.Client, method: str, place: str, **more: Any) -> dict[str, Any]:
        """What the other house answers as a JSON object."""
        try:
            answer = client.request(method, place, **more)
            told = answer.raise_for_status().json()
        except httpx.HTTPStatusError as error:
            log.warning("single sign-on: %s was refused with %d", method, error.response.status_code)
            if error.response.is_client_error and method == "POST":
                refused = f"{self.name} does not accept that sign-in, or it was used before. Please begin again."
                raise SingleSignOnFailed(refused) from error
            raise self._no_answer() from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning("single sign-on: no answer: %s", type(error).__name__)
            raise self._no_answer() from error
        if not isinstance(told, dict):
            raise self._no_answer()
        return told

    def _no_answer(self) -> SingleSignOnFailed:
        return SingleSignOnFailed(f"{self.name} does not answer as it should. Try again in a while, or use a password.")


def _client() -> httpx.Client:
    return httpx.Client(timeout=_TIMEOUT_S, headers={"Accept": "application/json"})
