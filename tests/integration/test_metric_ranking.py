"""Results ranked by any metric: the best jobs and groups, the leaderboard, and @best."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from helpers.job_rows import spec

from zoo import jobs
from zoo.errors import UsageError
from zoo.job_spec import Fold
from zoo.jobs import Database, NewDataset, Outcome, ProgressUpdate
from zoo.jobs.environments import Environment
from zoo.metrics import common_heading, heading
from zoo.notebook import frames
from zoo.results.leaderboard import leaderboard_rows

CONTENTS = "d" * 64


def end(db: Database, measured: Sequence[Mapping[str, Any]], contents: str = CONTENTS) -> None:
    """Claim and end the oldest queued jobs with these metrics."""
    models = dict.fromkeys(("logistic", "knn", "dense-softmax"), "p")
    for each in measured:
        taken = jobs.claim(
            db, pool="default", models=models, datasets=["digits"], worker="w", lease=60
        )
        assert taken is not None
        outcome = Outcome("succeeded", dict(each), "a/1", "0" * 64)
        told = ProgressUpdate(environment=Environment(data=contents))
        assert jobs.finish(db, taken[0], outcome, told)


def train(db: Database, kind: str | None = None, *measured: Mapping[str, Any], **of: Any) -> str:
    """Add a job, or a group of jobs, that has ended with these metrics; returns its id."""
    specs = [spec(**of) for _ in measured]
    if kind == "cv":
        k = len(specs)
        specs = [s.model_copy(update={"fold": Fold(k=k, index=i)}) for i, s in enumerate(specs)]
    if kind == "sweep":
        specs = [s.model_copy(update={"params": {"n": n // 2}}) for n, s in enumerate(specs)]
    ids, group = jobs.add(db, specs, group_kind=kind)
    end(db, measured)
    return group or ids[0]


def board(db: Database, metric: str | None = None) -> list[tuple[str, str, float]]:
    """The leaderboard: model, result and value of each row."""
    rows = leaderboard_rows(db, metric=metric)
    return [(row.model, row.result.id, row.value) for row in rows]


@pytest.fixture
def two(db: Database) -> tuple[Database, str, str]:
    """A job that is first by accuracy, and one that is first by F1 and by loss."""
    sure = train(db, None, {"accuracy": 0.9, "f1_macro": 0.4, "loss": 0.5})
    fair = train(db, None, {"accuracy": 0.8, "f1_macro": 0.7, "loss": 0.2}, model="knn")
    train(db, None, {"accuracy": 0.7, "f1_macro": None, "loss": None}, model="dense-softmax")
    return db, sure, fair


def test_each_metric_ranks_in_its_direction_and_leaves_out_results_without_it(
    two: tuple[Database, str, str],
) -> None:
    db, sure, fair = two
    assert [each[1] for each in board(db)][:2] == [sure, fair] and len(board(db)) == 3
    assert board(db, "f1_macro") == [("knn", fair, 0.7), ("logistic", sure, 0.4)]
    assert board(db, "loss") == [("knn", fair, 0.2), ("logistic", sure, 0.5)]
    with pytest.raises(UsageError, match=r"'f1' to rank by.*There are accuracy, f1_macro, loss"):
        board(db, "f1")
    frame = frames.leaderboard_frame(leaderboard_rows(db, metric="loss"))
    assert frame[["model", "metric", "value"]].to_numpy().tolist() == [
        ["knn", "loss", 0.2],
        ["logistic", "loss", 0.5],
    ]
    (first, _) = (row.to_json() for row in leaderboard_rows(db, metric="loss"))
    assert (first["metric"], first["test"]["value"]["mean"]) == ("loss", 0.2)
    assert json.dumps(first)


def test_a_reference_names_the_best_by_a_metric(two: tuple[Database, str, str]) -> None:
    db, sure, fair = two

    def best(ref: str, metric: str | None = None) -> str:
        return jobs.find_reference(db, ref, metric).id

    assert best("@best:digits") == best("@best:digits:accuracy") == sure
    assert best("@best:digits:loss") == best("@best:digits", "loss") == fair
    assert best("@best:digits/logistic:loss") == best("@best:digits/logistic", "loss") == sure
    for ref in ("@best:digits:f1", "@best:digits/knn:f1"):
        with pytest.raises(UsageError, match="No job has the metric 'f1'"):
            best(ref)
    with pytest.raises(UsageError, match=r"of 'dense-softmax' on 'digits' .* has the metric"):
        best("@best:digits/dense-softmax:loss")


def test_groups_are_ranked_by_their_mean_once_all_jobs_have_the_metric(db: Database) -> None:
    train(db, "seeds", {"accuracy": 0.9, "loss": 0.1}, {"accuracy": 0.9, "loss": None})
    steady = train(db, "seeds", {"accuracy": 0.7, "loss": 0.2}, {"accuracy": 0.7, "loss": 0.4})
    lucky = train(db, "seeds", {"accuracy": 0.8, "loss": 0.1}, {"accuracy": 0.8, "loss": 0.9})
    folds = train(db, "cv", {"accuracy": 0.7, "loss": 0.3}, {"accuracy": 0.7, "loss": 0.4})
    (best,) = jobs.best(db, metric="loss")
    assert best.test and best.test.id == steady != lucky
    assert best.cv and best.cv.id == folds
    (row,) = leaderboard_rows(db, metric="loss")
    assert row.test and row.test.value.to_json() == {
        "mean": pytest.approx(0.3),
        "std": pytest.approx(0.2 / 2**0.5),
        "values": [0.2, 0.4],
    }


def test_trials_of_a_sweep_are_ranked_by_the_metric_that_is_asked_for(db: Database) -> None:
    by_trial = [(0.9, 0.9), (0.9, 0.7), (0.7, 0.1), (0.7, 0.3)]
    train(db, "sweep", *({"accuracy": a, "loss": b} for a, b in by_trial))
    found = {name: jobs.best(db, metric=name)[0].test for name in (None, "loss")}
    params = {name: jobs.members(each)[0].spec["params"] for name, each in found.items() if each}
    assert params == {None: {"n": 0}, "loss": {"n": 1}}


def test_a_dataset_is_ranked_by_its_own_metric_once_a_result_has_it(db: Database) -> None:
    meta = {"metric": "f1_macro"}
    jobs.add_dataset(db, NewDataset("mine", CONTENTS, meta, {}, "w", "0" * 64, 1))
    of: dict[str, Any] = {"dataset": "mine", "version": 1, "contents": CONTENTS}
    first = train(db, None, {"accuracy": 0.9, "f1_macro": None}, **of)
    assert board(db) == [("logistic", first, 0.9)]
    assert jobs.find_reference(db, "@best:mine").id == first
    train(db, None, {"accuracy": 0.6, "f1_macro": 0.2})
    fair = train(db, None, {"accuracy": 0.5, "f1_macro": 0.7}, model="knn", **of)
    ranked = [(row.dataset, row.objective.metric, row.value) for row in leaderboard_rows(db)]
    assert ranked == [("digits", "accuracy", 0.6), ("mine", "f1_macro", 0.7)]
    assert jobs.find_reference(db, "@best:mine").id == fair
    assert jobs.find_reference(db, "@best:mine:accuracy").id == first
    by_accuracy = [(row.dataset, row.value) for row in leaderboard_rows(db, metric="accuracy")]
    assert by_accuracy == [("digits", 0.6), ("mine", 0.9), ("mine", 0.5)]
    about = {"objective": "val_loss", "higher_is_better": False}
    (trial,), _ = jobs.add(
        db, [spec(dataset="mine", version=1, contents=CONTENTS)], group_kind="sweep", about=about
    )
    end(db, [{"accuracy": 0.1, "f1_macro": 0.1, "val_loss": 1.0}])
    listed = jobs.listing(db)

    def shown(metric: str | None = None) -> dict[str, str]:
        return {id: by.metric for id, by in jobs.shown_objectives(db, listed, metric).items()}

    # The word of a sweep, else that of the dataset, else accuracy.
    found = shown()
    assert (found[trial], found[fair], found[first]) == ("val_loss", "f1_macro", "accuracy")
    assert set(shown("f1_macro").values()) == {"f1_macro"}
    with pytest.raises(UsageError, match="No job has the metric 'f1'"):
        shown("f1")


def test_only_metrics_of_the_test_images_are_called_so() -> None:
    names = ("accuracy", "cohen_kappa", "val_accuracy", "train_loss", "fit_seconds", "parameters")
    assert [heading(name) for name in names] == [
        *("test accuracy", "test cohen_kappa", "val_accuracy", "train_loss", "fit_seconds"),
        "parameters",
    ]
    assert common_heading(["f1_macro", "f1_macro"]) == "test f1_macro"
    assert common_heading(["f1_macro", "loss"]) == "test result"
    assert common_heading(["f1_macro", "val_loss"]) == common_heading([]) == "result"


@pytest.mark.parametrize("seed", range(2))
def test_the_database_finds_the_best_that_a_search_finds(db: Database, seed: int) -> None:
    draw = random.Random(seed)
    expected: dict[tuple[str, str], float] = {}
    for _ in range(15):
        model, kind = draw.choice(["logistic", "knn"]), draw.choice([None, "seeds", "cv"])
        losses = [draw.choice([0.25, 0.5, 0.75, 1.0]) for _ in range(2 if kind else 1)]
        train(db, kind, *({"accuracy": 0.5, "loss": each} for each in losses), model=model)
        key = (model, "cv" if kind == "cv" else "test")
        expected[key] = min(expected.get(key, 9.0), sum(losses) / len(losses))
    found = {
        (row.model, side): getattr(row, side).value.mean
        for row in leaderboard_rows(db, metric="loss")
        for side in ("test", "cv")
        if getattr(row, side)
    }
    assert found == expected
