"""Each step of a training has the time at which it was reported."""

import sqlalchemy as sa
from alembic import op

revision = "13"
down_revision = "12"


def upgrade() -> None:
    # Missing for steps of before, and those that an attempt has from a checkpoint.
    op.add_column("history", sa.Column("at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("history", "at")
