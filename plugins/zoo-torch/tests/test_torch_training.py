"""Early stopping and checkpoints: the same epoch, and the same bits after an interruption."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not here: make torch")
pytest.importorskip("zoo_torch", reason="zoo-torch is not here: make torch")

from zoo_torch import TorchModel, training  # noqa: E402
from zoo_torch.cnn import Cnn  # noqa: E402
from zoo_torch.early_stopping import EarlyStopping  # noqa: E402
from zoo_torch.mlp import Mlp  # noqa: E402

import zoo  # noqa: E402
from zoo.data.preprocessing import prepare  # noqa: E402
from zoo.job_spec import JobSpec  # noqa: E402
from zoo.training.checkpoints import Place  # noqa: E402
from zoo.training.run import restore, run_job  # noqa: E402

pytestmark = pytest.mark.xdist_group("torch")
NAMES = list("0123456789")


class Recorder:
    """Keeps what a model reports, and may end the training at a report."""

    def __init__(self, stop_at: int = 0) -> None:
        self.epochs: list[dict[str, float]] = []
        self.ended_early = ""
        self._stop_at = stop_at

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        if unit == "epoch":
            self.epochs.append(metrics)
            if step == self._stop_at:
                raise zoo.Stop

    def done(self, why: str) -> None:
        self.ended_early = why


class Interrupted(Exception):
    pass


class EveryReport:
    """A `zoo.Checkpoint` that is always due; the training dies after the n-th."""

    def __init__(self, folder: Path, die_after: int = 0) -> None:
        self._folder = folder
        self._left = die_after
        self.count = 0

    def latest(self) -> Path | None:
        return self._folder if self._folder.exists() else None

    def is_due(self) -> bool:
        return True

    @contextlib.contextmanager
    def save(self, step: int) -> Iterator[Path]:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        yield self._folder
        self.count += 1
        if self.count == self._left:
            raise Interrupted


def new(kind: type[TorchModel], **params: Any) -> TorchModel:
    return kind(kind.Params.resolve(params), NAMES, 42)


def rows(kind: type[TorchModel], start: int, end: int) -> tuple[Any, Any]:
    x, y, *_ = prepare("digits", "train", kind.layout, "float32")
    return x[start:end], y[start:end]


def weights_of(model: TorchModel) -> dict[str, Any]:
    return {name: each.clone() for name, each in model.network.state_dict().items()}


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    return [name for name in first if not torch.equal(first[name], second[name])]


RESUMED: list[tuple[type[TorchModel], dict[str, Any]]] = [
    (Mlp, {"hidden": [8], "dropout": 0.5, "schedule": "cosine", "learning_rate": 0.01}),
    (Mlp, {"hidden": [8], "optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.5}),
    (Mlp, {"hidden": [8], "learning_rate": 1.0, "patience": 2}),
    (Cnn, {"maps": [2], "dropout": 0.3, "optimizer": "adamw", "patience": 9}),
]


@pytest.mark.parametrize(("kind", "params"), RESUMED, ids=["adam", "sgd", "stopping", "cnn"])
def test_an_interrupted_training_ends_with_the_same_bits(
    kind: type[TorchModel],
    params: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "REPORT_SECONDS", 0)  # reports after each batch
    x, y = rows(kind, 0, 70)
    validation = rows(kind, 70, 130) if "patience" in params else None
    weights = np.random.default_rng(0).random(len(y))
    wanted = {"epochs": 4, "batch_size": 32, **params}
    given = {"validation": validation, "sample_weight": weights}

    undisturbed, told = new(kind, **wanted), Recorder()
    undisturbed.fit(x, y, told, **given)
    expected = weights_of(undisturbed)
    before = EveryReport(tmp_path / "all")
    new(kind, **wanted).fit(x, y, Recorder(), checkpoint=before, **given)
    # Three batches per epoch: two reports within the epoch, and one after it.
    for moment in range(1, before.count + 1):
        torch.rand(moment)  # the process that goes on has another past
        place = tmp_path / str(moment)
        with pytest.raises(Interrupted):
            new(kind, **wanted).fit(
                x, y, Recorder(), checkpoint=EveryReport(place, die_after=moment), **given
            )
        resumed, again = new(kind, **wanted), Recorder()
        resumed.fit(x, y, again, checkpoint=EveryReport(place), **given)
        assert differing(expected, weights_of(resumed)) == []
        assert again.epochs == told.epochs[len(told.epochs) - len(again.epochs) :]
        assert again.ended_early == told.ended_early


OVERFITTING = {"hidden": [8], "learning_rate": 0.2}


def overfitted(told: Recorder, **params: Any) -> TorchModel:
    """A network that soon gets no better on other images."""
    model = new(Mlp, **OVERFITTING | {"epochs": 40} | params)
    with contextlib.suppress(zoo.Stop):
        model.fit(*rows(Mlp, 0, 60), told, validation=rows(Mlp, 60, 160))
    return model


def trained_for(epochs: int) -> TorchModel:
    """The same without validation rows."""
    model = new(Mlp, **OVERFITTING, epochs=epochs)
    model.fit(*rows(Mlp, 0, 60), Recorder())
    return model


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_a_training_ends_early_with_its_best_epoch(monitor: str) -> None:
    told = Recorder()
    model = overfitted(told, patience=3, monitor=monitor)
    values = [each[monitor] for each in told.epochs]
    best = 1 + int(np.argmin(values) if monitor == "val_loss" else np.argmax(values))
    assert len(values) == best + 3 < 40
    assert told.ended_early == f"no better for 3 epochs: weights of epoch {best}"
    assert differing(weights_of(trained_for(best)), weights_of(model)) == []
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} == set(told.epochs[0])


def test_without_restore_best_the_last_epoch_stays() -> None:
    told = Recorder()
    model = overfitted(told, patience=1, restore_best=False)
    assert told.ended_early == "no better for 1 epoch"
    assert differing(weights_of(trained_for(len(told.epochs))), weights_of(model)) == []


@pytest.mark.parametrize(
    ("patience", "losses"),
    [
        (0, [2, 1, 1]),
        (2, [2, 1, 1, 0.5, math.nan, 0.5]),
        (1, [math.nan, math.nan]),  # never after the first epoch
        (1, [math.nan, 2, 3]),  # in Keras none would ever be better than nan
    ],
)
def test_a_training_ends_with_the_first_epoch_that_is_no_better_for_too_long(
    patience: int, losses: list[float]
) -> None:
    stopping, network = EarlyStopping("val_loss", patience, restore_best=False), torch.nn.ReLU()
    over = [stopping.is_over(e, {"val_loss": loss}, network) for e, loss in enumerate(losses, 1)]
    assert over == [*[False] * (len(losses) - 1), True]


@pytest.mark.parametrize("patience", [None, 40], ids=["last", "best"])
def test_a_stopped_training_predicts_with_what_it_has_learned(patience: int | None) -> None:
    told = Recorder(stop_at=9)
    model = overfitted(told, patience=patience)
    best = 1 + int(np.argmin([each["val_loss"] for each in told.epochs]))
    expected = trained_for(best if patience else 9)
    assert best < 9
    assert differing(weights_of(expected), weights_of(model)) == []


def test_a_job_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    spec = JobSpec.parse_object(
        {
            "kind": "train",
            "model": "torch-mlp",
            "params": Mlp.Params.resolve({"epochs": 3, "hidden": [8], "dropout": 0.2}).model_dump(),
            "dataset": "digits",
            "validation": 0.1,
            "class_weight": "balanced",
        }
    )
    for name in ("undisturbed", "died", "resumed", "checkpoints"):
        (tmp_path / name).mkdir()
    metrics = run_job(spec, tmp_path / "undisturbed", Recorder())

    def die(name: str, step: int) -> None:
        raise Interrupted

    place = Place(tmp_path / "checkpoints", seconds=0, on_saved=die)
    with pytest.raises(Interrupted):
        run_job(spec, tmp_path / "died", Recorder(), checkpoints=place)
    resumed: list[Any] = []
    (tmp_path / "checkpoints" / "1").rename(tmp_path / "earlier")
    place = Place(
        tmp_path / "checkpoints", tmp_path / "earlier", 1, seconds=60, on_resumed=resumed.append
    )
    again = run_job(spec, tmp_path / "resumed", Recorder(), checkpoints=place)
    assert resumed[0]["exact"]
    files = [tmp_path / each / "weights/weights.safetensors" for each in ("undisturbed", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    histories = [tmp_path / each / "history.json" for each in ("undisturbed", "resumed")]
    assert histories[0].read_text() == histories[1].read_text()
    timed = {"fit_seconds": 0, "predict_us_per_image": 0}
    assert again | timed == metrics | timed
    assert {"val_loss", "val_accuracy"} <= set(again)
    x = prepare("digits", "test", "flat", "float32")
    accuracy = float((restore(tmp_path / "resumed").predict(x.x) == x.y).mean())
    assert accuracy == again["accuracy"] > 0.5
