"""The output of `zoo show` for a job or a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from zoo import jobs
from zoo.canonical_json import object_in
from zoo.cli.render import console, job_columns, published_table, text_charts
from zoo.cli.render.checkpoints import resumed_text
from zoo.cli.render.trials_table import show_labels, show_sweep
from zoo.jobs import AttemptRecord, Database, Estimate, Group, Job, RungEntry
from zoo.jobs.environments import CodeVersion, Machine
from zoo.jobs.groups import result_text
from zoo.metrics import COSTS, METRICS, base_name
from zoo.terminal_text import counted

FEW_STEPS = 10
"""Up to this number, steps are shown one by one."""
LABELS = 12
"""Least width of the labels of a job's facts; names of metrics may be longer."""
SIZES = ("n_images", "parameters", "weights_bytes")
"""Numbers of a result that are no metrics."""
BESIDE = 38
"""Width of a metric's name, its first and its last value."""


def show_job(db: Database, job: Job, waits: str = "", outlook: Estimate | None = None) -> None:
    """Print one job: its spec, why it waits, its progress and its results."""
    tried, steps = jobs.attempts(db, job.id), jobs.steps(db, job.id)
    errors = jobs.hook_errors(db, job.id) if job.is_terminal else []
    facts = [
        *_facts(job, waits, outlook, tried),
        *_times(job, _place(db, job)),
        *_measured(job, _others(job, steps)),
        *_artifact(job),
        *(("hook error", f"{e.plugin}: {e.error}".removeprefix(": ")) for e in errors),
        *_environment(tried),
    ]
    width = max(LABELS, *(len(name) for name, _ in facts))
    for name, value in facts:
        console.field(f"{name:>{width}}  ", value if isinstance(value, Text) else str(value))
    if len(tried) > 1:
        starts = ["" if a.resumed_from is None else a.resumed_from["step"] for a in tried]
        rows = [
            [a.n, a.worker, start, a.outcome or "running", a.error or ""]
            for a, start in zip(tried, starts, strict=True)
        ]
        columns = ["attempt", "worker", "from step", "outcome", "why"]
        if not any(starts):
            rows, columns = [[*row[:2], *row[3:]] for row in rows], [*columns[:2], *columns[3:]]
        console.out.print()
        console.table(columns, rows)
    _show_steps(steps)
    if job.metrics:
        _show_classes(job.metrics)
        _show_confusion(job.metrics)


def _facts(
    job: Job, waits: str, outlook: Estimate | None, tried: Sequence[AttemptRecord]
) -> Iterator[tuple[str, Any]]:
    spec = job.spec
    yield "job", job.id
    if job.name:
        yield "name", job.name
    if job.note:
        yield "note", job.note
    yield "status", console.status(job.listed_status)
    if waits:
        yield "waits", waits
    if outlook:
        steps = outlook.steps or outlook.phase
        yield "progress", ", ".join(dict.fromkeys([steps, job_columns.far(outlook)]))
    yield from _checkpoints(job)
    if job.error:
        yield "error", f"{job.error} ({job.error_code})"
    judged = (
        f"fold {spec['fold']['index'] + 1} of {spec['fold']['k']}"
        if spec["fold"]
        else spec["split"]
    )
    yield (
        "model",
        f"{job.model} ({job.kind}, judged on {job.dataset_label} {judged}, seed {spec['seed']})",
    )
    if spec["source"]:
        yield "trained by", spec["source"]["job"]
    yield "params", console.params(spec["params"])
    yield "preprocess", spec.get("preprocess", "none")
    asked = {
        "validation": job.validation_label,
        "class weight": spec.get("class_weight"),
        "positive": spec.get("positive"),
        "device": spec.get("device"),
    }
    yield from ((name, value) for name, value in asked.items() if value)
    yield "plugin", _plugin(spec["plugin"], tried)
    if job.tags:
        yield "tags", ", ".join(job.tags)
    if job.group:
        yield "group", job.group
    if job.submitted_by:
        yield "user", job.submitted_by


def _artifact(job: Job) -> Iterator[tuple[str, str]]:
    if job.artifact:
        yield "artifact", f"{job.artifact} (manifest sha256 {str(job.artifact_sha256)[:12]}...)"
    if job.removal_note:
        yield "files", job.removal_note
    if job.pinned:
        yield "pinned", "yes: nothing removes it"


def _others(job: Job, steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the job's metrics that are not Zoo's: those of plugins.

    The metrics that `fit` has reported are left out: they stand in the table of the steps.
    """
    left = job.metrics.keys() - {"n_validation", *COSTS, *SIZES, *(steps[-1] if steps else ())}
    found = {base_name(name) for name in left if job.number(name) is not None}
    return sorted(found - METRICS.keys())


def _measured(job: Job, others: Sequence[str]) -> Iterator[tuple[str, str]]:
    if job.ending:
        yield "ended early", job.ending
    names = [*METRICS, *others]
    for name in (*names, *SIZES, "predict_us_per_image"):
        if job.metrics.get(name) is not None:
            yield (
                name.replace("predict_us_per_image", "predict µs").replace("images", job.unit),
                console.number(job.metrics[name]),
            )
    chosen_by = {n: v for n in names if (v := job.metrics.get(f"val_{n}")) is not None}
    if chosen_by:
        texts = (f"{name} {console.number(value)}" for name, value in chosen_by.items())
        yield "on validation", ", ".join(texts)


def _checkpoints(job: Job) -> Iterator[tuple[str, str]]:
    if resumed := resumed_text(job):
        yield "resumed from", resumed
    if job.checkpoint:
        yield "checkpoint", f"{job.checkpoint_step} of attempt {job.checkpoint['attempt']}"


def _environment(tried: Sequence[AttemptRecord]) -> Iterator[tuple[str, Any]]:
    """The environment of the last attempt, if known."""
    known = tried[-1].environment if tried else None
    if not known:
        return
    machine, code = known.machine or Machine(), known.code or CodeVersion()
    n = machine.threads
    threads = None if n is None else counted(n, "thread")
    where = [machine.host, machine.gpu, machine.cpu, threads, machine.system]
    yield "ran on", ", ".join(each for each in where if each is not None)
    dirty = " with uncommitted changes" if code.dirty else ""
    commit = f"commit {code.commit[:12]}{dirty}, " if code.commit else ""
    source = f", its text is in {code.file}" if code.file else ""
    yield "code", f"{commit}sha256 {(code.sha256 or 'unknown')[:12]}{source}"
    yield "data", f"sha256 {(known.data or 'unknown')[:12]}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in known.versions.items())


def _plugin(submitted: str, tried: Sequence[AttemptRecord]) -> str:
    """The plugin version at submission; and that of the worker, if it differs."""
    ran = tried[-1].plugin if tried else None
    if not ran or ran == submitted:
        return submitted
    return f"{ran} on the worker; {submitted or 'unknown'} where it was submitted"


def _place(db: Database, job: Job) -> str:
    """Where its last worker runs, if the name does not say it."""
    known = job.worker and job.started_at and jobs.find_worker(db, job.worker, job.started_at)
    return f" on {known.place}" if known and known.place else ""


def _times(job: Job, place: str) -> Iterator[tuple[str, Any]]:
    yield "submitted", console.clock(job.created_at)
    if job.started_at:
        yield "waited", f"{console.number(job.started_at - job.created_at, 2)} s"
        yield "worker", f"{job.worker}{place} (attempt {job.attempt} of at most {job.max_attempts})"
    if job.started_at and job.finished_at:
        seconds = job.metrics.get("fit_seconds")
        fit = "" if seconds is None else f", fit {console.number(seconds, 2)} s"
        yield "took", f"{console.number(job.finished_at - job.started_at, 2)} s{fit}"


def _show_steps(steps: list[dict[str, Any]]) -> None:
    """Print the steps reported by `fit` and a sparkline; of many steps only the sparkline."""
    if not steps:
        return
    console.out.print()
    names = _paired([name for name in steps[-1] if name != "step"])
    room = min(text_charts.LONGEST, max(FEW_STEPS, console.width() - BESIDE))
    courses = {name: _course(steps, name, names, room) for name in names}
    if len(steps) > FEW_STEPS:
        first, last = ([console.number(steps[i].get(name)) for name in names] for i in (0, -1))
        rows = [list(row) for row in zip(names, first, courses.values(), last, strict=True)]
        columns = ["metric", "first", f"step {steps[0]['step']} to {steps[-1]['step']}", "last"]
        console.table(columns, rows, right=["first", "last"])
        return
    rows = [[str(s["step"]), *(console.number(s.get(name)) for name in names)] for s in steps]
    rows += [["", *courses.values()]] if len(steps) > 1 else []
    console.table(["step", *names], rows, right=["step", *names])


def _paired(names: Sequence[str]) -> list[str]:
    """Put each metric of the validation rows after that of the training rows."""
    bases = list(dict.fromkeys(base_name(name) for name in names))
    return sorted(names, key=lambda name: (bases.index(base_name(name)), name.startswith("val_")))


def _course(steps: Sequence[Mapping[str, Any]], name: str, names: Sequence[str], room: int) -> str:
    """A sparkline of a metric, on one scale with that of the other rows; empty for one value."""
    values = [step.get(name) for step in steps]
    if sum(value is not None for value in values) < 2:
        return ""
    same = [each for each in names if base_name(each) == base_name(name)]
    scale = [step.get(each) for step in steps for each in same]
    return text_charts.sparkline(values, room, scale)


def _show_classes(metrics: dict[str, Any]) -> None:
    measured, classes = metrics.get("per_class"), metrics.get("classes")
    if not isinstance(measured, dict) or not isinstance(classes, list):
        return
    columns = ["precision", "recall", "f1", "support"]
    named = [(name, object_in(measured, name)) for name in map(str, classes)]
    rows = [
        [name, *(console.number(values.get(column)) for column in columns)]
        for name, values in named
    ]
    console.out.print()
    console.table(["class", *columns], rows, right=columns)


def _show_confusion(metrics: dict[str, Any]) -> None:
    matrix, names = metrics.get("confusion_matrix"), metrics.get("classes", [])
    if not matrix or not text_charts.is_matrix(matrix, names):
        return
    console.out.print()
    for line in text_charts.confusion(matrix, names):
        console.out.print(line)


def show_group(group: Group, waits: str = "", rungs: Sequence[RungEntry] = ()) -> None:
    """Print a group: its jobs, why the first queued one waits, mean and deviation; or trials.

    `rungs` has the metrics of trials that were paused or pruned.
    """
    if group.kind == "sweep" and not published_table.is_table(group):
        show_sweep(group, rungs=rungs)
        return
    size = counted(len(group.jobs), "job")
    console.out.print(f"{group.id[:8]}  {group.kind} of {size}, {group.status}")
    show_labels(group)
    if waits:
        console.out.print(console.safe(f"waits: {waits}"), markup=False)
    if published_table.is_table(group):
        published_table.show(group)
        return
    rows = []
    for job in group.jobs:
        fold = job.spec.get("fold")
        what = f"fold {fold['index'] + 1}" if fold else f"seed {job.spec['seed']}"
        accuracy = console.number(job.metrics.get("accuracy"))
        rows.append(
            [job.id[:8], what, console.status(job.listed_status), accuracy, job.error or ""]
        )
    console.table(["job", "part", "status", "accuracy", "error"], rows, right=["accuracy"])
    if group.is_mixed:
        console.note("The jobs were evaluated on different contents of the dataset: no mean.")
    if text := result_text(group):
        console.out.print(console.safe(text))
    if loss := group.metrics().get("loss"):
        console.out.print(console.safe(f"loss {loss.counted()}"))
