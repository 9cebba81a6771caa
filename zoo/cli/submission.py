"""Submit jobs, and follow them to their end unless detached."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import typer

from zoo.cli.leaving import going_on, planning, submitting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zoo.data.cache import Progress
    from zoo.job_spec import JobSpec
    from zoo.jobs import Database, Job, QueueOptions
    from zoo.queue.submit import Submitted
    from zoo.settings import Settings


def submit_and_follow(
    specs: list[JobSpec],
    queued: QueueOptions,
    detach: bool,
    as_json: bool,
    quiet: bool = False,
    kind: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Submit jobs and, unless detached, follow them to their end; exit code 1 if one fails.

    With a `kind` they are a group; `about` has the sampler and search space of a sweep.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.queue import submit

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    with submitting():
        if chosen.is_embedded:
            source = specs[0].source
            known = jobs.get(db, source.job).contents if source else None
            fetch(specs[0].dataset, specs[0].contents or known)
        print_notes(db, specs[0])
        done = submit.submit(db, chosen, specs, queued, group_kind=kind, about=about)
    with going_on(done.ref):
        if done.note:
            console.note(done.note)
        if quiet and not as_json:
            console.line(done.ref)
        if quiet:
            # Progress is not printed; errors are, as they are raised after this block.
            with console.silence():
                _quietly(db, chosen, done, detach, as_json)
        elif detach:
            _detached(db, done, as_json)
        else:
            _attached(db, chosen, done, as_json)


@contextlib.contextmanager
def reading() -> Iterator[Progress]:
    """Yield the progress of reading files before a job is submitted, drawn once there is any."""
    with planning(), contextlib.ExitStack() as drawn:
        shown: list[Progress] = []

        def tell(what: str, done: int, total: int) -> None:
            if not shown:
                from zoo.cli.render import console

                shown.append(drawn.enter_context(console.progress()))
            shown[0](what, done, total)

        yield tell


def fetch(dataset: str, contents: str | None = None) -> None:
    """Download a dataset before its job is submitted, so that progress and errors are printed.

    `contents` as for `datasets.raw`.
    """
    from zoo.data import datasets
    from zoo.queue import catalogue

    if catalogue.is_to_fetch(dataset, contents=contents):
        from zoo.cli.render import console

        with console.progress() as tell:
            datasets.raw(dataset, tell)


def print_notes(db: Database, spec: JobSpec) -> None:
    """Print conversions of files just read; before a training warnings, such as rare classes."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.data import added, datasets

    for each in datasets.conversions(spec.dataset):
        console.note(each)
    if spec.kind != "train":
        return
    version = jobs.find_dataset(db, spec.dataset, spec.version) if spec.version else None
    notes = added.meta_of(version).notes if version else datasets.notes(spec.dataset)
    for each in notes:
        console.note(each)


def _quietly(db: Database, chosen: Settings, done: Submitted, detach: bool, as_json: bool) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    ended = [] if detach else _follow(db, chosen, done)
    if as_json:
        console.json_out(jobs.find_reference(db, done.ref).to_json())
    if any(job.status not in jobs.NO_FAILURE for job in ended):
        raise typer.Exit(1)


def _detached(db: Database, done: Submitted, as_json: bool) -> None:
    from zoo import jobs
    from zoo.cli.render import console

    if as_json:
        console.json_out(jobs.find_reference(db, done.ref).to_json())
        return
    console.line(done.ref)
    short = done.ref[:8]
    look = (f"zoo logs -f {short}", "print its output")
    if done.group:
        look = (f"zoo show {short}", "show its jobs and their results so far")
    wait = (f"zoo wait {short}", "wait until it has ended, with its progress")
    console.commands([wait, look, (f"zoo cancel {short}", "cancel it")])


def _attached(db: Database, chosen: Settings, done: Submitted, as_json: bool) -> None:
    ended = _follow(db, chosen, done)
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.cli.render.progress import summary

    result = jobs.find_reference(db, done.ref)
    if as_json:
        console.json_out(result.to_json())
    else:
        summary(result)
        _next_step(result.id, ended)
    if any(job.status not in jobs.NO_FAILURE for job in ended):
        raise typer.Exit(1)


def _follow(db: Database, chosen: Settings, done: Submitted) -> list[Job]:
    from zoo.cli.render.progress import follow

    return follow(db, chosen, done.ids, done.worker)


def _next_step(ref: str, ended: list[Job]) -> None:
    from zoo.cli.render import console

    if all(job.status == "succeeded" for job in ended):
        console.note(f"Details: `zoo show {ref[:8]}`; all models: `zoo leaderboard`.")
