"""The root command group: commands are imported and built only when called.

Importing and building all commands takes as long as the rest of a short command, and the plugins'
commands half as long again. `zoo --help` needs only names and summaries, which are cached until
their module changes.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import typer
import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup
from typer.models import CommandInfo, DefaultPlaceholder, TyperInfo

from zoo.cli import param_conversion
from zoo.plugins import entry_points, packages
from zoo.plugins.entry_points import Entry

PANELS = (
    "Train",
    "Look at jobs",
    "Act on jobs",
    "Results",
    "The zoo: models, data, plugins",
    "Machinery",
)
"""Sections of `zoo --help`, in their order: the `rich_help_panel` of a command."""
OTHERS = "Other commands"
"""The section of commands without a panel, as plugins may add them."""

problems: dict[str, str] = {}
"""Errors of loaded plugins' commands, by the plugin's name."""


class Summary(NamedTuple):
    """The part of a command or command group that `zoo --help` shows."""

    is_group: bool
    name: str
    help: str | None
    short_help: str | None
    hidden: bool
    panel: str | None = None


class LazyApp(typer.Typer):
    """An app that imports the modules of its commands when one is called, or all are asked for."""

    def __init__(self, package: ModuleType, panels: Mapping[str, Sequence[str]], **options: Any):
        """Take the package and its modules with a function `add_to(app)`, by panel."""
        super().__init__(**options)
        self.package = package
        self.panels = {name: panel for panel, names in panels.items() for name in names}
        self._parts: dict[str, typer.Typer] = {}
        # So that `__getattr__` is called for them.
        del self.registered_commands, self.registered_groups

    def __getattr__(self, name: str) -> Any:
        if name not in ("registered_commands", "registered_groups"):
            raise AttributeError(name)
        parts = [self.part(each) for each in self.panels]
        self.registered_commands = [info for part in parts for info in part.registered_commands]
        self.registered_groups = [info for part in parts for info in part.registered_groups]
        return self.__dict__[name]

    def is_complete(self) -> bool:
        """Return whether all commands are imported; plugins may have added others then."""
        return "registered_commands" in self.__dict__

    def part(self, name: str) -> typer.Typer:
        """Import a module, once; return an app with its commands."""
        if name not in self._parts:
            self._parts[name] = part = typer.Typer()
            import_module(f"{self.package.__name__}.{name}").add_to(part)
            for command in part.registered_commands:
                command.rich_help_panel = self.panels[name]
            for group in part.registered_groups:
                group.rich_help_panel = self.panels[name]
        return self._parts[name]

    def file(self, name: str) -> str:
        """Return the path of a module, without pathlib: each command asks for all of them."""
        return os.path.join(self.package.__path__[0], f"{name}.py")  # noqa: PTH118


class Commands(TyperGroup):
    """The root group; its `commands` are summaries without params."""

    app: typer.Typer
    modules: dict[str, str]
    """The modules of commands that are not imported yet."""
    not_loaded: dict[str, Entry]
    """Commands of plugins that are not imported yet."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # The cache misses a command that a plugin defines in a module other than its first.
        if args[0] not in self.commands:
            load_all(self.app)
            self.set_summaries(_summaries(self.app))
            if args[0] not in self.commands and (error := packages.missing_command(args[0])):
                raise error
        elif entry := self.not_loaded.get(args[0]):
            _load(self.app, entry)
            if _build(self.app, args[0]) is None:  # broken since it was cached
                del self.commands[args[0]]
        name, summary, rest = super().resolve_command(ctx, args)
        return name, self._build(args[0]) if summary else None, rest

    def _build(self, name: str) -> Any:
        if isinstance(self.app, LazyApp) and not self.app.is_complete() and name in self.modules:
            return _build(self.app, name, self.app.part(self.modules[name]))
        return _build(self.app, name)

    def set_summaries(self, summaries: list[Summary]) -> None:
        """Set the commands; groups come last, as in Typer."""
        self.commands = {
            each.name: TyperCommand(
                each.name,
                help=each.help,
                short_help=each.short_help,
                hidden=each.hidden,
                rich_help_panel=each.panel,
            )
            for each in sorted(summaries, key=lambda each: each.is_group)
        }

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands by panel; without any panel as Typer does."""
        shown = {name: each for name, each in self.commands.items() if not each.hidden}
        panels = {getattr(each, "rich_help_panel", None) or OTHERS for each in shown.values()}
        if panels <= {OTHERS}:
            super().format_commands(ctx, formatter)
            return
        width = max(map(len, shown))
        for title in (*PANELS, *sorted(panels - {*PANELS, OTHERS}), OTHERS):
            rows = [
                (name.ljust(width), each.get_short_help_str(formatter.width - 6 - width))
                for name, each in shown.items()
                if (getattr(each, "rich_help_panel", None) or OTHERS) == title
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def root(app: typer.Typer) -> Commands:
    """Return the group of all commands, none of which is built yet."""
    bare = copy.copy(app)
    bare.registered_commands, bare.registered_groups = [], []
    bare.info = copy.copy(app.info)
    bare.info.cls = Commands
    group: Any = _finished(typer.main.get_command(bare))
    group.app, group.modules, group.not_loaded = app, {}, {}
    file = entry_points.remembered("commands.json")
    known = _read(file)
    fresh: dict[str, Any] = {}
    own = _own(app, known, fresh)
    cached = list(_cached(app, known, fresh))
    if file and fresh != known:
        entry_points.keep(file, json.dumps(fresh))
    shown: dict[str, Summary] = {}
    for module, summaries in own:
        shown |= {each.name: each for each in summaries}
        group.modules |= dict.fromkeys((each.name for each in summaries), module)
    # Plugins that had to be loaded are in the app now; existing commands take precedence.
    if not isinstance(app, LazyApp) or app.is_complete():
        shown = {each.name: each for each in _summaries(app)}
    for entry, summaries in cached:
        for each in summaries:
            if shown.setdefault(each.name, each) is each:
                group.not_loaded[each.name] = entry
    group.set_summaries(list(shown.values()))
    return group  # type: ignore[no-any-return]


def _plugins() -> list[Entry]:
    """Plugins with commands in the order in which pluggy calls them: last registered first."""
    return entry_points.of("zoo.commands")[::-1]


def load_all(app: typer.Typer) -> None:
    """Load the commands of all plugins."""
    for entry in _plugins():
        _load(app, entry)


_loaded: WeakKeyDictionary[typer.Typer, set[str]] = WeakKeyDictionary()


def _load(app: typer.Typer, entry: Entry, taken: Iterable[str] = ()) -> None:
    """Load a plugin's commands, once; the names `taken` belong to plugins not loaded yet."""
    loaded = _loaded.setdefault(app, set())
    if entry.name in loaded:
        return
    loaded.add(entry.name)
    import pluggy

    from zoo import hookspecs
    from zoo.plugins import error_report, import_guard

    manager = pluggy.PluginManager("zoo")
    manager.add_hookspecs(hookspecs)
    before = [_Snapshot(each) for each in _apps(app)]
    before[0].names.update(taken)
    # A broken plugin must not break the other commands.
    try:
        with import_guard.importing(entry.name):
            manager.register(entry.load(), entry.name)
            manager.hook.register_commands(app=app)
    except (Exception, SystemExit, import_guard.TooSlow, import_guard.EndsProcess) as error:
        problems[entry.name] = error_report.reason(error, entry.value.partition(":")[0])
    wrong = [name for snapshot in before for name in snapshot.restore()]
    if wrong:
        names = ", ".join(sorted(wrong))
        problems[entry.name] = f"it replaces existing commands, which is not allowed: {names}"


def _apps(app: typer.Typer) -> Iterator[typer.Typer]:
    yield app
    for group in app.registered_groups:
        if group.typer_instance:
            yield from _apps(group.typer_instance)


class _Snapshot:
    """An app's commands before a plugin is loaded: a plugin may add commands, not replace any."""

    def __init__(self, app: typer.Typer) -> None:
        self.app = app
        self.callback = app.registered_callback
        self.commands = [(info, info.callback) for info in app.registered_commands]
        self.groups = [(info, info.typer_instance) for info in app.registered_groups]
        self.names = {*map(_name, app.registered_commands), *map(_group, app.registered_groups)}

    def restore(self) -> list[str]:
        """Undo all changes except additions; returns the names of the undone ones."""
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


def _summaries(app: typer.Typer) -> list[Summary]:
    found = []
    for info in app.registered_commands:
        name = _name(info)
        text = inspect.getdoc(info.callback) if info.help is None else inspect.cleandoc(info.help)
        panel = _panel(info.rich_help_panel)
        found.append(Summary(False, name, text, info.short_help, info.hidden, panel))
    for group in app.registered_groups:
        solved = typer.main.solve_typer_info_defaults(group)
        named = (solved.name or "", solved.help, solved.short_help, solved.hidden)
        found.append(Summary(True, *named, _panel(solved.rich_help_panel)))
    return found


def _panel(value: Any) -> str | None:
    """The panel itself: Typer keeps a default as a placeholder."""
    found: str | None = value.value if isinstance(value, DefaultPlaceholder) else value
    return found


def _build(app: typer.Typer, name: str, part: typer.Typer | None = None) -> Any:
    """Build the command with its params; None if there is no such command.

    It is looked for among the commands of `part`, if given.
    """
    part = part or app
    for group in reversed(part.registered_groups):
        if typer.main.solve_typer_info_defaults(group).name == name:
            return _finished(
                typer.main.get_group_from_info(
                    group,
                    pretty_exceptions_short=app.pretty_exceptions_short,
                    suggest_commands=app.suggest_commands,
                    rich_markup_mode=app.rich_markup_mode,
                )
            )
    for info in reversed(part.registered_commands):
        if name == _name(info):
            return _finished(
                typer.main.get_command_from_info(
                    info,
                    pretty_exceptions_short=app.pretty_exceptions_short,
                    rich_markup_mode=app.rich_markup_mode,
                )
            )
    return None


def _finished(command: Any) -> Any:
    """Return a command that Typer has built, ready to run.

    The help of an argument with a metavar does not show its Python type (`<list[str]>`), and
    pydantic is asked only for values that it changes.
    """
    for each in (command, *getattr(command, "commands", {}).values()):
        for param in each.params:
            param_conversion.avoid_pydantic(param)
            if isinstance(param, TyperArgument) and param.metavar:
                setattr(param, "display_type_rich", lambda ctx: None)  # noqa: B010  (a method)
        each.get_help_option = functools.partial(_help_option, each.get_help_option)
    return command


def _help_option(made: Callable[[Any], Any], ctx: Any) -> Any:
    if (option := made(ctx)) is not None:
        param_conversion.avoid_pydantic(option)
    return option


def _read(file: Path | None) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(file.read_text())) if file else {}
    return {}


def _own(
    app: typer.Typer, known: Mapping[str, Any], fresh: dict[str, Any]
) -> list[tuple[str, list[Summary]]]:
    """Return each module of the app with summaries of its commands; import those not cached."""
    found: list[tuple[str, list[Summary]]] = []
    if not isinstance(app, LazyApp):
        return found
    for name in app.panels:
        stamp = _stamp(app.file(name))
        kept = known.get(f"own {name}")
        if not kept or kept["module"] != stamp:
            kept = {"module": stamp, "summaries": _summaries(app.part(name))}
        found.append((name, [Summary(*each) for each in kept["summaries"]]))
        fresh[f"own {name}"] = kept
    return found


def _cached(
    app: typer.Typer, known: Mapping[str, Any], fresh: dict[str, Any]
) -> Iterator[tuple[Entry, list[Summary]]]:
    """Yield the plugins whose summaries are cached; load the others into the app."""
    taken: list[str] = []
    for entry in _plugins():
        kept = known.get(entry.value)
        if kept and "summaries" in kept and kept["module"] == _stamp(kept["module"][0]):
            summaries = [Summary(*each) for each in kept["summaries"]]
            taken += [each.name for each in summaries]
            yield entry, summaries
        else:
            kept = _summarize(app, entry, taken)
        fresh[entry.value] = kept


def _summarize(app: typer.Typer, entry: Entry, taken: Iterable[str]) -> dict[str, Any] | None:
    """Import a plugin for its summaries; None if it is broken or changes existing commands."""
    before, sizes = _summaries(app), _group_sizes(app)
    _load(app, entry, taken)
    after = _summaries(app)
    added = [each for each in after if each not in before]
    module = getattr(sys.modules.get(entry.value.partition(":")[0]), "__file__", None)
    changes = _group_sizes(app)[: len(sizes)] != sizes or len(after) != len(before) + len(added)
    if not added or not module or changes:
        return None
    return {"module": _stamp(module), "summaries": added}


def _group_sizes(app: typer.Typer) -> list[int]:
    """The number of commands of each group."""
    groups = (group.typer_instance for group in app.registered_groups)
    return [len(each.registered_commands) for each in groups if each]


def _stamp(path: str) -> list[Any]:
    try:
        found = os.stat(path)  # noqa: PTH116 (as in `LazyApp.file`)
    except OSError:
        return [path, 0, 0]
    return [path, found.st_mtime_ns, found.st_size]
