"""Datasets that somebody added have rows, one per version; a job says which version it runs on."""

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"


def upgrade() -> None:
    op.create_table(
        "dataset",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("meta", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("artifact", sa.Text(), nullable=False),
        sa.Column("artifact_sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        # A removed version keeps its row, so that its number is never given to other contents.
        sa.Column("removed_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_index("dataset_fingerprint", "dataset", ["fingerprint"])
    op.add_column("job", sa.Column("dataset_version", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("job", "dataset_version")
    op.drop_index("dataset_fingerprint", table_name="dataset")
    op.drop_table("dataset")
