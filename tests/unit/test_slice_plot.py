"""The picture of a sweep's metric against each param, as coordinates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from helpers import hostile_texts
from helpers.finished_jobs import a_spec
from helpers.swept_jobs import pruned_sweep
from hypothesis import given
from hypothesis import strategies as st

from zoo import jobs
from zoo.jobs import Group, Job
from zoo.sweeps import slice_plot as slices
from zoo.sweeps.importance import Importance
from zoo.sweeps.slice_plot import SlicePlot, slice_plot


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job, from which trials are made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        db = jobs.connect()
        (one,), _ = jobs.add(db, [a_spec()])
        yield jobs.get(db, one)
        db.close()


def swept(
    job: Job, params: Sequence[dict[str, Any]], values: Sequence[float | None], **about: Any
) -> Group:
    """A sweep whose trials have ended; those without a value have failed."""
    made = [
        replace(
            job,
            id=f"{n:032x}",
            seq=n,
            created_at=float(n),
            spec=job.spec | {"params": params[n]},
            status="failed" if value is None else "succeeded",
            metrics={} if value is None else {"accuracy": 0.5, "val_loss": value},
            contents="d" * 64,
        )
        for n, value in enumerate(values)
    ]
    objective = {"objective": "val_loss", "higher_is_better": False}
    return Group("g" * 32, "sweep", 0.0, made, objective | about)


def check_parallel(plot: SlicePlot) -> None:
    """Trials have the places of their dots, the best one first, and links only where asked."""
    linked = {plot.trials[0].job}
    found = plot.parallel("#job-", linked)
    places = [place for trial in found["trials"] for place in trial["at"]]
    places += [place for axis in found["axes"] for place, _ in axis["ticks"]]
    assert all(-0.05 <= place <= 1.05 for place in places)
    assert {len(trial["at"]) for trial in found["trials"]} == {len(plot.panels) + 1}
    assert [bool(trial["job"]) for trial in found["trials"]].count(True) == 1
    ranks = [trial["rank"] for trial in found["trials"] if trial["kind"] == "done"]
    assert ranks == sorted(ranks, reverse=True)
    assert not plot.has_best or found["trials"][0]["kind"] == "best"


def check(plot: SlicePlot, n_trials: int) -> None:
    """Everything lies within its axes, labels do not overlap, and one dot is the best."""
    assert plot.notes or all(len(panel.dots) == n_trials for panel in plot.panels)
    check_parallel(plot)
    for panel in plot.panels:
        assert all(slices.LEFT <= dot.x <= slices.RIGHT for dot in panel.dots)
        assert all(slices.TOP <= dot.y <= slices.BOTTOM for dot in panel.dots)
        assert Counter(dot.kind for dot in panel.dots)["best"] == 1
        assert panel.dots[-1].kind == "best"
        for line in (0, 1):
            mine = [tick for tick in panel.ticks if tick.line == line]
            assert all(slices.LEFT <= tick.at <= slices.RIGHT for tick in mine)
            for one, two in pairwise(mine):
                letters = (slices.letters(one.text) + slices.letters(two.text)) / 2
                assert two.at - one.at >= letters * slices.LETTER, (one, two)
    assert all(slices.TOP <= tick.at <= slices.BOTTOM for tick in plot.ticks)
    assert 1 <= len(plot.ticks) <= 7 and len({tick.text for tick in plot.ticks}) == len(plot.ticks)


NUMBERS = st.floats(-1e308, 1e308, allow_subnormal=True) | st.integers(-9, 99).map(float)
PARAMS = hostile_texts.values | NUMBERS | st.lists(st.integers(0, 9), max_size=3)


@given(
    trials=st.lists(st.tuples(PARAMS, PARAMS, NUMBERS | st.none()), min_size=2, max_size=30),
    name=hostile_texts.names,
)
def test_any_params_and_metrics_are_drawn_within_the_picture(
    job: Job, trials: list[tuple[Any, Any, float | None]], name: str
) -> None:
    params = [{"a": one, f"{name}b": two, "c": n} for n, (one, two, _) in enumerate(trials)]
    values = [value for *_, value in trials]
    plot = slice_plot(swept(job, params, values), [])
    measured = [value for value in values if value is not None]
    if not measured:
        assert plot is None
        return
    assert plot is not None
    check(plot, len(measured))
    if len(measured) < len(values):
        failed = len(values) - len(measured)
        assert plot.notes[0].endswith(f"without a value: {failed} failed.")


@given(
    low=st.floats(1e-300, 1e300),
    ratio=st.floats(1.01, 1e6),
    shares=st.lists(st.sampled_from([n / 200 for n in range(201)]), min_size=3, unique=True),
    is_log=st.booleans(),
)
def test_a_range_has_the_axis_of_its_search_space(
    job: Job, low: float, ratio: float, shares: list[float], is_log: bool
) -> None:
    high = low * ratio
    params = [low * ratio**s if is_log else low + s * (high - low) for s in shares]
    space = {"x": {"low": low, "high": high, "log": is_log}}
    group = swept(job, [{"x": each} for each in params], range(len(params)), space=space)
    plot = slice_plot(group, [])
    assert plot is not None
    check(plot, len(params))
    (panel,) = plot.panels
    assert panel.scale == ("log" if is_log else "linear")
    across = {dot.job: dot.x for dot in panel.dots}
    wide = slices.RIGHT - slices.LEFT - 2 * slices.INSET
    for each, share in zip(group.jobs, shares, strict=True):
        assert across[each.id] == pytest.approx(slices.LEFT + slices.INSET + share * wide, abs=0.2)


def test_values_of_a_list_are_categories_and_wide_losses_have_a_logarithmic_axis(
    job: Job,
) -> None:
    listed = {"k": {"values": [100, 1, 10]}, "p": {"values": ["l2", None, [1, 2]]}}
    params = [{"k": k, "p": p} for k in (100, 1) for p in ("l2", None, [1, 2])]
    plot = slice_plot(swept(job, params, [0.01, 0.1, 1, 10, 100, 100], space=listed), [])
    assert plot is not None
    check(plot, 6)
    numbers, others = plot.panels
    assert [tick.text for tick in numbers.ticks] == ["1", "10", "100"]
    assert [tick.text for tick in others.ticks] == ["l2", "null", "[1, 2]"]
    assert (numbers.scale, others.scale, plot.is_log) == ("categories", "categories", True)
    assert [tick.text for tick in plot.ticks] == ["0.01", "0.1", "1", "10", "100"]
    best = numbers.dots[-1]
    assert best.job == f"{0:032x}" and best.y > max(dot.y for dot in numbers.dots[:-1])
    assert best.text == "val_loss 0.0100: k=100, p=l2, job 00000000"


@pytest.mark.parametrize("space", ["x", {"a": "x"}, {"a": {"low": "x", "high": 1, "log": True}}])
def test_a_damaged_search_space_leaves_the_values(job: Job, space: Any) -> None:
    plot = slice_plot(swept(job, [{"a": 1}, {"a": 2}], [0.1, 0.2], space=space), [])
    assert plot is not None and [panel.name for panel in plot.panels] == ["a"]


def test_a_large_sweep_is_thinned_out_with_its_best_trial(job: Job) -> None:
    params = [{f"p{k}": n * k for k in range(1, 16)} for n in range(601)]
    values = [abs(n - 301) + 1.0 for n in range(601)]
    plot = slice_plot(swept(job, params, values), [])
    assert plot is not None
    check(plot, 0)
    assert plot.notes == ["202 of 601 trials are drawn.", "3 more params vary."]
    assert len(plot.panels) == slices.MOST_PANELS
    assert plot.panels[0].dots[-1].job == f"{301:032x}"


def test_pruned_trials_are_apart_and_the_most_important_param_is_first(home: Any) -> None:
    db = jobs.connect()
    group = jobs.get_group(db, pruned_sweep(db, "kind", ["x", "y"]))
    rungs = jobs.list_rungs(db, group.id)
    plot = slice_plot(group, rungs, Importance("val_accuracy", 1, {"kind": 0.9, "rate": 0.1}))
    assert plot is not None and plot.has_partial
    check(plot, 8)
    assert [panel.name for panel in plot.panels] == ["kind", "rate"]
    counts = Counter(dot.kind for dot in plot.panels[0].dots)
    statuses = Counter(each.status for each in group.jobs)
    assert counts == {
        "partial": statuses["pruned"],
        "done": statuses["succeeded"] - 1,
        "best": 1,
    }
    partial = next(dot for dot in plot.panels[0].dots if dot.kind == "partial")
    assert " at epoch 1, pruned: kind=" in partial.text
    assert plot.notes == ["1 trial without a value: 1 failed."]
    db.close()
