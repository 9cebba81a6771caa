"""Zoo in a notebook: `import zoo`, then `zoo.train(...)`, `zoo.jobs()`, `zoo.load("3f2a")`.

What the commands do, as functions: they return DataFrames and objects that a notebook shows well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo import jobs as rows
from zoo.data import datasets
from zoo.notebook import arguments, frames, trained_model
from zoo.notebook.handles import Group, Job, handle
from zoo.notebook.connection import opened
from zoo.notebook.trained_model import Trained
from zoo.notebook.waiting import leaving, tell
from zoo.queue import catalogue, job_filters, submit
from zoo.results import leaderboard as ranking
from zoo.shorthand import make_callable

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Group", "Job", "Trained", "job", "jobs", "leaderboard", "load", "models", "train"]

# However they came to be imported.
for _module in (rows, ranking):
    make_callable(_module, __name__)

MOST_JOBS = 10**9


def train(
    model: str,
    params: Mapping[str, Any] | None = None,
    *,
    dataset: str = "mnist",
    preprocess: str = "none",
    seed: int = 42,
    cv: int | None = None,
    seeds: int | None = None,
    keep_weights: bool | None = None,
    timeout: float | None = None,
    memory_mb: int | None = None,
    pool: str = "default",
    priority: int = 0,
    tags: Sequence[str] = (),
    wait: bool = True,
    **more_params: Any,
) -> Job | Group:
    """Train a model as `zoo train` does, and give its job, or with `cv` or `seeds` its group.

    Params are given by name, or in `params` where a param is called like an argument. With `wait`
    it returns once all has succeeded. Raises UsageError for what is wrong in the request, ZooError
    like `Job.wait`; after an interrupt, the jobs go on.
    """
    specs = submit.training(
        model,
        arguments.params(params or {}, more_params),
        dataset,
        seed=int(seed),
        cv=cv,
        seeds=seeds,
        keep_weights=cv is None if keep_weights is None else keep_weights,
        timeout=timeout,
        memory_mb=memory_mb,
        preprocess=preprocess,
    )
    kind = "cv" if cv else "seeds" if seeds else None
    with opened() as (db, chosen):
        if chosen.is_embedded and catalogue.is_to_fetch(specs[0].dataset):
            datasets.raw(specs[0].dataset)
        queued: dict[str, Any] = {"pool": pool, "priority": priority, "tags": arguments.words(tags)}
        try:
            done = submit.submit(db, chosen, specs, group_kind=kind, **queued)
        except submit.Left as left:
            with leaving(left.args[0]):
                raise KeyboardInterrupt from None
        # At once: an interrupt that comes before the waiting leaves a job, too.
        with leaving(done.ref):
            return _begun(done, wait)


def _begun(done: submit.Submitted, wait: bool) -> Job | Group:
    if done.note:
        tell(done.note)
    found: Job | Group = handle(done.group, group=True) if done.group else handle(done.ids[0])
    found.worker = done.worker
    return found.await_end() if wait else found


def job(ref: str = "@last") -> Job | Group:
    """The job or group that `ref` names: the beginning of an id, @last, @best:DATASET.

    Raises UsageError if there is none, or more than one.
    """
    with opened() as (db, _):
        found = rows.find_reference(db, ref)
    return handle(found.id, group=isinstance(found, rows.Group))


def jobs(
    *,
    status: arguments.Words = None,
    model: arguments.Words = None,
    dataset: arguments.Words = None,
    tag: arguments.Words = None,
    group: arguments.Words = None,
    since: arguments.Time = None,
    until: arguments.Time = None,
    where: str | None = None,
    sort: str = "-created_at",
    limit: int | None = None,
) -> DataFrame:
    """The jobs as a DataFrame, a row for each, the newest first; filtered as `zoo jobs` filters.

    Times are datetimes (UTC), `took` is a timedelta; each number of the metrics is a column, each
    param a column `params.NAME`. Raises UsageError for a filter that is wrong.
    """
    words = arguments.filter_words(status, model, dataset, tag, group, since, until, where)
    with opened() as (db, _):
        most = MOST_JOBS if limit is None else limit
        return frames.of_jobs(
            rows.listing(db, job_filters.read(db, **words), sort=sort, limit=most)
        )


def leaderboard(
    *,
    status: arguments.Words = None,
    model: arguments.Words = None,
    dataset: arguments.Words = None,
    tag: arguments.Words = None,
    group: arguments.Words = None,
    since: arguments.Time = None,
    until: arguments.Time = None,
    where: str | None = None,
    by: arguments.Words = None,
) -> DataFrame:
    """The best result of each model on each dataset, as `zoo leaderboard` ranks them.

    With names in `by`, such as `params.epochs`, of each value of them. Raises UsageError for a
    filter or a name that is wrong.
    """
    words = arguments.filter_words(status, model, dataset, tag, group, since, until, where)
    with opened() as (db, _):
        found = ranking.rows(db, job_filters.read(db, **words), by=arguments.words(by))
    return frames.of_ranks(found)


def models() -> DataFrame:
    """The models that can be submitted: of this machine's plugins and of the workers."""
    return frames.of_models(catalogue.models())


def load(ref: str | Job | Group = "@last") -> Trained:
    """The trained model of a job, its files checked; of a group, that of its best job.

    Raises UsageError if there is none or its plugin is not installed here, ArtifactError if its
    files are gone or damaged.
    """
    return trained_model.load(ref if isinstance(ref, str) else ref.id)
