"""The statuses of a job, and every move between two of them."""

from __future__ import annotations

STATUSES = ("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost")
TERMINAL = frozenset(STATUSES) - {"queued", "running"}

MOVES = frozenset(
    [("queued", "running"), ("queued", "cancelled"), ("queued", "lost"), ("running", "queued")]
    + [("running", status) for status in sorted(TERMINAL)]
)
"""Every pair of statuses that a job may pass through; terminal rows never change."""

MAY_RUN = "status = 'queued' AND held = 0 AND blockers = 0 AND parked = 0"
"""Of a row that waits for nothing but a worker; word for word as in the indexes `job_claim` and
`job_hint`, which hold no other rows."""
