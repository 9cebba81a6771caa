"""Convolutional networks: `fit` of Keras in a script, and of the model, both warm.

`python -m benchmarks.networks accuracy plain|zoo SEED` trains `cnn` for three epochs on the colour
images, with the threads that the environment grants, and prints its accuracy on 5,000 others.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.keras_fit import ONE_THREAD
from benchmarks.pairs import Row, child, say

COLOUR = (50_000, 32, 32, 3)
CLASSES = 10
EPOCHS, HELD_OUT, FAINT = 3, 5_000, 0.2
"""Epochs, further images and the strength of the pattern where accuracies are compared."""
Trained = tuple[Any, float]
"""A network of Keras, and its accuracy on the training images in the last epoch."""
FEW = 256
"""Images of the fit that warms a process up."""
ALL_CORES = dict.fromkeys(ONE_THREAD, str(os.cpu_count() or 1))
"""As a worker of one slot grants them."""


def colour_images(number: int = COLOUR[0], share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Return images of noise and a pattern of their class, float32 within 0 and 1, and labels.

    The pattern is `share` times as strong as the noise.
    """
    draw = np.random.default_rng(0)
    patterns = draw.random((CLASSES, *COLOUR[1:]), "float32")
    labels = draw.integers(CLASSES, size=number)
    images = draw.random((number, *COLOUR[1:]), "float32")
    for label, pattern in enumerate(patterns):
        images[labels == label] += share * pattern
    return images / (1 + share), labels


def grey_images() -> tuple[np.ndarray, np.ndarray]:
    """Return the training images of MNIST, float32 within 0 and 1, and their labels."""
    from zoo.data.preprocessing import prepare

    data = prepare("mnist", "train", "image", "float32")
    return np.array(data.x), np.array(data.y)


def lenet_layers(kinds: Any) -> list[Any]:
    return [
        kinds.Reshape((28, 28, 1)),
        kinds.Conv2D(6, 5, padding="same", activation="tanh"),
        kinds.AveragePooling2D(2),
        kinds.Conv2D(16, 5, activation="tanh"),
        kinds.AveragePooling2D(2),
        kinds.Flatten(),
        kinds.Dense(120, activation="tanh"),
        kinds.Dense(84, activation="tanh"),
        kinds.Dense(CLASSES, activation="softmax"),
    ]


def cnn_layers(kinds: Any) -> list[Any]:
    found = []
    for maps in (32, 64):
        for _ in range(2):
            found += [
                kinds.Conv2D(maps, 3, padding="same", use_bias=False),
                kinds.BatchNormalization(momentum=0.9),
                kinds.Activation("relu"),
            ]
        found += [kinds.MaxPooling2D(2, padding="same"), kinds.Dropout(0.2)]
    return [*found, kinds.GlobalAveragePooling2D(), kinds.Dense(CLASSES, activation="softmax")]


Data = tuple[np.ndarray, np.ndarray]
DATA: dict[str, Callable[[], Data]] = {"lenet-5": grey_images, "cnn": colour_images}
LAYERS = {"lenet-5": (lenet_layers, "rmsprop"), "cnn": (cnn_layers, "adam")}


def plain_fit(model: str, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> Trained:
    """Train as the documentation of Keras does."""
    import keras

    layers, optimizer = LAYERS[model]
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    network = keras.Sequential([keras.Input(x.shape[1:]), *layers(keras.layers)])
    loss = "sparse_categorical_crossentropy"
    network.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return network, network.fit(x, y, epochs=epochs, verbose=0).history["accuracy"][-1]


def zoo_fit(model: str, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> Trained:
    """Train as a job does."""
    from zoo_keras.cnn import Cnn
    from zoo_keras.lenet import LeNet5

    kind: Any = {"lenet-5": LeNet5, "cnn": Cnn}[model]
    accuracy = [0.0]

    def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        accuracy[0] = metrics.get("train_accuracy", accuracy[0])

    names = [str(number) for number in range(CLASSES)]
    found = kind(kind.Params.resolve({"epochs": epochs}), names, seed)
    found.input_shape = x.shape[1:]
    found.fit(x, y, report)
    return found.network, accuracy[0]


FIT: dict[str, Callable[..., Trained]] = {"plain": plain_fit, "zoo": zoo_fit}


def time_an_epoch(side: str, model: str, file: Path) -> float:
    """Return the seconds of an epoch in a process that has fitted a network before."""
    from zoo_workers.runner_main import set_imports_aside

    x, y = DATA[model]()
    FIT[side](model, x[:FEW], y[:FEW], 1, 42)
    if side == "zoo":  # as in a runner before its second job
        set_imports_aside(len(sys.modules))
    start = time.perf_counter()
    network, accuracy = FIT[side](model, x, y, 1, 42)
    seconds = time.perf_counter() - start
    _keep(file, network, accuracy)
    return seconds


def accuracy_after_epochs(side: str, seed: int) -> float:
    """Return the accuracy of `cnn` after three epochs, on images that it has not seen."""
    x, y = colour_images(COLOUR[0] + HELD_OUT, FAINT)
    network, _ = FIT[side]("cnn", x[:-HELD_OUT], y[:-HELD_OUT], EPOCHS, seed)
    predicted = network.predict(x[-HELD_OUT:], verbose=0).argmax(axis=1)
    return float((predicted == y[-HELD_OUT:]).mean())


def _keep(file: Path, network: Any, accuracy: float) -> None:
    weights = {f"w{place:02}": each for place, each in enumerate(network.get_weights())}
    np.savez(file, accuracy=accuracy, **weights)


def _side(side: str, model: str, threads: dict[str, str], file: Path, *, exact: bool) -> float:
    """Run one side; with several threads only the shapes of the weights are compared.

    Keras adds gradients in another order from run to run then.
    """
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "BENCH_MODEL": model} | threads
    seconds = child("benchmarks.networks", side, file, env)
    if not exact:
        with np.load(file) as arrays:
            sys.stderr.write(f"{model}, {side}: accuracy {float(arrays['accuracy']):.4f}\n")
            shapes = {name: each.shape for name, each in arrays.items()}
        np.savez(file, **{name: np.array(shape) for name, shape in shapes.items()})
    return seconds


def _alone(file: Path) -> float:
    return _side("zoo", "lenet-5", ONE_THREAD, file, exact=True)


def _two_at_once(file: Path) -> float:
    with ThreadPoolExecutor(2) as pool, tempfile.TemporaryDirectory() as folder:
        files = [file, Path(folder) / "second.npz"]
        return max(pool.map(_alone, files))


def _row(name: str, what: str, target: float, model: str, *threads: dict[str, str]) -> Row:
    exact = threads == (ONE_THREAD, ONE_THREAD)
    theirs, ours = (
        functools.partial(_side, side, model, each, exact=exact)
        for side, each in zip(("plain", "zoo"), threads, strict=True)
    )
    return Row(name, what, target, theirs, ours)


EPOCH = "an epoch of lenet-5 on MNIST"
ROWS = [
    _row(
        "network-lenet",
        f"{EPOCH}, Keras with its threads, ours with one",
        1 / 3,
        "lenet-5",
        {},
        ONE_THREAD,
    ),
    _row(
        "network-lenet-1",
        "the same, both with one thread",
        1 / 3,
        "lenet-5",
        ONE_THREAD,
        ONE_THREAD,
    ),
    Row("network-lenet-two", f"{EPOCH}: one alone, two at once", 1.05, _alone, _two_at_once),
    _row(
        "network-cnn",
        "an epoch of cnn on 50,000 colour images, both with all cores",
        1 / 1.5,
        "cnn",
        ALL_CORES,
        ALL_CORES,
    ),
]

if __name__ == "__main__":
    if sys.argv[1] == "accuracy":
        say(accuracy_after_epochs(sys.argv[2], int(sys.argv[3])))
    else:
        say(time_an_epoch(sys.argv[1], os.environ["BENCH_MODEL"], Path(sys.argv[2])))
