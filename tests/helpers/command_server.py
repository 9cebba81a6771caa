"""Run `zoo` in forks of a process that has imported it: 0.1 s for a command instead of 0.4 s.

Each command is a process of its own with its own environment, folder and streams, as if it had been
started as `python -m zoo`; only its imports are in memory already. A test about the start of a
process uses `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

MAY_DIFFER = ("ZOO_", "PYTEST_", "COLUMNS")
"""Prefixes of the variables that neither Python nor an import here reads when it starts."""
OF_LIBRARIES = ("KMP_", "OMP_", "TF_", "KERAS_")
"""Prefixes of the variables that numpy, scikit-learn and TensorFlow read when they are imported."""

IMPORTS: dict[str, tuple[str, ...]] = {
    "commands": (),
    "models": ("numpy", "PIL.Image", "sklearn.linear_model", "zoo_sklearn.logistic"),
    "workers": ("zoo_workers", "celery.bin.worker", "celery.concurrency.thread"),
}
"""What a server of each kind has imported, beside all of `zoo`."""


def kind_for(words: Sequence[str | bytes]) -> str:
    """Return the kind of server whose imports a command needs."""
    if words[:1] in (["predict"], ["export"], ("predict",), ("export",)):
        return "models"
    if "--in-process" in words:
        return "models"
    return "workers" if list(words[:2]) == ["worker", "start"] else "commands"


def run(
    words: Sequence[str | bytes], env: Mapping[str, str], timeout: float, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `zoo` with these words; return its exit code and its output.

    Args:
        words: The words of the command line.
        env: All environment variables.
        timeout: Seconds.
        options: As for `start`.

    Raises subprocess.TimeoutExpired.
    """
    command = start(words, env, **options)
    with command:
        try:
            output = command.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
    return subprocess.CompletedProcess(["zoo", *words], command.returncode, *output)


def start(
    words: Sequence[str | bytes],
    env: Mapping[str, str],
    script: Path | None = None,
    kind: str | None = None,
    **streams: int | None,
) -> Command:
    """Start `zoo` and leave it running.

    Args:
        words: The words of the command line.
        env: All environment variables.
        script: A script to run instead of `zoo`.
        kind: The kind of server, if not that whose imports the command needs.
        streams: `stdin`, `stdout` or `stderr`: a file descriptor, or None for a closed one. Else
            stdin is empty and the others are pipes.
    """
    kind = kind or kind_for(words)
    if sys.platform == "linux":  # other systems' libraries may not be used in a fork
        server, lasting = _server(os.getpid(), kind), _lasting(env, kind)
        if server.env != lasting and None in streams.values():
            # A library that a test has imported may have set a variable since.
            server = _server(os.getpid(), kind, tuple(sorted(lasting.items())))
        if server.env == lasting:
            return server.start(words, env, script, streams)
    assert None not in streams.values(), "a closed stream is given to forks alone"
    command = [str(script)] if script else ["-m", "zoo"]
    given: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return subprocess.Popen(
        [sys.executable, *command, *words], env=env, text=True, **(given | streams)
    )


def _lasting(env: Mapping[str, str], kind: str) -> dict[str, str]:
    prefixes = MAY_DIFFER if kind == "models" else MAY_DIFFER + OF_LIBRARIES
    return {name: value for name, value in env.items() if not name.startswith(prefixes)}


class Fork:
    """A command in a fork, with the face of a subprocess.Popen."""

    def __init__(
        self, words: Sequence[str | bytes], channel: socket.socket, files: Sequence[TextIO | None]
    ) -> None:
        self.args = ["zoo", *words]
        self.stdout, self.stderr = files
        self.returncode: int | None = None
        self._channel = channel
        self.pid = int(channel.recv(20))

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended; raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._channel.settimeout(timeout)
            try:
                self.returncode = int(self._channel.recv(20))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self._channel.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return all of stdout and stderr; raises subprocess.TimeoutExpired."""
        outputs, files = ["", ""], (self.stdout, self.stderr)
        threads = [
            threading.Thread(target=_read, args=(file, outputs, n), daemon=True)
            for n, file in enumerate(files)
            if file is not None and not file.closed
        ]
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join(timeout)
        if any(thread.is_alive() for thread in threads):
            raise subprocess.TimeoutExpired(self.args, timeout or 0, *outputs)
        return outputs[0], outputs[1]

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Fork:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.stdout, self.stderr):
            if file is not None and not file.closed and self.returncode is not None:
                file.close()


Command = Fork | subprocess.Popen[str]


class Server:
    """The process that forks; it ends with the process of the tests."""

    def __init__(self, kind: str, env: Mapping[str, str]) -> None:
        self.env = _lasting(env, kind)
        self._socket, theirs = socket.socketpair(*SEQUENCE)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *IMPORTS[kind]],
                env=self.env,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
        self.pid = self._process.pid
        atexit.register(self.close)

    def start(
        self,
        words: Sequence[str | bytes],
        env: Mapping[str, str],
        script: Path | None,
        streams: Mapping[str, int | None],
        folder: str = "",
    ) -> Fork:
        """Start a command in a fork, in this working directory; `streams` as for `start`."""
        channel, theirs = socket.socketpair(*SEQUENCE)
        closed = [n for n, name in enumerate(STREAMS) if streams.get(name, n) is None]
        with (
            contextlib.ExitStack() as opened,
            tempfile.TemporaryFile("w+") as order,
            theirs,
            open(os.devnull) as nothing,  # noqa: PTH123
        ):
            given = {"stdin": nothing.fileno()} | streams
            fds, files = [], []
            for name in STREAMS:
                if name in given:
                    fds.append(nothing.fileno() if given[name] is None else given[name])
                    files.append(None)
                else:
                    reader, writer = os.pipe()
                    opened.callback(os.close, writer)
                    fds.append(writer)
                    files.append(open(reader))  # noqa: PTH123, SIM115
            target = str(script) if script else "zoo"
            folder = folder or str(Path.cwd())
            json.dump([target, list(map(os.fsdecode, words)), dict(env), folder, closed], order)
            order.flush()
            socket.send_fds(self._socket, [b"run"], [theirs.fileno(), order.fileno(), *fds])
        return Fork(words, channel, files[1:])

    def close(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)  # a fork of this process may have it, too
        self._socket.close()
        self._process.wait()


@contextlib.contextmanager
def program(file: Path) -> Iterator[None]:
    """Make a program that runs `zoo` in a fork with the caller's streams, environment and folder.

    For shells and others that start many commands.
    """
    client = Path(__file__).parent / "command_client.py"
    with tempfile.TemporaryDirectory() as short, socket.socket(*SEQUENCE) as listener:
        address = f"{short}/socket"
        listener.bind(address)
        listener.listen()
        words = shlex.join([sys.executable, "-I", "-S", str(client), address])
        file.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        file.chmod(0o755)
        thread = threading.Thread(target=_answer, args=(listener,), daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _answer(listener: socket.socket) -> None:
    """Run the commands of clients, one after the other, until nobody listens."""
    with contextlib.suppress(OSError):
        while True:
            channel = listener.accept()[0]
            with channel:
                order, fds, _, _ = socket.recv_fds(channel, 2**20, 3)
                words, env, folder = json.loads(order)
                command = _server(os.getpid(), kind_for(words)).start(
                    words, env, None, dict(zip(STREAMS, fds, strict=True)), folder
                )
                for fd in fds:
                    os.close(fd)
                channel.send(b"%d" % command.wait())


SEQUENCE = (socket.AF_UNIX, socket.SOCK_SEQPACKET)
STREAMS = ("stdin", "stdout", "stderr")


def _read(reader: TextIO, outputs: list[str], n: int) -> None:
    with reader:
        outputs[n] = reader.read()


@functools.cache
def _server(pid: int, kind: str, env: tuple[tuple[str, str], ...] = ()) -> Server:
    """Return the server of this kind of the process with this id, in its or another environment."""
    return Server(kind, dict(env) or os.environ)


def _next_command(listener: socket.socket) -> str:
    """Fork for each order; return its script or `zoo` in the fork, "" when there are no more."""
    while True:
        message, fds, _, _ = socket.recv_fds(listener, 10, 5)
        if not message:
            return ""
        if os.fork() == 0:
            return _become(fds)
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _become(fds: list[int]) -> str:
    """Become the command in a fork, whose end the parent reports; return what is to be run."""
    channel, order, *streams = fds
    pid = os.fork()
    if pid:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for fd in streams:
            os.close(fd)
        with socket.socket(fileno=channel) as reporter, contextlib.suppress(OSError):
            reporter.send(b"%d" % pid)
            reporter.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(channel)
    with open(order) as file:  # noqa: PTH123
        file.seek(0)
        target, words, env, folder, closed = json.load(file)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    for number in closed:  # as Python does where it finds a stream closed
        os.close(number)
        setattr(sys, STREAMS[number], None)
        setattr(sys, f"__{STREAMS[number]}__", None)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path.insert(0, folder if target == "zoo" else str(Path(target).parent))
    sys.argv = [target, *words]
    return str(target)


def _import_zoo(others: Sequence[str]) -> None:
    """Import all modules of Zoo, which import numpy only once they are used, and these others."""
    import zoo

    for module in pkgutil.walk_packages(zoo.__path__, "zoo."):
        if "__main__" not in module.name and "migrations" not in module.name:
            importlib.import_module(module.name)
    for name in others:
        found = importlib.import_module(name)
        if name == "zoo_workers":
            for module in pkgutil.iter_modules(found.__path__, f"{name}."):
                importlib.import_module(module.name)
    zoo.environment_variables.ignore()  # each command does it: its patterns are compiled here
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()


class Exit:
    """The end of a command in a fork: that of Python, but that no memory is freed.

    To free all that the server has imported would copy it: 0.08 s.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        """The exit code, if Python need not find it out."""

    def leave(self) -> None:
        """End this process unless its streams cannot be flushed, of which Python is to tell."""
        if self.code is None:
            return
        with contextlib.suppress(OSError, ValueError):
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            os._exit(self.code)

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note the exit code with which the block ends."""
        try:
            yield
            self.code = 0
        except SystemExit as ended:
            if ended.code is None or isinstance(ended.code, int):
                self.code = (ended.code or 0) & 0xFF
            raise


def main() -> None:
    """Serve at the socket with this number, and then be the command itself."""
    del sys.path[0]
    own_exit = Exit()
    atexit.register(own_exit.leave)  # before all others: it is the last that is called
    listener = socket.socket(fileno=int(sys.argv[1]))
    _import_zoo(sys.argv[2:])
    with warnings.catch_warnings():
        # Threads of numpy's OpenBLAS, which prepares itself for forks.
        warnings.simplefilter("ignore", DeprecationWarning)
        target = _next_command(listener)
    if not target:
        return
    listener.close()
    with own_exit.noted():
        if target == "zoo":
            runpy.run_module("zoo", run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(target, run_name="__main__")


if __name__ == "__main__":
    main()
