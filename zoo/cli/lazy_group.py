"""The root of the commands: each is built when it is called, and a plugin imported for its own.

To build all of them takes 25 ms, and the plugins' commands as long again: `zoo --help` needs only
their names and first sentences, which of plugins are remembered until their module changes.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import pluggy
import typer
import typer.main
from typer.core import TyperCommand, TyperGroup
from typer.models import CommandInfo, TyperInfo

from zoo import hookspecs
from zoo.errors import UsageError
from zoo.plugins import entry_points, error_report, import_guard
from zoo.plugins.entry_points import Entry

PACKAGES = {
    "metrics": "zoo-metrics",
    "mlflow": "zoo-mlflow",
    "notify": "zoo-notify",
    "report": "zoo-report",
    "ui": "zoo-web",
    "worker": "mnist-zoo-workers",
}
"""Commands that come with packages of their own, which need not be installed."""

problems: dict[str, str] = {}
"""What is wrong with the commands of the plugins that have entered, by the plugin's name."""


class Face(NamedTuple):
    """What `zoo --help` shows of a command, or of a group of commands."""

    is_group: bool
    name: str
    help: str | None
    short_help: str | None
    hidden: bool


class Commands(TyperGroup):
    """The root; `commands` holds faces, which have no params."""

    app: typer.Typer
    absent: dict[str, Entry]
    """Commands of plugins that are not imported yet."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # A plugin may have got a command in a module that was not looked at.
        if args[0] not in self.commands:
            enter_all(self.app)
            self.show(_faces(self.app))
            if args[0] in PACKAGES and args[0] not in self.commands:
                raise UsageError(
                    f"The command '{args[0]}' is of a package that is not installed here.",
                    f"Install it: pip install {PACKAGES[args[0]]}.",
                )
        elif entry := self.absent.get(args[0]):
            _enter(self.app, entry)
            whole = _built(self.app, args[0])
            if whole is None:  # it is broken by now
                del self.commands[args[0]]
        name, face, rest = super().resolve_command(ctx, args)
        return name, _built(self.app, args[0]) if face else None, rest

    def show(self, faces: list[Face]) -> None:
        """Have these commands; the groups stand last, as Typer has them."""
        self.commands = {
            face.name: TyperCommand(
                face.name, help=face.help, short_help=face.short_help, hidden=face.hidden
            )
            for face in sorted(faces, key=lambda face: face.is_group)
        }


def root(app: typer.Typer) -> Commands:
    """The group of all commands, of which none is built."""
    bare = copy.copy(app)
    bare.registered_commands, bare.registered_groups = [], []
    bare.info = copy.copy(app.info)
    bare.info.cls = Commands
    group: Any = typer.main.get_command(bare)
    group.app, group.absent = app, {}
    remembered = list(_remembered(app))
    # Those that had to enter stand in the app by now; a command that is there stays what it is.
    shown = {face.name: face for face in _faces(app)}
    for entry, faces in remembered:
        for face in faces:
            if shown.setdefault(face.name, face) is face:
                group.absent[face.name] = entry
    group.show(list(shown.values()))
    return group  # type: ignore[no-any-return]


def _plugins() -> list[Entry]:
    """Those with commands, in the order in which pluggy would call them all: the last one first."""
    return entry_points.of("zoo.commands")[::-1]


def enter_all(app: typer.Typer) -> None:
    """Let every plugin with commands add them."""
    for entry in _plugins():
        _enter(app, entry)


_entered: WeakKeyDictionary[typer.Typer, set[str]] = WeakKeyDictionary()


def _enter(app: typer.Typer, entry: Entry, taken: Iterable[str] = ()) -> None:
    """Let a plugin add its commands, once; those `taken` are of plugins that have not entered."""
    entered = _entered.setdefault(app, set())
    if entry.name in entered:
        return
    entered.add(entry.name)
    manager = pluggy.PluginManager("zoo")
    manager.add_hookspecs(hookspecs)
    before = [_Kept(each) for each in _apps(app)]
    before[0].names.update(taken)
    # A broken one must not take the terminal with it.
    try:
        with import_guard.importing(entry.name):
            manager.register(entry.load(), entry.name)
            manager.hook.register_commands(app=app)
    except (Exception, SystemExit, import_guard.TooSlow, import_guard.EndsProcess) as error:
        problems[entry.name] = error_report.reason(error, entry.value.partition(":")[0])
    wrong = [name for kept in before for name in kept.restore()]
    if wrong:
        problems[entry.name] = f"it may not replace what there is: {', '.join(sorted(wrong))}"


def _apps(app: typer.Typer) -> Iterator[typer.Typer]:
    yield app
    for group in app.registered_groups:
        if group.typer_instance:
            yield from _apps(group.typer_instance)


class _Kept:
    """An app and its commands before a plugin was let near: it may add, and replace none."""

    def __init__(self, app: typer.Typer) -> None:
        self.app = app
        self.callback = app.registered_callback
        self.commands = [(info, info.callback) for info in app.registered_commands]
        self.groups = [(info, info.typer_instance) for info in app.registered_groups]
        self.names = {*map(_name, app.registered_commands), *map(_group, app.registered_groups)}

    def restore(self) -> list[str]:
        """Undo what is more than an addition, and give its names."""
        app, old = self.app, [info for info, _ in self.commands]
        old_groups = [info for info, _ in self.groups]
        added = [info for info in app.registered_commands if info not in old]
        added_groups = [info for info in app.registered_groups if info not in old_groups]
        wrong = [name for name in map(_name, added) if name in self.names]
        wrong += [name for name in map(_group, added_groups) if name in self.names]
        wrong += [_name(info) for info in old if info not in app.registered_commands]
        wrong += [_group(info) for info in old_groups if info not in app.registered_groups]
        for info, callback in self.commands:
            if info.callback is not callback:
                info.callback = callback
                wrong.append(_name(info))
        for group, inner in self.groups:
            if group.typer_instance is not inner:
                group.typer_instance = inner
                wrong.append(_group(group))
        if app.registered_callback is not self.callback:
            app.registered_callback = self.callback
            wrong.append("--version")
        app.registered_commands = old + [i for i in added if _name(i) not in self.names]
        app.registered_groups = old_groups + [
            i for i in added_groups if _group(i) not in self.names
        ]
        return wrong


def _name(info: CommandInfo) -> str:
    return info.name or typer.main.get_command_name(info.callback.__name__)  # type: ignore[union-attr]


def _group(info: TyperInfo) -> str:
    return typer.main.solve_typer_info_defaults(info).name or ""


def _faces(app: typer.Typer) -> list[Face]:
    found = []
    for info in app.registered_commands:
        name = _name(info)
        told = inspect.getdoc(info.callback) if info.help is None else inspect.cleandoc(info.help)
        found.append(Face(False, name, told, info.short_help, info.hidden))
    for group in app.registered_groups:
        solved = typer.main.solve_typer_info_defaults(group)
        named = (solved.name or "", solved.help, solved.short_help, solved.hidden)
        found.append(Face(True, *named))
    return found


def _built(app: typer.Typer, name: str) -> Any:
    """The command itself, with its params; None if there is none of that name."""
    for group in reversed(app.registered_groups):
        if typer.main.solve_typer_info_defaults(group).name == name:
            return typer.main.get_group_from_info(
                group,
                pretty_exceptions_short=app.pretty_exceptions_short,
                suggest_commands=app.suggest_commands,
                rich_markup_mode=app.rich_markup_mode,
            )
    for info in reversed(app.registered_commands):
        if name == _name(info):
            return typer.main.get_command_from_info(
                info,
                pretty_exceptions_short=app.pretty_exceptions_short,
                rich_markup_mode=app.rich_markup_mode,
            )
    return None


def _remembered(app: typer.Typer) -> Iterator[tuple[Entry, list[Face]]]:
    """The plugins whose commands are known from before; the others enter the app."""
    file = entry_points.remembered("commands.json")
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(file.read_text()) if file else {}
    fresh = {}
    taken: list[str] = []
    for entry in _plugins():
        kept = known.get(entry.value)
        if kept and kept["module"] == _stamp(kept["module"][0]):
            faces = [Face(*face) for face in kept["faces"]]
            taken += [face.name for face in faces]
            yield entry, faces
        else:
            kept = _learn(app, entry, taken)
        fresh[entry.value] = kept
    if file and fresh != known:
        entry_points.keep(file, json.dumps(fresh))


def _learn(app: typer.Typer, entry: Entry, taken: Iterable[str]) -> dict[str, Any] | None:
    """Import a plugin for its faces; None if it changes what others have added, or is broken."""
    before, inner = _faces(app), _inner(app)
    _enter(app, entry, taken)
    after = _faces(app)
    faces = [face for face in after if face not in before]
    module = getattr(sys.modules.get(entry.value.partition(":")[0]), "__file__", None)
    changes = _inner(app)[: len(inner)] != inner or len(after) != len(before) + len(faces)
    if not faces or not module or changes:
        return None
    return {"module": _stamp(module), "faces": faces}


def _inner(app: typer.Typer) -> list[int]:
    """How many commands each group has."""
    groups = (group.typer_instance for group in app.registered_groups)
    return [len(each.registered_commands) for each in groups if each]


def _stamp(path: str) -> list[Any]:
    try:
        found = Path(path).stat()
    except OSError:
        return [path, 0, 0]
    return [path, found.st_mtime_ns, found.st_size]
