"""The rows: jobs, groups, attempts, logs, workers. The only room that speaks SQL.

`connect` opens the database; `submission` is the submitter's side, `moves` the
worker's; `reads` and `presence` look.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.jobs.bulk_actions import cancel_many as cancel_many
    from zoo.jobs.bulk_actions import ids as ids
    from zoo.jobs.bulk_actions import tag as tag
    from zoo.jobs.claims import Claim as Claim
    from zoo.jobs.claims import End as End
    from zoo.jobs.claims import News as News
    from zoo.jobs.claims import Outcome as Outcome
    from zoo.jobs.database import Database as Database
    from zoo.jobs.database import RowRefused as RowRefused
    from zoo.jobs.estimates import Outlook as Outlook
    from zoo.jobs.estimates import outlook_of as outlook_of
    from zoo.jobs.estimates import outlooks as outlooks
    from zoo.jobs.estimates import usual_seconds as usual_seconds
    from zoo.jobs.fields import NAMES as NAMES
    from zoo.jobs.fields import facts as facts
    from zoo.jobs.filters import EVERY as EVERY
    from zoo.jobs.filters import Filter as Filter
    from zoo.jobs.outbox import ask as ask
    from zoo.jobs.outbox import asked as asked
    from zoo.jobs.outbox import count_overdue as count_overdue
    from zoo.jobs.outbox import is_owed as is_owed
    from zoo.jobs.outbox import is_skipped as is_skipped
    from zoo.jobs.outbox import overdue as overdue
    from zoo.jobs.outbox import renew as renew
    from zoo.jobs.outbox import settle as settle
    from zoo.jobs.outbox import skip as skip
    from zoo.jobs.queries import JobNotFound as JobNotFound
    from zoo.jobs.queries import attempts as attempts
    from zoo.jobs.queries import check_metrics as check_metrics
    from zoo.jobs.queries import clock as clock
    from zoo.jobs.queries import count as count
    from zoo.jobs.queries import counts as counts
    from zoo.jobs.queries import ended_last as ended_last
    from zoo.jobs.queries import equal as equal
    from zoo.jobs.queries import first_waiting as first_waiting
    from zoo.jobs.queries import get as get
    from zoo.jobs.queries import get_group as get_group
    from zoo.jobs.queries import given_back_by as given_back_by
    from zoo.jobs.queries import group_kinds as group_kinds
    from zoo.jobs.queries import group_size as group_size
    from zoo.jobs.queries import has_work as has_work
    from zoo.jobs.queries import listing as listing
    from zoo.jobs.queries import log_after as log_after
    from zoo.jobs.queries import needs as needs
    from zoo.jobs.queries import paused_pools as paused_pools
    from zoo.jobs.queries import pools as pools
    from zoo.jobs.queries import retries as retries
    from zoo.jobs.queries import several as several
    from zoo.jobs.queries import silent as silent
    from zoo.jobs.queries import statuses_of as statuses_of
    from zoo.jobs.queries import steps as steps
    from zoo.jobs.queries import steps_after as steps_after
    from zoo.jobs.queries import waiting as waiting
    from zoo.jobs.queue_overview import Overview as Overview
    from zoo.jobs.queue_overview import overview as overview
    from zoo.jobs.queue_stats import Figures as Figures
    from zoo.jobs.queue_stats import Settled as Settled
    from zoo.jobs.queue_stats import Spread as Spread
    from zoo.jobs.queue_stats import look as look
    from zoo.jobs.ranking import Best as Best
    from zoo.jobs.ranking import best as best
    from zoo.jobs.ranking import newest_contents as newest_contents
    from zoo.jobs.records import Group as Group
    from zoo.jobs.records import Job as Job
    from zoo.jobs.records import Pool as Pool
    from zoo.jobs.records import Waiting as Waiting
    from zoo.jobs.records import Worker as Worker
    from zoo.jobs.records import members as members
    from zoo.jobs.references import find as find
    from zoo.jobs.references import named as named
    from zoo.jobs.scheduling import hold as hold
    from zoo.jobs.scheduling import pause as pause
    from zoo.jobs.scheduling import resume as resume
    from zoo.jobs.scheduling import set_priority as set_priority
    from zoo.jobs.scheduling import unhold as unhold
    from zoo.jobs.schema import SCHEMA as SCHEMA
    from zoo.jobs.schema import connect as connect
    from zoo.jobs.schema import schema_version as schema_version
    from zoo.jobs.schema import upgrade as upgrade
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
    from zoo.jobs.transitions import abandon as abandon
    from zoo.jobs.transitions import beat as beat
    from zoo.jobs.transitions import claim as claim
    from zoo.jobs.transitions import finish as finish
    from zoo.jobs.transitions import finish_all as finish_all
    from zoo.jobs.transitions import reap as reap
    from zoo.jobs.transitions import release as release
    from zoo.jobs.worker_rows import announce as announce
    from zoo.jobs.worker_rows import drain as drain
    from zoo.jobs.worker_rows import sign as sign
    from zoo.jobs.worker_rows import workers as workers

_EXPORTS = {
    "bulk_actions": "cancel_many ids tag",
    "claims": "Claim End News Outcome",
    "database": "Database RowRefused",
    "estimates": "Outlook outlook_of outlooks usual_seconds",
    "fields": "facts NAMES",
    "filters": "EVERY Filter",
    "outbox": "ask asked count_overdue is_owed is_skipped overdue renew settle skip",
    "queries": (
        "attempts check_metrics clock count counts ended_last equal first_waiting get get_group "
        "given_back_by group_kinds group_size has_work JobNotFound listing log_after needs "
        "paused_pools pools retries several silent statuses_of steps steps_after waiting"
    ),
    "queue_overview": "Overview overview",
    "queue_stats": "Figures look Settled Spread",
    "ranking": "Best best newest_contents",
    "records": "Group Job members Pool Waiting Worker",
    "references": "find named",
    "scheduling": "hold pause resume set_priority unhold",
    "schema": "connect SCHEMA schema_version upgrade",
    "statuses": "MOVES STATUSES TERMINAL",
    "submission": "add cancel extend freed Hint retry stale",
    "transitions": "abandon beat claim finish finish_all reap release",
    "worker_rows": "announce drain sign workers",
}
"""The public names of each module, loaded on first use so that a command that only reads does not
import what writes."""
_MODULES = {
    name: f"zoo.jobs.{module}" for module, names in _EXPORTS.items() for name in names.split()
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'zoo.jobs' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)
