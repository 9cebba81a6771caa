"""Models whose weights are an estimator of scikit-learn: the same bits, and nothing untrusted."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits
from zoo_sklearn import SklearnModel, export
from zoo_sklearn.boosting import HistGradientBoosting
from zoo_sklearn.estimator import FILE
from zoo_sklearn.forest import RandomForest
from zoo_sklearn.knn import NearestNeighbours
from zoo_sklearn.logistic import Logistic
from zoo_sklearn.perceptron import Perceptron
from zoo_sklearn.svm import SupportVectors

from zoo import cores
from zoo.errors import ArtifactError, UsageError
from zoo.model import Model
from zoo.testing import parametrize_with_checks

Given = dict[str, Any]
FEW: list[tuple[type[SklearnModel], Given]] = [
    (RandomForest, {"n_estimators": 6}),
    (HistGradientBoosting, {"max_iter": 3, "max_leaf_nodes": 4}),
    (Perceptron, {"hidden": [8, 4], "max_iter": 5}),
]
each = pytest.mark.parametrize("number", range(len(FEW)), ids=[kind.name for kind, _ in FEW])


@pytest.fixture(scope="module", autouse=True)
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A ZOO_HOME of its own for the prepared data; and one thread, as other tests run as well."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def ignore(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    pass


def data(kind: type[Model], load: Callable[..., Any] = load_wine) -> tuple[Any, Any]:
    x, y = load(return_X_y=True)
    return x.astype(kind.dtype), y


def made(kind: type[Any], params: Given, x: Any, n_classes: int = 3, seed: int = 42) -> Any:
    model = kind(kind.Params.resolve(params), [f"class {n}" for n in range(n_classes)], seed)
    model.input_shape = x.shape[1:]
    return model


@functools.cache
def once(number: int) -> SklearnModel:
    """A model fitted once for all tests, which do not change it."""
    kind, params = FEW[number]
    x, y = data(kind)
    model = made(kind, params, x)
    model.fit(x, y, ignore)
    return model


@each
@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_a_model_learns_and_comes_back_bit_for_bit(number: int, load: Any, tmp_path: Path) -> None:
    kind, params = FEW[number]
    x, y = data(kind, load)
    model, loaded = (made(kind, params, x, len(set(y))) for _ in range(2))
    model.fit(x, y, ignore)
    model.save(tmp_path)
    loaded.load(tmp_path)
    assert np.array_equal(loaded.predict_proba(x), model.predict_proba(x))
    assert np.array_equal(model.predict(x), model.classifier.predict(x))
    assert (loaded.parameters() or 0) == (model.parameters() or 0) > 0
    assert loaded.classifier.get_params() == model.classifier.get_params()


@each
def test_a_class_that_training_lacks_is_never_predicted(number: int, tmp_path: Path) -> None:
    kind, params = FEW[number]
    x, y = data(kind)
    model, loaded = (made(kind, params, x) for _ in range(2))
    model.fit(x[y != 1], y[y != 1], ignore)
    model.save(tmp_path)
    loaded.load(tmp_path)
    found = loaded.predict_proba(x)
    assert found.shape == (len(x), 3)
    assert not found[:, 1].any()


PARAMS: list[tuple[type[SklearnModel], Given]] = [
    (RandomForest, {}),
    (HistGradientBoosting, {}),
    (Perceptron, {}),
    (
        RandomForest,
        {
            **{"n_estimators": 7, "criterion": "entropy", "max_depth": 5, "max_leaf_nodes": 20},
            **{"min_samples_split": 3, "min_samples_leaf": 2, "max_features": 0.5},
            **{"max_samples": 0.7, "ccp_alpha": 0.01, "class_weight": "balanced"},
        },
    ),
    (
        HistGradientBoosting,
        {
            **{"max_iter": 7, "learning_rate": 0.2, "max_leaf_nodes": None, "max_depth": 3},
            **{"min_samples_leaf": 5, "l2_regularization": 1.0, "max_features": 0.5},
            **{"max_bins": 99, "early_stopping": True, "validation_fraction": 0.2},
            **{"n_iter_no_change": 3, "tol": 0.001, "class_weight": "balanced"},
        },
    ),
    (
        Perceptron,
        {"solver": "sgd", "activation": "tanh", "alpha": 0.1, "batch_size": 16, "momentum": 0.5}
        | {"max_iter": 9, "tol": 0.01, "n_iter_no_change": 2, "early_stopping": True},
    ),
]


@pytest.mark.parametrize(("kind", "params"), PARAMS)
def test_every_param_reaches_the_estimator_and_defaults_are_scikit_learns(
    kind: type[SklearnModel], params: Given
) -> None:
    found = made(kind, params, np.zeros((1, 4)), seed=7).classifier
    assert found.get_params() == type(found)(**params, random_state=7).get_params()


@pytest.mark.parametrize("class_weight", [None, "balanced", "balanced_subsample"])
@pytest.mark.parametrize("n_estimators", [1, 9, 23])
def test_a_forest_that_grows_in_batches_is_the_one_of_a_single_fit(
    n_estimators: int, class_weight: str | None
) -> None:
    params = {"n_estimators": n_estimators, "class_weight": class_weight}
    x, y = data(RandomForest)
    model, reports = made(RandomForest, params, x), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(x, y, lambda step, total, unit: reports.append((step, total, unit)))
    expected = RandomForestClassifier(**params, random_state=42).fit(x, y)
    assert np.array_equal(model.predict_proba(x), expected.predict_proba(x))
    assert model.classifier.get_params() == expected.get_params()
    assert reports[-1] == (n_estimators, n_estimators, "tree")
    assert len(reports) <= 10


def test_threads_and_cores_that_a_worker_lends_change_no_bit_of_a_forest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = data(RandomForest)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    models = [made(RandomForest, FEW[0][1], x) for _ in range(2)]
    models[0].fit(x, y, ignore)
    cores.here.cache_clear()
    with cores.lend(1, 2), cores.held():
        assert cores.here() is not None
        models[1].fit(x, y, ignore)
    cores.here.cache_clear()
    for model in models:
        assert np.array_equal(model.predict_proba(x), once(0).predict_proba(x))


def test_a_perceptron_reports_the_loss_of_each_epoch_and_keeps_no_optimizer() -> None:
    x, y = data(Perceptron)
    reports: list[Any] = []
    model = made(Perceptron, {"max_iter": 3, "hidden": [4]}, x)
    model.fit(x, y, lambda *step, **metrics: reports.append((*step, metrics)))
    losses = model.classifier.loss_curve_
    assert reports == [(n, 3, "epoch", {"train_loss": losses[n - 1]}) for n in (1, 2, 3)]
    assert not [name for name in vars(model.classifier) if "optimizer" in name]
    model = made(Perceptron, {"solver": "lbfgs", "max_iter": 3, "hidden": [4]}, x)
    model.fit(x, y, ignore)
    assert np.isfinite(model.predict_proba(x)).all()


class Scaled(SklearnModel):
    """A pipeline as somebody else's model has it."""

    name = "scaled"

    def make(self) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression())


def test_a_pipeline_is_a_model_in_five_lines(tmp_path: Path) -> None:
    x, y = data(Scaled)
    model, loaded = made(Scaled, {}, x), made(Scaled, {}, x)
    model.fit(x, y, ignore)
    model.save(tmp_path)
    loaded.load(tmp_path)
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    assert np.array_equal(loaded.predict_proba(x), plain.predict_proba(x))


def break_left(forest: Any) -> Any:
    forest.estimators_[3].tree_.children_left[0] = 10**6
    return forest


def break_cycle(forest: Any) -> Any:
    forest.estimators_[0].tree_.children_right[0] = 0
    return forest


def break_feature(forest: Any) -> Any:
    forest.estimators_[0].tree_.feature[0] = 13
    return forest


def break_bins(boosting: Any) -> Any:
    tree = next(tree for each in boosting._predictors for tree in each if len(tree.nodes) > 1)
    tree.nodes["is_categorical"][0] = 1
    return boosting


def break_node(boosting: Any) -> Any:
    tree = next(tree for each in boosting._predictors for tree in each if len(tree.nodes) > 1)
    tree.nodes["feature_idx"][0] = 13
    return boosting


def break_layer(network: Any) -> Any:
    network.coefs_[0] = network.coefs_[0][:, 1:]
    return network


def of_two_classes(fitted: Any) -> Any:
    x, y = load_wine(return_X_y=True)
    return RandomForestClassifier(2).fit(x, y + 1)


def of_four_features(fitted: Any) -> Any:
    return RandomForestClassifier(2).fit(*load_iris(return_X_y=True))


def unfitted(fitted: Any) -> Any:
    return type(fitted)()


@pytest.mark.parametrize(
    ("number", "change"),
    [
        *((0, change) for change in (break_left, break_cycle, break_feature, of_two_classes)),
        *((0, change) for change in (of_four_features, unfitted)),
        *((1, change) for change in (break_bins, break_node, unfitted, of_four_features)),
        *((2, change) for change in (break_layer, unfitted, of_four_features)),
    ],
)
def test_weights_that_do_not_belong_together_are_refused(
    number: int, change: Any, tmp_path: Path
) -> None:
    kind, params = FEW[number]
    once(number).save(tmp_path)
    fitted = export.read_skops(tmp_path / FILE, kind.trusted)
    export.write_skops(change(fitted), tmp_path / FILE)
    x, _ = data(kind)
    with pytest.raises(ArtifactError, match=r"are not those of 3 classes|not trusted"):
        made(kind, params, x).load(tmp_path)


def test_types_that_the_model_does_not_list_and_damaged_files_are_refused(tmp_path: Path) -> None:
    x, y = data(Scaled)
    model = made(Scaled, {}, x)
    code = make_pipeline(FunctionTransformer(warnings.warn), LogisticRegression())
    export.write_skops(code, tmp_path / FILE)
    with pytest.raises(ArtifactError, match=r"are not trusted: _warnings\.warn.*`trusted`: TREES"):
        model.load(tmp_path)
    model.fit(x, y, ignore)
    model.save(tmp_path)
    file = tmp_path / FILE
    for damaged in (b"", b"PK\x03\x04", file.read_bytes()[:-200]):
        file.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="cannot be read"):
            model.load(tmp_path)
    file.unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        model.load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "params", "sentence"),
    [
        (RandomForest, {"n_estimators": 0}, "n_estimators=0 is refused"),
        (RandomForest, {"max_features": 1.5}, "max_features"),
        (RandomForest, {"max_features": "all"}, "max_features"),
        (RandomForest, {"bootstrap": False, "max_samples": 0.5}, "^max_samples is the part"),
        (HistGradientBoosting, {"max_bins": 256}, "max_bins=256 is refused"),
        (HistGradientBoosting, {"early_stopping": "auto"}, "early_stopping='auto' is refused"),
        (Perceptron, {"hidden": []}, "hidden"),
        (Perceptron, {"hidden": [0]}, "hidden.0=0 is refused"),
    ],
)
def test_bad_params_are_refused_in_a_sentence(
    kind: type[Model], params: Given, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        kind.Params.resolve(params)


@each
def test_exported_files_predict_the_same(number: int, tmp_path: Path) -> None:
    import onnxruntime

    (kind, _), model = FEW[number], once(number)
    x, _ = data(kind)
    expected = model.predict_proba(x)
    model.export("skops", tmp_path / "m.skops")
    labels, probabilities = model.predict_exported("skops", tmp_path / "m.skops", x)
    assert np.array_equal(labels, model.predict(x))
    assert np.array_equal(probabilities, expected)  # type: ignore[arg-type]
    if "onnx" in kind.formats:
        model.export("onnx", tmp_path / "m.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
        assert session.get_inputs()[0].shape == [None, 13]
        labels, probabilities = session.run(["label", "probabilities"], {"x": x})
        assert np.array_equal(labels, model.predict(x))
        assert np.allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (Logistic, {}),
        (Logistic, {"loss": "hinge"}),
        (SupportVectors, {"kernel": "linear"}),
        (NearestNeighbours, {}),
        *FEW[::2],
    ],
)
def test_an_onnx_file_of_two_classes_predicts_the_same(
    kind: type[Model], params: Given, tmp_path: Path
) -> None:
    import onnxruntime

    x, y = load_breast_cancer(return_X_y=True)
    x = StandardScaler().fit_transform(x).astype(kind.dtype)
    model = made(kind, params, x, 2)
    model.fit(x, y, ignore)
    model.export("onnx", tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    labels, *probabilities = session.run(None, {"x": x})
    assert np.array_equal(labels, model.predict(x))
    expected = model.predict_proba(x)
    assert bool(probabilities) == (expected is not None)
    for found in probabilities:
        # onnxruntime computes the kernels of an SVM in float32.
        assert np.allclose(found, expected, atol=1e-4)


@parametrize_with_checks(FEW)
def test_an_estimator_keeps_the_contract(check: Any) -> None:
    check()
