"""References to jobs and groups on the command line: a prefix of an id, a name, or @last."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo import settings
from zoo.dataset_names import canonical, split_version
from zoo.errors import UsageError, unknown
from zoo.jobs.database import Database
from zoo.jobs.filters import Values
from zoo.jobs.groups import Group, best_first, members
from zoo.jobs.queries import get, get_group, job_not_found, listing
from zoo.jobs.ranking import objective_of
from zoo.jobs.records import Job
from zoo.param_values import as_options, pairs, typed_options
from zoo.terminal_text import is_plain, one_line

if TYPE_CHECKING:
    from zoo.job_spec import JobSpec

BAD_ENDS = ("failed", "timed_out", "lost")
NAMED_REFERENCES = (
    *("@last", "@last-failed", "@best:DATASET", "@best:DATASET/MODEL"),
    "@best:DATASET:METRIC",
)


def find_reference(db: Database, ref: str, metric: str | None = None) -> Job | Group:
    """Return the job or group of a reference: a prefix of its id, its name, or a word with @.

    A name is looked for only if no id begins with it. A retry takes over the name of the job that
    it repeats.

    @last is the newest job or its group; @last-failed the newest job that failed, timed out or was
    lost: of the jobs of the user of this process, or, if there is none, of those without an owner,
    as older versions have submitted them. @best:DATASET is the best training on the test images of
    the newest contents of the dataset, and @best:DATASET@VERSION on those of a version;
    @best:DATASET:METRIC the best by a metric.

    Args:
        ref: The reference.
        metric: The metric of a @best without one; by default the dataset's own, or accuracy.

    Raises:
        UsageError: There is none, or more than one, or no job has the metric.
    """
    if ref.startswith("@"):
        return _find_word(db, ref, metric)
    is_hex = bool(ref) and all(c in "0123456789abcdef" for c in ref)
    found = _find_by_prefix(db, ref) if is_hex else None
    found = found or _find_by_name(db, ref)
    if found is None:
        raise job_not_found(ref)
    return found


def _find_by_prefix(db: Database, ref: str) -> Job | Group | None:
    # A range always uses the index, unlike LIKE.
    starting = "SELECT id FROM {} WHERE id >= :ref AND id < :end LIMIT 6"
    with db.read() as rows:
        ends = {"ref": ref, "end": ref + "g"}
        jobs, groups = (
            [row["id"] for row in rows.all(starting.format(table), ends)]
            for table in ("job", "job_group")
        )
    found = [*jobs, *groups]
    if not found:
        return None
    if len(found) > 1:
        some = ", ".join(each[: len(ref) + 4] for each in found[:5])
        raise UsageError(
            f"'{ref}' is the beginning of several ids ({some}).", "Give one more letter."
        )
    return get(db, found[0]) if jobs else get_group(db, found[0])


def _find_by_name(db: Database, ref: str) -> Job | Group | None:
    name = one_line(ref)
    # Jobs of one group are one result; the newest first.
    query = """
        SELECT coalesce(group_id, id) AS id, max(group_id) AS group_id FROM job
        WHERE name = :name
            AND NOT EXISTS (SELECT 1 FROM job AS again WHERE again.retry_of = job.id)
        GROUP BY coalesce(group_id, id) ORDER BY max(seq) DESC LIMIT 6"""
    with db.read() as rows:
        found = rows.all(query, {"name": name}) if name and is_plain(name) else []
    if len(found) > 1:
        some = ", ".join(row["id"][:8] for row in found[:5])
        more = " and others" if len(found) > 5 else ""
        raise UsageError(f"Several have the name '{name}': {some}{more}.", "Give one of the ids.")
    if not found:
        return None
    return get_group(db, found[0]["id"]) if found[0]["group_id"] else get(db, found[0]["id"])


def find_by_metric(db: Database, ref: str, metric: str | None) -> Job | Group:
    """Return the job or group of a reference, see `find_reference`.

    Raises UsageError also for a metric beside a reference that is no @best:DATASET.
    """
    if metric and not ref.startswith("@best:"):
        raise UsageError(
            f"A metric does not choose among one: {ref}.", f"Write @best:DATASET:{metric}."
        )
    return find_reference(db, ref, metric)


def find_training(db: Database, asked: Job | Group | str, metric: str | None = None) -> Job:
    """Return the training whose model a reference, job or group stands for.

    An evaluation stands for the training that it judged, a group for the best of its jobs that kept
    weights. `metric` is that of a reference @best.

    Raises:
        UsageError: If there is none.
    """
    if isinstance(asked, str):
        asked = find_by_metric(db, asked, metric)
    if isinstance(asked, Group):
        kept = [job for job in asked.jobs if job.accuracy is not None and _has_weights(job)]
        asked = best_first(kept, asked.objective)[0] if kept else asked
    elif asked.kind == "evaluate":
        asked = get(db, asked.spec["source"]["job"])
    return with_weights(asked)[0]


def _has_weights(job: Job) -> bool:
    return job.kind == "train" and bool(job.artifact and job.spec.get("keep_weights", True))


def found_text(ref: str, job: Job) -> str:
    """Return which job was found by a reference; empty for an id, which says so itself."""
    if job.id.startswith(ref):
        return ""
    about = [job.model, "on", job.dataset_label, *pairs(job.chosen)]
    result = "" if job.accuracy is None else f", accuracy {job.accuracy:.4f}"
    return f"{ref} is the job {job.id[:8]}: {' '.join(about)}{result}."


def find_jobs(db: Database, refs: Sequence[str]) -> list[Job]:
    """Return the jobs that these references name, those of groups included, each once.

    Raises UsageError as `find_reference` does.
    """
    found = {job.id: job for ref in refs for job in members(find_reference(db, ref))}
    return list(found.values())


def recent(
    db: Database,
    begin: str,
    limit: int = 30,
    *,
    statuses: Sequence[str] = (),
    have_weights: bool = False,
) -> list[tuple[str, str]]:
    """List the newest jobs and groups whose ids have a prefix: short ids and descriptions.

    With `statuses`, only jobs with one of them and their groups; with `have_weights`, only
    trainings that kept their weights and groups with one.
    """
    if have_weights:
        statuses = ("succeeded",)
    among = ", ".join(f":status{i}" for i in range(len(statuses)))
    newest = f"""
        SELECT id, model, dataset, status, group_id, spec, seq FROM job
        WHERE {{}} {f"AND status IN ({among})" if statuses else ""}
            {"AND kind = 'train'" if have_weights else ""}
        ORDER BY seq DESC LIMIT :limit"""
    within = "{0} >= :begin AND {0} < :end"
    values: dict[str, object] = {
        "begin": begin,
        "end": begin + "g",
        "limit": limit * 10 if have_weights else limit,
    }
    values |= {f"status{i}": status for i, status in enumerate(statuses)}
    with db.read() as rows:
        found = rows.all(newest.format(within.format("id") if begin else "1 = 1"), values)
        grouped = within.format("group_id") if begin else "group_id IS NOT NULL"
        members = rows.all(newest.format(grouped), values)
    if have_weights:  # folds and trials of sweeps keep none
        found, members = ([row for row in each if _keeps(row)][:limit] for each in (found, members))
    named = {row["id"][:8]: f"{row['model']} on {row['dataset']}, {row['status']}" for row in found}
    for row in members:
        named.setdefault(row["group_id"][:8], f"group of {row['model']} on {row['dataset']}")
    return list(named.items())


def _keeps(row: Mapping[str, Any]) -> bool:
    return bool(json.loads(row["spec"]).get("keep_weights", True))


def recent_datasets(db: Database, limit: int = 1000) -> list[str]:
    """List the datasets of the newest trainings that have succeeded, newest first."""
    query = """
        SELECT dataset FROM job WHERE kind = 'train' AND status = 'succeeded'
        ORDER BY seq DESC LIMIT :limit"""
    with db.read() as rows:
        return list(dict.fromkeys(row["dataset"] for row in rows.all(query, {"limit": limit})))


def recent_tags(db: Database, limit: int = 1000) -> list[str]:
    """List the tags of the newest jobs that have any, newest first."""
    query = "SELECT tags FROM job WHERE tags <> '[]' ORDER BY seq DESC LIMIT :limit"
    with db.read() as rows:
        found = rows.all(query, {"limit": limit})
    return list(dict.fromkeys(tag for row in found for tag in json.loads(row["tags"])))


def recent_users(db: Database, limit: int = 1000) -> list[str]:
    """List the owners of the newest jobs that have one, newest first."""
    query = """
        SELECT submitted_by FROM job WHERE submitted_by IS NOT NULL
        ORDER BY seq DESC LIMIT :limit"""
    with db.read() as rows:
        found = rows.all(query, {"limit": limit})
    return list(dict.fromkeys(row["submitted_by"] for row in found))


def recent_names(db: Database, limit: int = 100) -> list[str]:
    """List the names of the newest jobs that have one, newest first."""
    query = "SELECT name FROM job WHERE name IS NOT NULL ORDER BY seq DESC LIMIT :limit"
    with db.read() as rows:
        found = rows.all(query, {"limit": limit})
    return list(dict.fromkeys(row["name"] for row in found))


def _find_word(db: Database, ref: str, metric: str | None) -> Job | Group:
    word, colon, rest = ref.partition(":")
    words: dict[str, Callable[[], Job | Group]] = {
        "@last": lambda: _last(db),
        "@last-failed": lambda: _last_failed(db),
        "@best": lambda: _best(db, rest, metric),
    }
    if word not in words or bool(colon) != (word == "@best"):
        raise unknown("reference", ref, NAMED_REFERENCES)
    return words[word]()


def _last(db: Database) -> Job | Group:
    newest = _newest_own(db)
    if newest is None and listing(db, limit=1):
        raise UsageError(
            f"No job was submitted by {settings.load().submitter}.",
            "`zoo jobs` lists those of others.",
        )
    if newest is None:
        raise UsageError("There is no job yet.", "Submit one: `zoo train logistic`.")
    return get_group(db, newest.group) if newest.group else newest


def _last_failed(db: Database) -> Job:
    found = _newest_own(db, statuses=BAD_ENDS)
    if found is None:
        others = " of yours" if listing(db, statuses=BAD_ENDS, limit=1) else ""
        raise UsageError(f"No job{others} has failed.", "`zoo jobs` lists them all.")
    return found


def _newest_own(db: Database, *, statuses: Sequence[str] = ()) -> Job | None:
    """Return the newest job of the user of this process, else the newest without an owner."""
    values = Values(db.sql)
    is_own = f"submitted_by = {values.add(settings.load().submitter)}"
    ended = f"AND {values.among('status', statuses)}" if statuses else ""
    # The second query looks at all rows if every job has an owner: rarely needed.
    for whose in (is_own, "submitted_by IS NULL"):
        query = f"SELECT id FROM job WHERE {whose} {ended} ORDER BY seq DESC LIMIT 1"
        with db.read() as rows:
            found = rows.value(query, values.named)
        if found:
            return get(db, found)
    return None


class _Asked(NamedTuple):
    """What a reference @best asks for."""

    dataset: str
    model: str = ""
    metric: str | None = None


def _best(db: Database, rest: str, metric: str | None) -> Job:
    """Return the best training on test images; of equal ones the first."""
    readings = _readings(rest, metric)
    for each in readings:
        is_likely = each.metric in (None, metric) or _is_trained(db, each.dataset)
        if is_likely and (found := _best_of(db, each)):
            return get(db, found)
    # No result: the error names the most likely reading.
    likely = readings[0] if ":" in rest else readings[-1]
    asked = next((each for each in readings[::-1] if _is_trained(db, each.dataset)), likely)
    what = f"of '{asked.model}' on '{asked.dataset}'" if asked.model else f"on '{asked.dataset}'"
    older = _best_of(db, asked, any_contents=True)
    of = " on its newest contents" if older else ""
    having = f" and has the metric '{asked.metric}'" if asked.metric else ""
    fold = None if older else _fold_of(db, asked)
    hint = "`zoo leaderboard` lists what there is."
    if fold:
        what += " but folds of a cross-validation"
        hint = _how_to_keep_weights(get(db, fold))
    raise UsageError(f"No training {what} has succeeded{of}{having}.", hint)


def _fold_of(db: Database, asked: _Asked) -> str | None:
    """Return a fold that has succeeded where nothing else has."""
    name, version = split_version(asked.dataset)
    if version is not None or asked.metric:
        return None
    with db.read() as rows:
        query = f"""
            SELECT id FROM job
            WHERE accuracy IS NOT NULL AND kind = 'train' AND dataset = :dataset AND ranked = 0
                {"AND model = :model" if asked.model else ""}
            ORDER BY seq DESC LIMIT 1"""
        found: str | None = rows.value(query, {"dataset": name, "model": asked.model})
    return found if found and get(db, found).spec["fold"] else None


def has_best(db: Database, dataset: str, model: str = "") -> bool:
    """Return whether `@best:DATASET`, or `@best:DATASET/MODEL`, names a training."""
    return _best_of(db, _Asked(dataset, model)) is not None


def _readings(rest: str, metric: str | None) -> list[_Asked]:
    """Return what DATASET, DATASET/MODEL or either with :METRIC may ask for.

    A path has slashes and colons, too.
    """
    found = [_Asked(*each, metric) for each in _split_model(rest)]
    whole, colon, name = rest.rpartition(":")
    if colon and whole and name.isidentifier() and metric is None:
        found += [_Asked(*each, name) for each in _split_model(whole)]
    return found


def _split_model(rest: str) -> list[tuple[str, str]]:
    dataset, _, model = rest.rpartition("/")
    whole = [(canonical(rest), "")]
    return [*whole, (canonical(dataset), model)] if dataset and model else whole


def _is_trained(db: Database, dataset: str) -> bool:
    dataset, _ = split_version(dataset)
    with db.read() as rows:
        found = rows.value("SELECT 1 FROM job WHERE dataset = :name LIMIT 1", {"name": dataset})
    return found is not None


def _best_of(db: Database, asked: _Asked, *, any_contents: bool = False) -> str | None:
    name, version = split_version(asked.dataset)
    contents = "" if any_contents else NEWEST if version is None else OLDER
    with db.read() as rows:
        by = objective_of(rows, name, asked.metric)
        join = "" if by.is_accuracy else "JOIN metric ON job_id = job.id AND metric.name = :metric"
        order = "DESC" if by.higher_is_better else "ASC"
        best = f"""
            SELECT id FROM job {join}
            WHERE accuracy IS NOT NULL AND kind = 'train' AND dataset = :dataset{contents}
                {"AND model = :model" if asked.model else ""}
                AND (ranked = 1 OR group_id IN (SELECT id FROM job_group WHERE kind = 'seeds'))
            ORDER BY {"accuracy" if by.is_accuracy else "metric.value"} {order}, seq LIMIT 1"""
        values = {"dataset": name, "version": version, "model": asked.model, "metric": by.metric}
        found: str | None = rows.value(best, values)
    return found


NEWEST = """
            AND contents = coalesce(
                (SELECT fingerprint FROM dataset WHERE name = :dataset AND removed_at IS NULL
                    ORDER BY version DESC LIMIT 1),
                (SELECT contents FROM job WHERE dataset = :dataset AND accuracy IS NOT NULL
                    ORDER BY started_at DESC, seq DESC LIMIT 1))"""
"""Condition that the job was evaluated on the newest contents of the dataset."""
OLDER = """
            AND contents = (SELECT fingerprint FROM dataset
                WHERE name = :dataset AND version = :version)"""
"""Condition that the job was evaluated on the contents of a version of the dataset."""


def with_weights(trained: Job | Group) -> tuple[Job, JobSpec]:
    """Return a training that kept its weights, with its spec.

    Raises UsageError if the job or group has no weights.
    """
    if isinstance(trained, Group):
        raise _no_model(trained)
    if trained.removal_note and trained.kind == "train":
        raise UsageError(trained.removal_note, "Train it again: `zoo rerun` submits it unchanged.")
    if trained.kind != "train" or trained.status != "succeeded" or not trained.artifact:
        raise UsageError(
            f"The {trained.kind} job {trained.id[:8]} is {trained.status}: it has no model.",
            "`zoo jobs --status succeeded` lists those that have.",
        )
    from zoo.job_spec import JobSpec  # pydantic, for which a completion need not wait

    spec = JobSpec.parse_object(trained.spec)
    if not spec.keep_weights:
        raise UsageError(
            f"The job {trained.id[:8]} kept no weights: there is no model to load.",
            _how_to_keep_weights(trained),
        )
    return trained, spec


def _no_model(group: Group) -> UsageError:
    """Return the error for a group none of whose jobs has weights."""
    ended = [job for job in group.jobs if job.status == "succeeded" and job.kind == "train"]
    if not ended:
        return UsageError(
            f"No job of the group {group.id[:8]} has succeeded: there is no model.",
            f"`zoo show {group.id[:8]}` lists its jobs.",
        )
    removed = [job for job in ended if job.removal_note]
    if removed:
        return UsageError(
            removed[0].removal_note, "Train it again: `zoo rerun` submits it unchanged."
        )
    return UsageError(
        f"The jobs of the group {group.id[:8]} kept no weights: there is no model to load.",
        _how_to_keep_weights(best_first(ended, group.objective)[0]),
    )


def _how_to_keep_weights(job: Job) -> str:
    """Return which command trains this model so that it can be loaded."""
    words = ["zoo", "train", job.model, *as_options(job.changed), "--dataset", job.dataset_label]
    command = shlex.join([*words, *typed_options(job.spec)])
    if not job.spec["fold"]:
        return f"Train it so that they are kept: `{command} --keep-weights`."
    k = job.spec["fold"]["k"]
    return (
        f"Train on all rows of the split: `{command}`; or keep the weights of the folds: "
        f"`{command} --cv {k} --keep-weights`."
    )
