"""Checkpoints in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.jobs import Job


def step_text(checkpoint: Mapping[str, Any]) -> str:
    """Format the step of a checkpoint: `epoch 3/10`."""
    total = checkpoint.get("total")
    of = f"/{total}" if total else ""
    return f"{checkpoint.get('unit') or 'step'} {checkpoint['step']}{of}"


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
