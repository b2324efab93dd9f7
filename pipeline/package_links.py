"""Links by which whoever bears them sees one package, or one file of it, without signing in, for some days."""

from __future__ import annotations

import secrets

from pipeline import people
from pipeline.bureau import Bureau
from pipeline.ledger.package_links import PackageLink
from pipeline.model import WorkOrder
from pipeline.package_files import package_file, package_files

USUAL_DAYS, MOST_DAYS = 14, 90  # a link that lasts for ever is forgotten, and then found by somebody


class BadLink(ValueError):
    """Such a link is not made; the message says why."""


def make_link(
    bureau: Bureau, order: WorkOrder, delivery: int, *, file: str | None = None, days: int, who: str, why: str
) -> tuple[PackageLink, str]:
    """Make a link to a package that has gone out; gives the token that its address ends in, which is kept nowhere.

    Raises:
        BadLink: it would last too long, or not at all.
        NotInPackage: there is no such package or file.
        PackageDamaged: it is not as it was.
    """
    if not 1 <= days <= MOST_DAYS:
        raise BadLink(f"A link is for 1 to {MOST_DAYS} days.")
    if file is None:
        package_files(bureau, order, delivery, limit=1)
    else:
        package_file(bureau, order, delivery, file)
    token = secrets.token_urlsafe(people.TOKEN_BYTES)
    link = bureau.ledger.make_link(order, delivery, file, people.token_digest(token), days=days, who=who, why=why)
    return link, token


def link_address(base: str, token: str) -> str:
    """The address that whoever gets the link opens."""
    return f"{base.rstrip('/')}/links/{token}"
