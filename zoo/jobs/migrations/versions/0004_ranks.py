"""Accuracy has a column, groups have their mean, and listings have indexes."""

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"

INDEXES: dict[str, tuple[list[str], str | None]] = {
    "job_best": (["dataset", "model", "accuracy", "seq"], "ranked = 1 AND accuracy IS NOT NULL"),
    "job_model_seq": (["model", "seq"], None),
    "job_dataset_seq": (["dataset", "seq"], None),
    "job_created_at": (["created_at"], None),
    "job_finished_at": (["finished_at"], None),
    "job_tags": (["tags"], "tags <> '[]'"),
}


def upgrade() -> None:
    op.add_column("job", sa.Column("accuracy", sa.Double(), nullable=True))
    op.add_column("job", sa.Column("ranked", sa.Integer(), server_default="0", nullable=False))
    op.add_column("job_group", sa.Column("dataset", sa.Text(), nullable=True))
    op.add_column("job_group", sa.Column("model", sa.Text(), nullable=True))
    op.add_column("job_group", sa.Column("accuracy", sa.Double(), nullable=True))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in (*(SQLITE if is_sqlite else POSTGRESQL), WHOLE):
        op.execute(sa.text(statement))
    for name, (columns, where) in INDEXES.items():
        only = sa.text(where) if where else None
        op.create_index(name, "job", columns, sqlite_where=only, postgresql_where=only)
    # SQLite takes nulls for the smallest, PostgreSQL for the largest; here they always come last.
    largest_first = sa.text("accuracy DESC" if is_sqlite else "accuracy DESC NULLS LAST")
    op.create_index("job_accuracy", "job", [largest_first, sa.text("seq DESC")])
    op.create_index("job_group_best", "job_group", ["kind", "dataset", "model", "accuracy"])


def downgrade() -> None:
    op.drop_index("job_group_best", "job_group")
    for name in ("job_accuracy", *INDEXES):
        op.drop_index(name, "job")
    for name in ("accuracy", "model", "dataset"):
        op.drop_column("job_group", name)
    for name in ("ranked", "accuracy"):
        op.drop_column("job", name)


PART = r"""EXISTS (SELECT 1 FROM job_group WHERE id = group_id AND (kind IN ('cv', 'seeds')
    OR about LIKE '%"seeds"\:%' AND about NOT LIKE '%"seeds"\:null%'))"""
SQLITE = [
    """UPDATE job SET accuracy = json_extract(metrics, '$.accuracy')
    WHERE status = 'succeeded' AND json_type(metrics, '$.accuracy') IN ('integer', 'real')""",
    f"""UPDATE job SET ranked = 1
    WHERE json_extract(spec, '$.split') = 'test'
        AND coalesce(json_type(spec, '$.fold'), 'null') = 'null' AND NOT {PART}""",
]
# NUL and lone surrogates, which no text read here has, would make it refuse the column.
READABLE = r"CAST(regexp_replace({0}, '\\u(0000|d[89a-f]..)', '\\ufffd', 'g') AS json)"
ACCURACY, SPEC = f"({READABLE.format('metrics')} -> 'accuracy')", READABLE.format("spec")
POSTGRESQL = [
    f"""UPDATE job SET accuracy = CAST(CAST({ACCURACY} AS text) AS double precision)
    WHERE status = 'succeeded' AND json_typeof({ACCURACY}) = 'number'""",
    f"""UPDATE job SET ranked = 1 WHERE {SPEC} ->> 'split' = 'test'
        AND coalesce(json_typeof({SPEC} -> 'fold'), 'null') = 'null' AND NOT {PART}""",
]
MEMBER = """group_id = job_group.id
    AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)"""
WHOLE = f"""
    UPDATE job_group SET
        accuracy = (SELECT avg(accuracy) FROM job WHERE {MEMBER}),
        dataset = (SELECT min(dataset) FROM job WHERE {MEMBER}),
        model = (SELECT min(model) FROM job WHERE {MEMBER})
    WHERE kind IN ('cv', 'seeds')
        AND NOT EXISTS (SELECT 1 FROM job WHERE {MEMBER} AND job.accuracy IS NULL)"""
