"""Write jobs to the tracking server: those that have ended and are missing, and running ones."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from zoo import jobs
from zoo.errors import ArtifactError, ZooError
from zoo.jobs import Database, Filter, Job
from zoo.settings import Settings
from zoo.storage import artifacts, job_files
from zoo_mlflow import client, runs
from zoo_mlflow.client import TrackingServer

AT_ONCE = 200
"""Rows per query."""
LATE_SECONDS = 60.0
"""Longest transaction that ends a job."""
MOST = 1000
"""Largest number of running jobs that are followed."""


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
    result, groups = SyncResult(), set[str]()
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
                _write(db, server, settings, job, result)
                groups |= {job.group} if job.group else set()
            report("writing runs", number, total)
        for group in sorted(groups):
            _write_group(db, server, group)
    return result


class Follower:
    """Writes jobs while they run, and those that end meanwhile, unless a worker's hook does."""

    def __init__(self, db: Database, settings: Settings, wanted: Filter) -> None:
        """Follow the jobs that match `wanted`, whatever its statuses."""
        self._db, self._settings, self._wanted = db, settings, wanted
        self._since = jobs.clock(db)
        self._written: dict[str, tuple[Any, ...]] = {}
        """What was last written of each running job."""
        self._open: set[str] = set()
        """Jobs that do not run any more and are not complete yet."""
        self._complete: set[str] = set()

    def poll(self) -> None:
        """Write what has changed since the last call; raises ZooError as `sync` does."""
        with client.translate_errors(self._settings.mlflow):
            server = client.connect(self._settings.mlflow)
            running = self._list(statuses=("running",), sort="created_at")
            for job in running:
                self._write_running(server, job)
            going = {job.id for job in running}
            self._open |= self._written.keys() - going
            self._find_ended()
            for job_id in sorted(self._open - going):
                if self._complete_run(server, job_id):
                    self._open.discard(job_id)
                    self._written.pop(job_id, None)
                    self._complete.add(job_id)

    def follow(self, seconds: float, note: Callable[[str], None]) -> None:
        """Call `poll` every few seconds; note an error when it appears, changes or ends."""
        error = ""
        while True:
            try:
                self.poll()
            except ZooError as found:
                why = str(found)
            else:
                why = ""
            if why != error:
                note(why or "It is written again.")
            error = why
            time.sleep(seconds)

    def _list(self, statuses: tuple[str, ...], sort: str) -> list[Job]:
        wanted = replace(self._wanted, statuses=statuses)
        return jobs.listing(self._db, wanted, sort=sort, limit=MOST)

    def _write_running(self, server: TrackingServer, job: Job) -> None:
        progress = job.progress
        state = (job.attempt, progress.phase, progress.step)
        if self._written.get(job.id) == state:
            return
        is_new = job.id not in self._written
        runs.record_running(server, job.to_json(), jobs.timed_steps(self._db, job.id))
        if is_new and job.group:
            _write_group(self._db, server, job.group)
        self._written[job.id] = state

    def _find_ended(self) -> None:
        """Add the jobs that have ended since the last call, also those never seen running."""
        newest = self._list(statuses=tuple(sorted(jobs.TERMINAL)), sort="-finished_at")
        ended = {job.id: job.finished_at or 0.0 for job in newest}
        self._open |= {id for id, at in ended.items() if at > self._since} - self._complete
        # A transaction that began before another one may be committed after it.
        self._since = max(self._since, *(at - LATE_SECONDS for at in ended.values()), 0.0)

    def _complete_run(self, server: TrackingServer, job_id: str) -> bool:
        """Write a job that has ended, unless its hook is about to; return whether that is done."""
        found = jobs.get_many(self._db, [job_id])
        if not found:
            runs.end(server, job_id)
            return True
        (job,) = found
        if not job.is_terminal or jobs.has_pending_hooks(self._db, job_id):
            return False
        if not runs.is_written(server, job_id):
            _write(self._db, server, self._settings, job, SyncResult())
        if job.group:
            _write_group(self._db, server, job.group)
        return True


def _every(db: Database, wanted: Filter) -> Iterator[Job]:
    start = 0
    # The oldest first, so that jobs submitted meanwhile come last.
    while page := jobs.listing(db, wanted, sort="created_at", limit=AT_ONCE, offset=start):
        yield from page
        start += len(page)


def _write(
    db: Database, server: TrackingServer, settings: Settings, job: Job, result: SyncResult
) -> None:
    with contextlib.ExitStack() as stack:
        files = None
        if job.artifact:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zoo-")))
            try:
                files = _files(settings, job, folder)
            except ArtifactError as error:
                result.without_files[job.id] = str(error)
        runs.record(server, job.to_json(), files, jobs.timed_steps(db, job.id))
    result.written += 1


def _files(settings: Settings, job: Job, into: Path) -> Path:
    """Copy the files of a job into a folder; those of plugins to `extra/`."""
    found = artifacts.get(settings.artifacts, str(job.artifact), str(job.artifact_sha256), into)
    for file in job_files.listing(settings, job).files:
        if file.name.startswith(f"{job_files.EXTRA}/"):
            job_files.copy(settings, file, into / file.name)
    return found


def _write_group(db: Database, server: TrackingServer, group_id: str) -> None:
    """Write a group as far as its jobs have ended."""
    group = jobs.get_group(db, group_id)
    last = max(group.jobs, key=lambda job: job.finished_at or 0.0)
    runs.record_group(server, last.to_json(), group.to_json())
