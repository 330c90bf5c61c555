"""A mark that is another whenever a phone that can be rung changes, and the calls whose end nobody knows.

So that a decision need not load every phone again. The database writes the mark itself: a bridge of the
version before knows nothing of it, and may enrol a phone in a rolling update.

Revision: 0010, after 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = "name, owner, enrolled, voip_token, voip_trouble, alert_token, alert_trouble, removed_at"
_MARK = (
    "INSERT INTO meta (name, value) VALUES ('roster', {})"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


def upgrade() -> None:
    op.create_index(
        "lost_calls",
        "calls",
        ["expires_at"],
        sqlite_where=sa.text("state = 'sending'"),
        postgresql_where=sa.text("state = 'sending'"),
    )
    if op.get_context().dialect.name == "sqlite":
        mark = _MARK.format("lower(hex(randomblob(16)))")
        for event in ("INSERT", "DELETE", f"UPDATE OF {_COLUMNS}"):
            name = f"roster_{event.split()[0].lower()}"
            op.execute(f"CREATE TRIGGER {name} AFTER {event} ON devices BEGIN {mark}; END")
        return
    mark = _MARK.format("gen_random_uuid()::text")
    body = f"BEGIN {mark}; RETURN NULL; END"
    op.execute(f"CREATE FUNCTION mark_roster() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
    op.execute(
        f"CREATE TRIGGER roster AFTER INSERT OR DELETE OR UPDATE OF {_COLUMNS} ON devices"
        " FOR EACH STATEMENT EXECUTE FUNCTION mark_roster()"
    )
