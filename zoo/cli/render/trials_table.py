"""The table of a sweep: its trials, best first, with the params that vary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from zoo.cli.render import console
from zoo.jobs import Group, RungEntry
from zoo.jobs.groups import result_text
from zoo.jobs.records import finite
from zoo.param_values import typed
from zoo.sweeps import trials
from zoo.sweeps.trials import Trial
from zoo.terminal_text import counted

MOST = 20
"""Trials that `zoo show` lists."""


def show_labels(group: Group) -> None:
    """Print the name, the user and the notes of a group's jobs, each once."""
    for what, field in (("name", "name"), ("user", "submitted_by"), ("note", "note")):
        for text in dict.fromkeys(getattr(job, field) for job in group.jobs):
            if text:
                console.field(f"{what}: ", text)


def show_sweep(group: Group, most: int = MOST, rungs: Sequence[RungEntry] = ()) -> None:
    """Print the best trials of a sweep, at most `most` of them, and a line for the rest.

    `rungs` has the metrics of trials that were paused or pruned.
    """
    last = {each.job_id: each for each in rungs}  # in the order of arrival
    found = trials.sort_trials(trials.list_trials(group), last)
    names = trials.varied_params(group)
    console.out.print(console.safe(_head(group, found)))
    show_labels(group)
    if group.is_mixed:
        console.note(
            "The trials were evaluated on different contents of the dataset: those on the newest "
            "come first; results on different contents are not comparable."
        )
    if pruned := _pruning(group, rungs):
        console.out.print(console.safe(pruned))
    measured = list(dict.fromkeys([group.objective.metric, "accuracy"]))
    right = [*measured, *(name for name in names if _are_numbers(found, name))]
    columns = ["trial", *measured, *names, "status", "job"]
    lines = [
        _line(trial, rank, measured, names, last)
        for rank, trial in enumerate(found[:most], start=1)
    ]
    console.table(columns, lines, right=right, optional=["trial", "job", *measured[1:]])
    if text := result_text(group):
        console.out.print(console.safe(text))
    if rest := found[most:]:
        source = f"`zoo show {group.id[:8]} --json`" if group.id else "--json"
        console.note(f"{_rest(rest)}; {source} has all {len(found)}.")


def _rest(found: Sequence[Trial]) -> str:
    counts = Counter(trial.status for trial in found)
    return f"{len(found)} more: " + ", ".join(f"{n} {name}" for name, n in counts.most_common())


def _pruning(group: Group, rungs: Sequence[RungEntry]) -> str:
    """Describe the pruner of a sweep, and how many trials have come to each rung."""
    about = group.about.get("pruner")
    if not about:
        return ""
    if about["name"] != "asha":
        return f"pruner {about['name']} by {about['metric']}"
    counts = Counter(each.resource for each in rungs)
    came = ", ".join(f"{n} to epoch {resource}" for resource, n in sorted(counts.items()))
    rates = f"the best 1/{about['reduction_factor']} of a rung go on"
    return f"pruner asha by {about['metric']}: {rates}; {came or 'none yet'}"


def _head(group: Group, found: list[Trial]) -> str:
    about = group.about
    # Trials that were all reused form no group of their own.
    start = f"{group.id[:8]}  " if group.id else ""
    if not group.jobs:
        return f"{start}{about.get('sampler', 'sweep')}: all of its jobs are gone"
    first = group.jobs[0]
    planned = max(finite(about.get("trials")) or 0, len(found))
    all_of = " (all that there are)" if about.get("is_complete") else ""
    parts = len(found[0].group.jobs)
    each = "" if parts == 1 else f" of {parts} {found[0].group.kind.replace('cv', 'folds')} each"
    counts = Counter(trial.status for trial in found)
    done = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    most = group.max_parallel
    limit = f", at most {counted(most, 'job')} at once" if most else ""
    what = f"{about.get('sampler', 'sweep')} of {first.model} on {first.dataset}"
    return f"{start}{what}: {counted(int(planned), 'trial')}{all_of}{each}, {done}{limit}"


def _line(
    trial: Trial,
    rank: int,
    measured: list[str],
    names: list[str],
    last: dict[str, RungEntry],
) -> list[Any]:
    ranked, *others = [trial.statistics, trial.accuracy][: len(measured)]
    texts = [each.text() if each else "" for each in (ranked, *others)]
    entry = last.get(trial.group.jobs[0].id)
    if ranked is None and entry and entry.value is not None:
        texts[0] = f"{entry.value:.4f}, epoch {entry.resource}"
    return [
        rank if ranked else "",
        *texts,
        *(_value(trial.value(name)) for name in names),
        _progress(trial),
        trial.group.jobs[0].id[:8],
    ]


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else typed(value)


def _progress(trial: Trial) -> Any:
    """The status; of several jobs the number that have ended, until all have."""
    ended = sum(job.is_terminal for job in trial.group.jobs)
    if trial.group.is_terminal or not ended:
        return console.status(trial.status)
    return f"{ended}/{len(trial.group.jobs)} ended"


def _are_numbers(found: list[Trial], name: str) -> bool:
    return all(isinstance(trial.value(name), int | float) for trial in found)
