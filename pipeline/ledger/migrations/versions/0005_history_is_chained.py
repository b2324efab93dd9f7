"""History is chained: links beside the events, and a list of the events that have none yet."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change; the events there are get their links from whoever links."""
    op.create_table(
        "links",
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_links")),
        sa.UniqueConstraint("chain", "number", name=op.f("uq_links_chain_number")),
    )
    op.create_table(
        "unlinked_events",
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_unlinked_events")),
    )
    # the trigger first: on PostgreSQL it locks out all writers, so that no event falls between it and the copy
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER unlinked_new_event AFTER INSERT ON events "
            "BEGIN INSERT INTO unlinked_events (event_id) VALUES (NEW.id); END"
        )
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER links_no_{verb.lower()} BEFORE {verb} ON links "
                "BEGIN SELECT RAISE(ABORT, 'links is append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION unlinked_new_event() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO unlinked_events (event_id) VALUES (NEW.id); RETURN NULL; END $$"
        )
        op.execute(
            "CREATE TRIGGER unlinked_new_event AFTER INSERT ON events FOR EACH ROW "
            "EXECUTE FUNCTION unlinked_new_event()"
        )
        op.execute(
            "CREATE FUNCTION links_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'links is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER links_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON links "
            "FOR EACH STATEMENT EXECUTE FUNCTION links_append_only()"
        )
    op.execute("INSERT INTO unlinked_events (event_id) SELECT id FROM events")


def downgrade() -> None:
    """Undo it."""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("unlinked_new_event", "links_no_update", "links_no_delete"):
            op.execute(f"DROP TRIGGER {name}")
    else:
        for name, table in (("unlinked_new_event", "events"), ("links_append_only", "links")):
            op.execute(f"DROP TRIGGER {name} ON {table}")
            op.execute(f"DROP FUNCTION {name}()")
    op.drop_table("unlinked_events")
    op.drop_table("links")
