"""Alarms about scans, and what is settling in the inbox with what people said about it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "alarms",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("origin", sa.String(length=80), nullable=False),
        sa.Column("scanner", sa.String(length=60), nullable=False),
        sa.Column("order_id", ID, nullable=True),
        sa.Column("batch_id", ID, nullable=True),
        sa.Column("pages", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("what", sa.Text(), server_default="", nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=True),
        sa.Column("seen_by", sa.Text(), server_default="", nullable=False),
        sa.Column("said", sa.Text(), server_default="", nullable=False),
        sa.Column("over_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_alarms_order_id_orders")),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_alarms_batch_id_batches")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    is_open = sa.text("seen_ms IS NULL AND over_ms IS NULL")
    op.create_index(
        "uq_alarms_open", "alarms", ["kind", "origin"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index("ix_alarms_seen", "alarms", ["kind", "origin", "seen_ms"])
    op.create_table(
        "alarm_pages",
        sa.Column("id", ID, nullable=False),
        sa.Column("page_id", ID, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("scanner", sa.String(length=60), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("alarm_id", ID, nullable=True),
        sa.ForeignKeyConstraint(["page_id"], ["pages.id"], name=op.f("fk_alarm_pages_page_id_pages")),
        sa.ForeignKeyConstraint(["alarm_id"], ["alarms.id"], name=op.f("fk_alarm_pages_alarm_id_alarms")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm_pages")),
        sa.UniqueConstraint("page_id", "kind", name=op.f("uq_alarm_pages_page_id_kind")),
    )
    op.create_index("ix_alarm_pages_alarm", "alarm_pages", ["alarm_id", "id"])
    op.create_table(
        "settling",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("order_number", sa.String(length=60), nullable=True),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("asked", sa.String(length=8), server_default="", nullable=False),
        sa.Column("asked_by", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_settling")),
    )


def downgrade() -> None:
    """Undo it."""
    for name in ("settling", "alarm_pages", "alarms"):
        op.drop_table(name)
