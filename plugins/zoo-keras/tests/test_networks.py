"""The networks: the contract, the LeNets, and the event files that a training leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.digit_detector import DigitDetector
from zoo_keras.lenet import LeNet, LeNet1, LeNet4, LeNet5
from zoo_keras.tensorboard import EventFiles

from zoo import weights
from zoo.data.preprocessing import prepare
from zoo.job_spec import JobSpec
from zoo.testing import parametrize_with_checks
from zoo.training.run import run_job

pytestmark = pytest.mark.tensorflow
NAMES = list("0123456789")
ONE_EPOCH = DenseSoftmax.Params.resolve({"epochs": 1})


def ignore(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
    pass


@parametrize_with_checks(
    [(DenseSoftmax, {"epochs": 1, "hidden": [16, 8]}), (DigitDetector, {"epochs": 1})]
)
def test_the_networks_keep_the_contract(check: Any) -> None:
    check()


# --- the LeNets ---


LENETS: list[tuple[type[LeNet], dict[str, Any]]] = [
    (LeNet1, {}),
    (LeNet4, {"activation": "relu", "pooling": "max", "dropout": 0.1}),
    (LeNet5, {"distortion": 0.05, "schedule": "cosine", "weight_decay": 0.001}),
]
FAST = {"epochs": 6, "batch_size": 20, "optimizer": "adam", "learning_rate": 0.01}


def lenet(kind: type[LeNet], n_images: int = 0, **params: Any) -> LeNet:
    """The network, trained if there are images to train it on."""
    model = kind(kind.Params.resolve(params), NAMES, 42)
    if n_images:
        x, y, *_ = prepare("digits", "train", "image", "float32")
        model.fit(x[:n_images], y[:n_images], ignore)
    return model


@pytest.mark.parametrize(("kind", "params"), LENETS, ids=["lenet-1", "lenet-4", "lenet-5"])
def test_a_lenet_learns_and_comes_back_bit_for_bit(
    kind: type[LeNet], params: dict[str, Any], tmp_path: Path
) -> None:
    model, loaded = lenet(kind, 500, **FAST | params), lenet(kind, **FAST | params)
    x, y, *_ = prepare("digits", "test", "image", "float32")
    found = model.predict_proba(x)
    assert (found.argmax(axis=1) == y).mean() > 0.8
    model.save(tmp_path)
    loaded.load(tmp_path)
    assert np.array_equal(loaded.predict_proba(x), found)


def test_the_lenets_have_as_many_weights_as_with_all_maps_joined() -> None:
    assert [lenet(kind).build_network().count_params() for kind, _ in LENETS] == [
        4 * 26 + 12 * (4 * 25 + 1) + 10 * (12 * 16 + 1),
        4 * 26 + 16 * (4 * 25 + 1) + 120 * 401 + 10 * 121,
        61_706,
    ]


def test_distortions_repeat_with_the_seed_and_are_for_training_alone() -> None:
    params = {"epochs": 1, "distortion": 0.1, "dropout": 0.5}
    one, two = (lenet(LeNet5, 32, **params) for _ in range(2))
    x = prepare("digits", "test", "image", "float32").x
    assert np.array_equal(one.predict_proba(x), two.predict_proba(x))
    distort, image = one.network.layers[1:4], x[:1, :, :, None]
    assert all(np.array_equal(layer(image, training=False), image) for layer in distort)
    assert not any(np.array_equal(layer(image, training=True), image) for layer in distort)


def events(folder: Path) -> dict[tuple[str, int], Any]:
    """What the event files in a folder say: {(tag, step): value}, as TensorBoard reads them."""
    import tensorflow as tf

    found = {}
    for file in folder.rglob("*tfevents*"):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found[value.tag, event.step] = tf.make_ndarray(value.tensor)
    return found


def run_dense(folder: Path, **params: Any) -> dict[str, Any]:
    folder.mkdir()
    asked = DenseSoftmax.Params.resolve(params).model_dump()
    spec = {"kind": "train", "model": "dense-softmax", "params": asked, "dataset": "digits"}
    return run_job(JobSpec.parse_object(spec), folder, ignore)


def test_a_job_leaves_event_files_and_learns_the_same_to_the_last_bit(tmp_path: Path) -> None:
    given = {"epochs": 2, "hidden": [8], "dropout": 0.2, "schedule": "cosine"}
    run_dense(tmp_path / "without", **given)
    metrics = run_dense(tmp_path / "with", **given, tensorboard=True)
    files = [tmp_path / name / "weights" / weights.FILE for name in ("without", "with")]
    with np.load(files[0]) as plain, np.load(files[1]) as told:
        assert plain.files == told.files
        assert all(np.array_equal(plain[name], told[name]) for name in plain.files)
    assert not (tmp_path / "without" / "fit").exists()
    found = events(tmp_path / "with" / "fit" / "tensorboard")
    assert found["train_accuracy", 2] == np.float32(metrics["train_accuracy"])
    assert found["learning_rate", 1] > found["learning_rate", 2] == 0
    counts = found["sequential/dense/kernel", 1][:, 2]
    assert counts.shape == (30,) and counts.sum() == 784 * 8


def test_weights_that_are_no_numbers_any_more_leave_events_too(tmp_path: Path) -> None:
    data, model = prepare("digits", "test", "flat", "float32"), DenseSoftmax(ONE_EPOCH, NAMES, 42)
    model.fit(data.x, data.y, ignore)
    model.network.weights[0].assign(np.full((784, 10), np.nan))
    files = EventFiles(tmp_path, model.network)
    files.write(1, {"train_loss": float("nan")})
    files.close()
    found = events(tmp_path)
    assert np.isnan(found["train_loss", 1]) and ("sequential/dense/kernel", 1) not in found
    assert ("sequential/dense/bias", 1) in found
