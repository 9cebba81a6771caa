"""The models on tables and images of any size: each fold has the bits of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits
from zoo_sklearn import MODELS, sparse
from zoo_sklearn.logistic import Logistic, LogisticParams

from zoo.data import datasets, incoming
from zoo.data.contents import Column
from zoo.data.incoming import Incoming
from zoo.job_spec import JobSpec
from zoo.training import run

LOADERS = {"iris": load_iris, "wine": load_wine, "breast-cancer": load_breast_cancer}
K = 5
FOLDS = StratifiedKFold(K)


@pytest.fixture(scope="module", autouse=True)
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A ZOO_HOME of its own for the datasets; and one thread, as other tests run as well."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def add(x: Any, y: Any, columns: tuple[Column, ...] | None = None) -> str:
    """Keep a table, or images, among the added datasets; returns its fingerprint."""
    if x.ndim == 2 and columns is None:
        missing = np.isnan(x).any(axis=0)
        columns = tuple(
            Column(name=f"c{n}", has_missing=bool(each)) for n, each in enumerate(missing)
        )
    given = Incoming(
        "table" if columns else "image",
        x.shape[1:],
        {"train": y, "test": y},
        {"train": lambda: [x], "test": lambda: [x]},
        x.dtype.name,
        columns or (),
    )
    folder = datasets.added_folder("new")
    folder.mkdir(parents=True, exist_ok=True)
    meta = incoming.write(folder, "mine", given)
    target = datasets.added_folder(meta.fingerprint)
    if not target.is_dir():
        folder.rename(target)
    return meta.fingerprint


def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    """Take a report."""


def train(folder: Path, contents: str, model: str, **values: Any) -> dict[str, Any]:
    """Run a training in this process; returns its metrics."""
    spec = {"kind": "train", "model": model, "params": {}, "dataset": "mine", "version": 1}
    folder.mkdir()
    job = JobSpec.parse_object(spec | {"contents": contents} | values)
    return run.run_job(job, folder, report)


def check_folds(
    folder: Path, data: tuple[str, Any, Any], pipeline: Any, job: Mapping[str, Any]
) -> None:
    """Run the five jobs of a cross-validation and compare them with scikit-learn's."""
    contents, x, y = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = cross_validate(pipeline, x, y, cv=FOLDS, return_estimator=True)
    for index, (_, held_out) in enumerate(FOLDS.split(x, y)):
        fold = {"fold": {"k": K, "index": index}, "keep_weights": False}
        found = train(folder / str(index), contents, **fold, **job)
        assert found["accuracy"] == expected["test_score"][index]
        fitted = expected["estimator"][index]
        with np.load(folder / str(index) / run.PREDICTIONS) as predictions:
            assert np.array_equal(predictions["index"], held_out)
            assert np.array_equal(predictions["predicted"], fitted.predict(x[held_out]))
            if hasattr(fitted, "predict_proba"):
                probabilities = fitted.predict_proba(x[held_out]).astype("float32")
                assert np.array_equal(predictions["probabilities"], probabilities)


LIKE: dict[str, tuple[dict[str, Any], Any]] = {
    "logistic": ({}, SGDClassifier(loss="log_loss", max_iter=5, random_state=42)),
    "svm": ({"kernel": "linear"}, SVC(C=10, kernel="linear", break_ties=True)),
    "random-forest": ({"n_estimators": 6}, RandomForestClassifier(6, random_state=42)),
    "hist-gradient-boosting": (
        {"max_iter": 3, "max_leaf_nodes": 4},
        HistGradientBoostingClassifier(max_iter=3, max_leaf_nodes=4, random_state=42),
    ),
    "mlp": (
        {"hidden": [8], "max_iter": 5},
        MLPClassifier([8], max_iter=5, random_state=42),
    ),
}
"""Params of a model, and the same classifier of scikit-learn."""


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("model", LIKE)
def test_each_fold_is_that_of_cross_validate_bit_for_bit(
    model: str, name: str, tmp_path: Path
) -> None:
    x, y = LOADERS[name](return_X_y=True)
    params, estimator = LIKE[model]
    job = {"model": model, "params": params, "preprocess": "standardize"}
    check_folds(tmp_path, (add(x, y), x, y), make_pipeline(StandardScaler(), estimator), job)


def test_missing_numbers_are_filled_in_by_the_training_rows_of_each_fold(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    x[::7, 1] = np.nan
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LIKE["logistic"][1])
    job = {"model": "logistic", "preprocess": "impute,standardize"}
    check_folds(tmp_path, (add(x, y), x, y), pipeline, job)


@pytest.mark.parametrize("model", ["random-forest", "hist-gradient-boosting"])
def test_trees_take_missing_numbers_as_they_are(model: str, tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    x[::3, 2] = np.nan
    params, estimator = LIKE[model]
    check_folds(tmp_path, (add(x, y), x, y), estimator, {"model": model, "params": params})


def test_a_column_that_only_held_out_rows_have_reaches_no_step(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    # Missing for every row but those of the first fold, for which it is the label.
    betrayal = np.full(len(y), np.nan)
    held_out = next(iter(FOLDS.split(x, y)))[1]
    betrayal[held_out] = 1e6 * y[held_out]
    contents = add(np.column_stack([x, betrayal]), y)
    job = {"preprocess": "impute,standardize", "fold": {"k": K, "index": 0}}
    train(tmp_path / "job", contents, "logistic", **job)
    fitted = run.restore_steps(tmp_path / "job")
    filled, scaled = fitted.learned
    assert filled["mean"][-1] == scaled["mean"][-1] == 0
    assert scaled["scale"][-1] == 1


def test_categories_are_those_of_the_dataset_in_each_fold(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    # The rows of the category 3 are all in the last fold.
    kinds = np.digitize(x[:, 3], [0.25, 1.4]).astype("float64")
    kinds[list(FOLDS.split(x, y))[-1][1]] = 3.0
    values = np.column_stack([x[:, :3], kinds])
    columns = (
        *(Column(name=name) for name in "abc"),
        Column(name="kind", kind="category", categories=("low", "middle", "high", "last")),
    )
    encoder = OneHotEncoder(categories=[[0.0, 1.0, 2.0, 3.0]], sparse_output=False)
    encoded = np.column_stack([x[:, :3], encoder.fit_transform(kinds[:, None])])
    pipeline = make_pipeline(StandardScaler(), LIKE["logistic"][1])
    job = {"model": "logistic", "preprocess": "standardize"}
    check_folds(tmp_path, (add(values, y, columns), encoded, y), pipeline, job)


def test_a_model_of_a_table_comes_back_and_draws_no_weights(tmp_path: Path) -> None:
    x, y = load_wine(return_X_y=True)
    train(tmp_path / "job", add(x, y), "logistic", preprocess="standardize")
    model, fitted = run.restore(tmp_path / "job"), run.restore_steps(tmp_path / "job")
    assert (model.n_features, list(model.feature_names)) == (13, [f"c{n}" for n in range(13)])
    assert model.weight_images() is None
    assert not (tmp_path / "job" / run.WEIGHT_IMAGES).exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = make_pipeline(StandardScaler(), LIKE["logistic"][1]).fit(x, y)
    found = model.predict_proba(fitted.apply(x, "float64"))
    assert np.array_equal(found, plain.predict_proba(x))  # type: ignore[arg-type]


SMALL: dict[str, dict[str, Any]] = {name: params for name, (params, _) in LIKE.items()} | {
    "pca-quadratic": {"components": 4, "max_iter": 5},
    "rbf-network": {"centres": 10},
    "boosted-stumps": {"max_iter": 3, "max_features": 1.0},
    "mlp": {"hidden": [8], "solver": "lbfgs", "max_iter": 50},
}
TAKE_TABLES = [model.name for model in MODELS if "table" in model.takes]


def check_return(folder: Path, contents: str, model: str, x: Any, **job: Any) -> Any:
    """Train a model, restore it, and compare what both predict for the rows of the test split."""
    found = train(folder, contents, model, params=SMALL.get(model, {}), **job)
    restored, fitted = run.restore(folder), run.restore_steps(folder)
    probabilities = restored.predict_proba(fitted.apply(x, restored.dtype))
    with np.load(folder / run.PREDICTIONS) as predictions:
        assert np.array_equal(predictions["probabilities"], probabilities.astype("float32"))
    assert found["accuracy"] > 0.75
    return restored


@pytest.mark.parametrize("model", TAKE_TABLES)
def test_each_model_of_tables_learns_one_and_comes_back(model: str, tmp_path: Path) -> None:
    x, y = load_wine(return_X_y=True)
    restored = check_return(tmp_path / "job", add(x, y), model, x, preprocess="standardize")
    assert restored.n_features == 13


@pytest.mark.parametrize("model", [model.name for model in MODELS])
def test_each_model_learns_small_images_in_colour_and_comes_back(
    model: str, tmp_path: Path
) -> None:
    y = np.arange(90) % 3
    images = np.random.default_rng(0).integers(0, 99, (90, 4, 5, 3), dtype="uint8")
    images[np.arange(90), :, :, y] += 150
    restored = check_return(
        tmp_path / "job", add(images, y), model, (images / 255.0).reshape(90, -1)
    )
    assert restored.n_features == 60
    drawn = restored.weight_images()
    assert drawn is None or drawn.shape == (3, 60)


def test_boosted_stumps_that_were_loaded_send_missing_numbers_the_same_way(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    x[::3, 2] = np.nan
    check_return(tmp_path / "job", add(x, y), "boosted-stumps", x)


@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("params", [{}, {"average": 1}, {"class_weight": "balanced"}])
def test_negative_and_large_values_have_the_bits_of_scikit_learn_on_either_path(
    share: float, params: dict[str, Any]
) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 40)) * 10.0 ** draw.integers(-3, 4, size=40)
    x *= draw.random(x.shape) < share
    y = draw.integers(0, 3, size=300)
    ours = Logistic(LogisticParams.resolve(params), ["a", "b", "c"], 42).classifier
    theirs = SGDClassifier(**ours.get_params())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse.fit(ours, x, y)
        theirs.fit(x, y)
    assert np.array_equal(ours.coef_, theirs.coef_)
    assert np.array_equal(ours.intercept_, theirs.intercept_)
