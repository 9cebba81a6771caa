"""Describe the error of a plugin, with the line in its own source."""

from __future__ import annotations

import contextlib
import importlib.util
import traceback
from pathlib import Path
from types import TracebackType

from zoo.errors import ZooError
from zoo.plugins.import_guard import EndsProcess, TooSlow

LONGEST = 200
"""Longest message, in characters; libraries may raise messages of many lines."""


def reason(error: BaseException, source: str) -> str:
    """Return one line for an error; `source` is the module or file of the plugin."""
    text = " ".join(_text(error).split())
    if len(text) > LONGEST:
        text = text[: LONGEST - 3] + "..."
    if not isinstance(error, ZooError | TooSlow | EndsProcess):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    where = line(error, source)
    return f"{text} ({where})" if where else text


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # an exception class of the plugin whose __str__ fails
        return ""


def own_traceback(error: BaseException, source: str) -> TracebackType | None:
    """Return the traceback from the first frame within the plugin on; all of it without one."""
    home, left = _home(source), error.__traceback__
    while home is not None and left is not None:
        if _is_within(left.tb_frame.f_code.co_filename, home):
            return left
        left = left.tb_next
    return error.__traceback__


def line(error: BaseException, source: str) -> str:
    """Return `file:line` of the innermost frame within the plugin, or an empty string."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    home = _home(source)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if home is not None and _is_within(frame.filename, home):
            return f"{frame.filename}:{frame.lineno}"
    return ""


def _is_within(name: str, home: Path) -> bool:
    return home in (file := Path(name), *file.parents)


def _home(source: str) -> Path | None:
    """The file of a one-file plugin, or the folder of a package."""
    if source.endswith(".py"):
        return Path(source)
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(source.partition(".")[0])
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
        if spec is not None and spec.origin:
            return Path(spec.origin)
    return None
