"""The statuses of a job and the transitions between them."""

from __future__ import annotations

STATUSES = (
    *("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost", "pruned"),
)
TERMINAL = frozenset(STATUSES) - {"queued", "running"}

MOVES = frozenset(
    [("queued", "running"), ("queued", "cancelled"), ("queued", "lost"), ("queued", "pruned")]
    + [("running", "queued")]
    + [("running", status) for status in sorted(TERMINAL)]
)
"""Every allowed (from, to) pair of statuses; a terminal row never changes."""

PAUSED = "status = 'queued' AND paused = 1 AND pause_at IS NOT NULL"
"""Condition on a trial that waits at a rung; the index `job_pause` has such rows."""
NO_FAILURE = ("succeeded", "pruned")
"""A pruned trial has done what its sweep wanted of it."""
LISTED = ("queued", "paused", *STATUSES[1:])
"""The words of listings and counts: a queued trial that waits at a rung is `paused`."""

MAY_RUN = "status = 'queued' AND held = 0 AND blockers = 0 AND parked = 0 AND paused = 0"
"""Condition on a row that waits for a worker only. It is the predicate of the partial indexes
`job_claim` and `job_hint`, character for character."""
