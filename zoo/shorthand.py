"""Modules that can also be called: `zoo.jobs(...)` and `zoo.leaderboard(...)` in a notebook."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class Shorthand(ModuleType):
    """A module that, called, is the function of the same name in `zoo.notebook`."""

    def __call__(self, *args: Any, **words: Any) -> Any:
        return self._function()(*args, **words)

    @property
    def __signature__(self) -> Any:
        # A notebook completes the names of the arguments from it.
        import inspect

        return inspect.signature(self._function())

    def _function(self) -> Any:
        name = self.__name__.removeprefix("zoo.")
        return getattr(import_module("zoo.notebook"), name)


def make_callable(module: str) -> None:
    """Let a module of `zoo` be called, which is being imported.

    To give a module a class of its own is documented: "Customizing module attribute access" in the
    language reference.
    """
    sys.modules[module].__class__ = Shorthand
