"""The tables. SQLite and PostgreSQL speak through the same definitions.

Times are whole milliseconds UTC (BIGINT): leases compare them, and REAL loses seconds on PostgreSQL (QUEUE 2.6).
Money is an integer of 1/10,000 of the currency unit.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows by itself only for INTEGER; PostgreSQL takes BIGINT identities
Id = BigInteger().with_variant(Integer, "sqlite")


class now_ms(FunctionElement[int]):
    """Now, from the database's own clock, in milliseconds."""

    type = BigInteger()
    inherit_cache = True
    name = "now_ms"


@compiles(now_ms, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(now_ms, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


profiles = Table(
    "profiles",
    metadata,
    Column("digest", String(80), primary_key=True),
    Column("name", String(60), nullable=False),
    Column("document", Text, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Id, primary_key=True),
    Column("number", String(60), nullable=False, unique=True),
    Column("customer", String(60), nullable=False),
    Column("profile_digest", ForeignKey("profiles.digest"), nullable=False),
    Column("services", String(60), nullable=False),
    Column("priority", String(12), nullable=False),
    Column("weight", Float, nullable=False),
    Column("virtual_ms", BigInteger, nullable=False, server_default="0"),
    Column("status", String(12), nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("series", Text, nullable=False, server_default=""),
    Column("due", String(10)),
    Column("expect_pages", Integer),
    Column("boxes", Text, nullable=False, server_default="[]"),
    Column("opened_ms", BigInteger, nullable=False),
    Column("items_left", Integer, nullable=False, server_default="0"),
    Column("rolls_left", Integer, nullable=False, server_default="0"),
    Column("deliveries", Integer, nullable=False, server_default="0"),
    Column("package", Text),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("order_number", String(60)),
    Column("moves", Boolean, nullable=False),
    Column("accept_repeat", Boolean, nullable=False, server_default=text("false")),
    Column("finished", Boolean, nullable=False, server_default=text("false")),
    Column("outcome", Text, nullable=False, server_default=""),
    Column("seen_ms", BigInteger, nullable=False),
    Column("operator", String(60), nullable=False, server_default=""),
    Column("upload", String(32)),
    Index("uq_deliveries_upload", "upload", unique=True),  # what was uploaded is announced once, whoever says so
    # one claim a place at a time; a later delivery under the same name is a new one
    Index("uq_deliveries_open_source", "source", unique=True, sqlite_where=text("finished = false"),
          postgresql_where=text("finished = false")),
)  # fmt: skip

batches = Table(
    "batches",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order_id", ForeignKey("orders.id"), nullable=False),
    Column("delivery_id", ForeignKey("deliveries.id"), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("repeat", Integer, nullable=False, server_default="0"),
    Column("received_ms", BigInteger, nullable=False),
    Column("pages_left", Integer, nullable=False),
    Column("assembled", Boolean, nullable=False, server_default=text("false")),
    Column("seal", String(80)),
    Column("operator", String(60), nullable=False, server_default=""),
    UniqueConstraint("order_id", "digest", "repeat"),
    UniqueConstraint("order_id", "name"),
)

documents = Table(
    "documents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order_id", ForeignKey("orders.id"), nullable=False, index=True),
    Column("batch_id", ForeignKey("batches.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("pages_left", Integer, nullable=False),
    Column("finished", Boolean, nullable=False, server_default=text("false")),
    Column("pdf", String(64)),
    Column("pdf_bytes", BigInteger),
    Column("flavour", String(4)),
    Column("conforms", Boolean),
    Column("report", String(64)),
    UniqueConstraint("batch_id", "sequence"),
)

pages = Table(
    "pages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order_id", ForeignKey("orders.id"), nullable=False),
    Column("batch_id", ForeignKey("batches.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("file", Text, nullable=False),
    Column("index_in_file", Integer, nullable=False),
    Column("pages_in_file", Integer, nullable=False),
    Column("source", String(64), nullable=False),
    Column("settled", Boolean, nullable=False, server_default=text("false")),
    Column("prepared", String(64)),
    Column("readings", Text, nullable=False, server_default="{}"),
    Column("excluded", String(12)),
    Column("document_id", ForeignKey("documents.id"), index=True),
    Column("page_in_document", Integer),
    Column("text", String(64)),
    Column("alto", String(64)),
    Column("mean_confidence", Float),
    UniqueConstraint("batch_id", "sequence", "revision"),
    Index("ix_pages_order_id", "order_id"),
    Index("ix_pages_copies", "batch_id", "source", "index_in_file", "sequence"),
)

waivers = Table(
    "waivers",
    metadata,
    Column("kind", String(20), primary_key=True),
    Column("subject_id", BigInteger, primary_key=True, autoincrement=False),
    Column("code", String(40), primary_key=True),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order_id", ForeignKey("orders.id")),
    Column("kind", String(20), nullable=False),
    Column("subject_id", BigInteger, nullable=False),
    Column("round", Integer, nullable=False, server_default="0"),
    Column("rank", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("not_before_ms", BigInteger, nullable=False, server_default="0"),
    Column("owner", String(40)),
    Column("lease_until_ms", BigInteger),
    Column("started_ms", BigInteger),
    Column("finished_ms", BigInteger),
    Column("changed_ms", BigInteger, nullable=False),
    Column("code", String(40)),
    Column("sentence", Text),
    UniqueConstraint("kind", "subject_id", "round"),
    Index("ix_tasks_due", "order_id", "rank", "id", sqlite_where=text("state = 'due'"),
          postgresql_where=text("state = 'due'")),
    # how long the first of an order's waits is asked on every look at the floor
    Index("ix_tasks_waiting", "order_id", "changed_ms", sqlite_where=text("state = 'due'"),
          postgresql_where=text("state = 'due'")),
    Index("ix_tasks_out", "owner", sqlite_where=text("state IN ('sent', 'running')"),
          postgresql_where=text("state IN ('sent', 'running')")),
    Index("ix_tasks_held", "changed_ms", "kind", "code", sqlite_where=text("state = 'held'"),
          postgresql_where=text("state = 'held'")),
    Index("ix_tasks_finished", "finished_ms", "kind"),
)  # fmt: skip

workers = Table(
    "workers",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("threads", Integer, nullable=False, server_default="0"),
    Column("queues", Text, nullable=False, server_default=""),
)

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(40), nullable=False, unique=True),
    Column("password", String(200), nullable=False),
    Column("must_change", Boolean, nullable=False),
    Column("role", String(12), nullable=False),
    Column("customer", String(60)),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("added_ms", BigInteger, nullable=False),
    # of those whom another house signs in: that house, and what it calls them for ever
    Column("issuer", Text),
    Column("subject", Text),
    Index("uq_users_issuer_subject", "issuer", "subject", unique=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("form_token", String(64), nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("title", Text, nullable=False),
    Column("added_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("revoked", Boolean, nullable=False, server_default=text("false")),
)

# Who bears a link's token sees one package without signing in; of the token only the digest is kept
package_links = Table(
    "package_links",
    metadata,
    Column("id", Id, primary_key=True),
    Column("token", String(64), nullable=False, unique=True),
    Column("order_id", ForeignKey("orders.id"), nullable=False, index=True),
    Column("delivery", Integer, nullable=False),
    Column("file", Text),
    Column("made_ms", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
    Column("revoked_ms", BigInteger),
)

failed_sign_ins = Table(
    "failed_sign_ins",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(40), nullable=False),
    Column("address", String(60), nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
)

# Who leads, where the database has no locks that end with a connection (SQLite)
leases = Table(
    "leases",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("owner", String(40), nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

billables = Table(
    "billables",
    metadata,
    Column("page_id", ForeignKey("pages.id"), primary_key=True, autoincrement=False),
    Column("order_id", ForeignKey("orders.id"), nullable=False, index=True),
    Column("batch_id", ForeignKey("batches.id"), nullable=False, index=True),
    Column("file", Text, nullable=False),
    Column("index_in_file", Integer, nullable=False),
    Column("source", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("sequence", Integer, nullable=False),
)

# What has been counted, as sums of rows: every change adds a row, nobody waits for another's, and a feeder folds them
# together. Triggers write those of tasks and pages (migration 0003), workers those of what they measure.
tallies = Table(
    "tallies",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order_id", BigInteger),  # no foreign key: it would touch the order's row for every page
    Column("name", String(40), nullable=False),
    Column("label", String(60), nullable=False),
    Column("n", BigInteger, nullable=False),
)

charges = Table(
    "charges",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order_id", ForeignKey("orders.id"), nullable=False),
    Column("fee_code", String(20), nullable=False),
    Column("subject", String(40), nullable=False),
    Column("delivery", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("quantity", String(30), nullable=False),
    Column("unit_price_e4", BigInteger, nullable=False),
    Column("amount_e4", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    UniqueConstraint("order_id", "fee_code", "subject"),
)

rolls = Table(
    "rolls",
    metadata,
    Column("id", Id, primary_key=True),
    Column("number", String(20), nullable=False, unique=True),
    Column("order_id", ForeignKey("orders.id"), nullable=False, index=True),
    Column("round", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("page_frames", Integer, nullable=False),
    Column("plan", Text, nullable=False),
    Column("folder", Text),
    Column("written", Boolean, nullable=False, server_default=text("false")),
)

events = Table(
    "events",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("order_id", ForeignKey("orders.id"), index=True),
    Column("subject", String(40), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("who", Text, nullable=False),
    Column("outcome", String(40), nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_events_subject", "subject"),
)

# The chain over the history: one link an event, each over the link before of the same chain. A chain is an order's id,
# or 0 for what is of no order. Beside the events and not in them, for an event is written once and never touched again.
links = Table(
    "links",
    metadata,
    Column("event_id", BigInteger, primary_key=True, autoincrement=False),
    Column("chain", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("chain", "number"),
)

# Events without a link yet; a trigger (migration 0005) writes a row for every event in its own transaction
unlinked_events = Table(
    "unlinked_events",
    metadata,
    Column("event_id", BigInteger, primary_key=True, autoincrement=False),
)

# The quality control of a batch. Its row is the lock of everything under it, and its counts are of pages as first drawn
# or added, so that figures need no look at pages
lots = Table(
    "lots",
    metadata,
    Column("batch_id", ForeignKey("batches.id"), primary_key=True, autoincrement=False),
    Column("order_id", ForeignKey("orders.id"), nullable=False, index=True),
    Column("inspection", String(8), nullable=False),
    Column("state", String(10), nullable=False),
    Column("pages_left", Integer, nullable=False),  # that cannot be looked at yet
    Column("plan", Text, nullable=False, server_default=""),
    Column("letter", String(1), nullable=False, server_default=""),
    Column("seed", String(64), nullable=False, server_default=""),
    Column("population", Text, nullable=False, server_default=""),
    Column("pages", Integer, nullable=False, server_default="0"),
    Column("sample", Integer, nullable=False, server_default="0"),
    Column("accept", Integer, nullable=False, server_default="0"),
    Column("scanner", Text, nullable=False, server_default=""),
    Column("rejected", Boolean, nullable=False, server_default=text("false")),
    Column("looked", Integer, nullable=False, server_default="0"),
    Column("critical", Integer, nullable=False, server_default="0"),
    Column("major", Integer, nullable=False, server_default="0"),
    Column("minor", Integer, nullable=False, server_default="0"),
    Column("first_pass", Integer, nullable=False, server_default="0"),
    Column("rescanned", Integer, nullable=False, server_default="0"),
    Column("drawn_ms", BigInteger),
    Column("passed_ms", BigInteger),
    Index("ix_lots_state", "state", "batch_id"),
)

lot_pages = Table(
    "lot_pages",
    metadata,
    Column("page_id", ForeignKey("pages.id"), primary_key=True, autoincrement=False),
    Column("batch_id", ForeignKey("lots.batch_id"), nullable=False, index=True),
    Column("instead_of", BigInteger),  # the page of which this is the new scan
    Column("operator", String(60), nullable=False, server_default=""),
    Column("verdict", String(8)),  # the newest; all of them are in `verdicts`
    Column("defect", String(20)),
    Column("settled", Boolean, nullable=False, server_default=text("false")),  # nobody need decide about it any more
)

# What people said of pages they looked at; append-only
verdicts = Table(
    "verdicts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("batch_id", ForeignKey("lots.batch_id"), nullable=False),
    Column("page_id", ForeignKey("pages.id"), nullable=False, index=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("operator", String(60), nullable=False),  # who scanned it, as known at that moment
    Column("verdict", String(8), nullable=False),
    Column("defect", String(20)),
    Column("note", Text, nullable=False),
)

# Scans that were replaced by new ones, and why; append-only
rescans = Table(
    "rescans",
    metadata,
    Column("page_id", ForeignKey("pages.id"), primary_key=True, autoincrement=False),
    Column("order_id", ForeignKey("orders.id"), nullable=False, index=True),
    Column("reason", String(40), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)

# What is the matter with scans: one open alarm a kind and origin (`scanner NAME`, or `order ID`: where the files name
# no scanner, and of an order itself). It is open until somebody has seen it, or until it is over by itself.
alarms = Table(
    "alarms",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("origin", String(80), nullable=False),
    Column("scanner", String(60), nullable=False),
    Column("order_id", ForeignKey("orders.id")),
    Column("batch_id", ForeignKey("batches.id")),
    Column("pages", BigInteger, nullable=False, server_default="0"),
    Column("what", Text, nullable=False, server_default=""),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger),
    Column("seen_by", Text, nullable=False, server_default=""),
    Column("said", Text, nullable=False, server_default=""),
    Column("over_ms", BigInteger),
    Index("uq_alarms_open", "kind", "origin", unique=True, sqlite_where=text("seen_ms IS NULL AND over_ms IS NULL"),
          postgresql_where=text("seen_ms IS NULL AND over_ms IS NULL")),
    Index("ix_alarms_seen", "kind", "origin", "seen_ms"),
)  # fmt: skip

# Pages with what is the matter with them, added by workers; `alarm_id` is filled in by whoever makes alarms of them
alarm_pages = Table(
    "alarm_pages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("page_id", ForeignKey("pages.id"), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("scanner", String(60), nullable=False),
    Column("what", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("alarm_id", ForeignKey("alarms.id")),
    UniqueConstraint("page_id", "kind"),
    Index("ix_alarm_pages_alarm", "alarm_id", "id"),
)

# What lies in the inbox and is not taken in yet, as the watcher saw it last, and what somebody said about it
settling = Table(
    "settling",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("order_number", String(60)),
    Column("files", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("asked", String(8), nullable=False, server_default=""),
    Column("asked_by", Text, nullable=False, server_default=""),
)
