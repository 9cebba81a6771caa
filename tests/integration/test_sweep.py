"""Sweeps: how they are typed, which trials they have, and that they go on after anything."""

from __future__ import annotations

import json
import os
import shutil
import signal
import string
import tempfile
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import Zoo, share, until
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from zoo import jobs, settings
from zoo.canonical_json import canonical
from zoo.errors import UsageError
from zoo.jobs import Claim, Database, Group, Job, Outcome, ProgressUpdate, QueueOptions
from zoo.jobs.environments import Environment
from zoo.queue.options import TrainingOptions
from zoo.results import published_tables
from zoo.results.leaderboard import leaderboard_rows
from zoo.sweeps import driver, plan, samplers, search_space, trials
from zoo.sweeps.search_space import Space, Span

DIGITS = ("--dataset", "digits")

# --- what is typed ---

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(st.lists(VALUES, min_size=2, max_size=5, unique_by=canonical))
def test_values_written_as_json_are_read_as_they_were(values: list[Any]) -> None:
    text = ",".join(json.dumps(value) for value in values)
    assert search_space.parse_search_space([f"p={text}"]) == Space(varied={"p": values})


@given(st.text())
def test_whatever_is_typed_is_a_space_or_a_sentence(text: str) -> None:
    try:
        found = search_space.parse_search_space([f"p={text}"])
    except UsageError as error:
        assert error.message
    else:
        assert Space.from_json(found.fixed, found.to_json()) == found


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1..10", Span(1, 10)),
        ("-2..3", Span(-2, 3)),
        ("0..1.5", Span(0.0, 1.5)),
        ("1e-4..1e-1:log", Span(1e-4, 1e-1, True)),
        ("[64,32],[128]", [[64, 32], [128]]),
        ("hinge,log_loss,null", ["hinge", "log_loss", None]),
        ('"a,b",c', ["a,b", "c"]),
        ("5x,5", ["5x", 5]),
    ],
)
def test_lists_and_ranges_are_told_apart(text: str, meant: Any) -> None:
    assert search_space.parse_search_space([f"p={text}"]).varied == {"p": meant}


@pytest.mark.parametrize("text", ["0.5", "[1,2]", '"1..2"', "../file", "a"])
def test_one_value_is_the_same_for_every_trial(text: str) -> None:
    assert list(search_space.parse_search_space([f"p={text}"]).fixed) == ["p"]


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["p"], "not NAME=VALUES"),
        (["p=1,2", "p=3"], "twice"),
        (["p=1,2,1"], "value 1 twice"),
        (["p=1,,2"], "empty value"),
        (["p=5..1"], "the smaller number to the larger"),
        (["p=0..1:log"], "starts above 0"),
        (["p=1..2:exp"], "only suffix of a range is :log"),
        (["p=1..x"], "not a range"),
        (["p=1,2..5"], "mixes single values"),
        (["@a.csv", "@b.csv"], "Only one file of trials"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(texts: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        search_space.parse_search_space(texts)


# --- samplers ---


def test_a_grid_is_scikit_learns_in_its_order() -> None:
    from sklearn.model_selection import ParameterGrid

    found = search_space.parse_search_space(["z=1..3", "b=x,y", "a=0.5,[1]", "fixed=7"])
    values = {"z": [1, 2, 3], "b": ["x", "y"], "a": [0.5, [1]]}
    assert samplers.sample_grid(found) == [{"fixed": 7} | each for each in ParameterGrid(values)]


def test_random_trials_are_in_their_bounds_never_twice_and_the_same_for_a_seed() -> None:
    found = search_space.parse_search_space(
        ["n=1..3", "m=1..1000:log", "rate=1e-4..1e-1:log", "x=-1.0..1", "k=a,b"]
    )
    first = samplers.sample_random(found, 200, seed=7)
    assert (
        first
        == samplers.sample_random(found, 200, seed=7)
        != samplers.sample_random(found, 200, seed=8)
    )
    assert len({canonical(each) for each in first}) == 200
    for each in first:
        assert each["n"] in (1, 2, 3) and each["k"] in ("a", "b") and type(each["m"]) is int
        assert 1 <= each["m"] <= 1000 and 1e-4 <= each["rate"] <= 1e-1 and -1 <= each["x"] <= 1
    assert sum(each["rate"] < 1e-3 for each in first) > 40, "a third, where each order is as likely"


def test_a_small_space_has_no_more_random_trials_than_combinations() -> None:
    found = samplers.sample_random(search_space.parse_search_space(["n=1..3", "k=a,b"]), 50, seed=1)
    assert sorted(canonical(each) for each in found) == sorted(
        canonical({"n": n, "k": k}) for n in (1, 2, 3) for k in "ab"
    )


def hill(params: dict[str, Any]) -> float:
    return -abs(params["x"] - 3.0) - (params["kind"] != [1, 2])


def test_tpe_finds_the_hill_where_random_trials_only_come_near() -> None:
    found = search_space.parse_search_space(["x=-10.0..10", "kind=[1,2],[3]"])
    tried: list[tuple[dict[str, Any], float | str]] = []
    for _ in range(40):
        params = samplers.suggest_tpe(found, tried, 1)
        assert params is not None
        tried.append((params, hill(params)))
    results = [float(result) for _, result in tried]
    assert max(results) > -0.5
    assert sum(results[20:]) > sum(results[:20])


def test_tpe_ends_where_every_combination_was_tried() -> None:
    found, tried = search_space.parse_search_space(["n=1..3", "k=a,b"]), []
    while params := samplers.suggest_tpe(found, tried, 1):  # type: ignore[arg-type]
        tried.append((params, "failed" if params["n"] == 2 else 0.5))
    assert len({canonical(params) for params, _ in tried}) == len(tried) == 6


# --- plans ---


@pytest.fixture
def db(empty_file: Path, tmp_path: Path) -> Database:
    return Database(f"sqlite:///{shutil.copy(empty_file, tmp_path)}")


def wanted(sampler: str = "grid", trials: int | None = None, **training: Any) -> plan.SweepRequest:
    return plan.SweepRequest("logistic", TrainingOptions("digits", **training), sampler, trials)


def test_a_plan_has_a_job_for_each_trial_and_seed() -> None:
    found = plan.plan_sweep(
        wanted(seeds=3), search_space.parse_search_space(["alpha=2,1", "max_iter=1..2", "tol=null"])
    )
    assert (found.total, found.jobs, len(found.specs)) == (4, 12, 12)
    assert [spec.seed for spec in found.specs[:3]] == [42, 43, 44]
    assert found.specs[-1].changed == ["alpha", "max_iter", "tol"]
    assert found.space.varied["alpha"] == [2.0, 1.0], "as the model reads them"


@pytest.mark.parametrize(
    ("texts", "sampler", "trials", "why"),
    [
        (["alpa=1,2"], "grid", None, "No param is called 'alpa'"),
        (["alpha=-1,2"], "grid", None, "alpha=-1"),
        (["alpha=1"], "grid", None, "several values"),
        (["alpha=0.1..1"], "grid", None, "single values"),
        (["alpha=1,2"], "grid", 3, "every combination"),
        (["alpha=1,1.0"], "grid", None, "same params"),
        (["max_iter=1..1000", "average=1..1000"], "grid", None, "1000000 trials"),
        (["alpha=-2.0..-1"], "tpe", None, "alpha"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    texts: list[str], sampler: str, trials: int | None, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        plan.plan_sweep(wanted(sampler, trials), search_space.parse_search_space(texts))


# --- trials in a file ---

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=4)


@given(st.data(), st.lists(NAMES, min_size=1, max_size=3, unique=True))
@property_settings(max_examples=50)
def test_trials_that_were_written_are_read_as_they_were(data: Any, names: list[str]) -> None:
    row = st.fixed_dictionaries(dict.fromkeys(names, VALUES))
    found = data.draw(st.lists(row, min_size=1, max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trials.csv"
        trials.write_trials(file, found)
        assert [params for _, params in trials.read_trials(file)] == found


def test_a_carriage_return_in_a_value_ends_no_line(tmp_path: Path) -> None:
    found = [{"a": "0\r0", "b": "1\r\n"}]
    trials.write_trials(tmp_path / "trials.csv", found)
    assert [params for _, params in trials.read_trials(tmp_path / "trials.csv")] == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no trials"),
        ("alpha\n", "no trials"),
        ("alpha,alpha\n1,2\n", "line 1"),
        ("alpha,max_iter\n0.1,2\n\n0.2\n", "line 4: 1 values for 2 params"),
        ("alpha\n0.1\nmuch\n", "line 3: The param alpha='much'"),
        ("alpha\n0.1\n0.2\n0.10\n", "line 4: the same trial as line 2"),
        ("alpa\n0.1\n", "line 2: No param is called 'alpa'"),
        ('alpha\n"0.1\n', "cannot be read"),
    ],
)
def test_a_file_of_trials_is_refused_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "trials.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=why):
        plan.plan_sweep(wanted(), search_space.parse_search_space([f"@{file}"]))


def test_a_file_of_trials_is_a_plan_with_the_fixed_params_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "trials.csv"
    file.write_text("\ufeffalpha,penalty\r\n0.1,l1\r\n,\r\n0.1,\r\n")
    found = plan.plan_sweep(wanted(), search_space.parse_search_space([f"@{file}", "max_iter=3"]))
    assert [spec.changed for spec in found.specs] == [
        ["penalty", "alpha", "max_iter"],
        ["alpha", "max_iter"],
    ]
    with pytest.raises(UsageError, match="max_iter cannot vary"):
        plan.plan_sweep(wanted(), search_space.parse_search_space([f"@{file}", "max_iter=3,4"]))
    with pytest.raises(UsageError, match="alpha is in"):
        plan.plan_sweep(wanted(), search_space.parse_search_space([f"@{file}", "alpha=3"]))


# --- a sweep that asks as it goes ---


def begin(db: Database, found: plan.Plan, most: int | None = None) -> str:
    about = found.about | {"queued": {"pool": "default", "priority": 0, "tags": []}}
    specs = found.specs
    return str(
        jobs.add(db, specs, QueueOptions(max_parallel=most), group_kind="sweep", about=about)[1]
    )


def claim(db: Database) -> tuple[Claim, Job] | None:
    shared = {"models": {"logistic": "p"}, "datasets": ["digits"], "worker": "w", "lease": 60}
    return jobs.claim(db, pool="default", **shared)  # type: ignore[arg-type]


def run_one(db: Database, contents: str | None = None, best: float = 0.3) -> bool:
    """Run a job as a worker would; its accuracy comes from its params."""
    taken = claim(db)
    if taken is None:
        return False
    params, seed = taken[1].spec["params"], taken[1].spec["seed"]
    accuracy = 1 - abs(params["alpha"] - best) / 2 - 0.1 * (seed % 2)
    metrics = {"accuracy": accuracy, "per_class": {"a": {}, "b": {}}}
    told = ProgressUpdate(environment=Environment(data=contents) if contents else None)
    jobs.finish(db, taken[0], Outcome("succeeded", metrics, "where/1", "0" * 64), told)
    return True


@pytest.fixture
def chosen(home: Path) -> settings.Settings:
    # The broker is away: the hints are lost, the rows are not.
    return settings.load(os.environ | {"ZOO_SLOTS": "1", "ZOO_BROKER_URL": "redis://127.0.0.1:1/0"})


def group_of(db: Database, ref: str) -> Group:
    return jobs.get_group(db, ref)


def drive(db: Database, chosen: settings.Settings, ref: str, most: int = 99) -> None:
    """Ask and run until the sweep is done, or for so many rounds: then the driver is killed."""
    sweep_driver = driver.make_driver(db, chosen, group_of(db, ref))
    for _ in range(most):
        if sweep_driver is None or (not sweep_driver.step() and not run_one(db)):
            return


def asked(db: Database, ref: str) -> list[Any]:
    return [trial.params["alpha"] for trial in trials.list_trials(group_of(db, ref))]


def test_a_tpe_sweep_that_was_killed_goes_on_as_if_it_had_not_been(
    db: Database, chosen: settings.Settings
) -> None:
    planned = plan.plan_sweep(wanted("tpe", 14), search_space.parse_search_space(["alpha=0.0..1"]))
    whole = begin(db, planned)
    drive(db, chosen, whole)
    killed = begin(db, planned)
    for _ in range(20):
        drive(db, chosen, killed, most=3)
    assert asked(db, killed) == asked(db, whole)
    assert len(set(asked(db, whole))) == 14
    assert {job.attempt for job in group_of(db, killed).jobs} == {1}
    assert driver.make_driver(db, chosen, group_of(db, killed)) is None


def test_a_tpe_sweep_learns_from_trials_on_the_newest_contents_alone(
    db: Database, chosen: settings.Settings
) -> None:
    planned = plan.plan_sweep(wanted("tpe", 24), search_space.parse_search_space(["alpha=0.0..1"]))
    ref = begin(db, planned)
    # Of the first contents the best alpha is 1; of the second 0: then the dataset was changed.
    sweep_driver = driver.make_driver(db, chosen, group_of(db, ref))
    assert sweep_driver
    for contents, best, rounds in (("a" * 64, 1.0, 12), ("b" * 64, 0.0, 1)):
        for _ in range(rounds):
            assert run_one(db, contents, best)
            sweep_driver.step()
    asked_of: list[Any] = []
    run_one(db, "b" * 64, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samplers, "suggest_tpe", lambda _, tried, seed: asked_of.extend(tried))
        sweep_driver.step()
    told = [result for _, result in asked_of if isinstance(result, float)]
    known = [trial for trial in trials.list_trials(group_of(db, ref)) if trial.contents == "b" * 64]
    assert told == [trial.result for trial in known] and len(told) == 2
    # The params of all are known as tried.
    assert [tried["alpha"] for tried, _ in asked_of] == asked(db, ref)
    assert len(asked_of) == 14


def test_two_drivers_of_one_sweep_submit_no_trial_twice_and_none_too_many(
    db: Database, chosen: settings.Settings
) -> None:
    ref = begin(
        db,
        plan.plan_sweep(
            wanted("tpe", 6, seeds=2), search_space.parse_search_space(["alpha=0.0..1"])
        ),
    )
    drivers = [driver.make_driver(db, chosen, group_of(db, ref)) for _ in range(2)]
    while not all(sweep_driver and sweep_driver.is_done for sweep_driver in drivers):
        for sweep_driver in drivers:
            assert sweep_driver is not None
            sweep_driver.step()
        run_one(db)
    assert len(asked(db, ref)) == 6 and len(group_of(db, ref).jobs) == 12
    assert jobs.extend(db, ref, [], known=5) is None


def test_a_driver_that_another_one_has_overtaken_while_it_chose_adds_no_trial(
    db: Database, chosen: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = begin(
        db, plan.plan_sweep(wanted("tpe", 2), search_space.parse_search_space(["alpha=0.0..1"]))
    )
    run_one(db)
    slow, fast = (driver.Driver(db, chosen, group_of(db, ref)) for _ in range(2))
    choose = samplers.suggest_tpe
    overtaken: list[bool] = []

    def choose_slowly(*args: Any) -> Any:
        found = choose(*args)
        if not overtaken:
            overtaken.append(True)
            fast.step()
        return found

    monkeypatch.setattr(samplers, "suggest_tpe", choose_slowly)
    assert slow.step() == [] and slow.is_done and overtaken
    assert len(asked(db, ref)) == len(group_of(db, ref).jobs) == 2


def test_a_sweep_that_was_cancelled_goes_on_with_what_had_not_finished(
    db: Database, chosen: settings.Settings
) -> None:
    ref = begin(
        db,
        plan.plan_sweep(wanted(), search_space.parse_search_space(["alpha=0.1,0.2,0.3,0.4"])),
        most=1,
    )
    run_one(db)
    for job in group_of(db, ref).jobs[1:3]:
        jobs.cancel(db, job.id)
    before = {job.id for job in group_of(db, ref).jobs if job.status == "succeeded"}
    done = driver.resume_sweep(db, chosen, group_of(db, ref))
    assert "broker" in done.note and done.ref == ref
    while run_one(db):
        pass
    found = group_of(db, ref).jobs
    assert [job.status for job in found] == ["succeeded"] * 4 and set(done.ids) == {
        job.id for job in found
    }
    assert before < {job.id for job in found}
    with pytest.raises(UsageError, match="not a sweep"):
        driver.resume_sweep(db, chosen, Group("0" * 32, "cv", 0.0))


def test_a_sweep_is_ranked_by_the_mean_of_each_trials_seeds(
    db: Database,
) -> None:
    ref = begin(
        db, plan.plan_sweep(wanted(seeds=2), search_space.parse_search_space(["alpha=0.1,0.3,0.9"]))
    )
    for _ in range(5):
        run_one(db)
    ranked = trials.sort_trials(trials.list_trials(group_of(db, ref)))
    assert [trial.params["alpha"] for trial in ranked] == [0.3, 0.1, 0.9]
    assert ranked[0].accuracy is not None
    assert ranked[0].accuracy.to_json() == {
        "mean": 0.95,
        "std": pytest.approx(0.05 * 2**0.5),
        "values": [1.0, 0.9],
    }
    assert ranked[2].accuracy is None, "one of its seeds has not ended"
    (row,) = leaderboard_rows(db)
    assert row.accuracy == 0.95 and row.params["alpha"] == 0.3


def test_a_sweep_is_ranked_by_its_metric_in_its_direction(db: Database) -> None:
    def best(metric: str | None, **training: Any) -> tuple[str, float]:
        options = TrainingOptions("digits", **training)
        request = plan.SweepRequest("logistic", options, metric=metric)
        planned = plan.plan_sweep(request, search_space.parse_search_space(["alpha=0.1,0.3,0.9"]))
        ref = begin(db, planned)
        while taken := claim(db):
            alpha = taken[1].spec["params"]["alpha"]
            metrics = {"accuracy": alpha, "loss": alpha, "val_f1_macro": -abs(alpha - 0.3)}
            jobs.finish(db, taken[0], Outcome("succeeded", metrics, "where/1", "0" * 64))
        found = group_of(db, ref).to_json()["best"]
        first = trials.sort_trials(trials.list_trials(group_of(db, ref)))[0]
        assert first.statistics and first.statistics.mean == found["value"]["mean"]
        return found["metric"], first.params["alpha"]

    assert best(None) == ("accuracy", 0.9)
    assert best("loss") == ("loss", 0.1)
    assert best("f1_macro", validation=0.1) == ("val_f1_macro", 0.3)
    with pytest.raises(UsageError, match="No metric is called 'f1'"):
        best("f1")
    with pytest.raises(UsageError, match="no validation rows"):
        best("val_f1_macro")


def test_the_sampler_is_told_that_a_lower_loss_is_better(
    db: Database, chosen: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = plan.SweepRequest("logistic", TrainingOptions("digits"), "tpe", 3, "loss")
    ref = begin(db, plan.plan_sweep(request, search_space.parse_search_space(["alpha=0.0..1"])))
    taken = claim(db)
    assert taken
    contents = ProgressUpdate(environment=Environment(data="a" * 64))
    metrics = {"accuracy": 1.0, "loss": 2.0}
    jobs.finish(db, taken[0], Outcome("succeeded", metrics, "where/1", "0" * 64), contents)
    results: list[Any] = []
    monkeypatch.setattr(
        samplers, "suggest_tpe", lambda _, tried, seed: results.extend(r for _, r in tried)
    )
    found = driver.make_driver(db, chosen, group_of(db, ref))
    assert found and found.step() == []
    assert results == [-2.0]


def test_rows_of_the_same_params_are_results_of_their_own(db: Database) -> None:
    table = published_tables.load_table("mnist-classics")
    specs = published_tables.table_specs(
        "mnist-classics", table, published_tables.select_rows(table, ["knn*", "linear*"])
    )
    _, group = jobs.add(db, specs, group_kind="sweep")
    assert group
    found = trials.list_trials(jobs.get_group(db, group))
    assert [len(trial.group.jobs) for trial in found] == [1, 1, 1, 1]


# --- through real workers ---


def attempts(zoo: Zoo, ref: str) -> dict[str, int]:
    found = jobs.get_group(zoo.database(), ref).jobs
    return {job.id: job.attempt for job in found if job.status == "succeeded"}


@pytest.mark.slow
def test_a_sweep_whose_worker_and_command_are_killed_repeats_nothing_that_has_finished(
    zoo: Zoo, cache: Path
) -> None:
    share(cache, zoo.home)
    # A worker that stands still for a while keeps its job.
    zoo.env |= {"ZOO_LEASE_SECONDS": "60", "ZOO_SLOTS": "1"}
    args = ("-p", "max_iter=4,5", "-p", "alpha=1e-5,1e-4", "--seeds", "2")
    db = zoo.database()
    jobs.pause(db, "default")
    command = zoo.start("sweep", "logistic", *args, *DIGITS)
    until(lambda: jobs.counts(db).get("queued") == 8)
    late = [job.id for job in jobs.listing(db)][:4]
    jobs.hold(db, late)
    jobs.resume(db, "default")
    until(lambda: jobs.counts(db).get("succeeded", 0) >= 2)
    (worker,) = jobs.workers(db)
    os.kill(worker.pid, signal.SIGKILL)
    command.kill()
    command.communicate()
    jobs.unhold(db, late)
    (ref,) = {str(job.group) for job in jobs.listing(db)}
    before = attempts(zoo, ref)
    assert 2 <= len(before) <= 4
    found = zoo.json("sweep", "--resume", ref[:8])
    after = attempts(zoo, ref)
    assert len(after) == len(found["jobs"]) == 8 and before.items() <= after.items()
    assert all(attempt == 1 for attempt in before.values())
    means = [trial["accuracy"]["mean"] for trial in found["trials"]]
    assert len(means) == 4 and means == sorted(means, reverse=True)
    best = zoo.json("leaderboard")[0]
    assert best["test"]["accuracy"] == means[0]
    shown = zoo.run("show", ref[:8]).stdout.splitlines()
    assert "4 trials of 2 seeds each, 4 succeeded" in shown[0] and len(shown) == 8
    assert shown[-1].startswith(f"best accuracy {means[0]:.4f} ± ")
