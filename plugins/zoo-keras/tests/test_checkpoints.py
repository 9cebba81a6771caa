"""Interrupted trainings go on from a checkpoint, and end with the same bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_keras import progress, training
from zoo_keras.dense_softmax import DenseSoftmax
from zoo_keras.network import load_keras

from zoo.job_spec import JobSpec
from zoo.training import checkpoints
from zoo.training.checkpoints import Place
from zoo.training.run import run_job

pytestmark = pytest.mark.tensorflow


class Killed(Exception):
    """Stands for the end of the process."""


class Report:
    """Raises at one report."""

    def __init__(self, dies_at: int = 0) -> None:
        self.left = dies_at
        self.seen: list[tuple[int, str]] = []

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        if unit not in ("batch", "epoch"):  # of the preparation of the data
            return
        self.left -= 1
        if not self.left:
            raise Killed
        self.seen.append((step, unit))


@pytest.fixture(autouse=True)
def each_batch_is_reported_and_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "MAX_SHARE", 1e9)


class Job:
    """A job in a folder, with the checkpoints of its attempts."""

    def __init__(
        self, folder: Path, model: str, validation: float | None = None, **params: Any
    ) -> None:
        self.folder = folder
        self.attempts = 0
        self.newest: Path | None = None
        self.resumed: list[int] = []
        spec = {"kind": "train", "model": model, "params": params, "dataset": "digits"}
        self.spec = JobSpec.model_validate(spec | {"validation": validation, "seed": 7})

    def run(self, report: Report, *, saves: bool = True) -> dict[str, Any] | None:
        """Run one attempt; the metrics, or None if it was killed."""
        self.attempts += 1
        self.artifacts, place = self.folder / f"a{self.attempts}", self.folder / f"c{self.attempts}"
        self.artifacts.mkdir(parents=True)
        place.mkdir()

        def keep(name: str, step: int) -> None:
            # As the worker does: taken away, and only the newest counts.
            self.newest = (place / name).rename(place / f"taken-{name}")

        where = Place(
            place,
            self.newest,
            seconds=0,
            on_saved=keep,
            on_resumed=lambda resumed: self.resumed.append(resumed["step"]),
        )
        try:
            return run_job(self.spec, self.artifacts, report, checkpoints=where if saves else None)
        except Killed:
            return None

    def result(self) -> tuple[Any, dict[str, Any]]:
        """The curves and the weights."""
        with np.load(self.artifacts / "weights" / "weights.npz") as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads((self.artifacts / "history.json").read_text()), arrays


def assert_ends_alike(job: Job, whole: Job) -> None:
    (curves, arrays), (expected_curves, expected) = job.result(), whole.result()
    assert curves == expected_curves
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)


# The best epoch is the fourth; it ends with the sixth.
DENSE = {
    "hidden": [16],
    "dropout": 0.3,
    "schedule": "cosine",
    "optimizer": "adam",
    "learning_rate": 0.1,
    "batch_size": 450,
    "epochs": 30,
    "patience": 2,
    "monitor": "val_accuracy",
}


@pytest.mark.parametrize(("by_keras", "dies_at"), [(False, 5), (True, 6)])
def test_a_training_killed_again_and_again_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_keras: bool, dies_at: int
) -> None:
    if by_keras:
        monkeypatch.setattr(training, "is_known", lambda *_: False)
    names = ("whole", "killed")
    whole, job = (Job(tmp_path / name, "dense-softmax", 0.1, **DENSE) for name in names)
    report = Report()
    expected = whole.run(report, saves=False)
    assert expected and expected["ended_early"] == "no better for 2 epochs: weights of epoch 4"
    # Two within each epoch of three batches, and its end.
    assert [unit for _, unit in report.seen] == ["batch", "batch", "epoch"] * 6
    # The first attempt dies at this report, each other one at that number of its own.
    while not (found := job.run(Report(dies_at))):
        pass
    if not by_keras:
        # Within epochs and at their ends, in batches and in epochs.
        assert job.resumed == [4, 8, 4, 16]
    assert_ends_alike(job, whole)
    assert found["ended_early"] == expected["ended_early"]
    # What was saved with the last epoch ends at once, and with the best epoch.
    again = Report()
    assert job.run(again) and not again.seen
    assert_ends_alike(job, whole)


OTHERS = [
    ("lenet-5", {"distortion": 0.1, "dropout": 0.2, "optimizer": "nadam", "weight_decay": 0.01}),
    ("cnn", {"maps": [4], "flip": True}),
    ("digit-detector", {"digit": 3}),
]


@pytest.mark.parametrize(("model", "params"), OTHERS, ids=[name for name, _ in OTHERS])
def test_every_network_goes_on_with_the_same_bits(
    tmp_path: Path, model: str, params: dict[str, Any]
) -> None:
    given = params | {"epochs": 2, "batch_size": 500}
    whole, job = (Job(tmp_path / name, model, **given) for name in ("whole", "killed"))
    whole.run(Report(), saves=False)
    for dies_at in (3, 2):
        job.run(Report(dies_at))
    assert job.run(Report())
    assert job.resumed == [2, 1]
    assert_ends_alike(job, whole)


def noisy(monkeypatch: pytest.MonkeyPatch, draw: Callable[[Any], Any]) -> None:
    """Put a layer in front of the dense network that adds random numbers in training."""
    keras = load_keras()

    class Noise(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any, training: bool = False) -> Any:
            return x + draw(keras.ops.shape(x)) if training else x

    layers = DenseSoftmax.layers
    monkeypatch.setattr(DenseSoftmax, "layers", lambda self: [Noise(), *layers(self)])


SHORT = {"batch_size": 720, "epochs": 2, "hidden": [4]}


def test_random_numbers_without_a_seed_go_on_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy(monkeypatch, load_keras().random.normal)
    whole, job = (Job(tmp_path / name, "dense-softmax", **SHORT) for name in ("whole", "killed"))
    assert whole.run(Report(), saves=False)
    assert not job.run(Report(2)) and job.run(Report())
    assert job.resumed == [1]
    assert_ends_alike(job, whole)


def test_random_numbers_whose_state_cannot_be_saved_leave_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import tensorflow as tf

    noisy(monkeypatch, tf.random.normal)
    job = Job(tmp_path, "dense-softmax", **SHORT)
    assert job.run(Report()) and job.newest is None
    assert "No checkpoints: the network uses RandomStandardNormal" in caplog.text


def test_event_files_go_on_with_the_epoch_after_the_checkpoint(tmp_path: Path) -> None:
    job = Job(tmp_path, "dense-softmax", **SHORT | {"epochs": 3}, tensorboard=True)
    # Within the third epoch: the second has been saved.
    assert not job.run(Report(5)) and job.run(Report())
    import tensorflow as tf

    steps = [
        tf.compat.v1.Event.FromString(record.numpy()).step
        for file in sorted((job.artifacts / "fit" / "tensorboard").iterdir())
        for record in tf.data.TFRecordDataset(str(file))
        if b"train_loss" in record.numpy()
    ]
    assert steps == [1, 2, 3]
