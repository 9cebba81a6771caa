"""Jobs done again: what differs now, whether the result is the same, and who has it already."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.finished_jobs import ENVIRONMENT, a_spec, folds, job_of, succeed

from zoo import jobs, settings
from zoo.data import datasets
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.jobs import Database
from zoo.jobs.environments import Environment
from zoo.plugins import registry
from zoo.results import reproducibility
from zoo.training import provenance

PLUGIN = """
import zoo
class Mine(zoo.Model):
    name = "m"
    class Params(zoo.Params):
        a: int = zoo.param({default}, help="a number")
        {more}
@zoo.hookimpl
def register_models(register):
    register(Mine)
"""


@pytest.fixture
def db(empty_file: Path, home: Path) -> Database:
    home.mkdir()
    shutil.copy(empty_file, home)
    return jobs.connect()


@pytest.fixture
def plugin(home: Path) -> Path:
    folder = home / "plugins"
    folder.mkdir(parents=True)
    write(folder / "mine.py")
    return folder / "mine.py"


def write(file: Path, default: int = 1, more: str = "") -> None:
    file.write_text(PLUGIN.format(default=default, more=more))
    registry.catalogue.cache_clear()


def now(data: str = "d" * 64) -> dict[str, Any]:
    owner = registry.catalogue().owners["m"]
    return {"plugin": owner.label, "code": provenance.code(owner).to_json(), "data": data}


# --- rerun ---


def test_a_job_is_planned_again_as_it_was_and_nothing_differs(db: Database, plugin: Path) -> None:
    spec = a_spec(seed=7, params={"a": 3}, changed=["a"], plugin="mine 0")
    ref = succeed(db, [spec], environment=now())
    found = reproducibility.plan_rerun(db, jobs.find_reference(db, ref))
    label = registry.catalogue().owners["m"].label
    assert found.specs == [spec.model_copy(update={"plugin": label})]
    assert (found.group_kind, found.differences) == (None, [])


def test_what_differs_now_is_told_plugin_code_data_and_params(db: Database, plugin: Path) -> None:
    datasets.raw("digits")
    ref = succeed(db, [a_spec()], environment=now(data="0" * 64))
    write(plugin, default=5, more='b: str = zoo.param("new", help="another")')
    told = reproducibility.plan_rerun(db, jobs.find_reference(db, ref)).differences
    starts = ("plugin: mine ", "code of the plugin: sha256", "data: contents 000000000000", "param")
    assert all(any(line.startswith(start) for line in told) for start in starts)
    assert "param b: not there then, now 'new' (its default)" in told
    assert "param a: 1 was the default then, and is not now" in told


def test_a_param_that_is_gone_is_named(db: Database, plugin: Path) -> None:
    ref = succeed(db, [a_spec(params={"a": 1, "old": 2})], environment=now())
    with pytest.raises(UsageError, match="cannot be run again as it was: No param is called 'old'"):
        reproducibility.plan_rerun(db, jobs.find_reference(db, ref))


def test_a_group_is_planned_whole(db: Database, plugin: Path) -> None:
    ref = succeed(db, folds(3), kind="cv", accuracies=[0.9] * 3)
    found = reproducibility.plan_rerun(db, jobs.find_reference(db, ref))
    assert found.group_kind == "cv" and [spec.fold.index for spec in found.specs] == [0, 1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_a_sweep_is_planned_again_with_its_sampler_and_no_more_trials(
    db: Database, plugin: Path, sampler: str
) -> None:
    about = {"sampler": sampler, "trials": 9, "space": {"a": [1, 2]}, "fixed": {}}
    specs = [a_spec(params={"a": n}) for n in (1, 2)]
    _, ref = jobs.add(db, specs, group_kind="sweep", about=about)
    found = reproducibility.plan_rerun(db, jobs.get_group(db, str(ref)))
    assert found.group_kind == "sweep" and found.about == about | {"trials": 2}


# --- verify ---


def pair(db: Database, **second: Any) -> reproducibility.Verdict:
    chosen = settings.load()
    shared: dict[str, Any] = {
        "artifacts_url": chosen.artifacts,
        "files": {"weights_w.npz": b"weights"},
        "metrics": {"loss": 0.25, "fit_seconds": 1.0},
    }
    one = succeed(db, [a_spec()], **shared)
    two = succeed(db, [a_spec()], **shared | second)
    return reproducibility.compare_results(db, chosen, job_of(db, one), job_of(db, two))


def test_equal_bits_are_identical_however_long_each_took(db: Database) -> None:
    found = pair(db, metrics={"loss": 0.25, "fit_seconds": 99.0})
    assert (found.verdict, found.differs, found.environment) == ("identical", {}, [])


def test_other_weights_with_the_same_metrics_are_told_apart(db: Database) -> None:
    found = pair(db, files={"weights_w.npz": b"weighty"}, environment={"plugin": "p 2"})
    assert found.verdict == "same metrics" and list(found.differs) == ["weights/w.npz"]
    assert found.environment == ["plugin: p 1 then, p 2 now"]


def test_a_metric_that_differs_in_the_last_bit_differs(db: Database) -> None:
    found = pair(db, metrics={"loss": 0.25000000000000006})
    assert (found.verdict, found.differs) == ("differs", {"loss": [0.25, 0.25000000000000006]})


def test_an_artifact_that_is_gone_cannot_be_identical(db: Database) -> None:
    chosen = settings.load()
    one = succeed(db, [a_spec()], artifacts_url=chosen.artifacts)
    two = succeed(db, [a_spec()])
    found = reproducibility.compare_results(db, chosen, job_of(db, one), job_of(db, two))
    assert found.verdict == "same metrics" and found.differs["artifact"] == [None, "gone"]


# --- reuse ---


@pytest.fixture
def known(db: Database, plugin: Path) -> Database:
    datasets.raw("digits")
    return db


def prints(specs: list[JobSpec]) -> list[str]:
    owner = registry.catalogue().owners["m"]
    data = datasets.fingerprint("digits")
    assert data
    return [provenance.fingerprint(spec, data, owner) for spec in specs]


def stored(specs: list[JobSpec]) -> dict[str, Any]:
    """The fingerprints of jobs, and where their artifacts are to be."""
    return {"prints": prints(specs), "artifacts_url": settings.load().artifacts}


def test_an_equal_job_is_found_and_one_with_another_seed_is_not(known: Database) -> None:
    spec = a_spec()
    ref = succeed(known, [spec], **stored([spec]))
    found = reproducibility.find_reusable_result(
        known, settings.load(), [spec.model_copy(update={"timeout": 9.0})], None
    )
    assert found and found.id == ref
    assert (
        reproducibility.find_reusable_result(known, settings.load(), [a_spec(seed=1)], None) is None
    )


def test_a_job_without_weights_does_not_stand_in_for_one_with(known: Database) -> None:
    spec = a_spec(keep_weights=False)
    succeed(known, [spec], **stored([spec]))
    assert reproducibility.find_reusable_result(known, settings.load(), [spec], None)
    assert (
        reproducibility.find_reusable_result(
            known, settings.load(), [a_spec(keep_weights=True)], None
        )
        is None
    )


def test_a_group_is_found_only_whole_and_of_the_same_kind(known: Database) -> None:
    specs = folds(3)
    ref = succeed(known, specs, kind="cv", accuracies=[0.9] * 3, **stored(specs))
    found = reproducibility.find_reusable_result(known, settings.load(), specs, "cv")
    assert found and found.id == ref
    assert reproducibility.find_reusable_result(known, settings.load(), specs[:2], "cv") is None
    assert reproducibility.find_reusable_result(known, settings.load(), specs, "seeds") is None


@pytest.mark.parametrize("gone", ["all", "manifest.json", "predictions.npz", "cut"])
@pytest.mark.parametrize("kind", [None, "cv"])
def test_a_result_whose_files_are_gone_is_not_reused(
    known: Database, kind: str | None, gone: str
) -> None:
    specs = folds(2) if kind else [a_spec()]
    older = succeed(known, specs, kind=kind, accuracies=[0.9] * len(specs), **stored(specs))
    ref = succeed(known, specs, kind=kind, accuracies=[0.9] * len(specs), **stored(specs))
    found = reproducibility.find_reusable_result(known, settings.load(), specs, kind)
    assert found and found.id == ref
    place = Path(settings.load().artifacts) / str(jobs.members(found)[-1].artifact)
    if gone == "all":
        shutil.rmtree(place)
    elif gone == "cut":
        (place / "predictions.npz").write_bytes(b"")
    else:
        (place / gone).unlink()
    found = reproducibility.find_reusable_result(known, settings.load(), specs, kind)
    assert found and found.id == older


def test_code_that_was_edited_has_no_earlier_result(known: Database, plugin: Path) -> None:
    spec = a_spec()
    succeed(known, [spec], **stored([spec]))
    write(plugin, default=1, more="# edited")
    assert reproducibility.find_reusable_result(known, settings.load(), [spec], None) is None


def test_equal_jobs_are_looked_up_by_an_index(db: Database) -> None:
    with db.read() as rows:
        plan = rows.all(
            "EXPLAIN QUERY PLAN SELECT * FROM job WHERE fingerprint = :f AND status = 'succeeded'",
            {"f": "x"},
        )
    assert "job_fingerprint" in str(plan)


def test_a_record_of_the_environment_survives_the_row(db: Database) -> None:
    ref = succeed(db, [a_spec()])
    assert provenance.environment_of(db, job_of(db, ref)) == Environment.from_json(ENVIRONMENT)
    assert dataclasses.asdict(job_of(db, ref))["fingerprint"] == "f" * 64
