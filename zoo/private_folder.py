"""Private folders and files: created for their owner only, rejected if others may write to them."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from zoo.errors import ZooError, reason


def make(folder: Path, advice: str = "") -> Path:
    """Make a folder for its owner alone, whatever the umask, and see that no other may write to it.

    So are folders above it that are missing. One that is there keeps its mode. Raises ZooError,
    with `advice` where it cannot be made.
    """
    for each in (*reversed(folder.parents), folder):
        try:
            each.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            if each.is_dir():  # of a read-only file system, as the root may be
                continue
            raise ZooError(
                f"The folder {folder} cannot be made: {reason(error)}.",
                advice or "Set ZOO_HOME to a folder that you may write to.",
            ) from None
    check(folder)
    return folder


def make_file(file: Path) -> None:
    """Create an empty file readable only by its owner, unless it exists."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def check(path: Path) -> None:
    """Raise ZooError if another user owns a folder or file, or may write to it."""
    if complaint := complaint_of(path):
        raise ZooError(
            f"{path} is not safe to use: {complaint}.",
            f"See what is in it; then `{remedy(path)}`, or set ZOO_HOME to a folder of your own.",
        )


def complaint_of(path: Path) -> str:
    """Return the problem of a folder or file, or an empty string; a missing one has none."""
    try:
        found = [path.stat(), *([path.lstat()] if path.is_symlink() else [])]
    except OSError:
        return ""
    me = os.geteuid()
    for each in found:
        # Root may access all files.
        if each.st_uid not in (me, 0):
            return f"it belongs to {_user(each.st_uid)}, not to {_user(me)}"
    mode = found[0].st_mode
    if mode & stat.S_IWOTH:
        return f"every user may write to it (mode {stat.S_IMODE(mode):04o})"
    if mode & stat.S_IWGRP and not _is_alone(found[0].st_gid):
        return f"its group may write to it (mode {stat.S_IMODE(mode):04o})"
    return ""


def is_private(path: Path) -> bool:
    """Return whether a folder exists, is owned by this user, and is closed to others."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    )


def _is_alone(gid: int) -> bool:
    """Whether a group is private to this user, as on Linux systems with the umask 002."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (
        user.pw_gid == gid and group.gr_name == user.pw_name and {*group.gr_mem} <= {user.pw_name}
    )


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def remedy(path: Path) -> str:
    """Return the command that corrects the problem reported by `complaint_of`."""
    if path.stat().st_uid not in (os.geteuid(), 0):
        return f"sudo chown {_user(os.geteuid())} {path}"
    return f"chmod go-w {path}"
