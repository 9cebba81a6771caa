"""The Keras models against plain Keras, in a process that has run other jobs before."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_keras import progress, training
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.digit_detector import DigitDetector
from zoo_keras.network import load_keras

from zoo import weights
from zoo.data.preprocessing import prepare
from zoo.errors import ArtifactError, UsageError
from zoo.job_spec import JobSpec
from zoo.training.run import WEIGHT_IMAGES, read_recipe, restore, run_job

pytestmark = pytest.mark.tensorflow
NAMES = list("0123456789")

PLAIN = """
import sys
import numpy as np
import keras

from zoo.data.datasets import raw

for dataset, epochs in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    images, labels = raw(dataset).splits["train"]
    keras.utils.set_random_seed(42)
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images.reshape(-1, 784) / 255.0, labels, epochs=epochs, verbose=0)
    np.savez(f"{dataset}.npz", *model.get_weights())
"""
WITH_MNIST = bool(os.environ.get("ZOO_DATA_DIR"))


class Recorder:
    """Keeps what a model reports."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, int, str, dict[str, float]]] = []

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        self.reports.append((step, total, unit, metrics))

    def done(self, why: str) -> None:
        self.why = why


def dense(**params: Any) -> DenseSoftmax:
    return DenseSoftmax(DenseSoftmax.Params.resolve(params), NAMES, 42)


def detector(class_names: Sequence[str] = NAMES, **params: Any) -> DigitDetector:
    return DigitDetector(DigitDetector.Params.resolve(params), class_names, 42)


@pytest.fixture(scope="module")
def plain_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The weights that a plain script learns in a fresh process: of digits, then of MNIST."""
    folder, asked = tmp_path_factory.mktemp("plain"), ["digits", "5", "mnist", "1"]
    command = [sys.executable, "-c", PLAIN, *asked[: 4 if WITH_MNIST else 2]]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    found = {}
    for file in folder.glob("*.npz"):
        with np.load(file) as arrays:
            found[file.stem] = [arrays[name] for name in arrays.files]
    return found


@pytest.fixture(scope="module")
def fitted() -> tuple[DenseSoftmax, Recorder]:
    """The network with its defaults, trained on digits as the third job of this process."""
    data, report = prepare("digits", "train", "flat", "float32"), Recorder()
    dense(epochs=1, hidden=[8], optimizer="adam").fit(data.x, data.y, Recorder())
    found = detector(epochs=1, digit=3)
    found.fit(data.x, found.labels(data.y), Recorder())
    model = dense()
    model.fit(data.x, data.y, report)
    return model, report


def test_the_third_job_of_a_process_learns_the_weights_of_a_plain_script(
    fitted: tuple[DenseSoftmax, Recorder], plain_weights: dict[str, list[Any]]
) -> None:
    expected = plain_weights["digits"]
    found = fitted[0].network.get_weights()
    assert [w.shape for w in found] == [(784, 10), (10,)]
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.skipif(not WITH_MNIST, reason="ZOO_DATA_DIR names no MNIST files")
def test_on_mnist_the_weights_are_those_of_a_plain_script(
    fitted: tuple[DenseSoftmax, Recorder], plain_weights: dict[str, list[Any]]
) -> None:
    data, model = prepare("mnist", "train", "flat", "float32"), dense(epochs=1)
    model.fit(data.x, data.y, Recorder())
    for ours, theirs in zip(model.network.get_weights(), plain_weights["mnist"], strict=True):
        assert np.abs(ours - theirs).max() < 1e-5


def test_each_epoch_is_reported_with_its_metrics(fitted: tuple[DenseSoftmax, Recorder]) -> None:
    epochs = [r for r in fitted[1].reports if r[2] == "epoch"]
    assert [r[:2] for r in epochs] == [(n, 5) for n in range(1, 6)]
    assert all(r[3].keys() == {"train_accuracy", "train_loss"} for r in epochs)
    assert epochs[-1][3]["train_accuracy"] > epochs[0][3]["train_accuracy"]


@pytest.mark.parametrize("train", [training.fit_in_graph, training.fit_by_keras])
def test_batches_between_are_reported_without_metrics_on_the_same_scale(
    monkeypatch: pytest.MonkeyPatch, train: Any
) -> None:
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(training, "fit", train)
    data, report = prepare("digits", "test", "flat", "float32"), Recorder()
    dense(epochs=2, batch_size=100).fit(data.x, data.y, report)
    epochs = [r for r in report.reports if r[2] == "epoch"]
    batches = [r for r in report.reports if r[2] == "batch"]
    assert [r[:2] for r in epochs] == [(1, 2), (2, 2)]
    assert [n for n, *_ in batches] == sorted(n for n, *_ in batches)
    assert {1, 2, 3, 5, 6, 7} <= {n for n, *_ in batches} <= set(range(1, 9))
    assert all(total == 8 and not metrics for _, total, _, metrics in batches)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"batch_size": 7, "optimizer": "sgd", "hidden": [16, 8], "epochs": 1},
        {"batch_size": 2000, "optimizer": "lion"},
        {"batch_size": 33, "optimizer": "adamw", "hidden": [16], "learning_rate": 0.01},
        {"batch_size": 4, "hidden": [16], "dropout": 0.5, "optimizer": "adam", "epochs": 1},
        {"batch_size": 90, "optimizer": "nadam"},
        {
            "batch_size": 64,
            "hidden": [16],
            "dropout": 0.5,
            "weight_decay": 0.1,
            "optimizer": "adagrad",
        },
    ],
    ids=str,
)
def test_an_epoch_in_a_graph_gives_what_keras_fit_gives_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    data = prepare("digits", "test", "flat", "float32")
    found = []
    for train in (training.fit_by_keras, training.fit_in_graph):
        monkeypatch.setattr(training, "fit", train)
        model, report = dense(**({"epochs": 3} | params)), Recorder()
        model.fit(data.x, data.y, report)
        epochs = [r for r in report.reports if r[2] == "epoch"]
        found.append((model.network.get_weights(), epochs))
    (plain, plain_epochs), (ours, our_epochs) = found
    assert all(np.array_equal(a, b) for a, b in zip(plain, ours, strict=True))
    assert our_epochs == plain_epochs


class Dividing(DenseSoftmax):
    """Divides by the number of images in the batch, as a layer may."""

    def layers(self) -> list[Any]:
        ops, kinds = load_keras().ops, load_keras().layers
        return [kinds.Lambda(lambda x: x / ops.cast(ops.shape(x)[0], "float32")), *super().layers()]


@pytest.mark.parametrize("batch_size", [24, 25])
def test_a_network_that_divides_by_the_size_of_its_batches_learns_the_same_in_a_graph(
    monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    data, found = prepare("digits", "test", "flat", "float32"), []
    for train in (training.fit_by_keras, training.fit_in_graph):
        monkeypatch.setattr(training, "fit", train)
        params = Dividing.Params.resolve({"epochs": 1, "batch_size": batch_size})
        model = Dividing(params, NAMES, 42)
        model.fit(data.x, data.y, Recorder())
        found.append(model.network.get_weights()[0])
    assert np.array_equal(*found)


def test_a_schedule_in_a_graph_is_that_of_keras_fit_but_for_the_last_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, found = prepare("digits", "test", "flat", "float32"), []
    for train, schedule in (
        (training.fit_by_keras, "cosine"),
        (training.fit_in_graph, "cosine"),
        (training.fit_in_graph, "constant"),
    ):
        monkeypatch.setattr(training, "fit", train)
        model = dense(epochs=3, schedule=schedule)
        model.fit(data.x, data.y, Recorder())
        found.append(model.network.get_weights()[0])
    assert np.abs(found[1] - found[0]).max() < 1e-6
    assert np.abs(found[2] - found[0]).max() > 1e-3


def test_the_cosine_ends_at_0_with_the_last_step_of_the_last_epoch() -> None:
    rate = dense(epochs=3, batch_size=7, schedule="cosine", learning_rate=0.5).make_optimizer(15)
    schedule = rate._learning_rate
    assert [float(schedule(step)) for step in (0, 9)] == pytest.approx([0.5, 0.0])


@pytest.mark.parametrize("batch_size", [32, 8])
def test_the_detector_in_a_graph_is_that_of_keras_fit_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    data, found = prepare("digits", "test", "flat", "float32"), []
    for train in (training.fit_by_keras, training.fit_in_graph):
        monkeypatch.setattr(training, "fit", train)
        model, report = detector(epochs=2, digit=3, batch_size=batch_size), Recorder()
        model.fit(data.x, model.labels(data.y), report)
        found.append([r for r in report.reports if r[2] == "epoch"])
        found.append([w.tolist() for w in model.network.get_weights()])
    assert found[:2] == found[2:]


def test_images_are_read_where_they_lie_and_copied_only_where_they_cannot_be() -> None:
    x = prepare("digits", "test", "flat", "float32").x
    shared, copied = training.as_tensor(x), training.as_tensor(x[1:, :-1])
    assert shared._numpy().ctypes.data == x.ctypes.data
    assert np.array_equal(shared, x) and np.array_equal(copied, x[1:, :-1])


def test_a_training_from_a_copy_learns_the_same() -> None:
    data, found = prepare("digits", "test", "flat", "float32"), []
    memory = np.empty(data.x.size + 1, dtype="float32")
    shifted = memory[1:].reshape(data.x.shape)
    shifted[:] = data.x
    for x in (data.x, shifted):
        model = dense(epochs=1)
        model.fit(x, data.y, Recorder())
        found.append(model.network.get_weights()[0])
    assert np.array_equal(*found)


def test_a_network_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    model = dense(epochs=3, batch_size=100)
    build = DenseSoftmax.build_network

    def build_counting(self: DenseSoftmax) -> Any:
        network = build(self)
        step = network.train_step
        network.train_step = lambda batch: traced.append(1) or step(batch)
        return network

    monkeypatch.setattr(DenseSoftmax, "build_network", build_counting)
    data = prepare("digits", "test", "flat", "float32")
    model.fit(data.x, data.y, Recorder())
    assert traced == [1]


@pytest.mark.parametrize("train", [training.fit_in_graph, training.fit_by_keras])
def test_a_fit_leaves_no_graph_behind(monkeypatch: pytest.MonkeyPatch, train: Any) -> None:
    def graphs() -> int:
        gc.collect()
        return sum(type(each).__name__.endswith("FuncGraph") for each in gc.get_objects())

    monkeypatch.setattr(training, "is_known", lambda *_: train is training.fit_in_graph)
    data = prepare("digits", "test", "flat", "float32")
    left = []
    for _ in range(3):
        model = dense(epochs=1, batch_size=100)
        model.fit(data.x, data.y, Recorder())
        del model
        left.append(graphs())
    # The first one also makes what Keras and TensorFlow keep for good.
    assert left[1] == left[2]


@pytest.mark.parametrize(
    "change",
    [
        lambda keras, network: network.compile(jit_compile=True),
        lambda keras, network: network.compile(run_eagerly=True),
        lambda keras, network: keras.config.set_max_epochs(1),
        lambda keras, network: setattr(training, "KNOWN", "2."),
    ],
    ids=["compiled by XLA", "eager", "epochs capped", "another release"],
)
def test_where_fit_does_something_else_keras_trains_plainly(
    monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    keras, network = load_keras(), dense().build_network()
    network.compile(optimizer="sgd", loss="mse")
    monkeypatch.setattr(training, "KNOWN", training.KNOWN)
    rows = training.Rows(np.zeros((1, 784)), np.zeros(1), batch_size=1)
    used = []
    monkeypatch.setattr(training, "fit_by_keras", lambda *a, **k: used.append("plainly"))
    monkeypatch.setattr(training, "fit_in_graph", lambda *a, **k: used.append("in a graph"))
    for prepare_case in (lambda *_: None, change):
        prepare_case(keras, network)
        training.fit(keras, network, rows, progress.Progress(Recorder(), 1))
    keras.config.set_max_epochs(None)
    assert used == ["in a graph", "plainly"]


def test_probabilities_are_those_of_keras(fitted: tuple[DenseSoftmax, Recorder]) -> None:
    x = prepare("digits", "train", "flat", "float32").x
    found = fitted[0].predict_proba(x)
    assert found.shape == (1437, 10)
    assert np.allclose(found, fitted[0].network.predict(x, verbose=0), atol=1e-6)
    assert np.array_equal(found, fitted[0].predict_proba(x))


def test_the_weight_images_and_the_bias_give_the_probabilities_unless_there_are_hidden_layers(
    fitted: tuple[DenseSoftmax, Recorder],
) -> None:
    x, images = prepare("digits", "test", "flat", "float32").x, fitted[0].weight_images()
    assert images is not None and images.shape == (10, 784)
    scores = np.exp(x @ images.T + fitted[0].network.layers[0].bias.numpy())
    expected = fitted[0].predict_proba(x)
    assert np.allclose(scores / scores.sum(axis=1, keepdims=True), expected, atol=1e-5)
    assert dense(hidden=[16]).weight_images() is None


def test_the_weights_are_one_file_and_every_number_counts(
    fitted: tuple[DenseSoftmax, Recorder], tmp_path: Path
) -> None:
    fitted[0].save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.npz"]
    assert fitted[0].parameters() == 785 * 10


def test_the_weights_of_another_network_are_refused(
    fitted: tuple[DenseSoftmax, Recorder], tmp_path: Path
) -> None:
    fitted[0].save(tmp_path)
    with pytest.raises(ArtifactError, match="are expected"):
        dense(hidden=[16]).load(tmp_path)
    weights.save(tmp_path, {"00-kernel": np.zeros((784, 1)), "01-bias": np.zeros(1)})
    with pytest.raises(ArtifactError, match="'00-kernel' as float64"):
        detector().load(tmp_path)


def test_the_learning_rate_is_the_optimizers_own_unless_given() -> None:
    assert float(dense().make_optimizer(100).learning_rate) == pytest.approx(0.001)
    assert float(dense(optimizer="sgd").make_optimizer(100).learning_rate) == pytest.approx(0.01)
    given = dense(optimizer="sgd", learning_rate=0.5).make_optimizer(100)
    assert float(given.learning_rate) == pytest.approx(0.5)


def test_the_detector_tells_its_digit_from_all_others(tmp_path: Path) -> None:
    params = {"digit": 3, "optimizer": "adam", "learning_rate": 0.01}
    spec = {"kind": "train", "model": "digit-detector", "params": params, "dataset": "digits"}
    metrics = run_job(JobSpec.model_validate(spec), tmp_path, Recorder())
    assert list(metrics["per_class"]) == ["not 3", "3"]
    assert metrics["per_class"]["3"]["support"] == 37
    assert metrics["per_class"]["3"]["f1"] > 0.8
    assert metrics["parameters"] == 785
    # The versions of what the plugin requires, too.
    assert {"zoo-keras", "keras", "tensorflow"} <= set(read_recipe(tmp_path).versions)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as file:
        y = prepare("digits", "test", "flat", "float32").y
        assert np.array_equal(file["label"], y == 3)
        assert np.array_equal(file["predicted"], file["probabilities"][:, 1] > 0.5)
    x = prepare("digits", "test", "flat", "float32").x
    assert (restore(tmp_path).predict(x) == (y == 3)).mean() == metrics["accuracy"]
    against, for_it = np.load(tmp_path / WEIGHT_IMAGES)
    assert np.array_equal(against, -for_it) and for_it.any()


def test_a_digit_that_the_dataset_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="has 4 classes, none of which is number 7"):
        detector(NAMES[:4], digit=7)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"epochs": 0}, "epochs=0 is refused"),
        ({"batch_size": 32.0}, "batch_size=32.0 is refused"),
        ({"optimizer": "adm"}, "optimizer='adm' is refused"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is refused"),
        ({"learning_rate": float("inf")}, "learning_rate=inf is refused"),
        ({"hidden": [0]}, r"hidden\.0=0 is refused"),
        ({"hidden": [8] * 17}, "hidden=.* is refused"),
        ({"hiden": [8]}, "Did you mean 'hidden'"),
    ],
)
def test_bad_params_are_refused_in_a_sentence(params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        DenseSoftmax.Params.resolve(params)


def test_a_digit_beyond_9_is_refused() -> None:
    with pytest.raises(UsageError, match="digit=10 is refused"):
        DigitDetector.Params.resolve({"digit": 10})


def test_the_detector_finds_its_class_by_name_wherever_it_stands() -> None:
    letters = detector(NAMES[1:5], digit=3)  # the classes 1, 2, 3, 4
    assert letters.class_names == ["not 3", "3"]
    assert letters.labels(np.arange(4)).tolist() == [0, 0, 1, 0]
    named = detector(["coat", "shoe", "bag"], digit=1)
    assert named.class_names == ["not shoe", "shoe"]
    with pytest.raises(UsageError, match="none of which is number 0"):
        detector(NAMES[1:5], digit=0)
