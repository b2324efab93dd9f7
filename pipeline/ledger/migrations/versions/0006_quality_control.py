"""Quality control: lots with their samples and verdicts, rescans with their reasons, and who scanned a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APPEND_ONLY = ("verdicts", "rescans")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, length: int | None = None) -> sa.Column[str]:
    kind = sa.Text() if length is None else sa.String(length=length)
    return sa.Column(name, kind, server_default=sa.text("''"), nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default=sa.text("'0'"), nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text("(false)"), nullable=False)


def _number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _id_of(name: str) -> sa.Column[int]:
    return sa.Column(name, ID, autoincrement=False, nullable=False)


def _of(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"))


def upgrade() -> None:
    """Make the change. Batches there are stay without quality control: their pages are billed already."""
    op.add_column("deliveries", _text("operator", 60))
    op.add_column("batches", _text("operator", 60))
    op.create_table(
        "lots",
        _id_of("batch_id"),
        _id_of("order_id"),
        sa.Column("inspection", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("pages_left", sa.Integer(), nullable=False),
        _text("plan"),
        _text("letter", 1),
        _text("seed", 64),
        _text("population"),
        *(_count(name) for name in ("pages", "sample", "accept")),
        _text("scanner"),
        _flag("rejected"),
        *(_count(name) for name in ("looked", "critical", "major", "minor", "first_pass", "rescanned")),
        _number("drawn_ms", nullable=True),
        _number("passed_ms", nullable=True),
        _of("lots", "batch_id", "batches.id"),
        _of("lots", "order_id", "orders.id"),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_lots")),
    )
    op.create_index(op.f("ix_lots_order_id"), "lots", ["order_id"])
    op.create_index("ix_lots_state", "lots", ["state", "batch_id"])
    op.create_table(
        "lot_pages",
        _id_of("page_id"),
        _id_of("batch_id"),
        _number("instead_of", nullable=True),
        _text("operator", 60),
        sa.Column("verdict", sa.String(length=8), nullable=True),
        sa.Column("defect", sa.String(length=20), nullable=True),
        _flag("settled"),
        _of("lot_pages", "page_id", "pages.id"),
        _of("lot_pages", "batch_id", "lots.batch_id"),
        sa.PrimaryKeyConstraint("page_id", name=op.f("pk_lot_pages")),
    )
    op.create_index(op.f("ix_lot_pages_batch_id"), "lot_pages", ["batch_id"])
    op.create_table(
        "verdicts",
        sa.Column("id", ID, nullable=False),
        _id_of("batch_id"),
        _id_of("page_id"),
        _number("at_ms"),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("operator", sa.String(length=60), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("defect", sa.String(length=20), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        _of("verdicts", "batch_id", "lots.batch_id"),
        _of("verdicts", "page_id", "pages.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
    )
    op.create_index(op.f("ix_verdicts_page_id"), "verdicts", ["page_id"])
    op.create_table(
        "rescans",
        _id_of("page_id"),
        _id_of("order_id"),
        sa.Column("reason", sa.String(length=40), nullable=False),
        _number("at_ms"),
        _of("rescans", "page_id", "pages.id"),
        _of("rescans", "order_id", "orders.id"),
        sa.PrimaryKeyConstraint("page_id", name=op.f("pk_rescans")),
    )
    op.create_index(op.f("ix_rescans_order_id"), "rescans", ["order_id"])
    for name in APPEND_ONLY:
        _make_append_only(name)


def _make_append_only(name: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
                f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {name}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{name} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {name}_append_only()"
    )


def downgrade() -> None:
    """Undo it."""
    for name in ("rescans", "verdicts", "lot_pages", "lots"):
        op.drop_table(name)  # with their triggers
    if op.get_bind().dialect.name != "sqlite":
        for name in APPEND_ONLY:
            op.execute(f"DROP FUNCTION {name}_append_only()")
    op.drop_column("batches", "operator")
    op.drop_column("deliveries", "operator")
