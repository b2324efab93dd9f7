"""Pages of a batch that were made from the same file are found at once."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_index("ix_pages_copies", "pages", ["batch_id", "source", "index_in_file", "sequence"])


def downgrade() -> None:
    """Undo it."""
    op.drop_index("ix_pages_copies", "pages")
