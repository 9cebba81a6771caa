"""Optuna: `optimize(n_jobs=2)`, trials kept in SQLite; two processes on one study for the kill."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna

from benchmarks.peer_sides import kills, work

optuna.logging.set_verbosity(optuna.logging.ERROR)
TRIALS = 100
PLACE = f"sqlite:///{work.FOLDER}/optuna.db"


def _study(storage: Any = PLACE, **options: Any) -> optuna.Study:
    return optuna.create_study(
        study_name="peers", storage=storage, load_if_exists=True, direction="maximize", **options
    )


def _nothing(trial: optuna.Trial) -> float:
    trial.suggest_float("x", 0, 1)
    return 0.0


def noop() -> float:
    study = _study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(_nothing, n_trials=4, n_jobs=work.PROCESSES)
    return work.rate(
        TRIALS, lambda: study.optimize(_nothing, n_trials=TRIALS, n_jobs=work.PROCESSES)
    )


def start() -> float:
    study = _study(sampler=optuna.samplers.RandomSampler(seed=1))
    begun: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        begun.append(time.time())
        return _nothing(trial)

    def begin() -> float:
        study.optimize(objective, n_trials=1)
        return begun[-1]

    begin()
    return work.latency(begin)


def twenty() -> Any:
    seeds = list(work.SEEDS)
    work.train()
    return _grid("seed", seeds, lambda seed: work.train(seed))


def sweep() -> Any:
    return _grid("learning_rate", work.RATES, lambda rate: work.train(42, rate))


def _grid(name: str, values: list[Any], train: Any) -> Any:
    study = _study(sampler=optuna.samplers.GridSampler({name: values}, seed=1))

    def objective(trial: optuna.Trial) -> float:
        return float(train(trial.suggest_categorical(name, values)))

    def run() -> list[float]:
        study.optimize(objective, n_trials=len(values), n_jobs=work.PROCESSES)
        found = {trial.params[name]: trial.value for trial in study.trials}
        return [found[value] for value in values]

    return work.timed(run)


def _kept() -> Any:
    """Return the storage; with heartbeats if lost trials are to be run again."""
    if not work.CAREFUL:
        return PLACE
    again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3)
    return optuna.storages.RDBStorage(
        PLACE, heartbeat_interval=2, grace_period=10, heartbeat_stale_trial_callback=again
    )


def _work() -> None:
    """Run trials until none waits: a process on the study."""
    study = _study(_kept())

    def objective(trial: optuna.Trial) -> float:
        return float(work.nap(trial.suggest_int("number", 0, kills.JOBS)))

    states = optuna.trial.TrialState
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if study.get_trials(states=[states.WAITING], deepcopy=False):
            study.optimize(objective, n_trials=1)
        else:
            time.sleep(0.2)
            if work.CAREFUL:
                optuna.storages.fail_stale_trials(study)


def kill() -> Any:
    study = _study(_kept())
    children: list[subprocess.Popen[bytes]] = []

    def start_process() -> int:
        children.append(subprocess.Popen([sys.executable, "-m", __spec__.name, "work"]))
        return children[-1].pid

    def submit() -> None:
        for number in range(kills.JOBS):
            study.enqueue_trial({"number": number})

    def state(number: int) -> str:
        trials = study.get_trials(deepcopy=False)
        named = [each for each in trials if _number(each) == number]
        if any(each.state.name == "COMPLETE" for each in named):
            return "done"
        ended = all(each.state.is_finished() for each in named)
        return ("failed" if ended else "stuck") if named else "lost"

    try:
        return kills.kill_one(submit, state, start_process)
    finally:
        for child in children:
            child.kill()
            child.wait()


def _number(trial: Any) -> Any:
    fixed = trial.system_attrs.get("fixed_params", {})
    return trial.params.get("number", fixed.get("number"))


if __name__ == "__main__":
    assert Path(work.FOLDER).is_dir()
    work.main(
        {
            "noop": noop,
            "start": start,
            "twenty": twenty,
            "sweep": sweep,
            "kill": kill,
            "work": _work,
        }
    )
