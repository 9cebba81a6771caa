"""A job says who submitted it, has a name and a note, and may keep its row without files."""

import sqlalchemy as sa
from alembic import op

from zoo.jobs.migrations.checks import replace_checks

revision = "11"
down_revision = "10"

BEFORE = {
    "job_lease": "(status = 'running') = (lease_until IS NOT NULL)",
    "job_owner": "(status = 'running') = (owner IS NOT NULL)",
    "job_artifact": "(status = 'succeeded') = (artifact IS NOT NULL)",
    "job_finished": "(status IN ('queued','running')) = (finished_at IS NULL)",
    "job_kind": "kind IN ('train','evaluate')",
    "job_attempts": "attempt <= max_attempts",
    "job_status": "status IN ('queued', 'running', 'succeeded', 'failed', 'timed_out', "
    "'cancelled', 'lost', 'pruned')",
}
KEPT = "(status = 'succeeded' AND files_removed_at IS NULL) = (artifact IS NOT NULL)"
"""A job that has succeeded has its files, or says when they were removed."""
NAMED = {"job_submitted_by": "submitted_by", "job_name": "name"}


def upgrade() -> None:
    for name in ("submitted_by", "name", "note"):
        op.add_column("job", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("job", sa.Column("pinned", sa.Integer(), server_default="0", nullable=False))
    op.add_column("job", sa.Column("files_removed_at", sa.Double(), nullable=True))
    op.add_column("job", sa.Column("artifact_bytes", sa.BigInteger(), nullable=True))
    replace_checks("job", BEFORE | {"job_artifact": KEPT}, changed=["job_artifact"])
    for index, column in NAMED.items():
        condition = sa.text(f"{column} IS NOT NULL")
        op.create_index(
            index,
            "job",
            [column, "seq"],
            sqlite_where=condition,
            postgresql_where=condition,
        )
    # Files that no row names any more, until they are deleted.
    op.create_table(
        "removal",
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("place"),
    )


def downgrade() -> None:
    op.drop_table("removal")
    for index in NAMED:
        op.drop_index(index, "job")
    gone = "artifact = '', artifact_sha256 = ''"
    op.execute(sa.text(f"UPDATE job SET {gone} WHERE files_removed_at IS NOT NULL"))
    replace_checks("job", BEFORE, changed=["job_artifact"])
    for name in ("artifact_bytes", "files_removed_at", "pinned", "note", "name", "submitted_by"):
        op.drop_column("job", name)
