"""The classics of scikit-learn, on a few hundred digits: each learns, repeats, and comes back."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from zoo_sklearn.features import Quadratic, RadialBases
from zoo_sklearn.knn import NearestNeighbours
from zoo_sklearn.pairwise import PairwiseLinear
from zoo_sklearn.stumps import BoostedStumps
from zoo_sklearn.svm import SupportVectors

import zoo
from zoo import weights
from zoo.data.preprocessing import prepare
from zoo.errors import ArtifactError, UsageError

NAMES = list("0123456789")
N = 400
CLASSICS: list[tuple[type[zoo.Model], dict[str, Any]]] = [
    (PairwiseLinear, {}),
    (NearestNeighbours, {"weights": "distance"}),
    (Quadratic, {"components": 10, "max_iter": 30}),
    (RadialBases, {"centres": 50}),
    (SupportVectors, {}),
    (
        SupportVectors,
        {"kernel": "poly", "degree": 4, "gamma": 2.0, "coef0": 1.0, "unit_length": True},
    ),
    (BoostedStumps, {"max_iter": 8, "max_features": 0.1}),
]
HAS_ONEDAL = find_spec("sklearnex") is not None
needs_onedal = pytest.mark.skipif(
    not HAS_ONEDAL, reason="scikit-learn-intelex is for processors of x86-64"
)
if HAS_ONEDAL:
    CLASSICS.append((SupportVectors, {"solver": "onedal"}))

each_classic = pytest.mark.parametrize(
    "number", range(len(CLASSICS)), ids=[kind.name for kind, _ in CLASSICS]
)


@pytest.fixture(scope="module", autouse=True)
def installation(module_home: Path) -> Iterator[None]:
    """A ZOO_HOME of its own for the prepared data; and one thread, as other tests run as well."""
    # Imported before: only what is loaded can be limited.
    from sklearn import cluster, ensemble  # noqa: F401

    with threadpool_limits(1):
        yield


def data(kind: type[zoo.Model], split: str) -> tuple[Any, Any]:
    found = prepare("digits", split, kind.layout, kind.dtype)
    return found.x, found.y


def ignore(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    pass


def made(kind: type[zoo.Model], params: dict[str, Any], n_classes: int = 10) -> zoo.Model:
    return kind(kind.Params.resolve(params), NAMES[:n_classes], 42)


def fitted(
    kind: type[zoo.Model], params: dict[str, Any], n_classes: int = 10, n_images: int = N
) -> zoo.Model:
    model, (x, y) = made(kind, params, n_classes), data(kind, "train")
    model.fit(x[:n_images], y[:n_images] % n_classes, ignore)
    return model


@functools.cache
def once(number: int, n_classes: int = 10) -> Any:
    """A classic fitted once for all tests, which do not change it."""
    return fitted(*CLASSICS[number], n_classes)


def probabilities(model: zoo.Model, x: Any) -> Any:
    found = model.predict_proba(x)
    assert found is not None
    return found


@each_classic
@pytest.mark.parametrize("n_classes", [10, 2])
def test_a_classic_learns_and_comes_back_bit_for_bit(
    number: int, n_classes: int, tmp_path: Path
) -> None:
    (kind, params), model = CLASSICS[number], once(number, n_classes)
    x, y = data(kind, "test")
    found = probabilities(model, x)
    assert found.shape == (len(x), n_classes)
    assert np.allclose(found.sum(axis=1), 1)
    assert (model.predict(x) == y % n_classes).mean() > 0.8
    model.save(tmp_path)
    loaded = made(kind, params, n_classes)
    loaded.load(tmp_path)
    assert np.array_equal(probabilities(loaded, x), found)
    assert loaded.parameters() == model.parameters()


@each_classic
def test_a_classic_repeats_with_its_seed(number: int) -> None:
    (kind, params), (x, _) = CLASSICS[number], data(CLASSICS[number][0], "test")
    again = fitted(kind, params)
    assert np.array_equal(probabilities(again, x), probabilities(once(number), x))


@each_classic
def test_a_class_that_training_lacks_is_never_predicted(number: int, tmp_path: Path) -> None:
    kind, params = CLASSICS[number]
    x, y = data(kind, "train")
    kept = y[:200] != 4
    model, loaded = made(kind, params), made(kind, params)
    model.fit(x[:200][kept], y[:200][kept], ignore)
    model.save(tmp_path)
    loaded.load(tmp_path)
    found = probabilities(loaded, x[N:600])
    assert found.shape == (200, 10)
    assert not found[:, 4].any()


@each_classic
def test_the_prediction_is_scikit_learns_own(number: int) -> None:
    model, (x, _) = once(number), data(CLASSICS[number][0], "test")
    seen = model.features(x) if hasattr(model, "features") else x
    assert np.array_equal(model.predict(x), model.classifier.predict(seen))


@each_classic
def test_one_class_alone_is_refused_and_one_image_again_and_again_is_not(number: int) -> None:
    (kind, params), (x, y) = CLASSICS[number], data(CLASSICS[number][0], "train")
    with pytest.raises(UsageError, match="all of one class"):
        made(kind, params).fit(x[:50], y[:50] * 0, ignore)
    same, model = np.repeat(x[:1], 60, axis=0), made(kind, params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(same, y[:60], ignore)
    found = probabilities(model, x[:20])
    assert np.isfinite(found).all() and np.allclose(found.sum(axis=1), 1)


def test_fewer_images_than_neighbours_are_refused() -> None:
    with pytest.raises(UsageError, match="There are 20 training inputs, fewer than n_neighbors"):
        fitted(NearestNeighbours, {"n_neighbors": 21}, n_images=20)


def test_a_tie_of_votes_goes_by_the_margins_as_the_probabilities_do() -> None:
    model: Any
    model, (x, y) = made(SupportVectors, {}), data(SupportVectors, "test")
    # Labels without sense: no class wins all its pairs.
    model.fit(x[:200], np.roll(y[:200], 1), ignore)
    assert np.array_equal(model.classifier.predict(x), model.predict(x))
    model.classifier.break_ties = False
    assert not np.array_equal(model.classifier.predict(x[200:]), model.predict(x[200:]))


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        (SupportVectors, "n_support", lambda a: a + 1),
        (SupportVectors, "support_vectors", lambda a: a[1:]),
        (SupportVectors, "dual_coef", lambda a: a[:, 1:].copy()),
        (SupportVectors, "classes", lambda a: a[1:]),
        (SupportVectors, "classes", lambda a: a + 1),
        (BoostedStumps, "feature_idx", lambda a: a + 784),
        (BoostedStumps, "left", lambda a: a * 0),
        (BoostedStumps, "right", lambda a: a + 3),
        (BoostedStumps, "sizes", lambda a: a * 0),
        (BoostedStumps, "sizes", lambda a: -a),
        (BoostedStumps, "baseline", lambda a: a[:, 1:].copy()),
        (PairwiseLinear, "coef", lambda a: a[1:]),
        (NearestNeighbours, "y", lambda a: a[1:]),
        (NearestNeighbours, "y", lambda a: a % 2),
        (Quadratic, "components", lambda a: a[1:]),
        (RadialBases, "centres", lambda a: a[1:]),
    ],
)
def test_weights_that_do_not_belong_together_are_refused(
    kind: type[zoo.Model], name: str, change: Any, tmp_path: Path
) -> None:
    number = next(n for n, (each, _) in enumerate(CLASSICS) if each is kind)
    model = once(number)
    arrays = model.arrays() | {"classes": model.classifier.classes_}
    weights.save(tmp_path, arrays | {name: change(arrays[name])})
    with pytest.raises(ArtifactError, match="are not those of 10 classes"):
        made(kind, CLASSICS[number][1]).load(tmp_path)


@needs_onedal
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"unit_length": True, "gamma": 2.5},
        {"kernel": "poly", "degree": 4, "gamma": 2.0, "coef0": 1.0, "C": 1.0, "unit_length": True},
        {"kernel": "linear", "C": 0.1},
    ],
    ids=["rbf", "unit length", "poly", "linear"],
)
def test_onedal_finds_the_machine_of_libsvm(
    params: dict[str, Any], weighted: bool, classes: int
) -> None:
    x, y = data(SupportVectors, "train")
    x, y = x[:N], y[:N] % classes
    weight = np.random.default_rng(0).integers(0, 3, N).astype("float64")
    given = {"sample_weight": weight} if weighted else {}
    models = [
        made(SupportVectors, params | {"solver": solver}, classes)
        for solver in ("libsvm", "onedal")
    ]
    inputs, _ = data(SupportVectors, "test")
    margins = []
    for model in models:
        model.fit(x, y, ignore, **given)
        model.classifier.decision_function_shape = "ovo"  # votes jump where a margin is 0
        margins.append(model.scores(inputs))
    # Each ends where no condition is missed by more than 0.001.
    assert np.allclose(*margins, atol=0.02)


def test_a_missing_solver_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "daal4py", None)
    x, y = data(SupportVectors, "train")
    model = made(SupportVectors, {"solver": "onedal"})
    with pytest.raises(UsageError, match="needs scikit-learn-intelex, which is not installed"):
        model.fit(x[:N], y[:N], ignore)
