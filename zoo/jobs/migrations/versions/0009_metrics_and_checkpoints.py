"""Metrics have typed rows; jobs can be stopped, and name their newest checkpoint."""

import sqlalchemy as sa
from alembic import op

revision = "9"
down_revision = "8"


def upgrade() -> None:
    op.create_table(
        "metric",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name"),
    )
    op.create_index("metric_by_name", "metric", ["name", "value"])
    op.add_column(
        "job", sa.Column("stop_requested", sa.Integer(), nullable=False, server_default="0")
    )
    # JSON: {"where", "sha256", "attempt", "step", "unit", "bytes", "at"}.
    op.add_column("job", sa.Column("checkpoint", sa.Text(), nullable=True))
    # JSON: {"attempt", "step", "exact"}; of a job that of its newest attempt.
    op.add_column("job", sa.Column("resumed_from", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("resumed_from", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempt", "resumed_from")
    op.drop_column("job", "resumed_from")
    op.drop_column("job", "checkpoint")
    op.drop_column("job", "stop_requested")
    op.drop_index("metric_by_name", table_name="metric")
    op.drop_table("metric")
