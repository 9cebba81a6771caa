"""The fields of a job by name: where the tables have them, and their values in a record.

`--where`, `--sort` and `--columns` take these names; `filters` translates them to SQL.
"""

from __future__ import annotations

from typing import Any

from zoo.jobs.records import Job
from zoo.metrics import METRICS

TEXT_FIELDS = {
    **{name: name for name in ("id", "kind", "model", "dataset", "pool", "status", "worker")},
    **{name: name for name in ("retry_of", "error", "error_code", "name", "note")},
    "group": "group_id",
    **dict.fromkeys(("user", "submitted_by"), "submitted_by"),
}
NUMBER_FIELDS = {
    **{name: name for name in ("priority", "attempt", "accuracy")},
    **{name: name for name in ("created_at", "started_at", "finished_at")},
    "age": "({now} - created_at)",
    "waited": "(started_at - created_at)",
    "took": "(coalesce(finished_at, {now}) - started_at)",
}
"""Columns and what is computed from them, in seconds (since 1970); `{now}` is `Dialect.now`."""
RANKING_FIELDS = [name for name in METRICS if name not in ("accuracy", "loss")]
"""Metrics whose values are in the table `metric`."""
NUMBER_FIELDS |= {
    name: f"(SELECT value FROM metric WHERE job_id = job.id AND name = '{name}')"
    for name in RANKING_FIELDS
}
JSON_FIELDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tags": ("tags", ()),
    "params": ("spec", ("params",)),
    "metrics": ("metrics", ()),
    "seed": ("spec", ("seed",)),
    "split": ("spec", ("split",)),
    "plugin": ("spec", ("plugin",)),
    "fold": ("spec", ("fold", "index")),
    **{name: ("metrics", (name,)) for name in ("loss", "train_accuracy", "fit_seconds")},
    "parameters": ("metrics", ("parameters",)),
}
"""Fields within a column of JSON: (column, path)."""
NESTED = ("params", "metrics")
FIELD_NAMES = sorted(
    {*TEXT_FIELDS, *NUMBER_FIELDS, *JSON_FIELDS} - {*NESTED} | {f"{name}.*" for name in NESTED}
)
"""All names, as `zoo.query.parser.parse` takes them; `params.*` stands for any name below it."""


def field_values(job: Job, at: float) -> dict[str, Any]:
    """Return the value of every field; `at` is the time of the database's clock."""
    spec, metrics = job.spec, job.metrics
    known: dict[str, Any] = {name: getattr(job, name) for name in TEXT_FIELDS if name != "user"}
    known["user"] = job.submitted_by
    known |= {name: getattr(job, name, None) for name in NUMBER_FIELDS}
    if job.status == "succeeded":
        known |= {name: job.number(name) for name in RANKING_FIELDS}
    known |= {name: spec.get(name) for name in ("params", "seed", "split", "plugin")}
    known |= {
        name: metrics.get(name) for name, (column, _) in JSON_FIELDS.items() if column == "metrics"
    }
    known |= {"tags": job.tags, "metrics": metrics, "fold": (spec.get("fold") or {}).get("index")}
    known["age"] = at - job.created_at
    if job.started_at is not None:
        known["waited"] = job.started_at - job.created_at
        known["took"] = (job.finished_at or at) - job.started_at
    return known
