"""Run a job again, report what differs from then, and compare the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo import jobs
from zoo.data import datasets
from zoo.errors import ArtifactError, UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Database, Group, Job
from zoo.jobs.environments import CodeVersion, Environment
from zoo.model import resolved
from zoo.plugins import registry
from zoo.settings import Settings
from zoo.training import provenance

TIMES = ("fit_seconds", "predict_us_per_image")
"""Metrics that differ from one run to the next."""


@dataclass(frozen=True)
class Rerun:
    """A job or group to be submitted again."""

    specs: list[JobSpec]
    group_kind: str | None
    pool: str
    tags: list[str]
    differences: list[str]
    """Known differences from then, a sentence each."""
    unknown: list[str]
    """Possible differences from then, a sentence each."""
    about: dict[str, Any]
    """A sweep's sampler and search space."""


@dataclass(frozen=True)
class Verdict:
    """The comparison of a job's result with that of its rerun."""

    job: str
    repeated_by: str
    verdict: str
    """`identical` (bit for bit in weights and predictions), `same metrics` or `differs`."""
    differs: dict[str, list[Any]]
    """[then, now] of each differing metric, and of the sha256 of differing files."""
    environment: list[str]
    """Differences between the two environments, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def plan_rerun(db: Database, done: Job | Group) -> Rerun:
    """Plan to submit a job or group again with the same specs.

    Raises:
        UsageError: If the model or one of its params no longer exists.
    """
    repeated = done.jobs if isinstance(done, Group) else [done]
    specs = [_spec(job) for job in repeated]
    first = repeated[0]
    differences = list(_differences(db, first, specs[0]))
    is_read = _contents_of(specs[0]) is not None
    unknown = [] if is_read else ["data: not read yet, may differ"]
    kind = done.kind if isinstance(done, Group) else None
    about: dict[str, Any] = {}
    if isinstance(done, Group) and done.about:
        # Only the existing trials: a driver of the tpe sampler would otherwise add more.
        about = done.about | {"trials": len(done.trials())}
    return Rerun(specs, kind, first.pool, first.tags, differences, unknown, about)


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
    then = provenance.environment_of(db, job) or Environment(plugin=job.spec["plugin"])
    owner = registry.catalogue().owners[spec.model]
    now = Environment(data=_contents_of(spec), plugin=owner.label, code=provenance.code(owner))
    yield from environment_differences(then, now)
    yield from _params_differences(job, spec)


def _contents_of(spec: JobSpec) -> str | None:
    """Return the fingerprint of the contents on which a job would run; None if it is not known."""
    return spec.contents or datasets.fingerprint(spec.dataset)


def _params_differences(job: Job, spec: JobSpec) -> Iterator[str]:
    then, changed = job.spec["params"], job.spec.get("changed")
    for name, value in spec.params.items():
        if name not in then:
            yield f"param {name}: not there then, now {value!r} (its default)"
        elif changed is not None and name not in changed and name in (spec.changed or []):
            yield f"param {name}: {value!r} was the default then, and is not now"


def environment_differences(then: Environment, now: Environment) -> Iterator[str]:
    """Describe the differences of two environments in what both record."""
    if then.plugin and now.plugin not in (None, then.plugin):
        yield f"plugin: {then.plugin} then, {now.plugin} now"
    if then.code and now.code and then.code.sha256 != now.code.sha256:
        yield f"code of the plugin: {code_name(then.code)} then, {code_name(now.code)} now"
    if then.data and now.data and then.data != now.data:
        yield f"data: contents {then.data[:12]} then, {now.data[:12]} now"
    # Older records list every imported package: only those in both records are compared.
    was, is_now = then.versions, now.versions
    both = was.keys() & is_now.keys()
    yield from _pairs({n: was[n] for n in both}, {n: is_now[n] for n in both})
    if then.machine and now.machine:
        yield from _pairs(then.machine.to_json(), now.machine.to_json())


def code_name(code: CodeVersion) -> str:
    """Return the name of a plugin's code: its commit if there are no changes, else its hash."""
    commit = (code.commit or "")[:12]
    if commit and not code.dirty:
        return f"commit {commit}"
    dirty = f" (commit {commit} and changes)" if commit else ""
    return f"sha256 {(code.sha256 or 'unknown')[:12]}{dirty}"


def _pairs(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(then.keys() | now.keys()):
        before, after = then.get(name, "not there"), now.get(name, "not there")
        if before != after:
            yield f"{name}: {before} then, {after} now"


def compare_results(db: Database, settings: Settings, then: Job, now: Job) -> Verdict:
    """Compare the results of a job and its rerun: metrics, and the sha256 of the files.

    Raises:
        UsageError: If one of the two has no result.
        ArtifactError: If a file is damaged.
    """
    for job in (then, now):
        if job.status != "succeeded":
            raise UsageError(f"The job {job.id[:8]} is {job.status}: it has no result to compare.")
    metrics = _differing(_reproducible(then.metrics), _reproducible(now.metrics))
    files = _differing(_hashes(settings, then), _hashes(settings, now))
    verdict = "differs" if metrics else "same metrics" if files else "identical"
    before, after = (provenance.environment_of(db, job) for job in (then, now))
    why = list(environment_differences(before, after)) if before and after else []
    return Verdict(then.id, now.id, verdict, files | metrics, why)


def _reproducible(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in TIMES}


def verify_files(settings: Settings, job: Job) -> None:
    """Verify weights and predictions of a job against its manifest, if there is one.

    Raises:
        ArtifactError: If a file is missing or was changed.
    """
    _hashes(settings, job)


def _hashes(settings: Settings, job: Job) -> dict[str, Any]:
    """Return the sha256 of the stored weights and predictions; `gone` without a manifest.

    Raises ArtifactError if a file does not match the manifest.
    """
    # fsspec takes 60 ms to import, which a search for an equal job does not need.
    from zoo.storage import artifacts

    where, sha256 = job.stored_artifact()
    if artifacts.seal(settings.artifacts, where) is None:
        return {"artifact": "gone"}
    found = artifacts.files(settings.artifacts, where, sha256)
    kept = sorted(name for name in found if name.startswith(("weights/", "predictions")))
    artifacts.check_files(settings.artifacts, where, sha256, kept)
    return {name: found[name]["sha256"] for name in kept}


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    pairs = {name: [then.get(name), now.get(name)] for name in sorted(then.keys() | now.keys())}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def find_reusable_result(
    db: Database, settings: Settings, specs: Sequence[JobSpec], group_kind: str | None
) -> Job | Group | None:
    """Find the newest job or group with the result of these specs and its artifact.

    Returns:
        None if there is none, or if the data or the model's plugin is not on this machine.
    """
    owner = registry.catalogue().owners.get(specs[0].model)
    data = _contents_of(specs[0])
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


def find_reusable_jobs(db: Database, settings: Settings, specs: Sequence[JobSpec]) -> list[Job]:
    """Find for each spec the newest job with its result, whatever group it is in.

    Returns:
        No job unless all of them are found.
    """
    found = []
    for spec in specs:
        earlier = find_reusable_result(db, settings, [spec], None)
        if not isinstance(earlier, Job):
            return []
        found.append(earlier)
    return found


def _has_artifact(settings: Settings, job: Job) -> bool:
    from zoo.storage import artifacts

    try:
        return artifacts.is_whole(settings.artifacts, *job.stored_artifact())
    except ArtifactError:
        return False
