"""Base class of the Keras models: build, compile, fit, predict, save, load."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import zoo
import zoo_keras.onnx_graph as onnx_graph
import zoo_keras.training as training
from zoo import weights
from zoo.errors import UsageError
from zoo_keras.progress import Progress
from zoo_keras.tensorboard import EventFiles

if TYPE_CHECKING:
    from zoo.model import Array

Optimizer = Literal["rmsprop", "sgd", "adam", "adamw", "nadam", "adagrad", "lion"]

Schedule = Literal["constant", "cosine"]

Monitor = Literal["val_loss", "val_accuracy"]

PREDICT_BATCH = 1024


def load_keras() -> Any:
    """Import Keras on TensorFlow, without TensorFlow's messages for developers."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "keras" not in sys.modules:
        # Results must not depend on environment variables or the user's keras.json.
        os.environ["KERAS_BACKEND"] = "tensorflow"
        with _silence():
            keras = importlib.import_module("keras")
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
    return sys.modules["keras"]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard stderr, also of TensorFlow's C++, which logs before its level is set."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def channels_last(input_shape: Sequence[int]) -> list[Any]:
    """Return the layers that give grey images their channel: (height, width, 1 or 3)."""
    is_grey = len(input_shape) == 2
    return [load_keras().layers.Reshape((*input_shape, 1))] if is_grey else []


class KerasParams(zoo.Params):
    """The params of every network; the defaults are those of Keras."""

    epochs: int = zoo.param(5, ge=1, le=10_000, help="passes over the training data")
    batch_size: int = zoo.param(32, ge=1, le=65_536, help="images or rows per step")
    optimizer: Optimizer = zoo.param("rmsprop", help="the rule that changes the weights")
    learning_rate: float | None = zoo.param(
        None, gt=0, le=100, help="size of a step; null: the optimizer's own"
    )
    schedule: Schedule = zoo.param(
        "constant", help="how learning_rate changes; cosine: down to 0 with the last epoch"
    )
    weight_decay: float | None = zoo.param(
        None, gt=0, le=1, help="shrink the weights at each step; null: as the optimizer does"
    )
    patience: int | None = zoo.param(
        None,
        ge=0,
        le=10_000,
        help="end after this many epochs that are no better on validation rows; null: never",
        needs="validation",
    )
    monitor: Monitor = zoo.param("val_loss", help="what patience watches")
    restore_best: bool = zoo.param(
        True, help="with patience: go back to the weights of the best epoch at the end"
    )
    tensorboard: bool = zoo.param(False, help="leave event files for TensorBoard with the job")


class KerasModel(zoo.Model):
    """A network trained by Keras; a subclass gives its `layers`.

    With it come a fast `fit` with Keras's bits, callbacks, validation rows and early stopping,
    weights of rows, checkpoints, and exports.
    """

    dtype = "float32"
    formats = ("keras", "onnx")
    Params = KerasParams
    can_stop = True
    loss: ClassVar[str] = "sparse_categorical_crossentropy"

    def __init__(self, params: zoo.Params, class_names: Sequence[str], seed: int) -> None:
        super().__init__(params, class_names, seed)
        # Import TensorFlow now, so that it does not count as time of `fit`.
        load_keras()

    def layers(self) -> list[Any]:
        """Return the layers after the input."""
        raise NotImplementedError

    def probabilities(self, outputs: Array) -> Array:
        """Convert the network's outputs to probabilities, (n, n_classes); by default unchanged."""
        return outputs

    def callbacks(self) -> list[Any]:
        """Return Keras callbacks for one training; one that is called per batch costs speed."""
        return []

    def fit(
        self,
        x: Array,
        y: Array,
        report: zoo.Report,
        *,
        validation: tuple[Array, Array] | None = None,
        sample_weight: Array | None = None,
        checkpoint: zoo.Checkpoint | None = None,
    ) -> None:
        keras, params = load_keras(), self.params
        if params.patience is not None and validation is None:
            raise UsageError(
                f"patience={params.patience} needs validation rows, and the job has none.",
                "Hold some out with --validation 0.1, or leave out patience.",
            )
        # Otherwise a warm process keeps the networks of earlier jobs.
        keras.utils.clear_session()
        keras.utils.set_random_seed(self.seed)
        self.network = self.build_network()
        self.network.compile(
            optimizer=self.make_optimizer(len(x)), loss=self.loss, metrics=["accuracy"]
        )
        folder = self.folder if params.tensorboard else None
        events = EventFiles(folder, self.network) if folder else None
        rows = training.Rows(x, y, params.batch_size, sample_weight, validation)
        progress = Progress(
            report,
            params.epochs,
            callbacks=[*self._early_stopping(), *self.callbacks()],
            checkpoint=checkpoint,
            events=events,
        )
        try:
            training.fit(keras, self.network, rows, progress)
        finally:
            if events:
                events.close()

    def predict_proba(self, x: Array) -> Array:
        return self._predict_outputs(self.network, x)

    def save(self, folder: Path) -> None:
        arrays = {name: value.numpy() for name, value in self._variables().items()}
        weights.save(folder, arrays)

    def load(self, folder: Path) -> None:
        self.network = self.build_network()
        variables = self._variables()
        expected = {name: (value.dtype, tuple(value.shape)) for name, value in variables.items()}
        for name, array in weights.load(folder, expected).items():
            variables[name].assign(array)

    def export(self, format: str, path: Path) -> None:
        if format == "onnx":
            onnx_graph.write(self.network, path)
        else:
            self._without_distortions().save(path)

    def predict_exported(self, format: str, path: Path, x: Array) -> tuple[Array, Array]:
        # Written by this process just before; files of others are never loaded this way.
        network = load_keras().saving.load_model(path, compile=False, safe_mode=True)
        probabilities = self._predict_outputs(network, x)
        return probabilities.argmax(axis=1), probabilities

    def parameters(self) -> int:
        return int(self.network.count_params())

    def kernel(self) -> Array:
        """Return the weights of the first layer, (n_features, units)."""
        kernel: Array = self.network.layers[0].kernel.numpy()
        return kernel

    def _early_stopping(self) -> list[Any]:
        if self.params.patience is None:
            return []
        stopping = load_keras().callbacks.EarlyStopping(
            monitor=self.params.monitor,
            patience=self.params.patience,
            restore_best_weights=self.params.restore_best,
        )
        return [stopping]

    def _without_distortions(self) -> Any:
        """Return the network without augmentation layers, which Keras 3.15 cannot load."""
        keras, layers = load_keras(), self.network.layers
        kept = [each for each in layers if not type(each).__name__.startswith("Random")]
        if len(kept) == len(layers):
            return self.network
        return keras.Sequential([keras.Input(self.network.input_shape[1:]), *kept])

    def _predict_outputs(self, network: Any, x: Array) -> Array:
        import numpy as np

        # Called directly: `network.predict` yields the same numbers, but traces a function first.
        outputs = [
            np.asarray(network(x[start : start + PREDICT_BATCH], training=False))
            for start in range(0, len(x), PREDICT_BATCH)
        ]
        return self.probabilities(np.concatenate(outputs))

    def build_network(self) -> Any:
        """Return a new Keras network with the layers of this model, not compiled."""
        keras = load_keras()
        shape = (self.n_features,) if self.layout == "flat" else self.input_shape
        return keras.Sequential([keras.Input(shape), *self.layers()])

    def make_optimizer(self, n_images: int) -> Any:
        """Return the Keras optimizer of the params for a training on `n_images` images or rows."""
        keras, params = load_keras(), self.params
        config: dict[str, Any] = {}
        if params.weight_decay is not None:
            config["weight_decay"] = params.weight_decay
        optimizer = keras.optimizers.get({"class_name": params.optimizer, "config": config})
        if params.learning_rate is not None:
            optimizer.learning_rate = params.learning_rate
        if params.schedule == "cosine":
            first = float(optimizer.learning_rate)
            steps = -(-n_images // params.batch_size) * params.epochs
            optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(first, steps)
        return optimizer

    def _variables(self) -> dict[str, Any]:
        # Numbered, because each layer has a `kernel` and a `bias`.
        return {f"{i:02d}-{value.name}": value for i, value in enumerate(self.network.weights)}
