"""What a result came from: code, versions, data, machine; and the fingerprint of all that counts.

Everything but the job's own facts is measured once per process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import socket
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from zoo import jobs, settings
from zoo.canonical_json import object_in
from zoo.job_spec import JobSpec, canonical
from zoo.jobs import Database, Job
from zoo.plugins import registry, source_code
from zoo.plugins.registry import Plugin

FILE = "environment.json"
GIT_SECONDS = 5.0
"""What git may take; a file system that hangs must not hold a job up."""
FRAMEWORKS = {
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "tensorflow": "tensorflow",
    "keras": "keras",
    "torch": "torch",
    "jax": "jax",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
}
"""Distributions, and their packages, which tell their own versions once they are imported."""
UNDECIDING = {
    *("v", "changed", "dataset", "keep_weights", "timeout", "memory_mb", "plugin", "source"),
    "published",
}
"""What a spec says that does not decide the result, or is told more exactly beside it."""
ALWAYS = ("mnist-zoo", "numpy", "scikit-learn")


def keep(
    write: Callable[[str, str], None], spec: JobSpec, data: str, *, again: bool = False
) -> None:
    """Have what `measure` tells written, as the file FILE.

    `again` is for the job's end: by then every framework is imported, and tells its own version.
    """
    now = tuple(sorted(package for package in FRAMEWORKS.values() if package in sys.modules))
    # In a warm runner nothing has come since the beginning, and to measure costs more than to look.
    if again and _seen == [now]:
        return
    _seen[:] = [now]
    write(FILE, canonical(measure(spec, data)) + "\n")


_seen: list[tuple[str, ...]] = []
"""The frameworks that were imported when the last job's file was written."""


def measure(spec: JobSpec, data: str) -> dict[str, Any]:
    """Tell where and of what the job is run here, as JSON; `data` is the dataset's fingerprint.

    {"fingerprint", "data", "plugin", "code": {"sha256", "commit", "dirty"}, "versions": {name:
    version}, "machine": {"host", "cpu", "cores", "threads", "system"}}.
    """
    plugin = registry.catalogue().owners[spec.model]
    found = code(plugin)
    return {
        "fingerprint": fingerprint(spec, data, plugin),
        "data": data,
        "plugin": plugin.label,
        "code": dict(found),
        "versions": versions(plugin),
        "machine": dict(_machine()),
    }


def fingerprint(spec: JobSpec, data: str, plugin: Plugin) -> str:
    """The sha256 of everything that decides what a job's result is, as far as Zoo can know."""
    facts = spec.model_dump(exclude=UNDECIDING) | {
        "data": data,
        "source": spec.source.sha256 if spec.source else None,
        "plugin": plugin.label,
        "code": _code_of(plugin),
    }
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def versions(plugin: Plugin) -> dict[str, str]:
    """Versions of Python, Zoo, the plugin and what it requires; of nothing else in this process.

    What is imported tells its own version: a distribution may have been replaced meanwhile. A
    one-file plugin does not say what it requires: the frameworks that it imports count.
    """
    found = {"python": platform.python_version(), plugin.distribution: plugin.version}
    uses = [name for name, package in FRAMEWORKS.items() if package in plugin.imports]
    for name in (*ALWAYS, *_required(plugin.distribution), *uses):
        if version := _imported(FRAMEWORKS.get(name, "")) or _installed(name):
            found[name] = version
    return found


def _imported(package: str) -> str:
    version = getattr(sys.modules.get(package), "__version__", "")
    return version if isinstance(version, str) else ""


@functools.cache
def _installed(distribution: str) -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return ""


@functools.cache
def _required(distribution: str) -> list[str]:
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:  # a one-file plugin
        return []
    own = [re.split(r"[^\w.-]", line)[0] for line in lines if "extra ==" not in line]
    # A plugin may be built on another, which then says what it requires.
    others = [each for each in own if each.startswith("zoo-") and each != distribution]
    return list(dict.fromkeys([*own, *(more for each in others for more in _required(each))]))


def code(plugin: Plugin) -> Mapping[str, Any]:
    """The plugin's source: its sha256, and where it lies in a git checkout its commit.

    {"sha256", "commit", "dirty"}; `commit` and `dirty` are None outside a checkout.
    """
    commit, dirty = _commit(plugin.source, plugin.version)
    return {"sha256": _code_of(plugin), "commit": commit, "dirty": dirty}


def _code_of(plugin: Plugin) -> str:
    """The hash of the code that runs: as it was imported, or of a plugin that was not, as it is."""
    return plugin.code or code_sha256(plugin.source, plugin.version)


@functools.cache
def code_sha256(source: str, version: str) -> str:
    """The hash of the source of a plugin as it lies on the disk, see `source_code.sha256`.

    An editable install keeps its version when a file is edited; this tells the two apart.
    """
    del version  # a part of the key: a one-file plugin that changes has another
    return source_code.sha256(source)


def loaded_by(told: Mapping[str, Any], plugin: Plugin) -> str:
    """Say, in a sentence, that a trained model is loaded by something else than trained it.

    `told` is the environment of the training; nothing if that is the same, or did not say so.
    """
    now = code(plugin)
    then = object_in(told, "code")
    if told.get("plugin") and told["plugin"] != plugin.label:
        return (
            f"The model was trained by {told['plugin']} and is loaded by {plugin.label}: "
            "its answers may differ."
        )
    if then.get("sha256") and now["sha256"] and then["sha256"] != now["sha256"]:
        return (
            f"The model was trained by other code of {plugin.label} (sha256 "
            f"{str(then['sha256'])[:12]}) than it is loaded by ({now['sha256'][:12]}): "
            "its answers may differ."
        )
    return ""


def environment_of(db: Database, job: Job) -> dict[str, Any]:
    """Where and of what the job's last attempt was run; empty if it did not tell."""
    told = [each["environment"] for each in jobs.attempts(db, job.id) if each["environment"]]
    return told[-1] if told else {}


def other_loader(db: Database, trained: Job) -> str:
    """Say that this machine loads the model by something else than trained it; nothing if not."""
    owner = registry.catalogue().owners.get(trained.model)
    return loaded_by(environment_of(db, trained), owner) if owner else ""


@functools.cache
def _commit(source: str, version: str) -> tuple[str | None, bool | None]:
    del version
    file = source_code.place(source)
    if file is None:
        return None, None
    # A virtual environment often lies inside a checkout, which says nothing about what is in it.
    if _git(file.parent, "ls-files", "--error-unmatch", "--", file.name) is None:
        return None, None
    lines = (_git(file.parent, "status", "--porcelain=v2", "--branch", "--", ".") or "").split("\n")
    commits = [line.removeprefix("# branch.oid ") for line in lines if "# branch.oid" in line]
    changes = [line for line in lines if line and not line.startswith("#")]
    return (commits[0], bool(changes)) if commits else (None, None)


def _git(folder: Path, *words: str) -> str | None:
    """What git says, or None if it fails, is missing or takes too long."""
    import subprocess

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
        )
        return done.stdout if done.returncode == 0 else None
    return None


@functools.cache
def _machine() -> Mapping[str, Any]:
    cores = settings.cores()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return {
        "host": socket.gethostname(),
        "cpu": _cpu(),
        "cores": cores,
        # What a worker grants each of its runners.
        "threads": int(threads) if threads.isdigit() else cores,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _cpu() -> str:
    """The processor's model, as Linux names it; elsewhere what Python knows."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
