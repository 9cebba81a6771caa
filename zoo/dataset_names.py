"""Names of models and datasets, `idx:FOLDER` and `npz:FILE` among them, and paths as typed."""

from __future__ import annotations

import os
import re

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""A valid name of a model, dataset, plugin or table row (use with fullmatch)."""
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
