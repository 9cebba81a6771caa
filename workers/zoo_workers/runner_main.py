"""The main function of a runner process: take a request, run the job, reply with its outcome."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import functools
import gc
import json
import logging
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import child_process, cores, process_tree
from zoo.canonical_json import read_json
from zoo.errors import ZooError, as_sentence, reason
from zoo.job_spec import JobSpec
from zoo.jobs.environments import GPU_NAME
from zoo.model import Stop
from zoo.plugins import error_report, process_state

if TYPE_CHECKING:
    from zoo.training.checkpoints import Place

FILES = "files"
"""Subfolder of a hook call's folder: the job's files."""
BEGUN, DONE = "begun", "done"
"""Subfolders of a hook call's folder: files of plugins that are running, and of those done."""

MACHINE_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ENFILE", "EMFILE", "ESTALE")
)
"""Errors of a disk that is full or broken, or of too many open files."""
OUT_OF_GPU_MEMORY = "out_of_gpu_memory"
FULL = {"memory": "out_of_memory", "memory of the GPU": OUT_OF_GPU_MEMORY}
"""The code of an error by the memory of which there is too little."""
OF_MEMORY = {
    ("tensorflow", "ResourceExhaustedError"),
    ("torch", "OutOfMemoryError"),
    ("cupy", "OutOfMemoryError"),
}
"""Errors of frameworks about memory, by package."""
NO_MEMORY = os.strerror(errno.ENOMEM)
ON_PROCESSOR = re.compile(r"OOM.*device:CPU|DefaultCPUAllocator: can't allocate memory")
ON_GPU = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|CUDA_ERROR_OUT_OF_MEMORY"
    r"|RESOURCE_EXHAUSTED: Out of memory"
)
"""Texts of errors about memory, as some are of no class of their own."""
MAX_TEXT = 16 * 1024
"""Longest text file, in characters, that is sent with the progress instead of written to disk."""


def main() -> None:
    """Serve requests from the pipe until it closes: JSON both ways, so that nothing is unpickled.

    The two inherited files are those of `runner_pool.RunnerOutput`.
    """
    pipe, (log, progress), _ = child_process.serve(n_files=2)
    while True:
        try:
            request = read_json(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        if request["action"] == "run":
            # In a context of its own: numpy and decimal keep rounding and error handling there.
            reply = contextvars.copy_context().run(_run_isolated, request, log, progress)
        else:
            reply = HANDLERS[request["action"]](request)
        # Not sorted: a schema lists the params in the order of their author.
        pipe.send_bytes(json.dumps(reply, allow_nan=False).encode())


def _catalogue(_: dict[str, Any]) -> dict[str, Any]:
    from zoo.data import datasets
    from zoo.plugins import registry

    with contextlib.redirect_stdout(sys.stderr):
        broken = {p.name: p.error for p in registry.catalogue().plugins if p.error}
        known = {each.name: each.summary for each in datasets.listing()}
        hooks = sorted({hook for p in registry.catalogue().plugins for hook in p.hooks})
        listeners = registry.catalogue().manager.hook.job_finished.get_hookimpls()
        return {
            "models": [card.to_json() for card in registry.cards()],
            "datasets": known,
            "versions": {n: registry.dataset_version(n) for n in registry.catalogue().datasets},
            "listeners": registry.listeners(),
            "metrics": {
                name: {"higher_is_better": each.higher_is_better, "summary": each.summary}
                for name, each in registry.metrics().items()
            },
            "broken": broken,
            "hooks": hooks,
            "hook_arguments": sorted({name for each in listeners for name in each.argnames}),
            # A hook that takes the job alone notifies somebody, so it must not wait.
            "is_urgent": any({*each.argnames} <= {"job"} for each in listeners),
            # A hook that makes no files cannot be called later, on demand.
            "has_notifiers": any("extra" not in each.argnames for each in listeners),
        }


def _warm_up(request: dict[str, Any]) -> dict[str, Any]:
    """Import what jobs of the models will need; models import their framework in `__init__`."""
    from zoo.plugins import registry

    for name in request["models"]:
        # The job itself meets the same error, where it is reported.
        with (
            contextlib.suppress(BaseException),
            contextlib.redirect_stdout(sys.stderr),
            process_state.put_back(),
        ):
            model = registry.model(name)
            model(model.Params.resolve({}), ["0", "1"], seed=0)
    return {}


def _hooks(request: dict[str, Any]) -> dict[str, Any]:
    """Call each plugin's `job_finished`; return its error, or None, by plugin."""
    from zoo.plugins import registry

    os.environ.update(request["environ"])
    files, folder = (request[name] and Path(request[name]) for name in ("files", "folder"))
    raised: dict[str, str | None] = {}
    with contextlib.redirect_stdout(sys.stderr):
        found = registry.catalogue()
        impls = found.manager.hook.job_finished.get_hookimpls()
        makers = {each.plugin_name for each in impls if "extra" in each.argnames}
        for plugin in found.plugins:
            if "job_finished" not in plugin.hooks:
                continue
            which = "makers" if plugin.name in makers else "notifiers"
            if request.get("which", which) != which:
                continue
            own = found.manager.get_plugin(plugin.name)
            others = [each for each in found.manager.get_plugins() if each is not own]
            call = found.manager.subset_hook_caller("job_finished", others)
            raised[plugin.name] = None
            # One by one: pluggy stops at the first error.
            try:
                with (
                    process_state.put_back(),
                    process_state.working_directory(),
                    _extra(folder, plugin.name) as extra,
                ):
                    steps = request.get("steps", [])
                    call(job=request["job"], files=files, extra=extra, steps=steps)
            except BaseException as error:  # also SystemExit: the other plugins follow
                raised[plugin.name] = f"{type(error).__name__}: {reason(error)}"
    return raised


@contextlib.contextmanager
def _extra(folder: Path | None, plugin: str) -> Iterator[Path | None]:
    """Make an empty folder for a plugin; its files are stored once the call has returned."""
    if folder is None:
        yield None
        return
    begun, done = folder / BEGUN / plugin, folder / DONE / plugin
    begun.mkdir(parents=True)
    done.parent.mkdir(exist_ok=True)
    yield begun
    begun.rename(done)


def _store(request: dict[str, Any]) -> dict[str, Any]:
    """Store artifacts on this machine and flush them; reply with the sha256 or the error of each.

    The reply of an artifact that could not be stored is empty: the worker tries it again itself.
    """
    from zoo.storage import artifacts

    stored: list[dict[str, str]] = []
    moved: list[list[str]] = []
    for each in request["artifacts"]:
        moved.append([])
        arguments = (each["where"], each["facts"], each["texts"], moved[-1])
        try:
            sha256 = artifacts.put(Path(each["folder"]), request["url"], *arguments)
            stored.append({"sha256": sha256})
        except Exception:
            stored.append({})
    # The first flush makes the journal commit all that was moved; each flush still reports the
    # errors of its own files.
    for i, paths in enumerate(moved):
        try:
            artifacts.flush(paths)
        except Exception as error:
            stored[i] = {"error": str(error) or type(error).__name__}
    return {"stored": stored}


def _run_isolated(request: dict[str, Any], log: int, progress: int) -> dict[str, Any]:
    """Run the job, kill the processes it has left, and restore the state of this process."""
    process_tree.adopt_orphans()
    with process_state.put_back() as lasting:
        reply = run(request, log, progress)
    notes = []
    if left := ", ".join(process_tree.end_descendants()):
        notes.append(f"The job has left processes, which were ended: {left}.\n")
    if lasting:
        what = ", ".join(lasting)
        notes.append(f"The job has left changed, and its process is replaced: {what}.\n")
    with contextlib.suppress(OSError):  # a full disk takes no log
        os.write(log, "".join(notes).encode(errors="replace"))
    # A framework keeps the memory of a GPU that it has taken, in pieces that may be too small.
    is_full = reply.get("error_code") == OUT_OF_GPU_MEMORY
    return reply | {"must_replace": bool(lasting) or is_full}


@cores.held()
def run(request: dict[str, Any], log: int, progress: int) -> dict[str, Any]:
    """Run the job; return its status with the metrics or the error.

    `log` and `progress` are the numbers of open files that the worker reads.
    """
    own = os.getpid()
    # A thread that an earlier model has left finds the file of its own job closed.
    with _output_to(log), _lines(progress) as lines:
        try:
            with process_state.working_directory(Path(request["files"]).parent):
                return {"status": "succeeded", "metrics": _run_spec(request, lines, own)}
        except BaseException as error:  # also SystemExit: a model must not end the runner quietly
            _end_if_forked(own)
            if paused_at := _paused_at(error):
                return {"status": "paused", "metrics": dict(paused_at)}
            if not isinstance(error, ZooError):
                _write_traceback(log, error, _source(request))
            return failure(error, request["files"], _source(request))


def _paused_at(error: BaseException) -> Mapping[str, Any] | None:
    """Return the metrics of the epoch at which a training has paused; None of a real error."""
    from zoo.training.checkpoints import Paused

    return error.metrics if isinstance(error, Paused) else None


def _end_if_forked(own: int) -> None:
    """End a process that a model has forked and that would continue the job a second time."""
    if os.getpid() != own:
        os._exit(1)


def _source(request: Mapping[str, Any]) -> str:
    """Return the module or file of the job's model; empty if the error came before its import."""
    registry = sys.modules.get("zoo.plugins.registry")
    return registry.source_of(request["spec"]["model"]) if registry else ""


def _write_traceback(log: int, error: BaseException, source: str) -> None:
    # From the model's own first line on: what called it says nothing to its author.
    # Not through sys.stderr, which the model may have replaced or closed. If the disk is full, the
    # log is lost; the error is in the reply.
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(OSError), os.fdopen(os.dup(log), "w", errors="replace") as file:
        found = error_report.own_traceback(error, source)
        traceback.print_exception(type(error), error, found, file=file)


def failure(error: BaseException, files: str, source: str = "") -> dict[str, Any]:
    """Return the reply for a job that raised; `fault` is `machine`, `model` or None.

    It names what may be at fault beside the job: this machine, or the model's installation here.
    `source` is the module or file of the model, whose line the error names.
    """
    fault = _fault(error)
    if isinstance(error, ZooError):
        text = str(error)
        code = "PluginError" if isinstance(error, _ModelMissing) else type(error).__name__
    elif memory := _full_memory(error):
        text, code = f"The job needs more {memory} than there is.", FULL[memory]
        fault = None
        if memory == "memory" and _is_of_import(error):  # before the job takes any
            text, fault = "There is not enough memory to import what the job needs.", "machine"
    elif isinstance(error, OSError):
        text, code = f"{error.strerror or error}: {error.filename or files}.", "os_error"
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        where = error_report.line(error, source)
        text = f"{text.rstrip(' .')} ({where})." if where else as_sentence(text)
        text, code = f"{text} The traceback is in its log.", "exception"
    return {"status": "failed", "error_code": code, "error": text, "fault": fault}


def _fault(error: BaseException) -> str | None:
    """Search the chain of causes for an error of this machine or of the model's installation."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in MACHINE_ERRORS:
            return "machine"
        if isinstance(seen, ImportError) and NO_MEMORY in str(seen):  # to map a library
            return "machine"
        if isinstance(seen, ImportError | _ModelMissing):
            return "model"
        seen = seen.__cause__ or seen.__context__
    return None


def _is_of_import(error: BaseException) -> bool:
    """Return whether an error was raised while a module was imported."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_code.co_filename.startswith("<frozen importlib") for frame in frames)


def _full_memory(error: BaseException) -> str:
    """Return the memory of which there is too little, a key of FULL; empty for another error.

    Frameworks raise classes of their own, which are recognized by name: none is imported here.
    """
    text = str(error)
    if isinstance(error, MemoryError) or ON_PROCESSOR.search(text):
        return "memory"
    names = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__}
    if names & OF_MEMORY or ON_GPU.search(text):
        return "memory of the GPU" if os.environ.get(GPU_NAME) else "memory"
    return ""


class _ModelMissing(ZooError):
    """The worker has announced the model, and the runner cannot load it."""


@contextlib.contextmanager
def _lines(progress: int) -> Iterator[Any]:
    """Open the progress file for writing line by line."""
    lines = os.fdopen(os.dup(progress), "a", buffering=1)
    try:
        yield lines
    finally:
        with contextlib.suppress(OSError):  # closing retries what a full disk has refused
            lines.close()


def _run_spec(request: dict[str, Any], progress: Any, own: int) -> dict[str, Any]:
    # Before the job has begun: if that fails or kills the process, the machine is at fault.
    import numpy as np  # noqa: F401

    from zoo.training.run import run_job

    folder = Path(request["files"])

    def send(**message: Any) -> None:
        _end_if_forked(own)
        progress.write(json.dumps(message) + "\n")

    spec = JobSpec.parse_object(request["spec"])
    stop_file, is_fitting = request.get("stop"), False
    last: dict[str, Any] = {"total": None, "unit": None}

    def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        last.update(total=int(total), unit=unit)
        send(step=int(step), **last, metrics=_finite(metrics), at=time.monotonic())
        if is_fitting and stop_file and os.path.exists(stop_file):  # noqa: PTH110 (thrice as fast)
            raise Stop

    def phase(name: str) -> None:
        nonlocal is_fitting
        is_fitting = name == "fit"
        if is_fitting:
            set_imports_aside(len(sys.modules))
        send(phase=name, at=time.monotonic())  # the same for all processes of a machine

    def write(name: str, text: str) -> None:
        if len(text) <= MAX_TEXT:
            send(file=name, text=text)
        else:
            (folder / name).write_text(text, encoding="utf-8")

    def on_saved(name: str, step: int) -> None:
        send(checkpoint=name, step=int(step), **last, at=time.monotonic())

    def on_history(steps: Sequence[Mapping[str, Any]]) -> None:
        earlier.extend(steps)

    def on_resumed(resumed: Mapping[str, Any]) -> None:
        send(resumed_from=dict(resumed), steps=[_step(each) for each in earlier])

    earlier: list[Mapping[str, Any]] = []
    _check_model(spec.model)
    source = Path(request["source"]) if spec.source else None
    place = _place(request, on_saved=on_saved, on_resumed=on_resumed, on_history=on_history)
    return run_job(spec, folder, report, source=source, phase=phase, write=write, checkpoints=place)


def _place(request: dict[str, Any], **calls: Any) -> Place | None:
    """Return where the checkpoints go, as the worker asks for it; None if it does not."""
    from zoo.training.checkpoints import Place

    asked = request.get("checkpoints")
    if not asked:
        return None
    if asked["note"]:
        logging.getLogger(__name__).warning("%s", asked["note"])
    return Place(
        folder=Path(asked["folder"]),
        earlier=Path(asked["earlier"]) if asked["earlier"] else None,
        attempt=asked["attempt"],
        seconds=asked["seconds"] or math.inf,
        most_bytes=asked["mb"] * 2**20,
        pause_at=asked.get("pause_at") or math.inf,
        **calls,
    )


def _step(values: Mapping[str, Any]) -> list[Any]:
    """Return a step of the curves as [step, metrics], without values that were not finite."""
    known = {name: value for name, value in values.items() if value is not None}
    return [known.pop("step"), {n: v for n, v in known.items() if n not in ("total", "unit")}]


def _check_model(model: str) -> None:
    from zoo.plugins import registry

    try:
        registry.model(model)
    except ZooError as error:
        broken = [f"The plugin {each.name} is broken: {each.error}." for each in registry.broken()]
        text = f"The model '{model}' cannot be loaded here." if broken else error.message
        raise _ModelMissing(text, " ".join(broken) or error.hint) from None


@functools.cache  # once per number of modules: without a new one there is nothing to exclude
def set_imports_aside(n_modules: int) -> None:
    """Exclude the objects of imports, which live as long as the process, from garbage collection.

    A collection over all objects of TensorFlow takes 0.2 s, and Keras runs one before each fit.
    """
    gc.collect()
    gc.freeze()


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    """Return plain floats, without NaN and infinity of a diverged model, which JSON cannot hold."""
    plain = {name: float(value) for name, value in metrics.items()}
    return {name: value for name, value in plain.items() if abs(value) < float("inf")}


HANDLERS = {"catalogue": _catalogue, "warm up": _warm_up, "hooks": _hooks, "store": _store}
"""Functions by action; the action `run` is the fifth."""


@contextlib.contextmanager
def _output_to(log: int) -> Iterator[None]:
    """Redirect stdout and stderr to the log, also for libraries that write past Python."""
    kept = os.dup(1), os.dup(2)
    own = sys.stdout, sys.stderr
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        yield
    finally:
        for stream in (*own, sys.stdout, sys.stderr):
            # A model may have closed or replaced them.
            with contextlib.suppress(Exception):
                stream.flush()
        for number, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, number)
            os.close(saved)


if __name__ == "__main__":
    main()
