"""What takes space, and whether stored artifacts match their hashes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from zoo import jobs
from zoo.data import cache
from zoo.errors import ArtifactError
from zoo.jobs import Database, Job, JobNotFound
from zoo.jobs.records import size_text
from zoo.queue import local_services
from zoo.settings import Settings
from zoo.storage import artifacts
from zoo.terminal_text import counted

SAMPLE = 20
"""Number of jobs whose artifacts are checked, unless all are."""
SAMPLE_SECONDS = 2.0
PAGE = 200
Progress = Callable[[int, int], None]
"""Called with the number of jobs checked, and of all."""


@dataclass
class Checked:
    """The result of a check of artifacts."""

    jobs: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    """Job id -> the error."""


def list_sizes(db: Database, settings: Settings) -> Iterator[str]:
    """Describe what takes space; nothing is walked but the cache and the logs of this machine."""
    stored = jobs.sum_stored(db)
    yield f"database {size_text(jobs.database_bytes(db))} for {counted(stored.jobs, 'job')}"
    least = "at least " if stored.unknown else ""
    yield f"artifacts of {counted(stored.with_files, 'job')} {least}{size_text(stored.bytes)}"
    if waiting := jobs.count_removals(db):
        yield f"files of {counted(waiting, 'removed job')} are still to be deleted"
    yield f"cache {size_text(cache.size(settings.cache))}"
    logs = [each for each in local_services.log_files(settings) if each.exists()]
    yield f"logs {size_text(sum(each.stat().st_size for each in logs))}"


def check_sample(db: Database, settings: Settings) -> Checked:
    """Check the artifacts of some jobs, chosen at random, for at most SAMPLE_SECONDS and one job.

    Raises ArtifactError if the store cannot be read at all.
    """
    found = Checked()
    end = time.monotonic() + SAMPLE_SECONDS
    seen: set[str] = set()
    for _ in range(SAMPLE):
        job = jobs.next_with_files(db, secrets.token_hex(16))
        if job is None or time.monotonic() > end:
            break
        if job.id not in seen:
            seen.add(job.id)
            _check(db, settings, job, found)
    return found


def check_all(db: Database, settings: Settings, progress: Progress) -> Checked:
    """Check the artifacts of all jobs against their manifests."""
    found = Checked()
    total, after = jobs.sum_stored(db).with_files, 0
    while page := jobs.list_with_files(db, after, PAGE):
        for job in page:
            _check(db, settings, job, found)
            progress(found.jobs, total)
        after = page[-1].seq
    return found


def _check(db: Database, settings: Settings, job: Job, found: Checked) -> None:
    found.jobs += 1
    url = settings.artifacts
    try:
        where, sha256 = job.stored_artifact()
        artifacts.check_files(url, where, sha256, artifacts.files(url, where, sha256))
    except ArtifactError as error:
        try:
            is_there = jobs.get(db, job.id).artifact == job.artifact
        except JobNotFound:  # it was removed meanwhile
            return
        if is_there:
            found.damaged[job.id] = error.message
