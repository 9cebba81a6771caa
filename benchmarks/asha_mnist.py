"""What ASHA saves on MNIST: 64 trials of `dense-softmax` with 100 hidden units, three seeds.

    python -m benchmarks.asha_mnist record [SEED...]  # complete trainings, half an hour a seed
    python -m benchmarks.asha_mnist compare  # what each pruner would have found, and its cost
    python -m benchmarks.asha_mnist sweep    # the commands of the same sweeps through workers
    python -m benchmarks.asha_mnist check GROUP SEED  # such a sweep against the record

Trials are chosen on validation rows. A training has the same bits whatever runs beside it, so the
record of complete trainings says what any schedule of them finds.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.asha import Asha, Found, Training, simulate

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
"""As in a worker with one slot for each core."""
SEEDS = (1, 2, 3)
TRIALS = 64
FACTOR, RUNGS = 3, (1, 3, 9, 27)
WORKERS = 2
MODEL, DATASET, VALIDATION = "dense-softmax", "mnist", 0.1
SPACE = (
    "hidden=[100]",
    "learning_rate=1e-5..1e-1:log",
    "batch_size=32..512",
    "dropout=0.0..0.5",
)
HALF_A_ROW = 0.5 / 6000
"""Half of the difference that one of the validation rows makes."""
RESULTS = Path(__file__).parent / "results"
Recorded = dict[str, Any]
"""{"params", "values": metric per epoch, "seconds": processor time of an epoch}."""


def main() -> None:
    """Run the command of the arguments."""
    os.environ |= ONE_THREAD
    command, *rest = sys.argv[1:] or ["compare"]
    commands = {"record": record, "compare": compare, "sweep": sweep, "check": check}
    commands[command](*rest)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def trials_of(seed: int) -> list[dict[str, Any]]:
    """Return the params of the trials, as `zoo sweep --sampler random` draws them."""
    from zoo.sweeps import samplers, search_space

    space = search_space.parse_search_space(SPACE)
    space.fixed["epochs"] = RUNGS[-1]
    return samplers.sample_random(space, TRIALS, seed)


def record_of(seed: int) -> Path:
    """Return the file of the complete trainings of a seed."""
    return RESULTS / f"asha-mnist-{seed}.json"


def record(*seeds: str) -> None:
    """Train every trial to its end, and keep its curves; goes on where it was interrupted."""
    for seed in map(int, seeds or SEEDS):
        path = record_of(seed)
        done: list[Recorded] = json.loads(path.read_text()) if path.exists() else []
        for params in trials_of(seed)[len(done) :]:
            done.append(train(params, seed))
            path.write_text(json.dumps(done))
            last = done[-1]
            say(f"{seed} {len(done):2} {last['values'][-1]:.4f} {last['seconds']:.2f} s {params}")


def train(params: Mapping[str, Any], seed: int) -> Recorded:
    """Train one trial in this process, as a worker's runner does."""
    from zoo.queue import submit
    from zoo.queue.options import TrainingOptions
    from zoo.training.run import run_job

    asked = TrainingOptions(DATASET, validation=VALIDATION, seed=seed)
    (spec,) = submit.training(MODEL, params, asked)
    values: list[float] = []
    times: list[float] = []

    def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        if unit == "epoch":
            values.append(metrics["val_accuracy"])
            times.append(time.process_time())

    def phase(name: str) -> None:
        if name == "fit":
            times.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        run_job(spec, Path(folder), report, phase=phase)
    # The first epoch compiles: a runner does that once, for many trials.
    each = [after - before for before, after in itertools.pairwise(times)]
    return {"params": dict(params), "values": values, "seconds": statistics.median(each)}


def compare() -> None:
    """Print what the full sweep, ASHA and Optuna's pruner find on the record, and their costs."""
    lines = []
    for seed in SEEDS:
        recorded: list[Recorded] = json.loads(record_of(seed).read_text())
        trainings = [Training(each["values"], each["seconds"]) for each in recorded]
        full = full_sweep(trainings)
        ours = simulate(trainings, RUNGS, FACTOR, WORKERS)
        theirs = optunas(trainings)
        say(f"seed {seed}: full sweep {full.best:.4f} in {full.seconds:.0f} s")
        for name, each in (("asha", ours), ("optuna", theirs)):
            share = each.seconds / full.seconds
            say(
                f"  {name:6} {each.best:.4f} ({each.best - full.best:+.4f}), {share:.1%} of the "
                f"time, rungs {each.counts}"
            )
            lines.append((name, full.best - each.best, share))
    for name in ("asha", "optuna"):
        mine = [line for line in lines if line[0] == name]
        behind, share = (statistics.median(line[i] for line in mine) for i in (1, 2))
        say(f"median of {name}: {behind:.4f} behind the full sweep, {share:.1%} of its time")


def full_sweep(trainings: Sequence[Training]) -> Found:
    """Return what the sweep without pruning finds."""
    best = max(each.values[RUNGS[-1] - 1] for each in trainings)
    seconds = sum(each.seconds * RUNGS[-1] for each in trainings)
    return Found(best, [len(trainings)], seconds)


def optunas(trainings: Sequence[Training]) -> Found:
    """Return what Optuna's SuccessiveHalvingPruner finds with the same trials in this order."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=FACTOR)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    best, seconds, reached = 0.0, 0.0, []
    for training in trainings:
        trial = study.ask()
        for epoch, value in enumerate(training.values, start=1):
            trial.report(value, epoch)
            seconds += training.seconds
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, training.values[-1])
            best = max(best, training.values[-1])
        reached.append(epoch)
    return Found(best, [sum(n >= rung for n in reached) for rung in RUNGS], seconds)


def sweep() -> None:
    """Print the commands of the same sweeps through workers."""
    params = " ".join(f"-p '{each}'" for each in SPACE)
    for seed in SEEDS:
        say(
            f"zoo sweep {MODEL} {params} --dataset {DATASET} --sampler random --trials {TRIALS} "
            f"--seed {seed} --validation {VALIDATION} --pruner asha --max-resource {RUNGS[-1]} "
            f"--reduction-factor {FACTOR}"
        )


def check(group: str, seed: str) -> None:
    """Compare a sweep through workers with the record and with the published algorithm."""
    from zoo import jobs

    recorded = json.loads(record_of(int(seed)).read_text())
    db = jobs.connect()
    found = jobs.find_reference(db, group)
    number = {job.id: n for n, job in enumerate(jobs.members(found))}
    entries = jobs.list_rungs(db, found.id)
    algorithm = Asha(RUNGS, FACTOR, len(number))
    for entry in entries:
        trial = number[entry.job_id]
        expected = recorded[trial]["values"][entry.resource - 1]
        # Keras reports float32, the end of a training is measured in float64: the same rows.
        if entry.value is None or abs(entry.value - expected) > HALF_A_ROW:
            raise SystemExit(f"trial {trial}, rung {entry.rung}: {entry.value}, not {expected}")
        algorithm.report(trial, entry.rung, expected)
        for rung in reversed(range(len(RUNGS) - 1)):
            while (best := algorithm.promotable(rung)) is not None:
                algorithm.promoted[rung].add(best)
    for rung in range(len(RUNGS) - 1):
        went_on = {number[e.job_id] for e in entries if e.rung == rung and e.promoted}
        if went_on != algorithm.promoted[rung]:
            raise SystemExit(f"rung {rung}: {went_on}, not {algorithm.promoted[rung]}")
    counts = [len(each) for each in algorithm.values]
    say(f"{len(entries)} metrics and all promotions are those of the record; rungs {counts}")


if __name__ == "__main__":
    main()
