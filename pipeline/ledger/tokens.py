"""Tokens of users, for programs. Only their digests are kept; a token that is over stays known, to be told so."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, insert, select, update

from pipeline.ledger import tables as t
from pipeline.ledger.people import NoSuchUser, People, user_from
from pipeline.ledger.reports import moment
from pipeline.ledger.work import add_event
from pipeline.model import Token, TokenId, TokenState

DAY_MS = 86_400_000


class NoSuchToken(LookupError):
    """There is no token with this number, or it opens nothing any more."""

    def __init__(self, token_id: int) -> None:
        super().__init__(f"There is no token {token_id} that could be revoked. See: platen token list")


class Tokens(People):
    """The part of the ledger that knows tokens."""

    def add_token(self, user_name: str, digest: str, *, title: str, days: int, who: str) -> Token:
        """Let a program ask in the name of a user for so many days.

        Raises:
            NoSuchUser: there is none of this name who may sign in.
        """
        with self.write() as c:
            user_id = c.scalar(select(t.users.c.id).where(t.users.c.name == user_name, t.users.c.disabled.is_(False)))
            if user_id is None:
                raise NoSuchUser(user_name)
            token_id = c.scalar(
                insert(t.tokens)
                .values(
                    digest=digest,
                    user_id=user_id,
                    title=title,
                    added_ms=t.now_ms(),
                    until_ms=t.now_ms() + days * DAY_MS,
                )
                .returning(t.tokens.c.id)
            )
            detail = {"token": token_id, "title": title, "days": days}
            add_event(c, None, f"user {user_name}", "token given", who, "done", **detail)
            return _tokens(c, t.tokens.c.id == token_id)[0]

    def tokens(self, user_name: str | None = None) -> list[Token]:
        """All tokens there ever were (of one user), oldest first."""
        with self.read() as c:
            return _tokens(c, None if user_name is None else t.users.c.name == user_name)

    def token(self, digest: str) -> Token | None:
        """The token with this digest, whether it still opens anything or not."""
        with self.read() as c:
            return next(iter(_tokens(c, t.tokens.c.digest == digest)), None)

    def revoke_token(self, token_id: int, *, who: str, of_user: str | None = None) -> None:
        """Let a token open nothing any more.

        Raises:
            NoSuchToken: there is none with this number (of this user), or it was revoked before.
        """
        with self.write() as c:
            of_whom = t.tokens.c.id == token_id
            found = _tokens(c, of_whom if of_user is None else of_whom & (t.users.c.name == of_user))
            if not found or found[0].state is TokenState.REVOKED:
                raise NoSuchToken(token_id)
            c.execute(update(t.tokens).where(t.tokens.c.id == token_id).values(revoked=True))
            add_event(c, None, f"user {found[0].user.name}", "token revoked", who, "done", token=token_id)


def _tokens(c: Any, where: ColumnElement[bool] | None) -> list[Token]:
    # a user who was disabled takes every token along; one from before the clock was set back is over
    state = case(
        (t.tokens.c.revoked | t.users.c.disabled, TokenState.REVOKED.value),
        ((t.tokens.c.until_ms <= t.now_ms()) | (t.tokens.c.added_ms > t.now_ms() + DAY_MS), TokenState.EXPIRED.value),
        else_=TokenState.GOOD.value,
    )
    kept = (t.tokens.c.id.label("token_id"), t.tokens.c.title, t.tokens.c.until_ms)
    added_ms = t.tokens.c.added_ms.label("given_ms")
    question = select(t.users, *kept, added_ms, state.label("state")).join_from(t.tokens, t.users)
    rows = c.execute((question if where is None else question.where(where)).order_by(t.tokens.c.id))
    return [
        Token(
            id=TokenId(row.token_id),
            user=user_from(row),
            title=row.title,
            added_at=moment(row.given_ms),
            until=moment(row.until_ms),
            state=TokenState(row.state),
        )
        for row in rows
    ]
