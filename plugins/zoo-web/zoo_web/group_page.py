"""The page of a group: the trials of a sweep, the folds of a cross-validation, or seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from zoo import jobs
from zoo.errors import UsageError
from zoo.jobs import Group, Job, RungEntry
from zoo.jobs.groups import value_of
from zoo.metrics import Objective
from zoo.param_values import typed, typed_all
from zoo.queue import submit
from zoo.sweeps import search_space, trials
from zoo.sweeps.importance import param_importance
from zoo.sweeps.search_space import Span
from zoo.sweeps.slice_plot import slice_plot
from zoo.sweeps.trials import Trial
from zoo_web.context import PageContext, get_context, live_values
from zoo_web.events import Parts, Snapshot, stream
from zoo_web.formats import group_part

MOST_ROWS = 100
"""Trials or jobs that are listed; the rest is counted."""
KEPT_PLOTS = 50
"""Sweeps whose pictures are kept until a trial changes."""
KINDS = {"cv": "Cross-validation", "seeds": "Seeds", "sweep": "Sweep"}
BAD = ("failed", "timed_out", "lost", "cancelled")


def find_group(context: PageContext, request: Request) -> Group:
    """Return the group of an address; raises UsageError if there is none."""
    ref = request.path_params["group"]
    found = jobs.find_reference(context.db, ref)
    if not isinstance(found, Group):
        raise UsageError(f"{ref} is a job, not a group.", "Choose it in the list of jobs.")
    return found


def group_page(request: Request) -> Response:
    """Show a group."""
    context = get_context(request)
    try:
        group = find_group(context, request)
        parts = group_parts(context, group, request.state.csrf)
    except UsageError as error:
        return context.error_page(request, error, 404)
    kind = KINDS.get(group.kind, group.kind)
    values: dict[str, Any] = {"group": group, "kind": kind, "columns": _columns(group)}
    return context.page(request, "group.html", **values, **live_values(request, parts))


def live_group(request: Request) -> Response:
    """Stream the changes of that page."""
    context, csrf = get_context(request), request.state.csrf
    group_id = find_group(context, request).id

    def read() -> Snapshot:
        group = jobs.get_group(context.db, group_id)
        return Snapshot(group_parts(context, group, csrf), is_last=_has_ended(group))

    return stream(read)


def _has_ended(group: Group) -> bool:
    planned = group.about.get("trials")
    is_whole = not isinstance(planned, int) or len(group.trials()) >= planned
    return group.is_terminal and is_whole


def group_parts(context: PageContext, group: Group, csrf: str) -> Parts:
    """Render head, facts, rows and, of a sweep, its pictures."""
    is_sweep = group.kind == "sweep"
    rungs = jobs.list_rungs(context.db, group.id) if group.about.get("pruner") else []
    by, value, best = _result(context, group)
    ended = Counter(job.listed_status for job in group.jobs)
    every = jobs.count(context.db, jobs.Filter(groups=(group.id,)))
    head = context.fragment(
        "group_page_head",
        group=group,
        kind=KINDS.get(group.kind, group.kind),
        by=by,
        value=value,
        best=best,
        counts=ended,
        planned=_planned(group),
        n_bad=sum(ended[status] for status in BAD),
        is_open=not group.is_terminal,
        owners=_owners(context, group),
        replaced=max(0, every - len(group.jobs)),
        csrf=csrf,
    )
    n_rows = len(group.trials()) if is_sweep else len(group.jobs)
    rows = _trial_rows(context, group, rungs) if is_sweep else _part_rows(context, group, by)
    facts = context.fragment("group_facts", group=group, facts=_facts(group, by))
    parts: dict[str, Mapping[str, str]] = {
        "head": {"head": head},
        "facts": {"facts": facts},
        "rows": rows,
        "rest": {},
    }
    if n_rows > len(rows):
        rest = context.fragment("rest_of_rows", n=n_rows - len(rows), group=group)
        parts["rest"] = {"rest": rest}
    return parts | ({"plots": _plots(context, group, rungs)} if is_sweep else {})


def _result(
    context: PageContext, group: Group
) -> tuple[Objective, jobs.Statistics | None, Trial | None]:
    """Return metric and result of a group: of a sweep those of its best trial."""
    best = group.best()
    if group.kind == "sweep":
        return group.objective, value_of(best) if best else None, Trial(best) if best else None
    ended = [job for job in group.jobs if job.status == "succeeded"][:1]
    shown = jobs.shown_objectives(context.db, ended, None).values()
    by = next(iter(shown), group.objective)
    return by, group.metrics().get(by.metric), None


def _owners(context: PageContext, group: Group) -> list[str]:
    return [*dict.fromkeys(filter(None, map(context.other_owner, group.jobs)))]


def _planned(group: Group) -> int:
    """Return the number of trials in the end, or of jobs."""
    if group.kind != "sweep":
        return len(group.jobs)
    planned = group.about.get("trials")
    found = len(group.trials())
    return max(planned, found) if isinstance(planned, int) else found


def _facts(group: Group, by: Objective) -> dict[str, str]:
    """Return what a group was submitted with, by name as texts."""
    about, first = group.about, group.jobs[0] if group.jobs else None
    found: dict[str, str] = {}
    if group.kind == "sweep":
        direction = "higher" if group.objective.higher_is_better else "lower"
        found["Ranked by"] = f"{by.metric}, {direction} is better"
        found["Sampler"] = str(about.get("sampler") or "")
        found["Search space"] = _space(about)
        fixed = about.get("fixed")
        if isinstance(fixed, dict) and fixed:
            found["Fixed"] = typed_all(fixed)
        pruner = about.get("pruner")
        if isinstance(pruner, dict):
            found["Pruner"] = f"{pruner.get('name')} by {pruner.get('metric')}"
    elif first:
        found["Params"] = typed_all(first.changed) or "the defaults"
    if first:
        spec = first.spec
        if spec.get("preprocess") not in (None, "none"):
            found["Preprocess"] = str(spec["preprocess"])
        if first.validation_label:
            found["Validation"] = first.validation_label
        found["Plugin"] = str(spec.get("plugin") or "")
    if group.max_parallel:
        found["At once"] = f"at most {group.max_parallel:,}"
    return {name: text for name, text in found.items() if text}


def _space(about: Mapping[str, Any]) -> str:
    """Format the search space as it is typed; empty if it is damaged, or a file of trials."""
    try:
        space = search_space.Space.from_json({}, about.get("space") or {}).varied
        texts = {
            name: str(values) if isinstance(values, Span) else ",".join(map(typed, values))
            for name, values in space.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""
    return " ".join(f"{name}={text}" for name, text in texts.items() if text)


def _columns(group: Group) -> list[str]:
    """Return the headings of the params of the rows."""
    return trials.varied_params(group) if group.kind == "sweep" else []


def _trial_rows(context: PageContext, group: Group, rungs: Sequence[RungEntry]) -> dict[str, str]:
    last = {each.job_id: each for each in rungs}
    found = trials.sort_trials(trials.list_trials(group), last)
    names = trials.varied_params(group)
    rows = {}
    for rank, trial in enumerate(found[:MOST_ROWS], start=1):
        job = trial.group.jobs[0]
        rows[f"job-{job.id}"] = context.fragment(
            "trial_row",
            trial=trial,
            rank=rank if trial.statistics else None,
            job=job,
            last=None if trial.statistics else last.get(job.id),
            values={name: _value(trial.value(name)) for name in names},
        )
    return rows


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else typed(value)


def _part_rows(context: PageContext, group: Group, by: Objective) -> dict[str, str]:
    running = [job for job in group.jobs if job.status == "running"]
    estimates = jobs.estimate_running(context.db, running, jobs.clock(context.db))

    def row(job: Job) -> str:
        part = group_part(job.spec, group.kind)
        return context.fragment(
            "part_row", job=job, part=part, by=by, estimate=estimates.get(job.id)
        )

    return {f"job-{job.id}": row(job) for job in group.jobs[:MOST_ROWS]}


def _plots(context: PageContext, group: Group, rungs: Sequence[RungEntry]) -> dict[str, str]:
    """Render the pictures of a sweep, made anew only when a trial has changed."""
    state = hash((len(rungs), *((job.id, job.listed_status) for job in group.jobs)))
    known, pieces = context.plots.get(group.id, (None, {}))
    if known != state:
        importance = param_importance(group, trials.list_trials(group), rungs)
        plot = slice_plot(group, rungs, importance)
        pieces = {"slices": context.fragment("slices", plot=plot, id=group.id)} if plot else {}
        if len(context.plots) >= KEPT_PLOTS:
            context.plots.clear()
        context.plots[group.id] = state, pieces
    return pieces


def cancel(request: Request) -> Response:
    """Cancel the jobs of a group that have not ended, after a question."""
    context = get_context(request)
    try:
        group = find_group(context, request)
    except UsageError as error:
        return context.error_page(request, error, 404)
    left = [job for job in group.jobs if not job.is_terminal]
    if (len(left) > 1 or _owners(context, group)) and request.state.form.get("sure") != "yes":
        return context.page(
            request,
            "confirm.html",
            title="Cancel",
            question=f"Cancel {len(left):,} jobs?",
            about=_about_cancelled(group, _owners(context, group)),
            action=f"/groups/{group.id}/cancel",
            back=f"/groups/{group.id}",
        )
    jobs.cancel_many(context.db, [job.id for job in left])
    return RedirectResponse(f"/groups/{group.id}", 303)


def _about_cancelled(group: Group, owners: Sequence[str]) -> str:
    of = f" They were submitted by {', '.join(owners)}." if owners else ""
    return f"They are the jobs of {group.id[:8]} that have not ended.{of}"


def retry(request: Request) -> Response:
    """Submit the jobs of a group again that ended without success."""
    context = get_context(request)
    try:
        group = find_group(context, request)
        bad = [job.id for job in group.jobs if job.status in BAD]
        submit.retry(context.db, context.settings, bad)
    except UsageError as error:
        return context.error_page(request, error, 409)
    return RedirectResponse(f"/groups/{group.id}", 303)
