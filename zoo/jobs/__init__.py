"""The rows: jobs, groups, attempts, logs, workers. The only room that speaks SQL.

`connect` opens the database; `submission` is the submitter's side, `moves` the
worker's; `reads` and `presence` look.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.jobs.bulk import group_size as group_size
    from zoo.jobs.bulk import several as several
    from zoo.jobs.bulk import statuses_of as statuses_of
    from zoo.jobs.claims import Claim as Claim
    from zoo.jobs.claims import End as End
    from zoo.jobs.claims import News as News
    from zoo.jobs.claims import Outcome as Outcome
    from zoo.jobs.database import Database as Database
    from zoo.jobs.database import RowRefused as RowRefused
    from zoo.jobs.figures import Figures as Figures
    from zoo.jobs.figures import Settled as Settled
    from zoo.jobs.figures import Spread as Spread
    from zoo.jobs.figures import look as look
    from zoo.jobs.filters import EVERY as EVERY
    from zoo.jobs.filters import Filter as Filter
    from zoo.jobs.gates import hold as hold
    from zoo.jobs.gates import pause as pause
    from zoo.jobs.gates import resume as resume
    from zoo.jobs.gates import set_priority as set_priority
    from zoo.jobs.gates import unhold as unhold
    from zoo.jobs.glance import Overview as Overview
    from zoo.jobs.glance import overview as overview
    from zoo.jobs.line import usual_seconds as usual_seconds
    from zoo.jobs.moves import beat as beat
    from zoo.jobs.moves import claim as claim
    from zoo.jobs.moves import finish as finish
    from zoo.jobs.moves import finish_all as finish_all
    from zoo.jobs.moves import release as release
    from zoo.jobs.names import NAMES as NAMES
    from zoo.jobs.names import facts as facts
    from zoo.jobs.outbox import ask as ask
    from zoo.jobs.outbox import asked as asked
    from zoo.jobs.outbox import count_overdue as count_overdue
    from zoo.jobs.outbox import is_owed as is_owed
    from zoo.jobs.outbox import is_skipped as is_skipped
    from zoo.jobs.outbox import overdue as overdue
    from zoo.jobs.outbox import renew as renew
    from zoo.jobs.outbox import settle as settle
    from zoo.jobs.outbox import skip as skip
    from zoo.jobs.outlook import Outlook as Outlook
    from zoo.jobs.outlook import outlook_of as outlook_of
    from zoo.jobs.outlook import outlooks as outlooks
    from zoo.jobs.presence import announce as announce
    from zoo.jobs.presence import drain as drain
    from zoo.jobs.presence import sign as sign
    from zoo.jobs.presence import workers as workers
    from zoo.jobs.ranking import Best as Best
    from zoo.jobs.ranking import best as best
    from zoo.jobs.ranking import newest_contents as newest_contents
    from zoo.jobs.reads import JobNotFound as JobNotFound
    from zoo.jobs.reads import attempts as attempts
    from zoo.jobs.reads import check_metrics as check_metrics
    from zoo.jobs.reads import clock as clock
    from zoo.jobs.reads import count as count
    from zoo.jobs.reads import counts as counts
    from zoo.jobs.reads import ended_last as ended_last
    from zoo.jobs.reads import equal as equal
    from zoo.jobs.reads import first_waiting as first_waiting
    from zoo.jobs.reads import get as get
    from zoo.jobs.reads import get_group as get_group
    from zoo.jobs.reads import given_back_by as given_back_by
    from zoo.jobs.reads import group_kinds as group_kinds
    from zoo.jobs.reads import has_work as has_work
    from zoo.jobs.reads import listing as listing
    from zoo.jobs.reads import log_after as log_after
    from zoo.jobs.reads import needs as needs
    from zoo.jobs.reads import paused_pools as paused_pools
    from zoo.jobs.reads import pools as pools
    from zoo.jobs.reads import retries as retries
    from zoo.jobs.reads import silent as silent
    from zoo.jobs.reads import steps as steps
    from zoo.jobs.reads import steps_after as steps_after
    from zoo.jobs.reads import waiting as waiting
    from zoo.jobs.reaping import abandon as abandon
    from zoo.jobs.reaping import reap as reap
    from zoo.jobs.records import Group as Group
    from zoo.jobs.records import Job as Job
    from zoo.jobs.records import Pool as Pool
    from zoo.jobs.records import Waiting as Waiting
    from zoo.jobs.records import Worker as Worker
    from zoo.jobs.records import members as members
    from zoo.jobs.references import find as find
    from zoo.jobs.references import named as named
    from zoo.jobs.schema import SCHEMA as SCHEMA
    from zoo.jobs.schema import connect as connect
    from zoo.jobs.schema import schema_version as schema_version
    from zoo.jobs.schema import upgrade as upgrade
    from zoo.jobs.selection import cancel_many as cancel_many
    from zoo.jobs.selection import ids as ids
    from zoo.jobs.selection import tag as tag
    from zoo.jobs.statuses import MOVES as MOVES
    from zoo.jobs.statuses import STATUSES as STATUSES
    from zoo.jobs.statuses import TERMINAL as TERMINAL
    from zoo.jobs.submission import Hint as Hint
    from zoo.jobs.submission import add as add
    from zoo.jobs.submission import cancel as cancel
    from zoo.jobs.submission import extend as extend
    from zoo.jobs.submission import freed as freed
    from zoo.jobs.submission import retry as retry
    from zoo.jobs.submission import stale as stale

_ROOMS = {
    "bulk": ("group_size", "several", "statuses_of"),
    "claims": ("Claim", "End", "News", "Outcome"),
    "database": ("Database", "RowRefused"),
    "figures": ("Figures", "Settled", "Spread", "look"),
    "filters": ("EVERY", "Filter"),
    "gates": ("hold", "pause", "resume", "set_priority", "unhold"),
    "names": ("NAMES", "facts"),
    "moves": ("beat", "claim", "finish", "finish_all", "release"),
    "outbox": (
        *("ask", "asked", "count_overdue", "is_owed", "is_skipped", "overdue", "renew", "settle"),
        "skip",
    ),
    "outlook": ("Outlook", "outlook_of", "outlooks"),
    "glance": ("Overview", "overview"),
    "line": ("usual_seconds",),
    "presence": ("announce", "drain", "sign", "workers"),
    "ranking": ("Best", "best", "newest_contents"),
    "reads": (
        "JobNotFound",
        *("attempts", "check_metrics", "clock", "count", "counts", "ended_last", "equal"),
        *("get", "get_group", "given_back_by", "group_kinds", "listing", "log_after", "has_work"),
        *(
            "first_waiting",
            "needs",
            "paused_pools",
            "pools",
            "retries",
            "silent",
            "steps",
            "steps_after",
            "waiting",
        ),
    ),
    "reaping": ("abandon", "reap"),
    "records": ("Group", "Job", "Pool", "Waiting", "Worker", "members"),
    "references": ("find", "named"),
    "schema": ("SCHEMA", "connect", "schema_version", "upgrade"),
    "selection": ("cancel_many", "ids", "tag"),
    "statuses": ("MOVES", "STATUSES", "TERMINAL"),
    "submission": ("Hint", "add", "cancel", "extend", "freed", "retry", "stale"),
}
# Loaded on first use, so that a command which only looks does not wait for what writes.
_PLACES = {name: f"zoo.jobs.{room}" for room, names in _ROOMS.items() for name in names}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'zoo.jobs' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)
