"""The manual page of `zoo`, made from its commands and settings."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo import __version__, settings
from zoo.cli import lazy_group
from zoo.cli.lazy_group import Commands
from zoo.errors import ZooError, reason, unknown

EXIT = re.compile(r"(\d+) ([^;.]+)")


def man_page(root: Commands) -> str:
    """Return the page in roff, for man(1); all commands are loaded, also those of plugins."""
    lazy_group.load_all(root.app)
    context = root.context_class(root, info_name="zoo")
    panels: dict[str, list[str]] = {title: [] for title in (*lazy_group.PANELS, lazy_group.OTHERS)}
    for name in root.list_commands(context):
        command = root.resolve_command(context, [name])[1]
        panel = getattr(root.commands[name], "rich_help_panel", None) or lazy_group.OTHERS
        if not command.hidden:
            panels.setdefault(panel, []).extend(_command(command, f"zoo {name}", context))
    refs, codes = (root.epilog or "").split("\n\n")[:2]
    parts = [
        f'.TH ZOO 1 "" "Zoo {__version__}" "User Commands"',
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"zoo \- {plain(root.help).lower().rstrip('.')}",
        ".SH SYNOPSIS",
        ".B zoo",
        r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        plain(root.help),
        ".PP",
        plain(refs),
        ".SH COMMANDS",
    ]
    for title, lines in panels.items():
        parts += [f'.SS "{plain(title)}"', *lines] if lines else []
    parts += [".SH EXIT STATUS", *_exit_codes(codes), ".SH ENVIRONMENT", *_variables()]
    return "\n".join(parts) + "\n"


def command_page(root: Commands, names: Sequence[str]) -> str:
    """Return the page of one command, such as `data add`, in roff.

    Raises UsageError if there is no such command.
    """
    lazy_group.load_all(root.app)
    context: Any = root.context_class(root, info_name="zoo")
    command: Any = root
    path = "zoo"
    for name in names:
        known = getattr(command, "commands", {})
        if name not in known:
            raise unknown("command", name, known, f"{path} --help")
        command = root.resolve_command(context, [name])[1] if command is root else known[name]
        parent, path = context, f"{path} {name}"
        context = command.context_class(command, info_name=name, parent=parent)
    title = path.replace(" ", "-")
    summary = plain((command.help or "").split(".")[0])
    parts = [
        f'.TH {plain(title.upper())} 1 "" "Zoo {__version__}" "User Commands"',
        ".nh",
        ".ad l",
        ".SH NAME",
        rf"{plain(title)} \- {summary}",
        ".SH USAGE",
        *_command(command, path, parent),
    ]
    return "\n".join(parts) + "\n"


def _command(command: Any, path: str, parent: Any) -> Iterator[str]:
    """Yield the lines about a command and, for a group, about its commands."""
    context = command.context_class(command, info_name=path.split()[-1], parent=parent)
    inner = getattr(command, "commands", None)
    usage = [] if inner else command.collect_usage_pieces(context)
    yield ".TP"
    yield rf"\fB{plain(path)}\fR {plain(' '.join(usage))}".rstrip()
    yield from _paragraphs(command.help)
    yield ".RS"
    for param in command.params:
        record = param.get_help_record(context)
        if record and "--help" not in param.opts:
            yield ".TP"
            yield rf"\fB{plain(record[0])}\fR"
            yield plain(record[1]) or r"\&"
    yield ".RE"
    for name, each in (inner or {}).items():
        if not each.hidden:
            yield from _command(each, f"{path} {name}", context)


def _exit_codes(text: str) -> Iterator[str]:
    for code, meaning in EXIT.findall(text):
        yield from (".TP", rf"\fB{code}\fR", plain(meaning))


def _variables() -> Iterator[str]:
    for each in dataclasses.fields(settings.Settings):
        default: Any = each.default
        if isinstance(default, bool):
            default = "on" if default else "off"
        about = each.metadata["help"]
        about += f" [default: {default}]" if default not in ("", None) else ""
        yield from (".TP", rf"\fB{settings.variable(each.name)}\fR", plain(about))


def _paragraphs(text: str | None) -> Iterator[str]:
    for number, part in enumerate(filter(None, (text or "").split("\n\n"))):
        if number:
            yield ".IP"
        yield plain(part)


def plain(text: str | None) -> str:
    """Return text as roff prints it, in one line; no part of it is a request."""
    line = " ".join((text or "").split())
    line = line.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga")
    line = line.replace("'", r"\(aq").replace('"', r"\(dq")
    return rf"\&{line}" if line.startswith(".") else line


def show(text: str) -> None:
    """Show a page with man(1). Raises ZooError where there is none."""
    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        file = Path(folder) / "zoo.1"
        file.write_text(text)
        try:
            subprocess.run(["man", str(file)], check=False)
        except OSError as error:
            raise ZooError(
                f"man cannot be started: {reason(error)}.",
                "`zoo man > zoo.1` writes the source of the page; `zoo --help` needs no man.",
            ) from None
