"""Checks of what `fit` asks for by name, and of trainings that end early or go on."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from zoo.model import Model, Stop, fit_arguments
from zoo.testing.checks.behaviour import check_same
from zoo.testing.checks.fixtures import N_OTHERS, Bench, Broken, Reports, Trained, read_only
from zoo.testing.checks.persistence import saved
from zoo.training import evaluation
from zoo.training.checkpoints import Checkpoints, Place

if TYPE_CHECKING:
    from zoo.model import Array

N_VALIDATION = 50
"""Rows to choose by, which follow the training rows."""
MOST_RESUMED = 3
"""Checkpoints of a training from which it goes on: the first, one in the middle, the last."""
LEARNED = 0.5
"""Share of rows of a class without training rows that no model gets right by chance."""
ALIKE = 0.95
"""Share of rows that are predicted alike with and without weights of 1, which round otherwise."""


def weighs_rows(bench: Bench) -> None:
    """Weights of 1 change nothing; a class whose rows weigh 0 becomes less probable.

    For models whose `fit` names `sample_weight`.
    """
    import numpy as np

    _skip_unless_named(bench, "sample_weight")
    x, y = bench.x[:N_OTHERS], bench.y[:N_OTHERS]
    plain = _train(bench, x, y, sample_weight=None)
    ones = _train(bench, x, y, sample_weight=np.ones(len(y)))
    if (ones.predictions.labels == plain.predictions.labels).mean() < ALIKE:
        raise Broken("With weights of 1 for all rows, it predicts other classes than without.")
    labels = evaluation.targets(plain.model, y)
    chosen = int(np.bincount(plain.predictions.labels).argmax())
    weights = np.where(labels == chosen, 0.0, 1.0)
    without = _train(bench, x, y, sample_weight=weights)
    before, after = (_share(each.predictions, chosen) for each in (plain, without))
    if after >= before:
        raise Broken(
            f"It names sample_weight, but a class whose rows weigh 0 is as probable as before "
            f"({after:.4f} on average, {before:.4f} without weights)."
        )


def _share(found: evaluation.Predictions, label: int) -> float:
    """How probable a class is on average, or how frequent without probabilities."""
    if found.probabilities is None:
        return float((found.labels == label).mean())
    return float(found.probabilities[:, label].mean())


def learns_nothing_from_validation_rows(bench: Bench) -> None:
    """Validation rows are left unchanged, and a class that only they have is not learned.

    For models whose `fit` names `validation`.
    """
    import numpy as np

    _skip_unless_named(bench, "validation")
    x, y = bench.x[:N_OTHERS], bench.y[:N_OTHERS]
    alone = int(np.bincount(y).argmax())
    kept = y != alone
    x_alone, y_alone = bench.x[bench.y == alone], bench.y[bench.y == alone]
    given = _validation(bench, x_alone, y_alone)
    before = [array.copy() for array in given]
    chosen = _train(bench, x[kept], y[kept], validation=given)
    if not all(np.array_equal(a, b) for a, b in zip(before, given, strict=True)):
        raise Broken("The validation rows are changed in place: copy them first.")
    unchosen = _train(bench, x[kept], y[kept], validation=None)
    after, usual = (_right(each.model, *given) for each in (chosen, unchosen))
    if after > usual + LEARNED:
        raise Broken(
            f"It has learned a class that only validation rows have: {after:.0%} of them are "
            f"right, and {usual:.0%} without them. They are to choose by, not to train on."
        )


def _right(model: Model, x: Array, labels: Array) -> float:
    return float((evaluation.predict(model, x).labels == labels).mean())


def stops_with_a_result(bench: Bench) -> None:
    """After `report` has raised `zoo.Stop`, it ends, predicts, and saves what it predicts by.

    For models that set `can_stop`, which `zoo stop` relies on.
    """
    if not bench.model.can_stop:
        raise SkipTest("the model does not set can_stop")
    steps = [i for i, (step, total, _) in enumerate(bench.trained.reports.steps) if step < total]
    if not steps:
        raise SkipTest("fit reports its last step only")
    for at in dict.fromkeys((0, steps[len(steps) // 2])):
        reports = _Stopping(at)
        model = bench.fresh()
        _stopped(bench, model, reports)
        if len(reports.steps) > at + 1:
            raise Broken("fit swallows the zoo.Stop that report raised, and continues.")
        before = evaluation.predict(model, bench.x)
        with saved(model) as folder:
            again = bench.fresh()
            again.load(folder)
            check_same(before, evaluation.predict(again, bench.x), "stopped, saved and loaded")


@dataclass
class _Stopping(Reports):
    """A `report` function that asks to stop from one of its calls on."""

    at: int = 0

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def __call__(self, step: int, total: int, unit: str = "epoch", **metrics: float) -> None:
        super().__call__(step, total, unit, **metrics)
        if len(self.steps) > self.at:
            raise Stop


def _stopped(bench: Bench, model: Model, reports: Reports) -> None:
    with contextlib.suppress(Stop):
        bench.fit(model, bench.x, bench.y, reports)


def resumes_with_the_same_bits(bench: Bench) -> None:
    """A training that goes on from a checkpoint predicts the same as one that was not interrupted.

    For models whose `fit` names `checkpoint`; with some that are due after its first reports.
    """
    _skip_unless_named(bench, "checkpoint")
    x, y = bench.x[:N_OTHERS], bench.y[:N_OTHERS]
    more: dict[str, Any] = {}
    if "validation" in fit_arguments(bench.model):
        held_out = slice(N_OTHERS, N_OTHERS + N_VALIDATION)
        more["validation"] = _validation(bench, bench.x[held_out], bench.y[held_out])
    whole = _train(bench, x, y, **more)
    with tempfile.TemporaryDirectory(prefix="zoo-check-") as folder:
        kept = _Kept(Place(Path(folder)))
        check_same(
            whole.predictions,
            _train(bench, x, y, kept.reports, checkpoint=kept, **more).predictions,
            "checkpoints are saved",
        )
        if not kept.n_asked and not kept.names:
            raise Broken("fit names checkpoint, but never asks it is_due().")
        if not kept.names:
            raise SkipTest("fit has saved no checkpoint")
        for name in _some(kept.names):
            found = _Kept(Place(Path(folder) / "again" / name, earlier=Path(folder) / name))
            resumed = _train(bench, x, y, found.reports, checkpoint=found, **more)
            when = f"it goes on from checkpoint {name} of {len(kept.names)}"
            check_same(whole.predictions, resumed.predictions, when)
            if not found.is_restored:
                raise Broken("fit saves checkpoints, but never takes the latest() one.")
            if resumed.reports.steps and resumed.reports.share(0) <= kept.share(name) < 1:
                raise Broken(f"fit reports steps again that were done when {when}.")


def _some(names: list[str]) -> list[str]:
    chosen = names[0], names[len(names) // 2], names[-1]
    return list(dict.fromkeys(chosen))[:MOST_RESUMED]


@dataclass
class _Facts:
    shares: dict[str, float] = field(default_factory=dict)
    """How much of the training was done at each checkpoint, by name."""
    is_restored: bool = False


class _Kept(Checkpoints):
    """Checkpoints as a worker keeps them, except that some are due soon and none is taken away."""

    def __init__(self, place: Place) -> None:
        facts, reports = _Facts(), Reports()

        def save(name: str, step: int) -> None:
            facts.shares[name] = reports.share()

        def restore(resumed: object) -> None:
            facts.is_restored = True

        place.folder.mkdir(parents=True, exist_ok=True)
        noted = Place(place.folder, place.earlier, on_saved=save, on_resumed=restore)
        super().__init__(noted, "check", {}, [])
        self.n_asked = 0
        self.reports = reports
        """Those of the training that saves these."""
        self._facts = facts

    @property
    def names(self) -> list[str]:
        """The checkpoints that were saved, in their order."""
        return list(self._facts.shares)

    def share(self, name: str) -> float:
        """Return how much of the training was done at a checkpoint, from 0 to 1."""
        return self._facts.shares[name]

    @property
    def is_restored(self) -> bool:
        """Whether the model has taken the earlier one."""
        return self._facts.is_restored

    def is_due(self) -> bool:
        """Return True at the calls 1, 2, 4, 8, ...: some models report thousands of steps."""
        self.n_asked += 1
        return self.n_asked & (self.n_asked - 1) == 0


def _skip_unless_named(bench: Bench, argument: str) -> None:
    if argument not in fit_arguments(bench.model):
        raise SkipTest(f"fit does not name {argument}")


def _train(
    bench: Bench, x: Array, y: Array, reports: Reports | None = None, **asked: Any
) -> Trained:
    reports = reports or Reports()
    model = bench.fit(bench.fresh(), read_only(x), y, reports, **asked)
    return Trained(model, reports, evaluation.predict(model, x))


def _validation(bench: Bench, x: Array, y: Array) -> tuple[Array, Array]:
    """Validation rows as a job has them: read-only, with the labels of the model."""
    labels = evaluation.targets(bench.fresh(), y)
    return read_only(x.copy()), read_only(labels.copy())
