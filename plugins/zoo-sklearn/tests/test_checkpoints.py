"""Checkpoints: a training that was interrupted ends with the bits of one that was not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from zoo.job_spec import JobSpec
from zoo.training import checkpoints
from zoo.training.checkpoints import Place
from zoo.training.run import run_job

TIMES = ("fit_seconds", "predict_us_per_image")
HOLDS_TIMES = ("metrics.json", "environment.json")


class Interruption(Exception):
    """The end of a worker."""


@pytest.fixture(scope="module", autouse=True)
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A ZOO_HOME of its own for the prepared data; and one thread, as other tests run as well."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setenv("ZOO_HOME", str(tmp_path_factory.mktemp("home")))
        # Save after each report, however long it takes.
        patch.setattr(checkpoints, "MAX_SHARE", math.inf)
        yield


class Training:
    """A training whose every attempt ends with the next report."""

    def __init__(self, folder: Path, **spec: Any) -> None:
        given = {"kind": "train", "dataset": "digits", "params": {}} | spec
        self.spec = JobSpec.parse_object(given)
        self.folder = folder
        self.reports: list[tuple[int, int, str]] = []
        self.resumed: list[int] = []
        self.newest: Path | None = None

    def undisturbed(self) -> dict[str, Any]:
        """Train without an interruption; returns the metrics."""
        files = self.folder / "undisturbed"
        files.mkdir()
        return run_job(self.spec, files, lambda *step, **metrics: None)

    def interrupted(self) -> dict[str, Any]:
        """Train, begin another attempt after each report that is new; returns the metrics."""
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
            if told == 2 and step < total:
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
            if name.name not in HOLDS_TIMES:
                assert (self.files / name).read_bytes() == (plain / name).read_bytes()
        for metrics in (expected, found):
            for name in TIMES:
                metrics.pop(name)
        assert found == expected


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
