"""`dense-softmax` on MNIST: `fit` of Keras in a script, and of the model, both warm."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.pairs import Row, child, say

EPOCHS = 5
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def theirs(file: Path) -> float:
    """Keras with its default threads."""
    return child("benchmarks.keras_fit", "plain", file, _environment())


def ours(file: Path) -> float:
    """Zoo in a worker with one slot per core."""
    return child("benchmarks.keras_fit", "zoo", file, _environment(**ONE_THREAD))


def theirs_with_one_thread(file: Path) -> float:
    """Keras with as many threads as Zoo."""
    return child("benchmarks.keras_fit", "plain", file, _environment(**ONE_THREAD))


def _environment(**more: str) -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | more


def plain(file: Path) -> float:
    """Train as the documentation of Keras does."""
    import keras

    from zoo.data.datasets import raw

    images, labels = raw("mnist").splits["train"]
    x = (images.reshape(-1, 784) / 255.0).astype("float32")
    _warm_up()
    keras.utils.set_random_seed(42)
    start = time.perf_counter()
    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
    model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, labels, epochs=EPOCHS, verbose=0).history
    seconds = time.perf_counter() - start
    _keep(file, model.get_weights(), history["loss"], history["accuracy"])
    return seconds


def zoo(file: Path) -> float:
    """Train as a job does."""
    from zoo_keras.dense_softmax import DenseSoftmax
    from zoo_workers.runner_main import set_imports_aside

    from zoo.data.preprocessing import prepare

    data = prepare("mnist", "train", "flat", "float32")

    def network(epochs: int) -> DenseSoftmax:
        return DenseSoftmax(DenseSoftmax.Params.resolve({"epochs": epochs}), data.class_names, 42)

    model = network(EPOCHS)
    loss, accuracy = [], []

    def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        if unit == "epoch":
            loss.append(metrics["train_loss"])
            accuracy.append(metrics["train_accuracy"])

    # As in a runner before its second job.
    network(1).fit(data.x[:64], data.y[:64], lambda *_, **__: None)
    set_imports_aside(len(sys.modules))
    start = time.perf_counter()
    model.fit(data.x, data.y, report)
    seconds = time.perf_counter() - start
    _keep(file, model.network.get_weights(), loss, accuracy)
    return seconds


def _warm_up() -> None:
    """Warm up the process: TensorFlow's threads, Keras's first model."""
    import keras

    model = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, activation="softmax")])
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.zeros((64, 784), "float32"), np.zeros(64, "int64"), verbose=0)
    keras.utils.clear_session()


def _keep(file: Path, weights: list[np.ndarray], loss: list[float], accuracy: list[float]) -> None:
    np.savez(file, kernel=weights[0], bias=weights[1], loss=loss, accuracy=accuracy)


ROWS = [
    Row("keras-fit", f"fit of dense-softmax, {EPOCHS} epochs, batch 32", 1 / 8, theirs, ours),
    Row(
        "keras-fit-1-thread",
        "the same, both with one thread",
        1 / 8,
        theirs_with_one_thread,
        ours,
        pairs=1,
    ),
]

if __name__ == "__main__":
    say({"plain": plain, "zoo": zoo}[sys.argv[1]](Path(sys.argv[2])))
