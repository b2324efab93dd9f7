"""Agencies: links to packages that expire, and people whom another house signs in."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "package_links",
        sa.Column("id", number, nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("order_id", number, nullable=False),
        sa.Column("delivery", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=True),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_package_links_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_links")),
        sa.UniqueConstraint("token", name=op.f("uq_package_links_token")),
    )
    op.create_index(op.f("ix_package_links_order_id"), "package_links", ["order_id"])
    op.add_column("users", sa.Column("issuer", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("subject", sa.Text(), nullable=True))
    op.create_index("uq_users_issuer_subject", "users", ["issuer", "subject"], unique=True)


def downgrade() -> None:
    """Undo it."""
    op.drop_index("uq_users_issuer_subject", "users")
    op.drop_column("users", "subject")
    op.drop_column("users", "issuer")
    op.drop_table("package_links")
