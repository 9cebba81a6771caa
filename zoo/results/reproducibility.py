"""Do a job again: as it was, with what differs now; and find out whether the result is the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo import jobs
from zoo.canonical_json import object_in
from zoo.data import datasets
from zoo.errors import ArtifactError, UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Group, Job
from zoo.model import resolved
from zoo.plugins import registry
from zoo.settings import Settings
from zoo.training import provenance

TIMES = ("fit_seconds", "predict_us_per_image")
"""Metrics that differ from one run to the next."""


@dataclass(frozen=True)
class Repetition:
    """A job or group as it would be submitted again."""

    specs: list[JobSpec]
    group_kind: str | None
    pool: str
    tags: list[str]
    differences: list[str]
    """What is not as it was, a sentence each."""
    unknown: list[str]
    """What may not be as it was, a sentence each."""
    about: dict[str, Any]
    """Of a sweep: its sampler and space."""


@dataclass(frozen=True)
class Verdict:
    """How the result of a job compares with that of its repetition."""

    job: str
    repeated_by: str
    verdict: str
    """`identical`: every bit of weights and predictions; `same metrics`; or `differs`."""
    differs: dict[str, list[Any]]
    """[then, now] of each metric, and of the sha256 of weights and predictions, that differs."""
    environment: list[str]
    """What was not the same where the two ran, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def plan(db: Database, done: Job | Group) -> Repetition:
    """What it takes to submit the job or group once more, as it was.

    Raises UsageError if the model or one of its params is gone.
    """
    repeated = done.jobs if isinstance(done, Group) else [done]
    specs = [_spec(job) for job in repeated]
    first = repeated[0]
    told = list(_differences(db, first, specs[0]))
    is_read = datasets.fingerprint(specs[0].dataset) is not None
    unknown = [] if is_read else ["data: not read yet, may differ"]
    kind = done.kind if isinstance(done, Group) else None
    about: dict[str, Any] = {}
    if isinstance(done, Group) and done.about:
        # Of the tpe sampler only the trials that there are: another driver would ask for more.
        about = done.about | {"trials": len(done.trials())}
    return Repetition(specs, kind, first.pool, first.tags, told, unknown, about)


def _spec(job: Job) -> JobSpec:
    spec = JobSpec.parse_object(job.spec)
    recipe = registry.model(spec.model)
    try:
        values, changed = resolved(recipe.Params, spec.params)
    except UsageError as error:
        raise UsageError(
            f"The job {job.id[:8]} cannot be run again as it was: {error.message}", error.hint
        ) from None
    now = {
        "params": values,
        "changed": changed,
        "plugin": registry.catalogue().owners[spec.model].label,
    }
    return JobSpec.parse_object(spec.model_copy(update=now).model_dump())


def _differences(db: Database, job: Job, spec: JobSpec) -> Iterator[str]:
    then = provenance.environment_of(db, job)
    owner = registry.catalogue().owners[spec.model]
    now = {"plugin": owner.label, "code": dict(provenance.code(owner))}
    if data := datasets.fingerprint(spec.dataset):
        now["data"] = data
    known = {name: then.get(name) for name in now} if then else {"plugin": job.spec["plugin"]}
    yield from environment_differences(known, now)
    yield from _params_differences(job, spec)


def _params_differences(job: Job, spec: JobSpec) -> Iterator[str]:
    then, changed = job.spec["params"], job.spec.get("changed")
    for name, value in spec.params.items():
        if name not in then:
            yield f"param {name}: not there then, now {value!r} (its default)"
        elif changed is not None and name not in changed and name in (spec.changed or []):
            yield f"param {name}: {value!r} was the default then, and is not now"


def environment_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say what is not the same in two environments, as far as both tell of it."""
    if then.get("plugin") and now.get("plugin") not in (None, then["plugin"]):
        yield f"plugin: {then['plugin']} then, {now['plugin']} now"
    before, after = object_in(then, "code"), object_in(now, "code")
    if before and after and before.get("sha256") != after.get("sha256"):
        yield f"code of the plugin: {code_name(before)} then, {code_name(after)} now"
    if then.get("data") and now.get("data") not in (None, then["data"]):
        yield f"data: contents {str(then['data'])[:12]} then, {str(now['data'])[:12]} now"
    # Records of before list whatever the process had imported: only what both tell counts.
    was, is_now = object_in(then, "versions"), object_in(now, "versions")
    both = was.keys() & is_now.keys()
    yield from _pairs({n: was[n] for n in both}, {n: is_now[n] for n in both})
    if (before := object_in(then, "machine")) and (after := object_in(now, "machine")):
        yield from _pairs(before, after)


def code_name(code: Mapping[str, Any]) -> str:
    """A plugin's code in a word: its commit if it is all in git, else its hash."""
    commit = str(code.get("commit") or "")[:12]
    if commit and not code.get("dirty"):
        return f"commit {commit}"
    dirty = f" (commit {commit} and changes)" if commit else ""
    return f"sha256 {str(code.get('sha256', 'unknown'))[:12]}{dirty}"


def _pairs(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(then.keys() | now.keys()):
        before, after = then.get(name, "not there"), now.get(name, "not there")
        if before != after:
            yield f"{name}: {before} then, {after} now"


def compare(db: Database, settings: Settings, then: Job, now: Job) -> Verdict:
    """Compare the results of a job and of its repetition, weights and predictions by their sha256.

    Raises UsageError if one of the two has no result, ArtifactError if a file of one is damaged.
    """
    for job in (then, now):
        if job.status != "succeeded":
            raise UsageError(f"The job {job.id[:8]} is {job.status}: it has no result to compare.")
    metrics = _differing(_lasting(then.metrics), _lasting(now.metrics))
    files = _differing(_hashes(settings, then), _hashes(settings, now))
    word = "differs" if metrics else "same metrics" if files else "identical"
    told = (provenance.environment_of(db, job) for job in (then, now))
    why = list(environment_differences(*told))
    return Verdict(then.id, now.id, word, files | metrics, why)


def _lasting(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in TIMES}


def check_files(settings: Settings, job: Job) -> None:
    """Check weights and predictions of a job against its manifest; nothing if that is gone.

    Raises ArtifactError if one of them is missing or was changed.
    """
    _hashes(settings, job)


def _hashes(settings: Settings, job: Job) -> dict[str, Any]:
    """The sha256 of weights and predictions as they are stored now; `gone` without a manifest.

    Raises ArtifactError if one of them is not what the manifest says.
    """
    # Its library takes 60 ms to import, which who only asks for an equal job would wait for.
    from zoo.storage import artifacts

    where, sha256 = str(job.artifact), str(job.artifact_sha256)
    if artifacts.seal(settings.artifacts, where) is None:
        return {"artifact": "gone"}
    found = artifacts.files(settings.artifacts, where, sha256)
    kept = sorted(name for name in found if name.startswith(("weights/", "predictions")))
    artifacts.check_files(settings.artifacts, where, sha256, kept)
    return {name: found[name]["sha256"] for name in kept}


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    pairs = {name: [then.get(name), now.get(name)] for name in sorted(then.keys() | now.keys())}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def earlier(
    db: Database, settings: Settings, specs: Sequence[JobSpec], group_kind: str | None
) -> Job | Group | None:
    """The job or group that already has the result which these specs ask for, the newest.

    Its artifact must still be there. None also if this machine cannot know: it has not the data,
    or not the model's plugin.
    """
    owner = registry.catalogue().owners.get(specs[0].model)
    data = datasets.fingerprint(specs[0].dataset)
    if owner is None or data is None:
        return None
    first = provenance.fingerprint(specs[0], data, owner)
    keep = specs[0].keep_weights
    found = [job for job in jobs.list_by_fingerprint(db, first) if job.spec["keep_weights"] >= keep]
    if group_kind is None:
        return next((job for job in found if _has_artifact(settings, job)), None)
    wanted = sorted(provenance.fingerprint(spec, data, owner) for spec in specs) if found else []
    for group_id in dict.fromkeys(job.group for job in found if job.group):
        group = jobs.get_group(db, group_id)
        prints = sorted(str(j.fingerprint) for j in group.jobs)
        if group.kind != group_kind or prints != wanted:
            continue
        if all(_has_artifact(settings, job) for job in group.jobs):
            return group
    return None


def _has_artifact(settings: Settings, job: Job) -> bool:
    from zoo.storage import artifacts

    try:
        return artifacts.is_whole(settings.artifacts, str(job.artifact), str(job.artifact_sha256))
    except ArtifactError:
        return False
