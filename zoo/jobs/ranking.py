"""The best results, found by SQL: a job is ranked by one number, a group once it is complete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.job_spec import canonical
from zoo.jobs import metric_names
from zoo.jobs.database import Database, Transaction, among
from zoo.jobs.fields import field_values
from zoo.jobs.filters import ALL_JOBS, Filter, Values, sort_expressions
from zoo.jobs.queries import group_of, jobs_of
from zoo.jobs.records import Group, Job, accuracy_of, members, rank

MEMBER = """group_id = job_group.id
    AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)"""
"""Condition on the jobs of a group that count: a retry replaces the job that it repeats."""


def rank_group(rows: Transaction, group_id: str) -> None:
    """Store the mean accuracy of a cross-validation or group of seeds once it is complete."""
    sql = rows.sql
    values = {"id": group_id}
    is_part = "id = :id AND kind IN ('cv', 'seeds')"
    # Two jobs that end at the same time would each miss the other: one transaction waits here.
    if not rows.one(f"SELECT id FROM job_group WHERE {is_part} {sql.for_update}", values):
        return
    sets = (f"{to} = (SELECT {what} FROM job WHERE {MEMBER})" for to, what in GROUP.items())
    rows.run(
        f"""
        UPDATE job_group SET {", ".join(sets)} WHERE {is_part}
            AND NOT EXISTS (SELECT 1 FROM job WHERE {MEMBER} AND job.accuracy IS NULL)
            AND (SELECT count(DISTINCT {CONTENTS}) FROM job WHERE {MEMBER}) = 1""",
        values,
    )


CONTENTS = "CASE WHEN contents = id THEN job_group.id ELSE contents END"
"""The contents of a job in a group; unknown contents of all its jobs count as the same."""
GROUP = {
    "accuracy": "avg(accuracy)",
    "dataset": "min(dataset)",
    "model": "min(model)",
    "contents": f"min({CONTENTS})",
}


@dataclass(frozen=True)
class Best:
    """The best results of a model on one dataset's contents."""

    dataset: str
    contents: str | None
    """Their fingerprint; None if unknown: such a result competes with no other."""
    is_newest: bool
    """Whether these are the newest contents of the dataset."""
    since: float
    """Start of the newest attempt with a result on these contents, on the database's clock."""
    model: str
    by: tuple[Any, ...]
    """The values of the fields `by` which `best` groups."""
    test: Job | Group | None = None
    """The best on test images, a job or a group of seeds by its mean; of equals the first."""
    cv: Group | None = None


def best(db: Database, wanted: Filter = ALL_JOBS, *, by: Sequence[str] = ()) -> list[Best]:
    """Find the best test result and cross-validation of each contents, model and value of `by`.

    Results on different contents of one dataset never compete. A group counts once all its jobs
    have succeeded on the same contents and, with a filter, if all of them match it. Raises
    UsageError for an unknown field in `by`.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}

    def offer(place: str, result: Job | Group) -> None:
        job = result.jobs[0] if isinstance(result, Group) else result
        values = field_values(job, 0)
        of = (job.dataset, job.contents or result.id, job.model)
        kept = found.setdefault((*of, *(_value(values, n) for n in by)), {})
        if place not in kept or rank(result) < rank(kept[place]):
            kept[place] = result

    with db.read() as rows:
        metric_names.check(rows, by)
        seen = _contents_seen(rows)
        for job in _top_jobs(rows, wanted, by):
            offer("test", job)
        for group in _top_groups(rows, wanted, by):
            offer("cv" if group.kind == "cv" else "test", group)
        for group in _trials(rows, wanted):
            offer("cv" if group.kind == "cv" else "test", group)
        newest = _newest(rows, seen)
    return [_best(key, kept, seen, newest) for key, kept in sorted(found.items(), key=str)]


def _best(
    key: tuple[Any, ...],
    kept: dict[str, Any],
    seen: dict[tuple[str, str], float],
    newest: dict[str, str],
) -> Best:
    dataset, _, model, *by = key
    found = members(kept.get("test") or kept["cv"])
    contents = found[0].contents
    # The contents of jobs that do not know them are their ids.
    own = [job.contents or job.id for job in found]
    # A job of the group may lack an accuracy of its own, or be of another dataset (damaged rows).
    since = max(seen.get((dataset, each), 0.0) for each in own)
    return Best(dataset, contents, newest.get(dataset) in own, since, model, tuple(by), **kept)


def newest_contents(db: Database) -> dict[str, str | None]:
    """Return the fingerprint of the newest contents of each dataset's name.

    Of an added dataset, those of its newest version; of another, those that a result was last
    judged on, or None where that result does not know its contents.
    """
    with db.read() as rows:
        newest = _newest(rows, _contents_seen(rows))
        is_one, ids = among("id", list(newest.values()))
        unknown = {row["id"] for row in rows.all(f"SELECT id FROM job WHERE {is_one}", ids)}
    return {name: None if found in unknown else found for name, found in newest.items()}


def _contents_seen(rows: Transaction) -> dict[tuple[str, str], float]:
    """Return when a result was last started on contents, by (dataset, contents)."""
    query = """
        SELECT dataset, contents, max(started_at) AS at FROM job
        WHERE accuracy IS NOT NULL GROUP BY dataset, contents"""
    return {(row["dataset"], row["contents"]): float(row["at"] or 0) for row in rows.all(query)}


def _newest(rows: Transaction, seen: Mapping[tuple[str, str], float]) -> dict[str, str]:
    """Return the newest contents of each dataset; `seen` is from `_contents_seen`."""
    newest = {dataset: key for (dataset, key), _ in sorted(seen.items(), key=lambda s: s[1])}
    versions = rows.all(
        "SELECT name, fingerprint FROM dataset WHERE removed_at IS NULL ORDER BY name, version"
    )
    return newest | {row["name"]: row["fingerprint"] for row in versions}


def _value(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values if isinstance(values, str | int | float | bool) else canonical(values)


def _top_jobs(rows: Transaction, wanted: Filter, by: Sequence[str]) -> list[Job]:
    values = Values(rows.sql)
    apart = [key for name in by for key in sort_expressions(name, values)]
    condition = f"ranked = 1 AND accuracy IS NOT NULL AND {wanted.sql(values)}"
    parts = ["dataset", "contents", "model", *apart]
    tops = _tops("job", "seq", condition, parts, not (wanted or by))
    return jobs_of(rows, sorted(row["found"] for row in rows.all(tops, values.named)))


def _top_groups(rows: Transaction, wanted: Filter, by: Sequence[str]) -> list[Group]:
    values = Values(rows.sql)
    first = f"(SELECT {{}} FROM job WHERE {MEMBER} ORDER BY seq LIMIT 1)"
    apart = [first.format(key) for name in by for key in sort_expressions(name, values)]
    condition = "accuracy IS NOT NULL"
    if wanted:
        fits = f"({wanted.sql(values)}) IS TRUE"
        condition += f" AND NOT EXISTS (SELECT 1 FROM job WHERE {MEMBER} AND NOT {fits})"
    parts = ["kind", "dataset", "contents", "model", *apart]
    # The number of the group's first job: ids say nothing of the order of submission.
    submitted = "(SELECT min(seq) FROM job WHERE group_id = job_group.id)"
    tops = _tops("job_group", submitted, condition, parts, not (wanted or by))
    numbers = [row["found"] for row in rows.all(tops, values.named)]
    firsts = jobs_of(rows, sorted(each for each in numbers if each is not None))
    return [group_of(rows, str(job.group)) for job in firsts]


def _trials(rows: Transaction, wanted: Filter) -> list[Group]:
    """Return the trials of sweeps that consist of several jobs, if all of these match.

    There are few such sweeps, and trials differ by all their params, so they are read whole.
    """
    some = "SELECT 1 FROM job WHERE group_id = job_group.id AND ranked = 0"
    swept = rows.all(f"SELECT id FROM job_group WHERE kind = 'sweep' AND EXISTS ({some})")
    found = []
    for row in swept:
        values = Values(rows.sql)
        meant = f"group_id = {values.add(row['id'])} AND {wanted.sql(values)}"
        fits = {each["id"] for each in rows.all(f"SELECT id FROM job WHERE {meant}", values.named)}
        for trial in group_of(rows, row["id"]).trials():
            is_meant = len(trial.jobs) > 1 and all(job.id in fits for job in trial.jobs)
            if is_meant and accuracy_of(trial):
                found.append(trial)
    return found


def _tops(table: str, id: str, condition: str, apart: Sequence[str], is_plain: bool) -> str:
    """Return a query for the first row with the highest accuracy of each combination of `keys`."""
    names = [f"key_{n}" for n in range(len(apart))]
    columns = ", ".join(f"{key} AS {name}" for key, name in zip(apart, names, strict=True))
    # Without a filter, indexes answer both uses of the CTE; else it is computed once.
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
