"""Checkpoints: a training that was interrupted ends with the bits of one that was not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from zoo.job_spec import JobSpec
from zoo.plugins import registry
from zoo.training import checkpoints
from zoo.training.checkpoints import Place
from zoo.training.run import restore, run_job

TIMES = ("fit_seconds", "predict_us_per_image")
HOLDS_TIMES = ("metrics.json", "environment.json")


class Interruption(Exception):
    """The end of a worker."""


@pytest.fixture(scope="module", autouse=True)
def installation(tmp_path_factory: pytest.TempPathFactory, example: str) -> Iterator[None]:
    """A ZOO_HOME with the README's plugin; and one thread, as other tests run as well."""
    home = tmp_path_factory.mktemp("home")
    (home / "plugins").mkdir()
    (home / "plugins" / "pca-boosting.py").write_text(example)
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setenv("ZOO_HOME", str(home))
        registry.catalogue.cache_clear()
        # Save after each report, however long it takes.
        patch.setattr(checkpoints, "MAX_SHARE", math.inf)
        yield
    registry.catalogue.cache_clear()


class Training:
    """A training whose attempts end after a few reports each."""

    def __init__(self, folder: Path, every: int = 1, **spec: Any) -> None:
        given = {"kind": "train", "dataset": "digits", "params": {}} | spec
        self.spec = JobSpec.parse_object(given)
        self.folder, self.every = folder, every
        self.reports: list[tuple[int, int, str]] = []
        self.resumed: list[int] = []
        self.newest: Path | None = None

    def undisturbed(self) -> dict[str, Any]:
        """Train without an interruption; returns the metrics."""
        files = self.folder / "undisturbed"
        files.mkdir()
        return run_job(self.spec, files, lambda *step, **metrics: None)

    def interrupted(self) -> dict[str, Any]:
        """Train in as many attempts as it takes; returns the metrics."""
        for attempt in range(1000):
            try:
                return self.attempt(attempt)
            except Interruption:
                continue
        raise AssertionError("it never ends")

    def attempt(self, number: int) -> dict[str, Any]:
        folder, files = self.folder / f"checkpoints-{number}", self.folder / f"attempt-{number}"
        folder.mkdir()
        files.mkdir()
        told = 0

        def report(step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
            nonlocal told
            told += 1
            # The checkpoint of a report is saved after it: the next one interrupts.
            if told == self.every + 1 and step < total:
                raise Interruption
            self.reports.append((step, total, unit))

        def on_saved(name: str, step: int) -> None:
            assert step == self.reports[-1][0]
            self.newest = (folder / name).rename(self.folder / f"kept-{number}-{name}")

        place = Place(
            folder,
            self.newest,
            seconds=0,
            on_saved=on_saved,
            on_resumed=lambda resumed: self.resumed.append(resumed["step"]),
        )
        metrics = run_job(self.spec, files, report, checkpoints=place)
        self.files = files
        return metrics

    def check(self) -> None:
        """Compare all files of both trainings."""
        expected, found = self.undisturbed(), self.interrupted()
        assert self.resumed
        plain = self.folder / "undisturbed"
        names = sorted(file.relative_to(plain) for file in plain.rglob("*") if file.is_file())
        assert names == sorted(
            file.relative_to(self.files) for file in self.files.rglob("*") if file.is_file()
        )
        for name in names:
            if name.name not in HOLDS_TIMES and name.suffix != ".skops":
                assert (self.files / name).read_bytes() == (plain / name).read_bytes()
        # Files of skops hold the addresses of objects.
        is_skops = any(name.suffix == ".skops" for name in names)
        left_out = {*TIMES, "weights_bytes"} if is_skops else {*TIMES}
        assert {k: found[k] for k in found.keys() - left_out} == {
            k: expected[k] for k in expected.keys() - left_out
        }
        models = [restore(folder) for folder in (plain, self.files)]
        x = np.random.default_rng(0).random((200, models[0].n_features), dtype=models[0].dtype)
        assert np.array_equal(*(model.predict(x) for model in models))
        scores = [model.predict_proba(x) for model in models]
        assert scores[0] is None or np.array_equal(*scores)


@pytest.mark.parametrize(
    ("share", "params"),
    [
        ("1", {}),
        ("2", {}),
        ("1", {"average": 2000, "loss": "hinge"}),
        ("1", {"early_stopping": True, "max_iter": 20, "class_weight": "balanced"}),
    ],
)
def test_logistic_goes_on_between_classes(
    share: str, params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", share)
    training = Training(tmp_path, model="logistic", params=params)
    training.check()
    assert training.reports == [(n, 10, "class") for n in range(1, 11)]
    assert training.resumed == list(range(1, 9))


PASSES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("random-forest", {"n_estimators": 45, "class_weight": "balanced"}, {}),
    ("pairwise-linear", {"max_iter": 2}, {"class_weight": "balanced", "every": 9}),
    ("boosted-stumps", {"max_iter": 6}, {"every": 2}),
    (
        "hist-gradient-boosting",
        {"max_iter": 5, "max_leaf_nodes": 4, "max_features": 0.1, "early_stopping": True},
        {"every": 2},
    ),
    (
        "hist-gradient-boosting",
        {"max_iter": 9, "learning_rate": 5.0, "early_stopping": True, "max_leaf_nodes": 4}
        | {"n_iter_no_change": 2, "max_features": 0.1},
        {"validation": 0.2, "class_weight": "balanced"},
    ),
    ("pca-boosting", {"max_iter": 4, "variance": 0.5}, {"class_weight": "balanced", "every": 2}),
    ("mlp", {"hidden": [8], "max_iter": 6}, {}),
    (
        "mlp",
        {"hidden": [8], "max_iter": 40, "early_stopping": True, "n_iter_no_change": 2},
        {"every": 5},
    ),
    (
        "mlp",
        {"hidden": [8, 4], "solver": "sgd", "schedule": "adaptive", "learning_rate": 0.1}
        | {"n_iter_no_change": 1, "tol": 0.1, "max_iter": 30},
        {"class_weight": "balanced"},
    ),
    (
        "mlp",
        {"hidden": [4], "early_stopping": True, "n_iter_no_change": 1, "max_iter": 30}
        | {"solver": "sgd", "schedule": "invscaling", "learning_rate": 0.5},
        {"validation": 0.2},
    ),
]


@pytest.mark.parametrize(("model", "params", "spec"), PASSES)
def test_a_model_goes_on_between_its_reports(
    model: str, params: dict[str, Any], spec: dict[str, Any], tmp_path: Path
) -> None:
    training = Training(tmp_path, model=model, params=params, **spec)
    training.check()
    steps = [step for step, _, _ in training.reports]
    assert steps == sorted(set(steps))
    every = training.every
    assert training.resumed == steps[every - 1 :: every][: len(training.resumed)]
    assert len(training.resumed) >= (len(steps) - 2) // every
