"""Zoo: train, judge and compare many small models from a terminal.

What a plugin needs is here: `zoo.Model`, `zoo.Params`, `zoo.param`, `zoo.Dataset`, `zoo.hookimpl`.
What a notebook needs, too: `zoo.train`, `zoo.job`, `zoo.jobs`, `zoo.leaderboard`, `zoo.models`,
`zoo.load`.
"""

from __future__ import annotations

# Nothing is imported here: `python -m zoo` comes by before it has left the working directory
# out of sys.path, and before `zoo.__main__` has seen to Ctrl-C. Type checkers take this name for
# true.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from zoo.errors import DatasetError as DatasetError
    from zoo.errors import ZooError as ZooError
    from zoo.hookspecs import hookimpl as hookimpl
    from zoo.model import Dataset as Dataset
    from zoo.model import Images as Images
    from zoo.model import Model as Model
    from zoo.model import Params as Params
    from zoo.model import Report as Report
    from zoo.model import param as param

__version__ = "0.1.0"

# Loaded on first use, so that `zoo --help` does not wait for pydantic.
_ROOMS = {
    "Dataset": "zoo.model",
    "Images": "zoo.model",
    "Model": "zoo.model",
    "Params": "zoo.model",
    "Report": "zoo.model",
    "param": "zoo.model",
    "hookimpl": "zoo.hookspecs",
    "ZooError": "zoo.errors",
    "DatasetError": "zoo.errors",
    **dict.fromkeys(("job", "load", "models", "train"), "zoo.notebook.functions"),
}
# `zoo.jobs` is the package with the rows, which know of no notebook; `zoo.jobs()` lists them.
_MODULES = dict.fromkeys(("jobs", "leaderboard"), "zoo.notebook.functions")
__all__ = ["__version__", *sorted([*_ROOMS, *_MODULES])]


def __dir__() -> list[str]:
    """Return what the module offers, so that a shell or notebook completes it."""
    return __all__


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        from zoo.shorthand import make_callable

        module = import_module(f"zoo.{name}")
        make_callable(module, _MODULES[name])
        return module
    if name not in _ROOMS:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'")
    return getattr(import_module(_ROOMS[name]), name)
