"""Run `zoo` in forks of a process that has imported it: 0.1 s for a command instead of 0.4 s.

Each command is a process of its own with its own environment, folder and streams, as if it had been
started as `python -m zoo`; only its imports are in memory already. A test about the start of a
process uses `subprocess` or `Zoo.start`.
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
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

MAY_DIFFER = ("ZOO_", "PYTEST_", "COLUMNS", "KMP_", "OMP_", "TF_", "KERAS_")
"""How the names of the variables begin that neither Python reads when it starts nor an import here:
those of numpy, scikit-learn and TensorFlow are for the libraries that no fork begins with."""


def run(
    words: Sequence[str | bytes], env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `zoo` with these words; return its exit code and its output.

    Raises subprocess.TimeoutExpired.
    """
    if sys.platform == "linux":  # other systems' libraries may not be used in a fork
        server = _server(os.getpid())
        if server.env == _lasting(env):
            return server.run(words, env, timeout)
    command = [sys.executable, "-m", "zoo", *words]
    return subprocess.run(command, env=env, text=True, capture_output=True, timeout=timeout)


def _lasting(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not name.startswith(MAY_DIFFER)}


class Server:
    """The process that forks; it ends with the process of the tests."""

    def __init__(self) -> None:
        self.env = _lasting(os.environ)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
        atexit.register(self.close)

    def run(
        self, words: Sequence[str | bytes], env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a fork."""
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pipes = [os.pipe(), os.pipe()]
        readers = [open(reader) for reader, _ in pipes]  # noqa: PTH123, SIM115
        with tempfile.TemporaryFile("w+") as order, theirs:
            json.dump([list(map(os.fsdecode, words)), dict(env), str(Path.cwd())], order)
            order.flush()
            fds = [theirs.fileno(), order.fileno(), 0, *(writer for _, writer in pipes)]
            socket.send_fds(self._socket, [b"run"], fds)
            for _, writer in pipes:
                os.close(writer)
        outputs = ["", ""]
        threads = [
            threading.Thread(target=_read, args=(reader, outputs, n), daemon=True)
            for n, reader in enumerate(readers)
        ]
        for thread in threads:
            thread.start()
        with channel:
            pid = int(channel.recv(20))
            ends = time.monotonic() + timeout
            for thread in threads:
                thread.join(max(0, ends - time.monotonic()))
            channel.settimeout(max(0.001, ends - time.monotonic()))
            try:
                code = int(channel.recv(20))
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), timeout, *outputs) from None
        if any(thread.is_alive() for thread in threads):
            raise subprocess.TimeoutExpired(list(words), timeout, *outputs)
        return subprocess.CompletedProcess(["zoo", *words], code, *outputs)

    def close(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)  # a fork of this process may have it, too
        self._socket.close()
        self._process.wait()


def _read(reader: TextIO, outputs: list[str], n: int) -> None:
    with reader:
        outputs[n] = reader.read()


@functools.cache
def _server(pid: int) -> Server:
    """The server of the process with this id."""
    return Server()


def _is_command(listener: socket.socket) -> bool:
    """Fork for each order; return True in the fork, False when there are no more orders."""
    while True:
        message, fds, _, _ = socket.recv_fds(listener, 10, 5)
        if not message:
            return False
        if os.fork() == 0:
            _become(fds)
            return True
        for fd in fds:
            os.close(fd)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _become(fds: list[int]) -> None:
    """Become the command in a fork, whose end the parent reports."""
    channel, order, *streams = fds
    pid = os.fork()
    if pid:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for fd in streams:
            os.close(fd)
        with socket.socket(fileno=channel) as teller, contextlib.suppress(OSError):
            teller.send(b"%d" % pid)
            teller.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(channel)
    with open(order) as file:  # noqa: PTH123
        file.seek(0)
        words, env, folder = json.load(file)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv = ["zoo", *words]


def _import_zoo() -> None:
    """Import all modules of Zoo, which import numpy only once they are used; no plugin."""
    import zoo

    for module in pkgutil.walk_packages(zoo.__path__, "zoo."):
        if "__main__" not in module.name and "migrations" not in module.name:
            importlib.import_module(module.name)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()


def main() -> None:
    """Serve at the socket with this number, and then be the command itself."""
    del sys.path[0]
    listener = socket.socket(fileno=int(sys.argv[1]))
    _import_zoo()
    if _is_command(listener):
        listener.close()
        runpy.run_module("zoo", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
