"""Remove and pin jobs in a notebook."""

from __future__ import annotations

from collections.abc import Sequence

from zoo import jobs
from zoo.errors import ArtifactError, UsageError
from zoo.jobs import Database, Job
from zoo.notebook.arguments import FilterKeywords, filter_words
from zoo.notebook.live_display import print_note
from zoo.settings import Settings
from zoo.storage import removals
from zoo.terminal_text import counted

SHOWN = 10
"""Jobs that stay are named up to this number."""


def select(db: Database, refs: Sequence[str], filters: FilterKeywords) -> list[str]:
    """Return the ids of the named jobs, those of groups included, or of those that match.

    Raises UsageError unless either references or a filter are given.
    """
    words = filter_words(filters)
    if bool(refs) == bool(words):
        problem = "Give either jobs or a filter, not both." if refs else "No jobs are given."
        raise UsageError(problem, 'For example "@last", or status="failed", since="2d".')
    if refs:
        return [job.id for job in jobs.find_jobs(db, refs)]
    return jobs.list_ids(db, words.filter(db))


def remove(
    db: Database, settings: Settings, ids: Sequence[str], *, keep_metrics: bool, named: bool
) -> list[Job]:
    """Remove jobs that have ended, with their files; return them as they were.

    Args:
        db: The database.
        settings: The settings, with the artifact store.
        ids: The jobs.
        keep_metrics: Remove the files alone.
        named: Whether these jobs were named: then all are removed, or none. Else those that cannot
            be removed are left, and noted.

    Raises:
        UsageError: If named jobs cannot be removed.
    """
    found, refused = removable(db, ids, keep_metrics=keep_metrics, named=named)
    _note(refused)
    done = set(jobs.remove_jobs(db, [job.id for job in found], keep_metrics=keep_metrics).ids)
    if done and removals.serves(settings):
        try:
            removals.complete(db, settings)
        except ArtifactError as error:
            print_note(f"{error.message} Workers and `zoo gc` try again.")
    elif done:
        print_note("A worker deletes the files: this machine has another artifact store.")
    return [job for job in found if job.id in done]


def removable(
    db: Database, ids: Sequence[str], *, keep_metrics: bool, named: bool
) -> tuple[list[Job], list[str]]:
    """Return the jobs that can be removed, and why others cannot; raises as `remove` does."""
    # By a filter only jobs that have ended are meant, as by the command.
    found = [job for job in jobs.get_many(db, ids) if named or job.is_terminal]
    refused = jobs.check_removal(db, [job.id for job in found], keep_metrics=keep_metrics)
    if named and refused:
        raise UsageError(f"Nothing is removed: {next(iter(refused.values()))}")
    return [job for job in found if job.id not in refused], list(refused.values())


def _note(refused: Sequence[str]) -> None:
    for each in refused[:SHOWN]:
        print_note(each)
    if len(refused) > SHOWN:
        more = len(refused) - SHOWN
        print_note(f"{counted(more, 'more job')} {'stays' if more == 1 else 'stay'}.")


def pin(db: Database, ids: Sequence[str], *, pinned: bool) -> list[Job]:
    """Pin jobs, so that nothing removes them, or unpin them; return them as they are then."""
    jobs.pin(db, ids, pinned=pinned)
    return jobs.get_many(db, ids)
