"""`zoo schema` and `zoo man`: what scripts and people look up."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zoo.cli import completion


def add_to(app: typer.Typer) -> None:
    for command in (schema, man):
        app.command()(command)


def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Object to describe: job, group, worker... [default: list them]",
            autocompletion=completion.schemas,
        ),
    ] = None,
) -> None:
    """Print the JSON schema of what --json prints."""
    from zoo.cli import json_schemas
    from zoo.cli.render import console
    from zoo.errors import unknown

    known = json_schemas.SCHEMAS
    if name is None:
        rows = [
            [each, str(json_schemas.VERSION), ", ".join(about.commands)]
            for each, about in known.items()
        ]
        console.table(["schema", "version", "printed by --json of"], rows)
    elif name in known:
        console.json_out(json_schemas.json_schema(name))
    else:
        raise unknown("schema", name, known, "zoo schema")


def man(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Command to show, such as train, or data add. [default: all of them]",
        ),
    ] = None,
) -> None:
    """Show the manual page, also of one command. Into a pipe goes its source."""
    from zoo.cli import man_page
    from zoo.cli.lazy_group import Commands

    root = context.find_root().command
    assert isinstance(root, Commands)
    text = man_page.command_page(root, names) if names else man_page.man_page(root)
    if sys.stdout.isatty():
        man_page.show(text)
    else:
        sys.stdout.write(text)
