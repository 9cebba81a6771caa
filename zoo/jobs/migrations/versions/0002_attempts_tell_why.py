"""An attempt says by which code it ended; the retries of a job are found by an index."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("error_code", sa.Text(), nullable=True))
    op.create_index("job_retry_of", "job", ["retry_of"])


def downgrade() -> None:
    op.drop_index("job_retry_of")
    op.drop_column("attempt", "error_code")
