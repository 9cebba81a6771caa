"""The pictures of a job for its run, drawn by zoo-report if that is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo import settings
from zoo.storage.job_files import EXTRA


@contextlib.contextmanager
def drawn(job: Mapping[str, Any], files: Path) -> Iterator[Path]:
    """Yield a folder with the pictures at `extra/report/`, as `zoo files` lists them.

    It is empty if the job has not succeeded, without zoo-report, or with ZOO_PICTURES=off. The hook
    of zoo-report may be called later than that of this plugin, or be skipped: so they are drawn.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-") as made:
        folder = Path(made)
        is_wanted = job["status"] == "succeeded" and settings.load().pictures
        if is_wanted and importlib.util.find_spec("zoo_report"):
            from zoo_report import pictures

            place = folder / EXTRA / "report"
            place.mkdir(parents=True)
            pictures.draw_pictures(dict(job), files, place)
        yield folder
