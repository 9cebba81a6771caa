"""Jobs wait for one another, are held, take turns in their group; pools pause; groups say why."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"

URGENCY = ["pool", sa.literal_column("priority DESC"), "seq"]
READY = "status = 'queued' AND held = 0 AND blockers = 0 AND parked = 0"


def upgrade() -> None:
    for name in ("held", "blockers", "parked"):
        op.add_column("job", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    op.add_column("job_group", sa.Column("about", sa.Text(), server_default="{}", nullable=False))
    op.add_column("job_group", sa.Column("max_parallel", sa.Integer(), nullable=True))
    op.create_table(
        "dependency",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("needs_id", sa.Text(), nullable=False),
        sa.Column("any_end", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["needs_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id", "needs_id"),
    )
    op.create_index("dependency_needs_id", "dependency", ["needs_id"])
    op.create_table(
        "pool",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.drop_index("job_claim", "job")
    # Only what may run stands in it: ten thousand held jobs do not slow a claim down.
    _create_partial_index("job_claim", URGENCY, READY)
    hints = ["dispatched_at", sa.literal_column("priority DESC"), "seq"]
    _create_partial_index("job_hint", hints, READY)
    turns = ["group_id", "parked", sa.literal_column("priority DESC"), "seq"]
    in_group = "status IN ('queued', 'running') AND group_id IS NOT NULL"
    _create_partial_index("job_turn", turns, in_group)


def downgrade() -> None:
    for name in ("job_turn", "job_hint", "job_claim"):
        op.drop_index(name, "job")
    _create_partial_index("job_claim", URGENCY, "status = 'queued'")
    op.drop_table("pool")
    op.drop_table("dependency")
    for name in ("max_parallel", "about"):
        op.drop_column("job_group", name)
    for name in ("parked", "blockers", "held"):
        op.drop_column("job", name)


def _create_partial_index(name: str, columns: list[Any], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "job", columns, sqlite_where=condition, postgresql_where=condition)
