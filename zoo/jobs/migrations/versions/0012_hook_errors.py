"""The last error of each hook of a job is kept."""

import sqlalchemy as sa
from alembic import op

revision = "12"
down_revision = "11"


def upgrade() -> None:
    op.create_table(
        "hook_error",
        sa.Column("job_id", sa.Text(), nullable=False),
        # Empty if the process of the hooks has died or hung.
        sa.Column("plugin", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id", "plugin"),
    )
    op.create_index("hook_error_at", "hook_error", ["at"])


def downgrade() -> None:
    op.drop_table("hook_error")
    # Programs before this one take hooks of which only files are left for skipped ones.
    op.execute(sa.text("UPDATE outbox SET skipped_at = NULL WHERE skipped_at = 0"))
