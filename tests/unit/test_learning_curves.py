"""Learning curves as the data of charts: what is one chart, and whose the colours are."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zoo.results.learning_curves import NO_CURVE, POINTS, Run, charts, kind_of

NAMES = ["accuracy", "train_accuracy", "val_accuracy", "loss", "val_loss", "f1_macro", "seconds"]
STEPS = st.lists(
    st.dictionaries(st.sampled_from(NAMES), st.none() | st.floats(0, 1), max_size=4), max_size=500
)


def test_a_job_has_a_colour_for_each_metric_and_several_jobs_one_each() -> None:
    steps = [{"step": n, "train_loss": 1 / n, "val_loss": 2 / n} for n in (1, 2)]
    (one,) = charts([Run("a", [*steps, {"step": 3, "epochs": 3.0}], "epoch")])
    assert (one["title"], one["x"]) == ("loss", "epoch")
    assert [(s["name"], s["ink"], s["isDashed"]) for s in one["series"]] == [
        ("train_loss", 0, False),
        ("val_loss", 1, True),
    ]
    (both,) = charts([Run("a", steps, "epoch", "/a"), Run("b", steps, "step", "/b")])
    assert both["x"] == "step"
    assert [(s["name"], s["part"], s["ink"], s["href"]) for s in both["series"]] == [
        ("a", "train_loss", 0, "/a"),
        ("a", "val_loss", 0, "/a"),
        ("b", "train_loss", 1, "/b"),
        ("b", "val_loss", 1, "/b"),
    ]


def test_a_chart_of_one_metric_of_several_jobs_has_its_name() -> None:
    steps = [{"step": n, "train_loss": 1 / n} for n in (1, 2)]
    (both,) = charts([Run("a", steps), Run("b", steps)])
    assert both["title"] == "train_loss" and {s["part"] for s in both["series"]} == {""}


@given(st.lists(STEPS, max_size=3))
def test_every_metric_with_two_values_is_a_line_and_no_other(
    found: list[list[dict[str, Any]]],
) -> None:
    runs = [
        Run(f"{n}", [{"step": i, **step} for i, step in enumerate(steps)])
        for n, steps in enumerate(found)
    ]
    made = charts(runs)
    kinds = [kind_of(chart["title"]) for chart in made]
    first = [kind for kind in ("accuracy", "loss") if kind in kinds]
    assert len(set(kinds)) == len(kinds) and kinds[: len(first)] == first
    lines = [line for chart in made for line in chart["series"]]
    for line in lines:
        assert 2 <= len(line["x"]) == len(line["y"]) <= POINTS
        assert list(line["x"]) == sorted(line["x"]) and None not in line["y"]
    few = [run for run in runs if len(run.steps) <= POINTS]
    if len(few) == len(runs):
        asked = sum(
            sum(step.get(name) is not None for step in run.steps) > 1
            for run in runs
            for name in NAMES
            if name not in NO_CURVE
        )
        assert len(lines) == asked
    assert {kind_of(name) for name in ("train_loss", "val_loss", "loss")} == {"loss"}
