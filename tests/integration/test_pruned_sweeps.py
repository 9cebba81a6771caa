"""Sweeps whose trials pause, are promoted and pruned, with a real worker and runner."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_line import Zoo, share
from zoo_workers.housekeeping import remove_checkpoints_of_pruned
from zoo_workers.runner_pool import RunnerPool
from zoo_workers.slots import Supervisor

from benchmarks.asha import Asha
from zoo import jobs, settings
from zoo.errors import UsageError
from zoo.jobs import Database, Job, Pruner
from zoo.queue.options import TrainingOptions
from zoo.storage import artifacts
from zoo.sweeps.driver import SweepEstimate, estimate_sweep
from zoo.sweeps.plan import Plan, SweepRequest, plan_sweep
from zoo.sweeps.pruners import PruningOptions, expected_epochs
from zoo.sweeps.search_space import parse_search_space

TESTS = Path(__file__).parents[1]
RATES = "rate=0.0001,0.0003,0.0005,0.001,0.003,0.01,0.03,0.1,0.3"
THREE = "rate=0.1,0.2,0.3"
MEANT = TrainingOptions("digits", validation=0.2)


@pytest.fixture(scope="module")
def at_home(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for all tests of this file, as their processes are."""
    home = share(cache, tmp_path_factory.mktemp("pruned") / "home")
    (home / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(home))
        patch.setenv("ZOO_PLUGINS_DIR", str(TESTS / "plugins"))
        patch.setenv("ZOO_PLUGINS", "climber,sklearn")
        yield home


@pytest.fixture(scope="module")
def runners(at_home: Path) -> Iterator[RunnerPool]:
    found = RunnerPool(at_home / "work", jobs_per_runner=1000, memory_mb=2000)
    yield found
    found.stop()


@pytest.fixture
def slot(db: Database, runners: RunnerPool) -> Iterator[Supervisor]:
    """The supervisor of a worker with one slot."""
    own = dataclasses.replace(settings.load(), job_memory_mb=4000)
    found = Supervisor(db, own, runners, "w", "default", 1)
    models = ("climber", "sprinter")
    found.models, found.datasets = dict.fromkeys(models, "climber 1"), ["digits"]
    found.finalizer.writer.close()
    yield found
    found.close()


def planned(*texts: str, model: str = "climber", **options: object) -> Plan:
    asked = PruningOptions(**options)  # type: ignore[arg-type]
    return plan_sweep(SweepRequest(model, MEANT, pruning=asked), parse_search_space(texts))


def submit(db: Database, plan: Plan) -> str:
    _, group = jobs.add(db, plan.specs, group_kind="sweep", about=plan.about, pruner=plan.pruner)
    return str(group)


def weights(job: Job) -> bytes:
    where, sha256 = str(job.artifact), str(job.artifact_sha256)
    return artifacts.read(settings.load().artifacts, where, sha256, "weights/w.npy")


def test_a_sweep_with_rungs_finds_what_the_algorithm_finds(db: Database, slot: Supervisor) -> None:
    complete = submit(db, planned(RATES, "epochs=9"))
    pruned = submit(db, planned(RATES, pruner="asha", max_resource=9))
    slot.run_jobs()
    full = jobs.get_group(db, complete).jobs
    curves = [[step["val_accuracy"] for step in jobs.steps(db, job.id)] for job in full]
    assert all(len(each) == 9 for each in curves)
    rungs = [1, 3, 9]
    algorithm = Asha(rungs, 3, len(full))
    while wanted := algorithm.get_job():  # one slot
        trial, rung = wanted
        algorithm.report(trial, rung, curves[trial][rungs[rung] - 1])
    found = jobs.get_group(db, pruned)
    number = {job.id: n for n, job in enumerate(found.jobs)}
    entries = jobs.list_rungs(db, pruned)
    for rung, expected in enumerate(algorithm.values):
        assert {number[e.job_id]: e.value for e in entries if e.rung == rung} == expected
    (best,) = algorithm.values[-1]
    assert [job.status for job in found.jobs] == [
        "succeeded" if n == best else "pruned" for n in range(len(full))
    ]
    # Two pauses later, the same bits.
    winner = found.jobs[best]
    assert [each.outcome for each in jobs.attempts(db, winner.id)] == [
        "paused",
        "paused",
        "succeeded",
    ]
    assert winner.resumed_from == {"attempt": 2, "step": 3, "exact": True}
    assert weights(winner) == weights(full[best])
    assert winner.metrics["accuracy"] == full[best].metrics["accuracy"]
    assert found.status == "succeeded" and found.is_terminal
    assert not [job for job in found.jobs if job.status == "pruned" and job.artifact]
    # The checkpoints of the others are of no more use.
    url, removed = settings.load().artifacts, set[str]()
    kept = [job.id for job in found.jobs if artifacts.folders(url, f"{job.id}/checkpoints")]
    assert sorted(kept) == sorted(job.id for job in found.jobs if job is not winner)
    remove_checkpoints_of_pruned(db, url, removed)
    assert removed == set(kept)
    assert not [job for job in kept if artifacts.folders(url, f"{job}/checkpoints")]


def test_a_trial_that_falls_behind_ends_as_pruned(db: Database, slot: Supervisor) -> None:
    plan = planned(
        "rate=0.01,0.03,0.000001", "wait=0.15", "epochs=6", pruner="median", n_startup_trials=2
    )
    group = submit(db, plan)
    slot.run_jobs()
    found = jobs.get_group(db, group)
    assert [job.status for job in found.jobs] == ["succeeded", "succeeded", "pruned"]
    assert found.jobs[2].artifact is None and not found.jobs[2].metrics
    assert found.status == "succeeded"


def test_a_model_that_saves_no_checkpoint_fails_in_a_sentence(
    db: Database, slot: Supervisor
) -> None:
    group = submit(db, planned(THREE, model="sprinter", pruner="asha", max_resource=3))
    slot.run_jobs()
    first = jobs.get_group(db, group).jobs[0]
    assert (first.status, first.error_code) == ("failed", "cannot_pause")
    assert "saves no checkpoint after epoch 1" in str(first.error)


def test_a_model_that_reports_another_metric_fails_in_a_sentence(
    db: Database, slot: Supervisor
) -> None:
    plan = planned(THREE, pruner="asha", max_resource=3)
    pruner = Pruner("asha", "val_loss", False, max_resource=3)
    group = submit(db, dataclasses.replace(plan, pruner=pruner))
    slot.run_jobs()
    first = jobs.get_group(db, group).jobs[0]
    assert (first.status, first.error_code) == ("failed", "no_metric")
    assert "report no val_loss" in str(first.error) and "val_accuracy" in str(first.error)


def test_a_pause_that_was_not_committed_is_made_up_for_without_training(
    db: Database, slot: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = submit(db, planned(THREE, pruner="asha", max_resource=3))
    first = jobs.get_group(db, group).jobs[0]
    pause = jobs.pause_trial
    lost = []

    def loses_its_lease(*args: object, **named: object) -> str | None:
        if not lost:
            lost.append(jobs.expire_leases(db, "w"))
            jobs.reap(db, backoff=0)
        return pause(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "pause_trial", loses_its_lease)
    slot.run_jobs()
    one, two, *_ = jobs.attempts(db, first.id)
    assert (one.outcome, two.outcome) == ("lost", "paused")
    assert two.resumed_from == {"attempt": 1, "step": 1, "exact": True}
    assert [e.rung for e in jobs.list_rungs(db, group) if e.job_id == first.id][:1] == [0]
    assert jobs.get_group(db, group).is_terminal


@pytest.mark.parametrize(
    ("texts", "model", "options", "why"),
    [
        (["rate=0.1,0.2"], "logistic", {"pruner": "median"}, "uses no validation rows"),
        (["alpha=0.1,0.2"], "mlp", {"pruner": "asha"}, "has no param epochs"),
        (["rate=0.1,0.2", "epochs=2,3"], "climber", {"pruner": "asha"}, "cannot vary"),
        (
            ["rate=0.1,0.2", "epochs=5"],
            "climber",
            {"pruner": "asha", "max_resource": 9},
            "contradicts",
        ),
        (
            ["rate=0.1,0.2"],
            "climber",
            {"pruner": "asha", "max_resource": 3, "min_resource": 3},
            "before the first rung",
        ),
        (["rate=0.1,0.2"], "climber", {"min_resource": 2}, "--pruner asha"),
        (["rate=0.1,0.2"], "climber", {"pruner": "asha", "n_warmup_steps": 2}, "--pruner median"),
        (["rate=0.1,0.2"], "climber", {"pruner": "hyperband"}, "hyperband"),
        ([THREE], "climber", {"pruner": "asha", "max_resource": 9}, "at least 9 trials"),
    ],
)
def test_what_cannot_be_pruned_is_refused(
    at_home: Path, texts: list[str], model: str, options: dict[str, object], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        planned(*texts, model=model, **options)


def test_pruning_needs_validation_rows(at_home: Path) -> None:
    asked = SweepRequest(
        "climber", TrainingOptions("digits"), pruning=PruningOptions(pruner="asha")
    )
    with pytest.raises(UsageError, match=r"Add --validation 0\.1"):
        plan_sweep(asked, parse_search_space(["rate=0.1,0.2"]))
    several = dataclasses.replace(
        asked, training=TrainingOptions("digits", validation=0.2, seeds=2)
    )
    with pytest.raises(UsageError, match="one training"):
        plan_sweep(several, parse_search_space(["rate=0.1,0.2"]))


def test_all_trials_get_the_length_of_a_complete_training(at_home: Path) -> None:
    plan = planned(RATES, pruner="asha", max_resource=8)
    assert {spec.params["epochs"] for spec in plan.specs} == {8}
    assert plan.pruner == Pruner("asha", "val_accuracy", max_resource=8)
    assert plan.pruner.rungs == [1, 3]
    assert planned(RATES, pruner="asha").about["pruner"]["max_resource"] == 9


@pytest.mark.parametrize(("factor", "last", "trials"), [(3, 9, 12), (3, 27, 64), (2, 8, 100)])
def test_the_estimate_knows_what_rungs_save(factor: int, last: int, trials: int) -> None:
    pruner = Pruner("asha", "val_accuracy", max_resource=last, reduction_factor=factor)
    rungs = [*pruner.rungs, last]
    taken = []
    for seed in range(10):
        values = random.Random(seed).sample(range(trials), trials)
        algorithm = Asha(rungs, factor, trials)
        while wanted := algorithm.get_job():
            algorithm.report(*wanted, values[wanted[0]])
        counts = [len(each) for each in algorithm.values]
        taken.append(sum(n * (r - q) for n, r, q in zip(counts, rungs, [0, *rungs], strict=False)))
    assert expected_epochs(pruner, trials) == pytest.approx(sum(taken) / 10, rel=0.2)


def test_the_time_of_a_pruned_sweep_is_that_of_its_epochs(
    at_home: Path, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "usual_seconds", lambda *_: 9.0)

    def estimate(slots: int, **options: object) -> SweepEstimate:
        plan = planned(RATES, **options)
        return estimate_sweep(
            db, dataclasses.replace(settings.load(), slots=slots), plan, None, None
        )

    asha = estimate(2, pruner="asha", max_resource=9)
    # 9 trials of one epoch, 3.5 of two more, 1.2 of six more; an epoch takes a second.
    assert (asha.epochs, asha.most_epochs, asha.seconds) == (23, 81, pytest.approx(11.5, abs=0.1))
    assert estimate(9, pruner="asha", max_resource=9).seconds == 9
    median = estimate(2, pruner="median")
    assert (median.is_upper_bound, median.epochs, median.seconds) == (True, None, 45)


# --- trials that have been trained before; a space that is exhausted ---


def test_a_sweep_reuses_trials_that_have_been_trained(warm_zoo: Zoo) -> None:
    asked = ("sweep", "logistic", "--dataset", "digits", "-p", "max_iter=1")
    first = warm_zoo.json(*asked, "-p", "alpha=0.1,0.2", "--seeds", "2")
    three = (*asked, "-p", "alpha=0.1,0.2,0.3", "--reuse")
    more = warm_zoo.run(*three, "--seeds", "2", "--json")
    assert "2 of 3 trials are reused" in more.stderr and "3 trials, 2 jobs" in more.stderr
    found = json.loads(more.stdout)
    assert {job["id"] for job in first["jobs"]} < {job["id"] for job in found["jobs"]}
    assert [len(trial["jobs"]) for trial in found["trials"]] == [2, 2, 2]
    assert found["status"] == "succeeded"
    again = warm_zoo.run(*three)
    assert "nothing was submitted" in again.stderr
    assert again.stdout.startswith("grid of logistic on digits: 3 trials, 3 succeeded\n")
    # A trial of which only some seeds are there is trained as a whole.
    longer = warm_zoo.run(*three, "--seeds", "3", "--dry-run")
    assert "reused" not in longer.stderr and "3 trials, 9 jobs" in longer.stderr
    tpe = (*asked, "-p", "alpha=0.1,0.2", "--sampler", "tpe", "--reuse")
    assert "picks its trials one by one" in warm_zoo.run(*tpe, code=2).stderr


def test_a_sweep_that_has_tried_everything_says_so(warm_zoo: Zoo) -> None:
    pytest.importorskip("optuna")
    asked = ("sweep", "logistic", "--dataset", "digits", "-p", "max_iter=1")
    done = warm_zoo.run(*asked, "-p", "alpha=0.1,0.2", "--sampler", "tpe", "--trials", "5")
    assert "exhausted after 2 trials" in done.stderr
    assert "jobs have ended: best accuracy 0." in done.stderr
    assert "2 trials (all that there are), 2 succeeded" in done.stdout
    shown = warm_zoo.run("show", done.stdout.split()[0])
    assert "all that there are" in shown.stdout
