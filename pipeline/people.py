"""Signing in to the console: passwords, sessions, and how often somebody may be wrong."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from pipeline.bureau import Bureau
from pipeline.ledger import UserExists
from pipeline.model import Role, User

FIRST_USER = "admin"
SHORTEST_PASSWORD = 12  # NIST SP 800-63B-4, 3.1.1.2 asks for at least 8 beside a second factor, 15 alone; and no rules
LONGEST_NAME = 40
LONGEST_GIVEN_NAME = 30  # by another house; leaves room for a number
SINGLE_SIGN_ON = "single sign-on"  # as who it stands in the history
LONGEST_PASSWORD = 200  # longer ones only cost time
# wrong passwords in a quarter of an hour: one person's slips; one machine's guessing; one name guessed from everywhere
MOST_FAILURES_THERE, MOST_FAILURES_OF_ADDRESS, MOST_FAILURES_OF_NAME = 5, 30, 100
TOKEN_BYTES = 32
# as whom the house's own programs stand in the history, and what a name for a person must not look like
PROGRAMS = frozenset({"platen", "watcher", "feeder", "console", "link", "single-sign-on", SINGLE_SIGN_ON})

_WORKER = re.compile("[0-9a-f]{32}")  # as a worker process calls itself
_hasher = PasswordHasher()  # argon2id with the library's parameters (RFC 9106, the second recommended set)
# each takes 64 MiB: strangers who try many passwords at once must not take the floor's memory
_hashing = threading.BoundedSemaphore(2)
_NOBODYS_HASH = _hasher.hash(secrets.token_urlsafe())  # so that a name that is not there takes as long


class SignInRefused(RuntimeError):
    """Name or password are wrong, or there were too many tries. It is never told which of the two is wrong."""


class NameOfProgram(UserExists):
    """The history calls a part of Platen so: what a person did must not look as if a program had."""

    def __init__(self, name: str) -> None:
        RuntimeError.__init__(self, f"{name} is what the history calls a part of Platen. Choose another name.")


class PasswordTooWeak(ValueError):
    """The password is too short or too long."""

    def __init__(self) -> None:
        super().__init__(f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters. Take a sentence.")


def sign_in(bureau: Bureau, name: str, password: str, *, address: str) -> str:
    """Check name and password and open a session; gives its token, which is kept nowhere here.

    Raises:
        SignInRefused: with a sentence for whoever tried.
    """
    return _session_of(bureau, _checked(bureau, name, password, address), address)


def sign_in_from(
    bureau: Bureau, issuer: str, subject: str, *, name: str, role: Role, customer: str | None, address: str
) -> str:
    """Open a session for somebody whom another house has signed in, and who has these rights there today.

    Raises:
        SignInRefused: the user was disabled here.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:LONGEST_GIVEN_NAME] or "somebody"
    if is_program(plain):
        plain += "-2"  # as if the program had been here first
    user = bureau.ledger.user_of_issuer(issuer, subject, name=plain, role=role, customer=customer, who=SINGLE_SIGN_ON)
    if user.disabled:
        bureau.ledger.note_failure(user.name, address, is_user=True)
        raise SignInRefused(f"{user.name} may not sign in here any more. Ask the bureau.")
    return _session_of(bureau, user, address)


def _session_of(bureau: Bureau, user: User, address: str) -> str:
    token = secrets.token_urlsafe(TOKEN_BYTES)
    bureau.ledger.open_session(user, token_digest(token), secrets.token_urlsafe(TOKEN_BYTES), address=address)
    return token


def change_password(bureau: Bureau, user: User, old: str, new: str, *, address: str) -> None:
    """Let somebody choose a password who knows the one until now; all sessions of the user end.

    Raises:
        SignInRefused: the old password is wrong; it counts as a sign-in that failed.
        PasswordTooWeak: the new one is too short or too long.
    """
    _checked(bureau, user.name, old, address)
    set_password(bureau, user.name, new, who=user.name)


def _checked(bureau: Bureau, name: str, password: str, address: str) -> User:
    name = name[:LONGEST_NAME].replace("\0", "")
    there, of_name, of_address = bureau.ledger.failures(name, address)
    if there >= MOST_FAILURES_THERE or of_name >= MOST_FAILURES_OF_NAME or of_address >= MOST_FAILURES_OF_ADDRESS:
        raise SignInRefused("Too many wrong passwords. Wait a quarter of an hour, then try again.")
    found = bureau.ledger.user_with_hash(name)
    if not _is_right(found[1] if found else _NOBODYS_HASH, password) or found is None:
        bureau.ledger.note_failure(name, address, is_user=found is not None)
        raise SignInRefused("Name or password are not right.")
    return found[0]


def is_worker(who: str) -> bool:
    """Whether this is how a worker process calls itself."""
    return _WORKER.fullmatch(who) is not None


def is_program(name: str) -> bool:
    """Whether the history calls a part of Platen so, however it is written."""
    return name.lower() in PROGRAMS or is_worker(name.lower())


def token_digest(token: str) -> str:
    """What is kept of a session's token: who reads the ledger cannot sign in with it."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def add_user(
    bureau: Bureau, name: str, password: str | None, role: Role, *, customer: str | None = None, who: str
) -> tuple[User, str]:
    """Let somebody sign in; gives the password. Without one it is made up, and must be changed at the first sign-in.

    Raises:
        UserExists: the name is taken, or a program's.
        PasswordTooWeak: the password is too short or too long.
    """
    if is_program(name):
        raise NameOfProgram(name)
    given = password if password is not None else secrets.token_urlsafe(SHORTEST_PASSWORD)
    hashed = hashed_password(given)
    user = bureau.ledger.add_user(name, hashed, role, customer=customer, must_change=password is None, who=who)
    return user, given


def set_password(bureau: Bureau, name: str, password: str | None, *, who: str) -> str:
    """Give a user a new password; gives it. Without one as in `add_user`.

    Raises:
        NoSuchUser: there is none of this name.
        NoPassword: another house signs this one in.
        PasswordTooWeak: the password is too short or too long.
    """
    given = password if password is not None else secrets.token_urlsafe(SHORTEST_PASSWORD)
    bureau.ledger.set_password(name, hashed_password(given), must_change=password is None, who=who)
    return given


def first_password(bureau: Bureau) -> str | None:
    """Make the first user when there is none; gives the password, to be told once."""
    if bureau.ledger.anybody():
        return None
    try:
        return add_user(bureau, FIRST_USER, None, Role.SUPERVISOR, who="platen")[1]
    except UserExists:  # another console was quicker, and has told it
        return None


def hashed_password(password: str) -> str:
    """What is kept of a password.

    Raises:
        PasswordTooWeak: it is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise PasswordTooWeak
    return _hasher.hash(password)


def _is_right(password_hash: str, password: str) -> bool:
    try:
        with _hashing:
            return len(password) <= LONGEST_PASSWORD and _hasher.verify(password_hash, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
