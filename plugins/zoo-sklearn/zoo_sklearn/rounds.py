"""Fit a HistGradientBoostingClassifier round by round: progress, checkpoints, an early end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zoo
import zoo_sklearn.histograms as histograms
from zoo import weights
from zoo_sklearn.releases import is_known

if TYPE_CHECKING:
    from zoo.model import Array

UNIT = "round"
STATE = "state.json"


@contextlib.contextmanager
def reported(
    boosting: Any,
    report: zoo.Report,
    checkpoint: zoo.Checkpoint | None = None,
    *,
    validates: bool = False,
) -> Iterator[None]:
    """Have `boosting.fit` report each round, and go on from a checkpoint; the bits do not change.

    Once `report` has raised, the classifier predicts with the rounds so far.

    Args:
        boosting: The classifier.
        report: Called after each round; once after all for an unknown release of scikit-learn.
        checkpoint: Where rounds are saved. They are not with categorical features or a `scoring`.
        validates: Whether the rows that early stopping looks at are the job's validation rows,
            so that their loss is reported.
    """
    if not is_known():
        yield
        report(1, 1, "fit")
        return
    rounds = _Rounds(boosting, report, checkpoint, validates)
    boosting._get_loss = rounds.loss
    rounds.restore()
    try:
        with histograms.only_drawn():
            yield
        rounds.end()
    finally:
        rounds.clear()


class _Rounds:
    """Called from within `fit`, at the start of each round."""

    def __init__(
        self,
        boosting: Any,
        report: zoo.Report,
        checkpoint: zoo.Checkpoint | None,
        validates: bool,
    ) -> None:
        self._boosting = boosting
        self._report = report
        self._checkpoint = checkpoint if boosting.scoring == "loss" else None
        self._validates = validates
        self._reported = 0
        self._warm_start = boosting.warm_start

    def loss(self, sample_weight: Array | None) -> Any:
        """Make the loss, whose gradients each round computes first."""
        loss = type(self._boosting)._get_loss(self._boosting, sample_weight=sample_weight)
        compute = loss.gradient_hessian

        def gradient_hessian(*args: Any, **kwargs: Any) -> Any:
            self._tell()
            return compute(*args, **kwargs)

        loss.gradient_hessian = gradient_hessian
        return loss

    def _tell(self) -> None:
        done = len(self._boosting._predictors)
        if done > self._reported:
            self._reported = done
            self._report(done, self._boosting.max_iter, UNIT, **self._losses())
            if self._checkpoint and self._checkpoint.is_due():
                self._save(self._checkpoint)

    def end(self) -> None:
        """Report the last round."""
        boosting = self._boosting
        done = len(boosting._predictors)
        if done < boosting.max_iter:
            self._report.done(f"no better for {boosting.n_iter_no_change} rounds")
        self._report(done, boosting.max_iter, UNIT, **self._losses())

    def _losses(self) -> dict[str, float]:
        scores = self._boosting.validation_score_ if self._validates else []
        return {"val_loss": -float(scores[-1])} if len(scores) else {}

    def clear(self) -> None:
        """Set the fitted attributes that `fit` would set."""
        import numpy as np

        boosting = self._boosting
        del boosting._get_loss
        boosting.warm_start = self._warm_start
        vars(boosting).pop("_in_fit", None)
        if hasattr(boosting, "_loss"):
            vars(boosting._loss).pop("gradient_hessian", None)
        for name in ("train_score_", "validation_score_"):
            if hasattr(boosting, name):
                setattr(boosting, name, np.asarray(getattr(boosting, name)))

    def _save(self, checkpoint: zoo.Checkpoint) -> None:
        import numpy as np

        boosting = self._boosting
        if boosting.is_categorical_ is not None:
            return
        trees = [tree for each in boosting._predictors for tree in each]
        nodes = np.concatenate([tree.nodes for tree in trees])
        arrays = {f"node_{name}": nodes[name] for name in nodes.dtype.names or ()}
        arrays |= {
            "sizes": np.array([len(tree.nodes) for tree in trees]),
            "baseline": boosting._baseline_prediction,
            "train_score": np.array(boosting.train_score_, dtype="float64"),
            "validation_score": np.array(boosting.validation_score_, dtype="float64"),
        }
        state = {
            "rounds": len(boosting._predictors),
            "seed": int(boosting._random_seed),
            "features": boosting._feature_subsample_rng.bit_generator.state,
        }
        with checkpoint.save(len(boosting._predictors)) as folder:
            weights.save(folder, arrays)
            (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def restore(self) -> None:
        """Take over the rounds of the newest checkpoint, which `fit` then goes on from."""
        import numpy as np

        folder = self._checkpoint.latest() if self._checkpoint else None
        if folder is None:
            return
        boosting = self._boosting
        trees, found = _read_trees(folder)
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        self._reported = count = state["rounds"]
        width = len(trees) // count
        boosting._predictors = [trees[n * width : (n + 1) * width] for n in range(count)]
        boosting._baseline_prediction = found["baseline"]
        boosting.train_score_ = found["train_score"]
        boosting.validation_score_ = found["validation_score"]
        boosting._random_seed = np.uint64(state["seed"])
        boosting._feature_subsample_rng = np.random.default_rng()
        boosting._feature_subsample_rng.bit_generator.state = state["features"]
        boosting._scorer = None
        boosting.warm_start = True


def _read_trees(folder: Path) -> tuple[list[Any], dict[str, Array]]:
    """Read the trees of a checkpoint, and its other arrays."""
    import numpy as np
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

    fields = PREDICTOR_RECORD_DTYPE.fields
    expected: weights.Expected = {
        **{f"node_{name}": (str(fields[name][0]), (None,)) for name in fields},
        **{"sizes": ("int64", (None,)), "baseline": ("float64", (1, None))},
        **dict.fromkeys(("train_score", "validation_score"), ("float64", (None,))),
    }
    found = weights.load(folder, expected)
    sizes = found["sizes"]
    nodes = np.zeros(sizes.sum(), dtype=PREDICTOR_RECORD_DTYPE)
    for name in fields:
        nodes[name] = found[f"node_{name}"]
    trees = []
    for each in np.split(nodes, sizes.cumsum()[:-1]):
        none = (np.empty((0, 8), dtype="uint32") for _ in range(2))
        trees.append(TreePredictor(each.copy(), *none))
    return trees, found
