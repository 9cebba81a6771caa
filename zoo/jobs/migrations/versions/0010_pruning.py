"""Trials of a sweep may wait at a rung, and end as pruned; the metrics of rungs have rows."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from zoo.jobs.migrations.checks import replace_checks

revision = "10"
down_revision = "9"

BEFORE = ("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost")
STATUSES = (*BEFORE, "pruned")
CHECKS = {
    "job_lease": "(status = 'running') = (lease_until IS NOT NULL)",
    "job_owner": "(status = 'running') = (owner IS NOT NULL)",
    "job_artifact": "(status = 'succeeded') = (artifact IS NOT NULL)",
    "job_finished": "(status IN ('queued','running')) = (finished_at IS NULL)",
    "job_kind": "kind IN ('train','evaluate')",
    "job_attempts": "attempt <= max_attempts",
}
"""The CHECKs of the table beside that of the status; SQLite makes the table anew."""
URGENCY = ["pool", sa.literal_column("priority DESC"), "seq"]
HINTS = ["dispatched_at", sa.literal_column("priority DESC"), "seq"]
READY = "status = 'queued' AND held = 0 AND blockers = 0 AND parked = 0"


def upgrade() -> None:
    for name in ("job_claim", "job_hint"):
        op.drop_index(name, "job")
    op.add_column("job", sa.Column("pruner", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("pause_at", sa.Integer(), nullable=True))
    op.add_column("job", sa.Column("paused", sa.Integer(), server_default="0", nullable=False))
    op.add_column("job_group", sa.Column("pruner", sa.Text(), nullable=True))
    _replace_statuses(STATUSES)
    _create_partial_index("job_claim", URGENCY, f"{READY} AND paused = 0")
    _create_partial_index("job_hint", HINTS, f"{READY} AND paused = 0")
    rungs = "status IN ('queued', 'running') AND pause_at IS NOT NULL"
    _create_partial_index("job_pause", ["group_id", "paused", "pause_at"], rungs)
    op.create_table(
        "rung",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Integer(), nullable=False),
        # NULL: the training diverges.
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("promoted", sa.Integer(), server_default="0", nullable=False),
        # The place in the order in which trials of the group came to rungs.
        sa.Column("arrival", sa.Integer(), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id", "rung"),
    )
    op.create_index("rung_by_value", "rung", ["group_id", "rung", "value"])


def downgrade() -> None:
    op.drop_index("rung_by_value", table_name="rung")
    op.drop_table("rung")
    for name in ("job_pause", "job_hint", "job_claim"):
        op.drop_index(name, "job")
    ended = "status = 'cancelled', error = 'It was pruned.', error_code = 'cancelled'"
    op.execute(sa.text(f"UPDATE job SET {ended} WHERE status = 'pruned'"))
    _replace_statuses(BEFORE)
    op.drop_column("job_group", "pruner")
    for name in ("paused", "pause_at", "pruner"):
        op.drop_column("job", name)
    _create_partial_index("job_claim", URGENCY, READY)
    _create_partial_index("job_hint", HINTS, READY)


def _replace_statuses(statuses: tuple[str, ...]) -> None:
    known = f"status IN ({', '.join(repr(each) for each in statuses)})"
    replace_checks("job", CHECKS | {"job_status": known}, changed=["job_status"])


def _create_partial_index(name: str, columns: list[Any], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "job", columns, sqlite_where=condition, postgresql_where=condition)
