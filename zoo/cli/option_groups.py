"""Commands that take the fields of a record as options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, get_type_hints

import typer

Command = Callable[..., None]
Option = functools.partial[Any]
"""An option without its default and bounds, which are the record's."""

LISTS = (Sequence[str], Sequence[str] | None)


def option(*flags: str, **about: Any) -> Option:
    """Describe how a field of a record is typed: `typer.Option` without default and bounds."""
    return functools.partial(typer.Option, *flags, **about)


def takes(
    record: type, options: Mapping[str, Option], name: str = "words", after: str | None = None
) -> Callable[[Command], Command]:
    """Add fields of a frozen record as options to a command, which takes the record as `name`.

    Names, types, defaults and bounds are the record's; `options` says how each field is typed,
    and a field without an entry is not offered. The options are listed behind the command's
    parameter `after`, else as the last ones.
    """
    hints = get_type_hints(record)
    added = [
        _parameter(each, hints[each.name], options[each.name])
        for each in fields(record)
        if each.name in options
    ]

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != name]

        @functools.wraps(command)
        def run(**given: Any) -> None:
            values = {each.name: given.pop(each.name) for each in added}
            chosen = {key: value for key, value in values.items() if value is not None}
            command(**{name: record(**chosen)}, **given)

        names = [each.name for each in own]
        at = names.index(after) + 1 if after else len(own)
        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for each in (*own[:at], *added, *own[at:])
        ]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _parameter(field: Field[Any], hint: Any, how: Option) -> inspect.Parameter:
    bounds = {name: field.metadata[name] for name in ("min", "max") if name in field.metadata}
    is_list = hint in LISTS
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if is_list else field.default,
        annotation=Annotated[list[str] | None if is_list else hint, how(**bounds)],
    )
