"""Pruning of a sweep's trials, decided from the rows alone.

ASHA (Li et al. 2018, "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934,
Algorithm 2): a trial that has reached the resource of a rung waits there, paused. It is promoted to
the next rung once it is among the best 1/reduction_factor of its rung. The transaction that adds a
metric to a rung also decides on promotions, under the lock of the group's row.

Median: Optuna's MedianPruner. A trial ends if its best metric so far is worse than the median of
the finished trials at the same step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from zoo.canonical_json import canonical
from zoo.errors import UsageError
from zoo.jobs.database import Database, Row, Transaction
from zoo.jobs.statuses import PAUSED

PRUNERS = ("median", "asha")


@dataclass(frozen=True)
class Pruner:
    """The pruner of a sweep, as its group stores it."""

    name: str
    """One of PRUNERS."""
    metric: str
    """Name of the metric in the report of an epoch."""
    maximize: bool = True
    """Whether a larger value is better."""
    min_resource: int = 1
    """ASHA: epochs until the first rung."""
    max_resource: int = 1
    """ASHA: epochs of a complete training."""
    reduction_factor: int = 3
    """ASHA: one of this number of trials is promoted from each rung."""
    n_startup_trials: int = 5
    """Median: no trial is pruned until this number of trials has succeeded."""
    n_warmup_steps: int = 0
    """Median: no trial is pruned before this epoch."""
    trials: int | None = None
    """Number of trials that the sweep will have; None if all were submitted together."""

    @property
    def rungs(self) -> list[int]:
        """ASHA: the epochs at which trials wait, in ascending order; the last rung is the end."""
        found, resource = [], self.min_resource
        while resource < self.max_resource:
            found.append(resource)
            resource *= self.reduction_factor
        return found

    @property
    def first_pause(self) -> int | None:
        """The epoch at which a new trial pauses; None if it runs to its end."""
        rungs = self.rungs if self.name == "asha" else []
        return rungs[0] if rungs else None

    def dump(self) -> str:
        """Return the pruner as the text that its group stores."""
        return canonical(asdict(self))

    @classmethod
    def load(cls, text: str) -> Self:
        """Read back what `dump` returned."""
        return cls(**json.loads(text))

    @property
    def _better(self) -> str:
        return ">" if self.maximize else "<"

    @property
    def _best_first(self) -> str:
        return "DESC" if self.maximize else "ASC"


@dataclass(frozen=True)
class RungEntry:
    """The metric of a trial at a rung."""

    TIMES = ("at",)
    job_id: str
    rung: int
    """Number of the rung, the lowest is 0; of the median pruner the epoch."""
    resource: int
    """Epochs of training."""
    value: float | None
    """None if it is no finite number: the training diverges."""
    promoted: bool
    """Whether the trial went on from this rung, or ended here with a result."""
    arrival: int | None
    """Place in the order in which trials came to rungs, from 1; None of the median pruner."""
    at: float
    """Seconds since 1970 of the database's clock."""


def list_rungs(db: Database, group: str) -> list[RungEntry]:
    """List the metrics of a sweep's trials at rungs, in the order of arrival."""
    names = ", ".join(RungEntry.__dataclass_fields__)
    query = f"SELECT {names} FROM rung WHERE group_id = :group ORDER BY arrival, at, job_id, rung"
    with db.read() as rows:
        found = rows.all(query, {"group": group})
    return [RungEntry(**row | {"promoted": bool(row["promoted"])}) for row in found]


def lock_pruner(rows: Transaction, group: str | None) -> Pruner | None:
    """Lock a group's row and return its pruner; None, without a lock, if it has none."""
    lock = f"""
        SELECT pruner FROM job_group WHERE id = :group AND pruner IS NOT NULL
        {rows.sql.for_update}"""
    text = rows.value(lock, {"group": group}) if group else None
    return Pruner.load(text) if text else None


def arrive(rows: Transaction, paused: Row, metrics: Mapping[str, Any]) -> None:
    """Add the metric of a trial that has just paused, {id, group_id, pause_at}, to its rung.

    Raises UsageError if `metrics`, those of the epoch, have no such metric.
    """
    pruner = lock_pruner(rows, paused["group_id"])
    if pruner is None or paused["pause_at"] not in pruner.rungs:
        return
    if pruner.metric not in metrics:
        others = [name for name in metrics if name not in ("step", "total", "unit")]
        raise UsageError(
            f"Its epochs report no {pruner.metric}, by which the sweep prunes its trials.",
            f"They report {', '.join(others) or 'no metrics'}: sweep it without --pruner.",
        )
    rung, value = pruner.rungs.index(paused["pause_at"]), metrics[pruner.metric]
    _add(rows, pruner, paused, [rung], value, promoted=False)


Steps = Sequence[tuple[int, Mapping[str, Any]]]
"""(epoch, metrics) of reports."""


def complete(rows: Transaction, ended: Row, metrics: Mapping[str, Any], steps: Steps) -> None:
    """Add the metrics of a trial that has succeeded, {id, group_id, pause_at}.

    ASHA: that of the result, at the last rung; a training that has ended early counts at each rung
    that it has not reached. Median: those of the last steps.
    """
    pruner = lock_pruner(rows, ended["group_id"])
    if pruner is None:
        return
    if pruner.name == "median":
        _add_steps(rows, pruner, ended, steps)
        return
    top = len(pruner.rungs)
    is_early = ended["pause_at"] in pruner.rungs
    first = pruner.rungs.index(ended["pause_at"]) if is_early else top
    value = metrics.get(pruner.metric)
    _add(rows, pruner, ended, range(first, top + 1), value, promoted=True)


def _add(
    rows: Transaction,
    pruner: Pruner,
    job: Row,
    rungs: Iterable[int],
    value: Any,
    *,
    promoted: bool,
) -> None:
    resources = [*pruner.rungs, pruner.max_resource]
    last = "SELECT coalesce(max(arrival), 0) AS n FROM rung WHERE group_id = :group"
    arrival = int(rows.value(last, {"group": job["group_id"]})) + 1
    entry = {
        "job": job["id"],
        "group": job["group_id"],
        "value": _finite(value),
        "promoted": int(promoted),
        "arrival": arrival,
    }
    _insert(rows, [entry | {"rung": rung, "resource": resources[rung]} for rung in rungs])


def _insert(rows: Transaction, entries: Sequence[Mapping[str, Any]]) -> None:
    # A retry, or an attempt after a crash, comes to a rung again, with the same metric.
    rows.many(
        f"""
        INSERT INTO rung (job_id, rung, group_id, resource, value, promoted, arrival, at)
        VALUES (:job, :rung, :group, :resource, :value, :promoted, :arrival, {rows.sql.now})
        ON CONFLICT (job_id, rung) DO NOTHING""",
        entries,
    )


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def decide(rows: Transaction, group: str, pruner: Pruner) -> list[Row]:
    """Promote the trials that may go on, prune those that never will; return the pruned.

    The group's row must be locked. Rows of the result are {id, status, group_id}.
    """
    if pruner.name != "asha":
        return []
    for rung in reversed(range(len(pruner.rungs))):  # from the top, as in the paper
        while _promote_best(rows, group, pruner, rung):
            pass
    return _prune_unpromotable(rows, group, pruner)


def _promote_best(rows: Transaction, group: str, pruner: Pruner, rung: int) -> bool:
    """Promote the best paused trial of a rung if it is among the best 1/reduction_factor."""
    values = {"group": group, "rung": rung}
    best = rows.one(
        f"""
        SELECT job.id, job.seq, value FROM rung JOIN job ON job.id = rung.job_id
        WHERE rung.group_id = :group AND rung = :rung AND promoted = 0 AND value IS NOT NULL
            AND status = 'queued' AND paused = 1
        ORDER BY value {pruner._best_first}, job.seq LIMIT 1""",
        values,
    )
    if best is None:
        return False
    size = rows.value(
        "SELECT count(*) AS n FROM rung WHERE group_id = :group AND rung = :rung", values
    )
    better = rows.value(
        f"""
        SELECT count(*) AS n FROM rung JOIN job ON job.id = rung.job_id
        WHERE rung.group_id = :group AND rung = :rung
            AND (value {pruner._better} :value OR (value = :value AND job.seq < :seq))""",
        values | best,
    )
    if better >= size // pruner.reduction_factor:
        return False
    resources = [*pruner.rungs, None]
    rows.run(
        # It waits for its turn again, if turns are limited.
        """
        UPDATE job SET paused = 0, pause_at = :next, dispatched_at = 0, parked = CASE WHEN EXISTS (
            SELECT 1 FROM job_group WHERE job_group.id = group_id AND max_parallel > 0)
            THEN 1 ELSE 0 END
        WHERE id = :id AND status = 'queued' AND paused = 1""",
        {"id": best["id"], "next": resources[rung + 1]},
    )
    rows.run("UPDATE rung SET promoted = 1 WHERE job_id = :id AND rung = :rung", best | values)
    return True


def _prune_unpromotable(rows: Transaction, group: str, pruner: Pruner) -> list[Row]:
    """Prune the trials of rungs that no other trial will reach any more."""
    values: dict[str, Any] = {"group": group}
    if pruner.trials is not None:
        # A retry takes the place of the job that it repeats.
        trials = """
            SELECT count(*) AS n FROM job WHERE group_id = :group
                AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)"""
        if rows.value(trials, values) < pruner.trials:
            return []
    lowest = rows.value(
        """
        SELECT min(pause_at) AS n FROM job
        WHERE group_id = :group AND status IN ('queued', 'running') AND paused = 0
            AND pause_at IS NOT NULL""",
        values,
    )
    below = "" if lowest is None else " AND pause_at < :lowest"
    return rows.all(
        f"""
        UPDATE job SET status = 'pruned', paused = 0, finished_at = {rows.sql.now}
        WHERE group_id = :group AND {PAUSED}{below}
        RETURNING id, status, group_id""",
        values | ({} if lowest is None else {"lowest": lowest}),
    )


def _add_steps(rows: Transaction, pruner: Pruner, job: Row, steps: Steps) -> None:
    entry = {"job": job["id"], "group": job["group_id"], "promoted": 0, "arrival": None}
    values = [(step, _finite(metrics.get(pruner.metric))) for step, metrics in steps]
    _insert(rows, [entry | {"rung": n, "resource": n, "value": value} for n, value in values])


def falls_behind(rows: Transaction, job: Row, steps: Steps) -> bool:
    """Add the metrics of new steps of a trial, {id, group_id}; return whether to prune it.

    These are the rules of Optuna's MedianPruner, applied at each of the steps.
    """
    values = {"group": job["group_id"]}
    text = rows.value("SELECT pruner FROM job_group WHERE id = :group", values)
    if not text:
        return False
    pruner = Pruner.load(text)
    _add_steps(rows, pruner, job, steps)
    finished = "SELECT count(*) AS n FROM job WHERE group_id = :group AND status = 'succeeded'"
    if rows.value(finished, values) < max(pruner.n_startup_trials, 1):
        return False
    return any(
        step >= pruner.n_warmup_steps and _is_below_median(rows, pruner, job, step)
        for step, _ in steps
    )


def _is_below_median(rows: Transaction, pruner: Pruner, job: Row, step: int) -> bool:
    values = {"job": job["id"], "group": job["group_id"], "step": step}
    best = rows.value(
        f"""
        SELECT {"max" if pruner.maximize else "min"}(value) AS best FROM rung
        WHERE job_id = :job AND rung <= :step""",
        values,
    )
    if best is None:
        # Either it has diverged, or the model does not report the metric.
        reported = """
            SELECT 1 FROM rung JOIN job ON job.id = rung.job_id
            WHERE rung.group_id = :group AND value IS NOT NULL AND status = 'succeeded' LIMIT 1"""
        return rows.one(reported, values) is not None
    found = rows.all(
        """
        SELECT value FROM rung JOIN job ON job.id = rung.job_id
        WHERE rung.group_id = :group AND rung = :step AND value IS NOT NULL
            AND status = 'succeeded'""",
        values,
    )
    if not found:
        return False
    # `statistics`, which would be imported by every command with jobs, takes 5 ms.
    from statistics import median

    middle = median(row["value"] for row in found)
    return bool(best < middle if pruner.maximize else best > middle)
