"""Rows of jobs, groups, attempts, logs and workers; the only package with SQL.

`connect` opens the database. `submission` has the submitter's changes, `transitions` the worker's;
`queries` and `worker_rows` read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.jobs.bulk_actions import cancel_many as cancel_many
    from zoo.jobs.bulk_actions import list_ids as list_ids
    from zoo.jobs.bulk_actions import other_owners as other_owners
    from zoo.jobs.bulk_actions import set_note as set_note
    from zoo.jobs.bulk_actions import tag as tag
    from zoo.jobs.carried_rows import CarriedGroup as CarriedGroup
    from zoo.jobs.carried_rows import CarriedJob as CarriedJob
    from zoo.jobs.carried_rows import DatasetRow as DatasetRow
    from zoo.jobs.carried_rows import find_present as find_present
    from zoo.jobs.carried_rows import insert_carried as insert_carried
    from zoo.jobs.carried_rows import read_carried as read_carried
    from zoo.jobs.carried_rows import read_dataset_rows as read_dataset_rows
    from zoo.jobs.carried_rows import read_groups as read_groups
    from zoo.jobs.carried_rows import split_ended as split_ended
    from zoo.jobs.claims import AttemptEnd as AttemptEnd
    from zoo.jobs.claims import Claim as Claim
    from zoo.jobs.claims import Outcome as Outcome
    from zoo.jobs.claims import ProgressUpdate as ProgressUpdate
    from zoo.jobs.claims import Requests as Requests
    from zoo.jobs.compaction import compact as compact
    from zoo.jobs.compaction import free_bytes as free_bytes
    from zoo.jobs.database import Database as Database
    from zoo.jobs.database import RowRefused as RowRefused
    from zoo.jobs.dataset_rows import DatasetUsers as DatasetUsers
    from zoo.jobs.dataset_rows import DatasetVersion as DatasetVersion
    from zoo.jobs.dataset_rows import NewDataset as NewDataset
    from zoo.jobs.dataset_rows import add_dataset as add_dataset
    from zoo.jobs.dataset_rows import begin_upload as begin_upload
    from zoo.jobs.dataset_rows import carried_version as carried_version
    from zoo.jobs.dataset_rows import count_users as count_users
    from zoo.jobs.dataset_rows import find_contents as find_contents
    from zoo.jobs.dataset_rows import find_dataset as find_dataset
    from zoo.jobs.dataset_rows import forget_dataset as forget_dataset
    from zoo.jobs.dataset_rows import insert_carried_dataset as insert_carried_dataset
    from zoo.jobs.dataset_rows import list_contents as list_contents
    from zoo.jobs.dataset_rows import list_dataset_names as list_dataset_names
    from zoo.jobs.dataset_rows import list_datasets as list_datasets
    from zoo.jobs.dataset_rows import list_forgettable as list_forgettable
    from zoo.jobs.dataset_rows import remove_contents as remove_contents
    from zoo.jobs.dataset_rows import remove_datasets as remove_datasets
    from zoo.jobs.dataset_rows import remove_interrupted_uploads as remove_interrupted_uploads
    from zoo.jobs.estimates import Estimate as Estimate
    from zoo.jobs.estimates import estimate_job as estimate_job
    from zoo.jobs.estimates import estimate_many as estimate_many
    from zoo.jobs.estimates import estimate_running as estimate_running
    from zoo.jobs.estimates import usual_seconds as usual_seconds
    from zoo.jobs.fields import FIELD_NAMES as FIELD_NAMES
    from zoo.jobs.fields import field_values as field_values
    from zoo.jobs.filters import ALL_JOBS as ALL_JOBS
    from zoo.jobs.filters import Filter as Filter
    from zoo.jobs.groups import Group as Group
    from zoo.jobs.groups import members as members
    from zoo.jobs.metric_rows import list_ranking_metrics as list_ranking_metrics
    from zoo.jobs.outbox import FailedHook as FailedHook
    from zoo.jobs.outbox import HookError as HookError
    from zoo.jobs.outbox import HookTurn as HookTurn
    from zoo.jobs.outbox import begin_hooks as begin_hooks
    from zoo.jobs.outbox import complete_hooks as complete_hooks
    from zoo.jobs.outbox import count_hooks as count_hooks
    from zoo.jobs.outbox import count_overdue_hooks as count_overdue_hooks
    from zoo.jobs.outbox import failed_hooks as failed_hooks
    from zoo.jobs.outbox import has_pending_hooks as has_pending_hooks
    from zoo.jobs.outbox import has_skipped_hooks as has_skipped_hooks
    from zoo.jobs.outbox import hook_errors as hook_errors
    from zoo.jobs.outbox import leave_only_files as leave_only_files
    from zoo.jobs.outbox import record_hook_errors as record_hook_errors
    from zoo.jobs.outbox import request_hooks as request_hooks
    from zoo.jobs.outbox import skip_hooks as skip_hooks
    from zoo.jobs.outbox import take_overdue_hooks as take_overdue_hooks
    from zoo.jobs.outbox import take_requested_hooks as take_requested_hooks
    from zoo.jobs.pruning import Pruner as Pruner
    from zoo.jobs.pruning import RungEntry as RungEntry
    from zoo.jobs.pruning import list_rungs as list_rungs
    from zoo.jobs.queries import JobNotFound as JobNotFound
    from zoo.jobs.queries import attempts as attempts
    from zoo.jobs.queries import check_metrics as check_metrics
    from zoo.jobs.queries import clock as clock
    from zoo.jobs.queries import count as count
    from zoo.jobs.queries import counts as counts
    from zoo.jobs.queries import ended_last as ended_last
    from zoo.jobs.queries import first_waiting as first_waiting
    from zoo.jobs.queries import get as get
    from zoo.jobs.queries import get_group as get_group
    from zoo.jobs.queries import get_many as get_many
    from zoo.jobs.queries import given_back_by as given_back_by
    from zoo.jobs.queries import group_kinds as group_kinds
    from zoo.jobs.queries import group_objective as group_objective
    from zoo.jobs.queries import group_size as group_size
    from zoo.jobs.queries import has_work as has_work
    from zoo.jobs.queries import list_by_fingerprint as list_by_fingerprint
    from zoo.jobs.queries import list_silent as list_silent
    from zoo.jobs.queries import listing as listing
    from zoo.jobs.queries import log_after as log_after
    from zoo.jobs.queries import open_dependencies as open_dependencies
    from zoo.jobs.queries import paused_pools as paused_pools
    from zoo.jobs.queries import pools as pools
    from zoo.jobs.queries import retries as retries
    from zoo.jobs.queries import statuses_of as statuses_of
    from zoo.jobs.queries import steps as steps
    from zoo.jobs.queries import steps_after as steps_after
    from zoo.jobs.queries import timed_steps as timed_steps
    from zoo.jobs.queries import waiting as waiting
    from zoo.jobs.queue_options import QueueOptions as QueueOptions
    from zoo.jobs.queue_overview import Overview as Overview
    from zoo.jobs.queue_overview import overview as overview
    from zoo.jobs.queue_stats import Baseline as Baseline
    from zoo.jobs.queue_stats import Histogram as Histogram
    from zoo.jobs.queue_stats import QueueStats as QueueStats
    from zoo.jobs.queue_stats import collect_stats as collect_stats
    from zoo.jobs.ranking import Best as Best
    from zoo.jobs.ranking import best as best
    from zoo.jobs.ranking import dataset_objective as dataset_objective
    from zoo.jobs.ranking import newest_contents as newest_contents
    from zoo.jobs.ranking import shown_objectives as shown_objectives
    from zoo.jobs.records import AttemptRecord as AttemptRecord
    from zoo.jobs.records import Job as Job
    from zoo.jobs.records import Progress as Progress
    from zoo.jobs.references import find_by_metric as find_by_metric
    from zoo.jobs.references import find_jobs as find_jobs
    from zoo.jobs.references import find_reference as find_reference
    from zoo.jobs.references import find_training as find_training
    from zoo.jobs.references import found_text as found_text
    from zoo.jobs.removal import Removed as Removed
    from zoo.jobs.removal import check_removal as check_removal
    from zoo.jobs.removal import complete_removals as complete_removals
    from zoo.jobs.removal import count_removals as count_removals
    from zoo.jobs.removal import list_old_checkpoints as list_old_checkpoints
    from zoo.jobs.removal import list_removals as list_removals
    from zoo.jobs.removal import pin as pin
    from zoo.jobs.removal import postpone_removals as postpone_removals
    from zoo.jobs.removal import remove_checkpoint as remove_checkpoint
    from zoo.jobs.removal import remove_jobs as remove_jobs
    from zoo.jobs.removal import sum_bytes as sum_bytes
    from zoo.jobs.retention import Retention as Retention
    from zoo.jobs.scheduling import hold as hold
    from zoo.jobs.scheduling import next_models as next_models
    from zoo.jobs.scheduling import pause as pause
    from zoo.jobs.scheduling import resume as resume
    from zoo.jobs.scheduling import set_priority as set_priority
    from zoo.jobs.scheduling import unhold as unhold
    from zoo.jobs.schema import SCHEMA as SCHEMA
    from zoo.jobs.schema import connect as connect
    from zoo.jobs.schema import schema_version as schema_version
    from zoo.jobs.schema import upgrade as upgrade
    from zoo.jobs.snapshot import Stored as Stored
    from zoo.jobs.snapshot import check_database as check_database
    from zoo.jobs.snapshot import copy_database as copy_database
    from zoo.jobs.snapshot import count_rows as count_rows
    from zoo.jobs.snapshot import list_ended_ids as list_ended_ids
    from zoo.jobs.snapshot import list_stored as list_stored
    from zoo.jobs.snapshot import opened as opened
    from zoo.jobs.statuses import LISTED as LISTED
    from zoo.jobs.statuses import MOVES as MOVES
    from zoo.jobs.statuses import NO_FAILURE as NO_FAILURE
    from zoo.jobs.statuses import STATUSES as STATUSES
    from zoo.jobs.statuses import TERMINAL as TERMINAL
    from zoo.jobs.stored_files import StoredJob as StoredJob
    from zoo.jobs.stored_files import StoredTotals as StoredTotals
    from zoo.jobs.stored_files import database_bytes as database_bytes
    from zoo.jobs.stored_files import list_with_files as list_with_files
    from zoo.jobs.stored_files import next_with_files as next_with_files
    from zoo.jobs.stored_files import stored_jobs as stored_jobs
    from zoo.jobs.stored_files import sum_stored as sum_stored
    from zoo.jobs.submission import Hint as Hint
    from zoo.jobs.submission import add as add
    from zoo.jobs.submission import cancel as cancel
    from zoo.jobs.submission import complete_sweep as complete_sweep
    from zoo.jobs.submission import expire_hint as expire_hint
    from zoo.jobs.submission import extend as extend
    from zoo.jobs.submission import request_stop as request_stop
    from zoo.jobs.submission import retry as retry
    from zoo.jobs.submission import take_due_hints as take_due_hints
    from zoo.jobs.submission import take_stale_hints as take_stale_hints
    from zoo.jobs.transitions import CHECKPOINTS as CHECKPOINTS
    from zoo.jobs.transitions import beat as beat
    from zoo.jobs.transitions import checkpoint_path as checkpoint_path
    from zoo.jobs.transitions import claim as claim
    from zoo.jobs.transitions import expire_leases as expire_leases
    from zoo.jobs.transitions import finish as finish
    from zoo.jobs.transitions import finish_all as finish_all
    from zoo.jobs.transitions import pause_trial as pause_trial
    from zoo.jobs.transitions import reap as reap
    from zoo.jobs.transitions import release as release
    from zoo.jobs.transitions import save_checkpoint as save_checkpoint
    from zoo.jobs.worker_records import Pool as Pool
    from zoo.jobs.worker_records import Waiting as Waiting
    from zoo.jobs.worker_records import Worker as Worker
    from zoo.jobs.worker_rows import NewWorker as NewWorker
    from zoo.jobs.worker_rows import count_worker_states as count_worker_states
    from zoo.jobs.worker_rows import delete_forgotten as delete_forgotten
    from zoo.jobs.worker_rows import drain as drain
    from zoo.jobs.worker_rows import find_worker as find_worker
    from zoo.jobs.worker_rows import list_forgotten as list_forgotten
    from zoo.jobs.worker_rows import record_heartbeat as record_heartbeat
    from zoo.jobs.worker_rows import register_worker as register_worker
    from zoo.jobs.worker_rows import rename_if_taken as rename_if_taken
    from zoo.jobs.worker_rows import workers as workers

_EXPORTS = {
    "bulk_actions": "cancel_many list_ids other_owners set_note tag",
    "carried_rows": (
        "CarriedGroup CarriedJob DatasetRow find_present insert_carried read_carried "
        "read_dataset_rows read_groups split_ended"
    ),
    "claims": "AttemptEnd Claim Outcome ProgressUpdate Requests",
    "compaction": "compact free_bytes",
    "database": "Database RowRefused",
    "dataset_rows": (
        "add_dataset count_users DatasetVersion find_contents find_dataset list_dataset_names "
        "list_datasets NewDataset remove_datasets DatasetUsers begin_upload "
        "remove_interrupted_uploads forget_dataset list_contents list_forgettable remove_contents "
        "carried_version insert_carried_dataset"
    ),
    "estimates": "Estimate estimate_job estimate_many estimate_running usual_seconds",
    "fields": "FIELD_NAMES field_values",
    "filters": "ALL_JOBS Filter",
    "groups": "Group members",
    "outbox": (
        "begin_hooks complete_hooks count_hooks count_overdue_hooks FailedHook failed_hooks "
        "has_pending_hooks has_skipped_hooks hook_errors HookError HookTurn leave_only_files "
        "record_hook_errors request_hooks skip_hooks take_overdue_hooks take_requested_hooks"
    ),
    "pruning": "list_rungs Pruner RungEntry",
    "queries": (
        "attempts check_metrics clock count counts ended_last first_waiting get get_group "
        "get_many given_back_by group_kinds group_objective group_size has_work JobNotFound "
        "list_by_fingerprint list_silent listing log_after open_dependencies paused_pools pools "
        "retries statuses_of steps steps_after timed_steps waiting"
    ),
    "queue_options": "QueueOptions",
    "queue_overview": "Overview overview",
    "queue_stats": "Baseline collect_stats Histogram QueueStats",
    "metric_rows": "list_ranking_metrics",
    "ranking": "Best best dataset_objective newest_contents shown_objectives",
    "records": "AttemptRecord Job Progress",
    "references": "find_by_metric find_jobs find_reference find_training found_text",
    "removal": (
        "check_removal complete_removals count_removals list_removals pin postpone_removals "
        "remove_jobs Removed sum_bytes list_old_checkpoints remove_checkpoint"
    ),
    "retention": "Retention",
    "scheduling": "hold next_models pause resume set_priority unhold",
    "schema": "connect SCHEMA schema_version upgrade",
    "snapshot": (
        "check_database copy_database count_rows list_ended_ids list_stored opened Stored"
    ),
    "statuses": "LISTED MOVES NO_FAILURE STATUSES TERMINAL",
    "stored_files": (
        "database_bytes list_with_files next_with_files stored_jobs StoredJob StoredTotals "
        "sum_stored"
    ),
    "submission": (
        "add cancel complete_sweep expire_hint extend Hint request_stop retry take_due_hints "
        "take_stale_hints"
    ),
    "transitions": (
        "beat checkpoint_path CHECKPOINTS claim expire_leases finish finish_all pause_trial reap "
        "release save_checkpoint"
    ),
    "worker_records": "Pool Waiting Worker",
    "worker_rows": (
        "count_worker_states delete_forgotten drain find_worker list_forgotten NewWorker "
        "record_heartbeat register_worker rename_if_taken workers"
    ),
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
