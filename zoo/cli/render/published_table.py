"""The table of a group that reproduces a published table: published and measured errors."""

from __future__ import annotations

from rich.text import Text

from zoo.cli.render import console
from zoo.jobs import Group, Job

COLUMNS = ("job", "row", "published %", "measured %", "seconds", "recipe")


def is_table(group: Group) -> bool:
    """Return whether every job of the group reproduces a row of a published table."""
    return all(job.spec.get("published") for job in group.jobs)


def show(group: Group) -> None:
    """Print one line per row, then the number of rows at or under the published error."""
    rows = [_cells(job) for job in group.jobs]
    right = ["published %", "measured %", "seconds"]
    console.table(COLUMNS, rows, right=right, optional=["recipe", "job"])
    measured = [job for job in group.jobs if error(job) is not None]
    reached = sum(is_reached(job) for job in measured)
    console.out.print(
        f"{reached} of {len(group.jobs)} at or under the published error"
        + (f"; {len(group.jobs) - len(measured)} not measured" * (len(measured) < len(group.jobs)))
    )


def _cells(job: Job) -> list[str | Text]:
    published, found = job.spec["published"], error(job)
    preprocess = job.spec.get("preprocess", "none")
    measured = console.status(job.status)
    if found is not None:
        measured = Text(f"{found:.2f}", "green" if is_reached(job) else "red")
    took = job.finished_at - job.started_at if job.finished_at and job.started_at else None
    return [
        job.id[:8],
        f"{published['row']}, {preprocess}" if preprocess != "none" else published["row"],
        f"{published['error']:g}",
        measured,
        "" if took is None else f"{took:.0f}",
        f"{job.model} {console.params(job.changed)}".rstrip(),
    ]


def error(job: Job) -> float | None:
    """Return the measured test error in percent, rounded to hundredths as in the tables."""
    return None if job.accuracy is None else round(100 * (1 - job.accuracy), 2)


def is_reached(job: Job) -> bool:
    """Return whether the measured error is at or under the published one."""
    found = error(job)
    return found is not None and found <= float(job.spec["published"]["error"])
