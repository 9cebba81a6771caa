"""`zoo cancel`, `stop`, `retry` and `tag`: act on named jobs, or on all that match a filter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import completion
from zoo.cli.filter_options import FilterWords, filtered
from zoo.terminal_text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.jobs import Database, Job

Refs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF",
        help="Jobs or groups: the beginning of an id, a name, or @last.",
        autocompletion=completion.references,
    ),
]
NotEnded = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF",
        help="Jobs or groups: the beginning of an id, a name, or @last.",
        autocompletion=completion.references_of("queued", "running"),
    ),
]
Running = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF",
        help="Jobs or groups: the beginning of an id, a name, or @last.",
        autocompletion=completion.references_of("running"),
    ),
]
Queued = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF",
        help="Jobs or groups: the beginning of an id, a name, or @last.",
        autocompletion=completion.references_of("queued"),
    ),
]
NotSucceeded = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REF",
        help="Jobs or groups: the beginning of an id, a name, or @last.",
        autocompletion=completion.references_of("failed", "timed_out", "lost", "cancelled"),
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="List the affected jobs; change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
SHOWN = 10
MOST_OWNERS = 3
"""Largest number of owners that a question names."""


def add_to(app: typer.Typer) -> None:
    for command in (cancel, stop, retry):
        app.command()(command)
    # -TAG is not an option: it removes a tag.
    app.command(context_settings={"ignore_unknown_options": True})(tag)


@filtered
def cancel(refs: NotEnded = None, words: FilterWords = FilterWords(), yes: Yes = False,
           dry_run: Dry = False) -> None:  # fmt: skip
    """Cancel jobs. A queued job ends at once, a running one within about a second."""
    from zoo import jobs
    from zoo.cli.render import console

    db = jobs.connect()
    found = chosen(db, refs, words, of=("queued", "paused", "running"))
    if not found or not agreed(db, found, "cancel", yes or not words, dry_run, yes):
        return
    statuses = jobs.cancel_many(db, found)
    if len(found) <= SHOWN:
        for each in found:
            console.note(_cancelled(db, each, statuses.get(each)))
        return
    asked = sum(status == "running" for status in statuses.values())
    console.note(f"{len(statuses) - asked:,} cancelled, {asked:,} asked to stop.")
    if len(statuses) < len(found):
        console.note(f"{len(found) - len(statuses):,} had already ended.")


def _cancelled(db: Database, job: str, status: str | None) -> str:
    from zoo import jobs

    short = job[:8]
    if status is None:
        return f"{short} has already ended: {jobs.get(db, job).status}."
    if status == "running":
        return f"{short} is asked to stop. `zoo wait {short}` waits for its end."
    return f"{short} is cancelled."


@filtered
def stop(refs: Running = None, words: FilterWords = FilterWords(), yes: Yes = False,
         dry_run: Dry = False) -> None:  # fmt: skip
    """End trainings now, and keep what their models have learned.

    A job ends after its next report, is judged, and succeeds. For models that can predict before
    their training has ended: `zoo models` says which.
    """
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.queue import stopping

    db = jobs.connect()
    found = chosen(db, refs, words, of=("running",))
    if not found or not agreed(db, found, "stop", yes or not words, dry_run, yes):
        return
    done = stopping.request_stops(db, found)
    if refusal := done.first_refusal():
        raise refusal
    if len(found) <= SHOWN:
        for each in done.asked:
            short = each[:8]
            console.note(f"{short} ends after its next report. `zoo wait {short}` waits for it.")
        for refused in done.refused.values():
            console.note(refused.message)
        return
    console.note(f"{len(done.asked):,} end after their next report.")
    if done.refused:
        console.note(f"{len(done.refused):,} do not run or cannot stop early.")


@filtered
def retry(
    refs: NotSucceeded = None,
    words: FilterWords = FilterWords(),
    failed: Annotated[
        bool, typer.Option("--failed", help="All jobs that failed, timed out or were lost.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--continue", help="Start from the newest checkpoint instead of anew."),
    ] = False,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Use a checkpoint only where the bits stay the same."),
    ] = False,
    yes: Yes = False,
    dry_run: Dry = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the new ids.")] = False,
) -> None:
    """Submit jobs that did not succeed again, unchanged. The old rows stay.

    Trainings begin anew unless --continue is given.
    """
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.queue import submit

    if exact and not resume:
        raise UsageError("--exact is of use with --continue only.")
    setup = settings.load()
    db = jobs.connect(setup.database)
    ends = ("failed", "timed_out", "lost") if failed or not words.status else ()
    found = chosen(db, refs, words, of=ends, all_of_them=failed, not_retried=True)
    if as_json and (dry_run or not found):
        console.json_out(found)
        return
    # --failed names its jobs explicitly: no confirmation.
    if not found or not agreed(db, found, "retry", yes or failed or not words, dry_run):
        return
    done = submit.retry(db, setup, found, resume=resume, exact=exact)
    if as_json:
        console.json_out([jobs.get(db, each).to_json() for each in done.ids])
        return
    for each in done.ids:
        console.line(each)
    if done.note:
        console.note(done.note)
    if resume and not quiet:
        _note_starts(jobs.get_many(db, done.ids[:SHOWN]))
    if not quiet:
        one = f"Submitted again. `zoo wait {done.ids[0][:8]}` waits for its end."
        many = f"{len(done.ids):,} submitted again. `zoo jobs` lists them."
        console.note(one if len(done.ids) == 1 else many)


def _note_starts(again: Sequence[Job]) -> None:
    """Say from which step each job goes on."""
    from zoo.cli.render import console

    for job in again:
        found = job.checkpoint_step
        how = f"goes on from {found}" if found else "begins anew: it has no checkpoint"
        console.note(f"{job.id[:8]} {how}.")


@filtered
def tag(
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="REF|+TAG|-TAG", help="Jobs or groups; tags to add or remove."),
    ] = None,
    words: FilterWords = FilterWords(),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    dry_run: Dry = False,
) -> None:
    """Add tags to jobs (+TAG) and remove tags (-TAG)."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.errors import UsageError

    given = refs or []
    # Otherwise a mistyped option would count as a tag to remove.
    if odd := [each for each in given if each.startswith("--")]:
        raise UsageError(f"There is no option {odd[0]}.", "`zoo tag --help` lists them.")
    add = [each[1:] for each in given if each.startswith("+")]
    remove = [each.lstrip("-") for each in given if each.startswith("-")]
    if not [*add, *remove] or not all([*add, *remove]):
        raise UsageError("No tag is given: +TAG adds one, -TAG removes it.", EXAMPLE)
    db = jobs.connect()
    found = chosen(db, [each for each in given if not each.startswith(("+", "-"))], words)
    if found and agreed(db, found, "tag", yes or not words, dry_run):
        changed = jobs.tag(db, found, add, remove)
        console.note(f"{len(changed):,} of {len(found):,} changed.")


EXAMPLE = "For example: zoo tag @last +good -draft."


def chosen(
    db: Database,
    refs: list[str] | None,
    words: FilterWords,
    *,
    of: tuple[str, ...] = (),
    all_of_them: bool = False,
    not_retried: bool = False,
    held: bool | None = None,
) -> list[str]:
    """Return the ids of the named jobs, or of those that match the filter and a status in `of`.

    With a filter, `held` selects only held jobs (True) or only others (False).

    Raises UsageError if neither or both of names and filter are given.
    """
    from dataclasses import replace

    from zoo import jobs
    from zoo.cli.render import console
    from zoo.errors import UsageError

    by_filter = bool(words) or all_of_them
    if bool(refs) == by_filter:
        problem = "Give either jobs or a filter, not both." if refs else "No jobs are given."
        raise UsageError(problem, "For example @last, or --status queued --model 'dense-*'.")
    if refs:
        return [job.id for job in jobs.find_jobs(db, refs)]
    wanted = words.filter(db)
    statuses = [each for each in wanted.statuses or of if each in of or not of]
    if wanted.statuses and not statuses:
        raise UsageError(
            f"This command does not apply to jobs with status {_quoted(wanted.statuses)}.",
            f"The status must be {_quoted(of)}.",
        )
    wanted = replace(wanted, statuses=statuses, not_retried=not_retried)
    found = jobs.list_ids(db, replace(wanted, held=held))
    if not found:
        others = 0 if held is None else jobs.count(db, wanted)
        console.note(_unchanged(others, held=held is False) if others else "No job matches.")
    return found


def _quoted(statuses: Sequence[str]) -> str:
    return " or ".join(f"'{status}'" for status in statuses)


def _unchanged(number: int, *, held: bool) -> str:
    """Explain why no matching job was held or released."""
    if number == 1:
        return "The matching job is already held." if held else "The matching job is not held."
    if held:
        return f"All {number:,} matching jobs are already held."
    return f"0 jobs released: none of the {number:,} matching jobs is held."


def agreed(
    db: Database,
    found: list[str],
    act: str,
    sure: bool,
    dry_run: bool,
    for_others: bool = True,
) -> bool:
    """List the jobs for a dry run, or ask for confirmation if there are several.

    Unless `for_others` is set, also ask if there are jobs of other owners, even one. Returns
    whether to proceed. Raises UsageError if stdin is not a terminal.
    """
    from zoo.cli.render import console
    from zoo.errors import UsageError

    if dry_run:
        for each in found:
            console.line(each)
        console.note(f"{counted(len(found), 'job')}; nothing was changed.")
        return False
    others = "" if for_others else of_others(db, found)
    if (sure or len(found) == 1) and not others:
        return True
    jobs = counted(len(found), "job") if len(found) > 1 else f"the job {found[0][:8]}"
    what = f"{jobs}{others}"
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError(
            f"Refusing to {act} {what} without confirmation: stdin is not a terminal.",
            "Pass --yes to proceed, or --dry-run to list them.",
        )
    return typer.confirm(console.safe(f"{act.capitalize()} {what}?"), err=True)


def of_others(db: Database, found: Sequence[str]) -> str:
    """Return whose jobs they are: ` of anna@gpu1`, or `, 3 of them of anna@gpu1 and bo@gpu2`.

    Empty if they are one's own, or nobody's.
    """
    from zoo import jobs, settings

    others = jobs.other_owners(db, found, settings.load().submitter)
    if not others:
        return ""
    names = [*others][:MOST_OWNERS]
    names += [counted(len(others) - len(names), "other")] if len(others) > len(names) else []
    owners = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    theirs = sum(others.values())
    return f" of {owners}" if theirs == len(found) else f", {theirs:,} of them of {owners}"
