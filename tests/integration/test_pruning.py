"""Trials that wait at a rung, are promoted, or are pruned: decided from the rows alone."""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers import servers
from helpers.command_line import Zoo
from helpers.job_rows import spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.asha import Asha
from zoo import jobs
from zoo.jobs import Claim, Database, Outcome, ProgressUpdate, Pruner, QueueOptions, schema

ASHA = Pruner("asha", "val_accuracy", max_resource=9)
"""Rungs at 1 and 3 epochs; trials end at 9."""


def sweep(
    db: Database, trials: int, pruner: Pruner = ASHA, **options: Any
) -> tuple[list[str], str]:
    ids, group = jobs.add(
        db,
        [spec(seed=n) for n in range(trials)],
        QueueOptions(**options),
        group_kind="sweep",
        pruner=pruner,
    )
    assert group is not None
    return ids, group


def claim(db: Database) -> Claim | None:
    taken = jobs.claim(
        db, pool="default", models={"logistic": "p"}, datasets=["digits"], worker="w", lease=60
    )
    return taken and taken[0]


def succeed(db: Database, held: Claim, value: float) -> None:
    metrics = {} if math.isnan(value) else {"val_accuracy": value}
    assert jobs.finish(db, held, Outcome("succeeded", metrics, "a", "0" * 64))


def pause_next(db: Database, value: float | None) -> tuple[str, str | None]:
    held = claim(db)
    assert held is not None
    return held.job, jobs.pause_trial(db, held, metrics={"val_accuracy": value})


def statuses(db: Database, ids: list[str]) -> list[str]:
    return [jobs.get(db, each).listed_status for each in ids]


# --- ASHA ---


def play(db: Database, pruner: Pruner, values: list[float], workers: int, order: list[int]) -> None:
    """Run the algorithm and the rows side by side; each worker must get the same trial."""
    rungs = [*pruner.rungs, pruner.max_resource]
    ids, group = sweep(db, len(values), pruner)
    number = {job: n for n, job in enumerate(ids)}
    sign = 1 if pruner.maximize else -1
    algorithm = Asha(rungs, pruner.reduction_factor, len(values))
    running: list[tuple[Claim, int, int]] = []
    turn = 0
    while True:
        while len(running) < workers:
            wanted, held = algorithm.get_job(), claim(db)
            assert (held is None) == (wanted is None)
            if held is None or wanted is None:
                break
            trial, rung = wanted
            assert number[held.job] == trial
            assert jobs.get(db, held.job).pause_at == (
                None if rung == len(rungs) - 1 else rungs[rung]
            )
            running.append((held, trial, rung))
        if not running:
            break
        held, trial, rung = running.pop(order[turn % len(order)] % len(running))
        turn += 1
        value = values[trial]
        if rung == len(rungs) - 1:
            succeed(db, held, value)
        else:
            stored = None if math.isnan(value) else value
            assert jobs.pause_trial(db, held, metrics={pruner.metric: stored}) is not None
        algorithm.report(trial, rung, sign * value)
    entries = jobs.list_rungs(db, group)
    for rung, expected in enumerate(algorithm.values):
        here = [each for each in entries if each.rung == rung]
        assert [number[each.job_id] for each in here] == list(expected)
        went_on = {number[each.job_id] for each in here if each.promoted}
        assert went_on == (set(expected) if rung == len(rungs) - 1 else algorithm.promoted[rung])
    assert [each.arrival for each in entries] == list(range(1, len(entries) + 1))
    ended = {number[job.id]: job.status for job in jobs.get_group(db, group).jobs}
    complete = algorithm.values[-1]
    assert ended == {n: "succeeded" if n in complete else "pruned" for n in range(len(values))}


SWEEPS = {
    "values": st.lists(st.integers(0, 6).map(float) | st.just(math.nan), min_size=1, max_size=14),
    "workers": st.integers(1, 4),
    "order": st.lists(st.integers(0, 3), min_size=1, max_size=20),
    "maximize": st.booleans(),
    "factor": st.integers(2, 4),
    "top": st.integers(1, 12),
}


def chosen(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


@given(**SWEEPS)
@chosen(60)
def test_rungs_are_those_of_the_published_algorithm(
    empty_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    values: list[float],
    workers: int,
    order: list[int],
    maximize: bool,
    factor: int,
    top: int,
) -> None:
    folder = tmp_path_factory.mktemp("rungs")
    shutil.copy(empty_file, folder / "zoo.db")
    db = Database(f"sqlite:///{folder / 'zoo.db'}")
    metric = "val_accuracy" if maximize else "val_loss"
    pruner = Pruner("asha", metric, maximize, max_resource=top, reduction_factor=factor)
    try:
        play(db, pruner, values, workers, order)
    finally:
        db.close()
        shutil.rmtree(folder)


@given(**SWEEPS)
@chosen(8)
def test_rungs_are_the_same_on_postgresql(
    postgresql: str,
    values: list[float],
    workers: int,
    order: list[int],
    maximize: bool,
    factor: int,
    top: int,
) -> None:
    servers.empty(postgresql)
    db = Database(postgresql)
    metric = "val_accuracy" if maximize else "val_loss"
    pruner = Pruner("asha", metric, maximize, max_resource=top, reduction_factor=factor)
    try:
        play(db, pruner, values, workers, order)
    finally:
        db.close()


def test_a_trial_waits_at_its_rung_until_it_is_promoted(db: Database) -> None:
    ids, group = sweep(db, 5)
    assert jobs.get(db, ids[0]).pause_at == 1
    assert pause_next(db, 0.5) == (ids[0], "paused")
    assert pause_next(db, 0.4) == (ids[1], "paused")
    # The third of three: the best one goes on, before new trials.
    assert pause_next(db, 0.3) == (ids[2], "paused")
    assert statuses(db, ids) == ["queued", "paused", "paused", "queued", "queued"]
    assert jobs.get(db, ids[0]).pause_at == 3
    assert jobs.counts(db) == {"queued": 3, "paused": 2}
    assert jobs.overview(db).counts == {"queued": 3, "paused": 2}
    assert [job.id for job in jobs.listing(db, statuses=["paused"], sort="created_at")] == ids[1:3]
    assert len(jobs.listing(db, statuses=["queued"])) == 3
    assert len(jobs.listing(db, statuses=["queued", "paused"])) == 5
    assert pause_next(db, 0.6) == (ids[0], "paused")
    assert jobs.get_group(db, group).status == "queued"


def test_a_pause_gives_the_attempt_back(db: Database) -> None:
    sweep(db, 4)
    job, _ = pause_next(db, 0.5)
    paused = jobs.get(db, job)
    assert (paused.attempt, paused.max_attempts) == (1, 4)
    (first,) = jobs.attempts(db, job)
    assert (first.outcome, first.counts, first.error) == ("paused", 0, None)


def test_a_paused_trial_keeps_its_checkpoint_and_progress(db: Database) -> None:
    sweep(db, 4)
    held = claim(db)
    assert held is not None
    place = {"where": "x/1", "step": 1}
    assert jobs.save_checkpoint(db, held, place)
    progress = ProgressUpdate({"phase": "fit", "step": 1}, steps=[(1, {"val_accuracy": 0.5})])
    assert jobs.pause_trial(db, held, metrics={"val_accuracy": 0.5}, update=progress) == "paused"
    found = jobs.get(db, held.job)
    assert found.checkpoint == place and found.progress.step == 1
    assert jobs.steps(db, held.job) == [{"step": 1, "val_accuracy": 0.5}]


def test_a_pause_after_the_lease_is_refused(db: Database) -> None:
    ids, group = sweep(db, 4)
    held = claim(db)
    assert held is not None
    jobs.expire_leases(db, "w")
    jobs.reap(db, backoff=0)
    assert jobs.pause_trial(db, held, metrics={"val_accuracy": 0.5}) is None
    assert jobs.list_rungs(db, group) == []
    # The next attempt comes to the rung as if there had been none before.
    assert pause_next(db, 0.5) == (ids[0], "paused")


def test_a_trial_whose_cancel_was_requested_is_cancelled_at_its_rung(db: Database) -> None:
    _, group = sweep(db, 1)
    held = claim(db)
    assert held is not None
    jobs.cancel(db, held.job)
    assert jobs.pause_trial(db, held, metrics={"val_accuracy": 0.5}) == "cancelled"
    assert jobs.list_rungs(db, group) == []


def test_what_can_no_longer_be_promoted_is_pruned(db: Database) -> None:
    ids, group = sweep(db, 3)
    pause_next(db, 0.1)
    pause_next(db, 0.3)
    assert pause_next(db, 0.2) == (ids[2], "pruned")
    # Its rung is complete, but the promoted one still runs to the next.
    assert statuses(db, ids) == ["pruned", "queued", "pruned"]
    assert pause_next(db, 0.4) == (ids[1], "pruned")
    found = jobs.get_group(db, group)
    assert found.status == "pruned" and found.is_terminal
    assert all(job.finished_at and not job.artifact for job in found.jobs)


@pytest.mark.parametrize("end", ["cancel", "fail", "lose"])
def test_an_end_without_a_metric_decides_about_the_others(db: Database, end: str) -> None:
    ids, _ = sweep(db, 3)
    pause_next(db, 0.1)
    pause_next(db, 0.3)
    held = claim(db)
    assert held is not None
    assert statuses(db, ids[:2]) == ["paused", "paused"]
    if end == "fail":
        assert jobs.finish(db, held, Outcome("failed", error_code="x", error="x"))
    elif end == "cancel":
        jobs.cancel(db, held.job)
        assert jobs.finish(db, held, Outcome("cancelled"))
    else:
        with db.write() as rows:
            rows.run("UPDATE job SET max_attempts = 1 WHERE id = :id", {"id": held.job})
        jobs.expire_leases(db, "w")
        jobs.reap(db, backoff=0)
    assert statuses(db, ids[:2]) == ["pruned", "pruned"]


def test_what_is_paused_waits_for_the_trials_that_a_driver_will_add(db: Database) -> None:
    ids, group = sweep(db, 1, Pruner("asha", "val_accuracy", max_resource=3, trials=2))
    assert pause_next(db, 0.1) == (ids[0], "paused")
    more = jobs.extend(db, group, [spec(seed=9)], known=1)
    assert more and jobs.get(db, more[0]).pause_at == 1
    assert pause_next(db, 0.2) == (more[0], "pruned")
    assert jobs.get(db, ids[0]).status == "pruned"


def test_a_training_that_ends_early_counts_at_every_rung(db: Database) -> None:
    ids, group = sweep(db, 4)
    held = claim(db)
    assert held is not None
    succeed(db, held, 0.9)
    assert [(e.rung, e.resource, e.promoted) for e in jobs.list_rungs(db, group)] == [
        (0, 1, True),
        (1, 3, True),
        (2, 9, True),
    ]
    pause_next(db, 0.5)
    assert pause_next(db, 0.4) == (ids[2], "paused")
    assert statuses(db, ids)[1] == "paused"  # the best third is the one that has ended


def test_a_retry_takes_the_place_of_its_trial_at_the_rungs(db: Database) -> None:
    ids, group = sweep(db, 6)
    for value in (0.5, 0.4, 0.3):
        pause_next(db, value)
    held = claim(db)
    assert held is not None and held.job == ids[0]
    assert jobs.finish(db, held, Outcome("failed", error_code="x", error="x"))
    (again,) = jobs.retry(db, [ids[0]])
    found = jobs.get(db, again)
    assert found.pause_at == 3 and not found.paused
    assert {e.job_id for e in jobs.list_rungs(db, group)} == {again, ids[1], ids[2]}


def test_a_paused_trial_takes_no_turn(db: Database) -> None:
    ids, _ = sweep(db, 4, max_parallel=1)
    for n, value in enumerate((0.1, 0.2, 0.3)):
        assert pause_next(db, value)[0] == ids[n]
    held = claim(db)
    assert held is not None and held.job == ids[2]  # promoted
    assert claim(db) is None  # one at a time
    assert jobs.pause_trial(db, held, metrics={"val_accuracy": 0.4}) == "paused"
    held = claim(db)
    assert held is not None and held.job == ids[3]


def test_a_promoted_trial_gets_a_hint_at_once(db: Database) -> None:
    ids, _ = sweep(db, 3)
    jobs.take_due_hints(db)
    for value in (0.3, 0.2, 0.1):
        pause_next(db, value)
    assert [hint.job for hint in jobs.take_due_hints(db)] == [ids[0]]


def test_pruned_trials_satisfy_those_that_wait_for_them(db: Database) -> None:
    ids, _ = sweep(db, 1)
    (other,), _ = jobs.add(db, [spec()], QueueOptions(after=[ids[0]]))
    pause_next(db, 0.1)
    assert jobs.get(db, ids[0]).status == "pruned"
    held = claim(db)
    assert held is not None and held.job == other
    jobs.add(db, [spec()], QueueOptions(after=[ids[0]]))  # as of one that has succeeded


def test_pruned_trials_are_hooked_and_not_retried(db: Database) -> None:
    ids, _ = sweep(db, 1)
    held = claim(db)
    assert held is not None
    assert jobs.pause_trial(db, held, metrics={"val_accuracy": 0.1}, with_hooks=True) == "pruned"
    assert jobs.has_pending_hooks(db, ids[0])
    assert jobs.retry(db, ids) == []


def test_show_lists_the_best_trials_and_counts_the_rest(zoo: Zoo) -> None:
    db = jobs.connect(zoo.settings.database)
    about = {
        "sampler": "random",
        "space": {
            "alpha": {"low": 0.0, "high": 1.0, "log": False},
            "epochs": {"low": 1, "high": 30, "log": False},
        },
        "fixed": {},
        "trials": 27,
        "objective": "val_accuracy",
        "pruner": asdict(ASHA),
    }
    specs = [spec(params={"alpha": 1 - n / 27, "epochs": 1 + n % 5}) for n in range(27)]
    ids, group = jobs.add(db, specs, group_kind="sweep", about=about, pruner=ASHA)
    alpha = {job: 1 - n / 27 for n, job in enumerate(ids)}
    while held := claim(db):
        if jobs.get(db, held.job).pause_at is None:
            succeed(db, held, alpha[held.job])
        else:
            jobs.pause_trial(db, held, metrics={"val_accuracy": alpha[held.job]})
    shown = zoo.run("show", str(group))
    best = jobs.get_group(db, str(group)).best()
    assert best is not None
    done = jobs.counts(db)["succeeded"]
    entries = jobs.list_rungs(db, str(group))
    assert "27 to epoch 1" in shown.stdout and f"{done} to epoch 9" in shown.stdout
    assert "7 more: 7 pruned" in shown.stderr
    assert best.jobs[0].id[:8] in shown.stdout and ", epoch 3" in shown.stdout
    found = zoo.json("show", str(group))
    assert len(found["rungs"]) == len(entries) and len(found["jobs"]) == 27
    if find_spec("optuna"):
        known = found["importance"]
        assert (known["metric"], known["epoch"]) == ("val_accuracy", 1)
        assert next(iter(known["shares"])) == "alpha"
        assert "importance for val_accuracy at epoch 1: alpha" in shown.stdout
    assert zoo.run("wait", str(group)).returncode == 0
    db.close()


# --- the median ---


def median_of(db: Database, values: list[list[float]], **options: Any) -> list[int | None]:
    """Train trials one after the other, a value per epoch; the epoch at which each was pruned."""
    sweep(db, len(values), Pruner("median", "val_accuracy", **options))
    pruned: list[int | None] = []
    for mine in values:
        held = claim(db)
        assert held is not None
        pruned.append(None)
        for epoch, value in enumerate(mine, start=1):
            step = {} if math.isnan(value) else {"val_accuracy": value}
            update = ProgressUpdate({"step": epoch}, steps=[(epoch, {"loss": 1.0} | step)])
            found = jobs.beat(db, held, lease=60, update=update)
            assert found is not None
            if found.prune:
                pruned[-1] = epoch
                assert jobs.finish(db, held, Outcome("pruned"))
                break
        else:
            succeed(db, held, 0.5)
    return pruned


def optunas_median(values: list[list[float]], **options: Any) -> list[int | None]:
    import warnings

    import optuna

    warnings.simplefilter("ignore", RuntimeWarning)  # of medians of nothing
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(**options)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    pruned: list[int | None] = []
    for mine in values:
        trial = study.ask()
        pruned.append(None)
        for epoch, value in enumerate(mine, start=1):
            trial.report(value, epoch)
            if trial.should_prune():
                pruned[-1] = epoch
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, 0.5)
    return pruned


@given(
    values=st.lists(
        st.lists(st.integers(0, 5).map(float) | st.just(math.nan), min_size=1, max_size=4),
        min_size=1,
        max_size=8,
    ),
    startup=st.integers(0, 3),
    warmup=st.integers(0, 3),
)
@chosen(40)
def test_the_median_pruner_decides_as_optunas(
    empty_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    values: list[list[float]],
    startup: int,
    warmup: int,
) -> None:
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("median")
    shutil.copy(empty_file, folder / "zoo.db")
    db = Database(f"sqlite:///{folder / 'zoo.db'}")
    options = {"n_startup_trials": startup, "n_warmup_steps": warmup}
    values = [[3.0] * 4, *values]  # without any finite value, a metric counts as unreported
    assert median_of(db, values, **options) == optunas_median(values, **options)
    db.close()
    shutil.rmtree(folder)


def test_a_trial_below_the_median_ends_as_pruned(db: Database) -> None:
    good, bad = [0.8, 0.9], [0.2, 0.3]
    assert median_of(db, [good, good, bad], n_startup_trials=2) == [None, None, 1]
    assert jobs.counts(db) == {"succeeded": 2, "pruned": 1}


# --- the schema ---


def test_a_filled_database_of_before_is_upgraded(db: Database) -> None:
    from alembic import command

    with schema.locked(db) as config:
        command.downgrade(config, "8")
    insert = """
        INSERT INTO job (id, kind, model, dataset, pool, priority, tags, spec_version, spec, status,
            max_attempts, created_at, dispatched_at, finished_at, artifact, accuracy, error)
        VALUES (:id, 'train', 'logistic', 'digits', 'default', 1, '["a"]', 1, :spec, :status,
            3, 1, 1, :at, :artifact, :accuracy, 'a: b')"""
    before = {
        "a": {"status": "queued", "at": None, "artifact": None, "accuracy": None},
        "b": {"status": "succeeded", "at": 2.0, "artifact": "b/1", "accuracy": 0.5},
        "c": {"status": "lost", "at": 2.0, "artifact": None, "accuracy": None},
    }
    with db.write() as rows:
        for name, values in before.items():
            rows.run(insert, {"id": name, "spec": spec().dump()} | values)
        rows.run("INSERT INTO log (job_id, attempt, start, text) VALUES ('b', 1, 0, 'x')")
        kept = rows.all("SELECT * FROM job ORDER BY seq")
    jobs.upgrade(db)
    with db.read() as rows:
        now = rows.all("SELECT * FROM job ORDER BY seq")
        assert rows.value("SELECT text FROM log WHERE job_id = 'b'") == "x"
    new = {"pruner": None, "pause_at": None, "paused": 0, "checkpoint": None, "stop_requested": 0}
    assert [{n: row[n] for n in (*kept[0], *new)} for row in now] == [row | new for row in kept]
    with pytest.raises(jobs.RowRefused), db.write() as rows:
        rows.run("UPDATE job SET status = 'unheard' WHERE id = 'a'")
    with pytest.raises(jobs.RowRefused), db.write() as rows:
        rows.run("UPDATE job SET attempt = 9 WHERE id = 'a'")
    with pytest.raises(jobs.RowRefused), db.write() as rows:
        rows.run(insert, {"id": "a", "spec": "{}"} | before["a"])
    held = claim(db)
    assert held is not None and held.job == "a"


def test_no_index_is_lost_with_the_upgrade(tmp_path: Path) -> None:
    from alembic import command

    db = Database(f"sqlite:///{tmp_path / 'zoo.db'}")

    def indexes() -> dict[str, str]:
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        with db.read() as rows:
            return {row["name"]: row["sql"] for row in rows.all(query)}

    with schema.locked(db) as config:
        command.upgrade(config, "9")
    before = indexes()
    jobs.upgrade(db)
    now = indexes()
    changed = {"job_claim", "job_hint"}
    assert {n: sql for n, sql in now.items() if n in before and n not in changed} == {
        n: sql for n, sql in before.items() if n not in changed
    }
    assert all("paused = 0" in now[name] for name in changed)
    with schema.locked(db) as config:
        command.downgrade(config, "9")
    assert indexes() == before
    db.close()
