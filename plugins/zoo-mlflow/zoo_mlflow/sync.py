"""Past jobs, brought into the tracking server: those that it missed, or has not heard of."""

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
from zoo_mlflow.client import Tracking

AT_ONCE = 200
"""Rows read together."""


@dataclass
class Done:
    """What a synchronisation has done."""

    written: int = 0
    there: int = 0
    """Were written before."""
    going: int = 0
    """Have not ended."""
    without_files: dict[str, str] = field(default_factory=dict)
    """Jobs whose files are gone or damaged, each with the reason."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def sync(
    db: Database,
    settings: Settings,
    wanted: Filter,
    tell: Callable[[str, int, int], None] = lambda *_: None,
    *,
    again: bool = False,
) -> Done:
    """Write the jobs that are meant and have ended, the oldest first.

    A job that is there is left alone, unless it is to be written `again`: then its tags are. Raises
    ZooError if the server cannot be reached; what was written stays.
    """
    done, groups = Done(), dict[str, Job]()
    total = jobs.count(db, wanted)
    with client.errors(settings.mlflow):
        to = client.connect(settings.mlflow)
        known = set() if again else runs.written(to)
        for number, job in enumerate(_every(db, wanted), 1):
            if not job.is_terminal:
                done.going += 1
            elif job.id in known:
                done.there += 1
            else:
                _write(to, settings, job, done)
                groups |= {job.group: _later(job, groups.get(job.group))} if job.group else {}
            tell("writing runs", number, total)
        for group, job in groups.items():
            _write_group(db, to, group, job)
    return done


def _later(job: Job, other: Job | None) -> Job:
    return job if other is None or (job.finished_at or 0) >= (other.finished_at or 0) else other


def _every(db: Database, wanted: Filter) -> Iterator[Job]:
    start = 0
    # The oldest first: what is submitted meanwhile comes behind.
    while page := jobs.listing(db, wanted, sort="created_at", limit=AT_ONCE, offset=start):
        yield from page
        start += len(page)


def _write(to: Tracking, settings: Settings, job: Job, done: Done) -> None:
    with contextlib.ExitStack() as stack:
        files = None
        if job.artifact:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zoo-")))
            try:
                files = _files(settings, job, folder)
            except ArtifactError as error:
                done.without_files[job.id] = str(error)
        runs.record(to, job.to_json(), files)
    done.written += 1


def _files(settings: Settings, job: Job, into: Path) -> Path:
    return artifacts.get(settings.artifacts, str(job.artifact), str(job.artifact_sha256), into)


def _write_group(db: Database, to: Tracking, group_id: str, job: Job) -> None:
    group = jobs.get_group(db, group_id)
    if group.is_terminal:
        runs.record_group(to, job.to_json(), group.to_json())
