"""Paths as they are typed, and `idx:FOLDER` and `npz:FILE`, the names of datasets in files."""

from __future__ import annotations

import os

FILE_FORMS = ("idx", "npz")


def expanded(path: str) -> str:
    """Put the home folder for `~` and `~name`; a name that there is not stays as it is."""
    return os.path.expanduser(path)  # noqa: PTH111 (Path.expanduser raises RuntimeError)


def absolute(path: str) -> str:
    """Make a path absolute, `~` included; links stay, and nothing is looked for."""
    return os.path.abspath(expanded(path))  # noqa: PTH100 (Path.resolve follows links)


def canonical(name: str) -> str:
    """Give the name by which jobs know a dataset: of a file, with its absolute path."""
    form, colon, path = name.partition(":")
    return f"{form}:{absolute(path)}" if colon and path and form in FILE_FORMS else name
