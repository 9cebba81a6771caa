"""`zoo note`: show, set or remove the note of a job."""

from __future__ import annotations

from typing import Annotated

import typer

from zoo.cli.options import Ref


def add_to(app: typer.Typer) -> None:
    app.command()(note)


def note(
    ref: Ref,
    text: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="The new note; '' removes it. Without: show it."),
    ] = None,
) -> None:
    """Show or set the note of a job, or of all jobs of a group."""
    from zoo import jobs
    from zoo.cli.render import console
    from zoo.jobs.labels import check_note

    db = jobs.connect()
    found = jobs.members(jobs.find_reference(db, ref))
    if text is not None:
        jobs.set_note(db, [job.id for job in found], check_note(" ".join(text)))
        return
    noted = [job for job in found if job.note]
    for job in noted:
        console.line(f"{job.id[:8]}  {job.note}" if len(found) > 1 else str(job.note))
    if not noted:
        console.note(
            f"No note. `zoo note {found[0].id[:8]} TEXT` sets one." if found else "No job."
        )
