"""Workers on many machines: what each can take, and who feeds them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("threads", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("queues", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=40), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def downgrade() -> None:
    """Undo it."""
    op.drop_table("leases")
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_column("queues")
        batch_op.drop_column("threads")
