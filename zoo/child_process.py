"""Start Python processes: they run no file of the user's folder, and end with their parent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import environment_variables, process_tree, settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

LOOK_SECONDS = 0.1
"""Between two looks at whether a process that says nothing still lives, and within its limit."""


def command(module: str, *args: str) -> list[str]:
    """Give the command line that runs a module without the working directory in `sys.path`."""
    return [sys.executable, "-P", "-m", module, *args]


def folder() -> Path:
    """Give the folder that child processes start in: Zoo's home, or `/` where there is none yet."""
    home = settings.load().home
    return home if home.is_dir() else Path("/")


class Child:
    """A module run by another Python, and a pipe of messages to and from it.

    The module calls `serve`.
    """

    def __init__(
        self,
        module: str,
        *args: str,
        files: Sequence[int] = (),
        env: Mapping[str, str],
        is_tree: bool = True,
    ) -> None:
        """`files` are open files that it is handed; it finds their numbers before `args`.

        If it `is_tree`, what it has started in sessions of their own ends with it, too.
        """
        from multiprocessing import Pipe

        self._mark = process_tree.new_mark() if is_tree else ""
        self.pipe, theirs = Pipe()
        # It is closed by the kernel when this process ends, however that comes about.
        alive, self._alive = os.pipe()
        numbers = (theirs.fileno(), alive, *files)
        try:
            self._process = subprocess.Popen(
                command(module, *map(str, numbers), *args),
                # A session of its own, so that all which a model starts ends with it.
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                pass_fds=numbers,
                env={**env, process_tree.MARK: self._mark},
                cwd=folder(),
            )
        except BaseException:
            self.pipe.close()
            os.close(self._alive)
            raise
        finally:
            theirs.close()
            os.close(alive)
        self.ended = _death_of(self._process.pid)
        """A file that is ready to read once it has ended; None where there is none such."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int:
        """How it has ended, negative for a signal; 0 while it lives."""
        return self._process.poll() or 0

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait until it has ended by itself, at most so long; not at all once it was killed."""
        if not self.pipe.closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def kill(self) -> None:
        """End it and all that it started, at once; a second time does nothing."""
        if self.pipe.closed:
            return
        process_tree.end_tree(self._process, self._mark)
        self.pipe.close()
        for number in (self._alive, self.ended):
            if number is not None:
                os.close(number)


def _death_of(pid: int) -> int | None:
    # The end of the pipe would do, if no process that a model has forked kept it open.
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or an old one
        return None


def serve(n_files: int = 0) -> tuple[Connection, list[int], list[str]]:
    """In such a process: its pipe, the files it was handed, and the other arguments.

    From here on it ends with its parent.
    """
    from multiprocessing.connection import Connection

    pipe, parent, *files = map(int, sys.argv[1 : 3 + n_files])
    for number in (pipe, parent, *files):
        os.set_inheritable(number, False)  # nor do programs that a model starts keep them open
    _forbid_processes()
    threading.Thread(target=_end_with, args=(parent, os.killpg), daemon=True).start()
    return Connection(pipe), files, sys.argv[3 + n_files :]


def _forbid_processes() -> None:
    """Have joblib and multiprocessing start none: cores are shared by slots, not by processes."""
    import multiprocessing

    multiprocessing.current_process().daemon = True


def _end_with(parent: int, killpg: Callable[[int, int], None]) -> None:
    os.read(parent, 1)
    with contextlib.suppress(Exception):
        process_tree.end_descendants()
    killpg(0, signal.SIGKILL)


class Apart:
    """A module run by another Python, which tells its news through `telling`."""

    def __init__(
        self,
        module: str,
        *args: str,
        is_quiet: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._mark = process_tree.new_mark()
        given = environment_variables.for_plugins(os.environ) if env is None else env
        # A session of its own, so that all which a plugin starts ends with it.
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
        """Resident memory of it and all that it has started."""
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

    def news(self, seconds: float, look: Callable[[], None] = lambda: None) -> Any:
        """The next news; None once the process has ended. Raises TimeoutError.

        Meanwhile `look` is called ten times a second, and may raise.
        """
        deadline = time.monotonic() + seconds
        line = None
        while line is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=min(left, LOOK_SECONDS))
            look()
        self._has_closed = not line
        return json.loads(line) if line else None

    def end(self) -> str:
        """End it with all that it started, and say how it had ended by itself, if it had."""
        # Having closed its end of the pipe it may need a moment to be gone, on a busy machine more.
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
def telling() -> Iterator[Callable[[Any], None]]:
    """In that process: give what tells news. What is printed meanwhile goes to stderr.

    It is called first of all: another process then stands between this one and the command.
    """
    number = _stand_apart()
    _forbid_processes()
    threading.Thread(target=_end_with_the_command, args=(os.killpg,), daemon=True).start()
    with os.fdopen(number, "w", buffering=1) as pipe, contextlib.redirect_stdout(sys.stderr):
        os.dup2(2, 1)
        yield lambda news: print(json.dumps(news), file=pipe)


def _stand_apart() -> int:
    """Fork, so that a model which ends its parent does not end the command of the user.

    The parent passes on what its child writes into the file whose number this gives, and ends as
    its child did. What it does not live to pass on is not heard.
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
