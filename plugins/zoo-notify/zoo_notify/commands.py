"""`zoo notify`: send the notification of a job now."""

from __future__ import annotations

from typing import Annotated

import typer

import zoo


@zoo.hookimpl
def register_commands(app: typer.Typer) -> None:
    """Add `zoo notify`."""
    app.command(rich_help_panel="Machinery")(notify)


def notify(
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="Job or group: the beginning of its id, or @last.")
    ] = "@last",
) -> None:
    """Send the notification of a job now, to test ZOO_NOTIFY."""
    from zoo import jobs, settings
    from zoo.cli.render import console
    from zoo.errors import UsageError
    from zoo.jobs import Group
    from zoo_notify import senders

    target = settings.load().notify
    if not target:
        raise UsageError("ZOO_NOTIFY is not set.", senders.HINT)
    found = jobs.find_reference(jobs.connect(), ref)
    result = None
    if isinstance(found, Group):
        result = found.to_json() | {"jobs": [each.id for each in found.jobs]}
    job = found.jobs[-1] if isinstance(found, Group) else found
    content = job.to_json() | {"group": job.group if result else None, "group_result": result}
    senders.send(target, content)
    console.note(f"Sent: {senders.summary_line(content)}")
