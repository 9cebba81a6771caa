"""Handles of a job or group in a notebook: read its state, wait for it, cancel it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import zoo.notebook.arguments as arguments
import zoo.notebook.curves as curves
import zoo.notebook.frames as frames
import zoo.notebook.html as html
import zoo.notebook.removal as removal
import zoo.notebook.trained_model as trained_model
from zoo import jobs as rows
from zoo.errors import UsageError, ZooError
from zoo.jobs import Database
from zoo.jobs.labels import check_note
from zoo.notebook.connection import connect
from zoo.notebook.live_display import current_cell, print_note
from zoo.notebook.waiting import follow, hint_on_interrupt
from zoo.queue import stopping, submit
from zoo.queue.waiting import wait_for_files
from zoo.settings import Settings
from zoo.storage import job_files
from zoo.sweeps.driver import make_driver
from zoo.terminal_text import JobLogReader

if TYPE_CHECKING:
    from pandas import DataFrame


class Handle:
    """What a job and a group share; every attribute is read again from the database."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.worker: subprocess.Popen[bytes] | None = None
        """The local worker, if this submission started it."""
        self._shown_in: int | None = None
        """The cell of the notebook that has shown its progress."""

    def __dir__(self) -> list[str]:
        """Return the public names, so that a notebook completes these alone."""
        return [name for name in super().__dir__() if not name.startswith("_")]

    @property
    def row(self) -> rows.Job | rows.Group:
        """The database record."""
        with connect() as (db, _):
            return rows.find_reference(db, self.id)

    @property
    def status(self) -> str:
        """The status of the job, or of the group as a whole."""
        return self.row.status

    @property
    def created_at(self) -> datetime:
        """The time of the submission, UTC."""
        return _time(self.row.created_at)

    def to_dict(self) -> dict[str, Any]:
        """Return what `zoo show --json` prints."""
        return self.row.to_json()

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until every job has ended.

        An interrupt ends the waiting, not the jobs.

        Args:
            timeout: Seconds after which to stop waiting; by default there is no limit.

        Returns:
            This handle.

        Raises:
            ZooError: If a job did not succeed, the local worker does not start, or the timeout
                has passed.
        """
        with hint_on_interrupt(self.id):
            return self.wait_without_hint(timeout)

    def wait_without_hint(self, timeout: float | None = None) -> Self:
        """Wait as `wait` does; the caller prints how to return after an interrupt."""
        with connect() as (db, chosen):
            ids = [job.id for job in rows.members(rows.find_reference(db, self.id))]
            self._shown_in = current_cell()
            ids = follow(db, chosen, ids, self.worker, timeout, self._more_trials(db, chosen))
            ended = rows.get_many(db, ids)
        bad = [job for job in ended if job.status not in rows.NO_FAILURE]
        if bad:
            raise _failure(bad, len(ended))
        return self

    def _more_trials(self, db: Database, chosen: Settings) -> Callable[[], Sequence[str]]:
        """Return what submits further jobs while this waits: of a job nothing does."""
        return lambda: ()

    def tag(self, *tags: str, remove: arguments.Strings = None) -> Self:
        """Add tags to its jobs, remove others, and return this handle."""
        with connect() as (db, _):
            ids = [job.id for job in rows.members(rows.find_reference(db, self.id))]
            rows.tag(db, ids, *arguments.tags(tags, remove))
        return self

    def set_note(self, text: str) -> Self:
        """Set the note of its jobs, or remove it with an empty text; return this handle.

        Raises UsageError for control characters or a text that is too long.
        """
        with connect() as (db, _):
            ids = [job.id for job in rows.members(rows.find_reference(db, self.id))]
            rows.set_note(db, ids, check_note(text))
        return self

    def cancel(self) -> Self:
        """Cancel queued jobs at once, running ones at their next heartbeat; return this handle."""
        with connect() as (db, _):
            rows.cancel_many(db, [job.id for job in rows.members(rows.find_reference(db, self.id))])
        return self

    def stop(self) -> Self:
        """End running trainings after their next report, with what they have learned so far.

        Returns:
            This handle.

        Raises:
            UsageError: If nothing runs, or the model can predict nothing before its training has
                ended.
        """
        with connect() as (db, _):
            ids = [job.id for job in rows.members(rows.find_reference(db, self.id))]
            if refusal := stopping.request_stops(db, ids).first_refusal():
                raise refusal
        return self

    def pin(self) -> Self:
        """Protect its jobs from removal, and return this handle."""
        return self._pin(True)

    def unpin(self) -> Self:
        """Unpin its jobs, so that they may be removed again, and return this handle."""
        return self._pin(False)

    def _pin(self, pinned: bool) -> Self:
        with connect() as (db, _):
            removal.pin(db, removal.select(db, [self.id], {}), pinned=pinned)
        return self

    def remove(self, *, keep_metrics: bool = False) -> None:
        """Remove its jobs, which have ended, with their files, logs and metrics.

        Args:
            keep_metrics: Remove the files alone; rows and metrics stay.

        Raises:
            UsageError: If one has not ended, is pinned or is needed by others: then all stay.
        """
        with connect() as (db, chosen):
            ids = removal.select(db, [self.id], {})
            removal.remove(db, chosen, ids, keep_metrics=keep_metrics, named=True)

    def _submit_again(self, ids: list[str], resume: bool, exact: bool) -> list[str]:
        """Retry jobs and return the new ids, see `JobHandle.retry`."""
        if exact and not resume:
            raise UsageError("`exact` is of use with `resume` only.")
        with connect() as (db, chosen):
            done = submit.retry(db, chosen, ids, resume=resume, exact=exact)
        if done.note:
            print_note(done.note)
        self.worker = done.worker or self.worker
        return done.ids

    def load_model(self) -> trained_model.TrainedModel:
        """Load the trained model as `zoo.load_model` does; of a group, that of its best job."""
        return trained_model.load(self.id)

    def __repr__(self) -> str:
        return html.summary(self.row)

    def _charts(self, drawn: str) -> str:
        """Return the charts, unless this cell has them already: of the progress."""
        is_shown = self._shown_in is not None and self._shown_in == current_cell()
        return "" if is_shown or not drawn else f"<div>{drawn}</div>"


class JobHandle(Handle):
    """One submitted training or evaluation."""

    def _repr_html_(self) -> str:
        with connect() as (db, _):
            row = rows.get(db, self.id)
            drawn = curves.draw_steps(row, rows.timed_steps(db, self.id))
            return html.table(row, rows.estimate_job(db, row)) + self._charts(drawn)

    @property
    def row(self) -> rows.Job:
        """The database record of the job."""
        with connect() as (db, _):
            return rows.get(db, self.id)

    def retry(self, *, resume: bool = False, exact: bool = False) -> JobHandle:
        """Submit the job, which did not succeed, again, unchanged; its row stays.

        Args:
            resume: Whether to go on from its newest checkpoint, instead of from the beginning.
            exact: With `resume`: use the checkpoint only where the result has the same bits.

        Returns:
            The new job.

        Raises:
            UsageError: If it cannot be retried, or with `resume` has no checkpoint.
        """
        (again,) = self._submit_again([self.id], resume, exact)
        found = JobHandle(again)
        found.worker = self.worker
        return found

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.row.model

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.row.dataset

    @property
    def name(self) -> str | None:
        """The name that its submitter has given it."""
        return self.row.name

    @property
    def note(self) -> str | None:
        """The note of its submitter."""
        return self.row.note

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return self.row.tags

    @property
    def seed(self) -> int:
        """The random seed."""
        return int(self.row.spec["seed"])

    @property
    def worker_name(self) -> str | None:
        """The name of the worker of its last attempt."""
        return self.row.worker

    @property
    def is_pinned(self) -> bool:
        """Whether nothing removes it."""
        return self.row.pinned

    @property
    def started_at(self) -> datetime | None:
        """The time at which its last attempt began, UTC."""
        at = self.row.started_at
        return None if at is None else _time(at)

    @property
    def finished_at(self) -> datetime | None:
        """The time of its end, UTC."""
        at = self.row.finished_at
        return None if at is None else _time(at)

    @property
    def took(self) -> timedelta | None:
        """The time from `started_at` to `finished_at`."""
        row = self.row
        if row.started_at is None or row.finished_at is None:
            return None
        return _time(row.finished_at) - _time(row.started_at)

    @property
    def accuracy(self) -> float | None:
        """The accuracy on the images or rows that it was judged on, once it has succeeded."""
        return self.row.accuracy

    @property
    def params(self) -> dict[str, Any]:
        """All params, also those with default values."""
        return dict(self.row.spec["params"])

    @property
    def metrics(self) -> dict[str, Any]:
        """Every measurement; empty until the job has succeeded."""
        return self.row.metrics

    @property
    def error(self) -> str | None:
        """Why the job failed."""
        return self.row.error

    @property
    def history(self) -> DataFrame:
        """The reports of the last attempt: a row for each step, a column for each metric.

        The column `at` has the time of each step, UTC.
        """
        with connect() as (db, _):
            return frames.steps_frame(rows.timed_steps(db, self.id))

    @property
    def files(self) -> DataFrame:
        """Its files: one row for each, with name, bytes and sha256.

        Those of plugins, such as pictures, may come some seconds after its end.
        """
        with connect() as (db, chosen):
            return frames.files_frame(job_files.of(chosen, rows.get(db, self.id)))

    def read_file(self, name: str) -> bytes:
        """Return the verified contents of a file; one that a plugin is still making is awaited.

        Raises:
            UsageError: If there is no such file.
            ArtifactError: If it is missing or damaged.
        """
        with connect() as (db, chosen):
            found = wait_for_files(db, chosen, rows.get(db, self.id), [name], print_note).files
            for each in found:
                if each.name == name:
                    return job_files.read(chosen, each)
        raise UsageError(f"{name} is a folder.", "`save_files` copies folders.")

    def save_files(self, folder: str | Path, *names: str) -> list[Path]:
        """Copy its files below a folder, and return their paths.

        Args:
            folder: It is made if necessary; files in it are replaced.
            names: Files or folders; without any all files.

        Raises:
            UsageError: If there is no such file.
            ArtifactError: If one is missing or damaged.
        """
        with connect() as (db, chosen):
            every = wait_for_files(db, chosen, rows.get(db, self.id), names, print_note)
            if every.problems and not names:
                raise every.problems[0]
            wanted = job_files.named(every.files, names)
            for path, file in wanted.items():
                job_files.copy(chosen, file, Path(folder) / path)
        return [Path(folder) / path for path in wanted]

    def logs(self) -> str:
        """Return the output of all attempts, in lines as a terminal would show them."""
        with connect() as (db, _):
            chunks = rows.log_after(db, self.id)
        reader = JobLogReader()
        lines = [line for each in chunks for _, line in reader.feed(each.attempt, each.text)]
        return "".join(f"{line}\n" for line in lines) + reader.rest


class GroupHandle(Handle):
    """Jobs submitted together whose results are read together."""

    @property
    def row(self) -> rows.Group:
        """The database record of the group, with its jobs."""
        with connect() as (db, _):
            return rows.get_group(db, self.id)

    def __len__(self) -> int:
        return len(self.row.jobs)

    def __iter__(self) -> Iterator[JobHandle]:
        return iter(self.jobs)

    def __getitem__(self, key: int | str) -> JobHandle:
        """Return one of its jobs, by position or by the beginning of its id.

        Raises KeyError or IndexError, as a dict or a list does.
        """
        found = self.jobs
        if not isinstance(key, str):
            return found[key]
        matching = [each for each in found if each.id.startswith(key)]
        if len(matching) != 1:
            raise KeyError(key)
        return matching[0]

    def _ipython_key_completions_(self) -> list[str]:
        return [each.id[:8] for each in self.jobs]

    def _repr_html_(self) -> str:
        row = self.row
        return html.table(row) + self._charts(curves.draw_results(row))

    def retry(self, *, resume: bool = False, exact: bool = False) -> Self:
        """Submit its jobs that did not succeed again; the new ones take their place in the group.

        Args:
            resume: Whether to go on from the newest checkpoints; jobs without one begin anew.
            exact: With `resume`: use a checkpoint only where the result has the same bits.

        Returns:
            This handle.

        Raises:
            UsageError: If none can be retried, or with `resume` none has a checkpoint.
        """
        self._submit_again([job.id for job in self.row.jobs], resume, exact)
        return self

    @property
    def kind(self) -> str:
        """The kind of the group: cv, seeds or sweep."""
        return self.row.kind

    @property
    def jobs(self) -> list[JobHandle]:
        """A handle for each job, in the order of submission."""
        return [JobHandle(each.id) for each in self.row.jobs]

    @property
    def metrics(self) -> dict[str, Any]:
        """Each number as {"mean", "std", "values"} over the jobs that have succeeded.

        Empty for a sweep, whose trials have different params: see `best`.
        """
        return {name: each.to_json() for name, each in self.row.metrics().items()}

    @property
    def best(self) -> JobHandle | None:
        """The first job of a sweep's best trial; None for other groups."""
        found = self.row.best()
        return JobHandle(found.jobs[0].id) if found else None

    @property
    def trials(self) -> DataFrame:
        """The trials of a sweep, the best first.

        `value` is that of the metric by which the sweep ranks; each param that differs is a column
        `params.NAME`. Raises UsageError for another group.
        """
        row = self.row
        if row.kind != "sweep":
            raise UsageError(f"The group {self.id[:8]} is no sweep.", "`frame` has its jobs.")
        return frames.trials_frame(row)

    def _more_trials(self, db: Database, chosen: Settings) -> Callable[[], Sequence[str]]:
        """Return what picks further trials of a sweep while this waits."""
        driver = make_driver(db, chosen, self.row) if self.kind == "sweep" else None
        if driver is None:
            return super()._more_trials(db, chosen)
        self.worker = self.worker or submit.wake(db, chosen, anyway=True).worker
        return driver.step

    @property
    def frame(self) -> DataFrame:
        """Its jobs as `zoo.list_jobs` returns them, in the order of their submission."""
        return frames.jobs_frame(self.row.jobs)


def make_handle(id: str, *, is_group: bool) -> JobHandle | GroupHandle:
    """Return the handle of a job or group by its whole id."""
    return GroupHandle(id) if is_group else JobHandle(id)


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _failure(bad: list[rows.Job], every: int) -> ZooError:
    job = bad[0]
    why = f": {job.error}" if job.error else "."
    logs = f'`zoo.get_job("{job.id[:8]}").logs()` returns its output.'
    if every == 1:
        return ZooError(f"The job {job.id[:8]} is {job.status}{why}", logs)
    return ZooError(
        f"{len(bad)} of {every} jobs did not succeed; {job.id[:8]} is {job.status}{why}", logs
    )
