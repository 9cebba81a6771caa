"""Check every part of the installation, with advice for each fault."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from zoo import private_folder
from zoo.errors import ZooError
from zoo.jobs.dialects import Postgresql, Sqlite
from zoo.settings import Settings
from zoo.terminal_text import counted

FREE_GB = 2.0
"""Minimum free space, in GB; prepared MNIST in both types takes 0.6 GB."""
CLOCK_SECONDS = 5.0
HOOK_SECONDS = 86_400.0
"""Age up to which errors of hooks are told."""
SHOWN = 10
"""Damaged jobs that are named."""
SAME = "Install one version on both."


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    part: str
    ok: bool
    detail: str
    advice: str = ""


def examine(
    settings: Settings, progress: Callable[[int, int], None] | None = None
) -> Iterator[Finding]:
    """Check all parts, one after the other.

    With `progress`, the files of all jobs are checked instead of a sample; it is called with the
    number of jobs checked, and of all.
    """
    said: set[str] = set()
    parts = PARTS | ({"files": partial(_files, progress=progress)} if progress else {})
    for part, look in parts.items():
        try:
            for finding in look(settings, part):
                if not finding.ok:
                    said.add(finding.detail)
                yield finding
        except ZooError as error:
            # An unreachable database or home fails several checks: the reason is reported once.
            is_new = error.message not in said
            said.add(error.message)
            advice = "" if "zoo doctor" in error.hint else error.hint
            detail = error.message if is_new else "not checked, for the reason above"
            yield Finding(part, False, detail, advice if is_new else "")
        except Exception as error:
            yield Finding(part, False, f"{type(error).__name__}: {error}", "Please report this.")


def _programs(settings: Settings, part: str) -> Iterator[Finding]:
    names = ("mnist-zoo", "celery", "kombu", "redis", "sqlalchemy")
    yield Finding(part, True, ", ".join(f"{name} {version(name)}" for name in names))


def _disk(settings: Settings, part: str) -> Iterator[Finding]:
    private_folder.make(settings.home)
    free = shutil.disk_usage(settings.home).free / 1e9
    detail = f"{settings.home}, {free:.1f} GB free"
    advice = f"Make room, or set ZOO_HOME to a disk with {FREE_GB:.0f} GB."
    yield Finding(part, free >= FREE_GB, detail, "" if free >= FREE_GB else advice)


def _folders(settings: Settings, part: str) -> Iterator[Finding]:
    """Check that no other user can write to these files, which would allow running code."""
    places = {settings.home, settings.plugins_folder, settings.home / "zoo.db"}
    for path in sorted(places):
        if complaint := private_folder.complaint_of(path):
            advice = f"Check its contents; then `{private_folder.remedy(path)}`."
            yield Finding(part, False, f"{path} is not safe to use: {complaint}.", advice)
            return
    yield Finding(part, True, f"{settings.home}: no other user can write to it")


def _database(settings: Settings, part: str) -> Iterator[Finding]:
    from zoo import jobs

    db = jobs.connect(settings.database)
    counts = ", ".join(f"{n} {status}" for status, n in sorted(jobs.counts(db).items()))
    yield Finding(part, True, f"{db.name}, schema {jobs.schema_version(db)}; {counts or 'no jobs'}")
    yield from _pooler(db.driver)
    off = abs(jobs.clock(db) - time.time())
    advice = "" if off < CLOCK_SECONDS else "Set the clock of this machine (NTP)."
    yield Finding("clock", off < CLOCK_SECONDS, f"{off:.1f} s from the database's", advice)


def _pooler(driver: Sqlite | Postgresql) -> Iterator[Finding]:
    """Check that a pooler before the database, if there is one, can serve."""
    if isinstance(driver, Sqlite) or not driver.is_pooled:
        return
    if driver.mixes_statements:
        detail = "it lets sessions run statements that others have prepared: wrong rows, errors"
        advice = "Remove prepare_threshold from ZOO_DATABASE_URL; see docs/operating.md, pooler."
        yield Finding("pooler", False, detail, advice)
        return
    how = "with" if driver.prepare_threshold is not None else "without"
    yield Finding("pooler", True, f"between here and the database; {how} prepared statements")


def _broker(settings: Settings, part: str) -> Iterator[Finding]:
    from zoo.queue import local_services
    from zoo.queue.broker import Broker

    if settings.is_embedded and not local_services.answers(settings):
        yield Finding(part, True, "embedded; not running, the next job starts it")
        return
    shown = Broker(settings, patient=False).prove()
    yield Finding(part, True, f"{shown} returns a hint that was sent through it")


def _workers(settings: Settings, part: str) -> Iterator[Finding]:
    from zoo import __version__, jobs
    from zoo.plugins import registry

    db = jobs.connect(settings.database)
    found = jobs.workers(db)
    if not found:
        ok = settings.is_embedded
        detail = "none yet; the next job starts one" if ok else "none is online"
        yield Finding(part, ok, detail, "" if ok else "Start one: `zoo worker start`.")
    at = jobs.clock(db)
    here = {card.name: card.plugin for card in registry.cards()}
    for worker in found:
        labels = sorted({card.plugin for card in worker.models})
        state = "draining, " if worker.state == "draining" else ""
        beat = f"last beat {at - worker.beat_at:.0f} s ago"
        load = f"{state}{worker.busy}/{worker.slots} busy, {beat}"
        runs = ", ".join([f"mnist-zoo {worker.version}", *labels])
        if worker.trouble:
            says = "takes no job" if worker.state == "sick" else "takes only some jobs"
            detail = f"{worker.name} ({load}) {says}. {worker.trouble}"
            yield Finding(part, False, detail, f"Fix it on {worker.host}; it resumes by itself.")
        else:
            yield Finding(part, True, f"{worker.name} ({load}): {runs}")
        if worker.version != __version__:
            detail = f"mnist-zoo is {worker.version} on {worker.name}, {__version__} here"
            yield Finding("versions", False, detail, SAME)
        for card in worker.models:
            mine = here.get(card.name)
            if mine and mine != card.plugin:
                detail = f"{card.name} is {card.plugin} on {worker.name}, {mine} here"
                yield Finding("versions", False, detail, SAME)


def _queue(settings: Settings, part: str) -> Iterator[Finding]:
    """Check for jobs that make no progress: no able worker, a silent one, or no hints received."""
    from zoo import jobs
    from zoo.queue import pending_reason

    db = jobs.connect(settings.database)
    workers = jobs.workers(db)
    for job in jobs.list_silent(db):
        detail = f"{job.id[:8]} ({job.model} on {job.dataset}) is running, but its worker is silent"
        yield Finding(part, False, detail, pending_reason.sentence(db, settings, job))
    unserved: dict[tuple[str, str, str, str | None], str] = {}
    for job in jobs.first_waiting(db):
        missing = pending_reason.for_a_worker(pending_reason.Scene(db, settings, job, workers))
        if missing and missing != pending_reason.STARTING:
            unserved[job.pool, job.model, job.dataset, job.device] = missing
    patience = settings.resend_seconds * 2
    for queue in jobs.waiting(db):
        kind = (queue.pool, queue.model, queue.dataset, queue.device)
        needed = (queue.pool, queue.model, queue.needed_dataset, queue.device)
        able = [w for w in workers if w.can_run(*needed)]
        deaf = [w.name for w in able if w.busy < w.slots]
        one = queue.jobs == 1
        what = f"{queue.model} on {queue.dataset}"
        wait = f"{counted(queue.jobs, 'job')} of {what} {'waits' if one else 'wait'}"
        detail = f"{wait} in pool {queue.pool}, the first for {queue.seconds:.0f} s"
        if kind in unserved:
            detail += "; no online worker can run such a job" if not able else ""
            yield Finding(part, False, detail, unserved[kind])
        elif deaf and queue.seconds > patience:
            detail += f", though {', '.join(deaf)} could run one"
            yield Finding(part, False, detail, "Restart that worker; read its log.")
        else:
            yield Finding(part, True, detail)


def _hooks(settings: Settings, part: str) -> Iterator[Finding]:
    """Check for plugins whose hook `job_finished` has failed lately."""
    from zoo import jobs

    db = jobs.connect(settings.database)
    for failed in jobs.failed_hooks(db, seconds=HOOK_SECONDS):
        whose = f"the hook of the plugin {failed.plugin}" if failed.plugin else "a hook"
        many = counted(failed.jobs, "job")
        last = f"the last is {failed.last.job[:8]}: {failed.last.error}"
        advice = "Mend the plugin where workers run; `zoo show JOB` has the error of each job."
        yield Finding(part, False, f"{whose} failed for {many} in the last 24 h, {last}", advice)
    pending, skipped = jobs.count_hooks(db)
    many = counted(pending, "job") if pending else "no job"
    many += " wait" if pending > 1 else " waits"
    whose = counted(skipped, "plugin")
    left = f"; of {whose} made no files: `zoo files JOB extra`" if skipped else ""
    yield Finding(part, True, f"{many} for hooks{left}")


def _mlflow(settings: Settings, part: str) -> Iterator[Finding]:
    """Check that what writes jobs to MLflow is installed, if its server is set."""
    from zoo.plugins.requirements import installed_version

    if not settings.mlflow:
        return
    if not installed_version("zoo-mlflow"):
        detail = "ZOO_MLFLOW is set, but zoo-mlflow is not installed here: a worker writes no job"
        yield Finding(part, False, detail, "pip install zoo-mlflow, also where workers run.")
        return
    detail = "workers write jobs that have ended; `zoo mlflow sync --follow` those that run"
    yield Finding(part, True, detail)


def _strays(settings: Settings, part: str) -> Iterator[Finding]:
    """Check for runners that still run after their worker has ended: they use memory and cores."""
    import psutil

    strays = []
    for process in psutil.process_iter(["cmdline", "ppid"]):
        command = " ".join(process.info["cmdline"] or [])
        if "zoo_workers.runner_main" in command and process.info["ppid"] == 1:
            with contextlib.suppress(psutil.Error):
                if process.environ().get("ZOO_RUNNER_HOME") == str(settings.home):
                    strays.append(str(process.pid))
    detail = f"runners without a worker: {', '.join(strays)}" if strays else "no stray runner"
    yield Finding(part, not strays, detail, f"kill {' '.join(strays)}" if strays else "")


def _gpus(settings: Settings, part: str) -> Iterator[Finding]:
    """List the GPUs that a worker of this machine could use; none is no fault."""
    from zoo.queue.gpus import list_gpus

    found = [f"{gpu.index}: {gpu.name}, {gpu.memory_mb / 1024:.0f} GB" for gpu in list_gpus()]
    yield Finding(part, True, "; ".join(found) or "none: no NVIDIA driver answers")


def _artifacts(settings: Settings, part: str) -> Iterator[Finding]:
    from zoo.storage import artifacts

    yield Finding(part, True, f"{artifacts.check(settings.artifacts)} can be written and read")


def _space(settings: Settings, part: str) -> Iterator[Finding]:
    from zoo import jobs
    from zoo.queue import storage_check

    sizes = storage_check.list_sizes(jobs.connect(settings.database), settings)
    yield Finding(part, True, "; ".join(sizes))


def _files(
    settings: Settings, part: str, progress: Callable[[int, int], None] | None = None
) -> Iterator[Finding]:
    """Check stored files against their hashes."""
    from zoo import jobs
    from zoo.queue import storage_check

    db = jobs.connect(settings.database)
    if progress:
        found = storage_check.check_all(db, settings, progress)
    else:
        found = storage_check.check_sample(db, settings)
    for job, error in list(found.damaged.items())[:SHOWN]:
        advice = f"`zoo rerun {job[:8]}` submits it again, `zoo rm {job[:8]}` removes it."
        yield Finding(part, False, f"{job[:8]}: {error}", advice)
    which = "all jobs" if progress else "a sample"
    left = found.jobs - len(found.damaged)
    detail = f"{which}: {left:,} of {found.jobs:,} match their hashes"
    yield Finding(part, not found.damaged, detail)


def _data(settings: Settings, part: str) -> Iterator[Finding]:
    from zoo.data import datasets

    for each in datasets.listing():
        yield Finding(part, True, f"{each.name}: {each.where}")


def _plugins(settings: Settings, part: str) -> Iterator[Finding]:
    from zoo.plugins import registry

    for plugin in registry.catalogue().plugins:
        has = plugin.models + plugin.datasets or plugin.hooks
        detail = ": ".join(filter(None, [f"{plugin.name} ({plugin.label})", ", ".join(has)]))
        if plugin.error:
            yield Finding(part, False, f"{plugin.name}: {plugin.error}", f"Fix {plugin.source}.")
        else:
            yield Finding(part, True, detail)


PARTS: dict[str, Callable[[Settings, str], Iterator[Finding]]] = {
    "programs": _programs,
    "folders": _folders,
    "disk": _disk,
    "database": _database,
    "broker": _broker,
    "workers": _workers,
    "queue": _queue,
    "hooks": _hooks,
    "mlflow": _mlflow,
    "processes": _strays,
    "gpus": _gpus,
    "artifacts": _artifacts,
    "files": _files,
    "space": _space,
    "data": _data,
    "plugins": _plugins,
}
