"""Things at a path that are no regular file, or are too large: whoever reads one must refuse it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _socket(path: Path) -> None:
    # The path of a socket is limited to 107 bytes: bind a short name in its folder.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _silent(path: Path) -> None:
    path.symlink_to("/dev/tty")


def _link_to_pipe(path: Path) -> None:
    target = path.with_name(f"{path.name}-pipe")
    os.mkfifo(target)
    path.symlink_to(target)


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _dangling(path: Path) -> None:
    path.symlink_to("nothing-is-here")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": _pipe,
    "folder": _folder,
    "socket": _socket,
    "endless device": _endless,
    "silent device": _silent,
    "link to a pipe": _link_to_pipe,
    "link to itself": _link_to_itself,
    "dangling link": _dangling,
    "a terabyte": _sparse,
}
"""Each makes one at a path; a careless reader waits for ever, or takes all memory."""
