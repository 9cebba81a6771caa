"""Restore the state of the process after third-party code has run in it."""

from __future__ import annotations

import builtins
import contextlib
import gc
import locale
import logging
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

JOIN_SECONDS = 0.1
"""Time to wait for each remaining thread: most are about to end."""
MONITOR_SECONDS = 2.0
"""Time to wait for the monitor of tqdm, which ends as soon as it is asked to."""
FILES = 64
"""Libraries keep a few files open after their first use; more than this count as a leak."""
SIGNALS = tuple(map(int, signal.valid_signals()))
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
LIMITS = tuple(
    value for name, value in sorted(vars(resource).items()) if name.startswith("RLIMIT_")
)


class Part(NamedTuple):
    """A part of the state of a process; `write` raises or does nothing if it cannot restore it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _write_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _stop_timers(_: Any) -> None:
    for each in TIMERS:
        signal.setitimer(each, 0)


def _write_variables(variables: dict[str, str]) -> None:
    now = dict(os.environ)
    for name in now.keys() - variables.keys():
        del os.environ[name]
    for name, value in variables.items():
        if now.get(name) != value:
            os.environ[name] = value
    if now.get("TZ") != variables.get("TZ"):
        time.tzset()


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _write_locale(name: str) -> None:
    locale.setlocale(locale.LC_ALL, name)


def _write_path(path: list[str]) -> None:
    sys.path[:] = path


def _streams() -> list[tuple[Any, bool]]:
    return [(each, getattr(each, "closed", False)) for each in (sys.stdin, sys.stdout, sys.stderr)]


def _write_streams(streams: list[tuple[Any, bool]]) -> None:
    sys.stdin, sys.stdout, sys.stderr = (each for each, _ in streams)


def _hooks() -> list[Any]:
    return [sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook]


def _write_hooks(hooks: list[Any]) -> None:
    sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook = hooks


def _write_tracing(tracing: tuple[Any, Any]) -> None:
    sys.settrace(tracing[0])
    sys.setprofile(tracing[1])


def _write_builtins(names: dict[str, Any]) -> None:
    own = vars(builtins)
    for name in own.keys() - names.keys():
        del own[name]
    own.update(names)


def _logging() -> tuple[Any, ...]:
    root = logging.root
    return (root.level, root.disabled, [*root.handlers], [*root.filters], root.manager.disable)


def _write_logging(state: tuple[Any, ...]) -> None:
    root = logging.root
    level, root.disabled, handlers, filters, root.manager.disable = state
    root.setLevel(level)
    root.handlers[:], root.filters[:] = handlers, filters


def _write_collection(state: tuple[bool, tuple[int, int, int]]) -> None:
    (gc.enable if state[0] else gc.disable)()
    gc.set_threshold(*state[1])


def _limits() -> dict[int, tuple[int, int]]:
    return {each: resource.getrlimit(each) for each in LIMITS}


def _write_limits(limits: dict[int, tuple[int, int]]) -> None:
    for each, pair in limits.items():
        if resource.getrlimit(each) != pair:
            resource.setrlimit(each, pair)


def _cores() -> Any:
    return os.sched_getaffinity(0) if sys.platform == "linux" else None


def _write_cores(cores: Any) -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, cores)


def _timeout() -> Any:
    return socket.getdefaulttimeout() if (socket := sys.modules.get("socket")) else None


def _write_timeout(seconds: Any) -> None:
    sys.modules["socket"].setdefaulttimeout(seconds)


def _temporary() -> Any:
    return tempfile.tempdir if (tempfile := sys.modules.get("tempfile")) else None


def _write_temporary(folder: Any) -> None:
    sys.modules["tempfile"].tempdir = folder  # type: ignore[attr-defined]


def _root() -> tuple[int, int]:
    found = Path("/").stat()
    return found.st_dev, found.st_ino


def _leave(_: Any) -> None:
    """Do nothing: this part cannot be restored."""


PARTS = (
    Part("built-in functions", lambda: dict(vars(builtins)), _write_builtins),
    Part("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Part("tracing", lambda: (sys.gettrace(), sys.getprofile()), _write_tracing),
    Part("timers", lambda: [signal.getitimer(each) for each in TIMERS], _stop_timers),
    Part(
        "signal handlers",
        lambda: {each: signal.getsignal(each) for each in SIGNALS},
        _write_handlers,
    ),
    Part(
        "blocked signals",
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
    ),
    Part("standard streams", _streams, _write_streams),
    Part("hooks of the interpreter", _hooks, _write_hooks),
    Part("umask", _umask, os.umask),
    Part("locale", lambda: locale.setlocale(locale.LC_ALL), _write_locale),
    Part("environment variables", lambda: dict(os.environ), _write_variables),
    Part("logging", _logging, _write_logging),
    Part("garbage collection", lambda: (gc.isenabled(), gc.get_threshold()), _write_collection),
    Part("sys.path", lambda: [*sys.path], _write_path),
    Part("sys.argv", lambda: [*sys.argv], lambda args: setattr(sys, "argv", args)),
    Part("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    Part("the limit of digits", sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    Part("the temporary folder", _temporary, _write_temporary),
    Part("the timeout of sockets", _timeout, _write_timeout),
    Part("limits of the process", _limits, _write_limits),
    Part("cores", _cores, _write_cores),
    Part(
        "priority",
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        lambda n: os.setpriority(os.PRIO_PROCESS, 0, n),
    ),
    Part("root folder", _root, _leave),
)
"""State that a job may change and that would affect the next one, in the order of restoring."""
AT_IMPORT = frozenset(
    (
        *("tracing", "built-in functions", "timers", "signal handlers", "blocked signals"),
        *("standard streams", "hooks of the interpreter", "umask", "locale", "sys.argv"),
    )
)
"""Parts restored after an import. A plugin may change the others when imported: an environment
variable of its framework, a filter of warnings, a folder in `sys.path`."""


@contextlib.contextmanager
def put_back_after_import() -> Iterator[None]:
    """Restore the parts in AT_IMPORT and the working directory after this block."""
    with put_back(AT_IMPORT), working_directory():
        yield


@contextlib.contextmanager
def put_back(names: Collection[str] | None = None) -> Iterator[list[str]]:
    """Restore the state of the process after this block, or only the named parts.

    The yielded list gets the names of parts that cannot be restored: then the process must not be
    used again. A thread left by a job still runs, and may change anything again.
    """
    before = [(each, each.read()) for each in PARTS if names is None or each.name in names]
    threads, n_files = {*threading.enumerate()}, _open_files()
    lasting: list[str] = []
    try:
        with _filters_put_back() if names is None else contextlib.nullcontext():
            yield lasting
    finally:
        for part, value in before:
            try:  # read back after writing: some changes fail silently
                is_as_before = part.read() == value
                if not is_as_before:
                    part.write(value)
                    is_as_before = part.read() == value
            except Exception:
                is_as_before = False
            if not is_as_before:
                lasting.append(part.name)
        if names is None:
            lasting += _left_threads(threads)
            if _open_files() > n_files + FILES:
                lasting.append("open files")


@contextlib.contextmanager
def working_directory(folder: os.PathLike[str] | str = ".") -> Iterator[None]:
    """Change the working directory to the folder within this block."""
    # O_PATH opens a directory that may be entered but not listed (Linux).
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)


@contextlib.contextmanager
def _filters_put_back() -> Iterator[None]:
    """Restore the filters of warnings, except those for a message, module or library's class.

    Libraries set those when they are imported, once per process.
    """
    before = [*warnings.filters]
    added: list[Any] = []
    try:
        with warnings.catch_warnings():
            try:
                yield
            finally:
                now = [each for each in warnings.filters if each not in before]
                added = [each for each in now if _is_of_a_library(each)]
    finally:
        warnings.filters[:0] = added  # type: ignore[index]


def _is_of_a_library(found: Any) -> bool:
    _, message, category, module, _ = found
    return bool(message or module) or category.__module__ != "builtins"


def _left_threads(before: set[threading.Thread]) -> list[str]:
    left = [each for each in threading.enumerate() if each not in before]
    for each in left:
        if type(each).__module__ == "tqdm._monitor":
            # The monitor thread of tqdm's progress bars; the next bar starts it again.
            each.was_killed.set()  # type: ignore[attr-defined]
            each.join(MONITOR_SECONDS)
        each.join(JOIN_SECONDS)
    return [f"the thread {each.name}" for each in left if each.is_alive()]


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # not Linux, or no free descriptor
        return 0
