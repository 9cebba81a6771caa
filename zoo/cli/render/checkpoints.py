"""Checkpoints in words."""

from __future__ import annotations

from zoo.jobs import Job


def resumed_text(job: Job) -> str:
    """Format where the last attempt has gone on; empty if it began anew.

    For example `step 3 of attempt 1; its last bits may differ`.
    """
    found = job.resumed_from
    if not found:
        return ""
    whose = f" of the job {found['job'][:8]}" if found.get("job") else ""
    exact = "" if found.get("exact", True) else "; its last bits may differ"
    return (
        f"{job.progress.unit or 'step'} {found['step']} of attempt {found['attempt']}{whose}{exact}"
    )
