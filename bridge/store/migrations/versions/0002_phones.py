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
    for column in (
        sa.Column("stand_ins", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("acknowledged_until", sa.BigInteger(), nullable=True),
        sa.Column("silenced_until", sa.BigInteger(), nullable=True),
    ):
        op.add_column("incidents", column)
    for column in (
        sa.Column("credential", sa.Text(), nullable=True),
        sa.Column("app_version", sa.Text(), nullable=True),
        sa.Column("os_version", sa.Text(), nullable=True),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=True),
        sa.Column("heard_at", sa.BigInteger(), nullable=True),
        sa.Column("silent_calls", sa.Integer(), nullable=False, server_default="0"),
    ):
        op.add_column("devices", column)
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
