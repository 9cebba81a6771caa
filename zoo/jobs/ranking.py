"""The best results, found by SQL: a job is ranked by one number, a group once it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo import dataset_names
from zoo.canonical_json import canonical
from zoo.jobs import metric_names, metric_rows
from zoo.jobs.database import Database, Row, Transaction, among, slices
from zoo.jobs.fields import field_values
from zoo.jobs.filters import ALL_JOBS, Filter, Values, sort_expressions
from zoo.jobs.groups import Group, members, rank, value_of
from zoo.jobs.queries import group_of, jobs_of
from zoo.jobs.records import Job
from zoo.metrics import ACCURACY, Objective, higher_is_better

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
    objective: Objective = ACCURACY
    """The metric by which they are the best."""


@dataclass(frozen=True)
class _Scope:
    """What a search ranks, and by which metric."""

    wanted: Filter
    by: Sequence[str]
    objective: Objective = ACCURACY
    datasets: frozenset[str] = frozenset()
    is_without: bool = True
    """Whether `datasets` are left out; else no others count."""

    @property
    def is_plain(self) -> bool:
        """Whether an index of the tables finds the best by accuracy."""
        return self.is_by_name and not (self.wanted or self.datasets)

    @property
    def is_by_name(self) -> bool:
        """Whether it is of all results by accuracy on some datasets and of some models.

        Then it has all results on the same contents and of the same model, or none.
        """
        wanted = self.wanted
        named = Filter(datasets=wanted.datasets, models=wanted.models)
        # Versions of a dataset are told apart by the job, not by its name.
        is_named = wanted == named and all(
            dataset_names.split_version(name)[1] is None for name in wanted.datasets
        )
        return self.objective.is_accuracy and not self.by and is_named

    def score(self, value: str) -> str:
        """Return the expression that is largest for the best."""
        return value if self.objective.higher_is_better else f"-{value}"

    def dataset_condition(self, values: Values) -> str:
        """Return the condition on the column `dataset`."""
        if not self.datasets:
            return "1 = 1" if self.is_without else "1 = 0"
        is_one = values.among("dataset", sorted(self.datasets))
        return f"NOT {is_one}" if self.is_without else is_one


def best(
    db: Database,
    wanted: Filter = ALL_JOBS,
    *,
    by: Sequence[str] = (),
    metric: str | None = None,
) -> list[Best]:
    """Find the best test result and cross-validation of each contents, model and value of `by`.

    Results on different contents of one dataset never compete. A group counts once all its jobs
    have succeeded on the same contents and, with a filter, if all of them match it.

    Args:
        wanted: The jobs that count.
        by: Names such as `params.epochs`: each of their values has best results of its own.
        metric: The metric that decides; results without it do not count. By default the dataset's
            own, if any result on the dataset has it, else accuracy.

    Raises:
        UsageError: For an unknown field in `by`, or a metric that no job has.
    """
    with db.read() as rows:
        metric_names.check(rows, by)
        judged = _judged_last(rows)
        found = []
        for objective, names in objectives(rows, judged, metric):
            scope = _Scope(wanted, by, objective, names, is_without=objective.is_accuracy)
            if metric:
                scope = _Scope(wanted, by, objective)
            found += [(key, kept, objective) for key, kept in _found(rows, scope).items()]
        newest = judged | _newest_versions(rows, judged)
    since = _seen_last(kept for _, kept, _ in found)
    found.sort(key=lambda each: str(each[0]))
    return [_best(key, kept, since, newest, objective) for key, kept, objective in found]


def objectives(
    rows: Transaction, datasets: Iterable[str], metric: str | None = None
) -> list[tuple[Objective, frozenset[str]]]:
    """Return the metrics by which results are ranked, each with the names of its datasets.

    Without a `metric` accuracy comes last, with the datasets that are ranked by another one: those
    with a metric of their own that a result on them has.

    Raises UsageError for a metric that no job has.
    """
    if metric and metric != ACCURACY.metric:
        return [(metric_rows.objective(rows, metric), frozenset())]
    own: dict[str, set[str]] = {}
    for dataset, name in own_metrics(rows, datasets).items() if not metric else ():
        own.setdefault(name, set()).add(dataset)
    others = frozenset(each for names in own.values() for each in names)
    ranked = [(metric_rows.objective(rows, name), frozenset(own[name])) for name in sorted(own)]
    return [*ranked, (ACCURACY, others)]


def objective_of(rows: Transaction, dataset: str, metric: str | None = None) -> Objective:
    """Return the metric by which results on a dataset are ranked.

    Raises UsageError for a `metric` that no job has.
    """
    name = metric or own_metrics(rows, [dataset]).get(dataset, ACCURACY.metric)
    return ACCURACY if name == ACCURACY.metric else metric_rows.objective(rows, name)


def dataset_objective(db: Database, dataset: str, metric: str | None = None) -> Objective:
    """Return the metric by which results on a dataset are ranked, see `best`.

    Raises UsageError for a `metric` that no job has.
    """
    with db.read() as rows:
        return objective_of(rows, dataset, metric)


def shown_objectives(
    db: Database, found: Sequence[Job], metric: str | None = None
) -> dict[str, Objective]:
    """Return the metric that a list shows of the result of each job, by job id.

    `metric` if it is given; else that by which its sweep ranks, the dataset's own, or accuracy: the
    first of these that the job has.

    Raises UsageError for a `metric` that no job has.
    """
    with db.read() as rows:
        if metric:
            chosen = objective_of(rows, "", metric)
            return dict.fromkeys((job.id for job in found), chosen)
        own = own_metrics(rows, {job.dataset for job in found})
        by_dataset = {name: metric_rows.objective(rows, each) for name, each in own.items()}
        swept = _sweep_objectives(rows, {job.group for job in found if job.group})
    shown = {}
    for job in found:
        asked = swept.get(job.group or ""), by_dataset.get(job.dataset)
        known = [each for each in asked if each and job.number(each.metric) is not None]
        shown[job.id] = known[0] if known else ACCURACY
    return shown


def _sweep_objectives(rows: Transaction, groups: Iterable[str]) -> dict[str, Objective]:
    """Return the metric by which the trials of each sweep among these groups are ranked."""
    found: dict[str, Objective] = {}
    for some in slices(sorted(groups)):
        is_one, named = among("id", some)
        query = f"SELECT id, about FROM job_group WHERE kind = 'sweep' AND {is_one}"
        for row in rows.all(query, named):
            found[row["id"]] = Objective.from_json(json.loads(row["about"] or "{}"))
    return found


def own_metrics(rows: Transaction, datasets: Iterable[str]) -> dict[str, str]:
    """Return the metric of each dataset that has one of its own, if a result on it has that metric.

    Accuracy is left out.
    """
    datasets = sorted(datasets)
    metrics: dict[str, str | None] = {}
    for some in slices(datasets):
        is_one, named = among("name", some)
        query = f"SELECT name, meta FROM dataset WHERE removed_at IS NULL AND {is_one}"
        added = rows.all(f"{query} ORDER BY version", named)
        metrics |= {row["name"]: json.loads(row["meta"]).get("metric") for row in added}
    known: dict[str, str | None] = {}
    for dataset in datasets:
        spelling = dataset_names.split(dataset)
        options = dict(spelling.options) if spelling else metrics
        known[dataset] = options.get("metric" if spelling else dataset)
    query = """
        SELECT 1 AS yes FROM job JOIN metric ON metric.job_id = job.id AND metric.name = :metric
        WHERE dataset = :dataset LIMIT 1"""
    directions = metric_rows.directions(rows) if any(known.values()) else {}
    return {
        dataset: name
        for dataset, name in known.items()
        if name and name != ACCURACY.metric
        if higher_is_better(name, directions) is not None
        if rows.one(query, {"metric": name, "dataset": dataset})
    }


def _found(rows: Transaction, scope: _Scope) -> dict[tuple[Any, ...], dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}

    def offer(place: str, result: Job | Group) -> None:
        job = result.jobs[0] if isinstance(result, Group) else result
        values = field_values(job, 0)
        of = (job.dataset, job.contents or result.id, job.model)
        kept = found.setdefault((*of, *(_value(values, n) for n in scope.by)), {})
        order = [rank(each, scope.objective) for each in (result, kept.get(place)) if each]
        if len(order) == 1 or order[0] < order[1]:
            kept[place] = result

    for job in _top_jobs(rows, scope):
        offer("test", job)
    for group in [*_top_groups(rows, scope), *_trials(rows, scope)]:
        offer("cv" if group.kind == "cv" else "test", group)
    return found


def _best(
    key: tuple[Any, ...],
    kept: dict[str, Any],
    since: Mapping[tuple[str, str], float],
    newest: Mapping[str, str | None],
    objective: Objective,
) -> Best:
    dataset, _, model, *by = key
    found = members(kept.get("test") or kept["cv"])
    contents = found[0].contents
    # The contents of jobs that do not know them are their ids.
    own = [job.contents or job.id for job in found]
    seen = max(since.get((dataset, each), 0.0) for each in own)
    is_newest = newest.get(dataset) in own
    return Best(dataset, contents, is_newest, seen, model, tuple(by), **kept, objective=objective)


def _seen_last(found: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Return when one of these results was last started on contents, by (dataset, contents)."""
    since: dict[tuple[str, str], float] = {}
    for job in (job for kept in found for result in kept.values() for job in members(result)):
        key = job.dataset, job.contents or job.id
        since[key] = max(since.get(key, 0.0), job.started_at or 0.0)
    return since


def newest_contents(db: Database) -> dict[str, str | None]:
    """Return the fingerprint of the newest contents of each dataset's name.

    Of an added dataset, those of its newest version; of another, those that a result was last
    judged on, or None where that result does not know its contents.
    """
    with db.read() as rows:
        newest = _judged_last(rows) | _newest_versions(rows)
        unknown: set[str] = set()
        for some in slices([each for each in newest.values() if each]):
            is_one, ids = among("id", some)
            unknown |= {row["id"] for row in rows.all(f"SELECT id FROM job WHERE {is_one}", ids)}
    return {name: None if found in unknown else found for name, found in newest.items()}


def _judged_last(rows: Transaction) -> dict[str, str | None]:
    """Return the contents on which a result was last started, of each dataset with a result."""
    measured = "FROM job WHERE accuracy IS NOT NULL"
    query = f"""{_JUDGED},
        last AS (
            SELECT name, (SELECT max(started_at) {measured} AND dataset = judged.name) AS at
            FROM judged WHERE name IS NOT NULL)
        SELECT name, (SELECT max(contents) {measured}
            AND dataset = last.name AND started_at = last.at) AS contents FROM last"""
    return {row["name"]: row["contents"] for row in rows.all(query)}


def _newest_versions(rows: Transaction, names: Iterable[str] | None = None) -> dict[str, str]:
    """Return the contents of the newest version of each added dataset, or of some by name."""
    query = "SELECT name, fingerprint FROM dataset WHERE removed_at IS NULL{} ORDER BY version"
    found: list[Row] = []
    if names is None:
        found = rows.all(query.format(""))
    for some in slices(sorted(names or ())):
        is_one, named = among("name", some)
        found += rows.all(query.format(f" AND {is_one}"), named)
    return {row["name"]: row["fingerprint"] for row in found}


def _value(values: Any, name: str) -> Any:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values if isinstance(values, str | int | float | bool) else canonical(values)


def _top_jobs(rows: Transaction, scope: _Scope) -> list[Job]:
    values = Values(rows.sql)
    apart = [key for name in scope.by for key in sort_expressions(name, values)]
    condition = f"ranked = 1 AND accuracy IS NOT NULL AND {scope.wanted.sql(values)}"
    condition += f" AND {scope.dataset_condition(values)}"
    table, score = "job", "accuracy"
    if not scope.objective.is_accuracy:
        name = values.add(scope.objective.metric)
        table = f"job JOIN metric ON metric.job_id = job.id AND metric.name = {name}"
        score = scope.score("metric.value")
    parts = ["dataset", "contents", "model", *apart]
    tops = _tops(table, ("seq", score), condition, parts, scope.is_plain)
    if scope.is_by_name and not rows.one(_NAMELESS):
        tops = _TOPS.format(f"{scope.wanted.sql(values)} AND {scope.dataset_condition(values)}")
    return jobs_of(rows, sorted(row["found"] for row in rows.all(tops, values.named)))


_JUDGED = """
    WITH RECURSIVE judged (name) AS (
        SELECT min(dataset) FROM job WHERE accuracy IS NOT NULL
        UNION ALL
        SELECT (SELECT min(dataset) FROM job WHERE accuracy IS NOT NULL AND dataset > judged.name)
        FROM judged WHERE judged.name IS NOT NULL)"""
"""The datasets with a result: one step of the index `job_contents` for each of them, while GROUP BY
would read every result."""
_RANKED = "FROM job AS o WHERE ranked = 1 AND accuracy IS NOT NULL"
"""With the predicate of the index `job_best`: dataset, contents, model, accuracy, seq."""
_NAMELESS = f"""{_JUDGED}
    SELECT 1 AS yes FROM judged
    WHERE EXISTS (SELECT 1 {_RANKED} AND dataset = judged.name AND contents IS NULL) LIMIT 1"""
"""Find a result without contents, as damaged rows have: `_TOPS` would not see it."""
_LAST = "dataset DESC, contents DESC, model DESC, accuracy DESC, seq DESC LIMIT 1"
_TOPS = f"""
    WITH RECURSIVE top (found) AS (
        SELECT (SELECT seq {_RANKED} ORDER BY {_LAST})
        UNION ALL
        SELECT coalesce(
            (SELECT seq {_RANKED} AND o.dataset = job.dataset AND o.contents = job.contents
                AND o.model < job.model ORDER BY {_LAST}),
            (SELECT seq {_RANKED} AND o.dataset = job.dataset AND o.contents < job.contents
                ORDER BY {_LAST}),
            (SELECT seq {_RANKED} AND o.dataset < job.dataset ORDER BY {_LAST}))
        FROM top JOIN job ON job.seq = top.found)
    SELECT (SELECT min(seq) {_RANKED} AND o.dataset = job.dataset AND o.contents = job.contents
        AND o.model = job.model AND o.accuracy = job.accuracy) AS found
    FROM top JOIN job ON job.seq = top.found WHERE {{}}"""
"""Query for the best ranked job of each dataset, contents and model, with a condition on their
names: up to three steps of the index `job_best` for each of them."""


def _top_groups(rows: Transaction, scope: _Scope) -> list[Group]:
    values = Values(rows.sql)
    first = f"(SELECT {{}} FROM job WHERE {MEMBER} ORDER BY seq LIMIT 1)"
    apart = [first.format(key) for name in scope.by for key in sort_expressions(name, values)]
    condition, score = f"accuracy IS NOT NULL AND {scope.dataset_condition(values)}", "accuracy"
    if scope.wanted:
        fits = f"({scope.wanted.sql(values)}) IS TRUE"
        condition += f" AND NOT EXISTS (SELECT 1 FROM job WHERE {MEMBER} AND NOT {fits})"
    if not scope.objective.is_accuracy:
        name = values.add(scope.objective.metric)
        one = f"SELECT value FROM metric WHERE job_id = job.id AND name = {name}"
        mean = f"(SELECT avg(({one})) FROM job WHERE {MEMBER})"
        condition += f" AND NOT EXISTS (SELECT 1 FROM job WHERE {MEMBER} AND NOT EXISTS ({one}))"
        score = scope.score(mean)
    parts = ["kind", "dataset", "contents", "model", *apart]
    # The number of the group's first job: ids say nothing of the order of submission.
    submitted = "(SELECT min(seq) FROM job WHERE group_id = job_group.id)"
    tops = _tops("job_group", (submitted, score), condition, parts, scope.is_plain)
    numbers = [row["found"] for row in rows.all(tops, values.named)]
    firsts = jobs_of(rows, sorted(each for each in numbers if each is not None))
    return [group_of(rows, str(job.group)) for job in firsts]


def _trials(rows: Transaction, scope: _Scope) -> list[Group]:
    """Return the trials of sweeps that consist of several jobs, if all of these match.

    There are few such sweeps, and trials differ by all their params, so they are read whole.
    """
    some = "SELECT 1 FROM job WHERE group_id = job_group.id AND ranked = 0"
    swept = rows.all(f"SELECT id FROM job_group WHERE kind = 'sweep' AND EXISTS ({some})")
    found = []
    for row in swept:
        values = Values(rows.sql)
        meant = f"group_id = {values.add(row['id'])} AND {scope.wanted.sql(values)}"
        meant += f" AND {scope.dataset_condition(values)}"
        fits = {each["id"] for each in rows.all(f"SELECT id FROM job WHERE {meant}", values.named)}
        for trial in group_of(rows, row["id"]).trials():
            is_meant = len(trial.jobs) > 1 and all(job.id in fits for job in trial.jobs)
            if is_meant and value_of(trial, scope.objective):
                found.append(trial)
    return found


def _tops(
    table: str, columns: tuple[str, str], condition: str, apart: Sequence[str], is_plain: bool
) -> str:
    """Return a query for the first row with the highest score of each combination of `apart`.

    `columns` are the number of a row and its score.
    """
    names = [f"key_{n}" for n in range(len(apart))]
    keys = ", ".join(f"{key} AS {name}" for key, name in zip(apart, names, strict=True))
    # Without a filter, indexes answer both uses of the CTE; else it is computed once.
    once = "NOT MATERIALIZED" if is_plain else "MATERIALIZED"
    listed = ", ".join(names)
    both = "(counted.{0} = top.{0} OR counted.{0} IS NULL AND top.{0} IS NULL)"
    same = " AND ".join(both.format(name) for name in names)
    number, score = columns
    rows = f"SELECT {number} AS found, {score} AS score, {keys} FROM {table} WHERE {condition}"
    return f"""
        WITH counted AS {once} ({rows})
        SELECT min(counted.found) AS found FROM counted
        JOIN (SELECT {listed}, max(score) AS score FROM counted GROUP BY {listed}) AS top
            ON counted.score = top.score AND {same}
        GROUP BY {", ".join(f"counted.{name}" for name in names)}"""
