"""The best results, found by the database: one number per job, and per group once it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo.jobs.conditions import Values, keys
from zoo.jobs.database import Database, Transaction
from zoo.jobs.filters import EVERY, Filter
from zoo.jobs.names import facts
from zoo.jobs.reads import group_of, jobs_of
from zoo.jobs.records import Group, Job
from zoo.spec import canonical, trial_of

MEMBER = """group_id = job_group.id
    AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)"""
"""A job of a group that counts: a retry takes the place of the job that it repeats."""


def rank_group(rows: Transaction, group_id: str) -> None:
    """Give a cross-validation or group of seeds its mean accuracy, if all its jobs have theirs."""
    values = {"id": group_id}
    is_part = "id = :id AND kind IN ('cv', 'seeds')"
    # Of the last two to end, at the same time, each would miss the other: one waits here.
    if not rows.one(f"SELECT id FROM job_group WHERE {is_part} FOR UPDATE", values):
        return
    sets = (f"{to} = (SELECT {what} FROM job WHERE {MEMBER})" for to, what in GROUP.items())
    rows.run(
        f"""
        UPDATE job_group SET {", ".join(sets)} WHERE {is_part}
            AND NOT EXISTS (SELECT 1 FROM job WHERE {MEMBER} AND job.accuracy IS NULL)""",
        values,
    )


GROUP = {"accuracy": "avg(accuracy)", "dataset": "min(dataset)", "model": "min(model)"}


@dataclass(frozen=True)
class Best:
    """The best results of a model on a dataset."""

    dataset: str
    model: str
    by: tuple[Any, ...]
    """The values of the names that `best` was asked to tell apart."""
    test: Job | Group | None = None
    """On test images: a job, or a group of seeds by its mean; of equals a job, the oldest."""
    cv: Group | None = None


def best(db: Database, wanted: Filter = EVERY, *, by: Sequence[str] = ()) -> list[Best]:
    """The best test result and the best cross-validation of each dataset, model and value of `by`.

    A group counts once all its jobs have succeeded, and, with a Filter, if all of them match it.
    Raises UsageError for a name in `by` that is not known.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}

    def offer(place: str, result: Job | Group) -> None:
        job = result.jobs[0] if isinstance(result, Group) else result
        values = facts(job, 0)
        kept = found.setdefault((job.dataset, job.model, *(_value(values, n) for n in by)), {})
        if place not in kept or _accuracy(result) > _accuracy(kept[place]):
            kept[place] = result

    with db.read() as rows:
        for job in _top_jobs(rows, db.is_sqlite, wanted, by):
            offer("test", job)
        for group in _top_groups(rows, db.is_sqlite, wanted, by):
            offer("cv" if group.kind == "cv" else "test", group)
        for group in _trials(rows, db.is_sqlite, wanted):
            offer("cv" if group.kind == "cv" else "test", group)
    return [Best(key[0], key[1], key[2:], **kept) for key, kept in sorted(found.items(), key=str)]


def _value(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values if isinstance(values, str | int | float | bool) else canonical(values)


def _accuracy(result: Job | Group) -> float:
    if isinstance(result, Group):
        return float(result.metrics()["accuracy"]["mean"])
    return float(result.metrics["accuracy"])


def _top_jobs(rows: Transaction, is_sqlite: bool, wanted: Filter, by: Sequence[str]) -> list[Job]:
    values = Values(is_sqlite)
    apart = [key for name in by for key in keys(name, values)]
    condition = f"ranked = 1 AND accuracy IS NOT NULL AND {wanted.sql(values)}"
    tops = _tops("job", "seq", condition, ["dataset", "model", *apart], not (wanted or by))
    return jobs_of(rows, sorted(row["found"] for row in rows.all(tops, values.named)))


def _top_groups(
    rows: Transaction, is_sqlite: bool, wanted: Filter, by: Sequence[str]
) -> list[Group]:
    values = Values(is_sqlite)
    first = f"(SELECT {{}} FROM job WHERE {MEMBER} ORDER BY seq LIMIT 1)"
    apart = [first.format(key) for name in by for key in keys(name, values)]
    condition = "accuracy IS NOT NULL"
    if wanted:
        fits = f"({wanted.sql(values)}) IS TRUE"
        condition += f" AND NOT EXISTS (SELECT 1 FROM job WHERE {MEMBER} AND NOT {fits})"
    tops = _tops(
        "job_group", "id", condition, ["kind", "dataset", "model", *apart], not (wanted or by)
    )
    return [group_of(rows, row["found"]) for row in rows.all(tops, values.named)]


def _trials(rows: Transaction, is_sqlite: bool, wanted: Filter) -> list[Group]:
    """The trials of several jobs each that sweeps have: a group for each, if all its jobs match.

    There are few such sweeps, and their trials are told apart by all their params: read whole.
    """
    some = "SELECT 1 FROM job WHERE group_id = job_group.id AND ranked = 0"
    swept = rows.all(f"SELECT id FROM job_group WHERE kind = 'sweep' AND EXISTS ({some})")
    found = []
    for row in swept:
        values = Values(is_sqlite)
        meant = f"group_id = {values.add(row['id'])} AND {wanted.sql(values)}"
        fits = {each["id"] for each in rows.all(f"SELECT id FROM job WHERE {meant}", values.named)}
        sweep, trials = group_of(rows, row["id"]), dict[str, list[Job]]()
        for job in sweep.jobs:
            trials.setdefault(trial_of(job.spec), []).append(job)
        for jobs in trials.values():
            kind = "cv" if jobs[0].spec["fold"] else "seeds"
            is_whole = all(job.accuracy is not None and job.id in fits for job in jobs)
            if is_whole and len(jobs) > 1:
                found.append(Group(sweep.id, kind, sweep.created_at, jobs))
    return found


def _tops(table: str, id: str, condition: str, apart: Sequence[str], is_plain: bool) -> str:
    """The first row of the highest accuracy for each value of what is told apart."""
    names = [f"key_{n}" for n in range(len(apart))]
    columns = ", ".join(f"{key} AS {name}" for key, name in zip(apart, names, strict=True))
    # An index answers the plain question; what must be reckoned is reckoned once.
    once = "NOT MATERIALIZED" if is_plain else "MATERIALIZED"
    listed = ", ".join(names)
    both = "(counted.{0} = top.{0} OR counted.{0} IS NULL AND top.{0} IS NULL)"
    same = " AND ".join(both.format(name) for name in names)
    rows = f"SELECT {id} AS found, accuracy, {columns} FROM {table} WHERE {condition}"
    return f"""
        WITH counted AS {once} ({rows})
        SELECT min(counted.found) AS found FROM counted
        JOIN (SELECT {listed}, max(accuracy) AS accuracy FROM counted GROUP BY {listed}) AS top
            ON counted.accuracy = top.accuracy AND {same}
        GROUP BY {", ".join(f"counted.{name}" for name in names)}"""
