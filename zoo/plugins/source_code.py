"""The source of a plugin: the hash of its files, and the modules that a file imports."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path

BASE = re.compile(rb"^[ \t]*(?:from|import)[ \t]+(zoo_\w+)", re.M)
"""An import of a package of another plugin."""


def sha256(source: str, content: bytes | None = None) -> str:
    """Return the sha256 of the names and contents of a plugin's Python files; empty if none.

    Args:
        source: The file of a one-file plugin, or an imported module, of whose top package all
            files count.
        content: The bytes of the one file as they were imported.
    """
    files = _read(source, content)
    return _hash(files) if files is not None else ""


def sha256_with_bases(source: str, content: bytes | None = None) -> str:
    """Return `sha256` of a plugin together with that of the packages its models are built on.

    These are packages of plugins that it imports, such as `zoo_keras`: to edit one changes what
    the plugin does. Without any it is the same as `sha256`.
    """
    files = _read(source, content)
    if files is None:
        return ""
    own = source.partition(".")[0]
    every = {name.decode() for found in files.values() for name in BASE.findall(found)}
    bases = [f"{name} {sha256(name)}" for name in sorted(every - {own})]
    found = _hash(files)
    return hashlib.sha256("\n".join([found, *bases]).encode()).hexdigest() if bases else found


def _read(source: str, content: bytes | None) -> dict[str, bytes] | None:
    """The contents of a plugin's files by name; None if it has no source."""
    file = place(source)
    if file is None:
        return None
    folder, files = file.parent, [file]
    if file.name == "__init__.py":
        files = sorted(folder.rglob("*.py"))
    found = {}
    for each in files:
        with contextlib.suppress(OSError):
            read = each.read_bytes() if content is None else content
            found[each.relative_to(folder).as_posix()] = read
    return found


def _hash(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, found in files.items():
        digest.update(f"{name} {len(found)}\n".encode())
        digest.update(found)
    return digest.hexdigest()


def place(source: str) -> Path | None:
    """Return the file of a one-file plugin, or of the top package of an installed module."""
    if source.endswith(".py"):
        return Path(source)
    package = source.partition(".")[0]
    if package in sys.modules:
        file = getattr(sys.modules[package], "__file__", None)
    else:  # a base that is imported in a method
        with contextlib.suppress(ImportError, ValueError):
            found = importlib.util.find_spec(package)
            return Path(found.origin) if found and found.origin else None
        return None
    return Path(file) if file else None


def imports(content: bytes) -> list[str]:
    """Return the top-level packages that a file imports, also within functions."""
    found: set[str] = set()
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse(content)):
            if isinstance(node, ast.Import):
                found |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return sorted(found)
