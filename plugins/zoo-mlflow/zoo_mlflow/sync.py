"""Write finished jobs to the tracking server that it does not have yet."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zoo import jobs
from zoo.errors import ArtifactError
from zoo.jobs import Database, Filter, Job
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo_mlflow import client, runs
from zoo_mlflow.client import TrackingServer

AT_ONCE = 200
"""Rows per query."""


@dataclass
class SyncResult:
    """The counts of a synchronisation."""

    written: int = 0
    there: int = 0
    """Were complete before."""
    going: int = 0
    """Have not ended yet."""
    without_files: dict[str, str] = field(default_factory=dict)
    """Jobs whose files are missing or damaged, with the reason."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def sync(
    db: Database,
    settings: Settings,
    wanted: Filter,
    report: Callable[[str, int, int], None] = lambda *_: None,
    *,
    again: bool = False,
) -> SyncResult:
    """Write the selected jobs that have ended, the oldest first.

    Jobs that are complete are skipped; with `again` their tags are updated. Raises ZooError if the
    server cannot be reached; runs written before that stay.
    """
    result, groups = SyncResult(), dict[str, Job]()
    total = jobs.count(db, wanted)
    with client.translate_errors(settings.mlflow):
        server = client.connect(settings.mlflow)
        known = set() if again else runs.written(server)
        for number, job in enumerate(_every(db, wanted), 1):
            if not job.is_terminal:
                result.going += 1
            elif job.id in known:
                result.there += 1
            else:
                _write(server, settings, job, result)
                groups |= {job.group: _later(job, groups.get(job.group))} if job.group else {}
            report("writing runs", number, total)
        for group, job in groups.items():
            _write_group(db, server, group, job)
    return result


def _later(job: Job, other: Job | None) -> Job:
    return job if other is None or (job.finished_at or 0) >= (other.finished_at or 0) else other


def _every(db: Database, wanted: Filter) -> Iterator[Job]:
    start = 0
    # The oldest first, so that jobs submitted meanwhile come last.
    while page := jobs.listing(db, wanted, sort="created_at", limit=AT_ONCE, offset=start):
        yield from page
        start += len(page)


def _write(server: TrackingServer, settings: Settings, job: Job, result: SyncResult) -> None:
    with contextlib.ExitStack() as stack:
        files = None
        if job.artifact:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zoo-")))
            try:
                files = _files(settings, job, folder)
            except ArtifactError as error:
                result.without_files[job.id] = str(error)
        runs.record(server, job.to_json(), files)
    result.written += 1


def _files(settings: Settings, job: Job, into: Path) -> Path:
    return artifacts.get(settings.artifacts, str(job.artifact), str(job.artifact_sha256), into)


def _write_group(db: Database, server: TrackingServer, group_id: str, job: Job) -> None:
    group = jobs.get_group(db, group_id)
    if group.is_terminal:
        runs.record_group(server, job.to_json(), group.to_json())
