"""Typed rows of the metrics of succeeded jobs, by which results are ranked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from zoo import metrics
from zoo.errors import UsageError
from zoo.jobs.cards import Card, published_metrics
from zoo.jobs.database import Database, Transaction
from zoo.jobs.records import finite
from zoo.metrics import Objective

MAX_NAME = 200
"""Longest name, in characters, of a metric with a row."""
INSERT = """
    INSERT INTO metric (job_id, name, value) VALUES (:job_id, :name, :value)
    ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value"""


def metric_rows(job_id: str, measured: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each finite number among the metrics of a job."""
    for name, value in measured.items():
        number = finite(value)
        # A plugin names what it reports; PostgreSQL stores neither NUL nor lone surrogates.
        if number is not None and name.isprintable() and len(name) <= MAX_NAME:
            yield {"job_id": job_id, "name": name, "value": float(number)}


def insert_metrics(rows: Transaction, measured: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Insert the rows of the metrics of jobs, given as (id, metrics)."""
    rows.many(INSERT, [row for job_id, each in measured for row in metric_rows(job_id, each)])


def names(rows: Transaction) -> list[str]:
    """Return the names of the metrics that jobs have, sorted."""
    # One step of the index for each name: DISTINCT would read all rows.
    query = """
        WITH RECURSIVE known(name) AS (
            SELECT min(name) FROM metric
            UNION ALL
            SELECT (SELECT min(name) FROM metric WHERE metric.name > known.name)
            FROM known WHERE known.name IS NOT NULL)
        SELECT name FROM known WHERE name IS NOT NULL"""
    return [row["name"] for row in rows.all(query)]


def has(rows: Transaction, name: str) -> bool:
    """Return whether a job has a value of this metric."""
    query = "SELECT 1 AS yes FROM metric WHERE name = :name LIMIT 1"
    return rows.one(query, {"name": name}) is not None


def objective(rows: Transaction, name: str) -> Objective:
    """Return a metric with its direction, to rank the jobs that have it.

    Raises UsageError, which lists the names, for one that no job has, or whose direction is
    unknown.
    """
    direction = metrics.higher_is_better(name)
    if direction is None:
        direction = metrics.higher_is_better(name, directions(rows))
    if direction is None or not has(rows, name):
        raise no_such_metric(rows, name)
    return Objective(name, direction)


def list_ranking_metrics(db: Database) -> list[str]:
    """Return the names of the metrics by which results can be ranked, those of Zoo first."""
    with db.read() as rows:
        return rankable(rows)


def rankable(rows: Transaction) -> list[str]:
    """Return the names of the metrics that jobs have and whose direction is known."""
    known, found = directions(rows), names(rows)
    first = [name for name in metrics.METRICS if name in found]
    others = [name for name in found if metrics.higher_is_better(name, known) is not None]
    return list(dict.fromkeys([*first, *others]))


def no_such_metric(rows: Transaction, name: str) -> UsageError:
    """Return the error for a metric by which no job can be ranked."""
    found = rankable(rows)
    if not found:
        return UsageError(
            f"No job has the metric '{name}' to rank by.", "No job has succeeded yet."
        )
    return UsageError(
        f"No job has the metric '{name}' to rank by.", f"There are {', '.join(found)}."
    )


def directions(rows: Transaction) -> dict[str, bool]:
    """Return whether more is better of each metric of plugins, as workers publish it."""
    found = rows.all("SELECT DISTINCT models FROM worker")
    cards = (Card.from_json(each) for row in found for each in json.loads(row["models"]))
    return {name: each.higher_is_better for name, each in published_metrics(cards).items()}
