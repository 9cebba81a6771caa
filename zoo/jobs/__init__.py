"""The rows: jobs, groups, attempts, logs, workers. The only room that speaks SQL.

`connect` opens the database; `submission` is the submitter's side, `moves` the
worker's; `reads` and `presence` look.
"""

from zoo.jobs.database import SCHEMA, Database, RowRefused, connect, schema_version
from zoo.jobs.moves import Claim, News, Outcome, beat, claim, finish, reap, release
from zoo.jobs.presence import announce, drain, sign, workers
from zoo.jobs.reads import (
    attempts,
    clock,
    counts,
    find,
    get,
    get_group,
    listing,
    log_after,
    steps,
    waiting,
)
from zoo.jobs.records import Group, Job, Waiting, Worker
from zoo.jobs.schema import upgrade
from zoo.jobs.statuses import MOVES, STATUSES, TERMINAL
from zoo.jobs.submission import Hint, add, cancel, retry, stale

__all__ = [
    "MOVES",
    "SCHEMA",
    "STATUSES",
    "TERMINAL",
    "Claim",
    "Database",
    "Group",
    "Hint",
    "Job",
    "News",
    "Outcome",
    "RowRefused",
    "Waiting",
    "Worker",
    "add",
    "announce",
    "attempts",
    "beat",
    "cancel",
    "claim",
    "clock",
    "connect",
    "counts",
    "drain",
    "find",
    "finish",
    "get",
    "get_group",
    "listing",
    "log_after",
    "reap",
    "release",
    "retry",
    "schema_version",
    "sign",
    "stale",
    "steps",
    "upgrade",
    "waiting",
    "workers",
]
