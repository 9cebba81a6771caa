"""Metrics have typed rows; jobs can be stopped, name their newest checkpoint and ask for a GPU."""

import json

import sqlalchemy as sa
from alembic import op

from zoo.jobs.metric_rows import metric_rows
from zoo.jobs.records import with_derived

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
    fill()
    op.create_index("metric_by_name", "metric", ["name", "value"])
    op.add_column(
        "job", sa.Column("stop_requested", sa.Integer(), nullable=False, server_default="0")
    )
    # JSON: {"where", "sha256", "attempt", "step", "unit", "bytes", "at"}.
    op.add_column("job", sa.Column("checkpoint", sa.Text(), nullable=True))
    # JSON: {"attempt", "step", "exact"}; of a job that of its newest attempt.
    op.add_column("job", sa.Column("resumed_from", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("resumed_from", sa.Text(), nullable=True))
    # `gpu` of a job that only a worker with a free GPU may claim.
    op.add_column("job", sa.Column("device", sa.Text(), nullable=True))
    # JSON: [{"index", "name", "memory_mb", "uuid"}, ...].
    op.add_column("worker", sa.Column("gpus", sa.Text(), nullable=True))


def fill() -> None:
    """Insert the metrics of earlier results: their numbers, and what the confusion matrix says."""
    connection = op.get_bind()
    page = sa.text("""
        SELECT seq, id, metrics FROM job
        WHERE seq > :after AND status = 'succeeded' AND metrics IS NOT NULL
        ORDER BY seq LIMIT 1000""")
    insert = sa.text("INSERT INTO metric (job_id, name, value) VALUES (:job_id, :name, :value)")
    after = 0
    while found := connection.execute(page, {"after": after}).all():
        measured = ((job_id, with_derived(json.loads(text))) for _, job_id, text in found)
        if rows := [row for job_id, each in measured for row in metric_rows(job_id, each)]:
            connection.execute(insert, rows)
        after = found[-1][0]


def downgrade() -> None:
    op.drop_column("worker", "gpus")
    op.drop_column("job", "device")
    op.drop_column("attempt", "resumed_from")
    op.drop_column("job", "resumed_from")
    op.drop_column("job", "checkpoint")
    op.drop_column("job", "stop_requested")
    op.drop_index("metric_by_name", table_name="metric")
    op.drop_table("metric")
