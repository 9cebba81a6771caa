"""Early stopping and checkpoints: the same epoch, and the same bits after an interruption."""

from __future__ import annotations

import contextlib
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
    (Mlp, {"hidden": [8], "learning_rate": 1.0, "patience": 2, "restore_best": True}),
    (Cnn, {"maps": [2], "dropout": 0.3, "optimizer": "adamw", "restore_best": True}),
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
    validation = rows(kind, 70, 130) if "restore_best" in params else None
    weights = np.random.default_rng(0).random(len(y))
    wanted = {"epochs": 4, "batch_size": 32, **params}
    given = {"validation": validation, "sample_weight": weights}

    undisturbed, told = new(kind, **wanted), Recorder()
    undisturbed.fit(x, y, told, **given)
    expected = weights_of(undisturbed)
    before = EveryReport(tmp_path / "all")
    new(kind, **wanted).fit(x, y, Recorder(), checkpoint=before, **given)
    # Three batches an epoch: two reports within it, one at its end.
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


def test_a_training_ends_early_with_its_best_epoch() -> None:
    x, y = rows(Mlp, 0, 60)
    validation = rows(Mlp, 60, 160)
    params = {"hidden": [8], "learning_rate": 0.2, "epochs": 40}
    told, model = Recorder(), new(Mlp, patience=3, restore_best=True, **params)
    model.fit(x, y, told, validation=validation)
    losses = [each["val_loss"] for each in told.epochs]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 40
    assert told.ended_early == "no better for 3 epochs"
    until_best = new(Mlp, **params | {"epochs": best + 1})
    until_best.fit(x, y, Recorder())
    assert differing(weights_of(until_best), weights_of(model)) == []
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy"} == set(told.epochs[0])


def test_without_restore_best_the_last_epoch_stays() -> None:
    x, y = rows(Mlp, 0, 60)
    params = {"hidden": [8], "learning_rate": 0.2}
    told, model = Recorder(), new(Mlp, patience=1, epochs=40, **params)
    model.fit(x, y, told, validation=rows(Mlp, 60, 160))
    plain = new(Mlp, epochs=len(told.epochs), **params)
    plain.fit(x, y, Recorder())
    assert differing(weights_of(plain), weights_of(model)) == []


def test_losses_that_are_no_numbers_are_no_better() -> None:
    network = torch.nn.Linear(1, 1)
    stopping = EarlyStopping(2, restore_best=True)
    assert [stopping.is_over(float("nan"), network) for _ in range(2)] == [False, True]
    stopping = EarlyStopping(2, restore_best=False)
    losses = [2.0, 1.0, 1.0, 0.5, float("nan"), 0.5]
    assert [stopping.is_over(loss, network) for loss in losses] == [*[False] * 5, True]


@pytest.mark.parametrize("restore_best", [False, True])
def test_a_stopped_training_predicts_with_what_it_has_learned(restore_best: bool) -> None:
    x, y = rows(Mlp, 0, 60)
    params = {"hidden": [8], "learning_rate": 0.2}
    told, model = Recorder(stop_at=9), new(Mlp, epochs=40, restore_best=restore_best, **params)
    with pytest.raises(zoo.Stop):
        model.fit(x, y, told, validation=rows(Mlp, 60, 160))
    losses = [each["val_loss"] for each in told.epochs]
    epochs = int(np.argmin(losses)) + 1 if restore_best else 9
    plain = new(Mlp, epochs=epochs, **params)
    plain.fit(x, y, Recorder())
    assert differing(weights_of(plain), weights_of(model)) == []


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
