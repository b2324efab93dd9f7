"""Tokens, with which programs ask in a user's name; and which upload a delivery came by."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "tokens",
        sa.Column("id", number, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("user_id", number, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("added_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"])
    op.add_column("deliveries", sa.Column("upload", sa.String(length=32), nullable=True))
    op.create_index("uq_deliveries_upload", "deliveries", ["upload"], unique=True)


def downgrade() -> None:
    """Undo it."""
    op.drop_index("uq_deliveries_upload", "deliveries")
    op.drop_column("deliveries", "upload")
    op.drop_table("tokens")
