"""What may be asked of a job: every name, where the tables have it, and its value in a record.

`--where`, `--sort` and `--columns` know these names; `conditions` makes SQL of them.
"""

from __future__ import annotations

from typing import Any

from zoo.jobs.records import Job

TEXT_FIELDS = {
    **{name: name for name in ("id", "kind", "model", "dataset", "pool", "status", "worker")},
    **{name: name for name in ("retry_of", "error", "error_code")},
    "group": "group_id",
}
NUMBER_FIELDS = {
    **{name: name for name in ("priority", "attempt", "accuracy")},
    **{name: name for name in ("created_at", "started_at", "finished_at")},
    "age": "({now} - created_at)",
    "waited": "(started_at - created_at)",
    "took": "(coalesce(finished_at, {now}) - started_at)",
}
"""Columns and what is computed from them, in seconds (since 1970); `{now}` is `Dialect.now`."""
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
"""What stands in the JSON of a column, and where there."""
NESTED = ("params", "metrics")
FIELD_NAMES = sorted(
    {*TEXT_FIELDS, *NUMBER_FIELDS, *JSON_FIELDS} - {*NESTED} | {f"{name}.*" for name in NESTED}
)
"""Every name, as `where.parse` takes them."""


def field_values(job: Job, at: float) -> dict[str, Any]:
    """The value of every name; `at` is the time on the database's clock."""
    spec, metrics = job.spec, job.metrics
    known: dict[str, Any] = {name: getattr(job, name) for name in TEXT_FIELDS}
    known |= {name: getattr(job, name, None) for name in NUMBER_FIELDS}
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
