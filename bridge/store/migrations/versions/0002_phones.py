"""Phones that enrol, say what they got, and act.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("incidents", sa.Column("stand_ins", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("incidents", sa.Column("acknowledged_until", sa.BigInteger(), nullable=True))
    op.add_column("incidents", sa.Column("silenced_until", sa.BigInteger(), nullable=True))
    for text in ("credential", "app_version", "os_version"):
        op.add_column("devices", sa.Column(text, sa.Text(), nullable=True))
    for instant in ("enrolled_at", "heard_at"):
        op.add_column("devices", sa.Column(instant, sa.BigInteger(), nullable=True))
    op.add_column("devices", sa.Column("silent_calls", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("devices_by_credential", "devices", ["credential"], unique=True)
    op.add_column("calls", sa.Column("receipt_due_at", sa.BigInteger(), nullable=True))
    op.create_index("calls_by_receipt", "calls", ["receipt_due_at"], unique=False)
    op.create_table(
        "enrolments",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_table(
        "actions",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device", "event_id"),
    )
