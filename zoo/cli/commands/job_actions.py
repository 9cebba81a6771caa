"""`zoo cancel`, `retry` and `tag`: act on jobs that are named, or on all that a filter means."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import completion
from zoo.cli.filter_options import FilterWords, filtered

if TYPE_CHECKING:
    from zoo.jobs import Database

Refs = Annotated[
    list[str] | None,
    typer.Argument(
        help="Jobs or groups: the beginning of an id, or @last.",
        autocompletion=completion.references,
    ),
]
NotEnded = Annotated[
    list[str] | None,
    typer.Argument(
        help="Jobs or groups: the beginning of an id, or @last.",
        autocompletion=completion.references_of("queued", "running"),
    ),
]
Queued = Annotated[
    list[str] | None,
    typer.Argument(
        help="Jobs or groups: the beginning of an id, or @last.",
        autocompletion=completion.references_of("queued"),
    ),
]
NotSucceeded = Annotated[
    list[str] | None,
    typer.Argument(
        help="Jobs or groups: the beginning of an id, or @last.",
        autocompletion=completion.references_of("failed", "timed_out", "lost", "cancelled"),
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however many a filter means.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only list the jobs that would be hit.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
SHOWN = 10


def add_to(app: typer.Typer) -> None:
    for command in (cancel, retry):
        app.command()(command)
    # A word may begin with a minus: it is removed.
    app.command(context_settings={"ignore_unknown_options": True})(tag)


@filtered
def cancel(refs: NotEnded = None, words: FilterWords = FilterWords(), yes: Yes = False,
           dry_run: Dry = False) -> None:  # fmt: skip
    """Cancel jobs. A queued one ends at once, a running one within a second or so."""
    from zoo import jobs
    from zoo.cli.render import console

    db = jobs.connect()
    found = chosen(db, refs, words, of=("queued", "running"))
    if not found or not agreed(db, found, "cancel", yes or not words, dry_run):
        return
    statuses = jobs.cancel_many(db, found)
    if len(found) <= SHOWN:
        for each in found:
            console.note(_cancelled(db, each, statuses.get(each)))
        return
    asked = sum(status == "running" for status in statuses.values())
    console.note(f"{len(statuses) - asked:,} cancelled, {asked:,} asked to stop.")
    if len(statuses) < len(found):
        console.note(f"{len(found) - len(statuses):,} had ended already.")


def _cancelled(db: Database, job: str, status: str | None) -> str:
    from zoo import jobs

    short = job[:8]
    if status is None:
        return f"{short} has ended already: {jobs.get(db, job).status}."
    if status == "running":
        return f"{short} is asked to stop. `zoo wait {short}` sees it end."
    return f"{short} is cancelled."


@filtered
def retry(
    refs: NotSucceeded = None,
    words: FilterWords = FilterWords(),
    failed: Annotated[bool, typer.Option("--failed", help="All that failed or were lost.")] = False,
    yes: Yes = False,
    dry_run: Dry = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The new ids only.")] = False,
) -> None:
    """Submit jobs that did not succeed once more. As they were; the old rows stay."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.queue import submit

    setup = settings.load()
    db = jobs.connect(setup.database)
    ends = ("failed", "timed_out", "lost") if failed or not words.status else ()
    found = chosen(db, refs, words, of=ends, all_of_them=failed, not_retried=True)
    if as_json and (dry_run or not found):
        console.json_out(found)
        return
    # --failed alone is what it says; there is nothing to be surprised by.
    if not found or not agreed(db, found, "retry", yes or failed or not words, dry_run):
        return
    done = submit.retry(db, setup, found)
    if as_json:
        console.json_out([jobs.get(db, each).to_json() for each in done.ids])
        return
    for each in done.ids:
        console.line(each)
    if done.note:
        console.note(done.note)
    if not quiet:
        one = f"Submitted again. `zoo wait {done.ids[0][:8]}` follows it to its end."
        many = f"{len(done.ids):,} submitted again. `zoo jobs` shows them."
        console.note(one if len(done.ids) == 1 else many)


@filtered
def tag(
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOBS]... +WORD... -WORD...", help="Jobs or groups; the tags."),
    ] = None,
    words: FilterWords = FilterWords(),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Dry = False,
) -> None:
    """Add tags to jobs (+word) and take them off (-word)."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.errors import UsageError

    given = refs or []
    # Else an option that was mistyped would be taken for a tag to remove.
    if odd := [each for each in given if each.startswith("--")]:
        raise UsageError(f"There is no option {odd[0]}.", "`zoo tag --help` lists them.")
    add = [each[1:] for each in given if each.startswith("+")]
    remove = [each.lstrip("-") for each in given if each.startswith("-")]
    if not [*add, *remove] or not all([*add, *remove]):
        raise UsageError("Say which tags: +WORD adds one, -WORD takes it off.", EXAMPLE)
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
    """The ids of the jobs that are named, or that the filter means: of these statuses only.

    Of those that a filter means, only the `held` ones, or only the others, if that is given.

    Raises UsageError if the command says neither or both.
    """
    from dataclasses import replace

    from zoo import jobs
    from zoo.cli.render import console
    from zoo.errors import UsageError

    by_filter = bool(words) or all_of_them
    if bool(refs) == by_filter:
        said = (
            "Name jobs, or filter them, not both." if refs else "Say which jobs: ids or a filter."
        )
        raise UsageError(said, "For example @last, or --status queued --model 'dense-*'.")
    if refs:
        return [job.id for job in jobs.find_jobs(db, refs)]
    wanted = words.filter(db)
    statuses = [each for each in wanted.statuses or of if each in of or not of]
    if wanted.statuses and not statuses:
        raise UsageError(
            f"Of jobs that are {' or '.join(wanted.statuses)} there is none to act on.",
            f"They must be {' or '.join(of)}.",
        )
    wanted = replace(wanted, statuses=statuses, not_retried=not_retried)
    found = jobs.list_ids(db, replace(wanted, held=held))
    if not found:
        others = 0 if held is None else jobs.count(db, wanted)
        console.note(_unchanged(others, held=held is False) if others else "No job matches.")
    return found


def _unchanged(number: int, *, held: bool) -> str:
    """Say of jobs that match why none of them is held or released."""
    if number == 1:
        return "The job that matches is held already." if held else "The job is not held."
    if held:
        return f"{number:,} jobs are held already."
    return f"0 jobs are released: none of the {number:,} that match is held."


def agreed(db: Database, found: list[str], act: str, sure: bool, dry_run: bool) -> bool:
    """Show what would be hit, or ask where a filter means several.

    Raises UsageError where there is nobody to ask.
    """
    from zoo.cli.render import console
    from zoo.errors import UsageError

    if dry_run:
        for each in found:
            console.line(each)
        console.note(f"{len(found):,} jobs; nothing was done.")
        return False
    if sure or len(found) == 1:
        return True
    if not (sys.stdin and sys.stdin.isatty()):
        raise UsageError(
            f"This would {act} {len(found):,} jobs, and nobody can be asked.",
            "Add --yes to do it, or --dry-run to see which.",
        )
    return typer.confirm(f"{act.capitalize()} {len(found):,} jobs?", err=True)
