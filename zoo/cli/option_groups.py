"""Options declared once as a dataclass, added to many commands and passed as one argument."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

Command = Callable[..., None]


def takes(words: type, name: str = "words") -> Callable[[Command], Command]:
    """Give a command the fields of a dataclass as options; it takes them together, by that name.

    The annotations of the fields are what Typer reads.
    """
    hints = get_type_hints(words, include_extras=True)
    theirs = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=hints[each.name],
        )
        for each in fields(words)
    ]

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != name]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            together = words(**{each.name: given.pop(each.name) for each in theirs})
            command(**{name: together}, **given)

        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + theirs
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate
