"""Inside a runner process: take an order, run the job, answer with its outcome; again and again."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import functools
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo import child_process, cores, process_tree
from zoo.errors import ZooError, as_sentence, reason
from zoo.job_spec import JobSpec, read_json
from zoo.plugins import process_state

FILES = "files"
"""In the folder of a job's hooks: the job's files."""
BEGUN, DONE = "begun", "done"
"""In the folder of a job's hooks: what plugins are leaving, and what they have left."""


MACHINE_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ENFILE", "EMFILE", "ESTALE")
)
"""What the operating system says of a disk that is full or broken, or of too many open files."""
MAX_TEXT = 16 * 1024
"""Characters of a file that goes to the supervisor by way of the progress, not of the disk."""


def main() -> None:
    """Serve orders from the pipe until it closes: JSON each way, so that nothing is unpickled.

    The two files that it was handed are the desk's.
    """
    pipe, (log, progress), _ = child_process.serve(n_files=2)
    while True:
        try:
            order = read_json(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        is_job = order["do"] == "run"
        # In a context of its own: numpy and decimal keep how they round and what they raise there.
        answer = (
            contextvars.copy_context().run(_run_alone, order, log, progress)
            if is_job
            else ANSWERS[order["do"]](order)
        )
        # Not sorted: a schema lists the params in the order of their author.
        pipe.send_bytes(json.dumps(answer, allow_nan=False).encode())


def _catalogue(_: dict[str, Any]) -> dict[str, Any]:
    from zoo.data import datasets
    from zoo.plugins import registry

    with contextlib.redirect_stdout(sys.stderr):
        broken = {p.name: p.error for p in registry.catalogue().plugins if p.error}
        known = {each.name: each.summary for each in datasets.listing()}
        hooks = sorted({hook for p in registry.catalogue().plugins for hook in p.hooks})
        listeners = registry.catalogue().manager.hook.job_finished.get_hookimpls()
        return {
            "models": registry.cards(),
            "datasets": known,
            "versions": {n: registry.dataset_version(n) for n in registry.catalogue().datasets},
            "listeners": registry.listeners(),
            "broken": broken,
            "hooks": hooks,
            "takes": sorted({name for each in listeners for name in each.argnames}),
            # Who takes the job alone tells somebody of it; who takes its files makes more of them.
            "prompt": any({*each.argnames} <= {"job"} for each in listeners),
            # Who leaves no files cannot be asked later.
            "others": any("extra" not in each.argnames for each in listeners),
        }


def _hooks(order: dict[str, Any]) -> dict[str, Any]:
    """Call each plugin's `job_finished`; gives what they raised."""
    from zoo.plugins import registry

    os.environ.update(order["environ"])
    files, folder = (order[name] and Path(order[name]) for name in ("files", "folder"))
    raised = {}
    with contextlib.redirect_stdout(sys.stderr):
        found = registry.catalogue()
        impls = found.manager.hook.job_finished.get_hookimpls()
        makers = {each.plugin_name for each in impls if "extra" in each.argnames}
        for plugin in found.plugins:
            if "job_finished" not in plugin.hooks:
                continue
            which = "makers" if plugin.name in makers else "others"
            if order.get("which", which) != which:
                continue
            own = found.manager.get_plugin(plugin.name)
            others = [each for each in found.manager.get_plugins() if each is not own]
            call = found.manager.subset_hook_caller("job_finished", others)
            # One by one: pluggy asks no further once one has raised.
            try:
                with (
                    process_state.put_back(),
                    process_state.working_directory(),
                    _extra(folder, plugin.name) as extra,
                ):
                    call(job=order["job"], files=files, extra=extra)
            except BaseException as error:  # also SystemExit: the others are still to be called
                raised[plugin.name] = f"{type(error).__name__}: {reason(error)}"
    return raised


@contextlib.contextmanager
def _extra(folder: Path | None, plugin: str) -> Iterator[Path | None]:
    """The empty folder of a plugin; among those that are stored once the call has returned."""
    if folder is None:
        yield None
        return
    begun, done = folder / BEGUN / plugin, folder / DONE / plugin
    begun.mkdir(parents=True)
    done.parent.mkdir(exist_ok=True)
    yield begun
    begun.rename(done)


def _store(order: dict[str, Any]) -> dict[str, Any]:
    """Store artifacts on this machine, then flush them; tells of each its sha256 or its fault.

    Nothing is told of one that could not be stored: who has asked does it then, and sees why.
    """
    from zoo.storage import artifacts

    told: list[dict[str, str]] = []
    moved: list[list[str]] = []
    for each in order["artifacts"]:
        moved.append([])
        names = (each["where"], each["facts"], each["texts"], moved[-1])
        try:
            told.append({"sha256": artifacts.put(Path(each["folder"]), order["url"], *names)})
        except Exception:
            told.append({})
    # The first flush has the journal take in all that was moved; each answers for its own.
    for i, paths in enumerate(moved):
        try:
            artifacts.flush(paths)
        except Exception as error:
            told[i] = {"fault": str(error) or type(error).__name__}
    return {"told": told}


def _run_alone(order: dict[str, Any], log: int, progress: int) -> dict[str, Any]:
    """Run the job, end the processes it has left, and put back what it has changed of this one."""
    process_tree.adopt_orphans()
    with process_state.put_back() as lasting:
        answer = _run(order, log, progress)
    notes = []
    if left := ", ".join(process_tree.end_descendants()):
        notes.append(f"The job has left processes, which were ended: {left}.\n")
    if lasting:
        what = ", ".join(lasting)
        notes.append(f"The job has left changed, and its process is replaced: {what}.\n")
    with contextlib.suppress(OSError):  # on a full disk the log takes nothing
        os.write(log, "".join(notes).encode(errors="replace"))
    return answer | {"is_spoilt": bool(lasting)}


@cores.held()
def _run(order: dict[str, Any], log: int, progress: int) -> dict[str, Any]:
    own = os.getpid()
    # A thread that a model has left finds its own job's file closed.
    with _output_to(log), _lines(progress) as lines:
        try:
            with process_state.working_directory(Path(order["files"]).parent):
                return {"status": "succeeded", "metrics": _story(order, lines, own)}
        except BaseException as error:  # also SystemExit: a model must not end the runner quietly
            _end_if_forked(own)
            if not isinstance(error, ZooError):
                _write_traceback(log)
            return _failed(error, order["files"])


def _end_if_forked(own: int) -> None:
    """End a process that a model has forked and that goes on with the job: one is enough."""
    if os.getpid() != own:
        os._exit(1)


def _write_traceback(log: int) -> None:
    # Not by way of sys.stderr, which the model may have replaced or closed. On a full disk the log
    # takes nothing: what went wrong is answered all the same.
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(OSError), os.fdopen(os.dup(log), "w", errors="replace") as file:
        traceback.print_exc(file=file)


def _failed(error: BaseException, files: str) -> dict[str, Any]:
    """The answer to an order that has failed; `fault` says whose it may be."""
    fault = None if isinstance(error, MemoryError) else _fault(error)
    if isinstance(error, ZooError):
        said = str(error)
        code = "PluginError" if isinstance(error, _NotHere) else type(error).__name__
    elif isinstance(error, MemoryError):
        said, code = "The job needs more memory than there is.", "out_of_memory"
    elif isinstance(error, OSError):
        said, code = f"{error.strerror or error}: {error.filename or files}.", "os_error"
    else:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        said, code = f"{as_sentence(said)} The traceback is in its log.", "exception"
    return {"status": "failed", "error_code": code, "error": said, "fault": fault}


def _fault(error: BaseException) -> str | None:
    """`machine` or `model` if that may be the fault of this machine, or of the model on it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in MACHINE_ERRORS:
            return "machine"
        if isinstance(seen, ImportError | _NotHere):
            return "model"
        seen = seen.__cause__ or seen.__context__
    return None


class _NotHere(ZooError):
    """The worker has said that it has the model, and the runner cannot load it."""


@contextlib.contextmanager
def _lines(progress: int) -> Iterator[Any]:
    """The progress, to be written line by line."""
    lines = os.fdopen(os.dup(progress), "a", buffering=1)
    try:
        yield lines
    finally:
        with contextlib.suppress(OSError):  # what a full disk has not taken is tried once more
            lines.close()


def _story(order: dict[str, Any], progress: Any, own: int) -> dict[str, Any]:
    from zoo.training.run import run_job

    folder = Path(order["files"])

    def tell(**fact: Any) -> None:
        _end_if_forked(own)
        progress.write(json.dumps(fact) + "\n")

    def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        tell(
            step=int(step),
            total=int(total),
            unit=unit,
            metrics=_finite(metrics),
            at=time.monotonic(),
        )

    def phase(name: str) -> None:
        if name == "fit":
            set_imports_aside(len(sys.modules))
        tell(phase=name, at=time.monotonic())  # the same for all processes of a machine

    def write(name: str, text: str) -> None:
        if len(text) <= MAX_TEXT:
            tell(file=name, text=text)
        else:
            (folder / name).write_text(text, encoding="utf-8")

    spec = JobSpec.parse_object(order["spec"])
    _see_loaded(spec.model)
    source = Path(order["source"]) if spec.source else None
    return run_job(spec, folder, report, source=source, phase=phase, write=write)


def _see_loaded(model: str) -> None:
    from zoo.plugins import registry

    try:
        registry.model(model)
    except ZooError as error:
        raise _NotHere(error.message, error.hint) from None


@functools.cache  # once for each number: no new module, nothing new to set aside
def set_imports_aside(n_modules: int) -> None:
    """Spare later collections of garbage what imports have made: it lives as long as the process.

    To look at all that TensorFlow makes takes 0.2 s, and Keras has it done before each fit.
    """
    gc.collect()
    gc.freeze()


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    """Plain floats; a NaN of a diverged model has no place in JSON and is left out."""
    plain = {name: float(value) for name, value in metrics.items()}
    return {name: value for name, value in plain.items() if abs(value) < float("inf")}


ANSWERS = {"catalogue": _catalogue, "hooks": _hooks, "store": _store}
"""What each order asks for; to run a job is the fourth."""


@contextlib.contextmanager
def _output_to(log: int) -> Iterator[None]:
    """Send what the process prints into the log, also what a library writes past Python."""
    kept = os.dup(1), os.dup(2)
    own = sys.stdout, sys.stderr
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        yield
    finally:
        for stream in (*own, sys.stdout, sys.stderr):
            # A model may have closed them, or put anything in their place.
            with contextlib.suppress(Exception):
                stream.flush()
        for number, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, number)
            os.close(saved)


if __name__ == "__main__":
    main()
