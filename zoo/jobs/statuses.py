"""The statuses of a job and the transitions between them."""

from __future__ import annotations

STATUSES = ("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost")
TERMINAL = frozenset(STATUSES) - {"queued", "running"}

MOVES = frozenset(
    [("queued", "running"), ("queued", "cancelled"), ("queued", "lost"), ("running", "queued")]
    + [("running", status) for status in sorted(TERMINAL)]
)
"""Every allowed (from, to) pair of statuses; a terminal row never changes."""

MAY_RUN = "status = 'queued' AND held = 0 AND blockers = 0 AND parked = 0"
"""Condition on a row that waits for a worker only. It is the predicate of the partial indexes
`job_claim` and `job_hint`, character for character."""
