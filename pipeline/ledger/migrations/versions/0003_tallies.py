"""Tallies: how many tasks and pages stand where, counted as they change, so that nobody counts a million rows."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# due, sent and running are told apart by partial indexes; for the tallies they are what is left to do
STANDING = "CASE WHEN {row}.state IN ('due', 'sent', 'running') THEN 'left' ELSE {row}.state END"
TRIGGERS = {
    "tally_new_tasks": "tasks",
    "tally_changed_task": "tasks",
    "tally_new_pages": "pages",
    "tally_excluded_page": "pages",
    "tally_new_billables": "billables",
}


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "tallies",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("label", sa.String(length=60), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tallies")),
    )
    op.create_index(op.f("ix_billables_at_ms"), "billables", ["at_ms"])
    op.create_index(
        "ix_tasks_waiting",
        "tasks",
        ["order_id", "changed_ms"],
        sqlite_where=sa.text("state = 'due'"),
        postgresql_where=sa.text("state = 'due'"),
    )
    _index_again("ix_tasks_held", ["changed_ms", "kind", "code"], where="state = 'held'")
    _index_again("ix_tasks_finished", ["finished_ms", "kind"])
    # the triggers first: on PostgreSQL they lock out all writers, so that what is counted next misses nothing
    if op.get_bind().dialect.name == "sqlite":
        _sqlite_triggers()
    else:
        _postgresql_triggers()
    standing = STANDING.format(row="tasks")
    for rows in (
        f"SELECT order_id, kind, {standing}, count(*) FROM tasks GROUP BY order_id, kind, {standing}",
        "SELECT order_id, 'PAGE', 'received', count(*) FROM pages GROUP BY order_id",
        "SELECT order_id, 'PAGE', excluded, count(*) FROM pages WHERE excluded IS NOT NULL GROUP BY order_id, excluded",
        "SELECT order_id, 'PAGE', 'billable', count(*) FROM billables GROUP BY order_id",
    ):
        op.execute(f"INSERT INTO tallies (order_id, name, label, n) {rows}")


def _index_again(name: str, columns: list[str], *, where: str | None = None) -> None:
    partly = None if where is None else sa.text(where)
    op.drop_index(name, table_name="tasks")
    op.create_index(name, "tasks", columns, sqlite_where=partly, postgresql_where=partly)


def _moved(old: str, new: str) -> str:
    """Statements that tally a task's way from one standing to another; the same words for both engines."""
    return (
        f"INSERT INTO tallies (order_id, name, label, n) VALUES ({old}.order_id, {old}.kind, "
        f"{STANDING.format(row=old)}, -1), ({new}.order_id, {new}.kind, {STANDING.format(row=new)}, 1);"
    )


def _excluded(old: str, new: str) -> str:
    return "".join(
        f"INSERT INTO tallies (order_id, name, label, n) SELECT {row}.order_id, 'PAGE', {row}.excluded, {n} "
        f"WHERE {row}.excluded IS NOT NULL;"
        for row, n in ((old, -1), (new, 1))
    )


def _sqlite_triggers() -> None:
    for name, event, statements in (
        (
            "tally_new_tasks",
            "INSERT ON tasks",
            f"INSERT INTO tallies (order_id, name, label, n) "
            f"VALUES (NEW.order_id, NEW.kind, {STANDING.format(row='NEW')}, 1);",
        ),
        (
            "tally_changed_task",
            f"UPDATE OF state ON tasks WHEN {STANDING.format(row='OLD')} <> {STANDING.format(row='NEW')}",
            _moved("OLD", "NEW"),
        ),
        (
            "tally_new_pages",
            "INSERT ON pages",
            "INSERT INTO tallies (order_id, name, label, n) VALUES (NEW.order_id, 'PAGE', 'received', 1);",
        ),
        (
            "tally_excluded_page",
            "UPDATE OF excluded ON pages WHEN OLD.excluded IS NOT NEW.excluded",
            _excluded("OLD", "NEW"),
        ),
        (
            "tally_new_billables",
            "INSERT ON billables",
            "INSERT INTO tallies (order_id, name, label, n) VALUES (NEW.order_id, 'PAGE', 'billable', 1);",
        ),
    ):
        op.execute(f"CREATE TRIGGER {name} AFTER {event} BEGIN {statements} END")


def _postgresql_triggers() -> None:
    """New rows come many at a time, so they are tallied by the statement; changed ones come alone."""
    new = "FROM new_rows GROUP BY"
    new_rows = "REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"
    standing = STANDING.format(row="new_rows")
    for name, event, statements in (
        (
            "tally_new_tasks",
            f"INSERT ON tasks {new_rows}",
            f"INSERT INTO tallies (order_id, name, label, n) "
            f"SELECT order_id, kind, {standing}, count(*) {new} order_id, kind, {standing};",
        ),
        (
            "tally_changed_task",
            "UPDATE OF state ON tasks FOR EACH ROW "
            f"WHEN ({STANDING.format(row='OLD')} <> {STANDING.format(row='NEW')})",
            _moved("OLD", "NEW"),
        ),
        (
            "tally_new_pages",
            f"INSERT ON pages {new_rows}",
            f"INSERT INTO tallies (order_id, name, label, n) SELECT order_id, 'PAGE', 'received', count(*) "
            f"{new} order_id;",
        ),
        (
            "tally_excluded_page",
            "UPDATE OF excluded ON pages FOR EACH ROW WHEN (OLD.excluded IS DISTINCT FROM NEW.excluded)",
            _excluded("OLD", "NEW"),
        ),
        (
            "tally_new_billables",
            f"INSERT ON billables {new_rows}",
            f"INSERT INTO tallies (order_id, name, label, n) SELECT order_id, 'PAGE', 'billable', count(*) "
            f"{new} order_id;",
        ),
    ):
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statements} RETURN NULL; END $$"
        )
        op.execute(f"CREATE TRIGGER {name} AFTER {event} EXECUTE FUNCTION {name}()")


def downgrade() -> None:
    """Undo it."""
    for name, table in TRIGGERS.items():
        if op.get_bind().dialect.name == "sqlite":
            op.execute(f"DROP TRIGGER {name}")
        else:
            op.execute(f"DROP TRIGGER {name} ON {table}")
            op.execute(f"DROP FUNCTION {name}()")
    _index_again("ix_tasks_finished", ["finished_ms"])
    _index_again("ix_tasks_held", ["changed_ms"], where="state = 'held'")
    op.drop_index("ix_tasks_waiting", table_name="tasks")
    op.drop_index(op.f("ix_billables_at_ms"), table_name="billables")
    op.drop_table("tallies")
