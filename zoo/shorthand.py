"""Modules that can also be called: `zoo.jobs(...)` and `zoo.leaderboard(...)` in a notebook."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class Shorthand(ModuleType):
    """A module that, called, is the function of its name in another module, its `room`."""

    room: str

    def __call__(self, *args: Any, **words: Any) -> Any:
        return self._function()(*args, **words)

    @property
    def __signature__(self) -> Any:
        # A notebook completes the names of the arguments from it.
        import inspect

        return inspect.signature(self._function())

    def _function(self) -> Any:
        return getattr(import_module(self.room), self.__name__.rpartition(".")[2])


def make_callable(module: ModuleType, room: str) -> None:
    """Let a module be called; the room with the function is imported when it is.

    To give a module a class of its own is documented: "Customizing module attribute access" in the
    language reference.
    """
    module.__class__ = Shorthand
    module.__dict__["room"] = room
