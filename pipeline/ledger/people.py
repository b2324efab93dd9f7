"""Who may sign in to the console, and who is signed in. Only digests are kept of passwords and of session tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.ledger import tables as t
from pipeline.ledger.database import Database
from pipeline.ledger.work import add_event
from pipeline.model import Role, User, UserId

SESSION_MS = 10 * 3_600_000  # a working day; then everybody signs in again
FAILURES_WITHIN_MS = 15 * 60_000


class UserExists(RuntimeError):
    """There is a user of this name already; names are never used again, since history names them."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a user {name} already.")


class NoSuchUser(LookupError):
    """There is no user of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no user {name}. See: platen user list")


class NoPassword(RuntimeError):
    """Another house signs this user in."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is signed in by single sign-on and has no password here.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody signed in; `form_token` stands in every form that this browser is given."""

    user: User
    form_token: str


class People(Database):
    """The part of the ledger that knows users."""

    def add_user(
        self, name: str, password_hash: str, role: Role, *, customer: str | None, must_change: bool, who: str
    ) -> User:
        """Let somebody sign in.

        Raises:
            UserExists: the name is taken.
        """
        with self.write() as c:
            try:
                row = c.execute(
                    insert(t.users)
                    .values(
                        name=name,
                        password=password_hash,
                        must_change=must_change,
                        role=role,
                        customer=customer,
                        added_ms=t.now_ms(),
                    )
                    .returning(*t.users.c)
                ).one()
            except IntegrityError as error:
                raise UserExists(name) from error
            add_event(c, None, f"user {name}", "user added", who, "done", role=role, customer=customer)
            return user_from(row)

    def user_of_issuer(
        self, issuer: str, subject: str, *, name: str, role: Role, customer: str | None, who: str
    ) -> User:
        """The user whom another house calls `subject`, as it says today: added at the first time, else changed to that.

        A name that somebody here has already gets a number; nobody signs in as another. A disabled user stays so.

        Raises:
            UserExists: two were added under one name at the same moment.
        """
        with self.write() as c:
            is_this = (t.users.c.issuer == issuer) & (t.users.c.subject == subject)
            row = c.execute(select(t.users).where(is_this)).first()
            if row is None:
                values = {"issuer": issuer, "subject": subject, "role": role, "customer": customer}
                free = _free_name(c, name)
                try:
                    row = c.execute(
                        insert(t.users)
                        .values(name=free, password="", must_change=False, added_ms=t.now_ms(), **values)
                        .returning(*t.users.c)
                    ).one()
                except IntegrityError as error:
                    raise UserExists(free) from error
                add_event(
                    c, None, f"user {free}", "user added", who, "done",
                    role=role, customer=customer, issuer=issuer, account=subject,
                )  # fmt: skip
            elif (row.role, row.customer) != (role, customer):
                changed = {"role": role, "customer": customer}
                add_event(c, None, f"user {row.name}", "rights changed", who, "done", before=row.role, **changed)
                row = c.execute(update(t.users).where(is_this).values(changed).returning(*t.users.c)).one()
            return user_from(row)

    def users(self) -> list[User]:
        """Everybody, by name."""
        with self.read() as c:
            return [user_from(row) for row in c.execute(select(t.users).order_by(t.users.c.name))]

    def anybody(self) -> bool:
        """Whether there is a user at all."""
        with self.read() as c:
            return bool(c.scalar(select(exists().select_from(t.users))))

    def user_with_hash(self, name: str) -> tuple[User, str] | None:
        """A user who may sign in with a password, with its digest; None for those who may not."""
        may = (t.users.c.name == name, t.users.c.disabled.is_(False), t.users.c.issuer.is_(None))
        with self.read() as c:
            row = c.execute(select(t.users).where(*may)).first()
            return None if row is None else (user_from(row), row.password)

    def set_password(self, name: str, password_hash: str, *, must_change: bool, who: str) -> None:
        """Give a user a new password; whoever is signed in under the name is signed out.

        Raises:
            NoSuchUser: there is none of this name.
            NoPassword: another house signs this one in.
        """
        self._change(name, "password changed", who, password=password_hash, must_change=must_change)

    def disable_user(self, name: str, *, who: str) -> None:
        """Let a user sign in no more, and end what is open; the name stays in the history.

        Raises:
            NoSuchUser: there is none of this name.
        """
        self._change(name, "user disabled", who, disabled=True)

    def _change(self, name: str, kind: str, who: str, **values: object) -> None:
        with self.write() as c:
            user = c.execute(update(t.users).where(t.users.c.name == name).values(values).returning(*t.users.c)).first()
            if user is None:
                raise NoSuchUser(name)
            if user.issuer is not None and "password" in values:
                raise NoPassword(name)
            c.execute(delete(t.sessions).where(t.sessions.c.user_id == user.id))
            add_event(c, None, f"user {name}", kind, who, "done")

    def open_session(self, user: User, token_hash: str, form_token: str, *, address: str) -> None:
        """Somebody has signed in; sessions that are over are swept out."""
        with self.write() as c:
            c.execute(delete(t.sessions).where(t.sessions.c.until_ms < t.now_ms()))
            c.execute(
                insert(t.sessions).values(
                    token=token_hash, user_id=user.id, form_token=form_token, until_ms=t.now_ms() + SESSION_MS
                )
            )
            add_event(c, None, f"user {user.name}", "signed in", user.name, "done", address=address)

    def session(self, token_hash: str) -> Session | None:
        """Who is signed in with this token; None when that is over."""
        with self.read() as c:
            row = c.execute(
                select(t.users, t.sessions.c.form_token)
                .join(t.sessions, t.sessions.c.user_id == t.users.c.id)
                .where(
                    t.sessions.c.token == token_hash,
                    t.sessions.c.until_ms > t.now_ms(),
                    # one that lies further ahead was opened before the clock was set back
                    t.sessions.c.until_ms <= t.now_ms() + 2 * SESSION_MS,
                    t.users.c.disabled.is_(False),
                )
            ).first()
            return None if row is None else Session(user=user_from(row), form_token=row.form_token)

    def close_session(self, token_hash: str) -> None:
        """Somebody signs out: the token is worth nothing any more, wherever it is kept."""
        with self.write() as c:
            name = c.scalar(
                select(t.users.c.name)
                .join(t.sessions, t.sessions.c.user_id == t.users.c.id)
                .where(t.sessions.c.token == token_hash)
            )
            if c.execute(delete(t.sessions).where(t.sessions.c.token == token_hash)).rowcount:
                add_event(c, None, f"user {name}", "signed out", str(name), "done")

    def note_failure(self, name: str, address: str, *, is_user: bool) -> None:
        """A sign-in failed; those of long ago are swept out.

        The history names users alone: what was typed for a name may have been a password.
        """
        with self.write() as c:
            c.execute(delete(t.failed_sign_ins).where(_is_old(t.failed_sign_ins.c.at_ms)))
            c.execute(insert(t.failed_sign_ins).values(name=name, address=address, at_ms=t.now_ms()))
            subject = f"user {name}" if is_user else "user unknown"
            add_event(c, None, subject, "sign-in failed", "console", "refused", address=address)

    def failures(self, name: str, address: str) -> tuple[int, int, int]:
        """How often sign-in failed of late: under this name from this address, under it, from it."""
        of_name, from_address = t.failed_sign_ins.c.name == name, t.failed_sign_ins.c.address == address
        with self.read() as c:
            return (
                _failures(c, of_name & from_address),
                _failures(c, of_name),
                _failures(c, from_address),
            )


def _free_name(c: Connection, name: str) -> str:
    free, number = name, 1
    while c.scalar(select(exists().where(t.users.c.name == free))):
        number += 1
        free = f"{name}-{number}"
    return free


def _failures(c: Connection, where: Any) -> int:
    recent = ~_is_old(t.failed_sign_ins.c.at_ms)
    return int(c.execute(select(func.count()).select_from(t.failed_sign_ins).where(where, recent)).scalar_one())


def _is_old(moment: Any) -> Any:
    return or_(moment < t.now_ms() - FAILURES_WITHIN_MS, moment > t.now_ms() + FAILURES_WITHIN_MS)


def user_from(row: Row[Any]) -> User:
    """A user by a row with all columns of `users`."""
    return User(
        id=UserId(row.id),
        name=row.name,
        role=Role(row.role),
        customer=row.customer,
        disabled=row.disabled,
        must_change=row.must_change,
        issuer=row.issuer,
    )
