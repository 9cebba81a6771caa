"""A worker says how often it beats and why it takes no job; a job when it was last heard of."""

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"


def upgrade() -> None:
    op.add_column("worker", sa.Column("beat_seconds", sa.Double(), nullable=True))
    op.add_column("worker", sa.Column("trouble", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("beat_at", sa.Double(), nullable=True))
    op.add_column("attempt", sa.Column("counts", sa.Integer(), server_default="1", nullable=False))
    # Of hooks that were left out because too many were waiting: their row stays until it is asked for.
    op.add_column("outbox", sa.Column("skipped_at", sa.Double(), nullable=True))
    op.add_column("outbox", sa.Column("asked", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "outbox_asked",
        "outbox",
        ["job_id"],
        sqlite_where=sa.text("asked = 1"),
        postgresql_where=sa.text("asked = 1"),
    )


def downgrade() -> None:
    op.drop_index("outbox_asked", table_name="outbox")
    op.drop_column("outbox", "asked")
    op.drop_column("outbox", "skipped_at")
    op.drop_column("attempt", "counts")
    op.drop_column("job", "beat_at")
    op.drop_column("worker", "trouble")
    op.drop_column("worker", "beat_seconds")
