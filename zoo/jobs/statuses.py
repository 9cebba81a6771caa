"""The statuses of a job, and every move between two of them."""

from __future__ import annotations

STATUSES = ("queued", "running", "succeeded", "failed", "timed_out", "cancelled", "lost")
TERMINAL = frozenset(STATUSES) - {"queued", "running"}

MOVES = frozenset(
    [("queued", "running"), ("queued", "cancelled"), ("queued", "lost"), ("running", "queued")]
    + [("running", status) for status in sorted(TERMINAL)]
)
"""Every pair of statuses that a job may pass through; terminal rows never change."""
