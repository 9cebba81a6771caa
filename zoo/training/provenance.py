"""The provenance of a result: code, versions, data and machine, and a fingerprint of them.

Everything that does not depend on the job is measured once per process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import socket
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from zoo import jobs, settings
from zoo.canonical_json import canonical, read_json
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Job
from zoo.jobs.environments import GPU_NAME, CodeVersion, Environment, Machine
from zoo.jobs.queue_options import GPU
from zoo.plugins import registry, requirements, source_code
from zoo.plugins.registry import Plugin

FILE = "environment.json"
SOURCE = "plugin.py"
"""The text of a one-file plugin, for people: it is never loaded."""
GIT_SECONDS = 5.0
"""Time limit of git: a hanging file system must not delay a job."""
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
"""Distributions and their packages, which have a `__version__` once they are imported."""
UNDECIDING = {
    *("v", "changed", "dataset", "keep_weights", "timeout", "memory_mb", "plugin", "source"),
    *("published", "version", "contents", "exact"),
}
"""Fields of a spec that do not affect the result, or are recorded more exactly beside it."""
LATER = ("validation", "class_weight", "positive", "device")
"""Fields that came later: at their default they leave a fingerprint as it was before."""
ALWAYS = ("mnist-zoo", "numpy", "scikit-learn")
VECTOR_SETS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "bmi", "asimd", "sve", "bf16")
"""Beginnings of the names of instruction sets among which numerical libraries choose."""


def keep_source(write: Callable[[str, str], None], spec: JobSpec) -> None:
    """Write the text of the model's one-file plugin, as it was imported, as the file SOURCE."""
    if text := _source(registry.catalogue().owners[spec.model]):
        write(SOURCE, text)


def _source(plugin: Plugin) -> str | None:
    return registry.catalogue().sources.get(plugin.name)


def keep(
    write: Callable[[str, str], None], spec: JobSpec, data: str, *, again: bool = False
) -> None:
    """Write the result of `measure` as the file FILE.

    `again` is for the end of the job, when every framework has been imported and its version is
    known.
    """
    now = tuple(sorted(package for package in FRAMEWORKS.values() if package in sys.modules))
    # In a warm runner no framework is new, and measuring costs more than this comparison.
    if again and _seen == [now]:
        return
    _seen[:] = [now]
    write(FILE, canonical(measure(spec, data).to_json()) + "\n")


_seen: list[tuple[str, ...]] = []
"""The frameworks that were imported when the last job's file was written."""


def measure(spec: JobSpec, data: str) -> Environment:
    """Return the environment of a job run in this process; `data` is the dataset's fingerprint."""
    plugin = registry.catalogue().owners[spec.model]
    return Environment(
        fingerprint=fingerprint(spec, data, plugin),
        data=data,
        plugin=plugin.label,
        code=code(plugin),
        versions=versions(plugin),
        machine=_machine(_gpu(spec.device)),
    )


def read_environment(folder: Path | None) -> Environment | None:
    """Return the environment of the job whose files are in the folder; None if unknown."""
    if folder is None:
        return None
    with contextlib.suppress(OSError, UsageError):
        found = read_json((folder / FILE).read_bytes())
        return Environment.from_json(found) if isinstance(found, dict) else None
    return None


def fingerprint(spec: JobSpec, data: str, plugin: Plugin) -> str:
    """Return the sha256 of everything known to affect the result of a job."""
    asked = spec.model_dump(exclude=UNDECIDING)
    facts = {name: value for name, value in asked.items() if name not in LATER or value} | {
        "data": data,
        "source": spec.source.sha256 if spec.source else None,
        "plugin": plugin.label,
        "code": _code_of(plugin),
    }
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def versions(plugin: Plugin) -> dict[str, str]:
    """Return the versions of Python, Zoo, the plugin and its requirements.

    For imported packages that is `__version__`, as the distribution may have been replaced since.
    A one-file plugin has no requirements: the packages that it imports count, and of those that
    are plugins themselves the requirements.
    """
    found = {"python": platform.python_version(), plugin.distribution: plugin.version}
    uses = [name for each in plugin.imports for name in _distributions(each)]
    bases = [
        more for name in uses if name.startswith("zoo-") for more in requirements.required(name)
    ]
    for name in (*ALWAYS, *requirements.required(plugin.distribution), *uses, *bases):
        if version := _imported(FRAMEWORKS.get(name, "")) or requirements.installed_version(name):
            found[name] = version
    return found


@functools.cache
def _distributions(package: str) -> tuple[str, ...]:
    """The distributions of an imported package, by their usual names; none for Python's own."""
    if package in sys.stdlib_module_names or package in ("zoo", "zoo_workers"):
        return ()
    known = [name for name, imported in FRAMEWORKS.items() if imported == package]
    usual = package.replace("_", "-")
    if known or requirements.installed_version(usual):
        return tuple(known or [usual])
    # This reads the list of files of every distribution.
    return tuple(metadata.packages_distributions().get(package, ()))


def deciding(plugin: Plugin, device: str | None = None) -> dict[str, str]:
    """Return what decides the bits of a result beside spec, code and data.

    Versions, the model of the processor and its instruction sets, the number of threads, and of a
    job for a GPU the model of that.
    """
    machine = _machine(_gpu(device))
    found = {"cpu": machine.cpu, "processor features": machine.features, "gpu": machine.gpu}
    known = {name: value for name, value in found.items() if value is not None}
    return versions(plugin) | known | {"threads": str(machine.threads)}


def _imported(package: str) -> str:
    version = getattr(sys.modules.get(package), "__version__", "")
    return version if isinstance(version, str) else ""


def code(plugin: Plugin) -> CodeVersion:
    """Return the sha256 of the plugin's source and, in a git checkout, its commit."""
    commit, dirty = _commit(plugin.source, plugin.version)
    return CodeVersion(_code_of(plugin), commit, dirty, SOURCE if _source(plugin) else None)


def _code_of(plugin: Plugin) -> str:
    """The hash of the imported code, or of the files of a plugin that is not imported."""
    return plugin.code or code_sha256(plugin.source, plugin.version)


@functools.cache
def code_sha256(source: str, version: str) -> str:
    """Return the hash of the source files of a plugin, see `source_code.sha256`.

    It detects edits of an editable install, whose version does not change.
    """
    del version  # part of the cache key: a changed one-file plugin has another version
    return source_code.sha256(source)


def loaded_by(trained_in: Environment | None, plugin: Plugin) -> str:
    """Return a warning if a model is loaded by another plugin version or code than trained it.

    `trained_in` is the environment of the training. Returns an empty string if both are the same
    or unknown.
    """
    if trained_in is None:
        return ""
    if trained_in.plugin and trained_in.plugin != plugin.label:
        return (
            f"The model was trained by {trained_in.plugin} and is loaded by {plugin.label}: "
            "its predictions may differ."
        )
    then = trained_in.code.sha256 if trained_in.code else None
    now = code(plugin).sha256
    if then and now and then != now:
        return (
            f"The model was trained by other code of {plugin.label} (sha256 "
            f"{then[:12]}) than it is loaded by ({now[:12]}): "
            "its predictions may differ."
        )
    return ""


def environment_of(db: Database, job: Job) -> Environment | None:
    """Return the last known environment of the job's attempts; None if there is none."""
    known = [each.environment for each in jobs.attempts(db, job.id) if each.environment]
    return known[-1] if known else None


def other_loader(db: Database, trained: Job) -> str:
    """Return a warning if this machine loads the model with other code than trained it."""
    owner = registry.catalogue().owners.get(trained.model)
    return loaded_by(environment_of(db, trained), owner) if owner else ""


@functools.cache
def _commit(source: str, version: str) -> tuple[str | None, bool | None]:
    del version
    file = source_code.place(source)
    if file is None:
        return None, None
    # A virtual environment is often inside a checkout that does not contain the plugin.
    if _git(file.parent, "ls-files", "--error-unmatch", "--", file.name) is None:
        return None, None
    lines = (_git(file.parent, "status", "--porcelain=v2", "--branch", "--", ".") or "").split("\n")
    commits = [line.removeprefix("# branch.oid ") for line in lines if "# branch.oid" in line]
    changes = [line for line in lines if line and not line.startswith("#")]
    return (commits[0], bool(changes)) if commits else (None, None)


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of git, or None if it fails, is missing or takes too long."""
    import subprocess

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
        )
        return done.stdout if done.returncode == 0 else None
    return None


def _gpu(device: str | None) -> str | None:
    """The model of the GPU that a job for the device has."""
    return os.environ.get(GPU_NAME) if device == GPU else None


@functools.cache
def _machine(gpu: str | None) -> Machine:
    cores = settings.cores()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(
        host=socket.gethostname(),
        cpu=_cpu(),
        features=instruction_sets(_first_core()),
        gpu=gpu,
        cores=cores,
        # The share that a worker gives each of its runners.
        threads=int(threads) if threads.isdigit() else cores,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
    )


def _cpu() -> str:
    """The model of the processor from /proc/cpuinfo, else from `platform`."""
    return _first_core().get("model name") or platform.processor() or platform.machine()


def instruction_sets(core: Mapping[str, str]) -> str | None:
    """Return a hash of the instruction sets in an entry of /proc/cpuinfo; None if it lists none.

    Two machines may call their processors the same and differ in these: a virtual one hides some.
    """
    flags = (core.get("flags") or core.get("Features") or "").split()  # Features: on ARM
    # The others depend on the version of the kernel, and compute nothing.
    found = sorted(flag for flag in flags if flag.startswith(VECTOR_SETS))
    return hashlib.sha256(" ".join(found).encode()).hexdigest()[:12] if found else None


@functools.cache
def _first_core() -> dict[str, str]:
    """What /proc/cpuinfo says of the first core, by name."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
        for line in text.splitlines():
            name, _, value = line.partition(":")
            found[name.strip()] = value.strip()
    return found
