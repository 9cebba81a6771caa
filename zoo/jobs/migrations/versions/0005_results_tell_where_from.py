"""An attempt tells in which environment it ran, a result has a fingerprint, a hook is owed once."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("environment", sa.Text(), nullable=True))
    op.add_column("job", sa.Column("fingerprint", sa.Text(), nullable=True))
    op.create_index(
        "job_fingerprint",
        "job",
        ["fingerprint"],
        sqlite_where=sa.text("fingerprint IS NOT NULL"),
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
    )
    op.create_table(
        "outbox",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index("outbox_due_at", "outbox", ["due_at"])


def downgrade() -> None:
    op.drop_table("outbox")
    op.drop_index("job_fingerprint", table_name="job")
    op.drop_column("job", "fingerprint")
    op.drop_column("attempt", "environment")
