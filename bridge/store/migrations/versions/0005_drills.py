"""Pages that are a drill's, and the drills that are open.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pages", sa.Column("drill", sa.Boolean(), nullable=False, server_default=sa.false()))
    open_drill = sa.text("source = 'pushkit-bridge-drill' AND state <> 'resolved'")
    op.create_index(
        "open_drills", "incidents", ["id"], unique=False, sqlite_where=open_drill, postgresql_where=open_drill
    )
