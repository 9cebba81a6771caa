"""Say why a plugin is broken, and in which of its own lines."""

from __future__ import annotations

import contextlib
import importlib.util
import traceback
from pathlib import Path

from zoo.errors import ZooError
from zoo.plugins.import_guard import EndsProcess, TooSlow

LONGEST = 200
"""Characters kept of what a library says, which may run over many lines."""


def reason(error: BaseException, source: str) -> str:
    """Say in a line what went wrong; `source` is the plugin's module or file."""
    said = " ".join(_text(error).split())
    if len(said) > LONGEST:
        said = said[: LONGEST - 3] + "..."
    if not isinstance(error, ZooError | TooSlow | EndsProcess):
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    where = line(error, source)
    return f"{said} ({where})" if where else said


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception of the plugin's own, which cannot even say what it is
        return ""


def line(error: BaseException, source: str) -> str:
    """Where it happened, as `file:line`: the innermost line that is the plugin's own, if any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    home = _home(source)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if home is not None and (file == home or home in file.parents):
            return f"{frame.filename}:{frame.lineno}"
    return ""


def _home(source: str) -> Path | None:
    """The file of a plugin, or the folder of its package."""
    if source.endswith(".py"):
        return Path(source)
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(source.partition(".")[0])
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
        if spec is not None and spec.origin:
            return Path(spec.origin)
    return None
