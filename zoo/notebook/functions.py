"""The functions of the notebook API: what the commands do, with DataFrames and handles.

`import zoo` offers each of them: `zoo.train(...)`, `zoo.list_jobs()`, `zoo.load_model("3f2a")`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from zoo import jobs
from zoo.data import datasets
from zoo.data.contents import SPLITS
from zoo.errors import UsageError, unknown
from zoo.inference import export, model_card, predictor
from zoo.inference.export import Exported
from zoo.jobs import Database
from zoo.jobs.labels import check_note
from zoo.jobs.queue_options import QueueOptions
from zoo.notebook import arguments, frames, removal, trained_model
from zoo.notebook.compared_results import ComparedResults
from zoo.notebook.connection import connect
from zoo.notebook.handles import GroupHandle, JobHandle, make_handle
from zoo.notebook.live_display import print_note
from zoo.notebook.trained_model import TrainedModel
from zoo.notebook.waiting import hint_on_interrupt
from zoo.queue import catalogue, submit
from zoo.queue.options import TrainingOptions
from zoo.results import comparison
from zoo.results.leaderboard import leaderboard_rows
from zoo.settings import Settings
from zoo.sweeps import driver
from zoo.sweeps.plan import SweepRequest, plan_sweep
from zoo.sweeps.samplers import SAMPLERS

if TYPE_CHECKING:
    from pandas import DataFrame

Refs = str | JobHandle | GroupHandle | Sequence[str | JobHandle | GroupHandle] | None
"""Jobs or groups: references as for `get_job`, or handles."""
ALL_JOBS = 10**9
"""Limit of a list that nobody has limited."""


def train(
    model: str,
    params: Mapping[str, Any] | None = None,
    *,
    dataset: str = TrainingOptions.dataset,
    preprocess: str = TrainingOptions.preprocess,
    validation: float | None = None,
    class_weight: str | None = None,
    positive: str | None = None,
    seed: int = TrainingOptions.seed,
    cv: int | None = None,
    seeds: int | None = None,
    keep_weights: bool | None = None,
    timeout: float | None = None,
    memory_mb: int | None = None,
    device: str | None = None,
    exact: bool = TrainingOptions.exact,
    pool: str | None = QueueOptions.pool,
    priority: int = QueueOptions.priority,
    tags: Sequence[str] = (),
    name: str | None = None,
    wait: bool = True,
    **more_params: Any,
) -> JobHandle | GroupHandle:
    """Train a model as `zoo train` does.

    An interrupt ends the waiting, not the jobs.

    Args:
        model: Name of the model.
        params: Params whose names collide with an argument of this function, as that of a model
            called `class_weight`.
        wait: Whether to return once every job has succeeded, instead of at once.
        more_params: All other params, by name.

    Returns:
        The job; with `cv` or `seeds`, the group of jobs.

    Raises:
        UsageError: For an invalid request.
        ZooError: As `JobHandle.wait` does.
    """
    training = TrainingOptions(
        dataset=dataset,
        preprocess=preprocess,
        validation=validation,
        class_weight=class_weight,
        positive=positive,
        seed=int(seed),
        cv=cv,
        seeds=seeds,
        keep_weights=keep_weights,
        timeout=timeout,
        memory_mb=memory_mb,
        device=device,
        exact=exact,
    )
    queue = QueueOptions(pool=pool, priority=priority, tags=arguments.as_list(tags), name=name)
    given = arguments.merge_params(params or {}, more_params)
    specs = submit.training(model, given, training)
    kind = training.group_kind
    return _submit(
        specs[0].dataset,
        lambda db, chosen: submit.submit(db, chosen, specs, queue, group_kind=kind),
        wait,
    )


def evaluate(
    ref: str | JobHandle | GroupHandle = "@last",
    dataset: str | None = None,
    *,
    split: str = "test",
    timeout: float | None = None,
    pool: str | None = QueueOptions.pool,
    priority: int = QueueOptions.priority,
    tags: Sequence[str] = (),
    name: str | None = None,
    wait: bool = True,
) -> JobHandle:
    """Evaluate a trained model on a dataset or split, as `zoo evaluate` does.

    Args:
        ref: The training; of a group its best job is taken.
        dataset: By default that of the training.
        split: `train` or `test`.
        wait: Whether to return once the evaluation has succeeded, instead of at once.

    Raises:
        UsageError: If there is no trained model, or the dataset's inputs do not fit it.
        ZooError: As `JobHandle.wait` does.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    queue = QueueOptions(pool=pool, priority=priority, tags=arguments.as_list(tags), name=name)
    with connect() as (db, _):
        spec = submit.evaluation(jobs.find_training(db, _ref(ref)), dataset, split)
    specs = [spec.model_copy(update={"timeout": timeout})]
    found = _submit(spec.dataset, lambda db, c: submit.submit(db, c, specs, queue), wait)
    assert isinstance(found, JobHandle)
    return found


def sweep(
    model: str,
    space: Mapping[str, Any],
    *,
    sampler: str = "grid",
    trials: int | None = None,
    metric: str | None = None,
    wait: bool = True,
    **options: Unpack[arguments.SweepKeywords],
) -> GroupHandle:
    """Train a model with many params and rank the trials, as `zoo sweep` does.

    An interrupt ends the waiting, not the jobs; `wait()` of the returned handle, or of
    `zoo.get_job(ID)`, goes on with the trials that the tpe sampler has yet to pick.

    Args:
        model: Name of the model.
        space: For each param a list of values, or a string as after `zoo sweep -p NAME=`, such as
            "1..10" or "1e-4..1e-1:log". Any other value is that of every trial.
        sampler: grid, random or tpe.
        trials: Number of trials of random and tpe; 20 by default.
        metric: Metric to rank by; by default the dataset's own, or accuracy.
        wait: Whether to return once every job has ended, instead of at once.
        options: Those of `zoo.train`, the pruner and its options, and `max_parallel`.

    Returns:
        The group: `trials` ranks them, `best` is the first job of the best one.

    Raises:
        UsageError: For an invalid request.
        ZooError: As `JobHandle.wait` does.
    """
    training, pruning, queue = arguments.sweep_options(options)
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    if sampler == "tpe" and not wait:
        raise UsageError("The tpe sampler picks its trials while this waits.", "Use random.")
    wanted = SweepRequest(model, training, sampler, trials, metric, pruning)
    plan = plan_sweep(wanted, arguments.search_space(space))
    if plan.is_chosen_on_test:
        print_note(
            f"Trials are ranked by {plan.objective.metric} on the test rows, so that the best one "
            "looks better than it is; validation=0.1 ranks by rows held out of training."
        )
    dataset = plan.specs[0].dataset
    found = _submit(dataset, lambda db, c: driver.submit_sweep(db, c, plan, queue), wait)
    assert isinstance(found, GroupHandle)
    return found


def _submit(
    dataset: str, submitted: Callable[[Database, Settings], submit.Submitted], wait: bool
) -> JobHandle | GroupHandle:
    """Submit, and return the handle; an interrupt says how to return to the jobs."""
    with connect() as (db, chosen):
        if chosen.is_embedded and catalogue.is_to_fetch(dataset):
            datasets.raw(dataset)
        try:
            done = submitted(db, chosen)
        except submit.Left as left:
            with hint_on_interrupt(left.args[0]):
                raise KeyboardInterrupt from None
        # The job exists from here on, also if an interrupt comes before the waiting.
        with hint_on_interrupt(done.ref):
            return _handle_of(done, wait)


def _handle_of(done: submit.Submitted, wait: bool) -> JobHandle | GroupHandle:
    if done.note:
        print_note(done.note)
    handle = make_handle(done.group or done.ids[0], is_group=bool(done.group))
    handle.worker = done.worker
    return handle.wait_without_hint() if wait else handle


def get_job(ref: str = "@last") -> JobHandle | GroupHandle:
    """Find a job or group by reference.

    Args:
        ref: The beginning of an id, a name, `@last` or `@best:DATASET`.

    Raises:
        UsageError: If no job or group matches, or more than one.
    """
    with connect() as (db, _):
        found = jobs.find_reference(db, ref)
    return make_handle(found.id, is_group=isinstance(found, jobs.Group))


def list_jobs(
    *,
    sort: str = "-created_at",
    limit: int | None = None,
    **filters: Unpack[arguments.FilterKeywords],
) -> DataFrame:
    """List the jobs, filtered as `zoo jobs` filters them.

    Args:
        sort: Name of a field; `-NAME` for descending order.
        limit: Maximum number of jobs.
        filters: The filter options of `zoo jobs`: status, model, dataset, tag, group, user (one
            string or several), mine, since, until and where.

    Returns:
        One row per job, the newest first. Times are datetimes (UTC), `took` is a timedelta. Each
        number of the metrics is a column, each param a column `params.NAME`.

    Raises:
        UsageError: For an invalid filter.
    """
    words = arguments.filter_words(filters)
    with connect() as (db, _):
        wanted = words.filter(db)
        found = jobs.listing(db, wanted, sort=sort, limit=ALL_JOBS if limit is None else limit)
    return frames.jobs_frame(found)


def get_leaderboard(
    *,
    by: arguments.Strings = None,
    metric: str | None = None,
    **filters: Unpack[arguments.FilterKeywords],
) -> DataFrame:
    """Rank the best result of each model on each dataset, as `zoo leaderboard` does.

    Args:
        by: Names such as `params.epochs`: each of their values is ranked separately.
        metric: The metric to rank by; by default the dataset's own, or accuracy.
        filters: As for `list_jobs`.

    Returns:
        One row per model, dataset and value of `by`, the best first; the column `value` is that of
        the metric.

    Raises:
        UsageError: For an invalid filter, an unknown name in `by` or a metric that no job has.
    """
    words = arguments.filter_words(filters)
    with connect() as (db, _):
        wanted = words.filter(db)
        found = leaderboard_rows(db, wanted, by=arguments.as_list(by), metric=metric)
    return frames.leaderboard_frame(found)


def list_models() -> DataFrame:
    """List the models that can be trained: those installed here and those of the workers."""
    return frames.models_frame(catalogue.models())


def load_model(ref: str | JobHandle | GroupHandle = "@last") -> TrainedModel:
    """Load the trained model of a job; of a group, that of its best job.

    The hashes of its files are verified.

    Raises:
        UsageError: If there is no trained model, or its plugin is not installed here.
        ArtifactError: If its files are missing or damaged.
    """
    return trained_model.load(_ref(ref))


def compare(*refs: str | JobHandle | GroupHandle, metric: str | None = None) -> ComparedResults:
    """Compare results as `zoo compare` does: settings, metrics, and a paired significance test.

    Args:
        refs: Two or more jobs or groups; the others are compared with the first.
        metric: The metric that is tested; by default the dataset's own, or accuracy.

    Raises:
        UsageError: If there are fewer, or one has no result.
    """
    with connect() as (db, chosen):
        found = [jobs.find_reference(db, _ref(each), metric) for each in refs]
        return ComparedResults(comparison.compare_results(db, chosen, found, metric))


def export_model(
    ref: str | JobHandle | GroupHandle = "@last",
    path: str | Path | None = None,
    *,
    format: str | None = None,
    card: str | Path | None = None,
    license: str = "apache-2.0",
) -> Exported:
    """Export a trained model for other tools, as `zoo export` does.

    The file is read back, and its predictions are compared with those of the model.

    Args:
        ref: The training; of a group its best job is taken.
        path: A file, or a folder for the file and a model card.
        format: By default the suffix of the file: onnx, npz and others that the model knows.
        card: Path of a model card (Markdown).
        license: License in the model card.

    Returns:
        Path, size, sha256, and the number of test inputs with the same predicted labels.

    Raises:
        UsageError: If there is no trained model, or it cannot be exported so.
        ZooError: If a library is missing, or the predictions differ.
    """
    target = None if path is None else Path(path)
    with connect() as (db, chosen):
        trained = predictor.load_trained(db, chosen, _ref(ref))
        name, file = export.choose_target(trained.recipe.model, format, target)
        done = export.export_model(trained, name, file)
        written = file.with_name(model_card.FILE) if file.parent == target else None
        if place := Path(card) if card else written:
            model_card.write_card(chosen, trained, done, place, license)
    return done


def tag_jobs(
    refs: Refs = None,
    *,
    add: arguments.Strings = None,
    remove: arguments.Strings = None,
    **filters: Unpack[arguments.FilterKeywords],
) -> DataFrame:
    """Add tags to jobs and remove others, as `zoo tag` does.

    Args:
        refs: Jobs or groups.
        add: One tag or several.
        remove: One tag or several.
        filters: As for `list_jobs`, instead of `refs`.

    Returns:
        One row per job, as `list_jobs` has it.

    Raises:
        UsageError: If no tag is given, or neither or both of jobs and a filter are.
    """
    with connect() as (db, _):
        ids = removal.select(db, _refs(refs), filters)
        jobs.tag(db, ids, *arguments.tags(add, remove))
        return frames.jobs_frame(jobs.get_many(db, ids))


def note_jobs(refs: Refs, text: str, **filters: Unpack[arguments.FilterKeywords]) -> DataFrame:
    """Set the note of jobs, as `zoo note` does; an empty text removes it.

    Args:
        refs: Jobs or groups; None with a filter.
        text: The note.
        filters: As for `list_jobs`, instead of `refs`.

    Returns:
        One row per job, as `list_jobs` has it.

    Raises:
        UsageError: For a text with control characters or too long, or if neither or both of jobs
            and a filter are given.
    """
    with connect() as (db, _):
        ids = removal.select(db, _refs(refs), filters)
        jobs.set_note(db, ids, check_note(text))
        return frames.jobs_frame(jobs.get_many(db, ids))


def remove_jobs(
    refs: Refs = None,
    *,
    keep_metrics: bool = False,
    dry_run: bool = False,
    **filters: Unpack[arguments.FilterKeywords],
) -> DataFrame:
    """Remove ended jobs with their files, logs and metrics, as `zoo rm` does, without a question.

    Pinned jobs stay, and jobs that others need.

    Args:
        refs: Jobs or groups. If one of them cannot be removed, none is.
        keep_metrics: Remove the files alone; rows and metrics stay.
        dry_run: Change nothing.
        filters: As for `list_jobs`, instead of `refs`: the jobs that have ended and match.

    Returns:
        One row per job that was removed, or would be, as `list_jobs` had it.

    Raises:
        UsageError: If neither or both of jobs and a filter are given, or a job cannot be removed.
    """
    with connect() as (db, chosen):
        ids = removal.select(db, _refs(refs), filters)
        named = refs is not None
        if dry_run:
            found, _ = removal.removable(db, ids, keep_metrics=keep_metrics, named=named)
        else:
            found = removal.remove(db, chosen, ids, keep_metrics=keep_metrics, named=named)
    return frames.jobs_frame(found)


def pin_jobs(
    refs: Refs = None, *, pinned: bool = True, **filters: Unpack[arguments.FilterKeywords]
) -> DataFrame:
    """Protect jobs from `remove_jobs`, `zoo rm` and retention, as `zoo pin` does.

    Args:
        refs: Jobs or groups.
        pinned: False to unpin them.
        filters: As for `list_jobs`, instead of `refs`.

    Returns:
        One row per job, as `list_jobs` has it.

    Raises:
        UsageError: If neither or both of jobs and a filter are given.
    """
    with connect() as (db, _):
        found = removal.pin(db, removal.select(db, _refs(refs), filters), pinned=pinned)
    return frames.jobs_frame(found)


def _ref(given: str | JobHandle | GroupHandle) -> str:
    return given if isinstance(given, str) else given.id


def _refs(given: Refs) -> list[str]:
    if given is None:
        return []
    several = [given] if isinstance(given, str | JobHandle | GroupHandle) else given
    return [_ref(each) for each in several]
