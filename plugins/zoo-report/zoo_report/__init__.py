"""Pictures of jobs, and reports as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zoo
from zoo import settings

# With ZOO_PICTURES=off there is no hook, and a worker starts no process for it.
if settings.load().pictures:

    @zoo.hookimpl
    def job_finished(job: dict[str, Any], files: Path | None, extra: Path) -> None:
        """Draw the pictures of the job."""
        from zoo_report import pictures

        if files is not None:
            pictures.draw_pictures(job, files, extra)
