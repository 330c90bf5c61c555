"""Silences in Alertmanager, and which alerts it has shown.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incidents", sa.Column("ack_silence_until", sa.BigInteger(), nullable=True))
    op.add_column("incidents", sa.Column("silenced_by", sa.Text(), nullable=True))
    op.add_column("episodes", sa.Column("seen", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "silences",
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("wanted_until", sa.BigInteger(), nullable=True),
        sa.Column("wanted_by", sa.Text(), nullable=True),
        sa.Column("told_until", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("incident_id"),
    )
    op.create_index(
        "open_silences",
        "silences",
        ["next_attempt_at"],
        sqlite_where=sa.text("state <> 'settled'"),
        postgresql_where=sa.text("state <> 'settled'"),
    )
