"""How this installation is set up: one table of settings, each read from `ZOO_<NAME>`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from zoo import private_folder
from zoo.dataset_names import absolute, expanded
from zoo.errors import UsageError, reason
from zoo.regular_file import read_text_file
from zoo.terminal_text import is_plain, one_line

MAX_SECRET = 2**16
"""Largest size of a file with a secret, in bytes."""
MAX_USER = 100
"""Largest number of characters of the owner of a job."""
BEATS_PER_LEASE = 4
"""Minimum number of heartbeats per lease: its holder gives up two beats before it ends."""


def _setting(default: Any, help: str, *, secret: bool = False, least: int = 0) -> Any:
    return field(default=default, metadata={"help": help, "secret": secret, "least": least})


class FileSecret(str):
    """A secret that was read from a file."""

    path: str

    def __new__(cls, text: str, path: str) -> FileSecret:
        secret = super().__new__(cls, text)
        secret.path = absolute(path)
        return secret

    def read_again(self) -> FileSecret:
        """Return the secret that the file has now. Raises UsageError if it cannot be read."""
        return read_secret(self.path)


@dataclass(frozen=True)
class Settings:
    """Every setting with its default; `load` reads them from the environment."""

    home: Path = _setting(Path("~/.zoo"), "where rows, artifacts, the cache and sockets live")
    database_url: str = _setting("", "the team's PostgreSQL; empty: SQLite in home", secret=True)
    broker_url: str = _setting(
        "", "the team's Valkey, Redis or Sentinels; empty: an embedded one", secret=True
    )
    artifacts_url: str = _setting("", "an fsspec URL for artifacts; empty: a folder in home")
    data_dir: str = _setting("", "folders to look in for datasets first, separated by ':'")
    plugins_dir: Path | None = _setting(None, "folder of one-file plugins; empty: plugins in home")
    plugins: str | None = _setting(
        None, "names of the plugins to load, separated by ','; unset: all"
    )
    slots: int = _setting(0, "jobs that a worker runs at once; 0: one per core")
    max_attempts: int = _setting(3, "tries of a job whose worker keeps dying", least=1)
    lease_seconds: float = _setting(
        60.0, "a running job is lost when its worker is silent this long"
    )
    beat_seconds: float = _setting(10.0, "time between two heartbeats of a running job")
    reap_seconds: float = _setting(10.0, "time between two searches for lost jobs")
    resend_seconds: float = _setting(30.0, "a job still queued after this gets a new hint")
    backoff_seconds: float = _setting(2.0, "wait before the second attempt; doubles each time")
    drain_seconds: float = _setting(20.0, "time a stopping worker gives its running jobs")
    idle_seconds: float = _setting(900.0, "the local worker ends after this long without a job")
    jobs_per_runner: int = _setting(1000, "a runner process is replaced after this many jobs")
    runner_memory_mb: int = _setting(4096, "an idle runner process above this is replaced")
    runner_variables: str = _setting(
        "", "further environment variables for processes that run models: A,B_*; empty: none"
    )
    free_mb: int = _setting(
        64, "a worker takes no job while its disk has less free space than this"
    )
    job_memory_mb: int = _setting(0, "memory of one job; 0: an equal share of four fifths of all")
    notify: str = _setting(
        "",
        "where notifications of ended jobs go: `desktop`, a webhook URL, `command:...`; "
        "empty: nowhere",
        secret=True,
    )
    celery_events: bool = _setting(
        False, "a worker answers `celery inspect` and sends events for Flower: on or off"
    )
    pictures: bool = _setting(True, "draw pictures of each job that has ended: on or off")
    mlflow: str = _setting(
        "", "the MLflow tracking server that finished jobs are written to; empty: none", secret=True
    )
    artifact_mb: int = _setting(4096, "the most that the files of one job may take", least=1)
    checkpoint_seconds: float = _setting(
        30.0, "least time between two checkpoints of a training; 0: none are kept"
    )
    checkpoint_mb: int = _setting(1024, "the largest checkpoint that is kept", least=1)
    allow_pickle: bool = _setting(
        False, "store and load weights whose loading can run code, as pickles: on or off"
    )
    keep_days: str = _setting(
        "", "ended jobs are removed after this: `90 failed=7 tag:tmp=1`; empty: never"
    )
    keep_jobs: str = _setting(
        "", "the newest jobs that stay, others are removed: `10000 failed=100`; empty: all"
    )
    keep_metrics: bool = _setting(
        False, "of jobs that are removed so, remove the files alone: on or off"
    )
    log_kb: int = _setting(1024, "kept of one attempt's log in the database")
    user: str = _setting("", "the owner of the jobs you submit; empty: USER@HOST of this machine")

    @property
    def database(self) -> str:
        """The URL of the rows."""
        return self.database_url or f"sqlite:///{self.home / 'zoo.db'}"

    @property
    def has_database(self) -> bool:
        """Whether there is a database; connecting to one in the home would create it."""
        return bool(self.database_url) or (self.home / "zoo.db").exists()

    @property
    def artifacts(self) -> str:
        """The URL under which artifacts are stored."""
        return self.artifacts_url or str(self.home / "artifacts")

    @property
    def submitter(self) -> str:
        """The owner of the jobs that this process submits."""
        return self.user or _user_at_host()

    @property
    def cache(self) -> Path:
        """Raw and prepared data, which can be made again at any time."""
        return _cache(self.home)

    @property
    def plugins_folder(self) -> Path:
        return self.plugins_dir or self.home / "plugins"

    @property
    def data_folders(self) -> list[Path]:
        """The folders of `ZOO_DATA_DIR`, in order."""
        return [_path("data_dir", p) for p in self.data_dir.split(os.pathsep) if p]

    @property
    def runtime(self) -> Path:
        """Sockets and locks of the embedded servers; short, for a socket's path has 107 bytes."""
        import hashlib

        key = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        name = f"zoo-{os.getuid()}-{key}"
        usual, *others = (base / name for base in _runtime_bases())
        # Commands with and without XDG_RUNTIME_DIR are to meet the same servers.
        running = (each for each in (usual, *others) if _has_servers(each))
        return next(running, usual)

    @property
    def broker(self) -> str:
        """The broker's URL as redis-py and Celery both read it, but for Celery's socket scheme."""
        return self.broker_url or f"unix://{self.runtime / 'valkey.sock'}"

    @property
    def is_embedded(self) -> bool:
        """True where Zoo brings its own broker and worker."""
        return not self.broker_url


CONTAINER_NAME = re.compile(r"[0-9a-f]{12}")
"""The host name of a container unless it is given one: new for each container."""


def _user_at_host() -> str:
    """Return the user of this process and the host, up to its first dot.

    The user of a container may have no name: it is `uid-1000`. Its host name lasts as long as the
    container: it counts as `container`, so that the next one has the same owner.
    """
    import getpass

    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = ""
    host = os.uname().nodename.partition(".")[0]
    if CONTAINER_NAME.fullmatch(host):
        host = "container"
    half = MAX_USER // 2 - 1
    name, place = ("".join(filter(_is_of_name, one_line(each)))[:half] for each in (user, host))
    return f"{name or f'uid-{os.getuid()}'}@{place or 'localhost'}"


SOCKET_BYTES = 103
"""The longest path of a socket: 107 bytes on Linux, 103 on macOS."""


def _runtime_bases() -> list[Path]:
    """Where the folder of sockets may be, the place for a new one first."""
    import tempfile

    system = Path(f"/run/user/{os.getuid()}")
    given = Path(os.environ.get("XDG_RUNTIME_DIR") or "")
    temporary = Path(tempfile.gettempdir())
    found = [given] if given.is_absolute() and private_folder.is_private(given) else []
    found += [temporary, Path("/tmp")]
    longest = len(f"/zoo-{os.getuid()}-{'0' * 12}/valkey.sock")
    fits = [each for each in found if len(os.fsencode(each)) + longest <= SOCKET_BYTES]
    return [*fits, *([system] if private_folder.is_private(system) else [])]


def _has_servers(folder: Path) -> bool:
    return private_folder.is_private(folder) and any(
        (folder / name).exists() for name in ("valkey.json", "worker.json")
    )


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores available to this process: its affinity or its container's quota.

    A container sees all cores of the machine, but is throttled once it has used its quota of a
    period (Linux: `cpu.max` of cgroup v2, `cpu.cfs_quota_us` and `cpu.cfs_period_us` of v1).
    """
    seen = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        seen = len(os.sched_getaffinity(0))
    v1 = [cgroup / "cpu" / f"cpu.cfs_{name}_us" for name in ("quota", "period")]
    for files in ([cgroup / "cpu.max"], v1):
        # "No limit" is `max` in v2 and -1 in v1.
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, " ".join(file.read_text() for file in files).split())
            if quota > 0:
                return max(1, min(seen, quota // period))
    return seen


THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
"""Variables that limit the threads of libraries, set to a share of the cores for models."""


def share_the_cores(slots: int) -> dict[str, str]:
    """Return the environment variables of a process that has one of the slots."""
    share = str(max(1, cores() // slots))
    return {name: os.environ.get(name, share) for name in THREADS}


def share_the_memory(settings: Settings, slots: int) -> int:
    """Give the memory of one job in MB: the setting, else an equal share of four fifths of all."""
    import psutil

    share = int(psutil.virtual_memory().total * 0.8 / slots / 2**20)
    return settings.job_memory_mb or share


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"ZOO_{name.upper()}"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment; a secret also from the file in `ZOO_<NAME>_FILE`.

    Raises UsageError for a value of the wrong type, or a lease too short for its beats.
    """
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for each in fields(Settings):
        text = env.get(variable(each.name))
        file = env.get(variable(each.name) + "_FILE")
        if text is None and file and each.metadata["secret"]:
            text = read_secret(file)
        if text is not None and (text or each.name == "plugins"):
            values[each.name] = _convert(each, text)
    values["home"] = _path("home", str(values.get("home", Settings.home)))
    values["user"] = _read_user(values.get("user", ""))
    found = Settings(**values)
    if found.lease_seconds < BEATS_PER_LEASE * found.beat_seconds:
        raise UsageError(
            f"{variable('lease_seconds')} is {found.lease_seconds:g}, less than {BEATS_PER_LEASE} "
            f"times {variable('beat_seconds')}, {found.beat_seconds:g}.",
            "One missed beat would lose a job: raise the first or lower the second.",
        )
    return found


def cache() -> Path:
    """The cache, as in `load`: each job asks for it several times, and for nothing else."""
    return _cache(_path("home", os.environ.get(variable("home")) or str(Settings.home)))


def _cache(home: Path) -> Path:
    return home / "cache"


def is_traced() -> bool:
    """Whether ZOO_TRACE_PLUGINS asks to see hook calls: of one command, so no setting."""
    return os.environ.get("ZOO_TRACE_PLUGINS", "") not in ("", "0")


def read_secret(path: str) -> FileSecret:
    """Read a secret from its file. Raises UsageError."""
    try:
        return FileSecret(read_text_file(path, MAX_SECRET).strip(), path)
    except (OSError, ValueError) as error:
        raise UsageError(f"The secret file {path} cannot be read: {reason(error)}.") from None


def _is_of_name(char: str) -> bool:
    """Return whether the owner of a job may have the character: no wildcard of a pattern."""
    return char not in "*?" and is_plain(char)


def _read_user(text: str) -> str:
    user = one_line(text)
    if len(user) > MAX_USER or not all(map(_is_of_name, user)):
        raise UsageError(
            f"{variable('user')} is no name of up to {MAX_USER} characters, none of them * or ? "
            "or a control character.",
            "For example ZOO_USER=anna; unset it for USER@HOST.",
        )
    return user


def _path(name: str, text: str) -> Path:
    if text.startswith("~") and expanded(text) == text:  # of a user that is not known here
        raise UsageError(
            f"{variable(name)} is '{text}', but there is no such home directory.",
            "Give it as an absolute path.",
        )
    return Path(absolute(text))


def _switch(name: str, text: str) -> bool:
    if text not in ("on", "off"):
        raise UsageError(f"{variable(name)} is '{text}', but it must be on or off.")
    return text == "on"


def _convert(setting: Field[Any], text: str) -> Any:
    name, least = setting.name, setting.metadata["least"]
    default: Any = setting.default
    if name in ("home", "plugins_dir"):
        return _path(name, text)
    if isinstance(default, str) or default is None:
        return text
    if isinstance(default, bool):
        return _switch(name, text)
    try:
        value = type(default)(text)
    except ValueError:
        value = -1
    # NaN fails this comparison too
    if not least <= value < 10**9:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise UsageError(
            f"{variable(name)} is '{text}', but it must be {kind} from {least} on.",
            f"Unset it for the default, {default}.",
        )
    return value
