"""A job or a group in a notebook: what it is now, and what can be done with it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import zoo.notebook.frames as frames
import zoo.notebook.html as html
import zoo.notebook.trained_model as trained_model
from zoo import jobs as rows
from zoo.errors import ZooError
from zoo.notebook.connection import opened
from zoo.notebook.waiting import follow, leaving
from zoo.terminal_text import JobLogReader

if TYPE_CHECKING:
    from pandas import DataFrame


class Handle:
    """What a job and a group have in common; each attribute is read anew from its row."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.worker: subprocess.Popen[bytes] | None = None
        """The local worker, if it was started for this."""

    @property
    def row(self) -> rows.Job | rows.Group:
        """The whole record."""
        with opened() as (db, _):
            return rows.find_reference(db, self.id)

    @property
    def status(self) -> str:
        return self.row.status

    def to_dict(self) -> dict[str, Any]:
        """What `zoo show --json` prints of it."""
        return self.row.to_json()

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until all has ended, and give this back.

        Raises ZooError if a job did not succeed, the local worker does not come to work, or
        `timeout` seconds have passed; after an interrupt the jobs go on.
        """
        with leaving(self.id):
            return self.await_end(timeout)

    def await_end(self, timeout: float | None = None) -> Self:
        """Wait as `wait` does, where somebody else says after an interrupt how to come back."""
        with opened() as (db, chosen):
            ids = [job.id for job in rows.members(rows.find_reference(db, self.id))]
            follow(db, chosen, ids, self.worker, timeout)
            ended = rows.get_many(db, ids)
        bad = [job for job in ended if job.status != "succeeded"]
        if bad:
            raise _failure(bad, len(ended))
        return self

    def cancel(self) -> Self:
        """End what has not ended: queued jobs at once, running ones as soon as they notice."""
        with opened() as (db, _):
            rows.cancel_many(db, [job.id for job in rows.members(rows.find_reference(db, self.id))])
        return self

    def load(self) -> trained_model.Trained:
        """The trained model; of a group, that of its best job. Raises as `zoo.load` does."""
        return trained_model.load(self.id)

    def __repr__(self) -> str:
        return html.line(self.row)

    def _repr_html_(self) -> str:
        return html.html(self.row)


class Job(Handle):
    """One submitted training or evaluation."""

    def _repr_html_(self) -> str:
        with opened() as (db, _):
            row = rows.get(db, self.id)
            return html.html(row, rows.estimate_job(db, row))

    @property
    def row(self) -> rows.Job:
        with opened() as (db, _):
            return rows.get(db, self.id)

    @property
    def model(self) -> str:
        return self.row.model

    @property
    def dataset(self) -> str:
        return self.row.dataset

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.row.spec["params"])

    @property
    def metrics(self) -> dict[str, Any]:
        """Everything that was measured; empty until the job has succeeded."""
        return self.row.metrics

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.row.error

    @property
    def history(self) -> DataFrame:
        """What the last attempt reported: a row for each step, a column for each metric."""
        with opened() as (db, _):
            return frames.of_steps(rows.steps(db, self.id))

    def logs(self) -> str:
        """What it has printed, in all its attempts, in lines as a terminal would show them."""
        with opened() as (db, _):
            chunks = rows.log_after(db, self.id)
        reader = JobLogReader()
        lines = [line for each in chunks for _, line in reader.feed(each.attempt, each.text)]
        return "".join(f"{line}\n" for line in lines) + reader.rest


class Group(Handle):
    """Jobs submitted together whose results are read together."""

    @property
    def row(self) -> rows.Group:
        with opened() as (db, _):
            return rows.get_group(db, self.id)

    @property
    def kind(self) -> str:
        return self.row.kind

    @property
    def jobs(self) -> list[Job]:
        return [Job(each.id) for each in self.row.jobs]

    @property
    def metrics(self) -> dict[str, Any]:
        """Of each number {"mean", "std", "values"} over the jobs that have succeeded.

        Empty of a sweep, whose trials have different params: see `best`.
        """
        return self.row.metrics()

    @property
    def best(self) -> Job | None:
        """Of a sweep the job of its best trial, the first of several; None of other groups."""
        found = self.row.best()
        return Job(found.jobs[0].id) if found else None

    @property
    def frame(self) -> DataFrame:
        """Its jobs, as `zoo.jobs()` gives them, in the order of their submission."""
        return frames.of_jobs(self.row.jobs)


@overload
def handle(id: str, *, group: Literal[True]) -> Group: ...
@overload
def handle(id: str, *, group: Literal[False] = ...) -> Job: ...
@overload
def handle(id: str, *, group: bool) -> Job | Group: ...
def handle(id: str, *, group: bool = False) -> Job | Group:
    """The handle of a job, or of a group, by its whole id."""
    return Group(id) if group else Job(id)


def _failure(bad: list[rows.Job], every: int) -> ZooError:
    job = bad[0]
    why = f": {job.error}" if job.error else "."
    logs = f'`zoo.job("{job.id[:8]}").logs()` is what it printed.'
    if every == 1:
        return ZooError(f"The job {job.id[:8]} is {job.status}{why}", logs)
    return ZooError(
        f"{len(bad)} of {every} jobs did not succeed; {job.id[:8]} is {job.status}{why}", logs
    )
