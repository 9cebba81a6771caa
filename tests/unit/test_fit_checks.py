"""The checks of what `fit` asks for, against models that break its contract, one way each."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from zoo import weights
from zoo.testing import checks
from zoo.testing.checks.fixtures import Bench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("module_home")]

STEPS = 4
FAR = 1e3


class Walk(zoo.Model):
    """Walk through the rows in a random order, and take the mean of each class: sound."""

    name = "walk"
    can_stop = True

    def fit(
        self, x: Any, y: Any, report: Any, *, validation=None, sample_weight=None, checkpoint=None
    ) -> None:
        self.begin(x)
        step = self.restore(checkpoint)
        while step < STEPS and not self.is_enough(step, validation):
            # The random state of numpy is that of the checkpoint.
            chosen = np.random.permutation(len(x))[: len(x) // 2]
            part = np.ones(len(chosen)) if sample_weight is None else sample_weight[chosen]
            np.add.at(self.sums, y[chosen], x[chosen] * part[:, None])
            np.add.at(self.counts, y[chosen], part)
            step += 1
            self.judge(report, step)
            if checkpoint and checkpoint.is_due():
                with checkpoint.save(step) as folder:
                    (folder / "step.txt").write_text(str(step))
                    self.save(folder)
        if step < STEPS:
            report.done("nothing is left to learn")

    def begin(self, x: Any) -> None:
        self.sums = np.zeros((self.n_classes, x.shape[1]))
        self.counts = np.zeros(self.n_classes)

    def restore(self, checkpoint: Any) -> int:
        folder = checkpoint.latest() if checkpoint else None
        if folder is None:
            return 0
        self.load(folder)
        return int((folder / "step.txt").read_text())

    def judge(self, report: Any, step: int) -> None:
        report(step, STEPS, "walk")

    def is_enough(self, step: int, validation: Any) -> bool:
        return False

    def predict_proba(self, x: Any) -> Any:
        means = self.sums / np.maximum(self.counts, 1e-9)[:, None]
        means[self.counts == 0] = FAR
        scores = -np.stack([((x - mean) ** 2).sum(axis=1) for mean in means], axis=1)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    def save(self, folder: Path) -> None:
        weights.save(folder, {"sums": self.sums, "counts": self.counts})

    def load(self, folder: Path) -> None:
        shapes: weights.Expected = {
            "sums": ("float64", (None, None)),
            "counts": ("float64", (None,)),
        }
        found = weights.load(folder, shapes)
        self.sums, self.counts = found["sums"].copy(), found["counts"].copy()


class Choosing(Walk):
    """Ends once enough validation rows are right: they decide, and are not learned."""

    def is_enough(self, step: int, validation: Any) -> bool:
        if validation is None or step == 0:
            return False
        x, y = validation
        return bool((self.predict(x) == y).mean() > 0.5)


class Unhurried(Walk):
    """Reports when time has passed, which is at other steps in each training."""

    def fit(self, x: Any, y: Any, report: Any, *, checkpoint=None) -> None:
        self.is_slow = checkpoint is None
        super().fit(x, y, report, checkpoint=checkpoint)

    def judge(self, report: Any, step: int) -> None:
        if step > 1 or not self.is_slow:
            super().judge(report, step)


class Plain(zoo.Model):
    """Asks for nothing."""

    name = "plain"

    def fit(self, x: Any, y: Any, report: Any) -> None:
        report(1, 1, "fit")

    def predict_proba(self, x: Any) -> Any:
        return np.full((len(x), self.n_classes), 1 / self.n_classes)


class Weightless(Walk):
    """Names weights, and does not weigh."""

    def fit(self, x: Any, y: Any, report: Any, *, sample_weight=None) -> None:
        super().fit(x, y, report)


class Turned(Walk):
    """Takes weights for what the rows should not count."""

    def fit(self, x: Any, y: Any, report: Any, *, sample_weight=None) -> None:
        turned = None if sample_weight is None else 2 - sample_weight
        super().fit(x, y, report, sample_weight=turned)


class Spoilt(Walk):
    """Learns badly as soon as there are weights."""

    def fit(self, x: Any, y: Any, report: Any, *, sample_weight=None) -> None:
        super().fit(x, y, report, sample_weight=sample_weight)
        if sample_weight is not None:
            self.sums = self.sums[::-1].copy()


class Greedy(Walk):
    """Trains on the validation rows, too."""

    def fit(self, x: Any, y: Any, report: Any, *, validation=None) -> None:
        if validation is not None:
            x, y = np.concatenate([x, validation[0]]), np.concatenate([y, validation[1]])
        super().fit(x, y, report)


class Meddling(Walk):
    """Changes the validation rows, which are read-only."""

    def fit(self, x: Any, y: Any, report: Any, *, validation=None) -> None:
        if validation is not None:
            validation[0][0] = 0
        super().fit(x, y, report)


class Unstoppable(Walk):
    """Hears no word of an end."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        def deaf(*args: Any, **metrics: Any) -> None:
            with contextlib.suppress(zoo.Stop):
                report(*args, **metrics)

        super().fit(x, y, deaf)


class Unready(Walk):
    """Can predict only once all is done, and says otherwise."""

    def fit(self, x: Any, y: Any, report: Any) -> None:
        super().fit(x, y, report)
        self.is_ready = True

    def predict_proba(self, x: Any) -> Any:
        return super().predict_proba(x) if self.is_ready else None

    def load(self, folder: Path) -> None:
        super().load(folder)
        self.is_ready = True

    is_ready = False


class LosesItsPlace(Walk):
    """Restores what it has learned, and begins at the first step again."""

    def restore(self, checkpoint: Any) -> int:
        super().restore(checkpoint)
        return 0


class CountsAgain(Walk):
    """Restores everything, and reports its steps as if it had begun anew."""

    def restore(self, checkpoint: Any) -> int:
        self.before = super().restore(checkpoint)
        return self.before

    def judge(self, report: Any, step: int) -> None:
        super().judge(report, step - self.before)


class LosesItsSums(Walk):
    """Restores where it was, and nothing of what it has learned."""

    def load(self, folder: Path) -> None:
        if folder.name != "model":  # that of a checkpoint
            super().load(folder)


class OwnDice(Walk):
    """Draws from a generator of its own, whose state no checkpoint keeps."""

    def begin(self, x: Any) -> None:
        super().begin(x)
        self.random = np.random.default_rng(self.seed)

    def judge(self, report: Any, step: int) -> None:
        self.counts += self.random.random(self.n_classes)
        super().judge(report, step)


class BeginsAnew(Walk):
    """Saves, and never looks at what was saved."""

    def restore(self, checkpoint: Any) -> int:
        return 0


class SavesAtAnyTime(Walk):
    """Draws random numbers to save, which changes the training."""

    def save(self, folder: Path) -> None:
        np.random.random()
        super().save(folder)


class NeverSaves(Walk):
    """Names checkpoint, and asks nothing."""

    def fit(self, x: Any, y: Any, report: Any, *, checkpoint=None) -> None:
        super().fit(x, y, report)


CHECKS = [check for check in checks.ALL if check.__module__.endswith("fit_arguments")]


def result(model: type[zoo.Model], check: str) -> checks.Result:
    (found,) = [each for each in CHECKS if checks.title(each) == check]
    return checks.run(found, Bench(model))


@pytest.mark.parametrize("model", [Walk, Choosing])
def test_a_model_that_asks_for_everything_and_keeps_the_contract_passes(
    model: type[zoo.Model],
) -> None:
    bench = Bench(model)
    found = [checks.run(check, bench) for check in CHECKS]
    assert len(found) == 4
    assert [each for each in found if each.status != "passed"] == []


def test_trainings_may_report_at_other_steps() -> None:
    found = result(Unhurried, "resumes with the same bits")
    assert found.status == "passed", found


def test_a_model_that_asks_for_nothing_is_not_checked() -> None:
    bench = Bench(Plain)
    found = [checks.run(check, bench) for check in CHECKS]
    assert {each.status for each in found} == {"skipped"}
    assert found[0].detail == "fit does not name sample_weight"


@pytest.mark.parametrize(
    ("model", "check", "sentence"),
    [
        (Weightless, "weighs rows", "a class whose rows weigh 0 is as probable as before"),
        (Turned, "weighs rows", "a class whose rows weigh 0 is as probable as before"),
        (Spoilt, "weighs rows", "With weights of 1 for all rows, it predicts other classes"),
        (Greedy, "learns nothing from validation rows", "to choose by, not to train on"),
        (Meddling, "learns nothing from validation rows", "read-only: copy them"),
        (Unstoppable, "stops with a result", "swallows the zoo.Stop that report raised"),
        (Unready, "stops with a result", "NotImplementedError"),
        (LosesItsPlace, "resumes with the same bits", "goes on from checkpoint 1 of 3"),
        (CountsAgain, "resumes with the same bits", "reports steps again that were done"),
        (LosesItsSums, "resumes with the same bits", "goes on from checkpoint 1 of 3"),
        (OwnDice, "resumes with the same bits", "goes on from checkpoint 1 of 3"),
        (BeginsAnew, "resumes with the same bits", "never takes the latest() one"),
        (SavesAtAnyTime, "resumes with the same bits", "differ when checkpoints are saved"),
        (NeverSaves, "resumes with the same bits", "never asks it is_due()"),
    ],
)
def test_a_breach_is_found_and_said(model: type[zoo.Model], check: str, sentence: str) -> None:
    found = result(model, check)
    assert found.status == "failed" and sentence in found.detail, found
