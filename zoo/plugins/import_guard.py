"""Import third-party plugins with a time limit, stdout redirected and process exits refused."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from zoo.plugins import process_state

IMPORT_SECONDS = 20.0
"""Time limit of the import of one plugin; frameworks belong inside the methods."""
RINGS, RING_SECONDS = 3, 1.0
"""Number and interval of the exceptions raised in a hanging import before the process exits."""


class TooSlow(BaseException):
    """Importing took too long. A BaseException, so that the hanging code does not catch it."""


class EndsProcess(BaseException):
    """The plugin tried to end the importing process, or another one."""


ENDINGS = (
    *((os, name) for name in ("_exit", "abort", "kill", "killpg", "execv", "execve")),
    *((signal, name) for name in ("raise_signal", "pthread_kill")),
)
"""Functions that end this process or its parent without an exception."""


@contextlib.contextmanager
def importing(name: str) -> Iterator[None]:
    """Import the named plugin within this block, under a time limit.

    Output goes to stderr, also that of native code. Changes of the process (working directory,
    umask, signals...) are undone. A crash in native code prints a traceback.

    Raises:
        TooSlow: The time limit has passed.
        EndsProcess: The plugin called one of ENDINGS.
    """
    with _contained("at import"), _limited(name):
        yield


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Call `load` of a plugin's dataset within this block, without a time limit.

    Otherwise as `importing`. A KeyboardInterrupt without a Ctrl-C becomes EndsProcess; a process
    forked by `load` that returns from it as well exits here.
    """
    own = os.getpid()
    with _contained("in load"), _interrupts() as has_come:
        try:
            yield
        except KeyboardInterrupt as error:
            if has_come():
                raise
            raised = EndsProcess("it raises KeyboardInterrupt in load")
            raise raised.with_traceback(error.__traceback__) from None
        finally:
            if os.getpid() != own:
                EXIT(1)


@contextlib.contextmanager
def _contained(when: str) -> Iterator[None]:
    with (
        process_state.put_back_after_import(),
        contextlib.redirect_stdout(sys.stderr),
        _stdout_to_stderr(),
        _crash_tracebacks(),
        _endings_refused(when),
        _threads_end(),
    ):
        yield


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a SIGINT has arrived; only in the main thread."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: False
        return
    has_come = False

    def note(number: int, frame: Any) -> None:
        nonlocal has_come
        has_come = True
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: has_come
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _endings_refused(when: str) -> Iterator[None]:
    mine = os.getpid(), threading.get_ident()
    is_over = False

    def refusing(real: Callable[..., Any], label: str) -> Callable[..., Any]:
        def instead(*args: Any, **options: Any) -> Any:
            # Other threads and forked processes may call it, and a plugin may keep the function
            # for later use.
            is_mine = (os.getpid(), threading.get_ident()) == mine
            if is_over or not is_mine or not _is_for_us(label, args):
                return real(*args, **options)
            shown = ", ".join(map(repr, args[:2]))
            raise EndsProcess(f"it calls {label}({shown}) {when}")

        return instead

    kept = [(module, name, getattr(module, name)) for module, name in ENDINGS]
    for module, name, real in kept:
        setattr(module, name, refusing(real, f"{module.__name__}.{name}"))
    try:
        yield
    finally:
        is_over = True
        for module, name, real in kept:
            setattr(module, name, real)


@contextlib.contextmanager
def _threads_end() -> Iterator[None]:
    """Make threads started by the plugin daemons, so that no command waits for them."""
    mine, real = threading.get_ident(), threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if threading.get_ident() == mine:
            thread.daemon = True
        real(thread)

    threading.Thread.start = start  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        threading.Thread.start = real  # type: ignore[method-assign]


def _is_for_us(label: str, args: tuple[Any, ...]) -> bool:
    """Whether a signal is for this process or its parent; a plugin may end its own children."""
    if label not in ("os.kill", "os.killpg") or len(args) != 2:
        return True
    ours = {os.getpid(), os.getppid(), os.getpgrp()}
    with contextlib.suppress(OSError):
        ours.add(os.getpgid(os.getppid()))
    return args[1] != 0 and (args[0] in (0, 1, -1) or abs(int(args[0])) in ours)


@contextlib.contextmanager
def _crash_tracebacks() -> Iterator[None]:
    if faulthandler.is_enabled():
        yield
        return
    try:
        faulthandler.enable(2)
    except (OSError, ValueError):  # stderr is closed
        yield
        return
    try:
        yield
    finally:
        faulthandler.disable()


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    try:
        kept = os.dup(1)
    except OSError:  # stdout is closed, as by `>&-`
        yield
        return
    try:
        _flush()
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


def _flush() -> None:
    """Flush the buffers of Python and of C, so that buffered output goes to the right stream."""
    with contextlib.suppress(Exception):  # closed, or a full disk: the next write raises
        sys.__stdout__.flush()  # type: ignore[union-attr]
    if ctypes := sys.modules.get("ctypes"):
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).fflush(None)


@contextlib.contextmanager
def _limited(name: str) -> Iterator[None]:
    # Signals reach only the main thread; imports in other threads have no terminal user.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    rings = 0

    def ring(*_: Any) -> None:
        nonlocal rings
        rings += 1
        if rings > RINGS:
            _give_up(name)
        raise TooSlow(f"it took over {IMPORT_SECONDS:g} s to import and was stopped")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        # Repeated, because a bare `except:` in a loop swallows the first exception.
        signal.setitimer(signal.ITIMER_REAL, IMPORT_SECONDS, RING_SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


EXIT = os._exit
"""The real function, which is replaced while a plugin is imported."""


def _give_up(name: str) -> None:
    message = (
        f"error: The plugin {name} hangs at import and cannot be stopped.\n"
        "       `zoo plugins` shows its source; ZOO_PLUGINS=a,b loads only the named plugins.\n"
    )
    os.write(2, message.encode())
    EXIT(1)
