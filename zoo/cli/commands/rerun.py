"""`zoo rerun` and `zoo verify`: repeat a job; and the reuse of an earlier equal result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.leaving import going_on, submitting
from zoo.cli.options import AsJson, Detach, Quiet, Ref
from zoo.cli.submission import submit_and_follow
from zoo.jobs.queue_options import QueueOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.job_spec import JobSpec
    from zoo.jobs import Database, Group, Job
    from zoo.results.reproducibility import Verdict
    from zoo.settings import Settings


def add_to(app: typer.Typer) -> None:
    app.command()(rerun)
    app.command()(verify)


def rerun(ref: Ref, detach: Detach = False, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Submit a job or group again, unchanged. Reports differences of the environment."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.results import reproducibility

    db = jobs.connect()
    found = reproducibility.plan_rerun(db, jobs.find_reference(db, ref))
    for each in found.differences:
        console.note(f"differs now: {each}")
    for each in found.unknown if not quiet else ():
        console.note(each)
    if not (found.differences or found.unknown or quiet):
        console.note("No difference of data, code or environment is known.")
    queued = QueueOptions(pool=found.pool, tags=found.tags)
    kind, about = found.group_kind, found.about
    submit_and_follow(found.specs, queued, detach, as_json, quiet, kind, about)


def verify(
    ref: Ref,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the verdict as JSON on stdout.")
    ] = False,
) -> None:
    """Run a job or group again and compare the results.

    Compares weights, predictions and metrics. Exit code 1 if they differ.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.results import reproducibility

    chosen = settings.load()
    db = jobs.connect(chosen.database)
    found = jobs.find_reference(db, ref)
    then = _with_result(found)
    for job in then:
        reproducibility.verify_files(chosen, job)
    now = _run_again(db, chosen, found)
    verdicts = [
        reproducibility.compare_results(db, chosen, a, b) for a, b in zip(then, now, strict=True)
    ]
    if as_json:
        found_json = [each.to_json() for each in verdicts]
        console.json_out(found_json if len(found_json) > 1 else found_json[0])
    else:
        _print(verdicts)
    if any(each.verdict == "differs" for each in verdicts):
        raise typer.Exit(1)


def _with_result(found: Job | Group) -> list[Job]:
    from zoo.errors import UsageError
    from zoo.jobs import members

    then = members(found)
    for job in then:
        if job.status != "succeeded":
            raise UsageError(f"The job {job.id[:8]} is {job.status}: there is no result to verify.")
        if job.metrics.get("stopped_early") is True:
            raise UsageError(
                f"The job {job.id[:8]} was stopped on request, which no repetition can repeat.",
                f"`zoo rerun {job.id[:8]}` trains the model to its end.",
            )
    return then


def _run_again(db: Database, chosen: Settings, found: Job | Group) -> list[Job]:
    from zoo.cli.render import console
    from zoo.errors import ZooError
    from zoo.queue import submit
    from zoo.results import reproducibility

    again = reproducibility.plan_rerun(db, found)
    queued = QueueOptions(pool=again.pool, tags=[*again.tags, "verify"])
    with submitting():
        done = submit.submit(db, chosen, again.specs, queued, group_kind=again.group_kind)
    with going_on(done.ref):
        from zoo.cli.render.progress import follow

        if done.note:
            console.note(done.note)
        now = follow(db, chosen, done.ids, done.worker)
    for job in now:
        if job.status != "succeeded":
            raise ZooError(
                f"The repeated job {job.id[:8]} is {job.status}: {job.error}",
                f"`zoo logs {job.id[:8]}` shows what it printed.",
            )
    return now


def _print(verdicts: Sequence[Verdict]) -> None:
    from zoo.cli.render import console

    for each in verdicts:
        names = ", ".join(each.differs)
        which = f": {names}" if each.differs else ""
        head = f"{each.job[:8]} = {each.repeated_by[:8]}?  {each.verdict}{which}"
        console.out.print(console.safe(head))
        for name, (before, after) in each.differs.items():
            found = f"  {name}  {_short(before)} then, {_short(after)} now"
            console.out.print(console.safe(found))
    for why in dict.fromkeys(line for each in verdicts for line in each.environment):
        console.note(f"the environments differ: {why}")


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."


def takes_earlier(
    specs: Sequence[JobSpec], kind: str | None, reuse: bool, as_json: bool, quiet: bool
) -> bool:
    """Print an equal earlier result instead of training; returns whether it did.

    Without `reuse`, only note on a terminal that such a result exists.
    """
    if not (reuse or sys.stderr.isatty()):
        return False
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.results import reproducibility

    chosen = settings.load()
    found = reproducibility.find_reusable_result(jobs.connect(chosen.database), chosen, specs, kind)
    if found is None:
        return False
    what = "group" if kind else "job"
    if not reuse:
        console.note(f"The {what} {found.id[:8]} has this result already: --reuse returns it.")
        return False
    if as_json:
        console.json_out(found.to_json())
    elif quiet:
        console.line(found.id)
    else:
        from zoo.cli.render.progress import summary

        summary(found)
        console.note(f"Reused the {what} {found.id[:8]}; nothing was trained.")
    return True
