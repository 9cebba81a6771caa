"""The source of a plugin: the hash of its files, and the modules that a file imports."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
from pathlib import Path


def sha256(source: str, content: bytes | None = None) -> str:
    """Return the sha256 of the names and contents of a plugin's Python files; empty if none.

    Args:
        source: The file of a one-file plugin, or an imported module, of whose top package all
            files count.
        content: The bytes of the one file as they were imported.
    """
    file = place(source)
    if file is None:
        return ""
    folder, files = file.parent, [file]
    if file.name == "__init__.py":
        files = sorted(folder.rglob("*.py"))
    digest = hashlib.sha256()
    for each in files:
        with contextlib.suppress(OSError):
            found = each.read_bytes() if content is None else content
            digest.update(f"{each.relative_to(folder).as_posix()} {len(found)}\n".encode())
            digest.update(found)
    return digest.hexdigest()


def place(source: str) -> Path | None:
    """Return the file of a one-file plugin, or of the top package of an imported module."""
    if source.endswith(".py"):
        return Path(source)
    module = sys.modules.get(source.partition(".")[0])
    file = getattr(module, "__file__", None)
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
