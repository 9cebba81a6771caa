"""Datasets that are typed as a path alone."""

from __future__ import annotations

import os
from typing import TypeGuard

import typer

from zoo import dataset_names


def spelled(context: typer.Context, value: str | None) -> str | None:
    """Return a dataset as typed, or of a bare path that exists the spelling, which is printed.

    The name of an added dataset comes before a path. Raises UsageError for a path of no known
    form. The callback of options and arguments.
    """
    if not _is_path(value, context):
        return value
    from zoo.queue import catalogue

    base, _ = dataset_names.split_version(value)
    return value if base in catalogue.added_names() else _spelled(value)


def source_spelled(context: typer.Context, value: str) -> str:
    """Return a source as `spelled` does, but a path comes before the name of an added dataset.

    A folder is often added under its own name, and again when it has changed.
    """
    return _spelled(value) if _is_path(value, context) else value


def _is_path(value: str | None, context: typer.Context) -> TypeGuard[str]:
    """Return whether a file or folder is there, except while words are completed."""
    if not value or context.resilient_parsing:
        return False
    return os.path.lexists(dataset_names.absolute(value))


def _spelled(value: str) -> str:
    from zoo.cli.render import console
    from zoo.queue import catalogue

    name = catalogue.dataset(value)
    if name not in (value, dataset_names.canonical(value)):
        console.note(f"{value} is read as {name}.")
    return name
