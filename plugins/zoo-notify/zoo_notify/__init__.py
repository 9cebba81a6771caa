"""Notify people of jobs that have ended, as set by ZOO_NOTIFY."""

from __future__ import annotations

from typing import Any

import zoo
from zoo import settings

# Without the setting there is no hook, and a worker starts no process for it.
if settings.load().notify:

    @zoo.hookimpl
    def job_finished(job: dict[str, Any]) -> None:
        """Send a notification about the job."""
        from zoo_notify import senders

        senders.send(settings.load().notify, job)
