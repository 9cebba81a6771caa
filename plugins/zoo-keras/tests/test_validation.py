"""Validation rows, weights of rows, early stopping and callbacks, against Keras's `fit`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from zoo_keras import progress, training
from zoo_keras.cnn import Cnn
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.network import KerasModel, load_keras

import zoo
from zoo.data import datasets
from zoo.data.preprocessing import prepare
from zoo.errors import UsageError
from zoo.queue import submit
from zoo.queue.options import TrainingOptions
from zoo.queue.pinning import PinnedDataset
from zoo.sweeps.plan import SweepRequest, plan_sweep
from zoo.sweeps.search_space import parse_search_space

pytestmark = pytest.mark.tensorflow
NAMES = list("0123456789")
BOTH = pytest.mark.parametrize("by_keras", [False, True], ids=["in a graph", "by keras"])


class Report:
    """Keeps the epochs that a model reports; asks it to stop at one report."""

    def __init__(self, stops_at: int = 0) -> None:
        self.epochs: list[Mapping[str, float]] = []
        self.reports = 0
        self.why = ""
        self._stops_at = stops_at

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        self.reports += 1
        if unit == "epoch":
            self.epochs.append(metrics)
        if self.reports == self._stops_at:
            raise zoo.Stop

    def done(self, why: str) -> None:
        self.why = why


def images(layout: str = "flat") -> tuple[Any, Any, tuple[Any, Any]]:
    """Inputs and labels of 260 digits, and another 100 to choose by."""
    x, y, *_ = prepare("digits", "test", layout, "float32")
    return x[:260], y[:260], (x[260:], y[260:])


def fitted(
    params: dict[str, Any], report: Report, kind: type[KerasModel] = DenseSoftmax, **more: Any
) -> KerasModel:
    x, y, validation = images(kind.layout)
    model = kind(kind.Params.resolve(params), NAMES, 42)
    model.fit(x, y, report, **{"validation": validation} | more)
    return model


def keras_fit(
    params: dict[str, Any],
    kind: type[KerasModel] = DenseSoftmax,
    callbacks: Sequence[Any] = (),
    **more: Any,
) -> tuple[list[Any], list[dict[str, float]]]:
    """Weights and metrics of each epoch, of a script of Keras."""
    keras, (x, y, validation) = load_keras(), images(kind.layout)
    model = kind(kind.Params.resolve(params), NAMES, 42)
    keras.utils.clear_session()
    keras.utils.set_random_seed(42)
    network = model.build_network()
    network.compile(
        optimizer=model.make_optimizer(len(x)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = network.fit(
        x,
        y,
        batch_size=model.params.batch_size,
        epochs=model.params.epochs,
        validation_data=validation,
        verbose=0,
        callbacks=[*callbacks],
        **more,
    ).history
    rows = zip(*history.values(), strict=True)
    return network.get_weights(), [dict(zip(history, row, strict=True)) for row in rows]


def assert_same(
    model: KerasModel, report: Report, expected: tuple[list[Any], list[dict[str, float]]]
) -> None:
    weights, epochs = expected
    assert all(
        np.array_equal(*pair) for pair in zip(model.network.get_weights(), weights, strict=True)
    )
    renamed = [
        {
            name if name.startswith("val_") else f"train_{name}": value
            for name, value in each.items()
        }
        for each in epochs
    ]
    assert report.epochs == renamed


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, by_keras: bool) -> None:
    """Train in a graph, or by Keras."""
    if by_keras:
        monkeypatch.setattr(training, "is_known", lambda *_: False)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("by_keras", "kind", "params"),
    [
        # 100 validation rows: even batches, and a rest.
        (False, DenseSoftmax, {"batch_size": 20, "hidden": [16], "dropout": 0.5}),
        (False, DenseSoftmax, {"batch_size": 32, "optimizer": "adam"}),
        (False, Cnn, {"maps": [4], "batch_size": 65, "flip": True}),
        (True, DenseSoftmax, {"batch_size": 65, "hidden": [16], "dropout": 0.5}),
    ],
    ids=["even", "odd", "cnn", "by keras"],
)
def test_validation_changes_no_bit_and_says_what_keras_says(
    kind: type[KerasModel], params: dict[str, Any]
) -> None:
    given, report = params | {"epochs": 3}, Report()
    model = fitted(given, report, kind)
    assert_same(model, report, keras_fit(given, kind))
    without = fitted(given, Report(), kind, validation=None)
    pairs = zip(model.network.get_weights(), without.network.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(("by_keras", "batch_size"), [(False, 20), (False, 32), (True, 32)])
def test_rows_weigh_as_in_keras(batch_size: int) -> None:
    given = {"batch_size": batch_size, "epochs": 2, "hidden": [8]}
    weights, report = np.random.default_rng(0).uniform(0.1, 3, 260), Report()
    model = fitted(given, report, sample_weight=weights)
    assert_same(model, report, keras_fit(given, sample_weight=weights))


# It learns by heart, and gets worse on other images from the fifth epoch on.
OVERFITTING = {
    "hidden": [32],
    "optimizer": "adam",
    "learning_rate": 0.05,
    "batch_size": 20,
    "epochs": 30,
}


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("monitor", "patience", "restore_best", "by_keras"),
    [
        ("val_loss", 3, True, False),
        ("val_loss", 3, True, True),
        ("val_loss", 0, False, False),
        # With many ties.
        ("val_accuracy", 3, True, False),
    ],
)
def test_early_stopping_is_that_of_keras(monitor: str, patience: int, restore_best: bool) -> None:
    stopping = load_keras().callbacks.EarlyStopping(
        monitor=monitor, patience=patience, restore_best_weights=restore_best
    )
    expected = keras_fit(OVERFITTING, callbacks=[stopping])
    given = {"monitor": monitor, "patience": patience, "restore_best": restore_best}
    report = Report()
    model = fitted(OVERFITTING | given, report)
    assert_same(model, report, expected)
    assert 1 < len(report.epochs) < 30
    assert report.why.startswith(f"no better for {max(patience, 1)} epoch")
    best = f"weights of epoch {stopping.best_epoch + 1}"
    assert report.why.endswith(best) == restore_best


def test_a_whole_training_with_patience_ends_with_the_best_epoch() -> None:
    given = OVERFITTING | {"epochs": 9}
    stopping = load_keras().callbacks.EarlyStopping(patience=9, restore_best_weights=True)
    expected, report = keras_fit(given, callbacks=[stopping]), Report()
    assert_same(fitted(given | {"patience": 9}, report), report, expected)
    assert stopping.best_epoch < 8 and not report.why


def test_patience_without_validation_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="patience=3 needs validation rows") as refused:
        fitted({"patience": 3}, Report(), validation=None)
    assert "--validation" in refused.value.hint


def test_patience_without_validation_rows_is_refused_at_submission() -> None:
    data, given = PinnedDataset("digits", meta=datasets.meta("digits")), {"patience": 3}
    for options in (TrainingOptions("digits"), TrainingOptions("digits", cv=2)):
        with pytest.raises(UsageError, match="patience=3 needs validation rows"):
            submit.training("dense-softmax", given, options, dataset=data)
        with pytest.raises(UsageError, match="patience=3 needs validation rows"):
            swept = parse_search_space(["patience=null,3"])
            plan_sweep(SweepRequest("dense-softmax", options), swept)
    held_out = TrainingOptions("digits", validation=0.1)
    assert submit.training("dense-softmax", given, held_out, dataset=data)
    assert submit.training("dense-softmax", {}, TrainingOptions("digits"), dataset=data)


@BOTH
@pytest.mark.usefixtures("path")
def test_a_training_that_is_stopped_can_predict(
    monkeypatch: pytest.MonkeyPatch, by_keras: bool
) -> None:
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.0)
    given = OVERFITTING | {"batch_size": 130, "epochs": 4}
    x, y, validation = images()
    model, report = DenseSoftmax(DenseSoftmax.Params.resolve(given), NAMES, 42), Report(3)
    # Within the second epoch of two batches.
    with pytest.raises(zoo.Stop):
        model.fit(x, y, report, validation=validation)
    assert len(report.epochs) == 1 and model.predict_proba(x).shape == (260, 10)
    best = DenseSoftmax(DenseSoftmax.Params.resolve(given | {"patience": 9}), NAMES, 42)
    with pytest.raises(zoo.Stop):
        best.fit(x, y, Report(3), validation=validation)
    first = fitted(given | {"epochs": 1}, Report())
    pairs = zip(best.network.get_weights(), first.network.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)
    assert not np.array_equal(model.network.get_weights()[0], first.network.get_weights()[0])


def with_callbacks(make: Callable[[], list[Any]]) -> type[DenseSoftmax]:
    """The network of an author who adds callbacks."""

    class Own(DenseSoftmax):
        def callbacks(self) -> list[Any]:
            return make()

    return Own


@BOTH
@pytest.mark.usefixtures("path")
def test_an_authors_callbacks_are_called_as_by_keras(by_keras: bool) -> None:
    kinds = load_keras().callbacks
    calls: dict[str, list[Any]] = {"ours": [], "theirs": []}

    def callbacks(name: str) -> list[Any]:
        class Calls(kinds.Callback):  # type: ignore[misc]
            pass

        def hook(which: str) -> Callable[..., None]:
            return lambda self, *given, **more: calls[name].append((which, given[:1]))

        events = ("train_begin", "train_end", "epoch_begin", "epoch_end", "test_begin", "test_end")
        for each in events:
            setattr(Calls, f"on_{each}", hook(each))
        plateau = kinds.ReduceLROnPlateau(patience=1, factor=0.3, min_delta=0.01)
        return [plateau, Calls(), kinds.LambdaCallback(on_epoch_end=lambda epoch, logs: None)]

    given, report = OVERFITTING | {"epochs": 8}, Report()
    model = fitted(given, report, with_callbacks(lambda: callbacks("ours")))
    weights, epochs = keras_fit(given, callbacks=callbacks("theirs"))
    rates = [each.pop("learning_rate") for each in epochs]
    assert min(rates) < max(rates)
    assert [{**each} for each in report.epochs] == [
        {f"train_{n}" if not n.startswith("val_") else n: v for n, v in each.items()}
        for each in epochs
    ]
    assert all(
        np.array_equal(*pair) for pair in zip(model.network.get_weights(), weights, strict=True)
    )
    # Of the logs only that there are some: Keras counts epochs from 0, too.
    assert [which for which, _ in calls["ours"]] == [which for which, _ in calls["theirs"]]


def test_a_callback_of_each_batch_has_keras_train() -> None:
    batches: list[int] = []

    def callbacks() -> list[Any]:
        kinds = load_keras().callbacks
        return [kinds.LambdaCallback(on_train_batch_end=lambda batch, logs: batches.append(batch))]

    given = {"batch_size": 130, "epochs": 2}
    fitted(given, Report(), with_callbacks(callbacks))
    assert batches == [0, 1, 0, 1]
