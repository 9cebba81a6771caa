"""A sweep with a pruner that has ended, made by hand: rows without a worker."""

from __future__ import annotations

from dataclasses import asdict

from helpers.finished_jobs import a_spec
from zoo import jobs
from zoo.jobs import Database, Outcome, Pruner

ASHA = Pruner("asha", "val_accuracy", max_resource=3)
SPACE = {"low": 1e-5, "high": 1e-1, "log": True}


def pruned_sweep(db: Database, name: str, values: list[str]) -> str:
    """A sweep of 9 trials that vary the params `rate` (logarithmic) and `name` (these values).

    The first one fails, most are pruned at epoch 1, the others end with their metric. So few have
    no importance of params, for which Optuna would be imported.
    """
    about = {
        "space": {"rate": SPACE, name: {"values": values}},
        "fixed": {},
        "objective": "val_accuracy",
        "higher_is_better": True,
        "pruner": asdict(ASHA),
    }
    params = [{"rate": 10 ** -(1 + n / 3), name: values[n % len(values)]} for n in range(9)]
    specs = [a_spec(params=each, changed=list(each)) for each in params]
    ids, group = jobs.add(db, specs, group_kind="sweep", about=about, pruner=ASHA)
    value = {job: 0.5 + n / 100 for n, job in enumerate(ids)}
    while taken := jobs.claim(
        db, pool="default", models={"m": "p"}, datasets=["digits"], worker="w", lease=60
    ):
        held, job = taken
        measured = {"accuracy": 0.25, "val_accuracy": value[job.id]}
        if job.id == ids[0]:
            assert jobs.finish(db, held, Outcome("failed", error_code="x", error="x"))
        elif job.pause_at is not None:
            jobs.pause_trial(db, held, metrics=measured)
        else:
            assert jobs.finish(db, held, Outcome("succeeded", measured, "where", "0" * 64))
    return str(group)
