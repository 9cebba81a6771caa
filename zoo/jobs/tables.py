"""The tables. A status and its guards are also written into them as CHECKs."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

STATUSES = ("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost")
TERMINAL = frozenset(STATUSES) - {"queued", "running"}

MOVES = frozenset(
    [("queued", "running"), ("queued", "cancelled"), ("queued", "lost"), ("running", "queued")]
    + [("running", status) for status in sorted(TERMINAL)]
)
"""Every pair of statuses that a job may pass through; terminal rows never change."""

metadata = MetaData()

job_group = Table(
    "job_group",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    CheckConstraint("kind IN ('cv','seeds','sweep')", name="group_kind"),
)

job = Table(
    "job",
    metadata,
    # The age of a job: ids are random so that a short prefix names one.
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("pool", Text, nullable=False, server_default="default"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("group_id", Text, ForeignKey("job_group.id")),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("spec_version", Integer, nullable=False),
    Column("spec", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_until", Double),
    Column("worker", Text),
    Column("cancel_requested", Integer, nullable=False, server_default="0"),
    Column("not_before", Double, nullable=False, server_default="0"),
    Column("dispatched_at", Double, nullable=False, server_default="0"),
    Column("progress", Text),
    Column("metrics", Text),
    Column("artifact", Text),
    Column("artifact_sha256", Text),
    Column("error_code", Text),
    Column("error", Text),
    Column("retry_of", Text),
    Column("idem_key", Text, unique=True),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    # On the worker's clock: the one time that the runner itself takes.
    Column("fit_started_at", Double),
    Column("finished_at", Double),
    CheckConstraint(f"status IN {STATUSES}", name="job_status"),
    CheckConstraint("kind IN ('train','evaluate')", name="job_kind"),
    CheckConstraint("(status = 'running') = (owner IS NOT NULL)", name="job_owner"),
    CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="job_lease"),
    CheckConstraint("(status = 'succeeded') = (artifact IS NOT NULL)", name="job_artifact"),
    CheckConstraint(
        "(status IN ('queued','running')) = (finished_at IS NULL)", name="job_finished"
    ),
    CheckConstraint("attempt <= max_attempts", name="job_attempts"),
)
Index(
    "job_claim",
    job.c.pool,
    job.c.priority.desc(),
    job.c.seq,
    sqlite_where=text("status = 'queued'"),
    postgresql_where=text("status = 'queued'"),
)
Index(
    "job_lease_until",
    job.c.lease_until,
    sqlite_where=text("status = 'running'"),
    postgresql_where=text("status = 'running'"),
)
Index("job_status_seq", job.c.status, job.c.seq)
Index("job_group_id", job.c.group_id)
Index("job_retry_of", job.c.retry_of)

attempt = Table(
    "attempt",
    metadata,
    Column("job_id", Text, ForeignKey("job.id"), primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("worker", Text, nullable=False),
    Column("plugin", Text),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("outcome", Text),
    Column("error_code", Text),
    Column("error", Text),
)

log = Table(
    "log",
    metadata,
    Column("job_id", Text, ForeignKey("job.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    # Byte offset of the chunk in the attempt's log: a chunk sent twice is stored once.
    Column("start", Integer, primary_key=True),
    Column("text", Text, nullable=False),
)

history = Table(
    "history",
    metadata,
    Column("job_id", Text, ForeignKey("job.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("metrics", Text, nullable=False),
)

worker = Table(
    "worker",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("pool", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("busy", Integer, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),
    Column("version", Text, nullable=False),
    # [{"name", "plugin", "schema", ...}]: what a terminal without the plugins lists and validates.
    Column("models", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("beat_at", Double, nullable=False),
)
