"""The rows of a training: to train on, to choose by, to judge on; their weights; and its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import added_contents
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from zoo.canonical_json import canonical
from zoo.data.contents import Column
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.model import Stop
from zoo.plugins import registry
from zoo.training import parts
from zoo.training.run import run_job

PLUGIN = '''
"""Models that keep what their `fit` was given."""
import numpy as np

import zoo


class Plain(zoo.Model):
    name = "plain"
    takes = ("table",)
    takes_missing = True
    dtype = "float64"
    given = {}

    def fit(self, x, y, report):
        self.keep(x, y)

    def keep(self, x, y, **given):
        Plain.given = {"x": x, "y": y, **given}
        self.shares = np.bincount(y, minlength=self.n_classes) / len(y)

    def predict_proba(self, x):
        return np.tile(self.shares, (len(x), 1))

    def save(self, folder):
        np.save(folder / "shares.npy", self.shares)

    def load(self, folder):
        self.shares = np.load(folder / "shares.npy")


class Asking(Plain):
    name = "asking"

    def fit(self, x, y, report, *, validation=None, sample_weight=None, checkpoint=None):
        self.keep(x, y, validation=validation, weights=sample_weight, checkpoint=checkpoint)


class OddEven(Asking):
    name = "odd-even"

    def classes(self, class_names):
        return ["even", "odd"]

    def labels(self, y):
        return y % 2


class Classes(Asking):
    name = "classes"

    class Params(zoo.Params):
        class_weight: str | None = zoo.param(None, help="how classes are weighed")
        patience: int | None = zoo.param(None, help="when to end", needs="validation")


class Counting(Plain):
    name = "counting"

    class Params(zoo.Params):
        enough: int = zoo.param(9, help="the step after which it is done")
        catches: bool = zoo.param(False, help="whether it catches Stop")

    def fit(self, x, y, report):
        self.keep(x, y)
        try:
            self.count(report)
        except zoo.Stop:
            if not self.params.catches:
                raise

    def count(self, report):
        for step in range(1, 5):
            Plain.given["step"] = step
            report(step, 4, loss=1 / step, stopped_early=5.0, n_validation=5.0)
            if step == self.params.enough:
                report.done("no better\\n for \\x1b[31m1 epoch" + 600 * "!")
                return


class Stopping(Counting):
    name = "stopping"
    can_stop = True


@zoo.hookimpl
def register_models(register):
    for model in (Plain, Asking, OddEven, Classes, Counting, Stopping):
        register(model)
'''

IRIS, SPECIES = load_iris(return_X_y=True)
# The number of a row is a column: it tells where the row has gone.
ROWS = np.column_stack([IRIS, np.arange(150.0)])
COLUMNS = [Column(name=f"c{n}") for n in range(4)] + [Column(name="row")]
OWN = (ROWS[:12] + 1000, SPECIES[::13][:12])


@pytest.fixture(autouse=True, scope="module")
def installation(module_home: Path) -> Iterator[None]:
    (module_home / "plugins").mkdir()
    (module_home / "plugins" / "keeping.py").write_text(PLUGIN)
    registry.catalogue.cache_clear()
    yield
    registry.catalogue.cache_clear()


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Train on iris; returns what `fit` was given, and the metrics."""

    def train(
        model: str = "asking",
        own: bool = False,
        weights: Any = None,
        report: Callable[..., None] = lambda *a, **k: None,
        **options: Any,
    ) -> dict[str, Any]:
        splits = {"train": (ROWS, SPECIES), "test": (ROWS[::2], SPECIES[::2])}
        splits |= {"validation": OWN} if own else {}
        known = {} if weights is None else {n: weights[: len(y)] for n, (_, y) in splits.items()}
        given = added_contents.a_table(COLUMNS, splits, weights=known)
        meta = added_contents.add("iris", given)
        folder = tmp_path / str(sum(1 for _ in tmp_path.iterdir()))
        folder.mkdir()
        params = registry.model(model).Params.resolve(options.pop("params", {})).model_dump()
        spec = {"kind": "train", "model": model, "params": params, "dataset": "iris"}
        spec |= {"version": 1, "contents": meta.fingerprint} | options
        metrics = run_job(JobSpec.parse(canonical(spec)), folder, report)
        found: dict[str, Any] = registry.model("plain").given  # type: ignore[attr-defined]
        return found | {"metrics": metrics, "folder": folder}

    return train


Train = Callable[..., dict[str, Any]]


def rows(x: Any) -> set[int]:
    return set(x[:, 4].astype(int).tolist())


def expected(share: float, labels: Any = SPECIES, of: Any = None) -> set[int]:
    """The rows that scikit-learn holds out with the seed of the validation rows."""
    numbers = np.arange(len(labels)) if of is None else of
    found = train_test_split(
        numbers, test_size=share, stratify=labels, random_state=parts.VALIDATION_SEED
    )
    return set(found[1].tolist())


def test_validation_rows_are_the_same_for_all_models_and_seeds(train: Train) -> None:
    found = [train(seed=seed, validation=0.2) for seed in (0, 1)]
    for each in found:
        x, y = each["validation"]
        assert rows(x) == expected(0.2)
        assert y.tolist() == SPECIES[sorted(rows(x))].tolist()
        assert rows(each["x"]) == set(range(150)) - rows(x)
        assert each["metrics"]["n_validation"] == 30
    other = train("plain", validation=0.2, preprocess="standardize")
    assert np.array_equal(other["y"], found[0]["y"])


def test_a_model_that_does_not_ask_is_measured_on_them_too(train: Train) -> None:
    found = train("plain", validation=0.2)
    assert "validation" not in found and rows(found["x"]) == set(range(150)) - expected(0.2)
    assert found["metrics"]["val_accuracy"] == pytest.approx(1 / 3)
    shares = np.full((30, 3), 1 / 3)
    assert found["metrics"]["val_loss"] == log_loss(SPECIES[sorted(expected(0.2))], shares)


def test_a_training_without_them_is_as_before(train: Train) -> None:
    found = train()
    assert found["validation"] is found["weights"] is found["checkpoint"] is None
    assert np.array_equal(found["x"], ROWS)
    assert not [name for name in found["metrics"] if "val" in name]
    assert not {"stopped_early", "ended_early"} & set(found["metrics"])


def test_no_step_learns_from_a_validation_row(train: Train) -> None:
    found = train(validation=0.2, preprocess="standardize")
    held_back = sorted(expected(0.2))
    scaler = StandardScaler().fit(np.delete(ROWS, held_back, axis=0))
    # The number of the row would betray one that was learned from.
    assert np.array_equal(found["validation"][0], scaler.transform(ROWS[held_back]))
    assert np.array_equal(found["x"], scaler.transform(np.delete(ROWS, held_back, axis=0)))


def test_the_split_of_a_dataset_is_used_as_it_is(train: Train) -> None:
    found = train(own=True)
    assert np.array_equal(found["validation"][0], OWN[0])
    assert np.array_equal(found["x"], ROWS)
    assert found["metrics"]["n_validation"] == 12


def test_a_share_beside_the_split_of_a_dataset_is_refused(train: Train) -> None:
    with pytest.raises(UsageError, match="has validation rows of its own") as refused:
        train(own=True, validation=0.1)
    assert refused.value.hint == "Leave out --validation."


@pytest.mark.parametrize("own", [False, True])
def test_a_fold_draws_them_from_its_training_rows(train: Train, own: bool) -> None:
    for index, (kept, held_out) in enumerate(StratifiedKFold(5).split(ROWS, SPECIES)):
        found = train(own=own, validation=0.1, fold={"k": 5, "index": index})
        numbers, labels = ROWS[kept, 4].astype(int), SPECIES[kept]
        if own:  # it joins the training rows
            numbers = np.concatenate([numbers, OWN[0][:, 4].astype(int)])
            labels = np.concatenate([labels, OWN[1]])
        chosen = rows(found["validation"][0])
        assert chosen == expected(0.1, labels, numbers)
        assert rows(found["x"]) == set(numbers.tolist()) - chosen
        with np.load(found["folder"] / "predictions.npz", allow_pickle=False) as file:
            assert file["index"].tolist() == held_out.tolist()


def test_a_fold_without_a_share_trains_on_the_split_of_the_dataset_too(train: Train) -> None:
    found = train(own=True, fold={"k": 5, "index": 0})
    assert found["validation"] is None
    assert rows(found["x"]) >= rows(OWN[0]) and len(found["x"]) == 120 + 12


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_with_fewer_rows_than_classes_is_refused(train: Train, share: float) -> None:
    with pytest.raises(UsageError, match="No validation rows can be held out of 'iris'") as refused:
        train(validation=share)
    assert "--validation 0.1" in refused.value.hint


def test_a_class_stays_in_the_training_rows() -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2])
    data = parts.Part(np.zeros((41, 1)), labels, np.arange(41), "f")
    spec = JobSpec(kind="train", model="m", params={}, dataset="d", validation=0.9)
    splits: Any = dict.fromkeys(("train", "test"), data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "whole", lambda part: part)
        with pytest.raises(UsageError, match="would leave no training row of 1 of the classes"):
            parts.divide(spec, splits)
        found = parts.divide(spec.model_copy(update={"validation": 0.1}), splits)
    assert set(found.train.y.tolist()) == {0, 1, 2}


def test_a_model_with_its_own_classes_gets_their_labels(train: Train) -> None:
    found = train("odd-even", validation=0.2, class_weight="balanced")
    labels = SPECIES[sorted(expected(0.2))] % 2
    assert found["validation"][1].tolist() == labels.tolist()
    assert np.array_equal(found["weights"], compute_sample_weight("balanced", found["y"]))
    assert set(found["y"].tolist()) == {0, 1}


WEIGHTS = np.linspace(0.5, 2, 150)


def test_balanced_weights_are_those_of_scikit_learn_and_multiply_the_datasets(train: Train) -> None:
    kept = sorted(set(range(150)) - expected(0.25))
    balanced = compute_sample_weight("balanced", SPECIES[kept])
    found = train(validation=0.25, class_weight="balanced")
    assert np.array_equal(found["weights"], balanced)
    assert len(set(balanced.tolist())) > 1
    found = train(weights=WEIGHTS, validation=0.25)
    assert np.array_equal(found["weights"], WEIGHTS[kept])
    found = train(weights=WEIGHTS, validation=0.25, class_weight="balanced")
    assert np.array_equal(found["weights"], balanced * WEIGHTS[kept])


def test_weights_of_a_fold_are_those_of_its_rows(train: Train) -> None:
    found = train(own=True, weights=WEIGHTS, fold={"k": 5, "index": 1})
    kept = next(iter([*StratifiedKFold(5).split(ROWS, SPECIES)][1:2]))[0]
    assert np.array_equal(found["weights"], np.concatenate([WEIGHTS[kept], WEIGHTS[:12]]))


@pytest.mark.parametrize(
    ("given", "sentence", "way_out"),
    [
        ({"class_weight": "balanced"}, "cannot weigh rows, .* --class-weight", "`zoo models "),
        ({"weights": WEIGHTS}, "cannot weigh rows, .* 'iris' have weights", "without --weight"),
        ({"positive": "1"}, "is for two classes, but 'iris' has 3", "Leave out --positive"),
        (
            {"model": "classes", "class_weight": "balanced", "params": {"class_weight": "x"}},
            "weigh the classes twice",
            "Leave one of them out.",
        ),
        (
            {"model": "classes", "params": {"patience": 3}},
            "patience=3 needs validation rows",
            "--validation 0.1",
        ),
    ],
)
def test_what_is_impossible_is_refused_by_the_worker_too(
    train: Train, given: dict[str, Any], sentence: str, way_out: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        train(**{"model": "plain"} | given)
    assert way_out in refused.value.hint


class Stopper:
    """A `report` that asks the training to stop from some step on."""

    def __init__(self, since: int) -> None:
        self.since = since

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        if step >= self.since:
            raise Stop


@pytest.mark.parametrize("catches", [False, True])
def test_a_stopped_training_is_judged_as_it_is(train: Train, catches: bool) -> None:
    found = train("stopping", report=Stopper(2), params={"catches": catches})
    assert found["step"] == 2
    assert found["metrics"]["stopped_early"] is True
    assert found["metrics"]["loss"] == pytest.approx(
        log_loss(SPECIES[::2], np.full((75, 3), 1 / 3))
    )
    history = json.loads((found["folder"] / "history.json").read_text())
    assert [each["step"] for each in history] == [1, 2]


@pytest.mark.parametrize(("model", "since"), [("counting", 2), ("stopping", 4)])
def test_a_training_that_cannot_stop_or_is_through_is_not_stopped(
    train: Train, model: str, since: int
) -> None:
    found = train(model, report=Stopper(since))
    assert found["step"] == 4
    # Nor does the model's own word count, which reports metrics of these names.
    assert not {"stopped_early", "ended_early", "n_validation"} & set(found["metrics"])


def test_a_training_that_is_done_early_says_why_in_one_line(train: Train) -> None:
    found = train("counting", params={"enough": 3}, validation=0.2)
    assert found["step"] == 3
    assert found["metrics"]["ended_early"] == "no better for 1 epoch" + 479 * "!"
    assert found["metrics"]["n_validation"] == 30
