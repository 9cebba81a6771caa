"""A result names the contents that it was judged on, so that rankings keep different ones apart."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"

RANKED = "ranked = 1 AND accuracy IS NOT NULL"
MEASURED = "accuracy IS NOT NULL"


def upgrade() -> None:
    for table in ("job", "job_group"):
        op.add_column(table, sa.Column("contents", sa.Text(), nullable=True))
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in (SQLITE if is_sqlite else POSTGRESQL, GROUPS, MIXED):
        op.execute(sa.text(statement))
    for name in ("job_best", "job_group_best"):
        op.drop_index(name)
    _partial("job_best", ["dataset", "contents", "model", "accuracy", "seq"], RANKED)
    best = ["kind", "dataset", "contents", "model", "accuracy"]
    op.create_index("job_group_best", "job_group", best)
    _partial("job_contents", ["dataset", "started_at", "contents"], MEASURED)


def downgrade() -> None:
    op.drop_index("job_contents", "job")
    op.drop_index("job_group_best", "job_group")
    op.drop_index("job_best", "job")
    _partial("job_best", ["dataset", "model", "accuracy", "seq"], RANKED)
    op.create_index("job_group_best", "job_group", ["kind", "dataset", "model", "accuracy"])
    for table in ("job_group", "job"):
        op.drop_column(table, "contents")


def _partial(name: str, columns: list[Any], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "job", columns, sqlite_where=condition, postgresql_where=condition)


# The last attempt that says where it ran; a job of before attempts said so has contents of its own.
LAST = """SELECT {} FROM attempt WHERE job_id = job.id AND environment IS NOT NULL
    ORDER BY n DESC LIMIT 1"""
SQLITE = f"""
    UPDATE job SET contents = coalesce(
        ({LAST.format("json_extract(environment, '$.data')")}), id)
    WHERE status = 'succeeded'"""
# As PostgreSQL refuses NUL and unpaired surrogates in any text of a document that it reads.
READABLE = r"CAST(regexp_replace(environment, '\\u(0000|d[89a-f]..)', '\\ufffd', 'g') AS json)"
POSTGRESQL = f"""
    UPDATE job SET contents = coalesce(({LAST.format(f"{READABLE} ->> 'data'")}), id)
    WHERE status = 'succeeded'"""
MEMBER = """group_id = job_group.id AND accuracy IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)"""
KNOWN = "CASE WHEN contents = id THEN job_group.id ELSE contents END"
GROUPS = f"""
    UPDATE job_group SET contents = (SELECT min({KNOWN}) FROM job WHERE {MEMBER})
    WHERE accuracy IS NOT NULL"""
MIXED = f"""
    UPDATE job_group SET accuracy = NULL, contents = NULL
    WHERE accuracy IS NOT NULL
        AND (SELECT count(DISTINCT {KNOWN}) FROM job WHERE {MEMBER}) > 1"""
