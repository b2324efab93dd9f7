"""Tokens: how programs come in. Each is of a user: it does what that user may, and history names that user."""

from __future__ import annotations

import secrets

from pipeline.bureau import Bureau
from pipeline.model import Token, TokenState
from pipeline.people import MOST_FAILURES_OF_ADDRESS, TOKEN_BYTES, token_digest

PREFIX = "platen_"  # so that whoever searches files for secrets finds them
DEFAULT_DAYS, MOST_DAYS = 90, 366  # whoever needs longer than a year asks again
# of somebody whom another house signs in: when that house lets somebody go, nobody tells us
MOST_DAYS_FROM_ELSEWHERE = 30
LONGEST_TITLE = 100
# Wrong tokens are counted apart from wrong passwords: a script with a token that is over must not keep those from
# signing in who sit behind the same address.
_COUNTED_AS = "token from "
_LONGEST_ADDRESS = 60 - len(_COUNTED_AS)


class TokenRefused(RuntimeError):
    """The token opens nothing; the sentence says why."""


class TooManyWrongTokens(TokenRefused):
    """So many wrong ones came from this address that they are not looked at closely any more."""


def give_token(bureau: Bureau, user_name: str, *, title: str, days: int = DEFAULT_DAYS, who: str) -> tuple[Token, str]:
    """Make a token of a user; gives what is kept of it, and the token itself, which is kept nowhere.

    Raises:
        NoSuchUser: there is none of this name who may sign in.
        ValueError: the title or the days are not within their limits.
    """
    if not (1 <= days <= MOST_DAYS and len(title) <= LONGEST_TITLE and title.isprintable()):
        raise ValueError(f"a token is for 1 to {MOST_DAYS} days; its title has at most {LONGEST_TITLE} printable signs")
    if days > (most := most_days(bureau, user_name)):
        raise ValueError(f"{user_name} is signed in by single sign-on: a token is for at most {most} days")
    secret = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    token = bureau.ledger.add_token(user_name, token_digest(secret), title=title.strip(), days=days, who=who)
    return token, secret


def most_days(bureau: Bureau, user_name: str) -> int:
    """For how many days a token of this user may be good."""
    signed_in_elsewhere = any(user.name == user_name and user.issuer for user in bureau.ledger.users())
    return MOST_DAYS_FROM_ELSEWHERE if signed_in_elsewhere else MOST_DAYS


def bearer(bureau: Bureau, secret: str, *, address: str) -> Token:
    """The token that a program bears, if it is good.

    A good one always opens, however many wrong ones came from its address: 256 random bits cannot be guessed. Counting
    wrong ones keeps them from filling the history.

    Raises:
        TokenRefused: it is unknown, expired or revoked.
        TooManyWrongTokens: and there were many such.
    """
    token = bureau.ledger.token(token_digest(secret))
    if token is not None and token.state is TokenState.GOOD:
        return token
    name = "" if token is None else token.user.name
    counted_as = _COUNTED_AS + address[:_LONGEST_ADDRESS]
    if bureau.ledger.failures(name, counted_as)[2] >= MOST_FAILURES_OF_ADDRESS:
        raise TooManyWrongTokens("Too many wrong tokens from this address. Wait a quarter of an hour.")
    bureau.ledger.note_failure(name, counted_as, is_user=token is not None)
    match token and token.state:
        case TokenState.EXPIRED:
            raise TokenRefused("This token has expired. Ask a supervisor for another (platen token add).")
        case TokenState.REVOKED:
            raise TokenRefused("This token was revoked.")
        case _:
            raise TokenRefused("This token is not known here.")
