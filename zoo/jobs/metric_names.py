"""Checks the names of metrics in orders and conditions against those that jobs have."""

from __future__ import annotations

import json
from collections.abc import Iterable

from zoo.errors import UsageError
from zoo.jobs import metric_rows
from zoo.jobs.database import Transaction
from zoo.jobs.fields import RANKING_FIELDS
from zoo.jobs.filters import Values, has_metric

RECENT = 200
"""Number of jobs whose metrics are listed in the error."""
PREFIX = "metrics."


def check(rows: Transaction, names: Iterable[str]) -> None:
    """Raise UsageError for a metric that no job has; accept all if no job has metrics.

    Other names than those of metrics (`metrics.NAME`, or `f1_macro`) are accepted.
    """
    for name in dict.fromkeys(names):
        if name in RANKING_FIELDS:
            found = [] if metric_rows.has(rows, name) else metric_rows.names(rows)
            if found:
                raise UsageError(f"No job has {name}.", f"There are {', '.join(found)}.")
        if not name.startswith(PREFIX) or _is_there(rows, name):
            continue
        known = _known(rows)
        if known:
            hint = f"There are {', '.join(known)}."
            raise UsageError(f"No job has {name}.", hint)


def _is_there(rows: Transaction, name: str) -> bool:
    values = Values(rows.sql)
    has_it = has_metric(tuple(name.split(".")), values)
    query = f"SELECT 1 AS yes FROM job WHERE metrics IS NOT NULL AND {has_it} LIMIT 1"
    return rows.one(query, values.named) is not None


def _known(rows: Transaction) -> list[str]:
    newest = """
        SELECT metrics FROM job WHERE metrics IS NOT NULL AND metrics <> '{}'
        ORDER BY seq DESC LIMIT :most"""
    found = (json.loads(row["metrics"]) for row in rows.all(newest, {"most": RECENT}))
    return sorted({f"{PREFIX}{name}" for metrics in found for name in metrics})
