"""Datasets that are typed as a path alone."""

from __future__ import annotations

import os

import typer

from zoo import dataset_names


def spelled(context: typer.Context, value: str | None) -> str | None:
    """Return a dataset as typed, or of a bare path that exists the spelling, which is printed.

    Raises UsageError for a path of no known form. The callback of options and arguments.
    """
    if not value or context.resilient_parsing:
        return value
    if not os.path.lexists(dataset_names.absolute(value)):
        return value
    from zoo.cli.render import console
    from zoo.queue import catalogue

    name = catalogue.dataset(value)
    if name not in (value, dataset_names.canonical(value)):
        console.note(f"{value} is read as {name}.")
    return name
