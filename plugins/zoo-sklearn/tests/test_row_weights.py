"""Weights of rows: the same bits as scikit-learn with `compute_sample_weight`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.multiclass import OneVsOneClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits
from zoo_sklearn import MODELS, SklearnModel, sparse
from zoo_sklearn.classifier import ArraysModel
from zoo_sklearn.digits import DIGITS

from zoo import weights
from zoo.errors import UsageError
from zoo.job_spec import JobSpec
from zoo.model import fit_arguments
from zoo.queue import submit
from zoo.queue.options import TrainingOptions
from zoo.sweeps.plan import SweepRequest, TrialBuilder
from zoo.training.run import run_job

KINDS = {kind.name: kind for kind in MODELS}
EPOCHS = {"loss": "log_loss", "max_iter": 5, "random_state": 42}
LIKE: dict[str, tuple[dict[str, Any], Any]] = {
    "logistic": ({}, SGDClassifier(**EPOCHS)),
    "svm": ({"C": 0.1}, SVC(C=0.1, cache_size=1000, break_ties=True)),
    "boosted-stumps": (
        {"max_iter": 5, "max_features": 1.0},
        HistGradientBoostingClassifier(
            max_iter=5,
            learning_rate=0.5,
            l2_regularization=1,
            max_leaf_nodes=2,
            early_stopping=False,
            random_state=42,
        ),
    ),
    "random-forest": (
        {"n_estimators": 23},
        RandomForestClassifier(n_estimators=23, random_state=42),
    ),
    "hist-gradient-boosting": (
        {"max_iter": 5},
        HistGradientBoostingClassifier(max_iter=5, random_state=42),
    ),
    "mlp": (
        {"hidden": [8], "max_iter": 5},
        MLPClassifier((8,), max_iter=5, random_state=42),
    ),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, and no warnings of few steps."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=["balanced", "any"])
def data(request: pytest.FixtureRequest) -> tuple[Any, Any, Any]:
    """Wine, standardized, and weights of its rows."""
    x, y = load_wine(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    if request.param == "balanced":
        return x, y, compute_sample_weight("balanced", y)
    return x, y, np.arange(len(y)) % 7 / 2


def made(name: str, n_features: int, n_classes: int = 3, **params: Any) -> Any:
    kind = KINDS[name]
    model = kind(kind.Params.resolve(params), [f"class {n}" for n in range(n_classes)], 42)
    model.input_shape = (n_features,)
    return model


def ignore(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    pass


def test_all_models_but_the_nearest_neighbours_weigh_rows() -> None:
    unable = [kind.name for kind in MODELS if "sample_weight" not in fit_arguments(kind)]
    assert unable == ["knn"]


@pytest.mark.parametrize("name", LIKE)
def test_a_weighted_fit_is_scikit_learns_bit_for_bit(name: str, data: tuple[Any, Any, Any]) -> None:
    x, y, row_weights = data
    params, plain = LIKE[name]
    model = made(name, 13, **params)
    x = x.astype(model.dtype)
    model.fit(x, y, ignore, sample_weight=row_weights)
    plain.fit(x, y, sample_weight=row_weights)
    assert np.array_equal(model.predict(x), plain.predict(x))
    score = "decision_function" if name == "svm" else "predict_proba"
    found = getattr(model.classifier, score)(x)
    assert np.array_equal(found, getattr(plain, score)(x))
    assert not np.array_equal(found, getattr(plain.fit(x, y), score)(x))


def test_a_class_whose_rows_weigh_nothing_is_as_absent_for_support_vectors(
    data: tuple[Any, Any, Any],
) -> None:
    x, y, row_weights = data
    model = made("svm", 13)
    model.fit(x, y, ignore, sample_weight=np.where(y == 1, 0, row_weights))
    others = y != 1
    plain = made("svm", 13)
    plain.fit(x[others], y[others], ignore, sample_weight=row_weights[others])
    assert np.array_equal(model.predict_proba(x), plain.predict_proba(x))


@pytest.mark.parametrize("with_weights", [True, False])
def test_each_pair_has_the_weights_of_its_rows(
    data: tuple[Any, Any, Any], with_weights: bool
) -> None:
    x, y, row_weights = data
    given = row_weights if with_weights else None
    model = made("pairwise-linear", 13)
    model.fit(x, y, ignore, sample_weight=given)
    plain = OneVsOneClassifier(SGDClassifier(**EPOCHS | {"max_iter": 20})).fit(x, y)
    assert model.classifier.n_features_in_ == plain.n_features_in_
    for index, (first, second) in enumerate([(0, 1), (0, 2), (1, 2)]):
        rows = (y == first) | (y == second)
        kept = row_weights[rows] if with_weights else None
        pair = SGDClassifier(**EPOCHS | {"max_iter": 20})
        pair.fit(x[rows], (y[rows] == second).astype(int), sample_weight=kept)
        found = model.classifier.estimators_[index]
        assert np.array_equal(found.coef_, pair.coef_)
        assert np.array_equal(found.coef_, plain.estimators_[index].coef_) != with_weights


def test_weights_count_in_the_linear_classifier_of_features(data: tuple[Any, Any, Any]) -> None:
    x, y, row_weights = data
    x = x.astype("float32")
    model = made("rbf-network", 13, centres=12)
    model.fit(x, y, ignore, sample_weight=row_weights)
    centres = np.concatenate(
        [KMeans(4, n_init=1, random_state=42).fit(x[y == n]).cluster_centers_ for n in range(3)]
    )
    features = rbf_kernel(x, centres, gamma=0.04)
    plain = RidgeClassifier(alpha=0.01).fit(features, y, sample_weight=row_weights)
    assert np.array_equal(model.predict(x), plain.predict(features))
    assert np.allclose(model.classifier.coef_, plain.coef_, rtol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize(
    "params", [{}, {"loss": "hinge"}, {"penalty": None, "average": 1}, {"class_weight": "balanced"}]
)
def test_the_sparse_path_weighs_as_the_dense_one(n_classes: int, params: dict[str, Any]) -> None:
    images, labels = load_digits(return_X_y=True)
    x, y = np.where(images > 6, images / 16, 0), labels % n_classes
    row_weights = np.arange(len(y)) % 7 / 2
    ours, theirs = (made("logistic", 64, n_classes, **params).classifier for _ in range(2))
    assert sparse.takes_same_steps(ours)
    sparse.fit(ours, x, y, row_weights)
    theirs.fit(x, y, sample_weight=row_weights)
    for name in ("coef_", "intercept_", "n_iter_", "t_"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


class Pipeline(SklearnModel):
    """A pipeline within a pipeline."""

    name = "pipeline"

    def make(self) -> Any:
        return make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), self.last()))

    def last(self) -> Any:
        return LogisticRegression()


class Unweighted(Pipeline):
    """A pipeline whose last step takes no weights."""

    def last(self) -> Any:
        return LinearDiscriminantAnalysis()


def test_the_last_step_of_a_pipeline_has_the_weights(data: tuple[Any, Any, Any]) -> None:
    x, y, row_weights = data
    model = Pipeline(Pipeline.Params(), list("abc"), 42)
    model.fit(x, y, ignore, sample_weight=row_weights)
    scaled = StandardScaler().fit_transform(StandardScaler().fit_transform(x))
    plain = LogisticRegression().fit(scaled, y, row_weights)
    assert np.array_equal(model.classifier[-1][-1].coef_, plain.coef_)


def test_an_estimator_without_weights_is_a_sentence(data: tuple[Any, Any, Any]) -> None:
    x, y, row_weights = data
    model = Unweighted(Unweighted.Params(), list("abc"), 42)
    model.fit(x, y, ignore)
    with pytest.raises(UsageError, match="LinearDiscriminantAnalysis of scikit-learn takes no"):
        model.fit(x, y, ignore, sample_weight=row_weights)


def test_class_weight_is_refused_beside_the_models_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path))
    options = TrainingOptions("digits", class_weight="balanced")
    assert submit.training("logistic", {}, options)[0].class_weight == "balanced"
    with pytest.raises(UsageError, match="would weigh the classes twice"):
        submit.training("logistic", {"class_weight": "balanced"}, options)
    trials = TrialBuilder(SweepRequest("logistic", options))
    assert trials.specs({"alpha": 0.1})
    with pytest.raises(UsageError, match="would weigh the classes twice"):
        trials.specs({"class_weight": "balanced"})


def test_a_training_with_class_weight_has_scikit_learns_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    (x, y), (x_test, y_test) = (
        (images.reshape(-1, 784) / 255.0, labels) for images, labels in DIGITS.load().values()
    )
    plain = SGDClassifier(**EPOCHS).fit(x, y, sample_weight=compute_sample_weight("balanced", y))
    folder = tmp_path / "job"
    folder.mkdir()
    given = {"model": "logistic", "params": {}, "dataset": "digits", "class_weight": "balanced"}
    run_job(JobSpec.parse_object({"kind": "train", **given}), folder, ignore)
    with np.load(folder / "weights" / weights.FILE) as kept:
        assert np.array_equal(kept["coef"], plain.coef_)
    assert plain.score(x_test, y_test) > 0.9


def test_a_model_of_arrays_need_not_weigh_rows() -> None:
    assert fit_arguments(ArraysModel) == ()
