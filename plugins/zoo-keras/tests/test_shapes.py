"""The networks on inputs of other shapes: colour, small images, tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_sample_images
from zoo_keras import training
from zoo_keras.cnn import Cnn
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.digit_detector import DigitDetector
from zoo_keras.lenet import LeNet1, LeNet4, LeNet5
from zoo_keras.network import KerasModel, load_keras
from zoo_keras.progress import Progress

from zoo.errors import UsageError

pytestmark = pytest.mark.tensorflow


def ignore(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    pass


def patches(side: int, *, grey: bool = False) -> tuple[Any, Any]:
    """Parts of scikit-learn's two photographs, scaled, and which of the two each is from."""
    found, labels = [], []
    for label, photograph in enumerate(load_sample_images().images):
        for top in range(0, 400, 40):
            for left in range(0, 600, 60):
                found.append(photograph[top : top + side, left : left + side] / 255.0)
                labels.append(label)
    order = np.random.default_rng(0).permutation(len(labels))
    x = np.array(found, dtype="float32")[order]
    return (x.mean(axis=3) if grey else x), np.array(labels)[order]


def trained(
    kind: type[KerasModel], x: Any, y: Any, names: Sequence[str], **params: Any
) -> KerasModel:
    model = kind(kind.Params.resolve(params), names, 42)
    model.input_shape = x.shape[1:]
    model.fit(x, model.labels(y), ignore)
    return model


def exported(model: KerasModel, x: Any, path: Path) -> Any:
    """The probabilities of the model in ONNX."""
    import onnxruntime

    model.export("onnx", path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"x": x})[0]


PHOTOGRAPHS = ("china", "flower")


@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_the_cnn_learns_photographs_and_comes_back_bit_for_bit(tmp_path: Path, grey: bool) -> None:
    x, y = patches(32, grey=grey)
    params = {"maps": [8, 16], "epochs": 8, "learning_rate": 0.01, "batch_size": 20}
    model = trained(Cnn, x, y, PHOTOGRAPHS, **params)
    found = model.predict_proba(x)
    # Without colour a meadow is hard to tell from a wall.
    assert (found.argmax(axis=1) == y).mean() > (0.7 if grey else 0.9)
    (tmp_path / "weights").mkdir()
    model.save(tmp_path / "weights")
    loaded = Cnn(model.params, PHOTOGRAPHS, 1)
    loaded.input_shape = x.shape[1:]
    loaded.load(tmp_path / "weights")
    assert np.array_equal(loaded.predict_proba(x), found)
    assert np.allclose(exported(model, x, tmp_path / "model.onnx"), found, atol=1e-4)


def test_normalization_in_a_graph_is_that_of_keras_fit_to_the_last_bit() -> None:
    keras, (x, y) = load_keras(), patches(16)
    found = []
    for train in (training.fit_in_graph, training.fit_by_keras):
        model = Cnn(Cnn.Params.resolve({"maps": [4], "flip": False}), PHOTOGRAPHS, 42)
        model.input_shape = x.shape[1:]
        keras.utils.set_random_seed(42)
        network = model.build_network()
        network.compile(optimizer="adam", loss=model.loss, metrics=["accuracy"])
        train(keras, network, training.Rows(x, y, 20), Progress(ignore, 2))
        found.append(network.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("kind", [LeNet1, LeNet4, LeNet5])
@pytest.mark.parametrize("shape", [(12, 12), (12, 30, 3), (15, 15), (16, 16, 3), (33, 20)], ids=str)
def test_a_lenet_takes_images_of_12_pixels_and_more(
    kind: type[KerasModel], shape: tuple[int, ...], tmp_path: Path
) -> None:
    x = np.random.default_rng(0).random((6, *shape)).astype("float32")
    model = kind(kind.Params.resolve({}), ("a", "b", "c"), 42)
    model.input_shape = shape
    model.network = model.build_network()
    found = model.predict_proba(x)
    assert found.shape == (6, 3)
    assert np.allclose(exported(model, x, tmp_path / "model.onnx"), found, atol=1e-5)


IRIS, SPECIES = load_iris(return_X_y=True)
TABLE = IRIS.astype("float32")
NAMES = load_iris().target_names.tolist()
FAST = {"epochs": 40, "optimizer": "adam", "learning_rate": 0.05}


def test_the_dense_network_learns_a_table(tmp_path: Path) -> None:
    model = trained(DenseSoftmax, TABLE, SPECIES, NAMES, **FAST)
    assert (model.predict(TABLE) == SPECIES).mean() > 0.9
    assert model.network.input_shape == (None, 4)


def test_the_detector_tells_one_class_of_any_name_from_the_rest() -> None:
    model = trained(DigitDetector, TABLE, SPECIES, NAMES, **FAST, target="setosa")
    assert model.class_names == ["not setosa", "setosa"]
    assert (model.predict(TABLE) == (SPECIES == 0)).mean() > 0.9
    with pytest.raises(UsageError, match="No class is called 'setos'"):
        DigitDetector(DigitDetector.Params.resolve({"target": "setos"}), NAMES, 42)
