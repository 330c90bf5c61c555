"""The first mark of the roster: without one, every decision loads all phones until one of them changes.

Revision: 0012, after 0011.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("INSERT INTO meta (name, value) VALUES ('roster', 'the first') ON CONFLICT (name) DO NOTHING")
