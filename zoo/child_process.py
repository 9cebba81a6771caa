"""Start Python processes that exchange JSON with this one and end with it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import environment_variables, process_tree, settings
from zoo.canonical_json import canonical, read_json

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SEND_SECONDS = 10
"""Time limit for sending a message to a process that waits for one."""
EXIT_SECONDS = 1.0
"""Time between the end of a process's pipe and its exit, before it is killed."""
CHECK_SECONDS = 0.1
"""Interval at which a process that sends nothing is checked."""


def command(module: str, *args: str) -> list[str]:
    """Return the command line that runs a module without the working directory in `sys.path`."""
    return [sys.executable, "-P", "-m", module, *args]


def folder() -> Path:
    """Return the working directory of child processes: Zoo's home, or `/` before there is one."""
    home = settings.load().home
    return home if home.is_dir() else Path("/")


class ChildDied(Exception):
    """The process has ended; `exit_code` is negative for a signal."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code


class Child:
    """A module run by another Python that answers JSON messages; the module calls `serve`.

    One thread at a time sends and receives; any thread may kill it meanwhile.
    """

    def __init__(
        self,
        module: str,
        *args: str,
        files: Sequence[int] = (),
        env: Mapping[str, str],
        is_tree: bool = True,
        send_seconds: int = SEND_SECONDS,
    ) -> None:
        """Start the process.

        Args:
            module: The module that it runs.
            args: Its arguments; it finds the descriptors of `files` before them.
            files: Descriptors of open files to pass on.
            env: Its environment.
            is_tree: Also end what it has started in sessions of their own.
            send_seconds: Time limit for sending a message.
        """
        from multiprocessing import Pipe

        self._mark = process_tree.new_mark() if is_tree else ""
        self._pipe, theirs = Pipe()
        # The kernel closes it when this process ends, for whatever reason.
        alive, self._alive = os.pipe()
        numbers = (theirs.fileno(), alive, *files)
        try:
            self._process = subprocess.Popen(
                command(module, *map(str, numbers), *args),
                # A session of its own, so that whatever a model starts ends with it.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                pass_fds=numbers,
                env={**env, process_tree.MARK: self._mark},
                cwd=folder(),
            )
        except BaseException:
            self._pipe.close()
            os.close(self._alive)
            raise
        finally:
            theirs.close()
            os.close(alive)
        _limit_sending(self._pipe, send_seconds)
        self._exit = _exit_descriptor(self._process.pid)
        self._readable = selectors.DefaultSelector()
        for each in (self._pipe, self._exit):
            if each is not None:
                self._readable.register(each, selectors.EVENT_READ)
        self._killing = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; raises ChildDied if the process has ended or does not read it."""
        try:
            self._pipe.send_bytes(canonical(message).encode())
        except OSError:
            raise self._died() from None

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """Return the next message, or None after `seconds`; raises ChildDied."""
        try:
            ready = [key.fileobj for key, _ in self._readable.select(seconds)]
            # Another thread may have killed the process: then nothing is ready either.
            if not ready and not self._pipe.closed:
                return None
            content = self._pipe.recv_bytes() if self._pipe in ready else b""
        except (EOFError, OSError, ValueError):  # it has ended, or another thread has killed it
            content = b""
        if not content:
            raise self._died()
        message: dict[str, Any] = read_json(content)
        return message

    def _died(self) -> ChildDied:
        # The pipe closes a moment before the process is gone: wait for its own exit code.
        if not self._pipe.closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_SECONDS)
        self.kill()
        return ChildDied(self._process.poll() or 0)

    def kill(self) -> None:
        """Kill the process and all that it started; a second call does nothing."""
        with self._killing:
            if self._pipe.closed:
                return
            process_tree.end_tree(self._process, self._mark)
            self._pipe.close()
            self._readable.close()
            for number in (self._alive, self._exit):
                if number is not None:
                    os.close(number)


def _limit_sending(pipe: Connection, seconds: int) -> None:
    """Let sending to a process that reads nothing, as one that is frozen, raise OSError."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))


def _exit_descriptor(pid: int) -> int | None:
    """Return a descriptor that is readable once the process has ended, if there is such a thing."""
    # The end of the pipe would do if no process that a model has forked kept it open.
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or an old one
        return None


def serve(n_files: int = 0) -> tuple[Connection, list[int], list[str]]:
    """Return the pipe, the passed files and the other arguments of a process that is a `Child`.

    From here on it ends with its parent.
    """
    from multiprocessing.connection import Connection

    pipe, parent, *files = map(int, sys.argv[1 : 3 + n_files])
    for number in (pipe, parent, *files):
        os.set_inheritable(number, False)  # programs that a model starts must not keep them open
    _forbid_processes()
    threading.Thread(target=_end_with, args=(parent, os.killpg), daemon=True).start()
    return Connection(pipe), files, sys.argv[3 + n_files :]


def _forbid_processes() -> None:
    """Keep joblib and multiprocessing from starting any: cores are shared by slots."""
    import multiprocessing

    multiprocessing.current_process().daemon = True


def _end_with(parent: int, killpg: Callable[[int, int], None]) -> None:
    os.read(parent, 1)
    with contextlib.suppress(Exception):
        process_tree.end_descendants()
    killpg(0, signal.SIGKILL)


class ReportingChild:
    """A module run by another Python that sends JSON messages through `reporting`.

    It takes no messages. What it runs may end the process itself, its parent or its whole group.
    """

    def __init__(
        self,
        module: str,
        *args: str,
        is_quiet: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._mark = process_tree.new_mark()
        given = environment_variables.for_plugins(os.environ) if env is None else env
        # A session of its own, so that whatever a plugin starts ends with it.
        self._process = subprocess.Popen(
            command(module, *args),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if is_quiet else None,
            start_new_session=True,
            env={**given, process_tree.MARK: self._mark},
            cwd=folder(),
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._has_closed = False
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def memory_mb(self) -> float:
        """Return the resident memory of the process and all that it has started."""
        import psutil

        found = 0.0
        with contextlib.suppress(psutil.Error):
            own = psutil.Process(self.pid)
            for each in (own, *own.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    found += each.memory_info().rss / 2**20
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def receive(self, seconds: float, check: Callable[[], None] = lambda: None) -> Any:
        """Return the next message; None once the process has ended. Raises TimeoutError.

        Meanwhile `check` is called ten times a second, and may raise.
        """
        deadline = time.monotonic() + seconds
        line = None
        while line is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=min(left, CHECK_SECONDS))
            check()
        self._has_closed = not line
        return json.loads(line) if line else None

    def end(self) -> str:
        """Kill it with all that it started; return how it had ended by itself, if it had."""
        # After closing its end of the pipe it may take a moment to exit, longer on a busy machine.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5 if self._has_closed else 0.1)
        code = self._process.poll()
        process_tree.end_tree(self._process, self._mark)
        if self._process.stdin is not None:
            self._process.stdin.close()
        if code is None:
            return "it was ended"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def reporting() -> Iterator[Callable[[Any], None]]:
    """Yield the function that sends a message, in a process that is a `ReportingChild`.

    Call it first of all: it forks, so that another process is between this one and the command.
    What is printed meanwhile goes to stderr.
    """
    number = _fork_behind_a_relay()
    _forbid_processes()
    threading.Thread(target=_end_with_the_command, args=(os.killpg,), daemon=True).start()
    with os.fdopen(number, "w", buffering=1) as pipe, contextlib.redirect_stdout(sys.stderr):
        os.dup2(2, 1)
        yield lambda message: print(json.dumps(message), file=pipe)


def _fork_behind_a_relay() -> int:
    """Fork, so that a model which ends its parent does not end the user's command.

    The parent copies to stdout what its child writes into the returned descriptor, and ends as its
    child did. What it does not live to copy is lost.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ours)
        return theirs
    os.close(theirs)
    while content := os.read(ours, 2**16):
        while content:
            content = content[os.write(1, content) :]
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _end_with_the_command(killpg: Callable[[int, int], None]) -> None:
    os.read(0, 1)
    killpg(0, signal.SIGKILL)
