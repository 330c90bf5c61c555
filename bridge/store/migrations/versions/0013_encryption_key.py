"""The public key for which a phone's pushes are sealed, base64url.

No decision looks at it, so the mark of the roster (0010) stays as it is: the sender loads a phone with each
claim.

Revision: 0013, after 0012.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("devices", sa.Column("encryption_key", sa.Text(), nullable=True))
