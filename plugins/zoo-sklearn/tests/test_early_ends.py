"""Trainings that end before their last step: stopped, or by validation rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from zoo_sklearn import MODELS
from zoo_sklearn.boosting import HistGradientBoosting
from zoo_sklearn.perceptron import Perceptron

import zoo
from zoo.model import fit_arguments

KINDS = {kind.name: kind for kind in MODELS}
STOPPABLE: dict[str, dict[str, Any]] = {
    "random-forest": {"n_estimators": 30},
    "boosted-stumps": {"max_iter": 9},
    "hist-gradient-boosting": {"max_iter": 9, "early_stopping": True},
    "mlp": {"hidden": [8], "max_iter": 9, "early_stopping": True},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, and no warnings of few steps."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Told(list[dict[str, Any]]):
    """A report function that keeps its metrics, and may stop after some steps."""

    why = ""

    def __init__(self, most: int = 10**6) -> None:
        super().__init__()
        self.most = most

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        self.append({"step": step, "total": total, **metrics})
        if len(self) == self.most:
            raise zoo.Stop

    def done(self, why: str) -> None:
        self.why = why


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    x, y = load_wine(return_X_y=True)
    return StandardScaler().fit_transform(x), y


def made(kind: type[zoo.Model], **params: Any) -> Any:
    model = kind(kind.Params.resolve(params), list("abc"), 42)
    model.input_shape = (13,)
    return model


def test_the_models_that_can_be_stopped_and_those_with_checkpoints() -> None:
    assert {kind.name for kind in MODELS if kind.can_stop} == set(STOPPABLE)
    able = {kind.name for kind in MODELS if "checkpoint" in fit_arguments(kind)}
    assert able == {*STOPPABLE, "logistic", "pairwise-linear"}
    able = {kind.name for kind in MODELS if "validation" in fit_arguments(kind)}
    assert able == {"hist-gradient-boosting", "mlp"}


@pytest.mark.parametrize("name", STOPPABLE)
def test_a_stopped_model_is_the_one_of_fewer_steps(
    name: str, data: tuple[Any, Any], tmp_path: Path
) -> None:
    params = STOPPABLE[name]
    x, y = data[0].astype(KINDS[name].dtype), data[1]
    model, again = made(KINDS[name], **params), made(KINDS[name], **params)
    report = Told(most=2)
    with pytest.raises(zoo.Stop):
        model.fit(x, y, report)
    steps = "n_estimators" if name == "random-forest" else "max_iter"
    plain = made(KINDS[name], **params | {steps: report[-1]["step"]})
    plain.fit(x, y, Told())
    assert np.array_equal(model.predict_proba(x), plain.predict_proba(x))
    assert model.parameters() == plain.parameters()
    model.save(tmp_path)
    again.load(tmp_path)
    assert np.array_equal(again.predict_proba(x), plain.predict_proba(x))
    # The same model can be fitted again.
    model.fit(x, y, Told())
    assert not np.array_equal(model.predict_proba(x), plain.predict_proba(x))


def test_boosting_ends_by_the_validation_rows_as_scikit_learn_does(data: tuple[Any, Any]) -> None:
    x, x_val, y, y_val = train_test_split(*data, test_size=0.4, random_state=0)
    params = {"early_stopping": True, "n_iter_no_change": 2, "learning_rate": 0.5}
    report, model = Told(), made(HistGradientBoosting, **params)
    model.fit(x, y, report, validation=(x_val, y_val))
    plain = HistGradientBoostingClassifier(**params, random_state=42)
    plain.fit(x, y, X_val=x_val, y_val=y_val)
    assert np.array_equal(model.predict_proba(x), plain.predict_proba(x))
    assert report[-1]["step"] == plain.n_iter_ < 100
    assert report.why == "no better for 2 rounds"
    assert [each["val_loss"] for each in report] == [-s for s in plain.validation_score_[1:]]
    assert report[-1]["val_loss"] == pytest.approx(log_loss(y_val, plain.predict_proba(x_val)))
    # A class that only the validation rows have is left out of them.
    model.fit(x[y > 0], y[y > 0], Told(), validation=(x_val, y_val))


def test_boosting_without_early_stopping_looks_at_no_validation_rows(data: tuple[Any, Any]) -> None:
    model, plain, report = *(made(HistGradientBoosting, max_iter=3) for _ in range(2)), Told()
    model.fit(*data, report, validation=data)
    plain.fit(*data, Told())
    assert np.array_equal(model.predict_proba(data[0]), plain.predict_proba(data[0]))
    model = made(HistGradientBoosting, max_iter=3, early_stopping=False)
    model.fit(*data, report, validation=data)
    assert "val_loss" not in report[-1]


class InOrder(Perceptron):
    """A network that takes the rows in their order, so that each epoch is one partial_fit."""

    def make(self) -> Any:
        return super().make().set_params(shuffle=False)


def test_a_perceptron_ends_by_the_validation_rows_with_its_best_weights(
    data: tuple[Any, Any],
) -> None:
    x, x_val, y, y_val = train_test_split(*data, test_size=0.3, random_state=0)
    params = {"hidden": [8], "early_stopping": True, "n_iter_no_change": 3, "learning_rate": 0.02}
    report, model = Told(), made(InOrder, **params, batch_size=16)
    model.fit(x, y, report, validation=(x_val, y_val))

    plain = MLPClassifier(
        (8,), learning_rate_init=0.02, batch_size=16, shuffle=False, random_state=42
    )
    best, waited, accuracies = -1.0, 0, []
    while waited <= 3:
        plain.partial_fit(x, y, classes=[0, 1, 2])
        accuracies.append(accuracy_score(y_val, plain.predict(x_val)))
        waited = waited + 1 if accuracies[-1] < best + 0.0001 else 0
        if accuracies[-1] > best:
            best, kept = accuracies[-1], plain.predict_proba(x)
    assert [each["val_accuracy"] for each in report] == accuracies
    assert report.why == "no better for 3 epochs"
    assert np.array_equal(model.predict_proba(x), kept)


def test_validation_rows_change_no_bit_of_a_perceptron_that_runs_all_epochs(
    data: tuple[Any, Any],
) -> None:
    model, report = made(Perceptron, hidden=[8], max_iter=4), Told()
    model.fit(*data, report, validation=data)
    plain = MLPClassifier((8,), max_iter=4, random_state=42).fit(*data)
    assert np.array_equal(model.predict_proba(data[0]), plain.predict_proba(data[0]))
    assert report[-1]["val_loss"] == log_loss(data[1], plain.predict_proba(data[0]))
    assert [each["train_loss"] for each in report] == plain.loss_curve_


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"solver": "sgd"}], ids=str)
def test_reports_change_no_bit_of_a_perceptron(data: tuple[Any, Any], params: Any) -> None:
    model = made(Perceptron, hidden=[8], max_iter=30, **params)
    model.fit(*data, Told())
    plain = MLPClassifier((8,), max_iter=30, random_state=42, **params).fit(*data)
    assert np.array_equal(model.predict_proba(data[0]), plain.predict_proba(data[0]))
    assert model.classifier.get_params() == plain.get_params()
    assert model.classifier.loss_curve_ == plain.loss_curve_
