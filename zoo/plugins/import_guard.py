"""Run the code of plugins: it cannot print to stdout, nor end the process that it runs in."""

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
"""What one plugin may take to be imported; a framework belongs inside the methods."""
RINGS, RING_SECONDS = 3, 1.0
"""So often, and so far apart, a plugin is told to stop before the process gives up."""


class TooSlow(BaseException):
    """Importing took too long. No Exception: the code that hangs must not catch it."""


class EndsProcess(BaseException):
    """The plugin asked to end the process that imports it, or another one."""


ENDINGS = (
    *((os, name) for name in ("_exit", "abort", "kill", "killpg", "execv", "execve")),
    *((signal, name) for name in ("raise_signal", "pthread_kill")),
)
"""Functions that end this process, or the one that waits for it, without an exception."""


@contextlib.contextmanager
def importing(name: str) -> Iterator[None]:
    """Import the plugin of that name within this block, under a time limit.

    What is printed meanwhile goes to stderr, also what is written past Python; what it changes of
    the terminal's process (working directory, umask, signals...) is put back. Raises TooSlow, and
    EndsProcess where the plugin calls one of ENDINGS. A crash in native code says where it was.
    """
    with _contained("at import"), _limited(name):
        yield


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Call the `load` of a plugin's dataset within this block, for as long as it takes.

    Otherwise as `importing`. A KeyboardInterrupt that is no Ctrl-C becomes EndsProcess; a process
    that `load` has forked, and that returns from it as well, ends here.
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
        _crashes_told(),
        _endings_refused(when),
        _threads_end(),
    ):
        yield


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Give what says whether a SIGINT has come since; Python hands it to the main thread alone."""
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
        def instead(*args: Any, **words: Any) -> Any:
            # Other threads end this process rightly, and a process that was forked ends itself so;
            # and a plugin may keep the function for later.
            is_mine = (os.getpid(), threading.get_ident()) == mine
            if is_over or not is_mine or not _is_for_us(label, args):
                return real(*args, **words)
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
    """Have no command wait for a thread that the plugin starts: it ends with the command."""
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
    """Whether a signal is for this process or its parents; one may end what one has started."""
    if label not in ("os.kill", "os.killpg") or len(args) != 2:
        return True
    ours = {os.getpid(), os.getppid(), os.getpgrp()}
    with contextlib.suppress(OSError):
        ours.add(os.getpgid(os.getppid()))
    return args[1] != 0 and (args[0] in (0, 1, -1) or abs(int(args[0])) in ours)


@contextlib.contextmanager
def _crashes_told() -> Iterator[None]:
    if faulthandler.is_enabled():
        yield
        return
    try:
        faulthandler.enable(2)
    except (OSError, ValueError):  # stderr is closed: there is nobody to tell
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
    except OSError:  # closed, as by `>&-`: there is nothing to keep clean
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
    """Write out the buffers of Python and of C: they are of whoever has filled them."""
    with contextlib.suppress(Exception):  # closed, or a full disk: whoever writes next meets it
        sys.__stdout__.flush()  # type: ignore[union-attr]
    if ctypes := sys.modules.get("ctypes"):
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).fflush(None)


@contextlib.contextmanager
def _limited(name: str) -> Iterator[None]:
    # A signal reaches the main thread alone. Elsewhere nobody sits before a terminal and waits.
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
        # More than once: a bare `except:` in a loop swallows the first one.
        signal.setitimer(signal.ITIMER_REAL, IMPORT_SECONDS, RING_SECONDS)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


EXIT = os._exit
"""As it is while a plugin is imported, too."""


def _give_up(name: str) -> None:
    said = (
        f"error: The plugin {name} hangs at import and cannot be stopped.\n"
        "       `zoo plugins` tells where it is; ZOO_PLUGINS=a,b loads only those.\n"
    )
    os.write(2, said.encode())
    EXIT(1)
