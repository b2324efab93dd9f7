"""Links to packages: made for a while, used without signing in, revoked. Of their tokens only digests are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from pipeline.ledger import tables as t
from pipeline.ledger.database import Database
from pipeline.ledger.reports import moment
from pipeline.ledger.work import add_event
from pipeline.model import OrderId, WorkOrder

DAY_MS = 86_400_000
LINKS_SHOWN = 100  # of a package, the newest


class NoSuchLink(LookupError):
    """There is no link of this number that could be revoked."""

    def __init__(self, link_id: int) -> None:
        super().__init__(f"There is no link {link_id}, or it was revoked before.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageLink:
    """A link to a package, or to one `file` of it."""

    id: int
    order_id: OrderId
    order: str
    delivery: int
    file: str | None
    made_at: datetime
    made_by: str
    until: datetime
    used_at: datetime | None  # for the first time
    revoked_at: datetime | None
    is_open: bool  # neither over nor revoked


class PackageLinks(Database):
    """The part of the ledger that knows links to packages."""

    def make_link(
        self, order: WorkOrder, delivery: int, file: str | None, token_hash: str, *, days: int, who: str, why: str
    ) -> PackageLink:
        """Let whoever bears a token see a package for some days."""
        with self.write() as c:
            link_id = c.execute(
                insert(t.package_links)
                .values(
                    token=token_hash,
                    order_id=order.id,
                    delivery=delivery,
                    file=file,
                    made_ms=t.now_ms(),
                    made_by=who,
                    until_ms=t.now_ms() + days * DAY_MS,
                )
                .returning(t.package_links.c.id)
            ).scalar_one()
            detail = {"package": f"delivery-{delivery}", "file": file, "days": days, "why": why}
            add_event(c, order.id, f"link {link_id}", "made", who, "done", **detail)
            return _link(c.execute(_links().where(t.package_links.c.id == link_id)).one())

    def links_of(self, order_id: OrderId) -> list[PackageLink]:
        """The newest links to an order's packages."""
        with self.read() as c:
            rows = c.execute(
                _links()
                .where(t.package_links.c.order_id == order_id)
                .order_by(t.package_links.c.id.desc())
                .limit(LINKS_SHOWN)
            )
            return [_link(row) for row in rows]

    def open_link(self, token_hash: str) -> PackageLink | None:
        """The link of a token, while it is neither over nor revoked."""
        with self.read() as c:
            row = c.execute(_links().where(t.package_links.c.token == token_hash)).first()
            return None if row is None or not row.is_open else _link(row)

    def note_link_used(self, link: PackageLink, *, address: str) -> None:
        """Keep when a link was used for the first time, and from where."""
        with self.write() as c:
            if c.execute(
                update(t.package_links)
                .where(t.package_links.c.id == link.id, t.package_links.c.used_ms.is_(None))
                .values(used_ms=t.now_ms())
            ).rowcount:
                add_event(c, link.order_id, f"link {link.id}", "first used", "link", "done", address=address)

    def revoke_link(self, link_id: int, *, order_id: OrderId | None = None, who: str, why: str) -> None:
        """Let a link, of this order where one is named, be worth nothing any more.

        Raises:
            NoSuchLink: there is none, or it was revoked before.
        """
        which = [t.package_links.c.id == link_id, t.package_links.c.revoked_ms.is_(None)]
        if order_id is not None:
            which.append(t.package_links.c.order_id == order_id)
        with self.write() as c:
            of_order = c.scalar(
                update(t.package_links)
                .where(*which)
                .values(revoked_ms=t.now_ms())
                .returning(t.package_links.c.order_id)
            )
            if of_order is None:
                raise NoSuchLink(link_id)
            add_event(c, of_order, f"link {link_id}", "revoked", who, "done", why=why)


def _links() -> Any:
    is_open = t.package_links.c.revoked_ms.is_(None) & (t.package_links.c.until_ms > t.now_ms())
    return select(t.package_links, t.orders.c.number, is_open.label("is_open")).join(
        t.orders, t.orders.c.id == t.package_links.c.order_id
    )


def _link(row: Row[Any]) -> PackageLink:
    return PackageLink(
        id=row.id,
        order_id=OrderId(row.order_id),
        order=row.number,
        delivery=row.delivery,
        file=row.file,
        made_at=moment(row.made_ms),
        made_by=row.made_by,
        until=moment(row.until_ms),
        used_at=None if row.used_ms is None else moment(row.used_ms),
        revoked_at=None if row.revoked_ms is None else moment(row.revoked_ms),
        is_open=bool(row.is_open),
    )
